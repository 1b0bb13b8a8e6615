"""Checks of flows and their events, for S2 and S3 alike: links to arrivals, anchors against events."""

from __future__ import annotations

import numpy as np

from fraudloom.kernels import checks as kc
from fraudloom.states.s5.arrivals import ENTITIES
from fraudloom.states.s5.context import Context
from fraudloom.states.s5.joins import Array, Groups, IdIndex, Table, decode, differs, take
from fraudloom.states.s5.tally import Tally
from fraudloom.tables import Columns

#: Anchor column, column of the fold of events, sign.
ANCHORS = (
    ("ts_utc", kc.EV_REQUEST, 1),
    ("amount_minor", kc.EV_AMOUNT, 1),
    ("response_ts_utc", kc.EV_RESPONSE, 1),
    ("clear_ts_utc", kc.EV_CLEAR, 1),
    ("refund_ts_utc", kc.EV_REFUND, 1),
    ("reversal_ts_utc", kc.EV_REVERSAL, 1),
    ("cleared_minor", kc.EV_CLEARED, 1),
    ("refunded_minor", kc.EV_REFUNDED, -1),
    ("reversed_minor", kc.EV_REVERSED, -1),
    ("attempts", kc.EV_RESPONSES, 1),
    ("first_response_code", kc.EV_FIRST_CODE, 1),
    ("response_code", kc.EV_LAST_CODE, 1),
)


def check_baseline(ctx: Context, tally: Tally, flows: Columns, arrivals: Columns, ordinals: Array) -> Array:
    """Baseline flows carry the session and entities of their first arrival; returns its row per flow (-1: unknown)."""
    f = tally.findings
    ids = {"flow_id": flows["flow_id"]}
    decoded = decode(ctx.keys["flow"], flows["flow_id"])
    own = np.where(decoded >= 0, decoded >> 3, -1)
    place = IdIndex(ordinals + 1)
    row = place.rows(own + 1)
    row = np.where(own >= 0, row, -1)
    f.rows("REQ_PK_UNIQUENESS", "S2 flow id decodes to an arrival of its shard", row < 0, ids)
    same = (take(arrivals["merchant_id"], row) == flows["merchant_id"]) & (
        take(arrivals["arrival_seq"], row) == flows["arrival_seq"]
    )
    f.rows("REQ_FLOW_SESSION_LINKS", "flow names its first arrival", ~same & (row >= 0), ids)
    for name in (*ENTITIES, "session_id", "terminal_id", "channel_group", "city_id", "series_key"):
        if name in flows and name in arrivals:
            rule = f"flow carries its arrival's {name}"
            check = "REQ_ENTITY_LINKS" if name in (*ENTITIES, "terminal_id") else "REQ_FLOW_SESSION_LINKS"
            f.rows(check, rule, (take(arrivals[name], row) != flows[name]) & (row >= 0), ids)
    return row


def check_links(tally: Tally, link: Columns, arrivals: Columns, flows: Columns, index: IdIndex, first: Array) -> None:
    """The arrival-flow link names every arrival once, in the order of S1, and flows count their arrivals."""
    f = tally.findings
    check = "REQ_FLOW_SESSION_LINKS"
    if len(link["flow_id"]) != len(arrivals["session_id"]):
        f.one(check, "link has a row per arrival", False, "the arrival-flow link and S1 differ in rows")
        return
    for name in ("merchant_id", "arrival_seq"):
        f.rows("REQ_ROW_ORDER", f"link aligned by {name}", link[name] != arrivals[name])
    f.rows(check, "link carries the session", link["session_id"] != arrivals["session_id"])
    flow = index.rows(link["flow_id"])
    shown = {"flow_id": link["flow_id"], "merchant_id": link["merchant_id"], "arrival_seq": link["arrival_seq"]}
    f.rows(check, "linked flow exists", flow < 0, shown)
    f.rows(check, "flow and arrival share the session", take(flows["session_id"], flow) != link["session_id"], shown)
    f.rows(check, "flow and arrival share the party", take(flows["party_id"], flow) != arrivals["party_id"], shown)
    n = len(flows["flow_id"])
    groups = Groups(flow, n)
    ids = {"flow_id": flows["flow_id"]}
    f.rows(check, "arrival_count", groups.sizes != flows["arrival_count"], ids)
    rank = link["link_rank"].astype(np.int64)
    inside = (flow >= 0) & (rank >= 0) & (rank < groups.sizes[np.maximum(flow, 0)] if n else False)
    f.rows(check, "link_rank below arrival_count", (flow >= 0) & ~inside, shown)
    seen = np.zeros(int(groups.start[-1]) if n else 0, dtype=np.int64)
    slot = groups.start[np.maximum(flow[inside], 0)] + rank[inside]
    np.add.at(seen, slot, 1)
    f.one(check, "link_rank contiguous", bool((seen == 1).all()), f"{int((seen != 1).sum())} ranks missing or repeated")
    zero = (flow >= 0) & (rank == 0)
    rows = np.flatnonzero(zero)
    f.rows(check, "rank 0 is the flow's first arrival", first[flow[rows]] != rows)
    last = np.zeros(n, dtype=np.int64)
    np.maximum.at(last, flow[flow >= 0], arrivals["ts_utc"][flow >= 0])
    tally.add("multi_arrival_flows", int((groups.sizes > 1).sum()))


