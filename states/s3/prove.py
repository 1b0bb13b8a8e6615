"""Invariants of S3 on one shard in memory (states.md, S3, invariants 1 to 9; draws are counted by S5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fraudloom.errors import InternalError
from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.merge import first_difference
from fraudloom.states.s3.policy import CHAIN, NEW, Array
from fraudloom.states.s3.quotas import Plan2
from fraudloom.tables import Columns

Rows = Mapping[str, Array]
COVERAGE = "OVERLAY_BASELINE_COVERAGE_MISMATCH"
TAGS = "CAMPAIGN_TAGGING_INCONSISTENT"
INTENSITY = "CAMPAIGN_INTENSITY_MISMATCH"
TARGETS = "TARGET_SELECTION_INCONSISTENT"
ENTITIES = "ENTITY_CONTEXT_BROKEN"
ROUTES = "ROUTING_CONTEXT_INCONSISTENT"
TIMES = "TEMPORAL_STRUCTURE_IMPLAUSIBLE"
EVENTS = "OVERLAY_FLOW_EVENT_MISMATCH"
#: Columns of S2's anchors that the overlay may change on a baseline flow are only those that the issuer writes.
EVENT_COLUMNS = ("event_seq", "event_type", "ts_utc", "amount", "amount_minor", "response_code", "attempt")


def _fail(code: str, what: str, found: object, where: object = None) -> InternalError:
    return InternalError("S3", f"S3_{code}", what=what, found=found, where=where)


def _demand(good: Array, code: str, what: str, rows: Rows, *columns: str) -> None:
    """Raise `code` for the first row that is not good, showing the named columns of it."""
    if bool(good.all()):
        return
    bad = int(np.argmin(good))
    shown = ", ".join(f"{c} {rows[c][bad]}" for c in columns)
    raise _fail(code, what, f"{int((~good).sum())} of {len(good)} rows; the first has {shown}", f"row {bad}")


def _coverage(flows: Columns, base: Columns, old: Array, plain: Array) -> None:
    """Invariants 1, 2 and 9: every baseline flow is there once, and equal where nothing touched it."""
    if len(old) != len(base["flow_id"]) or not np.array_equal(flows["flow_id"][old], base["flow_id"]):
        raise _fail(COVERAGE, "the baseline's flows are not all there, in order", len(old), len(base["flow_id"]))
    whole = np.arange(len(old), dtype=np.int64)
    kept = whole[plain[old]]
    from fraudloom.states.s3.weave import DECIDED

    for name in base:
        if name.startswith("_"):
            continue
        rows = kept if name in DECIDED else whole
        bad = int(first_difference(flows[name], old[rows], base[name], rows))
        if bad >= 0:
            raise _fail(COVERAGE, f"a baseline flow was changed in {name}", base["flow_id"][rows[bad]], "flow_id")


def _origins(p2: Plan2, flows: Columns, new: Array) -> None:
    source = np.where(new, 0, flows["flow_id"])
    _demand(flows["origin_flow_id"] == source, COVERAGE, "origin does not resolve", flows, "flow_id", "origin_flow_id")
    fresh = flows["_ordinal"] >= 8 * p2.plan.n_arrivals
    _demand(fresh == new, COVERAGE, "ordinal and origin disagree", flows, "flow_id", "origin_type")
    _demand(~new | (flows["arrival_seq"] == 0), COVERAGE, "a new flow names an arrival", flows, "flow_id")
    later = (flows["ts_utc"][1:] > flows["ts_utc"][:-1]) | (
        (flows["ts_utc"][1:] == flows["ts_utc"][:-1]) & (flows["flow_id"][1:] > flows["flow_id"][:-1])
    )
    _demand(later, COVERAGE, "flows are not in (ts_utc, flow_id) order", flows, "flow_id")


def _tags(p2: Plan2, flows: Columns, new: Array) -> Array:
    """Invariants 3 and 4; returns each flow's campaign row, -1 for none."""
    c = p2.plan.campaigns
    order = np.argsort(c.id)
    tagged = flows["fraud_flag"]
    at = np.minimum(np.searchsorted(c.id[order], flows["campaign_id"]), max(len(order) - 1, 0))
    row = np.full(len(tagged), -1, np.int64)
    if len(order):
        known = c.id[order][at] == flows["campaign_id"]
        row[known] = order[at[known]]
    _demand(tagged == (row >= 0), TAGS, "a tag is not in the catalogue", flows, "flow_id", "campaign_id")
    _demand(tagged | (flows["campaign_id"] == 0), TAGS, "an untagged flow names a campaign", flows, "flow_id")
    _demand((flows["incident_id"] > 0) == tagged, TAGS, "incident and tag disagree", flows, "flow_id")
    _demand(tagged | ~new, TAGS, "a new flow has no campaign", flows, "flow_id")
    kind = np.where(tagged, c.row[row] + 1 if len(order) else 0, 0)
    _demand(flows["fraud_pattern_type"] == kind, TAGS, "pattern differs from the campaign's", flows, "flow_id")
    for name in ("fraud_class", "tactic", "report_ts_utc", "report_door", "mule_layer"):
        _demand(tagged | (flows[name] == 0), TAGS, f"an untagged flow has {name}", flows, "flow_id", name)
    return row


