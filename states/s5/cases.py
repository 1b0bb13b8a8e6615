"""Checks of cases on one shard: numbering, time, state machine, members."""

from __future__ import annotations

import numpy as np

from fraudloom.states.s5.context import Context
from fraudloom.states.s5.joins import Array, Groups, IdIndex, decode, take
from fraudloom.states.s5.tally import Tally
from fraudloom.tables import Columns

CHECK = "REQ_CRITICAL_CASE_TIMELINE"
#: Columns of S3's flows that the checks below read; the scan lets go of the others.
FLOWS_READ = ("flow_id", "ts_utc")
#: What may follow what for one flow in one case ("" is the start); CASE_OPENED, CASE_REOPENED stand before, CASE_CLOSED
#: behind all of them.
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
#: Steps that one flow takes at most once in a case.
ONCE = (
    "DETECTION_EVENT_ATTACHED",
    "CUSTOMER_DISPUTE_FILED",
    "CHARGEBACK_INITIATED",
    "REPRESENTMENT_RECEIVED",
    "PRE_ARBITRATION",
    "CHARGEBACK_DECISION",
)


def follow_table(ctx: Context) -> Array:
    """bool[kinds + 1, kinds]: may step b follow step a - 1 (row 0: come first)."""
    kinds = ctx.code.enums["case_event_type"]
    out = np.zeros((len(kinds) + 1, len(kinds)), dtype=np.bool_)
    for before, after in FOLLOWS.items():
        row = kinds.index(before) + 1 if before else 0
        out[row, [kinds.index(x) for x in after]] = True
    return out


def check_timeline(ctx: Context, tally: Tally, timeline: Columns, flows: Columns, index: IdIndex) -> None:
    """Events of a case: numbered from 0, never back in time, opened first, closed last, steps in order."""
    f = tally.findings
    case, seq, ts = timeline["case_id"], timeline["case_event_seq"], timeline["ts_utc"]
    n = len(case)
    ids = {"case_id": case, "flow_id": timeline["flow_id"], "event_seq": seq}
    first = np.ones(n, dtype=np.bool_)
    first[1:] = case[1:] != case[:-1]
    starts = np.flatnonzero(first)
    number = np.cumsum(first) - 1
    f.rows(CHECK, "case_event_seq contiguous", seq != np.arange(n) - starts[number], ids)
    back = np.zeros(n, dtype=np.bool_)
    back[1:] = ~first[1:] & (ts[1:] < ts[:-1])
    f.rows(CHECK, "time never decreases in a case (T8, T10)", back, ids)
    f.one(
        "REQ_PK_UNIQUENESS",
        "case in one run of rows",
        len(np.unique(case)) == len(starts),
        "a case stands in two places",
    )
    f.rows("REQ_SCENARIO_OOB", "case event inside the settlement horizon", ts >= ctx.horizon.settled, ids)
    _machine(ctx, tally, timeline, first, number, ids)
    ordinals = decode(ctx.keys["case"], case[starts])
    tally.case_ordinals.append(ordinals)
    own = decode(ctx.keys["flow"], timeline["flow_id"][starts])
    f.rows(
        "REQ_PK_UNIQUENESS",
        "case id decodes to its first flow",
        ordinals != own,
        {k: v[starts] for k, v in ids.items()},
    )
    flow = index.rows(timeline["flow_id"])
    f.rows(CHECK, "case event's flow exists", flow < 0, ids)
    f.rows(CHECK, "case event not before its flow", (flow >= 0) & (ts < take(flows["ts_utc"], flow)), ids)
    last = np.append(starts[1:], n)[: len(starts)] - 1
    tally.add("cases", len(starts))
    tally.add("case_duration_us", int((ts[last] - ts[starts]).sum()))
    gaps = ~first
    tally.add("case_gaps", int(gaps.sum()))
    tally.add("case_zero_gaps", int((gaps[1:] & (ts[1:] == ts[:-1])).sum()) if n else 0)


