"""Arrivals to attached arrivals, and attached arrivals of a shard to sessions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.errors import DataError
from fraudloom.kernels import attach as ka
from fraudloom.kernels import attach_device as kd
from fraudloom.kernels import sessions as ks
from fraudloom.kernels.idmap import encode_ids
from fraudloom.kernels.scatter import scatter_order
from fraudloom.kernels.world_rows import radix_order
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s1.index import frozen
from fraudloom.states.s1.plan import KEY_KINDS, S1Plan
from fraudloom.states.taken import taken
from fraudloom.states.world.view import World
from fraudloom.tables import Columns

Ints = np.ndarray[Any, np.dtype[np.int64]]

#: Columns of attached arrivals that the second pass needs, with their types on scratch files. Dense ids and sequence
#: numbers fit 31 bits (`attach` refuses larger ones); `sessionise` widens them and looks up what follows from ids.
SCRATCH_COLUMNS: tuple[tuple[str, str], ...] = (
    ("_ordinal", "int64"),
    ("merchant_id", "int32"),
    ("arrival_seq", "int32"),
    ("ts_utc", "int64"),
    ("party_id", "int32"),
    ("account_id", "int32"),
    ("instrument_id", "int32"),
    ("device_id", "int32"),
    ("ip_id", "int32"),
    ("channel_group", "int8"),
    ("zone_representation", "int8"),
    ("ts_local_primary", "int64"),
    ("bucket_index", "int32"),
    ("is_virtual", "bool"),
    ("site_id", "int32"),
    ("edge_id", "int32"),
    ("visit_key", "int32"),
    ("visit_rank", "int16"),
    ("series_key", "int32"),
    ("visit_merchant_id", "int32"),
    ("home_city_id", "int32"),
    ("city_id", "int32"),
    ("trip", "bool"),
    ("pinned_instrument_id", "int32"),
    ("pinned_amount_minor", "int64"),
    ("pinned_is_credit", "bool"),
    ("pinned_label", "int8"),
    ("terminal_id", "int32"),
    ("attach_rule_id", "int8"),
    ("attach_score", "float64"),
)

SCRATCH_MAX = (1 << 31) - 1


def scatter(attached: Columns, n_shards: int) -> tuple[Ints, Ints]:
    """Stable partition of a batch by shard: rows of shard s are order[ptr[s]:ptr[s + 1]]. int64[n], int64[s + 1]."""
    order = np.empty(len(attached["_shard"]), dtype=np.int64)
    ptr = np.empty(n_shards + 1, dtype=np.int64)
    scatter_order(attached["_shard"], order, ptr)
    return order, ptr


def arrange(rows: Columns, order: Ints) -> Columns:
    """Columns of a unit with its rows in the given order."""
    return {name: taken(values, order) for name, values in rows.items()}


def _no_candidate(arrivals: Columns, row: int, step: str) -> DataError:
    return DataError(
        "S1",
        "S1_ENTITY_NO_CANDIDATES",
        what=f"an arrival has no candidate for {step}",
        where=f"merchant_id {arrivals['merchant_id'][row]}, arrival_seq {arrivals['arrival_seq'][row]}",
        action="the world must hold a usable instrument, device and address for every active party",
    )


def _derive(plan: S1Plan, columns: Columns) -> None:
    """Columns that follow from the chosen ids, added in place."""
    index = plan.index
    instrument = columns["instrument_id"]
    kind = np.full(len(instrument), -1, dtype=np.int8)
    held = instrument > 0
    kind[held] = index.holdings.kind[instrument[held] - 1]
    columns["ledger_class"] = index.holdings.ledger[columns["account_id"] - 1]
    columns["instrument_kind"] = kind
    columns["ip_group"] = index.devices.ip_group[columns["ip_id"] - 1]
    columns["attach_rng_family"] = np.full(len(instrument), plan.attach_family, dtype=np.int8)


def attach(plan: S1Plan, world: World, arrivals: Columns, first_ordinal: int, evidence: EvidenceArray) -> Columns:
    """Entities of a batch of arrivals.

    Returns its columns, those of s1_arrival_entities_6B but session_id, `_ordinal` (int64) and `_shard` (int32).
    `first_ordinal`: ordinal of row 0 (rows follow each other). `evidence`: uint64[decisions, 2], added to.
    DataError S1_ENTITY_NO_CANDIDATES names the first arrival that nobody can have made.
    """
    n = len(arrivals["merchant_id"])
    index = plan.index
    rows = ka.Rows(
        merchant=frozen(arrivals["merchant_id"]),
        ts=frozen(arrivals["ts_utc"]),
        channel=frozen(arrivals["channel_group"]),
        local=frozen(arrivals["ts_local_primary"]),
        visit=frozen(arrivals["visit_key"]),
        series=frozen(arrivals["series_key"]),
        anchor=frozen(arrivals["visit_merchant_id"]),
        home_city=frozen(arrivals["home_city_id"]),
        city=frozen(arrivals["city_id"]),
        trip=frozen(arrivals["trip"]),
        pinned=frozen(arrivals["pinned_instrument_id"]),
        pinned_device=frozen(arrivals["pinned_device_id"]),
        pinned_ip=frozen(arrivals["pinned_ip_id"]),
        first=first_ordinal,
    )
    if n and not index.counts["party_id"]:
        raise _no_candidate(arrivals, 0, "PARTY")
    largest = max((int(arrivals[c].max(initial=0)) for c in ("arrival_seq", "visit_key", "series_key")), default=0)
    if max(largest, *index.counts.values()) > SCRATCH_MAX:
        raise DataError(
            "S1",
            "S1_WORLD_TOO_LARGE",
            what="a sequence number or entity id needs more than 31 bits",
            found=largest,
            action="use a world with fewer arrivals or entities",
        )
    who = ka.PartyOut(np.empty(n, np.int64), np.empty(n, np.int8), np.empty(n, np.float64))
    ka.attach_party(rows, index.people, index.holdings, plan.p_regular, plan.streams, evidence, who)
    held = ka.HoldingOut(np.empty(n, np.int64), np.empty(n, np.int64))
    bad = int(ka.attach_holding(rows, who.party, index.holdings, plan.holding, plan.streams, evidence, held))
    if bad >= 0:
        raise _no_candidate(arrivals, bad, "ACCOUNT")
    used = kd.DeviceOut(np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64))
    bad = int(
        kd.attach_device(rows, who.party, held.instrument, index.devices, *(plan.device, plan.streams, evidence, used))
    )
    if bad >= 0:
        raise _no_candidate(arrivals, bad, "IP" if used.device[bad] else "DEVICE")
    out = dict(arrivals)
    out["party_id"], out["attach_rule_id"], out["attach_score"] = who.party, who.rule, who.score
    out["account_id"], out["instrument_id"] = held.account, held.instrument
    out["device_id"], out["ip_id"], out["terminal_id"] = used.device, used.ip, used.terminal
    _derive(plan, out)
    out["_ordinal"] = np.arange(first_ordinal, first_ordinal + n, dtype=np.int64)
    out["_shard"] = index.shard[who.party - 1]
    return out


def _time_order(ts: Ints, ordinal: np.ndarray[Any, Any]) -> Ints:
    """Rows in (ts, ordinal) order."""
    n = len(ts)
    out = np.arange(n, dtype=np.int64)
    if n < 2:
        return out
    keys, spare, order = np.empty(n, np.int64), np.empty((2, n), np.int64), np.empty(n, np.int64)
    in_order = bool((ordinal[1:] > ordinal[:-1]).all())
    for values in (ts,) if in_order else (ordinal, ts):
        base = int(values.min())
        np.subtract(values[out], base, out=keys)
        radix_order(keys, int(values.max() - base).bit_length(), spare, order)
        out = out[order]
    return out


def _widen(plan: S1Plan, arrivals: Columns, order: Ints) -> Columns:
    """All columns in the given order, in the types of the contract."""
    out: Columns = {}
    for column in plan.contracts.dataset("s1_arrival_entities_6B").columns:
        if column.name in arrivals:
            out[column.name] = taken(arrivals[column.name], order, column.memory_dtype)
    out["_ordinal"] = taken(arrivals["_ordinal"], order)
    if "ip_group" not in out:
        _derive(plan, out)
    return out


def _too_many(plan: S1Plan, rows: Columns, cuts: ks.Cuts, session: int) -> DataError:
    first = int(cuts.first[session])
    kind = int(key_kind_of(rows["channel_group"][first : first + 1])[0])
    entity = ("instrument_id", "device_id")[kind]
    return DataError(
        "S1",
        "S1_SESSIONS_PER_KEY",
        what="a session key has more sessions than the policy allows",
        found=f"session {int(cuts.nth[session])} of party_id {rows['party_id'][first]}, {entity} {rows[entity][first]}",
        expected=f"at most {int(plan.sessions_max[kind])}, max_sessions_per_day times the days of the horizon",
        where=f"sessionisation_policy_6B at {KEY_KINDS[kind]}.max_sessions_per_day",
        action="raise the number, or lengthen timeout_s so that arrivals join",
    )


def cut(plan: S1Plan, rows: Columns, evidence: EvidenceArray) -> ks.Cuts:
    """Sessions in order of (first instant, ordinal of the first arrival); DataError when a key has too many."""
    n = len(rows["ts_utc"])
    timeline = ks.Timeline(
        party=rows["party_id"],
        instrument=rows["instrument_id"],
        device=rows["device_id"],
        channel=rows["channel_group"],
        ts=rows["ts_utc"],
        local=rows["ts_local_primary"],
        ordinal=rows["_ordinal"],
    )
    table = np.empty(1 << (2 * n).bit_length(), dtype=np.int64)
    cuts = ks.Cuts(*(np.empty(n, np.int64) for _ in ks.Cuts._fields))
    decisions = plan.decisions
    s = int(ks.cut_sessions(timeline, plan.cut, decisions.keys, decisions.slots, evidence, table, cuts))
    cuts = ks.Cuts(cuts.session, cuts.first[:s], cuts.count[:s], cuts.nth[:s])
    if int(cuts.nth.max(initial=0)) > int(plan.sessions_max.min()):
        over = cuts.nth > plan.sessions_max[key_kind_of(rows["channel_group"][cuts.first])]
        if over.any():
            raise _too_many(plan, rows, cuts, int(np.argmax(over)))
    return cuts


def index_rows(rows: Columns, ptr: Ints, members: Ints) -> ks.IndexOut:
    """Statistics of sessions: arrivals of session s are members[ptr[s]:ptr[s + 1]] (rows of `rows`)."""
    s = len(ptr) - 1
    wide = {name: np.empty(s, np.int64) for name in ks.IndexOut._fields[:8]}
    out = ks.IndexOut(
        **wide,
        channel=np.empty(s, np.int8),
        channel_count=np.empty(s, np.int16),
        merchant_count=np.empty(s, np.int32),
    )
    columns = ks.Members(
        rows["ts_utc"],
        rows["device_id"],
        rows["account_id"],
        rows["instrument_id"],
        rows["merchant_id"],
        rows["ip_id"],
        rows["channel_group"],
    )
    ks.index_sessions(columns, ptr, members, out)
    return out


def sessionise(plan: S1Plan, world: World, arrivals: Columns, evidence: EvidenceArray) -> tuple[Columns, Columns]:
    """Sessions of one shard's attached arrivals (any row order; contract or scratch types).

    Returns arrivals in (ts_utc, merchant_id, arrival_seq) order with session_id, `_ordinal`, `_session_ordinal` and
    `_session_row`, and sessions in (session_start_utc, session_id) order with `_ordinal`.
    """
    n = len(arrivals["_ordinal"])
    order = _time_order(arrivals["ts_utc"].astype(np.int64, copy=False), arrivals["_ordinal"])
    rows = _widen(plan, arrivals, order)
    cuts = cut(plan, rows, evidence)
    s = len(cuts.first)
    ordinal = 8 * rows["_ordinal"][cuts.first]
    ids = np.empty(s, dtype=np.int64)
    encode_ids(plan.id_key, ordinal, ids)
    place = np.empty(s, dtype=np.int64)
    ks.order_ties(rows["ts_utc"][cuts.first], ids, place)
    rank = np.empty(s, dtype=np.int64)
    rank[place] = np.arange(s)
    session_row = rank[cuts.session] if s else np.empty(0, dtype=np.int64)
    first, ids, ordinal = cuts.first[place], ids[place], ordinal[place]
    ptr = np.zeros(s + 1, dtype=np.int64)
    np.cumsum(cuts.count[place], out=ptr[1:])
    members, ends = np.empty(n, dtype=np.int64), np.empty(s + 1, dtype=np.int64)
    scatter_order(session_row, members, ends)
    stats = index_rows(rows, ptr, members)
    last = members[ptr[1:] - 1]
    start, end = rows["ts_utc"][first], rows["ts_utc"][last]
    sessions: Columns = {
        "session_id": ids,
        "session_start_utc": start,
        "session_end_utc": end,
        "arrival_count": np.diff(ptr).astype(np.int32),
        "party_id": rows["party_id"][first],
        "device_id": stats.device,
        "account_id": stats.account,
        "instrument_id": stats.instrument,
        "merchant_id": stats.merchant,
        "ip_id": stats.ip,
        "session_key_kind": key_kind_of(rows["channel_group"][first]),
        "duration_us": end - start,
        "gap_min_us": stats.gap_min,
        "gap_max_us": stats.gap_max,
        "gap_sum_us": stats.gap_sum,
        "channel_count": stats.channel_count,
        "merchant_count": stats.merchant_count,
        "channel_group": stats.channel,
        "_ordinal": ordinal,
    }
    rows["session_id"] = ids[session_row]
    rows["_session_ordinal"] = ordinal[session_row]
    rows["_session_row"] = session_row
    return rows, sessions


def key_kind_of(channel: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int8]]:
    """Code of session_key_kind by channel code."""
    return np.where((channel == ks.POS) | (channel == ks.ATM), 0, 1).astype(np.int8)
