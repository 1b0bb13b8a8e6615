"""Twins of the world's arrival kernels, written from contracts/laws/world.md with dictionaries and lists."""

from types import SimpleNamespace

from naive.sampling import geometric, lognormal_truncated
from naive.streams import pick_cdf, pick_remap, uniform

DAY = 86_400_000_000
HOUR = 3_600_000_000


def as_lists(named):
    """Plain-Python copy of a named tuple of arrays and numbers."""
    values = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in named._asdict().items()}
    return SimpleNamespace(**values)


def zone_offset_at(tables, zone, ts):
    """Offset of the last row of the zone that is not after ts; the first row holds before itself."""
    rows = range(tables.zone_ptr[zone], tables.zone_ptr[zone + 1])
    past = [i for i in rows if tables.zone_from[i] <= ts]
    return tables.zone_offset[past[-1] if past else rows[0]]


def local_to_instant(tables, zone, local):
    """Two guesses of the offset."""
    return local - zone_offset_at(tables, zone, local - zone_offset_at(tables, zone, local))


def local_to_horizon(tables, law, zone, local):
    """The instant, whole horizons added or taken."""
    ts = local_to_instant(tables, zone, local)
    span = law.days * DAY
    if ts < law.start_us:
        ts += span
    if ts >= law.start_us + span:
        ts -= span
    return ts


def pick_online(tables, country, home, u):
    """Home window by planned weight, or all other windows by cross-border weight, own mass left out."""
    lo, hi = tables.country_ptr[country], tables.country_ptr[country + 1]
    n = len(tables.online_merchant)
    if hi > lo and (home or hi - lo == n):
        return tables.online_merchant[pick_cdf(tables.home_cum, u, lo, hi)]
    base = tables.cross_cum[lo - 1] if lo > 0 else 0.0
    own = tables.cross_cum[hi - 1] - base if hi > lo else 0.0
    target = u * (tables.cross_cum[n - 1] - own)
    if target >= base:
        target += own
    for i in range(n):
        if tables.cross_cum[i] > target:
            return tables.online_merchant[i]
    return tables.online_merchant[n - 1]


def put_row(out, n, since, flags, merchant, anchor, visit, series, home, city, channel):
    """The four words of a packed row."""
    out[n] = [
        since + (flags << 48),
        (merchant << 32) + anchor,
        (visit << 32) + series,
        (home << 32) + (city << 16) + channel,
    ]


def world_visits(tables, law, keys, first, quota, out):
    """Visits one after the other until the quota stands."""
    n = visit = 0
    keys = [int(k) for k in keys]
    while n < quota:
        v = first + visit
        trip = len(tables.cell_cum) > 0 and uniform(keys[0], 4 * v) < law.p_trip
        place = uniform(keys[0], 4 * v + 1)
        day = None
        if trip:
            cell = pick_cdf(tables.cell_cum, place, 0, len(tables.cell_cum))
            home, day = tables.cell_city[cell], tables.cell_day[cell]
        else:
            home = pick_cdf(tables.city_cum, place, 0, len(tables.city_cum))
        country, zone = tables.city_country[home], tables.city_zone[home]
        lo, hi = tables.outlet_ptr[home], tables.outlet_ptr[home + 1]
        outlet = hi > lo and uniform(keys[0], 4 * v + 2) < law.p_outlet
        if outlet:
            anchor = tables.outlet_merchant[pick_cdf(tables.outlet_cum, uniform(keys[1], v), lo, hi)]
        else:
            stays = uniform(keys[0], 4 * v + 3) < law.p_home
            anchor = pick_online(tables, country, stays, uniform(keys[1], v))
        kind = tables.merchant_class[anchor]
        if day is None:
            day = pick_cdf(tables.day_cum[10 * country + kind], uniform(keys[2], 2 * v), 0, law.days)
        rest = 1 if tables.rest_day[country][day] else 0
        hour, left = pick_remap(tables.hour_cum[2 * kind + rest], uniform(keys[2], 2 * v + 1), 0, 24)
        local = law.start_us + day * DAY + hour * HOUR + int(left * HOUR)
        ts = local_to_horizon(tables, law, zone, local)
        today = (ts + zone_offset_at(tables, zone, ts)) // DAY
        for rank in range(geometric(uniform(keys[3], v), law.visit_p, law.length_max)):
            merchant = anchor
            if rank > 0:
                c = 3 * (law.length_max * v + rank)
                bounds = (law.gap_min_s, law.gap_max_s)
                ts += int(lognormal_truncated(uniform(keys[4], c), law.gap_median_s, law.gap_sigma, *bounds) * 1e6)
                ended = ts >= law.start_us + law.days * DAY
                if ended or (ts + zone_offset_at(tables, zone, ts)) // DAY != today:
                    break
                if uniform(keys[4], c + 1) >= law.same_merchant:
                    u = uniform(keys[4], c + 2)
                    if outlet:
                        merchant = tables.outlet_merchant[pick_cdf(tables.outlet_cum, u, lo, hi)]
                    else:
                        merchant = pick_online(tables, country, True, u)
            city = home if outlet else tables.merchant_city[merchant]
            flags = rank + 256 * trip + 512 * (not outlet)
            put_row(out, n, ts - law.start_us, flags, merchant, anchor, visit, 0, home, city, law.channel)
            n += 1
            if n == quota:
                break
        visit += 1
    return visit


def world_series(tables, law, keys, first, quota, out):
    """Series one after the other until the quota stands."""
    n = series = 0
    keys = [int(k) for k in keys]
    while n < quota:
        s = first + series
        home = pick_cdf(tables.city_cum, uniform(keys[0], 2 * s), 0, len(tables.city_cum))
        country, zone = tables.city_country[home], tables.city_zone[home]
        stays = uniform(keys[0], 2 * s + 1) < law.p_home
        anchor = pick_online(tables, country, stays, uniform(keys[1], s))
        period = law.period_min + int(uniform(keys[2], 2 * s) * (law.period_max - law.period_min + 1))
        day, place = int(uniform(keys[2], 2 * s + 1) * min(period, law.days)), 0
        end = law.start_us + law.days * DAY
        while n < quota:
            width = law.series_hour_to - law.series_hour_from
            hours = law.series_hour_from + uniform(keys[3], 512 * s + place) * width
            clock = law.start_us + int(hours * HOUR)
            ts = local_to_instant(tables, zone, clock + day * DAY)
            if place == 0 and not law.start_us <= ts < end:
                day += 1 if ts < law.start_us else -1
                ts = local_to_horizon(tables, law, zone, clock + day * DAY)
            if ts >= end:
                break
            city = tables.merchant_city[anchor]
            put_row(out, n, ts - law.start_us, 512, anchor, anchor, n, series + 1, home, city, law.channel)
            n, place, day = n + 1, place + 1, day + period
        series += 1
    return series
