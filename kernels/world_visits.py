"""Arrivals by visits: each block of the world's arrivals is made from counters alone.

A made row is four int64 words, so that a scratch file is one matrix:

* word 0: microseconds since the horizon's start (bits 0-47), place in the visit (48-55), trip (56), virtual (57);
* word 1: merchant (bits 32-62) and anchor merchant of the visit (bits 0-31), both 0-based rows;
* word 2: visit of the block (bits 32-62, 0-based) and series of the block (bits 0-31, 1-based, 0 for none);
* word 3: home city (bits 32-47), city of the outlet (bits 16-31), both 0-based rows, and channel code (bits 0-15).

The law, with slot numbers and tie rules, is `contracts/laws/world.md`.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.sampling import geometric_range, geometric_within, lognormal_range, lognormal_within
from fraudloom.kernels.streams import pick_cdf, pick_remap, uniform

DAY_US = np.int64(86_400_000_000)
HOUR_US = np.int64(3_600_000_000)
CLASSES = np.int64(10)


class VisitTables(NamedTuple):
    """Arrays of one (scenario, channel): where payers live, what they may visit, when, and zone offsets.

    city_cum f64[C]; city_country, city_zone i64[C]; cell_cum f64[K], cell_city, cell_day i64[K] (trip cells);
    outlet_ptr i64[C+1], outlet_merchant i64[], outlet_cum f64[]; country_ptr i64[n+1], online_merchant i64[],
    home_cum, cross_cum f64[]; merchant_class, merchant_city i64[M]; day_cum f64[n_countries*10, D];
    rest_day bool[n_countries, D]; hour_cum f64[20, 24] (weekday then rest-day rows of each class);
    zone_ptr i64[z+1], zone_from, zone_offset i64[] (microseconds).
    """

    city_cum: np.ndarray
    city_country: np.ndarray
    city_zone: np.ndarray
    cell_cum: np.ndarray
    cell_city: np.ndarray
    cell_day: np.ndarray
    outlet_ptr: np.ndarray
    outlet_merchant: np.ndarray
    outlet_cum: np.ndarray
    country_ptr: np.ndarray
    online_merchant: np.ndarray
    home_cum: np.ndarray
    cross_cum: np.ndarray
    merchant_class: np.ndarray
    merchant_city: np.ndarray
    day_cum: np.ndarray
    rest_day: np.ndarray
    hour_cum: np.ndarray
    zone_ptr: np.ndarray
    zone_from: np.ndarray
    zone_offset: np.ndarray


class VisitLaw(NamedTuple):
    """Numbers of one channel: channel code, horizon, probabilities, gaps, series."""

    channel: int
    start_us: int
    days: int
    length_max: int
    visit_p: float
    same_merchant: float
    p_home: float
    p_trip: float
    p_outlet: float
    gap_median_s: float
    gap_sigma: float
    gap_min_s: float
    gap_max_s: float
    period_min: int
    period_max: int
    series_hour_from: int
    series_hour_to: int


@helper
def zone_offset_at(tables, zone, ts):
    """Microseconds east of UTC in a zone at the instant ts (int64 microseconds): its last row not after ts."""
    i = tables.zone_ptr[zone + 1] - 1
    first = tables.zone_ptr[zone]
    while i > first and tables.zone_from[i] > ts:
        i -= 1
    return tables.zone_offset[i]


@helper
def local_to_instant(tables, zone, local):
    """Instant of a local wall time: int64 microseconds UTC."""
    return local - zone_offset_at(tables, zone, local - zone_offset_at(tables, zone, local))


@helper
def local_to_horizon(tables, law, zone, local):
    """Instant of a local wall time, folded into the horizon by whole horizons: int64 microseconds UTC."""
    ts = local_to_instant(tables, zone, local)
    span = law.days * DAY_US
    if ts < law.start_us:
        ts += span
    if ts >= law.start_us + span:
        ts -= span
    return ts


@helper
def pick_online(tables, country, home, u):
    """A merchant row that sells online: of the payer's country when `home`, else of any other, where there is one."""
    lo = tables.country_ptr[country]
    hi = tables.country_ptr[country + 1]
    n = tables.online_merchant.shape[0]
    if hi > lo and (home or hi - lo == n):
        return tables.online_merchant[pick_cdf(tables.home_cum, u, lo, hi)]
    base = 0.0
    if lo > 0:
        base = tables.cross_cum[lo - 1]
    own = 0.0
    if hi > lo:
        own = tables.cross_cum[hi - 1] - base
    target = u * (tables.cross_cum[n - 1] - own)
    if target >= base:
        target += own
    left = np.int64(0)
    right = n - 1
    while left < right:
        middle = (left + right) >> 1
        if tables.cross_cum[middle] > target:
            right = middle
        else:
            left = middle + 1
    return tables.online_merchant[left]


@helper
def put_row(out, n, since, flags, merchant, anchor, visit, series, home, city, channel):
    """Pack one arrival into row n of out (int64[rows, 4])."""
    out[n, 0] = np.int64(since) | (np.int64(flags) << 48)
    out[n, 1] = (np.int64(merchant) << 32) | np.int64(anchor)
    out[n, 2] = (np.int64(visit) << 32) | np.int64(series)
    out[n, 3] = (np.int64(home) << 32) | (np.int64(city) << 16) | np.int64(channel)


