"""Arrivals by visits (bundle 5B): generate blocks, scatter to buckets, sort, write parts.

Memory is flat: a worker holds one block, or the buckets of one part. Blocks are independent (their draws are counted
from the block's number), so any number of workers gives the same rows.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.kernels.world_rows import (
    ArrivalColumns,
    ArrivalTables,
    arrival_columns,
    number_rows,
    radix_order,
    scatter_rows,
)
from fraudloom.kernels.world_visits import VisitLaw, VisitTables, world_series, world_visits
from fraudloom.states.world.geo import zone_arrays
from fraudloom.states.world.merchants import Merchants
from fraudloom.states.world.parties import Parties
from fraudloom.states.world.relations import build_markets, visitors
from fraudloom.states.world.spec import DAY_US, F64, FAMILIES, I64, Context, Doc, Draws, largest_remainder
from fraudloom.tables import Columns, PartResult, PartWriter, empty_columns

SINCE_MASK = (1 << 48) - 1
ROW_BYTES = 32
VISIT_DECISIONS = ("PLACE", "MERCHANT", "TIME", "LENGTH", "STEP")
SERIES_DECISIONS = ("SERIES_PLACE", "SERIES_MERCHANT", "SERIES_CALENDAR", "SERIES_CLOCK")


class Desk(threading.local):
    """int64 work space of one worker, used again and again: fresh pages cost as much as the work on them."""

    def __init__(self) -> None:
        self._words = np.empty(0, np.int64)

    def take(self, rows: int, *widths: int) -> list[np.ndarray[Any, Any]]:
        """Arrays int64[width, rows], of one buffer; what an earlier call gave is overwritten."""
        need = rows * sum(widths)
        if len(self._words) < need:
            self._words = np.empty(need, np.int64)
        ends = np.cumsum((0, *widths)) * rows
        return [self._words[a:z].reshape(w, rows) for a, z, w in zip(ends, ends[1:], widths, strict=False)]


@dataclass(frozen=True)
class Stream:
    """One channel's visits or series of a scenario: their quota of arrivals, tables, law and keys."""

    family: int
    series: bool
    quota: int
    tables: VisitTables
    law: VisitLaw
    keys: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Block:
    """A run of at most `block_arrivals` arrivals of one stream; first: counter of its first visit."""

    stream: int
    first: int
    quota: int


@dataclass(frozen=True)
class Town:
    """Tables that the arrivals are drawn from."""

    cities: Columns
    offsets: Columns
    calendar: Columns
    parties: Parties
    merchants: Merchants
    trips: Columns


def day_weights(
    policy: Doc, contracts: Contracts, calendar: Mapping[str, np.ndarray[Any, Any]], start_day: int, days: int
) -> F64:
    """Relative rates float64[countries, classes, days] of a policy; calendar: columns as [country, day]."""
    weekday, holiday, pay = (calendar[c] for c in ("weekday", "is_holiday", "is_pay_day"))
    classes = contracts.enum("demand_class")
    date64 = (start_day + np.arange(days)).astype("datetime64[D]")
    in_month = (date64 - date64.astype("datetime64[M]")).astype(np.int64)
    early = in_month < int(policy["month_start_days"])
    weights = np.empty((len(weekday), len(classes), days), np.float64)
    for k, name in enumerate(classes):
        law = policy["demand_classes"][name]
        w = np.asarray([float(x) for x in law["weekdays"]])[weekday]
        w = w * np.where(holiday, float(law["holiday"]), 1.0) * np.where(pay, float(law["pay_day"]), 1.0)
        weights[:, k, :] = w * np.where(early, float(law["month_start"]), 1.0)[None, :]
    return weights


def peak_factors(policy: Doc, scenario: str, channel: str, days: int) -> F64:
    """Factors float64[days] of a scenario's peaks in a channel; 1 where there is none."""
    out = np.ones(days)
    for peak in policy["scenarios"].get(scenario, {"peaks": []})["peaks"]:
        if peak["channel"] == channel:
            start = int(float(peak["from_share"]) * days)
            out[start : start + int(peak["days"])] *= float(peak["factor"])
    return out


def _day_tables(ctx: Context, calendar: Columns) -> tuple[F64, np.ndarray[Any, Any]]:
    """(day weights float64[countries, classes, days], rest day bool[countries, days])."""
    days, countries = ctx.spec.days, len(ctx.contracts.enum("country_iso"))
    by_place = {k: calendar[k].reshape(countries, -1)[:, :days] for k in calendar if k not in ("country_iso", "day")}
    weights = day_weights(ctx.policy, ctx.contracts, by_place, ctx.start_day, days)
    return weights, ~by_place["is_business_day"]


