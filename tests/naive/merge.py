"""Twins of the kernels that merge sorted runs, written from contracts/laws/s3.md."""


def merge_order(a_ts, a_id, a_seq, b_ts, b_id, b_seq, out):
    """Python's sort is stable, so rows of a come first among equals."""
    keys = [(int(t), int(i), int(s)) for t, i, s in zip(a_ts, a_id, a_seq, strict=True)]
    keys += [(int(t), int(i), int(s)) for t, i, s in zip(b_ts, b_id, b_seq, strict=True)]
    out[:] = sorted(range(len(keys)), key=keys.__getitem__)


def take_merged(a, b, order, out):
    """Rows of a, then rows of b, in the order given."""
    both = [*a, *b]
    for k, place in enumerate(order):
        out[k] = both[place]


def first_difference(a, a_row, b, b_row):
    """The first pair of unequal values."""
    pairs = enumerate(zip(a_row, b_row, strict=True))
    return next((k for k, (i, j) in pairs if a[i] != b[j]), -1)
