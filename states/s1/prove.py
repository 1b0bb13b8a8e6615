"""Invariants of S1, proven in memory before later states read: what a unit of the scatter hands on, and each shard.

The checks and their codes are `states/s1/checks.py`. S5 looks again, at what was published.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import attach as ka
from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.attach_device import hold_links
from fraudloom.kernels.idmap import encode_ids
from fraudloom.kernels.scatter import scatter_order
from fraudloom.kernels.sessions import DAY_US
from fraudloom.states.behaviour import cap_exceeded
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s1.checks import PROOFS
from fraudloom.states.s1.index import WorldIndex
from fraudloom.states.s1.ledger import Ledger, add_checksums
from fraudloom.states.s1.plan import S1Plan
from fraudloom.states.s1.weave import index_rows, key_kind_of
from fraudloom.states.world.view import World
from fraudloom.tables import Columns

Bools = np.ndarray[Any, np.dtype[np.bool_]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

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


def _prove_references(index: WorldIndex, a: Columns) -> None:
    """Invariant 3: every id is one of 6A; instruments and terminals may be null."""
    for name, count in index.counts.items():
        lowest = 0 if name in ("instrument_id", "terminal_id") else 1
        good = (a[name] >= lowest) & (a[name] <= count)
        if not good.all():
            PROOFS.rows("an id is not one of the world's", good, a, note=f"{name} {a[name][np.argmin(good)]}: ")


def _prove_holdings(plan: S1Plan, a: Columns) -> None:
    """Invariants 4 to 6: account and instrument belong together and may be used; copies equal 6A."""
    index = plan.index
    holdings, account, party, instrument = index.holdings, a["account_id"], a["party_id"], a["instrument_id"]
    PROOFS.rows("the account is not the party's", index.account_owner[account - 1] == party, a)
    some = instrument > 0
    PROOFS.rows("the channel requires an instrument", plan.holding.optional[a["channel_group"]] | some, a)
    held = np.flatnonzero(some)
    row = instrument[held] - 1
    kind = np.full(len(account), -1, dtype=np.int8)
    kind[held] = holdings.kind[row]
    pinned = a["pinned_instrument_id"][held] > 0
    ts = a["ts_utc"][held]
    good = holdings.account_of[row] == account[held]
    PROOFS.rows("the instrument is not of the account", good, a, held)
    PROOFS.rows("the instrument is not held by the party", holdings.holder[row] == party[held], a, held)
    since, until = holdings.usable_from[row], holdings.usable_to[row]
    PROOFS.rows("the instrument is a spare or a successor", index.active[row] | pinned, a, held)
    PROOFS.rows("the instrument is not in use at the instant", ((since <= ts) & (ts < until)) | pinned, a, held)
    fits = plan.holding.eligible[a["channel_group"][held], holdings.kind[row]]
    PROOFS.rows("the channel does not take such an instrument", fits | pinned, a, held)
    PROOFS.rows("instrument_kind differs from 6A", a["instrument_kind"] == kind, a)
    PROOFS.rows("ledger_class differs from 6A", a["ledger_class"] == holdings.ledger[account - 1], a)


def _prove_provenance(plan: S1Plan, a: Columns) -> None:
    """Invariant 5: how a party was found agrees with the arrival and with the policy."""
    rule, named, series = a["attach_rule_id"], a["pinned_instrument_id"], a["series_key"] > 0
    pinned = named > 0
    PROOFS.rows("a pinned row is not on its own card", ~pinned | (named == a["instrument_id"]), a)
    of_series = (rule == ka.RULE_SERIES_REGULAR) | (rule == ka.RULE_SERIES_POOL)
    good = (rule == ka.RULE_PINNED) == pinned
    good &= pinned | ((of_series == series) & ((rule != ka.RULE_TRIP_VISITOR) | a["trip"]))
    PROOFS.rows("attach_rule_id does not fit the arrival", good, a)
    p = plan.p_regular
    first, second = np.array([1.0, p, 1.0, p, 1.0, 1.0]), np.array([1.0, p, 1.0 - p, p, 1.0 - p, 1.0])
    score = a["attach_score"]
    PROOFS.rows("attach_score is not that of its rule", (score == first[rule]) | (score == second[rule]), a)
    PROOFS.rows("attach_rng_family is not the attachment's", a["attach_rng_family"] == plan.attach_family, a)


def _prove_devices(index: WorldIndex, a: Columns) -> None:
    """Invariants 4 and 5: the party's or the merchant's device, in use, and one of the device's addresses."""
    devices, terminal = index.devices, a["terminal_id"]
    at = np.flatnonzero(terminal > 0)
    row = terminal[at] - 1
    good = key_kind_of(a["channel_group"][at]) == 0
    PROOFS.rows("a terminal is used off tills and cash machines", good, a, at)
    PROOFS.rows("the terminal is not the merchant's", index.terminal_merchant[row] == a["merchant_id"][at], a, at)
    PROOFS.rows("the device is not the terminal's", index.terminal_device[row] == a["device_id"][at], a, at)
    PROOFS.rows("the address is not the terminal's", index.terminal_ip[row] == a["ip_id"][at], a, at)
    out = np.empty(len(terminal), dtype=np.bool_)
    customer = terminal == 0
    hold_links(devices.link_ptr, devices.link_device, a["party_id"] * customer, a["device_id"], out)
    PROOFS.rows("the party does not use the device", out, a)
    held = np.flatnonzero(customer & (a["instrument_kind"] == pc.WALLET_TOKEN))
    good = devices.wallet[a["instrument_id"][held] - 1] == a["device_id"][held]
    pinned = a["pinned_instrument_id"][held] > 0
    PROOFS.rows("a wallet token is not paid with its phone", good | pinned, a, held)
    hold_links(devices.ip_ptr, devices.ip_id, a["device_id"] * customer, a["ip_id"], out)
    PROOFS.rows("the device does not use the address", out, a)
    row = a["device_id"] - 1
    in_use = (devices.device_from[row] <= a["ts_utc"]) & (a["ts_utc"] < devices.device_to[row])
    PROOFS.rows("the device is not in use at the instant", in_use | ~customer, a)
    PROOFS.rows("ip_group differs from 6A", a["ip_group"] == devices.ip_group[a["ip_id"] - 1], a)


