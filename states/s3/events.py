"""Merging what the overlay made into what S2 left: flows, events and sessions as two sorted runs each."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels.merge import merge_order, take_merged
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s3.policy import Array
from fraudloom.states.s3.quotas import Plan2
from fraudloom.tables import Columns, empty_columns

EVENTS = "s3_event_stream_with_fraud_6B"
SESSIONS = "s3_session_index_with_fraud_6B"
F_DEVICE, F_ADDRESS = 4, 8


def place_order(
    a_ts: Array, a_id: Array, b_ts: Array, b_id: Array, a_seq: Array | None = None, b_seq: Array | None = None
) -> Array:
    """Order of the concatenation a + b that sorts it by (ts, id, seq); a is sorted, b need not be. int64[a + b]."""
    a_seq = np.zeros(len(a_ts), np.int32) if a_seq is None else a_seq
    b_seq = np.zeros(len(b_ts), np.int32) if b_seq is None else b_seq
    own = np.lexsort((b_seq, b_id, b_ts))
    out = np.empty(len(a_ts) + len(b_ts), np.int64)
    merge_order(a_ts, a_id, a_seq, b_ts[own], b_id[own], b_seq[own], out)
    late = out >= len(a_ts)
    out[late] = own[out[late] - len(a_ts)] + len(a_ts)
    return out


def take(a: Array, b: Array, order: Array) -> Array:
    """Rows of the concatenation a + b in an order; of a's type."""
    out = np.empty(len(order), a.dtype)
    take_merged(a, b.astype(a.dtype, copy=False), order, out)
    return out


def subset(columns: Columns, rows: Array) -> Columns:
    """Rows of every column."""
    return {k: v[rows] for k, v in columns.items()}


def _compare(base: Columns, made: Columns, of_flow: Array, first: Array) -> tuple[Array, Array]:
    """(origin event of each made event plus one, whether it is made or changed).

    base: events of the changed flows in (flow, seq) order; `first`: where each changed flow's events start in it;
    of_flow: place of the event's flow among them, -1 for new flows.
    """
    n = len(made["event_seq"])
    origin, fresh = np.zeros(n, np.int32), np.ones(n, np.bool_)
    if not len(base["event_seq"]):
        return origin, fresh
    old = np.flatnonzero(of_flow >= 0)
    seq = made["event_seq"][old].astype(np.int64)
    at = first[of_flow[old]] + seq
    inside = at < first[of_flow[old] + 1]
    old, at = old[inside], at[inside]
    same = base["event_type"][at] == made["event_type"][old]
    old, at = old[same], at[same]
    origin[old] = base["event_seq"][at] + 1
    equal = np.ones(len(old), np.bool_)
    for name in ("ts_utc", "amount_minor", "response_code", "attempt"):
        equal &= base[name][at] == made[name][old]
    fresh[old] = ~equal
    return origin, fresh


def merge_events(
    p2: Plan2, frame: Any, flows: Columns, where: Array, touched: Array, new: Array, evidence: EvidenceArray
) -> Columns:
    """Events of the shard: those of untouched flows as S2 left them, those of touched and new flows built again.

    where: place of each baseline flow; touched: baseline rows; new: rows of new flows in the merged table.
    """
    from fraudloom.states import s2

    base = frame.events
    dirty = np.zeros(len(where), np.bool_)
    dirty[touched] = True
    of_dirty = dirty[base["_flow_row"]]
    kept = np.flatnonzero(~of_dirty)
    rows = np.concatenate([where[touched], new])
    part = subset(flows, rows)
    made = s2.build_events(p2.plan.s2, part, evidence)
    was = np.flatnonzero(of_dirty)
    place = np.full(len(where), -1, np.int64)
    place[touched] = np.arange(len(touched))
    was = was[np.lexsort((base["event_seq"][was], place[base["_flow_row"][was]]))]
    starts = np.searchsorted(place[base["_flow_row"][was]], np.arange(len(touched) + 1))
    names = ("event_seq", "event_type", "ts_utc", "amount_minor", "response_code", "attempt")
    of_flow = np.where(made["_flow_row"] < len(touched), made["_flow_row"], -1)
    origin, fresh = _compare({k: base[k][was] for k in names}, made, of_flow, starts)
    order = place_order(
        base["ts_utc"][kept], base["flow_id"][kept], made["ts_utc"], made["flow_id"],
        base["event_seq"][kept], made["event_seq"],
    )  # fmt: skip
    out: Columns = {}
    for name in base:
        if name != "_flow_row":
            out[name] = take(base[name][kept], made[name], order)
    row = take(where[base["_flow_row"][kept]], rows[made["_flow_row"]], order)
    out["_flow_row"] = row
    out["fraud_flag"] = flows["fraud_flag"][row]
    out["campaign_id"] = flows["campaign_id"][row]
    out["is_fraud_event"] = take(np.zeros(len(kept), np.bool_), fresh, order)
    out["origin_event_seq"] = take((base["event_seq"][kept] + 1).astype(np.int32), origin, order)
    flags = flows["mutation_flags"][row]
    out["device_id"] = np.where(flags & F_DEVICE, flows["device_id"][row], 0)
    out["ip_id"] = np.where(flags & F_ADDRESS, flows["ip_id"][row], 0)
    return out


def new_sessions(p2: Plan2, sessions: Columns, flows: Columns, new: Array) -> Columns:
    """Sessions of S1 and one for each new flow, in (start, id) order."""
    code = p2.plan.contracts.code
    own = empty_columns(p2.plan.contracts.dataset(SESSIONS), len(new))
    for name, source in (
        ("session_id", "session_id"),
        ("session_start_utc", "ts_utc"),
        ("session_end_utc", "ts_utc"),
        ("party_id", "party_id"),
        ("device_id", "device_id"),
        ("account_id", "account_id"),
        ("instrument_id", "instrument_id"),
        ("merchant_id", "merchant_id"),
        ("ip_id", "ip_id"),
        ("channel_group", "channel_group"),
        ("_ordinal", "_session_ordinal"),
    ):
        own[name] = flows[source][new]
    own["arrival_count"][:] = 1
    own["channel_count"][:] = 1
    own["merchant_count"][:] = 1
    own["session_key_kind"][:] = code("session_key_kind", "OVERLAY")
    own["origin_type"][:] = code("origin_type", "PURE_FRAUD_FLOW")
    base = dict(sessions)
    base["origin_type"] = np.full(len(sessions["session_id"]), code("origin_type", "BASELINE_FLOW"), np.int8)
    order = place_order(base["session_start_utc"], base["session_id"], own["session_start_utc"], own["session_id"])
    return {k: take(base[k], own[k].astype(base[k].dtype, copy=False), order) for k in own}
