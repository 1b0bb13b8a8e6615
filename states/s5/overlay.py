"""Checks of S3 on one shard: what came through unchanged, what says that it changed, what is new, and its tags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudloom.kernels.checks import follow_events
from fraudloom.states.s5.arrivals import ENTITIES, LINK_RULES, OWNERSHIP, entity_defects
from fraudloom.states.s5.context import Context
from fraudloom.states.s5.flows import untouched_accounts
from fraudloom.states.s5.joins import Array, Groups, IdIndex, Table, decode, differs, take, unequal_rows
from fraudloom.states.s5.tally import Tally
from fraudloom.tables import Columns

#: Bits of mutation_flags.
AMOUNT, TIME, DEVICE, ADDRESS, ROUTING, MERCHANT, REFUND, REDONE = 1, 2, 4, 8, 16, 32, 64, 128
#: Columns that no overlay may change on a baseline flow, and those that it may under a flag.
FIXED = ("arrival_seq", "party_id", "account_id", "instrument_id", "session_id")
UNDER_FLAG = (
    ("amount_minor", AMOUNT),
    ("ts_utc", TIME),
    ("device_id", DEVICE),
    ("ip_id", ADDRESS),
    ("merchant_id", ROUTING | MERCHANT),
    ("channel_group", ROUTING | MERCHANT),
    ("currency", ROUTING | MERCHANT | AMOUNT),
)
PARITY = "REQ_FLOW_EVENT_PARITY"
CAMPAIGN = "REQ_CAMPAIGN_INTEGRITY"


@dataclass(frozen=True)
class Overlay:
    """Joins of a shard's S3 flows: baseline row per flow or -1, baseline flow per flow, rows that nothing touched."""

    base: Array
    ordinals: Array
    untouched: Array
    base_rows: int


def check_flows(ctx: Context, tally: Tally, flows: Columns, base: Columns, base_index: IdIndex) -> Overlay:
    """Every baseline flow is there once; untouched accounts are equal bit for bit; the rest says what changed."""
    f = tally.findings
    ids = {"flow_id": flows["flow_id"]}
    ordinals = decode(ctx.keys["flow"], flows["flow_id"])
    limit = 8 * ctx.upstream.rows
    new = ordinals >= limit
    row = base_index.rows(flows["flow_id"])
    f.rows("REQ_PK_UNIQUENESS", "S3 flow id decodes to an ordinal", ordinals < 0, ids)
    f.rows(PARITY, "baseline flow id exists in S2", ~new & (row < 0), ids)
    seen = np.bincount(row[row >= 0], minlength=len(base["flow_id"]))
    f.rows(PARITY, "S2 flow present in S3", seen == 0, {"flow_id": base["flow_id"]})
    f.rows(PARITY, "new flow has no arrival", new & (flows["arrival_seq"] != 0), ids)
    tally.overlay_ordinals.append(ordinals[new])
    untouched = untouched_accounts(flows) & (row >= 0)
    if "origin_type" in flows:
        _origins(ctx, tally, flows, base, row, new)
        untouched = np.where(flows["mutation_flags"] == 0, row >= 0, untouched)
    kept = np.flatnonzero(untouched)
    from_row = row[kept]
    for name, values in base.items():
        if name in flows:
            bad = unequal_rows(flows[name], kept, values, from_row)
            f.some(PARITY, f"untouched flow equals S2 in {name}", len(kept), kept[bad], ids)
    return Overlay(row, ordinals, untouched, len(base["flow_id"]))