def fold(ctx: Context, events: Columns, flow: Array, flows: int) -> Array:
    """Events folded per flow, int64[flows, EV_WIDTH]; under `core` amounts are folded by their bits."""
    kinds = ctx.code.many("event_type", "AUTH_REQUEST", "AUTH_RESPONSE", "CLEARING", "REFUND", "REVERSAL")
    amount = events["amount_minor"] if "amount_minor" in events else events["amount"].view(np.int64)
    code = events.get("response_code")
    columns = kc.EventColumns(
        flow,
        events["event_seq"],
        events["event_type"],
        events["ts_utc"],
        amount,
        code if code is not None else np.zeros(len(flow), dtype=np.int8),
    )
    out = np.zeros((flows, kc.EV_WIDTH), dtype=np.int64)
    kc.fold_events(columns, kinds, out)
    return out


def check_anchors(ctx: Context, tally: Tally, state: str, flows: Columns, events: Columns, index: IdIndex) -> Array:
    """Every event has its flow, every flow its events, and anchors equal what events say; returns events' flow rows."""
    f = tally.findings
    ids = {"flow_id": flows["flow_id"]}
    flow = index.rows(events["flow_id"])
    at = {"flow_id": events["flow_id"], "event_seq": events["event_seq"]}
    f.rows("REQ_FLOW_EVENT_PARITY", f"{state} event's flow exists", flow < 0, at)
    out = fold(ctx, events, flow, len(flows["flow_id"]))
    defects = out[:, kc.EV_DEFECTS]
    f.rows("REQ_FLOW_EVENT_PARITY", f"{state} flow has events", out[:, kc.EV_COUNT] == 0, ids)
    f.rows("REQ_FLOW_EVENT_PARITY", f"{state} event_seq contiguous", (defects & kc.SEQ_BROKEN) != 0, ids)
    # A credit without its purchase is posted: one REFUND, no request and no answer.
    credit = np.zeros(len(flows["flow_id"]), dtype=np.bool_)
    if "flow_type" in flows:
        credit = flows["flow_type"] == ctx.code("flow_type", "CARD_CREDIT")
        out[credit, kc.EV_AMOUNT] *= -1
        out[credit, kc.EV_RESPONSE] = out[credit, kc.EV_REQUEST]
    starts = ((defects & kc.REQUEST_MISSING) != 0) != credit
    f.rows("REQ_FLOW_EVENT_PARITY", f"{state} starts with AUTH_REQUEST, credits do not", starts, ids)
    f.rows("REQ_TIME_MONOTONE", f"{state} events in time order", (defects & kc.TIME_BROKEN) != 0, ids)
    for name, column, sign in ANCHORS:
        if name in flows and (column in (kc.EV_REQUEST, kc.EV_RESPONSE) or "amount_minor" in events):
            bad = flows[name].astype(np.int64) != sign * out[:, column]
            f.rows("REQ_ANCHOR_EVENTS", f"{state} {name}", bad, ids)
        elif name != "amount_minor":
            f.skip("REQ_ANCHOR_EVENTS", f"{state} {name}", "not published under this profile")
    if "amount_minor" not in events:
        bad = flows["amount"].view(np.int64) != out[:, kc.EV_AMOUNT]
        f.rows("REQ_ANCHOR_EVENTS", f"{state} amount", bad, ids)
    check_times(ctx, tally, state, flows, events)
    check_majors(ctx, tally, state, flows, events, flow)
    return flow


