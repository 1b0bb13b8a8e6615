"""Twins of the kernels that weigh, move and order packed arrivals."""

from naive.fmath import exp, log
from naive.streams import uniform

DAY = 86_400_000_000
HOUR = 3_600_000_000


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


def number_rows(rows, ptr, visit_base, series_base, low, bits, keys, visit, series):
    """Row by row, with the block that it stands in."""
    for i, (when, who, number, _) in enumerate(rows):
        b = max(b for b in range(len(ptr) - 1) if ptr[b] <= i < ptr[b + 1])
        own, since = int(number) % (1 << 32), int(when) % (1 << 48)
        keys[i] = (int(who) // (1 << 32) - low) * (1 << bits) + since
        visit[i] = visit_base[b] + int(number) // (1 << 32) + 1
        series[i] = series_base[b] + own if own else 0


def arrival_columns(rows, visit, series, order, tables, start_us, at, before, seen, out):
    """The fields of every word, and a count of the merchant's earlier rows."""
    for i in range(len(out.merchant_id)):
        r = int(order[at + i])
        when, who, _, place = (int(w) for w in rows[r])
        merchant, home, city = who // (1 << 32), place // (1 << 32), place // (1 << 16) % (1 << 16)
        virtual = when // (1 << 57) % 2 == 1
        seen[merchant] += 1
        out.merchant_id[i] = merchant + 1
        out.arrival_seq[i] = before + 1 + sum(int(rows[q][1]) // (1 << 32) == merchant for q in order[: at + i])
        out.ts_utc[i] = start_us + when % (1 << 48)
        out.channel_group[i] = place % (1 << 16)
        out.zone_representation[i] = tables.city_zone[home]
        zones = (tables.zone_ptr, tables.zone_from, tables.zone_offset)
        local_times([out.ts_utc[i]], [tables.city_zone[home]], *zones, out.ts_local_primary[i : i + 1])
        out.bucket_index[i] = when % (1 << 48) // HOUR
        out.is_virtual[i] = virtual
        out.site_id[i] = 0 if virtual else city + 1
        out.edge_id[i] = tables.acquirer[merchant] if virtual else 0
        out.visit_key[i], out.series_key[i] = visit[r], series[r]
        out.visit_rank[i] = when // (1 << 48) % (1 << 8)
        out.visit_merchant_id[i] = who % (1 << 32) + 1
        out.home_city_id[i], out.city_id[i] = home + 1, city + 1
        out.trip[i] = when // (1 << 56) % 2 == 1


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
