"""The eight invariants of S2, proven on a shard before anything reads it (codes of contracts/laws/s2.md, section 9)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.errors import InternalError
from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.idmap import encode_ids
from fraudloom.states.s2.frame import S2Frame, derive, time_rows
from fraudloom.states.s2.plan import S2Plan
from fraudloom.states.s2.tables import Array
from fraudloom.tables import Columns

ENTITIES = ("party_id", "account_id", "instrument_id", "device_id", "ip_id", "terminal_id", "channel_group")
PLACES = ("merchant_id", "arrival_seq", "city_id", "series_key", "ts_utc")
ROUTING = ("mcc", "acquirer_id", "currency", "merchant_country", "issuer_id", "bin")


def _require(ok: Array, code: str, what: str, ids: Array) -> None:
    """InternalError that names the first id for which `ok` (bool[n]) is False."""
    if not bool(ok.all()):
        bad = np.flatnonzero(~ok)
        raise InternalError(
            "S2", f"S2_{code}", what=what, found=f"{len(bad)} rows", where=f"first: flow_id {int(ids[bad[0]])}"
        )


def _require_equal(found: int, expected: int, code: str, what: str) -> None:
    if found != expected:
        raise InternalError("S2", f"S2_{code}", what=what, found=found, expected=expected)


def _order(flows: Columns, events: Columns) -> None:
    """Rows stand in the contract's order."""
    ts, ids = flows["ts_utc"], flows["flow_id"]
    ok = (ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & (ids[1:] > ids[:-1]))
    _require(ok, "FLOW_ANCHOR_SCHEMA_VIOLATION", "flows are not in (ts_utc, flow_id) order", ids[1:])
    ts, ids, seq = events["ts_utc"], events["flow_id"], events["event_seq"]
    tie = (ids[1:] > ids[:-1]) | ((ids[1:] == ids[:-1]) & (seq[1:] > seq[:-1]))
    ok = (ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & tie)
    _require(ok, "EVENT_STREAM_SCHEMA_VIOLATION", "events are not in (ts_utc, flow_id, event_seq) order", ids[1:])


def _in_flow_order(flows: Columns, events: Columns) -> tuple[Array, Array]:
    """(place int64[m]: event rows by (flow row, event_seq); start int64[n + 1]). Proves invariants 1 and 2."""
    ids = flows["flow_id"]
    row = events["_flow_row"]
    known = (row >= 0) & (row < len(ids))
    _require(known, "FLOW_EVENT_MISMATCH", "an event has no flow", events["flow_id"])
    same = ids[row] == events["flow_id"]
    _require(same, "FLOW_EVENT_MISMATCH", "an event names another flow than its row", events["flow_id"])
    count = np.bincount(row, minlength=len(ids))
    _require(count > 0, "FLOW_EVENT_MISMATCH", "a flow has no event", ids)
    start = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(count, out=start[1:])
    seq = events["event_seq"].astype(np.int64)
    inside = (seq >= 0) & (seq < count[row])
    _require(inside, "EVENT_SEQUENCE_INVALID", "event_seq is not 0, 1, ... in its flow", events["flow_id"])
    place = np.full(len(row), -1, np.int64)
    place[start[row] + seq] = np.arange(len(row))
    _require(place >= 0, "EVENT_SEQUENCE_INVALID", "event_seq is twice in a flow", np.repeat(ids, count))
    return place, start


def _last(n: int, flow: Array, values: Array) -> Array:
    """Last value of each flow (rows in flow and sequence order), 0 where there is none."""
    out = np.zeros(n, np.int64)
    out[flow] = values
    return out


def _sums(n: int, flow: Array, minor: Array) -> Array:
    """Exact sums of minor units by flow (far below 2^53)."""
    return np.bincount(flow, weights=minor, minlength=n).astype(np.int64)


