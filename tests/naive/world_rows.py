"""Twins of the kernels that weigh, move and order packed arrivals."""

from naive.fmath import exp, log
from naive.streams import uniform

DAY = 86_400_000_000


def zipf_weights(exponent, out):
    """Powers by logarithm, summed in rank order."""
    total = 0.0
    for r in range(len(out)):
        out[r] = exp(-exponent * log(float(r + 1)))
        total += out[r]
    return total


def assign_by_deficit(weights, shares, out):
    """The group furthest below its share; the lowest of equals."""
    held, given = [0.0] * len(shares), 0.0
    for i, w in enumerate(weights):
        given += w
        deficits = [share * given - h for share, h in zip(shares, held, strict=True)]
        best = deficits.index(max(deficits))
        held[best] += w
        out[i] = best


def scatter_rows(rows, n, bucket, parts, days, ptr, out):
    """Lists per bucket, one after the other."""
    lists = [[] for _ in range(len(ptr) - 1)]
    for row in rows[:n]:
        m = row[1] >> 32
        lists[bucket[m] + (row[0] & ((1 << 48) - 1)) // DAY * parts[m] // days].append(list(row))
    at = 0
    for b, held in enumerate(lists):
        ptr[b] = at
        for row in held:
            out[at] = row
            at += 1
    ptr[len(lists)] = at


def radix_order(keys, bits, spare, order):
    """Python's sort is stable; the keys end sorted."""
    ranked = sorted(range(len(keys)), key=lambda i: keys[i])
    order[:] = ranked
    keys[:] = [keys[i] for i in ranked]


def local_times(ts, zone, zone_ptr, zone_from, zone_offset, out):
    """The last offset of the zone that is not after the instant."""
    for i, t in enumerate(ts):
        rows = range(zone_ptr[zone[i]], zone_ptr[zone[i] + 1])
        past = [j for j in rows if zone_from[j] <= t]
        out[i] = t + zone_offset[past[-1] if past else rows[0]]


def uniforms_at(key, counters, out):
    """One uniform per counter."""
    for i, c in enumerate(counters):
        out[i] = uniform(key, c)