def _prove_order(index: WorldIndex, a: Columns, s: Columns) -> None:
    """Invariants 1, 7 and 10: each arrival once, in order, of one shard; each with one session that exists."""
    ts, merchant, seq = a["ts_utc"], a["merchant_id"], a["arrival_seq"]
    later = (merchant[1:] > merchant[:-1]) | ((merchant[1:] == merchant[:-1]) & (seq[1:] > seq[:-1]))
    good = np.ones(len(ts), dtype=np.bool_)
    good[1:] = (ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & later)
    PROOFS.rows("an arrival occurs twice or out of order", good, a)
    shard = index.shard[a["party_id"] - 1]
    PROOFS.rows("an arrival is of another shard", shard == shard[0], a)
    row = a["_session_row"]
    PROOFS.rows("an arrival has no session", (row >= 0) & (row < len(s["session_id"])), a)
    PROOFS.rows("an arrival names another session", s["session_id"][row] == a["session_id"], a)


def _aggregate(name: str, found: np.ndarray[Any, Any], s: Columns) -> None:
    """A column of the index against what its members give."""
    good = s[name] == found
    if not good.all():
        bad = int(np.argmin(good))
        note = f"{name} {s[name][bad]}, recomputed {found[bad]}: "
        PROOFS.rows("a column of the index does not recompute from the members", good, s, note=note)