def prove_events(flows: Columns, events: Columns, settlement: bool) -> None:
    """Invariants 1 to 4: one flow, its events, contiguous; times rise and equal the anchors; amounts are the sums.

    Holds for any flow frame (an overlay's too); InternalError names the code and the first flow that breaks it.
    """
    place, start = _in_flow_order(flows, events)
    n, ids = len(flows["flow_id"]), flows["flow_id"]
    flow, ts = events["_flow_row"][place], events["ts_utc"][place]
    kind, minor = events["event_type"][place], events["amount_minor"][place]
    rises = (ts[1:] > ts[:-1]) | (flow[1:] != flow[:-1])
    _require(rises, "FLOW_EVENT_TEMPORAL_MISMATCH", "times do not rise with event_seq", ids[flow[1:]])
    credit = (flows["flow_type"] == pc.CARD_CREDIT) & settlement
    opens = np.where(credit, pc.REFUND, pc.AUTH_REQUEST)
    _require(kind[start[:-1]] == opens, "EVENT_SEQUENCE_INVALID", "a flow opens with another event", ids)
    code = "FLOW_EVENT_TEMPORAL_MISMATCH"
    _require(ts[start[:-1]] == flows["ts_utc"], code, "the first event is not at the flow's time", ids)
    if not settlement:
        answers = np.bincount(flow[kind == pc.AUTH_RESPONSE], minlength=n)
        _require(answers == 1, "EVENT_SEQUENCE_INVALID", "a flow has not one answer", ids)
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
        _require(ok | skip if skip is not None else ok, code, f"{name} is not the time of the last such event", ids)
    code = "FLOW_EVENT_AMOUNT_MISMATCH"
    for name, event, sign in (("cleared_minor", 4, 1), ("refunded_minor", 5, -1), ("reversed_minor", 6, -1)):
        of = kind == event
        ok = _sums(n, flow[of], minor[of]) * sign == flows[name]
        _require(ok, code, f"{name} is not the sum of its events", ids)
    asked = kind <= pc.STEP_UP_COMPLETE
    ok = minor[asked] == flows["amount_minor"][flow[asked]]
    _require(ok, code, "an authorisation event has another amount than its flow", ids[flow[asked]])
    ok = (flows["refunded_minor"] <= flows["cleared_minor"]) | credit
    _require(ok, code, "more is refunded than cleared", ids)
    ok = (flows["reversed_minor"] == 0) | ((flows["cleared_minor"] == 0) & (flows["refunded_minor"] == 0))
    _require(ok, code, "a reversed flow is cleared or refunded", ids)
    tries = np.bincount(flow[kind == pc.AUTH_REQUEST], minlength=n)
    _require(tries == flows["attempts"], "EVENT_SEQUENCE_INVALID", "attempts are not the requests made", ids)


def _amounts(plan: S2Plan, flows: Columns, events: Columns) -> None:
    code, ids = "FLOW_EVENT_AMOUNT_MISMATCH", flows["flow_id"]
    scale = plan.currency.minor[flows["currency"]]
    _require(flows["amount_minor"] > 0, code, "an amount is not positive", ids)
    _require(flows["amount"] == flows["amount_minor"] / scale, code, "amount is not amount_minor in major units", ids)
    ok = events["amount"] == events["amount_minor"] / scale[events["_flow_row"]]
    _require(ok, code, "an event's amount is not its amount_minor in major units", events["flow_id"])


