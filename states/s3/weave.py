"""The overlay of one shard: tagged flows, new flows, decisions redone, events and sessions merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.errors import InternalError
from fraudloom.kernels import campaigns as kc
from fraudloom.kernels import payment_codes as pc
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s3.events import merge_events, new_sessions, place_order, take
from fraudloom.states.s3.plan import SETTLEMENT_US
from fraudloom.states.s3.policy import DISPUTE, REFUND, Array, Template
from fraudloom.states.s3.quotas import Plan2
from fraudloom.states.s3.script import encoded, weave_new
from fraudloom.states.s3.select import instrument_kinds, tag_flows
from fraudloom.tables import Columns, empty_columns

FLOWS, BASE = "s3_flow_anchor_with_fraud_6B", "s2_flow_anchor_baseline_6B"
F_REFUND, F_REDONE = 64, 128
#: Columns that the issuer and settlement write: the only ones in which a redone baseline flow may differ from S2.
DECIDED = (
    *("flow_type", "flow_outcome", "three_ds", "auth_sent_utc", "issuer_latency_ms", "risk_score", "auth_decision"),
    *("first_response_code", "response_code", "responder", "attempts", "step_up_result", "block_state", "alerted"),
    *("response_ts_utc", "clear_ts_utc", "refund_ts_utc", "reversal_ts_utc", "cleared_minor", "refunded_minor"),
    *("reversed_minor", "payment_state", "branch_trace"),
)


#: Columns that neither the issuer nor settlement reads.
UNREAD = {
    *("flow_id", "session_id", "arrival_seq", "tz", "mcc", "amount", "acquirer_id", "bin", "terminal_id"),
    *("arrival_count", "payee_account_id", "payee_bank_id"),
}


@dataclass
class S3Frame:
    """What S3 leaves of a shard. flows: sorted by (ts_utc, flow_id), with `_ordinal`, `_arrival_ordinal`,
    `_session_ordinal`; events: sorted by (ts_utc, flow_id, event_seq), with `_flow_row`; sessions: sorted by
    (session_start_utc, session_id), with `_ordinal`; realised: arrays that the catalogue adds up."""

    flows: Columns
    events: Columns
    sessions: Columns
    realised: dict[str, Array]


def _templates(p2: Plan2) -> dict[int, Template]:
    return {t.row: t for t in p2.plan.laws.templates}


def _by_type(p2: Plan2, field: str, kind: type[Any]) -> Array:
    """An attribute of templates by type row."""
    out = np.zeros(p2.plan.laws.types, kind)
    for row, t in _templates(p2).items():
        out[row] = getattr(t, field)
    return out


def merge_flows(p2: Plan2, base: Columns, fresh: Columns) -> tuple[Columns, Array, Array]:
    """Baseline and new flows in (ts, flow_id) order, with null provenance on the baseline; the places of baseline rows,
    and those of new ones."""
    order = place_order(base["ts_utc"], base["flow_id"], fresh["ts_utc"], fresh["flow_id"])
    n = len(base["flow_id"])
    ds = p2.plan.contracts.dataset(FLOWS)
    blank = empty_columns(ds, 0)
    code = p2.plan.contracts.code("origin_type", "BASELINE_FLOW")
    names = [*blank, "_ordinal", "_arrival_ordinal", "_session_ordinal"]
    out: Columns = {}
    where = np.empty(n + len(fresh["flow_id"]), np.int64)
    where[order] = np.arange(len(order))
    for name in names:
        if name in base:
            own = base[name]
        else:
            null = code if name == "origin_type" else ds.column(name).null_value
            own = np.full(n, max(null, 0), dtype=blank[name].dtype)
        out[name] = take(own, fresh[name].astype(own.dtype, copy=False), order)
    return out, where[:n], where[n:]


def _tag(p2: Plan2, flows: Columns, rows: Array, campaign: Array, incident: Array, rank: Array) -> None:
    """Campaign columns of tagged rows."""
    c, laws = p2.plan.campaigns, p2.plan.laws
    kind = c.row[campaign]
    flows["fraud_flag"][rows] = True
    flows["campaign_id"][rows] = c.id[campaign]
    flows["incident_id"][rows] = encoded(p2.plan.keys["incident"], incident)
    flows["incident_rank"][rows] = rank
    flows["fraud_class"][rows] = _by_type(p2, "fraud_class", np.int8)[kind]
    flows["fraud_pattern_type"][rows] = kind + 1
    flows["tactic"][rows] = _by_type(p2, "tactic", np.int8)[kind]
    flows["planned_dispute"][rows] = _by_type(p2, "mode", np.int8)[kind] == DISPUTE
    flows["report_door"][rows] = laws.door[kind]


def _report(
    p2: Plan2, flows: Columns, rows: Array, campaign: Array, incident: Array, first: Array, evidence: EvidenceArray
) -> Any:
    """Report columns of tagged rows; returns the blocks that customers' reports put on instruments."""
    from fraudloom.states import s2

    laws, n = p2.plan.laws, len(rows)
    kind = p2.plan.campaigns.row[campaign]
    instrument = flows["instrument_id"][rows]
    virtual = instrument_kinds(p2, instrument) == pc.CARD_VIRTUAL
    asked = kc.ReportRows(kind, first, flows["ts_utc"][rows], incident, flows["_ordinal"][rows], virtual)
    horizon = p2.plan.end_us + SETTLEMENT_US
    numbers: list[Any] = [*laws.reports, laws.probability, laws.prompt_share, horizon, p2.plan.s2.reissue]
    reports = kc.Reports(*numbers)
    out = kc.Reported(*(np.empty(n, np.int64) for _ in range(3)))
    kc.report_times(asked, reports, kc.Streams(p2.plan.decisions.keys, evidence), out)
    flows["report_ts_utc"][rows] = out.report
    flows["report_door"][rows] = np.where(out.report > 0, laws.door[kind], 0)
    blocking = laws.blocks[kind] & (out.heard > 0) & (instrument > 0)
    each = np.stack([instrument[blocking], out.heard[blocking], out.renewed[blocking]], axis=1)
    each = np.unique(each, axis=0)
    code = p2.plan.contracts.code("block_state", "REPORT")
    columns: list[Any] = [*(np.ascontiguousarray(each[:, k]) for k in range(3)), np.full(len(each), code, np.int8)]
    return s2.BlockList(*columns)


