"""Places and days: cities, zone offsets, currencies, calendar (bundles 1B, 2A, 3A, 3B)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import numpy as np

from fraudloom.states.world.spec import F64, I64, Context
from fraudloom.tables import Columns, empty_columns

#: Days of calendar and zone offsets behind the horizon: settlement, disputes and labels end there.
TAIL_DAYS = 240


def city_count(ctx: Context, parties: int) -> int:
    """Cities in use: about `parties_per_city` residents each, the table's first ones."""
    sizes = ctx.policy["sizes"]
    wanted = max(int(sizes["cities_min"]), round(parties / float(sizes["parties_per_city"])))
    return min(len(ctx.policy["cities"]), wanted)


def build_cities(ctx: Context, count: int) -> Columns:
    """cities_1B: the first `count` cities of the policy."""
    rows = ctx.policy["cities"][:count]
    cols = empty_columns(ctx.contracts.dataset("cities_1B"), count)
    cols["city_id"] = np.arange(1, count + 1, dtype=np.int64)
    cols["city_name"] = np.asarray([r[0] for r in rows], dtype=object)
    cols["country_iso"] = np.asarray([ctx.code("country_iso", r[1]) for r in rows], dtype=np.int8)
    cols["tzid"] = np.asarray([ctx.code("tzid", r[2]) for r in rows], dtype=np.int8)
    for name, place in (("latitude", 3), ("longitude", 4), ("price_level", 6), ("unit_x", 7), ("unit_y", 8)):
        cols[name] = np.asarray([float(r[place]) for r in rows], dtype=np.float64)
    cols["unit_z"] = np.asarray([float(r[9]) for r in rows], dtype=np.float64)
    weights: F64 = np.asarray([float(r[5]) for r in rows], dtype=np.float64)
    cols["population_weight"] = weights / np.cumsum(weights)[-1]
    return cols


def _zone(name: str) -> ZoneInfo:
    """A zone from the pinned tzdata package, never from the system."""
    path = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with path.open("rb") as f:
        return ZoneInfo.from_file(f, key=name)


def _offset(zone: ZoneInfo, second: int) -> int:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    shift = moment.astimezone(zone).utcoffset()
    return 0 if shift is None else int(shift.total_seconds())


def build_zone_offsets(ctx: Context) -> Columns:
    """zone_offsets_2A: offsets of every zone from two days before the horizon to its tail's end.

    The first row of a zone stands at the first of these instants; changes are found by day and bisected to the second.
    """
    first = (ctx.start_day - 2) * 86_400
    last = (ctx.start_day + ctx.spec.days + TAIL_DAYS + 2) * 86_400
    rows: list[tuple[int, int, int]] = []
    for code, name in enumerate(ctx.contracts.enum("tzid")):
        zone = _zone(name)
        now = _offset(zone, first)
        rows.append((code, first * 1_000_000, now))
        for day in range(first, last, 86_400):
            after = _offset(zone, day + 86_400)
            lo, hi = day, day + 86_400
            while after != now and lo + 1 < hi:
                middle = (lo + hi) // 2
                if _offset(zone, middle) == now:
                    lo = middle
                else:
                    hi = middle
            if after != now:
                rows.append((code, hi * 1_000_000, after))
                now = after
    return {
        "tzid": np.asarray([r[0] for r in rows], dtype=np.int8),
        "from_utc": np.asarray([r[1] for r in rows], dtype=np.int64),
        "offset_s": np.asarray([r[2] for r in rows], dtype=np.int32),
    }


def build_fx(ctx: Context) -> Columns:
    """fx_rates_3A: one row per currency of the vocabulary."""
    fx = ctx.policy["fx"]
    names = ctx.contracts.enum("currency")
    return {
        "currency": np.arange(len(names), dtype=np.int8),
        "decimals": np.asarray([fx[c]["decimals"] for c in names], dtype=np.int8),
        "ref_per_major": np.asarray([float(fx[c]["ref_per_major"]) for c in names], dtype=np.float64),
    }


def build_calendar(ctx: Context) -> Columns:
    """calendar_3B: country by local date, from the horizon's first day to `TAIL_DAYS` after its last.

    A pay day that falls on a day off moves to the last business day before it; one that a month lacks, to its last day.
    """
    countries = ctx.contracts.enum("country_iso")
    n = ctx.spec.days + TAIL_DAYS
    dates = [date(1970, 1, 1) + timedelta(days=ctx.start_day + i) for i in range(n)]
    weekday = np.asarray([d.weekday() for d in dates], dtype=np.int8)
    cols = empty_columns(ctx.contracts.dataset("calendar_3B"), n * len(countries))
    cols["country_iso"] = np.repeat(np.arange(len(countries), dtype=np.int8), n)
    cols["day"] = np.tile(np.arange(ctx.start_day, ctx.start_day + n, dtype=np.int32), len(countries))
    cols["weekday"] = np.tile(weekday, len(countries))
    for code, name in enumerate(countries):
        country = ctx.policy["countries"][name]
        here = slice(code * n, (code + 1) * n)
        holiday = np.asarray([f"{d.month:02d}-{d.day:02d}" in country["holidays"] for d in dates], dtype=np.bool_)
        rest = np.isin(weekday, country["weekend"])
        cols["is_holiday"][here] = holiday
        cols["is_business_day"][here] = ~holiday & ~rest
        pay = np.zeros(n, dtype=np.bool_)
        for i, d in enumerate(dates):
            month_end = (d + timedelta(days=1)).month != d.month
            if d.day in country["pay_days"] or (month_end and any(p > d.day for p in country["pay_days"])):
                j = i
                while j > 0 and (holiday[j] or rest[j]):
                    j -= 1
                pay[j] = True
        cols["is_pay_day"][here] = pay
    return cols


def zone_arrays(offsets: Columns, zones: int) -> tuple[I64, I64, I64]:
    """(zone_ptr int64[zones + 1], zone_from, zone_offset int64 microseconds) of zone_offsets_2A."""
    ptr = np.searchsorted(offsets["tzid"].astype(np.int64), np.arange(zones + 1)).astype(np.int64)
    return ptr, offsets["from_utc"].astype(np.int64), offsets["offset_s"].astype(np.int64) * 1_000_000