def _links(arrivals: Columns, frame: S2Frame) -> None:
    """Invariant 5: every arrival in exactly one flow, of its own session; the first arrival is the flow's."""
    flows, links = frame.flows, frame.links
    ids = flows["flow_id"]
    for name in ("merchant_id", "arrival_seq"):
        ok = links[name] == arrivals[name]
        _require(ok, "ARRIVAL_LINKAGE_INVALID", "links are not aligned with arrivals", links["flow_id"])
    ok = links["session_id"] == arrivals["session_id"]
    _require(ok, "SESSION_LINKAGE_INVALID", "a link names another session than its arrival", links["flow_id"])
    first = np.flatnonzero(links["link_rank"] == 0)
    _require_equal(len(first), len(ids), "ARRIVAL_LINKAGE_INVALID", "flows and first arrivals differ in number")
    row = time_rows(flows["ts_utc"], flows["_ordinal"])
    ok = links["flow_id"][first] == ids[row]
    _require(ok, "ARRIVAL_LINKAGE_INVALID", "a first arrival belongs to another flow", ids[row])
    for name, code in (
        *((c, "ENTITY_CONTEXT_INCONSISTENT") for c in ENTITIES),
        *((c, "ARRIVAL_LINKAGE_INVALID") for c in PLACES),
        ("session_id", "SESSION_LINKAGE_INVALID"),
    ):
        _require(arrivals[name][first] == flows[name][row], code, f"{name} is not the first arrival's", ids[row])
    more = np.flatnonzero(links["link_rank"] > 0)
    wide = np.flatnonzero(flows["arrival_count"] > 1)
    wide = wide[np.argsort(ids[wide], kind="stable")]
    _require_equal(
        len(more) + len(ids), int(flows["arrival_count"].sum()), "ARRIVAL_LINKAGE_INVALID", "arrival_count is wrong"
    )
    if len(more) == 0:
        return
    found = np.minimum(np.searchsorted(ids[wide], links["flow_id"][more]), len(wide) - 1)
    of = wide[found]
    ok = ids[of] == links["flow_id"][more]
    _require(ok, "ARRIVAL_LINKAGE_INVALID", "an arrival belongs to no flow", links["flow_id"][more])
    for name, code in (("session_id", "SESSION_LINKAGE_INVALID"), ("merchant_id", "ARRIVAL_LINKAGE_INVALID")):
        _require(arrivals[name][more] == flows[name][of], code, f"an arrival's {name} is not its flow's", ids[of])
    order = np.lexsort((links["link_rank"][more], of))
    rank, of = links["link_rank"][more][order], of[order]
    expected = np.arange(len(of)) - np.searchsorted(of, of) + 1
    _require(rank == expected, "ARRIVAL_LINKAGE_INVALID", "link_rank is not 0, 1, ... in its flow", ids[of])


def _routing(plan: S2Plan, flows: Columns) -> None:
    """Invariant 6: routing columns follow from the flow's ids."""
    again = {name: values for name, values in flows.items() if name not in ROUTING}
    derive(plan, again)
    for name in ROUTING:
        ok = again[name] == flows[name]
        _require(ok, "ROUTING_CONTEXT_INCONSISTENT", f"{name} does not follow from the flow's ids", flows["flow_id"])


def _horizon(plan: S2Plan, flows: Columns, events: Columns) -> None:
    """Invariant 7: flows begin within the horizon, and everything ends within the settlement horizon."""
    ok = (flows["ts_utc"] >= plan.world.start_us) & (flows["ts_utc"] < plan.world.end_us)
    _require(ok, "EVENT_OUTSIDE_HORIZON", "a flow begins outside the horizon", flows["flow_id"])
    ok = events["ts_utc"] < plan.horizon_end
    _require(ok, "EVENT_OUTSIDE_HORIZON", "an event lies beyond the settlement horizon", events["flow_id"])


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


def prove_draws(plan: S2Plan, arrivals: int, flows: Columns, evidence: Array) -> None:
    """Invariant 8: draws made are draws due (evidence of this shard alone)."""
    due, made = expected_draws(plan, arrivals, flows), evidence[:, 0].astype(np.int64)
    for name, d, m in zip(plan.decisions.names, due, made, strict=True):
        _require_equal(int(m), int(d), "RNG_EVENT_COUNT_MISMATCH", f"draws of {name}")


def prove(plan: S2Plan, world: Any, arrivals: Columns, sessions: Columns, frame: S2Frame) -> None:
    """Prove a woven shard; InternalError S2_... names the invariant and the first flow that breaks it."""
    flows, events = frame.flows, frame.events
    ids = np.empty(len(flows["flow_id"]), np.int64)
    encode_ids(plan.id_key, flows["_ordinal"], ids)
    _require(ids == flows["flow_id"], "FLOW_ANCHOR_SCHEMA_VIOLATION", "a flow_id is not its ordinal's", ids)
    _order(flows, events)
    prove_events(flows, events, plan.settlement)
    _amounts(plan, flows, events)
    _links(arrivals, frame)
    known = np.isin(flows["session_id"], sessions["session_id"])
    _require(known, "SESSION_LINKAGE_INVALID", "a flow's session is not in the index", ids)
    _routing(plan, flows)
    _horizon(plan, flows, events)
