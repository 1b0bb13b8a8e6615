"""Invariants of S1 on one shard in memory: what later states read has been proven.

Coverage against the sealed arrivals, and identity of the carried columns over all rows, are checked by S5 on the
published parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fraudloom.errors import InternalError
from fraudloom.kernels.attach import RULE_PINNED
from fraudloom.kernels.attach_device import hold_links
from fraudloom.kernels.idmap import encode_ids
from fraudloom.states.behaviour import cap_exceeded
from fraudloom.states.s1.index import WorldIndex
from fraudloom.states.s1.plan import S1Plan
from fraudloom.states.s1.weave import index_rows, key_kind_of
from fraudloom.states.world.view import World
from fraudloom.tables import Columns

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Rows = Mapping[str, np.ndarray[Any, Any]]

#: Index columns that are recomputed from the members, by name of the kernel's output.
STATISTICS = {
    "gap_min_us": "gap_min",
    "gap_max_us": "gap_max",
    "gap_sum_us": "gap_sum",
    "device_id": "device",
    "account_id": "account",
    "instrument_id": "instrument",
    "merchant_id": "merchant",
    "ip_id": "ip",
    "channel_group": "channel",
    "channel_count": "channel_count",
    "merchant_count": "merchant_count",
}


def _demand(good: Bools, code: str, what: str, rows: Rows, *columns: str, expected: object = None) -> None:
    """Raise `code` for the first row that is not good, showing the named columns of it."""
    if bool(good.all()):
        return
    bad = int(np.argmin(good))
    shown = ", ".join(f"{c} {rows[c][bad]}" for c in columns)
    raise InternalError(
        "S1",
        f"S1_{code}",
        what=what,
        found=f"{int((~good).sum())} of {len(good)} rows; the first has {shown}",
        expected=expected,
        where=f"row {bad} of the shard",
    )


def _prove_references(index: WorldIndex, a: Columns) -> None:
    """Invariants 3 and 6: every id is one of 6A; only a rail payment may lack an instrument."""
    for name, count in index.counts.items():
        lowest = 0 if name in ("instrument_id", "terminal_id") else 1
        good = (a[name] >= lowest) & (a[name] <= count)
        _demand(good, "ENTITY_REFERENCE_INVALID", f"{name} is not one of the world's", a, "merchant_id", name)


def _prove_holdings(plan: S1Plan, a: Columns) -> None:
    """Invariants 4 to 6: account and instrument belong together and may be used; copies equal 6A."""
    index, code = plan.index, "ENTITY_ATTACHMENT_INCONSISTENT"
    holdings, account, party = index.holdings, a["account_id"], a["party_id"]
    shown = ("party_id", "account_id", "instrument_id", "channel_group")
    good = index.account_owner[account - 1] == party
    _demand(good, code, "the account is not the party's", a, *shown)
    held = np.flatnonzero(a["instrument_id"] > 0)
    row = a["instrument_id"][held] - 1
    free = plan.holding.optional[a["channel_group"]] | (a["instrument_id"] > 0)
    _demand(free, code, "the channel requires an instrument", a, *shown)
    kind = np.full(len(account), -1, dtype=np.int8)
    kind[held] = holdings.kind[row]
    pinned = a["attach_rule_id"][held] == RULE_PINNED
    ts, channel = a["ts_utc"][held], a["channel_group"][held]
    some = {k: a[k][held] for k in shown}
    _demand(holdings.account_of[row] == account[held], code, "the instrument is not of the account", some, *shown)
    _demand(holdings.holder[row] == party[held], code, "the instrument is not held by the party", some, *shown)
    in_use = (holdings.usable_from[row] <= ts) & (ts < holdings.usable_to[row])
    _demand(in_use | pinned, code, "the instrument is not in use at the instant", some, *shown)
    fits = plan.holding.eligible[channel, holdings.kind[row]]
    _demand(fits | pinned, code, "the channel does not take such an instrument", some, *shown)
    _demand(a["instrument_kind"] == kind, code, "instrument_kind differs from 6A", a, "instrument_id")
    _demand(a["ledger_class"] == holdings.ledger[account - 1], code, "ledger_class differs from 6A", a, "account_id")
    named = a["pinned_instrument_id"]
    good = (named == a["instrument_id"]) | (named == 0)
    _demand(good, code, "a pinned row is not on its own card", a, "pinned_instrument_id", "instrument_id")
    _demand((named > 0) == (a["attach_rule_id"] == RULE_PINNED), code, "attach_rule_id is not PINNED", a, *shown)


def _prove_devices(index: WorldIndex, a: Columns) -> None:
    """Invariant 4 for devices and addresses: the party's or the merchant's device, one of the device's addresses."""
    code, devices, n = "ENTITY_ATTACHMENT_INCONSISTENT", index.devices, len(a["device_id"])
    at_till = np.flatnonzero(a["terminal_id"] > 0)
    row = a["terminal_id"][at_till] - 1
    good = (
        (index.terminal_merchant[row] == a["merchant_id"][at_till])
        & (index.terminal_device[row] == a["device_id"][at_till])
        & (index.terminal_ip[row] == a["ip_id"][at_till])
        & (key_kind_of(a["channel_group"][at_till]) == 0)
    )
    shown = ("party_id", "merchant_id", "device_id", "ip_id", "terminal_id")
    some = {k: a[k][at_till] for k in shown}
    _demand(good, code, "terminal, merchant, device and address do not belong together", some, *shown)
    out = np.empty(n, dtype=np.bool_)
    owner = np.where(a["terminal_id"] > 0, 0, a["party_id"])
    hold_links(devices.link_ptr, devices.link_device, owner, a["device_id"], out)
    _demand(out, code, "the party does not use the device", a, *shown)
    own = np.where(a["terminal_id"] > 0, 0, a["device_id"])
    hold_links(devices.ip_ptr, devices.ip_id, own, a["ip_id"], out)
    _demand(out, code, "the device does not use the address", a, *shown)
    row = a["device_id"] - 1
    in_use = (devices.device_from[row] <= a["ts_utc"]) & (a["ts_utc"] < devices.device_to[row])
    _demand(in_use | (a["terminal_id"] > 0), code, "the device is not in use at the instant", a, *shown)
    good = a["ip_group"] == devices.ip_group[a["ip_id"] - 1]
    _demand(good, code, "ip_group differs from 6A", a, "ip_id", "ip_group")


