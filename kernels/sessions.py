"""Session kernels: cuts at gaps, order of sessions, index rows.

Arrivals of one shard come in (ts, ordinal) order and are read once: a hash table of the last arrival per key
gives each arrival its predecessor, so no sort by key is needed. The law is contracts/laws/s1.md.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.streams import GAMMA, draw, mix64

Array = np.ndarray

BOUNDARY = 11
DAY_US = 86_400_000_000
POS, ATM = 1, 2
SHIFT_32 = np.uint64(32)
INT64_MAX = (1 << 63) - 1


class Timeline(NamedTuple):
    """Arrivals of a shard in time order: int64[n] each, but channel int8[n]; `local` is local wall time in us."""

    party: Array
    instrument: Array
    device: Array
    channel: Array
    ts: Array
    local: Array
    ordinal: Array


class CutRule(NamedTuple):
    """By key kind (0 PARTY_INSTRUMENT, 1 PARTY_DEVICE): timeout_us, break_us, duration_us, arrivals: int64[2];
    on_day, on_channel, tumbling: bool[2]. Tumbling: timeout_us is the length of the windows, break_us is not read."""

    timeout_us: Array
    break_us: Array
    duration_us: Array
    arrivals: Array
    on_day: Array
    on_channel: Array
    tumbling: Array


class Cuts(NamedTuple):
    """session: int64[n], session of each arrival, 0-based in order of first arrivals; first, count: int64[n], row of
    the first arrival and number of arrivals of each session; nth: int64[n], sessions of its key up to and with it."""

    session: Array
    first: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, which nobody calls
    nth: Array


class Members(NamedTuple):
    """Columns of the arrivals that the index sums up, in time order; int64[n], channel int8[n]."""

    ts: Array
    device: Array
    account: Array
    instrument: Array
    merchant: Array
    ip: Array
    channel: Array


class IndexOut(NamedTuple):
    """Index columns of s sessions: int64[s], but channel_count int16, merchant_count int32, channel int8."""

    gap_min: Array
    gap_max: Array
    gap_sum: Array
    device: Array
    account: Array
    instrument: Array
    merchant: Array
    ip: Array
    channel: Array
    channel_count: Array
    merchant_count: Array


@helper
def key_kind(channel):
    """0 (PARTY_INSTRUMENT) at tills and cash machines, else 1 (PARTY_DEVICE)."""
    if channel in (POS, ATM):
        return 0
    return 1


@helper
def same_key(rows, i, j):
    """Whether two arrivals have the same session key."""
    kind = key_kind(rows.channel[i])
    if kind != key_kind(rows.channel[j]) or rows.party[i] != rows.party[j]:
        return False
    if kind == 0:
        return rows.instrument[i] == rows.instrument[j]
    return rows.device[i] == rows.device[j]


@helper
def breaks(rows, rule, left, i, start_ts, members, u):
    """Whether arrival i starts a session although `left` precedes it under its key.

    start_ts: int64, first instant of the session of `left`; members: int64, its arrivals so far; u: float64, the
    boundary's draw (not read in tumbling windows).
    """
    kind = key_kind(rows.channel[i])
    if rule.on_day[kind] and rows.local[i] // DAY_US != rows.local[left] // DAY_US:
        return True
    if rule.on_channel[kind] and rows.channel[i] != rows.channel[left]:
        return True
    if members >= rule.arrivals[kind] or rows.ts[i] - start_ts > rule.duration_us[kind]:
        return True
    if rule.tumbling[kind]:
        return rows.ts[i] // rule.timeout_us[kind] != rows.ts[left] // rule.timeout_us[kind]
    over = np.float64(rows.ts[i] - rows.ts[left] - rule.timeout_us[kind])
    return u < over / np.float64(rule.break_us[kind] - rule.timeout_us[kind])


@kernel
def cut_sessions(rows, rule, keys, slots, evidence, table, out):
    """Sessions of a shard's arrivals; returns their number.

    rows: Timeline; rule: CutRule; keys: uint64[decisions]; slots: int64[decisions]; evidence: uint64[decisions, 2];
    table: int64[power of two, at least n + 1], overwritten; out: Cuts. One draw for every arrival
    whose key kind has no tumbling windows.
    """
    n = rows.ts.shape[0]
    mask = table.shape[0] - 1
    for h in range(table.shape[0]):
        table[h] = -1
    sessions = 0
    for i in range(n):
        kind = key_kind(rows.channel[i])
        u = 0.0
        if not rule.tumbling[kind]:
            u = draw(keys, BOUNDARY, rows.ordinal[i] * slots[BOUNDARY], evidence)
        entity = rows.instrument[i] if kind == 0 else rows.device[i]
        mixed = mix64(np.uint64(rows.party[i]) * GAMMA + np.uint64(2 * entity + kind))
        h = np.int64(mixed >> SHIFT_32) & mask
        while table[h] >= 0 and not same_key(rows, table[h], i):
            h = (h + 1) & mask
        left = table[h]
        table[h] = i
        nth = 1
        if left >= 0:
            s = out.session[left]
            nth += out.nth[s]
            if not breaks(rows, rule, left, i, rows.ts[out.first[s]], out.count[s], u):
                out.session[i] = s
                out.count[s] += 1
                continue
        out.session[i] = sessions
        out.first[sessions] = i
        out.count[sessions] = 1
        out.nth[sessions] = nth
        sessions += 1
    return sessions


@kernel
def order_ties(starts, ids, order):
    """Order of rows that ascend by start already, so that equal starts ascend by id too.

    starts: int64[s], ascending; ids: int64[s]; order: int64[s], filled.
    """
    for i in range(starts.shape[0]):
        j = i
        while j > 0 and starts[order[j - 1]] == starts[i] and ids[order[j - 1]] > ids[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i


@helper
def dominant(values, rows, lo, hi):
    """Value other than 0 that most of values[rows[lo:hi]] have, the lowest of equals; 0 when all are 0."""
    best, most = np.int64(0), 0
    for a in range(lo, hi):
        value = values[rows[a]]
        if value in (0, best):
            continue
        times = 0
        for b in range(lo, hi):
            if values[rows[b]] == value:
                times += 1
        if times > most or (times == most and value < best):
            best, most = value, times
    return best


@helper
def dominant_channel(channel, rows, lo, hi):
    """-> (most frequent channel code, lowest of equals; number of distinct codes). Codes are 0 .. 7."""
    best, most, distinct, last = 0, 0, 0, lo
    for code in range(8):
        if last == hi:
            break
        times = 0
        for a in range(lo, hi):
            if channel[rows[a]] == code:
                times += 1
        if times > 0:
            distinct += 1
            last += times
        if times > most:
            best, most = code, times
    return best, distinct


@helper
def count_distinct(values, rows, lo, hi):
    """Number of distinct values among values[rows[lo:hi]]."""
    distinct = 0
    for a in range(lo, hi):
        seen = False
        for b in range(lo, a):
            if values[rows[b]] == values[rows[a]]:
                seen = True
                break
        if not seen:
            distinct += 1
    return distinct


@kernel
def index_sessions(columns, ptr, rows, out):
    """Gap statistics, dominant entities and distinct counts of each session.

    columns: Members; ptr: int64[s + 1], rows: int64[n]: arrivals of session s are rows[ptr[s]:ptr[s + 1]], in time
    order; out: IndexOut. Gaps of a session of one arrival are 0 (null).
    """
    ts, device, account, instrument = columns.ts, columns.device, columns.account, columns.instrument
    merchant, ip, channel = columns.merchant, columns.ip, columns.channel
    gap_min, gap_max, gap_sum, channels, merchants = (
        out.gap_min,
        out.gap_max,
        out.gap_sum,
        out.channel_count,
        out.merchant_count,
    )
    out_device, out_account, out_instrument = out.device, out.account, out.instrument
    out_merchant, out_ip, out_channel = out.merchant, out.ip, out.channel
    for s in range(ptr.shape[0] - 1):
        lo, hi = ptr[s], ptr[s + 1]
        head = rows[lo]
        gap_min[s], gap_max[s], gap_sum[s], channels[s], merchants[s] = 0, 0, 0, 1, 1
        out_device[s], out_account[s], out_instrument[s] = device[head], account[head], instrument[head]
        out_merchant[s], out_ip[s], out_channel[s] = merchant[head], ip[head], channel[head]
        if hi - lo == 1:
            continue
        least, most = np.int64(INT64_MAX), np.int64(0)
        same_device = same_account = same_instrument = same_merchant = same_ip = same_channel = True
        before = head
        for a in range(lo + 1, hi):
            row = rows[a]
            gap = ts[row] - ts[before]
            least = min(least, gap)
            most = max(most, gap)
            same_device = same_device and device[row] == device[before]
            same_account = same_account and account[row] == account[before]
            same_instrument = same_instrument and instrument[row] == instrument[before]
            same_merchant = same_merchant and merchant[row] == merchant[before]
            same_ip = same_ip and ip[row] == ip[before]
            same_channel = same_channel and channel[row] == channel[before]
            before = row
        gap_min[s], gap_max[s], gap_sum[s] = least, most, ts[before] - ts[head]
        # Most sessions have one value per column, the first arrival's, which stands there already.
        if not same_device:
            out_device[s] = dominant(device, rows, lo, hi)
        if not same_account:
            out_account[s] = dominant(account, rows, lo, hi)
        if not same_instrument:
            out_instrument[s] = dominant(instrument, rows, lo, hi)
        if not same_merchant:
            out_merchant[s] = dominant(merchant, rows, lo, hi)
            merchants[s] = count_distinct(merchant, rows, lo, hi)
        if not same_ip:
            out_ip[s] = dominant(ip, rows, lo, hi)
        if not same_channel:
            out_channel[s], channels[s] = dominant_channel(channel, rows, lo, hi)