def _machine(ctx: Context, tally: Tally, timeline: Columns, first: Array, number: Array, ids: dict[str, Array]) -> None:
    """CASE_OPENED first and once, CASE_CLOSED last, steps of a flow in order, each once."""
    f = tally.findings
    kind = timeline["case_event_type"]
    n = len(kind)
    cases = int(first.sum())
    opened, closed, again = (
        kind == ctx.code("case_event_type", x) for x in ("CASE_OPENED", "CASE_CLOSED", "CASE_REOPENED")
    )
    f.rows(CHECK, "a case begins with CASE_OPENED", first & ~opened, ids)
    f.rows(CHECK, "CASE_OPENED once", opened & ~first, ids)
    final = np.ones(n, dtype=np.bool_)
    final[:-1] = first[1:]
    f.rows(CHECK, "CASE_CLOSED ends a case", closed & ~final, ids)
    f.rows(CHECK, "a case ends with CASE_CLOSED", final & ~closed, ids)
    f.rows(CHECK, "CASE_REOPENED follows CASE_OPENED", again & ~np.concatenate([[False], first[:-1]])[:n], ids)
    tally.add("cases_reopened", int(again.sum()))
    rows = np.flatnonzero(~(opened | closed | again))
    order = rows[np.lexsort((rows, timeline["flow_id"][rows], number[rows]))]
    flow, steps = timeline["flow_id"][order], kind[order].astype(np.int64)
    head = np.ones(len(order), dtype=np.bool_)
    head[1:] = (number[order][1:] != number[order][:-1]) | (flow[1:] != flow[:-1])
    before = np.where(head, 0, np.roll(steps, 1) + 1)
    legal = follow_table(ctx)[before, steps]
    f.rows(CHECK, "step may follow the flow's step before", ~legal, {k: v[order] for k, v in ids.items()})
    single = np.isin(steps, ctx.code.many("case_event_type", *ONCE))
    keys = np.stack([number[order], np.cumsum(head), steps])[:, single]
    twice = keys.shape[1] - np.unique(keys, axis=1).shape[1]
    f.one(CHECK, "step once per case and flow", not twice, f"{twice} steps taken twice by one flow in one case")
    initiated = kind == ctx.code("case_event_type", "CHARGEBACK_INITIATED")
    charged = np.bincount(number[initiated], minlength=cases) > 0
    tally.add("cases_charged", int(charged.sum()))


def check_members(
    ctx: Context, tally: Tally, timeline: Columns, link: Columns, flows: Columns, bank: Columns, index: IdIndex
) -> None:
    """Members of cases: every event's flow is one, ranks are contiguous, the bank view names the same case."""
    f = tally.findings
    ids = {"case_id": link["case_id"], "flow_id": link["flow_id"]}
    member = index.rows(link["flow_id"])
    f.rows(CHECK, "member flow exists", member < 0, ids)
    twice = np.bincount(member[member >= 0], minlength=len(flows["flow_id"])) > 1
    f.rows("REQ_PK_UNIQUENESS", "flow in one case", twice, {"flow_id": flows["flow_id"]})
    f.rows(CHECK, "bank view names the case", (member >= 0) & (take(bank["case_id"], member) != link["case_id"]), ids)
    joined = np.zeros(len(flows["flow_id"]), dtype=np.bool_)
    joined[member[member >= 0]] = True
    f.rows(CHECK, "flow in a case is a member", (bank["case_id"] != 0) & ~joined, {"flow_id": flows["flow_id"]})
    cases = np.unique(timeline["case_id"])
    index_of_case = IdIndex(cases)
    place = index_of_case.rows(link["case_id"])
    f.rows(CHECK, "member's case has a timeline", place < 0, ids)
    groups = Groups(place, len(cases))
    f.rows(CHECK, "case has members", groups.sizes == 0, {"case_id": cases})
    order = groups.order[: int(groups.start[-1])]
    want = np.arange(len(order)) - groups.start[place[order]]
    f.rows(CHECK, "member_rank contiguous", link["member_rank"][order] != want, {k: v[order] for k, v in ids.items()})
    flow = index.rows(timeline["flow_id"])
    of_case = (flow >= 0) & (take(bank["case_id"], flow) == timeline["case_id"])
    where = {"case_id": timeline["case_id"], "flow_id": timeline["flow_id"], "event_seq": timeline["case_event_seq"]}
    f.rows(CHECK, "case event's flow is a member", ~of_case, where)
    heads = order[groups.start[:-1][groups.sizes > 0]]
    opener = np.flatnonzero(timeline["case_event_seq"] == 0)
    opened = dict(zip(timeline["case_id"][opener].tolist(), timeline["flow_id"][opener].tolist(), strict=True))
    wrong = [
        opened.get(c) != m
        for c, m in zip(link["case_id"][heads].tolist(), link["flow_id"][heads].tolist(), strict=True)
    ]
    f.rows(
        CHECK, "the first member opens the case", np.array(wrong, dtype=np.bool_), {k: v[heads] for k, v in ids.items()}
    )
    early = (member >= 0) & (link["joined_ts_utc"] < take(flows["ts_utc"], member))
    f.rows(CHECK, "member joins after its flow", early, ids)
    tally.add("case_members", len(member))