def _prove_limits(plan: S1Plan, a: Columns, s: Columns, left: Ints, right: Ints) -> None:
    """The policy joins neighbours in a session (rows left and right), and no session exceeds its caps."""
    what, rule = "a session is longer than its policy lets it be", plan.cut
    kind = key_kind_of(a["channel_group"][right])
    gap = a["ts_utc"][right] - a["ts_utc"][left]
    tumbling = rule.tumbling[kind]
    PROOFS.rows(what, tumbling | (gap < rule.break_us[kind]), a, right, "a gap of the hard break or more: ")
    if rule.tumbling.any():
        width = rule.timeout_us[kind]
        good = ~tumbling | (a["ts_utc"][left] // width == a["ts_utc"][right] // width)
        PROOFS.rows(what, good, a, right, "two windows: ")
    day = a["ts_local_primary"] // DAY_US
    PROOFS.rows(what, ~rule.on_day[kind] | (day[left] == day[right]), a, right, "two local days: ")
    channel = a["channel_group"]
    PROOFS.rows(what, ~rule.on_channel[kind] | (channel[left] == channel[right]), a, right, "two channels: ")
    kind = s["session_key_kind"]
    PROOFS.rows(what, s["arrival_count"] <= rule.arrivals[kind], s, note="max_arrivals: ")
    PROOFS.rows(what, s["duration_us"] <= rule.duration_us[kind], s, note="max_duration_s: ")


def _prove_sessions(plan: S1Plan, a: Columns, s: Columns) -> None:
    """Invariants 8 and 9: no orphan, one key per session, ids from first arrivals, aggregates that recompute."""
    n, m = len(a["ts_utc"]), len(s["session_id"])
    count = np.bincount(a["_session_row"], minlength=m)
    PROOFS.rows("a session has no arrival", count > 0, s)
    PROOFS.rows("arrival_count is not the number of members", count == s["arrival_count"], s)
    members, ptr = np.empty(n, dtype=np.int64), np.empty(m + 1, dtype=np.int64)
    scatter_order(a["_session_row"], members, ptr)
    first, last = members[ptr[:-1]], members[ptr[1:] - 1]
    start, end = a["ts_utc"][first], a["ts_utc"][last]
    kind = key_kind_of(a["channel_group"])
    inner = np.ones(n, dtype=np.bool_)
    inner[ptr[:-1]] = False
    at = np.flatnonzero(inner)
    left, right = members[at - 1], members[at]
    entity = np.where(kind == 0, a["instrument_id"], a["device_id"])
    good = (kind[left] == kind[right]) & (entity[left] == entity[right])
    good &= a["party_id"][left] == a["party_id"][right]
    PROOFS.rows("a session mixes keys", good, a, right)
    of_first = {"party_id": a["party_id"][first], "session_key_kind": kind[first]}
    times = {"session_start_utc": start, "session_end_utc": end, "duration_us": end - start}
    for name, found in (of_first | times).items():
        _aggregate(name, found, s)
    stats = index_rows(a, ptr, members)
    for name, field in STATISTICS.items():
        _aggregate(name, getattr(stats, field), s)
    _prove_limits(plan, a, s, left, right)
    ids = np.empty(m, dtype=np.int64)
    encode_ids(plan.id_key, 8 * a["_ordinal"][first], ids)
    PROOFS.rows("session_id is not its first arrival's", ids == s["session_id"], s)
    good = np.ones(m, dtype=np.bool_)
    good[1:] = (start[1:] > start[:-1]) | ((start[1:] == start[:-1]) & (ids[1:] > ids[:-1]))
    PROOFS.rows("sessions are out of order or occur twice", good, s)


def prove(plan: S1Plan, world: World, arrivals: Columns, sessions: Columns) -> None:
    """Prove invariants 3 to 10 on one shard's output; InternalError names the first check that is broken, its code,
    where, what was found and expected."""
    for dataset_id, columns in (("s1_arrival_entities_6B", arrivals), ("s1_session_index_6B", sessions)):
        PROOFS.schema("a column is missing, or has another type or length", plan.contracts, dataset_id, columns)
    if len(arrivals["ts_utc"]) == 0:
        PROOFS.rows("a session has no arrival", np.zeros(len(sessions["session_id"]), np.bool_), sessions)
        return
    largest = int(sessions["arrival_count"].max(initial=0))
    if plan.session_max is not None and largest > plan.session_max:
        raise cap_exceeded("S1", "flows_per_session", f"a session of {largest} arrivals", plan.session_max)
    _prove_references(plan.index, arrivals)
    _prove_holdings(plan, arrivals)
    _prove_provenance(plan, arrivals)
    _prove_devices(plan.index, arrivals)
    _prove_order(plan.index, arrivals, sessions)
    _prove_sessions(plan, arrivals, sessions)


def _draws(plan: S1Plan, evidence: EvidenceArray, due: dict[str, int], where: str) -> None:
    """Invariant 11: draws of the named decisions (rows of their domains), and none of the others."""
    for d, made in zip(plan.decisions.items, evidence[:, 0].tolist(), strict=True):
        if d.decision in due:
            wanted = due[d.decision] * d.slots
            PROOFS.equal("draws made are not the draws due", int(made), wanted, f"{where}, {d.decision}")


def prove_unit(plan: S1Plan, ledger: Ledger, rows: int, evidence: EvidenceArray, unit: int) -> None:
    """Invariants 1 and 11 on a unit of the scatter: `rows` arrivals read are as many attached, and every step made the
    draws that its domain implies. evidence: of this unit alone."""
    what, where = "a unit of the scatter attached fewer or more arrivals than it read", f"unit {unit}"
    PROOFS.equal(what, ledger.rows, rows, where)
    due = {"ATTACH_TERMINAL": ledger.tills, "SESSION_BOUNDARY": 0}
    for d in plan.decisions.names:
        if d not in due:
            due[d] = ledger.series if d.endswith("_SERIES") else ledger.rows - ledger.series
    _draws(plan, evidence, due, where)


def prove_scattered(
    plan: S1Plan, arrivals: Columns, shard: int, rows: int, carried: int, evidence: EvidenceArray
) -> None:
    """Invariants 1, 2 and 11 on a shard: its arrivals are the `rows` scattered to it, upstream columns and ordinals
    unchanged (`carried`: their checksum, summed over the units), one boundary drawn for each that is cut at gaps.

    evidence: of this shard alone.
    """
    n, where = len(arrivals["ts_utc"]), f"shard {shard}"
    PROOFS.equal("arrivals were lost or added on the way to their shard", n, rows, where)
    sums = np.zeros(1, dtype=np.uint64)
    add_checksums(plan.carried, arrivals, np.zeros(n, dtype=np.int32), sums)
    what = "an upstream column was changed on the way to the shard"
    PROOFS.equal(what, f"{int(sums[0]):016x}", f"{carried:016x}", where)
    at_gaps = n - int(np.count_nonzero(plan.cut.tumbling[key_kind_of(arrivals["channel_group"])]))
    due = dict.fromkeys(plan.decisions.names, 0) | {"SESSION_BOUNDARY": at_gaps}
    _draws(plan, evidence, due, where)
