"""Twins of the bank's delays: a law is a list of two components, business hours are plain loops over windows."""

from naive.sampling import gamma_truncated, lognormal_truncated
from naive.streams import split_remap


def sample_delay(u, delays, law):
    """Microseconds: split between the components, then the quantile of the one that was taken."""
    share = float(delays[2 * law][1])
    took, u = (True, u) if share >= 1.0 else split_remap(u, share)
    kind, _, a, b, low, high = (float(v) for v in delays[2 * law + (0 if took else 1)])
    if kind == 0.0:
        seconds = lognormal_truncated(u, a, b, low, high)
    elif kind == 1.0:
        seconds = gamma_truncated(u, a, b, low, high)
    else:
        seconds = low + u * (high - low)
    return int(seconds * 1e6)


def business_add(ts, d, windows, stretch):
    """Spend d in windows (open, close), ascending; what is left after the last one is added to its close."""
    ahead = [(start, end) for start, end in windows if end > ts]
    if not ahead:
        return ts + d
    if ahead[0][0] > ts:
        d = int(float(d) * stretch)
    for opened, end in ahead:
        start = max(opened, ts)
        if d <= end - start:
            return start + d
        d -= end - start
    return ahead[-1][1] + d


def delay_array(u, law, delays, out):
    """`sample_delay` of each."""
    for i, value in enumerate(u):
        out[i] = sample_delay(float(value), delays, int(law[i]))


def business_array(ts, d, opens, closes, stretch, out):
    """`business_add` of each in the same windows."""
    windows = [(int(o), int(c)) for o, c in zip(opens, closes, strict=True)]
    for i, start in enumerate(ts):
        out[i] = business_add(int(start), int(d[i]), windows, stretch)