def _hour_table(ctx: Context) -> F64:
    """Cumulative hour weights float64[20, 24]: rows 2k (weekday) and 2k + 1 (day off) of class k."""
    rows = []
    for name in ctx.contracts.enum("demand_class"):
        law = ctx.policy["demand_classes"][name]
        rows += [np.cumsum([float(x) for x in law[k]]) for k in ("hours_weekday", "hours_weekend")]
    return np.asarray(rows, np.float64)


def plan_streams(ctx: Context, town: Town, scenario: str) -> list[Stream]:
    """Streams of a scenario: a channel's visits, and its series where it has any; quotas by largest remainder."""
    policy, days = ctx.policy, ctx.spec.days
    law = policy["scenarios"][scenario]
    quotas = largest_remainder(ctx.spec.arrivals, [float(law["shares"][f]) for f in FAMILIES])
    draws = Draws(ctx.draws.world, ctx.draws.seed, scenario)
    weights, rest = _day_tables(ctx, town.calendar)
    hours = _hour_table(ctx)
    zone_ptr, zone_from, zone_offset = zone_arrays(town.offsets, len(ctx.contracts.enum("tzid")))
    places = len(town.cities["city_id"])
    activity = np.bincount(town.parties.city, weights=town.parties.table["activity_weight"], minlength=places)
    cell_city, cell_day, cell_party = visitors(town.trips)
    cell_cum = np.cumsum(town.parties.table["activity_weight"][cell_party])
    visits = policy["visits"]
    streams = []
    for f, name in enumerate(FAMILIES):
        channel = policy["channels"][name]
        mine = weights * peak_factors(policy, scenario, name, days)
        market = build_markets(ctx, town.merchants, f, places)
        tables = VisitTables(
            np.cumsum(activity),
            town.cities["country_iso"].astype(np.int64),
            town.cities["tzid"].astype(np.int64),
            cell_cum,
            cell_city,
            cell_day,
            market.outlet_ptr,
            market.outlet_merchant,
            market.outlet_cum,
            market.country_ptr,
            market.online_merchant,
            market.home_cum,
            market.cross_cum,
            town.merchants.table["demand_class"].astype(np.int64),
            town.merchants.table["city_id"] - 1,
            np.cumsum(mine, axis=2).reshape(-1, days),
            rest,
            hours,
            zone_ptr,
            zone_from,
            zone_offset,
        )
        numbers = VisitLaw(
            ctx.code("channel_group", name),
            ctx.start_us,
            days,
            int(visits["length_max"]),
            visit_p=float(channel["visit_p"]),
            same_merchant=float(channel["same_merchant"]),
            p_home=float(channel["p_home"]),
            p_trip=float(channel["p_trip"]),
            p_outlet=float(channel.get("p_outlet", 0.0)),
            gap_median_s=float(channel["gap_median_s"]),
            gap_sigma=float(channel["gap_sigma"]),
            gap_min_s=float(visits["gap_min_s"]),
            gap_max_s=float(visits["gap_max_s"]),
            period_min=int(visits["series_period_days"][0]),
            period_max=int(visits["series_period_days"][1]),
            series_hour_from=int(visits["series_hour_from"]),
            series_hour_to=int(visits["series_hour_to"]),
        )
        in_series = round(int(quotas[f]) * float(channel["series_share"]))
        for series, quota in ((False, int(quotas[f]) - in_series), (True, in_series)):
            names = SERIES_DECISIONS if series else VISIT_DECISIONS
            keys = np.asarray([draws.key("arrivals", f"{name}/{d}") for d in names], np.uint64)
            streams.append(Stream(f, series, quota, tables, numbers, keys))
    return streams


def plan_blocks(ctx: Context, streams: list[Stream]) -> list[Block]:
    """Blocks of every stream, in stream order."""
    size = int(ctx.policy["sizes"]["block_arrivals"])
    return [
        Block(s, at, min(size, stream.quota - at))
        for s, stream in enumerate(streams)
        for at in range(0, stream.quota, size)
    ]


def make_block(stream: Stream, block: Block, desk: Desk | None = None) -> tuple[np.ndarray[Any, Any], int, int]:
    """Rows (int64[quota, 4]), visits and series of one block, from its numbers alone.

    The rows stand in the first half of a desk, if one is given, until it is used again.
    """
    (words,) = (desk or Desk()).take(block.quota, 8)
    rows = words[:4].reshape(block.quota, 4)
    if stream.series:
        made = int(world_series(stream.tables, stream.law, stream.keys, block.first, block.quota, rows))
        return rows, block.quota, made
    return rows, int(world_visits(stream.tables, stream.law, stream.keys, block.first, block.quota, rows)), 0


