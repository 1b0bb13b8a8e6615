"""Moving packed arrivals: into buckets, into order, and to local time; and the weights behind them."""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.fmath import exp, log
from fraudloom.kernels.jit import allocating_kernel, kernel
from fraudloom.kernels.streams import uniform

DAY_US = np.int64(86_400_000_000)
HOUR_US = np.int64(3_600_000_000)
SINCE_MASK = np.int64((1 << 48) - 1)
DIGIT_BITS = np.int64(11)
DIGITS = 1 << 11
TILE = np.int64(512)


class ArrivalTables(NamedTuple):
    """What a packed arrival refers to.

    city_zone int64[C]; zone_ptr int64[z + 1], zone_from, zone_offset int64[] (microseconds; rows of a zone in time
    order); acquirer int64[M], of each merchant.
    """

    city_zone: np.ndarray
    zone_ptr: np.ndarray
    zone_from: np.ndarray
    zone_offset: np.ndarray
    acquirer: np.ndarray


class ArrivalColumns(NamedTuple):
    """Columns of arrival_events_5B that a built world fills, all of n rows, in the dtypes of the contract.

    int64: merchant_id, arrival_seq, ts_utc, ts_local_primary, site_id, edge_id, visit_key, series_key,
    visit_merchant_id, home_city_id, city_id; int32: bucket_index; int16: visit_rank; int8: channel_group,
    zone_representation; bool: is_virtual, trip.
    """

    merchant_id: np.ndarray
    arrival_seq: np.ndarray
    ts_utc: np.ndarray
    channel_group: np.ndarray
    zone_representation: np.ndarray
    ts_local_primary: np.ndarray
    bucket_index: np.ndarray
    is_virtual: np.ndarray
    site_id: np.ndarray
    edge_id: np.ndarray
    visit_key: np.ndarray
    visit_rank: np.ndarray
    series_key: np.ndarray
    visit_merchant_id: np.ndarray
    home_city_id: np.ndarray
    city_id: np.ndarray
    trip: np.ndarray


@kernel
def zipf_weights(exponent, out):
    """out[r] = (r + 1) ** -exponent, float64[n]; returns their sum in order of rank."""
    total = 0.0
    for r in range(out.shape[0]):
        w = exp(-exponent * log(np.float64(r + 1)))
        out[r] = w
        total += w
    return total


@allocating_kernel
def assign_by_deficit(weights, shares, out):
    """Give each item to the group that is furthest below its share of the weight given so far, that item included.

    weights: float64[n] >= 0; shares: float64[g] > 0, sum 1; out: int64[n]. Group j's deficit is shares[j] * given -
    held[j]; ties go to the lower group. So every prefix of the items is spread over groups by their shares.
    """
    held = np.zeros(shares.shape[0], np.float64)
    given = 0.0
    for i in range(weights.shape[0]):
        given += weights[i]
        best = 0
        most = shares[0] * given - held[0]
        for j in range(1, shares.shape[0]):
            deficit = shares[j] * given - held[j]
            if deficit > most:
                most = deficit
                best = j
        held[best] += weights[i]
        out[i] = best


