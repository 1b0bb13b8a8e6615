"""Moving packed arrivals: into buckets, into order, and to local time; and the weights behind them."""

import numpy as np

from fraudloom.kernels.fmath import exp, log
from fraudloom.kernels.jit import allocating_kernel, kernel
from fraudloom.kernels.streams import uniform

DAY_US = np.int64(86_400_000_000)
SINCE_MASK = np.int64((1 << 48) - 1)
DIGIT_BITS = np.int64(11)
DIGITS = 1 << 11


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
    digit first, 11 bits a pass; a pass whose digits are all equal is skipped.
    """
    n = keys.shape[0]
    for i in range(n):
        order[i] = i
    count = np.zeros(DIGITS, np.int64)
    shift = np.int64(0)
    while shift < bits:
        for d in range(DIGITS):
            count[d] = 0
        for i in range(n):
            count[(keys[i] >> shift) & (DIGITS - 1)] += 1
        if n > 0 and count[(keys[0] >> shift) & (DIGITS - 1)] < n:
            total = np.int64(0)
            for d in range(DIGITS):
                c = count[d]
                count[d] = total
                total += c
            for i in range(n):
                d = (keys[i] >> shift) & (DIGITS - 1)
                at = count[d]
                count[d] = at + 1
                spare[0, at] = keys[i]
                spare[1, at] = order[i]
            for i in range(n):
                keys[i] = spare[0, i]
                order[i] = spare[1, i]
        shift += DIGIT_BITS


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
