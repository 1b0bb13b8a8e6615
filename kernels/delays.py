"""Delays by truncated inverse quantiles, and work done in business hours only."""

import numpy as np

from fraudloom.kernels.jit import helper, kernel, outlined
from fraudloom.kernels.sampling import gamma_truncated, lognormal_truncated
from fraudloom.kernels.streams import split_remap

LOGNORMAL, GAMMA, UNIFORM = 0, 1, 2
#: Columns of a delay table: kind, share of the first component, two parameters, bounds in seconds.
KIND, SHARE, FIRST, SECOND, LOW, HIGH = range(6)


@outlined
def sample_delay(u, delays, law):
    """A delay in microseconds, int64, of one law. u float64 in (0, 1); delays float64[2 laws, 6]; law int64.

    Row 2 law is the first component and row 2 law + 1 the second; a share below 1 splits u between them. Kinds: 0
    lognormal (median in seconds, sigma), 1 gamma (shape, scale in seconds), 2 uniform; truncated to [low, high].
    """
    row = 2 * law
    if delays[row, SHARE] < 1.0:
        took, u = split_remap(u, delays[row, SHARE])
        if not took:
            row += 1
    low = delays[row, LOW]
    high = delays[row, HIGH]
    kind = delays[row, KIND]
    if kind == LOGNORMAL:
        seconds = lognormal_truncated(u, delays[row, FIRST], delays[row, SECOND], low, high)
    elif kind == GAMMA:
        seconds = gamma_truncated(u, delays[row, FIRST], delays[row, SECOND], low, high)
    else:
        seconds = low + u * (high - low)
    return np.int64(seconds * 1e6)


@helper
def business_add(ts, d, opens, closes, lo, hi, stretch):
    """Instant at which d microseconds of work are done, started at ts, in the windows [opens[k], closes[k]).

    ts, d, lo, hi int64; opens, closes int64, ascending and disjoint over [lo, hi); stretch float64: the factor on d
    when ts lies outside every window (a backlog waits at the opening). Behind the last window time runs on as it is.
    """
    left = lo
    right = hi
    while left < right:
        middle = (left + right) >> 1
        if closes[middle] > ts:
            right = middle
        else:
            left = middle + 1
    if left >= hi:
        return ts + d
    start = ts
    if opens[left] > ts:
        start = opens[left]
        d = np.int64(np.float64(d) * stretch)
    while d > closes[left] - start:
        d -= closes[left] - start
        left += 1
        if left >= hi:
            return closes[left - 1] + d
        start = opens[left]
    return start + d


@kernel
def delay_array(u, law, delays, out):
    """out[i] = sample_delay(u[i], delays, law[i]). u float64[n]; law, out int64[n]; delays float64[2 laws, 6]."""
    for i in range(u.shape[0]):
        out[i] = sample_delay(u[i], delays, law[i])


@kernel
def business_array(ts, d, opens, closes, stretch, out):
    """out[i] = business_add(ts[i], d[i], opens, closes, 0, w, stretch). ts, d, out int64[n]; opens, closes int64[w]."""
    for i in range(ts.shape[0]):
        out[i] = business_add(ts[i], d[i], opens, closes, 0, opens.shape[0], stretch)