def redo_rows(p2: Plan2, flows: Columns, fresh: Array) -> Array:
    """Flows decided again: bool[n]. New ones; and those of their accounts from the account's first new flow to
    `redo_days` after its last."""
    account, ts = flows["account_id"], flows["ts_utc"]
    owners, inverse = np.unique(account[fresh], return_inverse=True)
    out = np.zeros(len(ts), np.bool_)
    if not len(owners):
        return out
    lo = np.full(len(owners), np.iinfo(np.int64).max)
    hi = np.zeros(len(owners), np.int64)
    np.minimum.at(lo, inverse, ts[fresh])
    np.maximum.at(hi, inverse, ts[fresh])
    hit = np.zeros(int(account.max()) + 1, np.bool_)
    hit[owners] = True
    mine = np.flatnonzero(hit[account])
    at = np.searchsorted(owners, account[mine])
    out[mine] = (ts[mine] >= lo[at]) & (ts[mine] <= hi[at] + p2.plan.laws.redo_us)
    out[fresh] = True
    out[flows["flow_type"] == pc.CARD_CREDIT] = False
    return out


def household_rows(p2: Plan2, flows: Columns, redo: Array) -> Array:
    """Rows of households with a row to redo, and of the devices of such rows: int64[m].

    The issuer's history is that of account, card and device. Accounts and cards lie within a household; a device may be
    used by others (a till, a stranger's), but of those flows the history keeps no more than their instants: looking at
    these rows gives the same bits as looking at the whole shard.
    """
    cohort = p2.plan.pools.tables["s1_party_base_6A"]["cohort_id"][flows["party_id"] - 1]
    met = np.zeros(int(cohort.max(initial=0)) + 1, np.bool_)
    met[cohort[redo]] = True
    used = np.zeros(int(flows["device_id"].max(initial=0)) + 1, np.bool_)
    used[flows["device_id"][redo]] = True
    return np.flatnonzero(met[cohort] | used[flows["device_id"]])


def _redo(p2: Plan2, world: Any, flows: Columns, redo: Array, blocks: Any, busy: Any, replay: EvidenceArray) -> None:
    """Decide and settle the rows of `redo` again, in place."""
    from fraudloom.states import s2

    rows = household_rows(p2, flows, redo)
    names = {c.name for c in p2.plan.contracts.dataset(BASE).columns} - UNREAD
    part = {k: flows[k][rows] for k in sorted(names)} | {"_ordinal": flows["_ordinal"][rows]}
    again = np.flatnonzero(redo[rows])
    s2.decide(p2.plan.s2, world, part, redo[rows], blocks, busy, replay)
    s2.settle(p2.plan.s2, world, part, again, replay)
    for name in DECIDED:
        flows[name][rows[again]] = part[name][again]


def _insert_refunds(p2: Plan2, flows: Columns, rows: Array, evidence: EvidenceArray) -> None:
    """Refunds on tagged purchases."""
    n = len(rows)
    refunded, when = np.empty(n, np.int64), np.empty(n, np.int64)
    streams = kc.Streams(p2.plan.decisions.keys, evidence)
    horizon = p2.plan.end_us + SETTLEMENT_US
    arguments: list[Any] = [flows[k][rows] for k in ("_ordinal", "response_ts_utc", "cleared_minor", "clear_ts_utc")]
    arguments += [p2.plan.laws.refund, streams, horizon, refunded, when]
    kc.insert_refunds(*arguments)
    if not p2.plan.s2.settlement:
        return
    part = refunded < flows["cleared_minor"][rows]
    flows["refunded_minor"][rows] = refunded
    flows["refund_ts_utc"][rows] = when
    flows["branch_trace"][rows] |= np.where(part, pc.T_REFUND | pc.T_PARTIAL_REFUND, pc.T_REFUND).astype(np.int32)
    flows["mutation_flags"][rows] |= F_REFUND


