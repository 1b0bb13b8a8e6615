"""Twins of who acts and with what they pay, written from contracts/laws/s1.md with lists and dictionaries."""

from naive.streams import draw, pick_cdf, split_remap
from naive.world import as_lists

DAY = 86_400_000_000
ECOM, POS, ATM, BANK_RAIL, HYBRID = range(5)
PINNED, SERIES_REGULAR, SERIES_POOL, VISIT_REGULAR, VISIT_POOL, TRIP_VISITOR = range(6)


def choose(weights, u):
    """Place of the first weight after which the running sum exceeds u times the total; the last if there is none."""
    total = 0.0
    for w in weights:
        total += w
    target, below = u * total, 0.0
    for place, w in enumerate(weights):
        below += w
        if below > target:
            return place
    return len(weights) - 1


def step_draw(row, step, streams, evidence):
    """The first draw of a step: of the decision for visits, or of its twin for series, at the key's own value."""
    visit, series = row
    d = step + 1 if series else step
    counter = (series or visit) * int(streams.slots[d])
    return draw(streams.keys, d, counter, evidence)


def window_weight(cum, window):
    """Weight of a window of a running sum."""
    lo, hi = window
    if hi <= lo:
        return 0.0
    return cum[hi - 1] - cum[lo - 1] if lo > 0 else cum[hi - 1]


def attach_party(rows, people, holdings, p_regular, streams, evidence, out):
    """Candidates one after the other until one settles, else the next of the pool who is at home."""
    a, p = as_lists(rows), as_lists(people)
    groups = {}
    for m in range(len(p.group_ptr) - 1):
        for g in range(p.group_ptr[m], p.group_ptr[m + 1]):
            groups[m + 1, p.group_city[g]] = (p.regular_ptr[g], p.regular_ptr[g + 1])
    visitors = {k: (p.visitor_ptr[i], p.visitor_ptr[i + 1]) for i, k in enumerate(p.visitor_key)}
    trips = [
        list(zip(p.trip_from[lo:hi], p.trip_to[lo:hi], strict=True))
        for lo, hi in zip(p.trip_ptr[:-1], p.trip_ptr[1:], strict=True)
    ]

    def away(row, day):
        return any(lo <= day <= hi for lo, hi in trips[row])

    for i in range(len(a.merchant)):
        series = a.series[i]
        d = 1 if series else 0
        slots = int(streams.slots[d])
        start = (series or a.visit[i]) * slots
        u = [draw(streams.keys, d, start + j, evidence) for j in range(slots)]
        if a.pinned[i]:
            out.party[i], out.rule[i], out.score[i] = holdings.holder[a.pinned[i] - 1], PINNED, 1.0
            continue
        day = (a.local[i] // DAY - p.first_day) % p.days
        city, trip = a.home_city[i], a.trip[i] and not series
        regulars = groups.get((a.anchor[i], city), (0, 0))
        guests = visitors.get(city * 2**20 + day, (0, 0))
        pool = (p.city_ptr[city - 1], p.city_ptr[city])
        if not window_weight(p.pool_cum, pool) > 0.0:
            pool = (0, len(p.pool_cum))
        for j in range(slots):
            if trip and window_weight(p.visitor_cum, guests) > 0.0:
                party, rule, score = p.visitor_party[pick_cdf(p.visitor_cum, u[0], *guests)], TRIP_VISITOR, 1.0
                break
            regular, rest, score = False, u[j], 1.0
            if not trip and window_weight(p.regular_cum, regulars) > 0.0 and (j == 0 or j < slots - 1):
                regular, rest = split_remap(u[j], p_regular)
                score = p_regular if regular else 1.0 - p_regular
            if regular:
                party = p.regular_party[pick_cdf(p.regular_cum, rest, *regulars)]
                rule = SERIES_REGULAR if series else VISIT_REGULAR
            else:
                party = pick_cdf(p.pool_cum, rest, *pool) + 1
                rule = SERIES_POOL if series else VISIT_POOL
            if series or trip or not away(party - 1, day):
                break
        else:
            lo, n = pool[0], pool[1] - pool[0]
            walk = [lo + (party - 1 - lo + k) % n for k in range(1, n)]
            at_home = [q for q in walk if window_weight(p.pool_cum, (q, q + 1)) > 0.0 and not away(q, day)]
            party = at_home[0] + 1 if at_home else party
        out.party[i], out.rule[i], out.score[i] = party, rule, score


def attach_holding(rows, party, holdings, priors, streams, evidence, out):
    """Lists of accounts with something usable, then of what is usable of the one chosen."""
    a, h, prior = as_lists(rows), as_lists(holdings), as_lists(priors)
    first = -1
    for i, owner in enumerate(int(x) for x in party):
        keys = (a.visit[i], a.series[i])
        u_account = step_draw(keys, 2, streams, evidence)
        u_instrument = step_draw(keys, 4, streams, evidence)
        account = instrument = 0
        channel, ts = a.channel[i], a.ts[i]
        if a.pinned[i]:
            instrument = a.pinned[i]
            account = h.account_of[instrument - 1]
        elif owner:
            family = h.family[owner - 1]
            held = range(h.account_ptr[owner - 1] + 1, h.account_ptr[owner] + 1)
            usable = {
                k: [
                    n + 1
                    for n in range(h.instrument_ptr[k - 1], h.instrument_ptr[k])
                    if prior.eligible[channel][h.kind[n]]
                    and h.usable_from[n] <= ts < h.usable_to[n]
                    and h.holder[n] == owner
                ]
                for k in held
            }
            able = [k for k in held if usable[k]]
            if not able and prior.optional[channel]:
                able = list(held)
            if able:
                ledger = prior.ledger[family][channel]
                account = able[choose([ledger[h.ledger[k - 1]] for k in able], u_account)]
                if usable[account]:
                    weights = [prior.kind[family][channel][h.kind[n - 1]] for n in usable[account]]
                    instrument = usable[account][choose(weights, u_instrument)]
        out.account[i], out.instrument[i] = account, instrument
        if account == 0 and first < 0:
            first = i
    return first
