"""The eight invariants of S2, proven on a shard before anything reads it (checks and codes: states/s2/checks.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.errors import InternalError
from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels import proofs as kp
from fraudloom.kernels.idmap import encode_ids
from fraudloom.states.s2.checks import PROOFS
from fraudloom.states.s2.frame import EVENTS, FLOWS, LINKS, S2Frame, derive, time_rows
from fraudloom.states.s2.plan import S2Plan
from fraudloom.states.s2.tables import Array, own
from fraudloom.tables import Columns

ENTITIES = ("party_id", "account_id", "instrument_id", "device_id", "ip_id", "terminal_id", "channel_group")
PLACES = ("merchant_id", "arrival_seq", "city_id", "series_key", "ts_utc", "pinned_label")
ROUTING = ("mcc", "acquirer_id", "currency", "merchant_country", "issuer_id", "bin")
SETTLEMENT = (
    *("clear_ts_utc", "refund_ts_utc", "reversal_ts_utc"),
    *("cleared_minor", "refunded_minor", "reversed_minor"),
)
#: Columns that the proof in one pass reads, by field of `kernels.proofs.FlowRows` and `EventRows`.
_PROVEN_FLOW = {
    **{"ident": "flow_id", "ts": "ts_utc", "sent": "auth_sent_utc", "response_ts": "response_ts_utc"},
    **{"clear_ts": "clear_ts_utc", "refund_ts": "refund_ts_utc", "reversal_ts": "reversal_ts_utc"},
    **{"minor": "amount_minor", "cleared": "cleared_minor", "refunded": "refunded_minor", "reversed": "reversed_minor"},
    **{"flow_type": "flow_type", "response": "response_code", "first": "first_response_code"},
    **{"attempts": "attempts", "currency": "currency"},
}
_PROVEN_EVENT = {
    **{"flow": "_flow_row", "ident": "flow_id", "seq": "event_seq", "kind": "event_type", "ts": "ts_utc"},
    **{"minor": "amount_minor", "amount": "amount", "code": "response_code"},
}


def _schema(plan: S2Plan, frame: S2Frame) -> None:
    for dataset_id, columns, kind in (
        (FLOWS, frame.flows, "flows"),
        (EVENTS, frame.events, "events"),
        (LINKS, frame.links, "flows"),
    ):
        what = f"a column of the {kind} is missing, or has another type or length"
        PROOFS.schema(what, plan.contracts, dataset_id, columns)


def _order(flows: Columns) -> None:
    """Rows stand in the contract's order."""
    ts, ids = flows["ts_utc"], flows["flow_id"]
    ok = (ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & (ids[1:] > ids[:-1]))
    PROOFS.rows("flows are not in (ts_utc, flow_id) order", ok, flows, np.arange(1, len(ts)))


def _order_events(events: Columns) -> None:
    """Rows stand in the contract's order."""
    ts, ids, seq = events["ts_utc"], events["flow_id"], events["event_seq"]
    tie = (ids[1:] > ids[:-1]) | ((ids[1:] == ids[:-1]) & (seq[1:] > seq[:-1]))
    ok = (ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & tie)
    PROOFS.rows("events are not in (ts_utc, flow_id, event_seq) order", ok, events, np.arange(1, len(ts)))


def _in_flow_order(flows: Columns, events: Columns) -> tuple[Array, Array]:
    """(place int64[m]: event rows by (flow row, event_seq); start int64[n + 1]). Proves invariants 1 and 2."""
    ids = flows["flow_id"]
    row = events["_flow_row"]
    PROOFS.rows("an event has no flow", (row >= 0) & (row < len(ids)), events)
    PROOFS.rows("an event names another flow than its row", ids[row] == events["flow_id"], events)
    count = np.bincount(row, minlength=len(ids))
    PROOFS.rows("a flow has no event", count > 0, flows)
    start = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(count, out=start[1:])
    seq = events["event_seq"].astype(np.int64)
    what = "event_seq is not 0, 1, ... in its flow"
    PROOFS.rows(what, (seq >= 0) & (seq < count[row]), events)
    place = np.full(len(row), -1, np.int64)
    place[start[row] + seq] = np.arange(len(row))
    PROOFS.rows(what, place >= 0, flows, np.repeat(np.arange(len(ids)), count))
    return place, start


