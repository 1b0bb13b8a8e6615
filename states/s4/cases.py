"""Cases of a shard: members, groups, timeline, links."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudloom.kernels.cases import (
    E_ARBITRATION,
    E_CHARGEBACK,
    E_CREDIT,
    E_DECISION,
    E_DETECTION,
    E_DISPUTE,
    E_OWN,
    E_RECOVERY,
    E_REPRESENTMENT,
    E_REVIEW,
    E_WIDTH,
    close_cases,
    group_cases,
    member_events,
)
from fraudloom.kernels.idmap import encode_ids
from fraudloom.kernels.signals import (
    C_LABEL,
    C_SOURCE,
    C_STATUS,
    LABEL_FRAUD,
    LABEL_WRITTEN_OFF,
    STATUS_CENSORED,
    T_CHARGEBACK,
    T_DECISION,
    T_DISPUTE,
    T_JOIN,
    T_LOSS,
)
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s4.bank import Worked
from fraudloom.states.s4.frame import Array, Rows
from fraudloom.states.s4.plan import S4Plan
from fraudloom.tables import Columns, empty_columns

#: case_event_type of each place of a member's events.
EVENT_OF = {
    E_DETECTION: "DETECTION_EVENT_ATTACHED",
    E_REVIEW: "ANALYST_REVIEW",
    E_DISPUTE: "CUSTOMER_DISPUTE_FILED",
    E_CREDIT: "PROVISIONAL_CREDIT",
    E_OWN: "ANALYST_REVIEW",
    E_CHARGEBACK: "CHARGEBACK_INITIATED",
    E_REPRESENTMENT: "REPRESENTMENT_RECEIVED",
    E_ARBITRATION: "PRE_ARBITRATION",
    E_DECISION: "CHARGEBACK_DECISION",
    E_RECOVERY: "RECOVERY",
}
#: What may follow what for one flow in one case ("" is the start). CASE_OPENED, then CASE_REOPENED if the matter is
#: taken up again, stand before all of them and CASE_CLOSED behind.
FOLLOWS: dict[str, tuple[str, ...]] = {
    "": ("DETECTION_EVENT_ATTACHED", "CUSTOMER_DISPUTE_FILED"),
    "DETECTION_EVENT_ATTACHED": ("ANALYST_REVIEW", "CUSTOMER_DISPUTE_FILED"),
    "ANALYST_REVIEW": ("CUSTOMER_DISPUTE_FILED", "RECOVERY"),
    "CUSTOMER_DISPUTE_FILED": ("PROVISIONAL_CREDIT", "ANALYST_REVIEW"),
    "PROVISIONAL_CREDIT": ("ANALYST_REVIEW", "CHARGEBACK_INITIATED", "RECOVERY"),
    "CHARGEBACK_INITIATED": ("REPRESENTMENT_RECEIVED", "CHARGEBACK_DECISION"),
    "REPRESENTMENT_RECEIVED": ("PRE_ARBITRATION", "CHARGEBACK_DECISION"),
    "PRE_ARBITRATION": ("CHARGEBACK_DECISION",),
    "CHARGEBACK_DECISION": ("RECOVERY",),
    "RECOVERY": (),
}


@dataclass(frozen=True)
class Members:
    """Involved flows sorted by (key type, key id, anchor, ordinal), with their case (0-based) and place in it."""

    rows: Array
    worked: Array
    ordinal: Array
    anchor: Array
    key_type: Array
    key_id: Array
    case: Array
    rank: Array
    mark: Array
    first: Array


def group(plan: S4Plan, flows: Rows, worked: Worked) -> Members:
    """Involved flows and their cases."""
    place = np.flatnonzero(worked.out.times[:, T_JOIN] != 0)
    rows = worked.rows[place]
    key_type = plan.case_key[flows["channel_group"][rows]]
    key_type = np.where((key_type == 0) & (flows["instrument_id"][rows] == 0), 1, key_type).astype(np.int8)
    choices = [flows["instrument_id"][rows], flows["account_id"][rows], flows["party_id"][rows]]
    key_id = np.choose(key_type, choices).astype(np.int64)
    anchor, ordinal = worked.out.times[place, T_JOIN], worked.ordinal[place]
    order = np.lexsort((ordinal, anchor, key_id, key_type))
    key_type, key_id, anchor = key_type[order], key_id[order], anchor[order]
    n = len(order)
    case, rank, mark = np.empty(n, np.int64), np.empty(n, np.int16), np.empty(n, np.bool_)
    group_cases(key_type, key_id, anchor, plan.limits, case, rank, mark)
    return Members(
        rows[order], place[order], ordinal[order], anchor, key_type, key_id, case, rank, mark, np.flatnonzero(rank == 0)
    )


def _per_case(flags: Array, members: Members) -> Array:
    """bool per case: whether any member's flag is set."""
    if not len(members.first):
        return np.zeros(0, dtype=np.bool_)
    return np.logical_or.reduceat(flags, members.first)


