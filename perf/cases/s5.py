"""Cases of the validation kernels: joins, folds, checksums, bitmaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import checks as kc
from fraudloom.perf.cases import Case

Array = np.ndarray[Any, Any]


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _ids(rows: int, seed: int) -> Array:
    """Distinct ids but for about one in sixteen."""
    rng = _rng(seed)
    ids = rng.integers(1, 2**63 - 1, rows)
    again = rng.random(rows) < 1 / 16
    return np.where(again, np.roll(ids, 1), ids)


def _table(rows: int) -> Array:
    size = 4
    while size < 2 * rows + 1:
        size *= 2
    return np.full(size, -1, np.int32)


def _index(rows: int, seed: int) -> tuple[Any, ...]:
    return _ids(rows, seed), _table(rows), np.zeros(1, np.int64)


def _find(rows: int, seed: int) -> tuple[Any, ...]:
    ids, table, repeats = _index(rows, seed)
    kc.index_ids(ids, table, repeats)
    wanted = np.where(_rng(seed + 1).random(rows) < 0.1, _ids(rows, seed + 2), np.roll(ids, 3))
    return ids, table, wanted, np.empty(rows, np.int64)


def _groups(rows: int, seed: int) -> tuple[Array, int]:
    groups = rows // 3 + 1
    return _rng(seed).integers(-1, groups, rows), groups


def _group(rows: int, seed: int) -> tuple[Any, ...]:
    group, groups = _groups(rows, seed)
    return group, np.zeros(groups + 2, np.int64), np.zeros(rows, np.int64)


def _grouped(rows: int, seed: int) -> tuple[Array, Array]:
    group, start, order = _group(rows, seed)
    kc.group_rows(group, start, order)
    return start[:-1], order


def _dominant(rows: int, seed: int) -> tuple[Any, ...]:
    start, order = _grouped(rows, seed)
    longest = int(np.diff(start).max(initial=1))
    values = _rng(seed + 1).integers(0, 4, rows)
    return start, order, values, np.empty(longest, np.int64), np.zeros((len(start) - 1, 2), np.int64)


def _gaps(rows: int, seed: int) -> tuple[Any, ...]:
    start, order = _grouped(rows, seed)
    ts = np.sort(_rng(seed + 1).integers(0, 10**9, rows))
    return start, order, ts, np.zeros((len(start) - 1, 5), np.int64)


def _events(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    flows = rows // 3 + 1
    events = kc.EventColumns(
        rng.integers(-1, flows, rows),
        rng.integers(0, 4, rows).astype(np.int32),
        rng.integers(0, 7, rows).astype(np.int8),
        rng.integers(0, 1000, rows),
        rng.integers(-500, 500, rows),
        rng.integers(0, 21, rows).astype(np.int8),
    )
    return events, np.array([0, 1, 4, 5, 6]), np.zeros((flows, kc.EV_WIDTH), np.int64)


def _absorb(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    return rng.integers(-(2**31), 2**31 - 1, rows).astype(np.int32), rng.integers(0, 2**63, rows).astype(np.uint64)


def _buckets(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    state = rng.integers(0, 2**63, rows).astype(np.uint64)
    return state, rng.integers(-2, rows + 9, rows), 3, np.zeros(rows // 8 + 1, np.uint64)


def _bits(rows: int, seed: int) -> tuple[Any, ...]:
    ordinals = _rng(seed).integers(-1, rows + 2, rows)
    return ordinals, rows, np.zeros(rows // 8 + 1, np.uint8), np.zeros(2, np.int64)


def _counters(rows: int, seed: int) -> tuple[Any, ...]:
    return _rng(seed).integers(0, 2**40, rows), seed % 7 + 1, np.zeros(1, np.uint64)


def _follow(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    base_flow, groups = _groups(rows, seed + 1)
    start, order = _grouped(rows, seed + 1)
    flows = rows // 2 + 1
    return (
        rng.integers(-1, flows, rows),
        rng.integers(-1, 5, rows).astype(np.int32),
        rng.integers(-1, groups, flows),
        start,
        order[: len(base_flow)],
        np.empty(rows, np.int64),
    )


def _unequal(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    a, b = rng.integers(0, 2, rows + 1), rng.integers(0, 2, rows + 1)
    return a, rng.integers(0, rows + 1, rows), b, rng.integers(0, rows + 1, rows), np.zeros(1, np.int64)


def _entities(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    n = 6
    device_start = np.arange(0, 2 * n + 1, 2)
    links = kc.LinkTables(
        rng.integers(1, n + 1, n),
        rng.integers(1, n + 1, n),
        device_start,
        rng.integers(1, n + 1, 2 * n),
        device_start,
        rng.integers(1, n + 1, 2 * n),
        rng.integers(1, n + 1, n),
        rng.integers(1, n + 1, n),
        rng.integers(1, n + 1, n),
    )
    columns = [rng.integers(0, n + 2, rows) for _ in range(7)]
    return kc.EntityColumns(*columns), links, np.zeros(rows, np.int8)


CASES = (
    Case("index_ids", _index, (1, 2)),
    Case("find_ids", _find, (3,)),
    Case("group_rows", _group, (1, 2)),
    Case("dominant_values", _dominant, (3, 4)),
    Case("fold_gaps", _gaps, (3,)),
    Case("fold_events", _events, (2,)),
    Case("absorb", _absorb, (1,)),
    Case("bucket_sums", _buckets, (3,)),
    Case("mark_bits", _bits, (2, 3)),
    Case("sum_counters", _counters, (2,)),
    Case("follow_events", _follow, (5,)),
    Case("count_unequal", _unequal, (4,)),
    Case("check_entities", _entities, (2,)),
)