@dataclass(frozen=True)
class Buckets:
    """Ranges of (merchant, day).

    bucket, parts: a merchant's first bucket, and over how many its days are spread; last_merchant: of those that start
    in or before each bucket, the last.
    """

    bucket: I64
    parts: I64
    count: int
    last_merchant: I64


def plan_buckets(ctx: Context, expected: F64) -> Buckets:
    """Cut merchants, in order, into buckets of about `bucket_rows` expected arrivals; heavy ones are split by days."""
    target = float(ctx.policy["sizes"]["bucket_rows"])
    parts = np.minimum(np.maximum(1, np.ceil(expected / target)), ctx.spec.days).astype(np.int64)
    alone = parts > 1
    bucket = np.empty(len(expected), np.int64)
    at, filled, step = 0, 0.0, 0
    for m, weight in enumerate(expected):
        if m and (alone[m] or step > 1 or filled + weight > target):
            at += step
            filled = 0.0
        bucket[m] = at
        filled += float(weight)
        step = int(parts[m])
    count = at + step
    last = np.searchsorted(bucket, np.arange(count), side="right") - 1
    return Buckets(bucket, parts, count, last.astype(np.int64))


@dataclass(frozen=True)
class Scattered:
    """A scratch file of packed rows: offsets (rows) of every (block, bucket), and bases of visit and series numbers."""

    path: Path
    ptr: I64
    start: I64
    visit_base: I64
    series_base: I64


def scatter(
    ctx: Context,
    streams: list[Stream],
    blocks: list[Block],
    buckets: Buckets,
    scratch: Path,
    pool: Executor,
    progress: Callable[[str, int, int], None],
) -> Scattered:
    """Generate every block and write it, partitioned by bucket, at its place in one scratch file."""
    path = scratch / "rows.bin"
    ptr = np.zeros((len(blocks), buckets.count + 1), np.int64)
    start = np.cumsum([0] + [b.quota for b in blocks])
    visits, series = np.zeros(len(blocks), np.int64), np.zeros(len(blocks), np.int64)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    desk = Desk()
    try:

        def one(i: int) -> int:
            rows, visits[i], series[i] = make_block(streams[blocks[i].stream], blocks[i], desk)
            (words,) = desk.take(len(rows), 8)
            out = words[4:].reshape(rows.shape)
            scatter_rows(rows, len(rows), buckets.bucket, buckets.parts, ctx.spec.days, ptr[i], out)
            view, at = memoryview(out.data).cast("B"), int(start[i]) * ROW_BYTES
            while len(view):
                done = os.pwrite(fd, view, at)
                view, at = view[done:], at + done
            return blocks[i].quota

        made = 0
        for n in pool.map(one, range(len(blocks))):
            made += n
            progress("arrivals made", made, int(start[-1]))
    finally:
        os.close(fd)
    zero = np.zeros(1, np.int64)
    bases = [np.concatenate([zero, np.cumsum(x)[:-1]]) if len(x) else x for x in (visits, series)]
    return Scattered(path, ptr, start, bases[0], bases[1])


@dataclass(frozen=True)
class Sorted:
    """Packed rows int64[n, 4], their visit and series numbers in the scenario (0 for no series), and their order.

    order: int64[n], places of the rows by (merchant, time, visit, place). The arrays may stand on a desk.
    """

    rows: np.ndarray[Any, Any]
    visit: I64
    series: I64
    order: I64


def load_bucket(ctx: Context, s: Scattered, buckets: Buckets, b: int, fd: int, desk: Desk) -> Sorted:
    """Rows of one bucket, in order, until the desk is used again."""
    size = s.ptr[:, b + 1] - s.ptr[:, b]
    ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(size)])
    n = int(ptr[-1])
    words, keys, visit, series, order, spare = desk.take(n, 4, 1, 1, 1, 1, 2)
    rows = words.reshape(n, 4)
    for i in np.flatnonzero(size):
        view = memoryview(rows[ptr[i] : ptr[i + 1]].data).cast("B")
        where = (int(s.start[i]) + int(s.ptr[i, b])) * ROW_BYTES
        while len(view):
            got = os.preadv(fd, [view], where)
            view, where = view[got:], where + got
    last = int(buckets.last_merchant[b])
    low = min(int(np.searchsorted(buckets.bucket, b)), last)
    bits = int(ctx.spec.days * DAY_US).bit_length()
    wide = (last - low).bit_length()
    number_rows(rows, ptr, s.visit_base, s.series_base, low, bits, keys[0], visit[0], series[0])
    if bits + wide <= 62:
        radix_order(keys[0], bits + wide, spare, order[0])
    else:
        order[0] = np.lexsort((rows[:, 0] & SINCE_MASK, rows[:, 1] >> 32))
    return Sorted(rows, visit[0], series[0], order[0])


