"""Twins of the kernels that cut arrivals into sessions and sum the sessions up."""

from collections import Counter
from itertools import pairwise

from naive.attach import ATM, POS
from naive.streams import draw
from naive.world import as_lists

DAY = 86_400_000_000
SESSION_BOUNDARY = 11


def cut_sessions(rows, rule, keys, slots, evidence, table, out):
    """The last arrival of each key in a dictionary."""
    a, law = as_lists(rows), as_lists(rule)
    last, starts, members, keyed = {}, [], [], Counter()
    for i in range(len(a.ts)):
        kind = 0 if a.channel[i] in (POS, ATM) else 1
        width = law.timeout_us[kind]
        if not law.tumbling[kind]:
            u = draw(keys, SESSION_BOUNDARY, a.ordinal[i] * int(slots[SESSION_BOUNDARY]), evidence)
        key = (kind, a.party[i], a.instrument[i] if kind == 0 else a.device[i])
        left = last.get(key)
        last[key] = i
        if left is not None:
            s = int(out.session[left])
            gap = a.ts[i] - a.ts[left]
            if law.tumbling[kind]:
                apart = a.ts[i] // width > a.ts[left] // width
            else:
                apart = u < float(gap - width) / float(law.break_us[kind] - width)
            new = (
                (law.on_day[kind] and a.local[i] // DAY != a.local[left] // DAY)
                or (law.on_channel[kind] and a.channel[i] != a.channel[left])
                or members[s] >= law.arrivals[kind]
                or a.ts[i] - a.ts[starts[s]] > law.duration_us[kind]
                or apart
            )
        if left is None or new:
            s = len(starts)
            starts.append(i)
            members.append(0)
            keyed[key] += 1
            out.nth[s] = keyed[key]
        members[s] += 1
        out.session[i] = s
    for s, i in enumerate(starts):
        out.first[s], out.count[s] = i, members[s]
    return len(starts)


def order_ties(starts, ids, order):
    """Sorted by (start, id)."""
    order[:] = sorted(range(len(starts)), key=lambda s: (int(starts[s]), int(ids[s])))


def most_frequent(values):
    """The value that most have, the lowest of equals."""
    counts = Counter(values)
    return min(counts, key=lambda v: (-counts[v], v)) if counts else 0


def index_sessions(columns, ptr, rows, out):
    """Counters over the members of each session."""
    c = as_lists(columns)
    for s in range(len(ptr) - 1):
        members = [int(i) for i in rows[int(ptr[s]) : int(ptr[s + 1])]]
        gaps = [c.ts[j] - c.ts[i] for i, j in pairwise(members)] or [0]
        out.gap_min[s], out.gap_max[s], out.gap_sum[s] = min(gaps), max(gaps), sum(gaps)
        for name in ("device", "account", "instrument", "merchant", "ip"):
            getattr(out, name)[s] = most_frequent([getattr(c, name)[i] for i in members if getattr(c, name)[i]])
        channels = [c.channel[i] for i in members]
        out.channel[s], out.channel_count[s] = most_frequent(channels), len(set(channels))
        out.merchant_count[s] = len({c.merchant[i] for i in members})