def _targets(p2: Plan2, flows: Columns, row: Array, new: Array, realised: Mapping[str, Array]) -> None:
    """Invariants 5 and 7: counts, windows, one campaign per account."""
    c = p2.plan.campaigns
    mine = np.flatnonzero(row >= 0)
    part = {k: flows[k][mine] for k in ("flow_id", "ts_utc", "account_id", "_ordinal")}
    r = row[mine]
    counts = {"flows": r, "new_flows": r[new[mine]], "incidents": r[flows["incident_rank"][mine] == 0]}
    for name, rows in counts.items():
        found = np.bincount(rows, minlength=len(c.row))
        if not np.array_equal(found, realised[name]):
            raise _fail(INTENSITY, f"realised {name} differ from the tags", found.tolist(), "realised")
    inside = (part["ts_utc"] >= c.start[r]) & (part["ts_utc"] < c.end[r])
    _demand(inside, TIMES, "a flow outside its campaign's window", part, "flow_id", "ts_utc")
    if not len(r):
        return
    modes = np.zeros(p2.plan.laws.types, np.int8)
    for t in p2.plan.laws.templates:
        modes[t.row] = t.mode
    # Mules act for one campaign too, but may be fewer than campaigns; victims of chains and all others lie in lanes.
    chain = modes[c.row[r]] == CHAIN
    laned = ~chain | (flows["mule_layer"][mine] == 1)
    own = p2.plan.domain.campaign_of[part["account_id"] - 1] == r
    _demand(~laned | own, TARGETS, "an account outside its campaign's lanes", part, "flow_id", "account_id")
    fresh = new[mine] | (modes[c.row[r]] == NEW) | chain
    top = c.base[r] + p2.planned[r]
    ordinal = part["_ordinal"]
    _demand(~fresh | ((ordinal >= c.base[r]) & (ordinal < top)), INTENSITY, "more flows than planned", part, "flow_id")


def _entities(p2: Plan2, flows: Columns, new: Array) -> None:
    """Invariant 6, on new flows: the rest is S1's."""
    tables = p2.plan.pools.tables
    rows = np.flatnonzero(new)
    names = ("flow_id", "party_id", "account_id", "instrument_id", "merchant_id", "terminal_id", "device_id", "ip_id")
    f = {k: flows[k][rows] for k in (*names, "city_id", "channel_group", "amount_minor", "ts_utc")}
    owner = tables["s2_account_base_6A"]["owner_party_id"][f["account_id"] - 1]
    _demand(owner == f["party_id"], ENTITIES, "the account is not the party's", f, "flow_id", "account_id")
    held = f["instrument_id"] > 0
    account = tables["s3_instrument_base_6A"]["account_id"][np.where(held, f["instrument_id"], 1) - 1]
    rail = f["channel_group"] == pc.BANK_RAIL
    _demand(
        np.where(held, account == f["account_id"], rail), ENTITIES, "instrument and account disagree", f, *names[:4]
    )
    for name, dataset in (("device_id", "s4_device_base_6A"), ("ip_id", "s4_ip_base_6A")):
        n = len(tables[dataset][name])
        _demand((f[name] >= 1) & (f[name] <= n), ENTITIES, f"no such {name}", f, "flow_id", name)
    there = f["terminal_id"] > 0
    terminals, at = tables["terminals_2B"], np.where(there, f["terminal_id"], 1) - 1
    if there.any():
        same = (terminals["merchant_id"][at] == f["merchant_id"]) & (terminals["city_id"][at] == f["city_id"])
        _demand(~there | same, ROUTES, "terminal and merchant disagree", f, "flow_id", "terminal_id", "merchant_id")
    _demand(f["amount_minor"] >= 1, ENTITIES, "a new flow without an amount", f, "flow_id", "amount_minor")
    horizon = (f["ts_utc"] >= p2.plan.start_us) & (f["ts_utc"] < p2.plan.end_us)
    _demand(horizon, TIMES, "a new flow outside the horizon", f, "flow_id", "ts_utc")