@kernel
def scatter_rows(rows, n, bucket, parts, days, ptr, out):
    """Stable partition of packed rows by bucket: rows of bucket b stand at out[ptr[b]:ptr[b+1]].

    rows, out: int64[>= n, 4]; bucket, parts: int64[M]: a merchant's first bucket, and over how many buckets its days
    are spread (row's bucket = bucket + day * parts // days); days: int64; ptr: int64[buckets + 1].
    """
    for b in range(ptr.shape[0]):
        ptr[b] = 0
    for i in range(n):
        m = rows[i, 1] >> 32
        b = bucket[m] + ((rows[i, 0] & SINCE_MASK) // DAY_US) * parts[m] // days
        ptr[b + 1] += 1
    for b in range(1, ptr.shape[0]):
        ptr[b] += ptr[b - 1]
    for i in range(n):
        m = rows[i, 1] >> 32
        b = bucket[m] + ((rows[i, 0] & SINCE_MASK) // DAY_US) * parts[m] // days
        at = ptr[b]
        ptr[b] = at + 1
        for w in range(4):
            out[at, w] = rows[i, w]
    for b in range(ptr.shape[0] - 1, 0, -1):
        ptr[b] = ptr[b - 1]
    ptr[0] = 0


@allocating_kernel
def radix_order(keys, bits, spare, order):
    """Stable order of non-negative keys: keys[order] is sorted, equal keys keep their places.

    keys: int64[n] in 0 .. 2^bits - 1, destroyed; spare: int64[2, n] work space; order: int64[n]. Least significant
    digit first, 11 bits a pass; a pass whose digits are all equal is skipped. Passes go to and fro between
    (keys, order) and spare.
    """
    n = keys.shape[0]
    passes = (bits + DIGIT_BITS - 1) // DIGIT_BITS
    count = np.zeros((passes, DIGITS), np.int64)
    for i in range(n):
        order[i] = i
        for p in range(passes):
            count[p, (keys[i] >> (p * DIGIT_BITS)) & (DIGITS - 1)] += 1
    from_keys, from_order = keys, order
    to_keys, to_order = spare[0], spare[1]
    away = False
    for p in range(passes):
        shift = p * DIGIT_BITS
        if n > 0 and count[p, (keys[0] >> shift) & (DIGITS - 1)] < n:
            total = np.int64(0)
            for d in range(DIGITS):
                c = count[p, d]
                count[p, d] = total
                total += c
            for i in range(n):
                d = (from_keys[i] >> shift) & (DIGITS - 1)
                at = count[p, d]
                count[p, d] = at + 1
                to_keys[at] = from_keys[i]
                to_order[at] = from_order[i]
            from_keys, to_keys = to_keys, from_keys
            from_order, to_order = to_order, from_order
            away = not away
    if away:
        for i in range(n):
            keys[i] = spare[0, i]
            order[i] = spare[1, i]


@kernel
def number_rows(rows, ptr, visit_base, series_base, low, bits, keys, visit, series):
    """Sort keys of packed rows, and their visit and series numbers in the scenario.

    rows: int64[n, 4], those of block b at ptr[b]:ptr[b+1]; ptr: int64[blocks + 1]; visit_base, series_base:
    int64[blocks], numbers given before each block; low: int64, the least merchant; bits: int64, width of a time;
    keys: int64[n], merchant - low above the time since the horizon's start; visit: int64[n], 1-based; series: int64[n],
    1-based, 0 for none.
    """
    for b in range(ptr.shape[0] - 1):
        for i in range(ptr[b], ptr[b + 1]):
            keys[i] = (((rows[i, 1] >> 32) - low) << bits) | (rows[i, 0] & SINCE_MASK)
            visit[i] = visit_base[b] + (rows[i, 2] >> 32) + 1
            local = rows[i, 2] & 0xFFFFFFFF
            series[i] = series_base[b] + local if local > 0 else 0


@kernel
def arrival_columns(rows, visit, series, order, tables, start_us, at, before, seen, out):
    """Contract columns of n = len(out.merchant_id) arrivals: of rows[order[at]], rows[order[at + 1]], ...

    rows: int64[m, 4], packed; visit, series: int64[m], their numbers; order: int64[m], which sorts rows by merchant and
    time; tables: ArrivalTables; start_us: int64, the horizon's start; at: int64, place in order of the first arrival;
    before: int64, arrivals of the merchant that are not among rows; seen: int64[M], counts of each merchant's arrivals,
    raised; out: ArrivalColumns, n rows. arrival_seq is before + place among the merchant's arrivals in order + 1.
    """
    n = out.merchant_id.shape[0]
    last = np.int64(-1)
    run = np.int64(0)
    if n > 0 and at > 0:
        last = rows[order[at], 1] >> 32
        lo = np.int64(0)
        hi = np.int64(at)
        while lo < hi:
            middle = (lo + hi) >> 1
            if rows[order[middle], 1] >> 32 < last:
                lo = middle + 1
            else:
                hi = middle
        run = at - lo
    start = np.int64(0)
    while start < n:
        end = min(start + TILE, n)
        # Nothing but loads here: rows lie scattered, and many are on their way at a time. The columns hold the words.
        for i in range(start, end):
            r = order[at + i]
            out.ts_utc[i] = rows[r, 0]
            out.merchant_id[i] = rows[r, 1]
            out.home_city_id[i] = rows[r, 3]
            out.visit_key[i] = visit[r]
            out.series_key[i] = series[r]
        for i in range(start, end):
            when, who, place = out.ts_utc[i], out.merchant_id[i], out.home_city_id[i]
            since = when & SINCE_MASK
            merchant = who >> 32
            home = place >> 32
            city = (place >> 16) & 0xFFFF
            virtual = (when >> 57) & 1
            if merchant != last:
                last = merchant
                run = np.int64(0)
            run += 1
            seen[merchant] += 1
            ts = since + start_us
            zone = tables.city_zone[home]
            j = tables.zone_ptr[zone + 1] - 1
            first = tables.zone_ptr[zone]
            while j > first and tables.zone_from[j] > ts:
                j -= 1
            out.merchant_id[i] = merchant + 1
            out.arrival_seq[i] = before + run
            out.ts_utc[i] = ts
            out.channel_group[i] = place & 0xFFFF
            out.zone_representation[i] = zone
            out.ts_local_primary[i] = ts + tables.zone_offset[j]
            out.bucket_index[i] = since // HOUR_US
            out.is_virtual[i] = virtual == 1
            out.site_id[i] = (1 - virtual) * (city + 1)
            out.edge_id[i] = virtual * tables.acquirer[merchant]
            out.visit_rank[i] = (when >> 48) & 0xFF
            out.visit_merchant_id[i] = (who & 0xFFFFFFFF) + 1
            out.home_city_id[i] = home + 1
            out.city_id[i] = city + 1
            out.trip[i] = (when >> 56) & 1 == 1
        start = end


@kernel
def local_times(ts, zone, zone_ptr, zone_from, zone_offset, out):
    """out[i] = ts[i] + offset of zone[i] at ts[i]: local wall time, microseconds.

    ts: int64[n] microseconds UTC; zone: int64[n]; zone_ptr: int64[z + 1]; zone_from, zone_offset: int64[] microseconds
    (rows of a zone in time order; before its first row the first row holds); out: int64[n].
    """
    for i in range(ts.shape[0]):
        j = zone_ptr[zone[i] + 1] - 1
        while j > zone_ptr[zone[i]] and zone_from[j] > ts[i]:
            j -= 1
        out[i] = ts[i] + zone_offset[j]


@kernel
def uniforms_at(key, counters, out):
    """out[i] = uniform(key, counters[i]). key: uint64; counters: int64[n] >= 0; out: float64[n]."""
    for i in range(counters.shape[0]):
        out[i] = uniform(key, counters[i])
