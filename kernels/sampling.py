"""Distributions by inverse quantile from one uniform: one draw each, whatever the value.

Truncation rescales the uniform, u' = F(lo) + u (F(hi) - F(lo)), and never clips: no atom piles up at a bound. (The last
comparison with lo and hi only absorbs the rounding of the quantile.) u is float64 in (0, 1), the range of
`streams.uniform`; a degenerate interval gives one of its bounds. Helpers check nothing: plans refuse bad parameters.
"""

import numpy as np

from fraudloom.kernels.fmath import exp, expm1, gamma_cdf, gamma_quantile, log, log1p, ndtr, ndtri
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.streams import clamp_open

POISSON_NEGLIGIBLE = float.fromhex("0x1p-60")


@helper
def lognormal_range(median, sigma, lo, hi):
    """What `lognormal_within` needs, for loops over one law: (bool mirrored, float64 start, float64 width).

    Arguments as for `lognormal_truncated`. The CDF at the bound where the uniform starts, and its way to the other one;
    zeros when sigma is 0.
    """
    if sigma <= 0.0:
        return False, 0.0, 0.0
    a = log(lo / median) / sigma
    b = log(hi / median) / sigma
    if a > 0.0:
        top = ndtr(-a)
        return True, top, top - ndtr(-b)
    low = ndtr(a)
    return False, low, ndtr(b) - low


@helper
def lognormal_within(u, median, sigma, lo, hi, mirrored, start, width):
    """`lognormal_truncated` of u, given the `lognormal_range` of its law: the same bits. float64 -> float64."""
    if sigma <= 0.0:
        return min(max(median, lo), hi)
    if mirrored:
        z = -ndtri(start - u * width)
    else:
        z = ndtri(clamp_open(start + u * width))
    return min(max(median * exp(sigma * z), lo), hi)


@helper
def lognormal_truncated(u, median, sigma, lo, hi):
    """Lognormal with the given median > 0 and log-scale sigma >= 0, truncated to [lo, hi], 0 <= lo < hi <= inf.

    float64 -> float64. An interval above the median is mirrored to the lower tail, where the CDF keeps its precision.
    """
    mirrored, start, width = lognormal_range(median, sigma, lo, hi)
    return lognormal_within(u, median, sigma, lo, hi, mirrored, start, width)


@helper
def exponential_truncated(u, mean, lo, hi):
    """Exponential with the given mean > 0, truncated to [lo, hi], 0 <= lo < hi <= inf. float64 -> float64.

    Without memory, so the law above lo is the law from 0 shifted: no precision is lost far out.
    """
    return min(max(lo - mean * log1p(u * expm1((lo - hi) / mean)), lo), hi)


@helper
def gamma_truncated(u, k, theta, lo, hi):
    """Gamma with shape k in [0.05, 1e4] and scale theta > 0, truncated to [lo, hi], 0 <= lo < hi <= inf.

    float64 -> float64. Meant for bounds that keep most of the mass: beyond 1 - F(lo) of about 1e-6 digits are lost.
    """
    low = gamma_cdf(k, lo / theta)
    high = gamma_cdf(k, hi / theta)
    return min(max(theta * gamma_quantile(k, clamp_open(low + u * (high - low))), lo), hi)


@helper
def geometric_range(p, cap):
    """What `geometric_within` needs, for loops over one law: (rate log(1 - p), reach (1 - p)**cap - 1) or zeros."""
    if p >= 1.0 or p <= 0.0:
        return 0.0, 0.0
    rate = log1p(-p)
    return rate, expm1(cap * rate)


@helper
def geometric_within(u, p, cap, rate, reach):
    """`geometric` of u, given the `geometric_range` of its law: the same bits. -> int64."""
    if p >= 1.0:
        return np.int64(1)
    if p <= 0.0:
        n = np.int64(u * cap) + np.int64(1)
        return min(n, np.int64(cap))
    ratio = log1p(u * reach) / rate
    if ratio >= cap:
        return np.int64(cap)
    n = np.int64(ratio)
    if n < ratio:
        n += np.int64(1)
    return max(n, np.int64(1))


@helper
def geometric(u, p, cap):
    """Trials up to the first success, truncated to 1 .. cap. (float64 u, float64 p, int64 cap >= 1) -> int64.

    The smallest n >= 1 with 1 - (1 - p)**n >= u (1 - (1 - p)**cap), through logarithms. p >= 1 gives 1; p <= 0 gives
    the limit, uniform over 1 .. cap.
    """
    rate, reach = geometric_range(p, cap)
    return geometric_within(u, p, cap, rate, reach)


@helper
def poisson(u, lam, cap):
    """Poisson with mean 0 <= lam <= 700, truncated to 0 .. cap. (float64, float64, int64 cap >= 0) -> int64.

    The smallest n with F(n) >= u F(cap), both sums taken upwards from 0; O(lam) steps, and no more than cap.
    """
    first = exp(-lam)
    term = first
    total = term
    for n in range(1, cap + 1):
        term = term * (lam / n)
        total = total + term
        if n > lam and term < total * POISSON_NEGLIGIBLE:
            break
    target = u * total
    term = first
    total = term
    n = np.int64(0)
    while total < target and n < cap:
        n += np.int64(1)
        term = term * (lam / n)
        total = total + term
    return n


@kernel
def lognormal_array(u, median, sigma, lo, hi, out):
    """out[i] = lognormal_truncated(u[i], median, sigma, lo, hi). u, out: float64[n]; the rest float64 scalars."""
    for i in range(u.shape[0]):
        out[i] = lognormal_truncated(u[i], median, sigma, lo, hi)


@kernel
def exponential_array(u, mean, lo, hi, out):
    """out[i] = exponential_truncated(u[i], mean, lo, hi). u, out: float64[n]; the rest float64 scalars."""
    for i in range(u.shape[0]):
        out[i] = exponential_truncated(u[i], mean, lo, hi)


@kernel
def gamma_array(u, k, theta, lo, hi, out):
    """out[i] = gamma_truncated(u[i], k, theta, lo, hi). u, out: float64[n]; the rest float64 scalars."""
    for i in range(u.shape[0]):
        out[i] = gamma_truncated(u[i], k, theta, lo, hi)


@kernel
def geometric_array(u, p, cap, out):
    """out[i] = geometric(u[i], p, cap). u: float64[n]; p: float64; cap: int64 >= 1; out: int64[n]."""
    for i in range(u.shape[0]):
        out[i] = geometric(u[i], p, cap)


@kernel
def poisson_array(u, lam, cap, out):
    """out[i] = poisson(u[i], lam, cap). u: float64[n]; lam: float64; cap: int64 >= 0; out: int64[n]."""
    for i in range(u.shape[0]):
        out[i] = poisson(u[i], lam, cap)