def check_times(ctx: Context, tally: Tally, state: str, flows: Columns, events: Columns) -> None:
    """Instants of flows never decrease along the life of a flow, and all lie inside the settlement horizon."""
    f = tally.findings
    ids = {"flow_id": flows["flow_id"]}
    at = {"flow_id": events["flow_id"], "event_seq": events["event_seq"]}
    low, high = ctx.horizon.start, ctx.horizon.settled
    ts = events["ts_utc"]
    f.rows("REQ_SCENARIO_OOB", f"{state} event inside the settlement horizon", (ts < low) | (ts >= high), at)
    accepted = flows["ts_utc"]
    f.rows(
        "REQ_SCENARIO_OOB", f"{state} flow inside the settlement horizon", (accepted < low) | (accepted >= high), ids
    )
    if "response_ts_utc" not in flows:
        f.skip("REQ_TIME_MONOTONE", f"{state} anchors", "instants are not published under this profile")
        return
    sent, answered = flows["auth_sent_utc"], flows["response_ts_utc"]
    f.rows("REQ_TIME_MONOTONE", f"{state} sent after acceptance", sent < accepted, ids)
    f.rows("REQ_TIME_MONOTONE", f"{state} answered after sent", answered < sent, ids)
    for name in ("clear_ts_utc", "refund_ts_utc", "reversal_ts_utc"):
        late = flows[name]
        f.rows("REQ_TIME_MONOTONE", f"{state} {name} after the answer", (late != 0) & (late < answered), ids)


def check_majors(ctx: Context, tally: Tally, state: str, flows: Columns, events: Columns, flow: Array) -> None:
    """Major units are minor units over the currency's power of ten, in flows and events."""
    if "amount_minor" not in flows:
        return
    f = tally.findings
    scale = ctx.scales[flows["currency"]]
    ids = {"flow_id": flows["flow_id"]}
    f.rows(
        "REQ_ANCHOR_EVENTS",
        f"{state} amount in major units",
        differs(flows["amount"], flows["amount_minor"] / scale),
        ids,
    )
    if len(scale):
        major = events["amount_minor"] / scale[np.maximum(flow, 0)]
        at = {"flow_id": events["flow_id"], "event_seq": events["event_seq"]}
        f.rows("REQ_ANCHOR_EVENTS", f"{state} event amount in major units", differs(events["amount"], major), at)


def baseline_figures(ctx: Context, tally: Tally, flows: Columns) -> None:
    """Counters of baseline realism."""
    tally.add("s2_flows", len(flows["flow_id"]))
    if "auth_decision" not in flows:
        return
    declined = flows["auth_decision"] == ctx.code("auth_decision", "DECLINE")
    for label in ("ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID"):
        mine = flows["channel_group"] == ctx.code("channel_group", label)
        tally.add(f"flows_{label}", int(mine.sum()))
        tally.add(f"declined_{label}", int((mine & declined).sum()))
    cleared = flows["cleared_minor"] > 0
    tally.add("cleared", int(cleared.sum()))
    tally.add("refunded", int((cleared & (flows["refunded_minor"] > 0)).sum()))
    challenged = np.isin(flows["step_up_result"], ctx.code.many("step_up_result", "PASSED", "ABANDONED"))
    tally.add("challenged", int(challenged.sum()))
    per_session = np.unique(flows["session_id"], return_counts=True)[1]
    tally.add("multi_flow_sessions", int((per_session > 1).sum()))


def untouched_accounts(flows: Table) -> Array:
    """Rows whose account has no tagged flow in the shard, bool[n]."""
    top = int(flows["account_id"].max(initial=0))
    tagged = np.zeros(top + 1, dtype=np.bool_)
    tagged[flows["account_id"][flows["fraud_flag"]]] = True
    result: Array = ~tagged[flows["account_id"]]
    return result