def _origins(ctx: Context, tally: Tally, flows: Columns, base: Columns, row: Array, new: Array) -> None:
    f = tally.findings
    ids = {"flow_id": flows["flow_id"]}
    kind, flags = flows["origin_type"], flows["mutation_flags"]
    plain = ctx.code("origin_type", "BASELINE_FLOW")
    mutated = ctx.code("origin_type", "BASELINE_FLOW_MUTATED")
    pure = ctx.code("origin_type", "PURE_FRAUD_FLOW")
    f.rows(PARITY, "origin_type of new flows", new != (kind == pure), ids)
    f.rows(PARITY, "origin_flow_id", flows["origin_flow_id"] != np.where(new, 0, flows["flow_id"]), ids)
    changed = (flags & ~np.int16(REDONE)) != 0
    f.rows(PARITY, "a plain baseline flow is not mutated", (kind == plain) & changed, ids)
    f.rows(PARITY, "accounts without fraud are not redone", untouched_accounts(flows) & (flags != 0), ids)
    again = flows["is_redecided"]
    f.rows(PARITY, "decided again where new flows say so", again != decided_again(ctx, flows, new), ids)
    f.rows(PARITY, "decided otherwise only where decided again", ((flags & REDONE) != 0) & ~again, ids)
    for name in FIXED:
        f.rows(PARITY, f"baseline flow keeps {name}", (row >= 0) & (take(base[name], row) != flows[name]), ids)
    for name, allowed in UNDER_FLAG:
        bad = (row >= 0) & ((flags & allowed) == 0) & (take(base[name], row) != flows[name])
        f.rows(PARITY, f"{name} changes only under its flag", bad, ids)
    tally.add("flows_mutated", int((kind == mutated).sum()))
    tally.add("flows_new", int(new.sum()))
    for bit in (AMOUNT, TIME, DEVICE, ADDRESS, ROUTING, MERCHANT, REFUND, REDONE):
        tally.add(f"axis_{bit}", int(((flags & bit) != 0).sum()))


