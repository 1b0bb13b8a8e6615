"""Counting sort: rows of a batch partitioned by shard, stably; and checksums that say whether all of them arrived."""

import numpy as np

from fraudloom.kernels.jit import kernel
from fraudloom.kernels.streams import mix64


@kernel
def scatter_order(shard, order, ptr):
    """Stable order by shard: rows of shard s are order[ptr[s]:ptr[s + 1]], in their own order.

    shard: int32[n] in 0 .. s-1; order: int64[n], filled; ptr: int64[s + 1], filled.
    """
    n = shard.shape[0]
    for s in range(ptr.shape[0]):
        ptr[s] = 0
    for i in range(n):
        ptr[shard[i] + 1] += 1
    for s in range(1, ptr.shape[0]):
        ptr[s] += ptr[s - 1]
    for i in range(n):
        order[ptr[shard[i]]] = i
        ptr[shard[i]] += 1
    for s in range(ptr.shape[0] - 1, 0, -1):
        ptr[s] = ptr[s - 1]
    ptr[0] = 0


@kernel
def take_rows(values, rows, out):
    """out[k] = values[rows[k]], widened to the type of `out`.

    values: integers, floats or bool; rows: int64[n], in range; out: of the same or a wider type, n long.
    """
    for k in range(rows.shape[0]):
        # Unsigned: a row that cannot be negative is not looked at twice.
        out[k] = values[np.uint64(rows[k])]


@kernel
def mix_columns(values, factor, state):
    """state[i] += values[i] * factor, modulo 2^64: one column of a row checksum.

    values: integers or bool[n], sign-extended; factor: uint64, odd; state: uint64[n], in and out.
    """
    for i in range(values.shape[0]):
        state[i] += np.uint64(np.int64(values[i])) * factor


@kernel
def sum_mixed(state, shard, sums):
    """sums[shard[i]] += mix64(state[i]), modulo 2^64: row checksums added up, whatever the order of rows.

    state: uint64[n]; shard: int32[n] in 0 .. s-1; sums: uint64[s], in and out.
    """
    for i in range(state.shape[0]):
        sums[shard[i]] += mix64(state[i])
