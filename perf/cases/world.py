"""Cases of the world's kernels: a small town with several zones, and rows to weigh, place and order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels.world_rows import ArrivalColumns, ArrivalTables
from fraudloom.kernels.world_visits import VisitLaw, VisitTables
from fraudloom.perf.cases import Case

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
START_US = 20_454 * DAY_US
CITIES, MERCHANTS, COUNTRIES = 4, 12, 5


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _zones() -> tuple[Any, Any, Any]:
    """Three zones; the second one changes its offset on the second day."""
    before = START_US - 2 * DAY_US
    return (
        np.array([0, 1, 3, 4]),
        np.array([before, before, START_US + DAY_US + 7, before]),
        np.array([0, 1, 2, -8]) * HOUR_US,
    )


def _tables(seed: int, days: int) -> VisitTables:
    """Random weights; one country without merchants; by the seed without outlets, trips or other countries."""
    rng = _rng(seed)
    sellers = np.zeros(MERCHANTS, np.int64) if seed % 5 == 0 else np.sort(rng.choice([0, 1, 2], MERCHANTS))
    outlets = np.sort(rng.integers(0, 3, 0 if seed % 4 == 0 else 9))
    cells = 0 if seed % 3 == 0 else 6
    ptr, since, offset = _zones()
    return VisitTables(
        city_cum=np.cumsum(rng.random(CITIES) + 0.1),
        city_country=np.array([0, 0, 1, 3]),
        city_zone=np.array([0, 1, 1, 2]),
        cell_cum=np.cumsum(rng.random(cells)),
        cell_city=rng.integers(0, CITIES, cells),
        cell_day=rng.integers(0, days, cells),
        outlet_ptr=np.searchsorted(outlets, np.arange(CITIES + 1)),
        outlet_merchant=rng.integers(0, MERCHANTS, len(outlets)),
        outlet_cum=np.cumsum(rng.random(len(outlets))),
        country_ptr=np.searchsorted(sellers, np.arange(COUNTRIES + 1)),
        online_merchant=rng.permutation(MERCHANTS),
        home_cum=np.cumsum(rng.random(MERCHANTS)),
        cross_cum=np.cumsum(rng.random(MERCHANTS)),
        merchant_class=rng.integers(0, 10, MERCHANTS),
        merchant_city=rng.integers(0, CITIES, MERCHANTS),
        day_cum=np.cumsum(rng.random((COUNTRIES * 10, days)), axis=1),
        rest_day=rng.random((COUNTRIES, days)) < 0.3,
        hour_cum=np.cumsum(rng.random((20, 24)), axis=1),
        zone_ptr=ptr,
        zone_from=since,
        zone_offset=offset,
    )


def _town(rows: int, seed: int) -> tuple[Any, ...]:
    """Arguments of both: a block that starts far into the stream and ends with its quota."""
    rng = _rng(seed + 1)
    days = 1 + seed % 95
    home, trip, outlet, same = rng.choice([0.0, 0.3, 0.8, 1.0], 4).tolist()
    law = VisitLaw(
        channel=int(rng.integers(0, 5)),
        start_us=START_US,
        days=days,
        length_max=9,
        visit_p=0.4,
        same_merchant=same,
        p_home=home,
        p_trip=trip,
        p_outlet=outlet,
        gap_median_s=840.0,
        gap_sigma=0.9,
        gap_min_s=2.0,
        gap_max_s=14400.0,
        period_min=28,
        period_max=31,
        series_hour_from=5,
        series_hour_to=13,
    )
    keys = rng.integers(0, 1 << 63, 5, dtype=np.uint64)
    return _tables(seed, days), law, keys, int(rng.integers(0, 1 << 40)), rows, np.full((rows, 4), -1, np.int64)


def _zipf(rows: int, seed: int) -> tuple[Any, ...]:
    return 0.5 + _rng(seed).random(), np.zeros(rows)


def _deficit(rows: int, seed: int) -> tuple[Any, ...]:
    """Weights of which some are 0 or equal; up to eight groups, by the seed with equal shares, so that ties occur."""
    rng = _rng(seed)
    groups = 1 + seed % 8
    share = np.ones(groups) if seed % 2 else 0.01 + rng.random(groups)
    weights = rng.integers(0, 4, rows) / 4.0 if seed % 3 else rng.random(rows)
    return weights, share / share.sum(), np.zeros(rows, np.int64)


def _scatter(rows: int, seed: int) -> tuple[Any, ...]:
    """Three small merchants in two buckets, and one whose days are spread over buckets of its own."""
    rng = _rng(seed)
    days, parts = 20, 1 + seed % 7
    merchant = rng.integers(0, 4, rows)
    flags = rng.integers(0, 1 << 10, rows) << 48
    words = np.column_stack(
        [rng.integers(0, days * DAY_US, rows) + flags, (merchant << 32) + 5, np.arange(rows), merchant]
    )
    bucket, spread = np.array([0, 0, 1, 2]), np.array([1, 1, 1, parts])
    return words, rows, bucket, spread, days, np.zeros(parts + 3, np.int64), np.zeros_like(words)


def _radix(rows: int, seed: int) -> tuple[Any, ...]:
    """Keys of up to 50 bits, or few values: digits in common, and ties."""
    bits = (2, 11, 12, 50)[seed % 4]
    keys = _rng(seed).integers(0, 1 << bits, rows)
    return keys, bits, np.zeros((2, rows), np.int64), np.zeros(rows, np.int64)


def _packed(rows: int, seed: int) -> Any:
    """Rows of all fields: three merchants, four cities, times around a change of offset, ties, some series."""
    rng = _rng(seed)
    since = rng.integers(0, 3 * DAY_US, rows)
    since[: rows // 4] = DAY_US + 6 + np.arange(rows // 4) % 3
    series = np.where(rng.random(rows) < 0.5, 0, rng.integers(0, 1 << 31, rows))
    return np.column_stack(
        [
            since | (rng.integers(0, 1 << 10, rows) << 48),
            (rng.integers(5, 8, rows) << 32) | rng.integers(0, 1 << 31, rows),
            (rng.integers(0, 1 << 31, rows) << 32) | series,
            (rng.integers(0, CITIES, rows) << 32) | (rng.integers(0, 1 << 16, rows) << 16) | rng.integers(0, 5, rows),
        ]
    )


def _number(rows: int, seed: int) -> tuple[Any, ...]:
    """Blocks of any size, also none; numbers beyond 32 bits."""
    rng = _rng(seed + 1)
    blocks = 1 + seed % 5
    ptr = np.concatenate([[0], np.sort(rng.integers(0, rows + 1, blocks - 1)), [rows]]).astype(np.int64)
    visits, series = rng.integers(0, 1 << 40, (2, blocks))
    return _packed(rows, seed), ptr, visits, series, 5 - seed % 3, 43, *(np.zeros(rows, np.int64) for _ in range(3))


def _columns(rows: int, seed: int) -> tuple[Any, ...]:
    """Sorted rows, from the first or from within the run of a merchant."""
    rng = _rng(seed + 1)
    packed = _packed(rows, seed)
    order = np.lexsort((packed[:, 0] & ((1 << 48) - 1), packed[:, 1] >> 32))
    visit, series = rng.integers(1, 1 << 40, (2, rows))
    acquirer = rng.integers(1, 9, 8)
    tables = ArrivalTables(np.array([0, 1, 1, 2]), *_zones(), acquirer)
    at = seed % 3 * rows // 3
    narrow = {"channel_group": "i1", "zone_representation": "i1", "bucket_index": "i4", "visit_rank": "i2"}
    types = narrow | {"is_virtual": "?", "trip": "?"}
    out = ArrivalColumns(*(np.zeros(rows - at, types.get(c, "i8")) for c in ArrivalColumns._fields))
    before = int(rng.integers(0, 1 << 40))
    return packed, visit, series, order, tables, START_US, at, before, np.zeros(8, np.int64), out


def _local(rows: int, seed: int) -> tuple[Any, ...]:
    """Before, at and after a change of offset."""
    rng = _rng(seed)
    ts = START_US + rng.integers(-5 * DAY_US, 5 * DAY_US, rows)
    ts[: rows // 8] = START_US + DAY_US + 6 + np.arange(rows // 8) % 3
    return ts, rng.integers(0, 3, rows), *_zones(), np.zeros(rows, np.int64)


def _uniforms(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    return rng.integers(0, 1 << 63, dtype=np.uint64), rng.integers(0, 1 << 50, rows), np.zeros(rows)


CASES = (
    Case("world_visits", _town, (5,), returns=True, rows=500_000),
    Case("world_series", _town, (5,), returns=True, rows=500_000),
    Case("zipf_weights", _zipf, (1,), returns=True),
    Case("assign_by_deficit", _deficit, (2,)),
    Case("scatter_rows", _scatter, (5, 6)),
    Case("radix_order", _radix, (0, 3), rows=5_000_000),
    Case("number_rows", _number, (6, 7, 8), rows=5_000_000),
    Case("arrival_columns", _columns, (8, 9)),
    Case("local_times", _local, (5,), rows=5_000_000),
    Case("uniforms_at", _uniforms, (2,), rows=5_000_000),
)
