"""Small array operations that the checks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fraudloom.kernels.checks import count_unequal, dominant_values, find_ids, fold_gaps, group_rows, index_ids
from fraudloom.kernels.idmap import decode_ids

Array = np.ndarray[Any, Any]
Table = Mapping[str, Array]


class IdIndex:
    """Row of an id in a column of unique ids; `repeats` counts rows whose id stands in an earlier row."""

    def __init__(self, ids: Array) -> None:
        size = 4
        while size < 2 * len(ids) + 1:
            size *= 2
        self.ids = ids
        self.table = np.full(size, -1, dtype=np.int32)
        repeats = np.zeros(1, dtype=np.int64)
        index_ids(ids, self.table, repeats)
        self.repeats = int(repeats[0])

    def rows(self, wanted: Array) -> Array:
        """Row of each wanted id, or -1."""
        out = np.empty(len(wanted), dtype=np.int64)
        find_ids(self.ids, self.table, wanted, out)
        return out


class Groups:
    """Rows grouped by a row number of another table, in row order."""

    def __init__(self, group: Array, groups: int) -> None:
        start = np.zeros(groups + 2, dtype=np.int64)
        self.order = np.empty(len(group), dtype=np.int64)
        group_rows(group, start, self.order)
        self.start = start[: groups + 1]
        self.sizes = np.diff(self.start)

    def dominant(self, values: Array) -> Array:
        """int64[groups, 2]: most frequent value (lowest of equals), distinct values."""
        scratch = np.empty(int(self.sizes.max(initial=1)), dtype=np.int64)
        out = np.zeros((len(self.sizes), 2), dtype=np.int64)
        dominant_values(self.start, self.order, values.astype(np.int64, copy=False), scratch, out)
        return out

    def gaps(self, ts: Array) -> Array:
        """int64[groups, 5]: first and last ts, smallest, largest and summed gap."""
        out = np.zeros((len(self.sizes), 5), dtype=np.int64)
        fold_gaps(self.start, self.order, ts, out)
        return out


def decode(key: int, ids: Array) -> Array:
    """Ordinals of ids, int64; an id that is not positive gives -1."""
    out = np.empty(len(ids), dtype=np.int64)
    decode_ids(np.uint64(key), np.maximum(ids, 1), out)
    out[ids < 1] = -1
    return out


def take(values: Array, rows: Array) -> Array:
    """values[rows], with row -1 giving a zero of the dtype."""
    if not len(values):
        return np.zeros(len(rows), dtype=values.dtype)
    return np.where(rows >= 0, values[np.maximum(rows, 0)], values.dtype.type(0))


def unsorted(cols: Table, names: tuple[str, ...]) -> Array:
    """Rows (from the second on) that stand before their predecessor in the order of the named columns, bool[n - 1]."""
    n = len(cols[names[0]]) if names else 0
    wrong = np.zeros(max(0, n - 1), dtype=np.bool_)
    tie = np.ones(max(0, n - 1), dtype=np.bool_)
    for name in names:
        v = cols[name]
        wrong |= tie & (v[1:] < v[:-1])
        tie &= v[1:] == v[:-1]
        if not tie.any():
            break
    return wrong


def differs(a: Array, b: Array) -> Array:
    """Rows in which two columns differ, NaN equal to NaN: compared by bits."""
    if a.dtype == np.float64:
        result: Array = a.view(np.int64) != b.view(np.int64)
        return result
    other: Array = a != b
    return other


def unequal_rows(a: Array, rows_a: Array, b: Array, rows_b: Array) -> Array:
    """Places i at which a[rows_a[i]] and b[rows_b[i]] differ (by bits), int64; one pass when there are none."""
    # One compiled loop per width: only equality of bits counts.
    if a.dtype == np.float64:
        a, b = a.view(np.int64), b.view(np.int64)
    elif a.dtype == np.bool_:
        a, b = a.view(np.int8), b.view(np.int8)
    out = np.zeros(1, dtype=np.int64)
    count_unequal(a, rows_a, b, rows_b, out)
    if not out[0]:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(a[rows_a] != b[rows_b])
