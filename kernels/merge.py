"""Two sorted runs as one, and where two tables differ. Law: contracts/laws/s3.md, section 9."""

from fraudloom.kernels.jit import kernel


@kernel
def merge_order(a_ts, a_id, a_seq, b_ts, b_id, b_seq, out):
    """Merge two runs sorted by (ts, id, seq): out[k] = place in the concatenation a + b of row k of the merged run.

    a_ts, a_id, b_ts, b_id: int64; a_seq, b_seq: int32; out: int64[len(a) + len(b)].
    """
    n = a_ts.shape[0]
    m = b_ts.shape[0]
    i = 0
    j = 0
    for k in range(n + m):
        first = j >= m
        if i < n and j < m:
            if a_ts[i] != b_ts[j]:
                first = a_ts[i] < b_ts[j]
            elif a_id[i] != b_id[j]:
                first = a_id[i] < b_id[j]
            else:
                first = a_seq[i] <= b_seq[j]
        if first:
            out[k] = i
            i += 1
        else:
            out[k] = n + j
            j += 1


@kernel
def first_difference(a, a_row, b, b_row):
    """First k with a[a_row[k]] != b[b_row[k]], or -1. a, b: arrays of one type; a_row, b_row: int64[n]."""
    for k in range(a_row.shape[0]):
        if a[a_row[k]] != b[b_row[k]]:
            return k
    return -1


@kernel
def take_merged(a, b, order, out):
    """out[k] = row order[k] of the concatenation a + b.

    a, b, out: arrays of one type; order: int64[len(a) + len(b)].
    """
    n = a.shape[0]
    for k in range(order.shape[0]):
        row = order[k]
        out[k] = a[row] if row < n else b[row - n]