def _prove_order(index: WorldIndex, a: Columns, s: Columns) -> None:
    """Invariants 1 and 7: each arrival once, in order, of one shard; each with one session that exists."""
    ts, merchant, seq = a["ts_utc"], a["merchant_id"], a["arrival_seq"]
    later = (merchant[1:] > merchant[:-1]) | ((merchant[1:] == merchant[:-1]) & (seq[1:] > seq[:-1]))
    good = np.ones(len(ts), dtype=np.bool_)
    good[1:] = (ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & later)
    _demand(
        good, "ARRIVAL_COVERAGE_MISMATCH", "an arrival occurs twice or out of order", a, "merchant_id", "arrival_seq"
    )
    shard = index.shard[a["party_id"] - 1]
    good = shard == shard[0]
    _demand(good, "SESSION_AXIS_MISMATCH", "an arrival is of another shard", a, "party_id", expected=int(shard[0]))
    row = a["_session_row"]
    good = (row >= 0) & (row < len(s["session_id"]))
    _demand(good, "SESSION_ID_MISMATCH", "an arrival has no session", a, "merchant_id", "arrival_seq")
    good = s["session_id"][row] == a["session_id"]
    _demand(good, "SESSION_ID_MISMATCH", "an arrival names another session", a, "session_id", "arrival_seq")