def case_nature(plan: S4Plan, worked: Worked, members: Members) -> tuple[Array, Array]:
    """(case_type, case_outcome) codes per case, int8."""
    times, codes = worked.out.times[members.worked], worked.out.codes[members.worked]
    charged = _per_case(times[:, T_CHARGEBACK] != 0, members)
    disputed = _per_case(times[:, T_DISPUTE] != 0, members)
    fraud = _per_case((codes[:, C_LABEL] == LABEL_FRAUD) | (codes[:, C_LABEL] == LABEL_WRITTEN_OFF), members)
    lost = _per_case(times[:, T_LOSS] > 0, members)
    censored = _per_case(codes[:, C_STATUS] == STATUS_CENSORED, members)

    def code(enum: str, label: str) -> int:
        return plan.contracts.code(enum, label)

    kind = np.select(
        [charged, disputed, fraud],
        [code("case_type", x) for x in ("CHARGEBACK_CASE", "DISPUTE_CASE", "DETECTION_CASE")],
        code("case_type", "REVIEW_CASE"),
    )
    outcome = np.select(
        [censored, lost, charged, fraud],
        [code("case_outcome", x) for x in ("UNKNOWN", "BANK_LOSS", "BANK_WIN", "CONFIRMED_FRAUD")],
        code("case_outcome", "CONFIRMED_LEGIT"),
    )
    return kind.astype(np.int8), outcome.astype(np.int8)


def build(plan: S4Plan, flows: Rows, worked: Worked, bank: Columns, evidence: EvidenceArray) -> tuple[Columns, Columns]:
    """(s4_case_timeline_6B, s4_case_flow_link_6B); writes case_id and case_close_ts_utc of the bank view."""
    members = group(plan, flows, worked)
    n, cases = len(members.rows), len(members.first)
    place = np.zeros((n, E_WIDTH), dtype=np.int64)
    member_events(
        worked.out.times[members.worked],
        np.ascontiguousarray(worked.out.codes[members.worked, C_SOURCE]),
        members.ordinal,
        plan.bank.delays,
        plan.last_us,
        plan.decisions.keys,
        evidence,
        place,
    )
    case_id = np.empty(cases, dtype=np.int64)
    encode_ids(plan.case_key_stream, members.ordinal[members.first], case_id)
    ends = np.maximum(place.max(axis=1), worked.out.times[members.worked, T_DECISION])
    last = np.maximum.reduceat(ends, members.first) if n else np.zeros(0, np.int64)
    closed = np.empty(cases, dtype=np.int64)
    close_cases(
        members.ordinal[members.first], last, plan.bank.delays, plan.last_us, plan.decisions.keys, evidence, closed
    )
    bank["case_id"][members.rows] = case_id[members.case]
    bank["case_close_ts_utc"][members.rows] = closed[members.case]
    links = {
        "case_id": case_id[members.case],
        "flow_id": flows["flow_id"][members.rows],
        "member_rank": members.rank,
        "joined_ts_utc": members.anchor,
    }
    order = np.lexsort((members.rank, links["case_id"]))
    timeline = _timeline(plan, flows, worked, members, place, case_id, closed)
    return timeline, {k: v[order] for k, v in links.items()}


def no_cases(plan: S4Plan, bank: Columns) -> tuple[Columns, Columns]:
    """Empty case tables; the bank view names no case."""
    for name in ("case_id", "case_open_ts_utc", "case_close_ts_utc"):
        bank[name][:] = 0
    tables = [plan.contracts.dataset(d) for d in ("s4_case_timeline_6B", "s4_case_flow_link_6B")]
    return empty_columns(tables[0]), empty_columns(tables[1])


def _timeline(
    plan: S4Plan, flows: Rows, worked: Worked, members: Members, place: Array, case_id: Array, closed: Array
) -> Columns:
    """All events of all cases: opened, reopened, members' events by (ts, rank, place), closed."""

    def kind(label: str) -> int:
        return plan.contracts.code("case_event_type", label)

    first = members.first
    opened = members.anchor[first]
    entry = np.where(place[:, E_DETECTION] != 0, place[:, E_DETECTION], place[:, E_DISPUTE])
    entry = np.minimum.reduceat(entry, first) if len(first) else entry
    again = np.flatnonzero(members.mark[first])
    member, slot = np.nonzero(place)
    slot_kind = np.array([kind(EVENT_OF[k]) for k in range(E_WIDTH)], dtype=np.int8)
    cases = np.arange(len(first))
    case = np.concatenate([cases, again, members.case[member], cases])
    phase = np.repeat([0, 1, 2, 3], [len(first), len(again), len(member), len(first)])
    ts = np.concatenate([opened, (opened + (entry - opened) // 2)[again], place[member, slot], closed])
    rank = np.concatenate([np.zeros(len(first) + len(again), np.int64), members.rank[member], 0 * cases])
    who = np.concatenate([first, first[again], member, first])
    event = np.concatenate(
        [
            np.full(len(first), kind("CASE_OPENED"), np.int8),
            np.full(len(again), kind("CASE_REOPENED"), np.int8),
            slot_kind[slot],
            np.full(len(first), kind("CASE_CLOSED"), np.int8),
        ]
    )
    slots = np.concatenate([np.zeros(len(first) + len(again), np.int64), slot, 0 * cases])
    order = np.lexsort((slots, rank, ts, phase, case_id[case]))
    case, who = case[order], who[order]
    count = np.bincount(case, minlength=len(first))
    ids, starts = case_id[case], np.flatnonzero(phase[order] == 0)
    case_type, outcome = case_nature(plan, worked, members)
    return {
        "case_id": ids,
        "case_event_seq": (np.arange(len(case)) - np.repeat(starts, count[case[starts]])).astype(np.int32),
        "flow_id": flows["flow_id"][members.rows[who]],
        "case_event_type": event[order],
        "ts_utc": ts[order],
        "case_type": case_type[case],
        "case_key_type": members.key_type[first][case],
        "case_key_id": members.key_id[first][case],
        "case_outcome": outcome[case],
    }