def _last(n: int, flow: Array, values: Array) -> Array:
    """Last value of each flow (rows in flow and sequence order), 0 where there is none."""
    out = np.zeros(n, np.int64)
    out[flow] = values
    return out


def _sums(n: int, flow: Array, minor: Array) -> Array:
    """Exact sums of minor units by flow (far below 2^53)."""
    return np.bincount(flow, weights=minor, minlength=n).astype(np.int64)


def _answers(flows: Columns, kind: Array, flow: Array, code: Array, credit: Array) -> None:
    """Invariant 3: response_code is that of the last answer, first_response_code that of the first of several."""
    at = np.flatnonzero(kind == pc.AUTH_RESPONSE)
    of, code = flow[at], code[at]
    last, first = np.zeros((2, len(credit)), np.int64)
    last[of] = code
    first[of[::-1]] = code[::-1]
    for name, found in (("response_code", last), ("first_response_code", first)):
        ok = credit | (flows[name] == found)
        PROOFS.rows("a response code is not its answer's", ok, flows, note=f"{name}: ")


def _events_hold(plan: S2Plan, flows: Columns, events: Columns) -> bool:
    """Whether order, `prove_events`, amounts and horizon hold for all events, in one pass; False without settlement.

    It says at least what those checks say, in a tenth of their time; they run when it does not hold, to tell what is
    broken and where.
    """
    if not plan.settlement:
        return False
    f = kp.FlowRows(**{field: own(flows[name]) for field, name in _PROVEN_FLOW.items()})
    e = kp.EventRows(**{field: own(events[name]) for field, name in _PROVEN_EVENT.items()})
    folds = np.zeros((len(f.ident), kp.FOLDS), np.int64)
    if kp.fold_proven(e, f, plan.currency.minor, plan.horizon_end, folds) >= 0:
        return False
    return bool(kp.check_folds(folds, f, np.zeros(1, np.int64)) < 0)


def prove_events(flows: Columns, events: Columns, settlement: bool) -> None:
    """Invariants 1 to 4: one flow, its events, contiguous; times rise and equal the anchors; amounts are the sums.

    Holds for any flow frame (an overlay's too); InternalError names the code and the first flow that breaks it.
    """
    place, start = _in_flow_order(flows, events)
    n = len(flows["flow_id"])
    flow, ts = events["_flow_row"][place], events["ts_utc"][place]
    kind, minor = events["event_type"][place], events["amount_minor"][place]
    rises = (ts[1:] > ts[:-1]) | (flow[1:] != flow[:-1])
    PROOFS.rows("times do not rise with event_seq", rises, events, place[1:])
    credit = (flows["flow_type"] == pc.CARD_CREDIT) & settlement
    opens = np.where(credit, pc.REFUND, pc.AUTH_REQUEST)
    PROOFS.rows("a flow opens with another event", kind[start[:-1]] == opens, flows)
    PROOFS.rows("the first event is not at the flow's time", ts[start[:-1]] == flows["ts_utc"], flows)
    if not settlement:
        answers = np.bincount(flow[kind == pc.AUTH_RESPONSE], minlength=n)
        PROOFS.rows("a flow has not one answer", answers == 1, flows)
        for name in SETTLEMENT:
            what = "a settlement is there in a pack without settlement"
            PROOFS.rows(what, flows[name] == 0, flows, note=f"{name}: ")
        return
    anchors = (
        ("response_ts_utc", pc.AUTH_RESPONSE, credit),
        ("clear_ts_utc", pc.CLEARING, None),
        ("refund_ts_utc", pc.REFUND, None),
        ("reversal_ts_utc", pc.REVERSAL, None),
    )
    for name, event, skip in anchors:
        of = kind == event
        ok = _last(n, flow[of], ts[of]) == flows[name]
        what = "an anchor is not the time of the last such event"
        PROOFS.rows(what, ok | skip if skip is not None else ok, flows, note=f"{name}: ")
    sent = flows["auth_sent_utc"]
    ok = (flows["ts_utc"] <= sent) & (sent <= flows["response_ts_utc"])
    PROOFS.rows("the request is sent outside its flow's times", ok, flows)
    _answers(flows, kind, flow, events["response_code"][place], credit)
    for name, event, sign in (
        ("cleared_minor", pc.CLEARING, 1),
        ("refunded_minor", pc.REFUND, -1),
        ("reversed_minor", pc.REVERSAL, -1),
    ):
        of = kind == event
        ok = _sums(n, flow[of], minor[of]) * sign == flows[name]
        PROOFS.rows("an anchor is not the sum of its events", ok, flows, note=f"{name}: ")
    asked = np.flatnonzero(kind <= pc.STEP_UP_COMPLETE)
    ok = minor[asked] == flows["amount_minor"][flow[asked]]
    PROOFS.rows("an authorisation event has another amount than its flow", ok, events, place[asked])
    ok = (flows["refunded_minor"] <= flows["cleared_minor"]) | credit
    PROOFS.rows("more is refunded than cleared", ok, flows)
    ok = (flows["reversed_minor"] == 0) | ((flows["cleared_minor"] == 0) & (flows["refunded_minor"] == 0))
    PROOFS.rows("a reversed flow is cleared or refunded", ok, flows)
    tries = np.bincount(flow[kind == pc.AUTH_REQUEST], minlength=n)
    PROOFS.rows("attempts are not the requests made", tries == flows["attempts"], flows)