def _prove_sessions(plan: S1Plan, a: Columns, s: Columns) -> None:
    """Invariants 8 and 9: no orphan, one key per session, ids from first arrivals, aggregates that recompute."""
    n, m = len(a["ts_utc"]), len(s["session_id"])
    count = np.bincount(a["_session_row"], minlength=m)
    code = "SESSION_AGGREGATE_MISMATCH"
    _demand(count > 0, code, "a session has no arrival", s, "session_id")
    _demand(count == s["arrival_count"], code, "arrival_count differs", s, "session_id", "arrival_count")
    members = np.argsort(a["_session_row"], kind="stable")
    ptr = np.zeros(m + 1, dtype=np.int64)
    np.cumsum(count, out=ptr[1:])
    first, last = members[ptr[:-1]], members[ptr[1:] - 1]
    start, end = a["ts_utc"][first], a["ts_utc"][last]
    _demand(s["session_start_utc"] == start, code, "session_start_utc differs", s, "session_id")
    _demand(s["session_end_utc"] == end, code, "session_end_utc differs", s, "session_id")
    _demand(s["duration_us"] == end - start, code, "duration_us differs", s, "session_id", "duration_us")
    _demand(s["party_id"] == a["party_id"][first], code, "party_id differs", s, "session_id", "party_id")
    kind = key_kind_of(a["channel_group"])
    _demand(s["session_key_kind"] == kind[first], code, "session_key_kind differs", s, "session_id")
    head = first[a["_session_row"]]
    entity = np.where(kind == 0, a["instrument_id"], a["device_id"])
    good = (kind == kind[head]) & (a["party_id"] == a["party_id"][head]) & (entity == entity[head])
    _demand(good, code, "a session mixes keys", a, "session_id", "party_id", "instrument_id", "device_id")
    apart = np.zeros(n, dtype=np.int64)
    apart[members[1:]] = np.diff(a["ts_utc"][members])
    apart[first] = 0
    good = apart < plan.cut.break_us[kind]
    _demand(good, code, "a session holds a gap of the hard break or more", a, "session_id", "arrival_seq")
    stats = index_rows(a, ptr, members)
    for name, field in STATISTICS.items():
        _demand(s[name] == getattr(stats, field), code, f"{name} differs", s, "session_id", name)
    ids = np.empty(m, dtype=np.int64)
    encode_ids(plan.id_key, 8 * a["_ordinal"][first], ids)
    _demand(ids == s["session_id"], "SESSION_ID_MISMATCH", "session_id is not its first arrival's", s, "session_id")
    good = np.ones(m, dtype=np.bool_)
    good[1:] = (start[1:] > start[:-1]) | ((start[1:] == start[:-1]) & (ids[1:] > ids[:-1]))
    _demand(good, "SESSION_ID_MISMATCH", "sessions are out of order or occur twice", s, "session_id")


def prove(plan: S1Plan, world: World, arrivals: Columns, sessions: Columns) -> None:
    """Prove the invariants of S1 on one shard's output; InternalError names the first that is broken.

    Codes: S1_OUTPUT_SCHEMA_VIOLATION, S1_ENTITY_REFERENCE_INVALID, S1_ENTITY_ATTACHMENT_INCONSISTENT,
    S1_ARRIVAL_COVERAGE_MISMATCH, S1_SESSION_AXIS_MISMATCH, S1_SESSION_ID_MISMATCH, S1_SESSION_AGGREGATE_MISMATCH.
    """
    for dataset_id, columns in (("s1_arrival_entities_6B", arrivals), ("s1_session_index_6B", sessions)):
        _prove_schema(plan, dataset_id, columns)
    if len(arrivals["ts_utc"]) == 0:
        if len(sessions["session_id"]):
            raise InternalError("S1", "S1_SESSION_AGGREGATE_MISMATCH", what="sessions without arrivals")
        return
    largest = int(sessions["arrival_count"].max())
    if plan.session_max is not None and largest > plan.session_max:
        raise cap_exceeded("S1", "flows_per_session", f"a session of {largest} arrivals", plan.session_max)
    _prove_references(plan.index, arrivals)
    _prove_holdings(plan, arrivals)
    _prove_devices(plan.index, arrivals)
    _prove_order(plan.index, arrivals, sessions)
    _prove_sessions(plan, arrivals, sessions)


def _prove_schema(plan: S1Plan, dataset_id: str, columns: Columns) -> None:
    """Every column of the contract, in its type, of one length."""
    length = len(next(iter(columns.values())))
    for column in plan.contracts.dataset(dataset_id).columns:
        values = columns.get(column.name)
        if values is None or values.dtype != column.memory_dtype or len(values) != length:
            raise InternalError(
                "S1",
                "S1_OUTPUT_SCHEMA_VIOLATION",
                what="a column is missing, or has another type or length",
                found="no column" if values is None else f"{values.dtype}, {len(values)} rows",
                expected=f"{column.memory_dtype}, {length} rows",
                where=f"{dataset_id}.{column.name}",
            )