def differs(flows: Columns, base: Columns, where: Array, rows: Array) -> Array:
    """Which of the given baseline rows differ from S2 in a decided column: bool[m]."""
    out = np.zeros(len(rows), np.bool_)
    for name in DECIDED:
        out |= flows[name][where[rows]] != base[name][rows]
    return out


def _realised(p2: Plan2, tagged: kc.Tagged, legs: kc.Legs, flows: int) -> dict[str, Array]:
    count = len(p2.plan.campaigns.row)

    def tally(campaign: Array) -> Array:
        return np.bincount(campaign, minlength=count).astype(np.int64)

    return {
        "flows": tally(tagged.campaign) + tally(legs.campaign),
        "new_flows": tally(tagged.campaign[tagged.row < 0]) + tally(legs.campaign),
        "incidents": tally(tagged.campaign[tagged.rank == 0]) + tally(legs.campaign[legs.layer == 1]),
        "all_flows": np.array([flows], np.int64),
    }


def overlay(
    p2: Plan2, world: Any, shard: int, arrivals: Columns, sessions: Columns, frame: Any, busy: Any,
    evidence: EvidenceArray,
) -> S3Frame:  # fmt: skip
    """Weave the overlay of one shard over its S2 frame, which is left unchanged.

    `evidence`: uint64[decisions, 2], added to. Decisions redone draw from S2's streams, at the flows' own loci; S3
    counts them under S2's names.
    """
    plan = p2.plan
    base = frame.flows
    tagged = tag_flows(p2, shard, base, evidence)
    legs = plan.legs.of_shard(shard)
    fresh = weave_new(p2, base, tagged, legs, evidence)
    flows, where, placed = merge_flows(p2, base, fresh)
    pure = plan.contracts.code("origin_type", "PURE_FRAUD_FLOW")
    new = flows["origin_type"] == pure
    old = tagged.row >= 0
    # Tagged rows in the order of the merged table: new flows by their own columns, baseline ones by the selection.
    rows = np.concatenate([placed, where[tagged.row[old]]])
    campaign = np.concatenate([fresh["_campaign"], tagged.campaign[old]])
    incident = np.concatenate([fresh["_incident"], tagged.incident[old]])
    rank = np.concatenate([fresh["incident_rank"], tagged.rank[old]])
    first = np.concatenate([fresh["_first_ts"], base["ts_utc"][tagged.anchor[old]]])
    _tag(p2, flows, rows, campaign, incident, rank)
    blocks = _report(p2, flows, rows, campaign, incident, first, evidence)
    redo = redo_rows(p2, flows, new)
    flows["is_redecided"] = redo
    replay = plan.s2.decisions.new_evidence()
    _redo(p2, world, flows, redo, blocks, busy, replay)
    refunds = flows["tactic"][rows] == _refund_tactic(p2)
    _insert_refunds(p2, flows, rows[refunds], evidence)
    mine = np.flatnonzero(redo[where])
    changed = mine[differs(flows, base, where, mine)]
    flows["mutation_flags"][where[changed]] |= F_REDONE
    touched = np.union1d(changed, tagged.row[old][refunds[len(fresh["flow_id"]) :]]).astype(np.int64)
    if not plan.s2.settlement:
        touched = changed
    flows["origin_flow_id"][where] = base["flow_id"]
    flows["origin_type"][where[touched]] = plan.contracts.code("origin_type", "BASELINE_FLOW_MUTATED")
    events = merge_events(p2, frame, flows, where, touched, np.flatnonzero(new), replay)
    account_again(p2, replay, evidence)
    merged = new_sessions(p2, sessions, flows, np.flatnonzero(new))
    return S3Frame(flows, events, merged, _realised(p2, tagged, legs, len(flows["flow_id"])))


def account_again(p2: Plan2, replay: EvidenceArray, evidence: EvidenceArray) -> None:
    """Add the draws that S2's functions made for S3 to S3's evidence. InternalError when they drew for a decision that
    S3's policy does not list: such a draw would be accounted nowhere."""
    again, s2 = p2.plan.again, p2.plan.s2.decisions
    strange = np.delete(np.arange(len(replay)), again)
    strange = strange[replay[strange, 0] > 0]
    if len(strange):
        raise InternalError(
            "S3",
            "S3_DRAWS_UNACCOUNTED",
            what="S2 drew for S3 what fraud_rng_policy_6B does not list",
            found=[s2.names[d] for d in strange],
            expected=[s2.names[d] for d in again],
        )
    evidence[len(evidence) - len(again) :] += replay[again]


def _refund_tactic(p2: Plan2) -> int:
    """Tactic code of the template that inserts refunds, -1 without one."""
    found = [t.tactic for t in p2.plan.laws.templates if t.mode == REFUND]
    return found[0] if found else -1