def decided_again(ctx: Context, flows: Columns, new: Array) -> Array:
    """Flows that S3 has the issuer decide, bool[n]: new ones, and those of their accounts from the first new flow to
    `redo_us` after the last; no credits."""
    account, ts = flows["account_id"], flows["ts_utc"]
    top = int(account.max(initial=0)) + 1
    first, last = np.full(top, np.iinfo(np.int64).max), np.full(top, np.iinfo(np.int64).min // 2)
    np.minimum.at(first, account[new], ts[new])
    np.maximum.at(last, account[new], ts[new])
    near: Array = (ts >= first[account]) & (ts <= last[account] + ctx.redo_us)
    near &= flows["flow_type"] != ctx.code("flow_type", "CARD_CREDIT")
    return near


def check_entities(ctx: Context, tally: Tally, flows: Columns, overlay: Overlay) -> None:
    """Entities of flows that the overlay touched: ownership always holds, devices and addresses unless swapped."""
    full = "terminal_id" in flows
    rows = np.flatnonzero(~overlay.untouched)
    part = {c: flows[c][rows] for c in (*ENTITIES, "merchant_id", "flow_id")}
    none = np.zeros(len(rows), dtype=np.int64)
    part["terminal_id"] = flows["terminal_id"][rows] if full else none
    swapped = flows["mutation_flags"][rows].astype(np.int64) if full else none
    if not full:
        tally.findings.skip("REQ_ENTITY_LINKS", "S3 devices and addresses", "terminal_id is not published")
    fresh = overlay.base[rows] < 0
    bad = entity_defects(ctx, part, part["terminal_id"]).astype(np.int64)
    exempt = {4: fresh | ((swapped & DEVICE) != 0), 8: fresh | ((swapped & (DEVICE | ADDRESS)) != 0)}
    for bit, rule in LINK_RULES:
        if not full and bit not in OWNERSHIP:
            continue
        free = exempt.get(bit, np.zeros(len(rows), dtype=np.bool_))
        wrong = ((bad & bit) != 0) & ~free
        tally.findings.rows("REQ_ENTITY_LINKS", f"S3 {rule}", wrong, {"flow_id": part["flow_id"]})


def check_events(
    ctx: Context,
    tally: Tally,
    flows: Columns,
    events: Columns,
    flow: Array,
    base_events: Columns,
    base_flow: Array,
    overlay: Overlay,
) -> None:
    """Events of the overlay against the baseline's: untouched ones equal, followed ones resolve, lost ones declared."""
    f = tally.findings
    at = {"flow_id": events["flow_id"], "event_seq": events["event_seq"]}
    known = flow >= 0
    for name in ("fraud_flag", "campaign_id"):
        f.rows(CAMPAIGN, f"event's {name} as on its flow", known & (take(flows[name], flow) != events[name]), at)
    groups = Groups(base_flow, overlay.base_rows)
    untouched = take(overlay.untouched, flow).astype(np.bool_) & known
    full = "origin_event_seq" in events
    origin = events["origin_event_seq"] if full else np.where(untouched, events["event_seq"] + 1, 0).astype(np.int32)
    source = np.empty(len(flow), dtype=np.int64)
    follow_events(flow, origin, overlay.base, groups.start, groups.order, source)
    f.rows(PARITY, "origin event exists", source == -2, at)
    same = np.flatnonzero((source >= 0) & (~events["is_fraud_event"] if full else untouched))
    from_row = source[same]
    for name, values in base_events.items():
        bad = unequal_rows(events[name], same, values, from_row)
        f.some(PARITY, f"unchanged event equals S2 in {name}", len(same), same[bad], at)
    followed = np.bincount(source[source >= 0], minlength=len(base_flow))
    f.rows(PARITY, "baseline event followed once", followed > 1, _at(base_events))
    _lost(tally, flows, base_events, base_flow, followed, overlay, flow)
    if full:
        f.rows(PARITY, "events of untouched flows are not marked", untouched & events["is_fraud_event"], at)
        f.rows(PARITY, "new event is marked", (source == -1) & ~events["is_fraud_event"], at)
    tally.add("s3_events", len(flow))


def _at(events: Table) -> dict[str, Array]:
    return {"flow_id": events["flow_id"], "event_seq": events["event_seq"]}


def _lost(
    tally: Tally,
    flows: Columns,
    base_events: Columns,
    base_flow: Array,
    followed: Array,
    overlay: Overlay,
    flow: Array,
) -> None:
    """Baseline events that no event follows belong to a flow that says what changed; untouched flows gain none."""
    f = tally.findings
    top = overlay.base_rows
    declared = np.zeros(top + 1, dtype=np.bool_)
    hit = overlay.base >= 0
    if "mutation_flags" in flows:
        declared[overlay.base[hit]] = flows["mutation_flags"][hit] != 0
    else:
        declared[overlay.base[hit]] = ~overlay.untouched[hit]
    missing = (followed == 0) & ~declared[base_flow] & (base_flow >= 0)
    f.rows(PARITY, "baseline event present, or its flow says why not", missing, _at(base_events))
    before = np.bincount(base_flow[base_flow >= 0], minlength=top + 1)
    after = np.bincount(flow[flow >= 0], minlength=len(flows["flow_id"]))
    kept = overlay.untouched
    bad = kept & (after != before[np.maximum(overlay.base, 0)])
    f.rows(PARITY, "untouched flow keeps its events", bad, {"flow_id": flows["flow_id"]})


def check_sessions(
    ctx: Context, tally: Tally, flows: Columns, sessions: Columns, before: Columns, overlay: Overlay
) -> None:
    """Sessions after the overlay: the baseline's unchanged, one of its own per new flow, every flow's session there."""
    f = tally.findings
    check = "REQ_SESSION_AGGREGATES"
    index = IdIndex(sessions["session_id"])
    f.one("REQ_PK_UNIQUENESS", "S3 session once", not index.repeats, f"{index.repeats} sessions repeated")
    row = index.rows(before["session_id"])
    f.rows(check, "S1 session present in S3", row < 0, shown={"session_id": before["session_id"]})
    for name, values in before.items():
        if name in sessions:
            bad = (row >= 0) & differs(take(sessions[name], row), values)
            f.rows(check, f"S3 session equals S1 in {name}", bad, shown={"session_id": before["session_id"]})
    place = index.rows(flows["session_id"])
    f.rows("REQ_FLOW_SESSION_LINKS", "S3 flow's session exists", place < 0, {"flow_id": flows["flow_id"]})
    own = np.ones(len(sessions["session_id"]), dtype=np.bool_)
    own[row[row >= 0]] = False
    f.one(
        check,
        "new sessions = new flows",
        int(own.sum()) == int((overlay.base < 0).sum()),
        "new flows without own session",
    )
    new = np.flatnonzero((overlay.base < 0) & (place >= 0))
    pairs = (
        ("session_start_utc", "ts_utc"),
        ("session_end_utc", "ts_utc"),
        *((c, c) for c in (*ENTITIES, "merchant_id")),
    )
    ids = {"flow_id": flows["flow_id"][new]}
    for mine, theirs in pairs:
        f.rows(check, f"new session's {mine}", sessions[mine][place[new]] != flows[theirs][new], ids)
    f.rows(check, "new session has one flow", sessions["arrival_count"][place[new]] != 1, ids)
    ordinals = decode(ctx.keys["session"], sessions["session_id"])
    f.rows(
        "REQ_PK_UNIQUENESS", "new session id decodes to its flow", ordinals[place[new]] != overlay.ordinals[new], ids
    )


def check_tags(ctx: Context, tally: Tally, flows: Columns, overlay: Overlay) -> None:
    """Campaign tags resolve in the catalogue, agree with it, and lie in its windows and ordinal ranges."""
    f = tally.findings
    ids = {"flow_id": flows["flow_id"]}
    tagged = flows["campaign_id"] > 0
    f.rows(CAMPAIGN, "fraud_flag says tagged", flows["fraud_flag"] != tagged, ids)
    f.rows(CAMPAIGN, "new flow is tagged", (overlay.base < 0) & ~tagged, ids)
    book = ctx.campaigns
    place = IdIndex(book["campaign_id"]).rows(flows["campaign_id"])
    f.rows(CAMPAIGN, "campaign is in the catalogue", tagged & (place < 0), ids)
    new = overlay.base < 0
    tally.add("s3_flows", len(tagged))
    tally.add("tagged", int(tagged.sum()))
    for c, n, fresh in zip(*_count(flows["campaign_id"][tagged], new[tagged]), strict=True):
        counts = tally.campaign_flows.setdefault(int(c), [0, 0])
        counts[0] += int(n)
        counts[1] += int(fresh)
    if "incident_id" not in flows:
        f.skip(CAMPAIGN, "incidents, patterns, windows", "not published under this profile")
        return
    f.rows(CAMPAIGN, "incident exactly on tagged flows", (flows["incident_id"] > 0) != tagged, ids)
    f.rows(
        CAMPAIGN,
        "incident id decodes to an ordinal",
        tagged & (decode(ctx.keys["incident"], flows["incident_id"]) < 0),
        ids,
    )
    ok = tagged & (place >= 0)
    none_type, none_class = ctx.code("campaign_type", "NONE"), ctx.code("fraud_class", "NONE")
    for name, column, none in (
        ("fraud_pattern_type", "campaign_type", none_type),
        ("fraud_class", "fraud_class", none_class),
    ):
        f.rows(CAMPAIGN, f"{name} as catalogued", ok & (take(book[column], place) != flows[name]), ids)
        f.rows(CAMPAIGN, f"{name} NONE on untagged flows", ~tagged & (flows[name] != none), ids)
    start, end = take(book["window_start_utc"], place), take(book["window_end_utc"], place)
    inside = (flows["ts_utc"] >= start) & (flows["ts_utc"] < end)
    f.rows(CAMPAIGN, "flow inside its campaign's window", ok & ~inside, ids)
    low = take(book["ordinal_base"], place)
    bounds = np.append(np.sort(book["ordinal_base"]), np.iinfo(np.int64).max)
    high = bounds[np.minimum(np.searchsorted(bounds, low, side="right"), len(bounds) - 1)]
    out = (overlay.ordinals < low) | (overlay.ordinals >= high)
    f.rows(CAMPAIGN, "new flow's ordinal in its campaign's range", ok & new & out, ids)
    pairs = np.unique(np.stack([flows["campaign_id"][tagged], flows["incident_id"][tagged]], axis=1), axis=0)
    tally.incidents.append(pairs)
    for c in np.unique(flows["fraud_pattern_type"][tagged]):
        tally.add(f"pattern_{int(c)}", int((flows["fraud_pattern_type"][tagged] == c).sum()))


def _count(campaign: Array, new: Array) -> tuple[Array, Array, Array]:
    ids, inverse, counts = np.unique(campaign, return_inverse=True, return_counts=True)
    return ids, counts, np.bincount(inverse, weights=new, minlength=len(ids)).astype(np.int64)
