"""Counting sort: rows of a batch partitioned by shard, stably."""

from fraudloom.kernels.jit import kernel


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
