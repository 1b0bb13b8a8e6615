"""Twins of the order by shard and of the checksums of rows."""

from naive.streams import MASK, mix64


def scatter_order(shard, order, ptr):
    """A list of rows per shard, one after the other."""
    at = 0
    for s in range(len(ptr) - 1):
        ptr[s] = at
        held = [i for i, k in enumerate(shard) if int(k) == s]
        order[at : at + len(held)] = held
        at += len(held)
    ptr[len(ptr) - 1] = at


def mix_columns(values, factor, state):
    """Whole numbers, cut to 64 bits."""
    for i, v in enumerate(values):
        state[i] = (int(state[i]) + int(v) * int(factor)) & MASK


def sum_mixed(state, shard, sums):
    """A list of rows per shard."""
    for s in range(len(sums)):
        own = sum(mix64(state[i]) for i in range(len(state)) if int(shard[i]) == s)
        sums[s] = (int(sums[s]) + own) & MASK


def take_rows(values, rows, out):
    """Rows one after the other."""
    for k, row in enumerate(rows):
        out[k] = values[int(row)]