def _amounts(plan: S2Plan, flows: Columns) -> None:
    """Invariant 4: amounts are positive, and the same in minor, major and reference units."""
    minor, currency = flows["amount_minor"], flows["currency"]
    scale = plan.currency.minor[currency]
    PROOFS.rows("an amount is not positive", minor > 0, flows)
    PROOFS.rows("amount is not amount_minor in major units", flows["amount"] == minor / scale, flows)
    ref = np.maximum(1, np.rint(minor * plan.currency.ref_scale[currency])).astype(np.int64)
    ok = flows["amount_ref_minor"] == ref
    PROOFS.rows("amount_ref_minor is not the amount in reference currency", ok, flows)


def _event_amounts(plan: S2Plan, flows: Columns, events: Columns) -> None:
    """Invariant 4: amounts of events are the same in minor and major units."""
    scale = plan.currency.minor[flows["currency"]]
    ok = events["amount"] == events["amount_minor"] / scale[events["_flow_row"]]
    PROOFS.rows("an event's amount is not its amount_minor in major units", ok, events)


def _carried(arrivals: Columns, flows: Columns, first: Array, row: Array) -> None:
    """Invariants 5 and 6: what a flow has of its first arrival. first: arrival rows; row: their flows' rows."""
    for names, what in (
        (ENTITIES, "an entity is not the first arrival's"),
        (PLACES, "a column is not the first arrival's"),
        (("session_id",), "a flow is in another session than its arrivals"),
    ):
        for name in names:
            PROOFS.rows(what, arrivals[name][first] == flows[name][row], flows, row, f"{name}: ")
    for name, found in (
        ("tz", arrivals["zone_representation"]),
        ("is_pinned", arrivals["pinned_instrument_id"] > 0),
    ):
        PROOFS.rows("a column is not the first arrival's", found[first] == flows[name][row], flows, row, f"{name}: ")


def _links(arrivals: Columns, sessions: Columns, frame: S2Frame) -> None:
    """Invariant 5: every arrival in exactly one flow, of its own session; the first arrival is the flow's."""
    flows, links = frame.flows, frame.links
    ids = flows["flow_id"]
    PROOFS.equal("links are not aligned with arrivals", len(links["flow_id"]), len(arrivals["ts_utc"]), "links")
    for name in ("merchant_id", "arrival_seq"):
        PROOFS.rows("links are not aligned with arrivals", links[name] == arrivals[name], links, note=f"{name}: ")
    ok = links["session_id"] == arrivals["session_id"]
    PROOFS.rows("a link names another session than its arrival", ok, links)
    first = np.flatnonzero(links["link_rank"] == 0)
    PROOFS.equal("flows and first arrivals differ in number", len(first), len(ids), "links of rank 0")
    row = time_rows(flows["ts_utc"], flows["_ordinal"])
    PROOFS.rows("a first arrival belongs to another flow", links["flow_id"][first] == ids[row], links, first)
    _carried(arrivals, flows, first, row)
    # The arrival's row of the index; S1 has proven that it is the session's.
    known = sessions["session_id"][arrivals["_session_row"][first]] == flows["session_id"][row]
    PROOFS.rows("a flow's session is not in the index", known, flows, row)
    more = np.flatnonzero(links["link_rank"] != 0)
    wide = np.flatnonzero(flows["arrival_count"] > 1)
    wide = wide[np.argsort(ids[wide], kind="stable")]
    if len(more) and len(wide):
        found = np.minimum(np.searchsorted(ids[wide], links["flow_id"][more]), len(wide) - 1)
        of = wide[found]
        ok = ids[of] == links["flow_id"][more]
    else:
        of, ok = more[:0], np.zeros(len(more), np.bool_)
    PROOFS.rows("an arrival belongs to no flow", ok, links, more)
    ok = arrivals["session_id"][more] == flows["session_id"][of]
    PROOFS.rows("a flow is in another session than its arrivals", ok, links, more)
    ok = arrivals["merchant_id"][more] == flows["merchant_id"][of]
    PROOFS.rows("an arrival is not at its flow's merchant", ok, links, more)
    members = np.ones(len(ids), np.int64)
    np.add.at(members, of, 1)
    PROOFS.rows("arrival_count is not the number of members", members == flows["arrival_count"], flows)
    order = np.lexsort((links["link_rank"][more], of))
    rank, of = links["link_rank"][more][order], of[order]
    expected = np.arange(len(of)) - np.searchsorted(of, of) + 1
    PROOFS.rows("link_rank is not 0, 1, ... in its flow", rank == expected, links, more[order])