def _events(frame2: Any, frame3: Any, old: Array, plain: Array) -> None:
    """Invariants 4, 8 and 9 on events."""
    flows, events, base = frame3.flows, frame3.events, frame2.events
    row = events["_flow_row"]
    if not np.array_equal(flows["flow_id"][row], events["flow_id"]):
        raise _fail(EVENTS, "events do not belong to their flows", len(row))
    kept = np.flatnonzero(plain[row])
    was = np.flatnonzero(plain[old][base["_flow_row"]])
    if len(kept) != len(was):
        raise _fail(EVENTS, "untouched flows gained or lost events", len(kept), len(was))
    for name in ("flow_id", *EVENT_COLUMNS):
        bad = int(first_difference(events[name], kept, base[name], was))
        if bad >= 0:
            raise _fail(EVENTS, f"an event of an untouched flow was changed in {name}", base["flow_id"][was[bad]])
    marked = events["is_fraud_event"][kept]
    if marked.any():
        raise _fail(TAGS, "an event of an untouched flow is marked", int(marked.sum()))
    dirty = np.flatnonzero(~plain)
    place = np.full(len(plain), -1, np.int64)
    place[dirty] = np.arange(len(dirty))
    e = np.flatnonzero(~plain[row])
    at, kind, amount = place[row[e]], events["event_type"][e], events["amount_minor"][e]
    part = {"flow_id": flows["flow_id"][dirty]}
    for event, column, sign in (
        (pc.CLEARING, "cleared_minor", 1),
        (pc.REFUND, "refunded_minor", -1),
        (pc.REVERSAL, "reversed_minor", -1),
    ):
        total = np.zeros(len(dirty), np.int64)
        np.add.at(total, at[kind == event], sign * amount[kind == event])
        _demand(total == flows[column][dirty], EVENTS, f"{column} differs from its events", part, "flow_id")
    first = np.full(len(dirty), np.iinfo(np.int64).max)
    np.minimum.at(first, at, events["ts_utc"][e])
    _demand(first == flows["ts_utc"][dirty], EVENTS, "a flow does not begin with its request", part, "flow_id")
    count = np.bincount(at, minlength=len(dirty))
    last = np.full(len(dirty), -1, np.int64)
    np.maximum.at(last, at, events["event_seq"][e])
    _demand(last == count - 1, EVENTS, "event_seq is not contiguous", part, "flow_id")


def _sessions(flows: Columns, sessions: Columns, before: Columns, new: Array) -> None:
    n = len(before["session_id"]) + int(new.sum())
    if len(sessions["session_id"]) != n:
        raise _fail(COVERAGE, "sessions are not those of S1 and one per new flow", len(sessions["session_id"]), n)
    own = np.sort(flows["session_id"][new])
    made = sessions["session_id"][sessions["arrival_count"] == 1]
    if not np.isin(own, made).all():
        raise _fail(COVERAGE, "a new flow has no session of its own", len(own))


def prove(p2: Plan2, world: Any, arrivals: Columns, sessions: Columns, frame2: Any, frame3: Any) -> None:
    """Raise InternalError with the code of states.md for the first broken invariant of a shard."""
    flows = frame3.flows
    code = p2.plan.contracts.code
    new = flows["origin_type"] == code("origin_type", "PURE_FRAUD_FLOW")
    plain = flows["origin_type"] == code("origin_type", "BASELINE_FLOW")
    old = np.flatnonzero(~new)
    _coverage(flows, frame2.flows, old, plain)
    _origins(p2, flows, new)
    row = _tags(p2, flows, new)
    _targets(p2, flows, row, new, frame3.realised)
    _entities(p2, flows, new)
    _events(frame2, frame3, old, plain)
    _sessions(flows, frame3.sessions, sessions, new)