@kernel
def world_visits(tables, law, keys, first, quota, out):
    """Make visits first, first + 1, ... until exactly `quota` arrivals stand in out; returns the number of visits.

    tables: VisitTables; law: VisitLaw; keys: uint64[5] (PLACE, MERCHANT, TIME, LENGTH, STEP); first: int64 counter of
    the block's first visit; quota: int64 arrivals of the block; out: int64[>= quota, 4], packed rows in (visit, place)
    order. The last visit ends with the quota; every visit ends with its local day and with the horizon.
    """
    n = np.int64(0)
    visit = np.int64(0)
    end_us = law.start_us + law.days * DAY_US
    cells = tables.cell_cum.shape[0]
    rate, reach = geometric_range(law.visit_p, law.length_max)
    mirrored, start, width = lognormal_range(law.gap_median_s, law.gap_sigma, law.gap_min_s, law.gap_max_s)
    while n < quota:
        v = first + visit
        trip = cells > 0 and uniform(keys[0], v * 4) < law.p_trip
        u = uniform(keys[0], v * 4 + 1)
        day = np.int64(-1)
        if trip:
            cell = pick_cdf(tables.cell_cum, u, 0, cells)
            home = tables.cell_city[cell]
            day = tables.cell_day[cell]
        else:
            home = pick_cdf(tables.city_cum, u, 0, tables.city_cum.shape[0])
        country = tables.city_country[home]
        zone = tables.city_zone[home]
        lo = tables.outlet_ptr[home]
        hi = tables.outlet_ptr[home + 1]
        outlet = hi > lo and uniform(keys[0], v * 4 + 2) < law.p_outlet
        u = uniform(keys[1], v)
        if outlet:
            anchor = tables.outlet_merchant[pick_cdf(tables.outlet_cum, u, lo, hi)]
        else:
            anchor = pick_online(tables, country, uniform(keys[0], v * 4 + 3) < law.p_home, u)
        kind = tables.merchant_class[anchor]
        if day < 0:
            day = pick_cdf(tables.day_cum[country * CLASSES + kind], uniform(keys[2], v * 2), 0, law.days)
        rest = np.int64(0)
        if tables.rest_day[country, day]:
            rest = np.int64(1)
        hour, left = pick_remap(tables.hour_cum[kind * 2 + rest], uniform(keys[2], v * 2 + 1), 0, 24)
        local = law.start_us + day * DAY_US + hour * HOUR_US + np.int64(left * HOUR_US)
        ts = local_to_horizon(tables, law, zone, local)
        today = (ts + zone_offset_at(tables, zone, ts)) // DAY_US
        length = geometric_within(uniform(keys[3], v), law.visit_p, law.length_max, rate, reach)
        merchant = anchor
        for rank in range(length):
            if rank > 0:
                step = (v * law.length_max + rank) * 3
                u = uniform(keys[4], step)
                median, sigma, least, most = law.gap_median_s, law.gap_sigma, law.gap_min_s, law.gap_max_s
                gap = lognormal_within(u, median, sigma, least, most, mirrored, start, width)
                ts += np.int64(gap * 1e6)
                if ts >= end_us or (ts + zone_offset_at(tables, zone, ts)) // DAY_US != today:
                    break
                merchant = anchor
                if uniform(keys[4], step + 1) >= law.same_merchant:
                    u = uniform(keys[4], step + 2)
                    if outlet:
                        merchant = tables.outlet_merchant[pick_cdf(tables.outlet_cum, u, lo, hi)]
                    else:
                        merchant = pick_online(tables, country, True, u)
            city = tables.merchant_city[merchant]
            flags = rank
            if trip:
                flags |= 256
            if outlet:
                city = home
            else:
                flags |= 512
            put_row(out, n, ts - law.start_us, flags, merchant, anchor, visit, 0, home, city, law.channel)
            n += 1
            if n == quota:
                break
        visit += 1
    return visit


@kernel
def world_series(tables, law, keys, first, quota, out):
    """Make series first, first + 1, ... until exactly `quota` arrivals stand in out; returns the number of series.

    tables, law, first, quota, out: as for `world_visits`; keys: uint64[4] (SERIES_PLACE, SERIES_MERCHANT,
    SERIES_CALENDAR, SERIES_CLOCK). A series is one payer's constant merchant every 28 to 31 days; each arrival is a
    visit of its own, so the block's visits are its arrivals. Where the first arrival would lie outside the horizon, the
    whole series is a day later or earlier.
    """
    n = np.int64(0)
    end_us = law.start_us + law.days * DAY_US
    series = np.int64(0)
    while n < quota:
        s = first + series
        home = pick_cdf(tables.city_cum, uniform(keys[0], s * 2), 0, tables.city_cum.shape[0])
        country = tables.city_country[home]
        zone = tables.city_zone[home]
        anchor = pick_online(tables, country, uniform(keys[0], s * 2 + 1) < law.p_home, uniform(keys[1], s))
        period = law.period_min + np.int64(uniform(keys[2], s * 2) * (law.period_max - law.period_min + 1))
        day = np.int64(uniform(keys[2], s * 2 + 1) * min(period, law.days))
        place = np.int64(0)
        while n < quota:
            hours = law.series_hour_from + uniform(keys[3], s * 512 + place) * (
                law.series_hour_to - law.series_hour_from
            )
            local = law.start_us + day * DAY_US + np.int64(hours * HOUR_US)
            ts = local_to_instant(tables, zone, local)
            if place == 0 and (ts < law.start_us or ts >= end_us):
                move = np.int64(1)
                if ts >= end_us:
                    move = np.int64(-1)
                day += move
                ts = local_to_horizon(tables, law, zone, local + move * DAY_US)
            if ts >= end_us:
                break
            city = tables.merchant_city[anchor]
            put_row(out, n, ts - law.start_us, 512, anchor, anchor, n, series + 1, home, city, law.channel)
            n += 1
            place += 1
            day += period
        series += 1
    return series