def _routing(plan: S2Plan, flows: Columns) -> None:
    """Invariant 6: routing columns follow from the flow's ids."""
    again = {name: values for name, values in flows.items() if name not in ROUTING}
    derive(plan, again)
    for name in ROUTING:
        ok = again[name] == flows[name]
        PROOFS.rows("a routing column does not follow from the flow's ids", ok, flows, note=f"{name}: ")


def _horizon(plan: S2Plan, flows: Columns) -> None:
    """Invariant 7: flows begin within the horizon."""
    ok = (flows["ts_utc"] >= plan.world.start_us) & (flows["ts_utc"] < plan.world.end_us)
    PROOFS.rows("a flow begins outside the horizon", ok, flows)


def _event_horizon(plan: S2Plan, events: Columns) -> None:
    """Invariant 7: everything ends within the settlement horizon."""
    PROOFS.rows("an event lies beyond the settlement horizon", events["ts_utc"] < plan.horizon_end, events)


def expected_draws(plan: S2Plan, arrivals: int, flows: Columns) -> Array:
    """Draws that each decision's domain implies for a shard, int64[decisions]."""
    n = len(flows["flow_id"])
    rail, series = flows["channel_group"] == pc.BANK_RAIL, flows["series_key"] != 0
    rows = {
        "ARRIVAL_FLOW_ASSIGNMENT": arrivals,
        "PAYEE": int((rail & ~series).sum()),
        "PAYEE_SERIES": int((rail & series).sum()),
        "SERIES_AMOUNT": int(series.sum()),
    }
    return np.array([rows.get(name, n) for name in plan.decisions.names], np.int64) * plan.decisions.slots


def prove_draws(plan: S2Plan, arrivals: int, flows: Columns, evidence: Array, shard: int) -> None:
    """Invariant 8: draws made are draws due (evidence of this shard alone)."""
    due, made = expected_draws(plan, arrivals, flows), evidence[:, 0].astype(np.int64)
    for name, d, m in zip(plan.decisions.names, due, made, strict=True):
        PROOFS.equal("draws made are not the draws due", int(m), int(d), f"shard {shard}, {name}")


def prove(plan: S2Plan, world: Any, arrivals: Columns, sessions: Columns, frame: S2Frame) -> None:
    """Prove a woven shard; InternalError names the broken check, its code and the first flow that breaks it."""
    flows, events = frame.flows, frame.events
    _schema(plan, frame)
    ids = np.empty(len(flows["flow_id"]), np.int64)
    encode_ids(plan.id_key, flows["_ordinal"], ids)
    PROOFS.rows("a flow_id is not its ordinal's", ids == flows["flow_id"], flows)
    _order(flows)
    told = not _events_hold(plan, flows, events)
    if told:
        _order_events(events)
        prove_events(flows, events, plan.settlement)
    _amounts(plan, flows)
    if told:
        _event_amounts(plan, flows, events)
    _links(arrivals, sessions, frame)
    _routing(plan, flows)
    _horizon(plan, flows)
    if told:
        _event_horizon(plan, events)
    if told and plan.settlement:
        raise InternalError("S2", "S2_PROOF_INVALID", what="the proof in one pass refuses events that hold one by one")