def arrival_tables(ctx: Context, town: Town) -> ArrivalTables:
    """What `unpack` looks up."""
    zones = zone_arrays(town.offsets, len(ctx.contracts.enum("tzid")))
    acquirer = town.merchants.table["acquirer_id"].astype(np.int64)
    return ArrivalTables(town.cities["tzid"].astype(np.int64), *zones, acquirer)


def unpack(ctx: Context, tables: ArrivalTables, s: Sorted, at: int, before: int, seen: I64, cols: Columns) -> None:
    """Fill contract columns with the arrivals s.order[at], s.order[at + 1], ...; raise their merchants' counts in seen.

    before: earlier arrivals of a merchant that is split over buckets. Columns that a built world leaves null are not
    touched.
    """
    out = ArrivalColumns(*(cols[c] for c in ArrivalColumns._fields))
    arrival_columns(s.rows, s.visit, s.series, s.order, tables, ctx.start_us, at, before, seen, out)


def write_parts(
    ctx: Context,
    town: Town,
    s: Scattered,
    buckets: Buckets,
    root: Path,
    scenario: str,
    pool: Executor,
    progress: Callable[[str, int, int], None],
) -> tuple[dict[str, PartResult], I64]:
    """Write the scenario's parts; returns results by relative path and the arrivals of each merchant."""
    sizes = ctx.policy["sizes"]
    part_rows, group_rows = int(sizes["part_rows"]), int(sizes["group_rows"])
    per_bucket = (s.ptr[:, 1:] - s.ptr[:, :-1]).sum(axis=0) if len(s.ptr) else np.zeros(buckets.count, np.int64)
    offset = np.concatenate([np.zeros(1, np.int64), np.cumsum(per_bucket)])
    total = int(offset[-1])
    ds = ctx.contracts.dataset("arrival_events_5B")
    tables, desk = arrival_tables(ctx, town), Desk()
    fd = os.open(s.path, os.O_RDONLY)

    def one(k: int) -> tuple[str, PartResult, I64]:
        name = ds.path_for(**ctx.tokens(scenario=scenario, part=k))
        writer = PartWriter(root / name, ds, metadata=footer(ctx, scenario))
        lo, hi = k * part_rows, min(total, (k + 1) * part_rows)
        seen = np.zeros(len(town.merchants.family), np.int64)
        group = empty_columns(ds, min(group_rows, hi - lo))
        waiting = 0
        for b in np.flatnonzero((offset[:-1] < hi) & (offset[1:] > lo)):
            rows = load_bucket(ctx, s, buckets, int(b), fd, desk)
            before = _rows_before(buckets, per_bucket, int(b))
            a, z = max(lo - int(offset[b]), 0), min(hi - int(offset[b]), len(rows.order))
            while a < z:
                step = min(z - a, group_rows - waiting)
                here = {c: v[waiting : waiting + step] for c, v in group.items()}
                unpack(ctx, tables, rows, a, before, seen, here)
                a, waiting = a + step, waiting + step
                if waiting == group_rows:
                    writer.write_group(group)
                    waiting = 0
        if waiting:
            writer.write_group({c: v[:waiting] for c, v in group.items()})
        if total == 0:
            writer.write_group(empty_columns(ds))
        return name, writer.close(), seen

    results: dict[str, PartResult] = {}
    totals = np.zeros(len(town.merchants.family), np.int64)
    try:
        done = 0
        for name, result, seen in pool.map(one, range(max(1, -(-total // part_rows)))):
            results[name] = result
            totals += seen
            done += result.rows
            progress("arrivals written", done, total)
    finally:
        os.close(fd)
    return results, totals


def _rows_before(buckets: Buckets, per_bucket: I64, b: int) -> int:
    """Arrivals of a split merchant in its earlier buckets (0 for all others)."""
    m = int(buckets.last_merchant[b])
    if buckets.parts[m] == 1:
        return 0
    return int(per_bucket[int(buckets.bucket[m]) : b].sum())


def footer(ctx: Context, scenario: str) -> dict[str, str]:
    """Axes of a part in its footer."""
    return {"seed": str(ctx.spec.seed), "manifest_fingerprint": ctx.mf, "scenario_id": scenario}
