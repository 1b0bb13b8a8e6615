"""Twin of the order by shard."""


def scatter_order(shard, order, ptr):
    """A list of rows per shard, one after the other."""
    at = 0
    for s in range(len(ptr) - 1):
        ptr[s] = at
        held = [i for i, k in enumerate(shard) if int(k) == s]
        order[at : at + len(held)] = held
        at += len(held)
    ptr[len(ptr) - 1] = at
