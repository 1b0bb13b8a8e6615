"""Twin of the samplers: inverse quantiles in plain floats."""

import math

from naive.fmath import exp, expm1, gamma_cdf, gamma_quantile, log, log1p, ndtr, ndtri
from naive.streams import clamp_open


def lognormal_truncated(u, median, sigma, lo, hi):
    """u' between the CDFs of the bounds, in the lower tail when the interval lies above the median."""
    if sigma <= 0.0:
        return min(max(median, lo), hi)
    a = log(lo / median) / sigma
    b = log(hi / median) / sigma
    if a > 0.0:
        z = -ndtri(ndtr(-a) - u * (ndtr(-a) - ndtr(-b)))
    else:
        z = ndtri(clamp_open(ndtr(a) + u * (ndtr(b) - ndtr(a))))
    return min(max(median * exp(sigma * z), lo), hi)


def exponential_truncated(u, mean, lo, hi):
    """Shifted to lo, by lack of memory."""
    return min(max(lo - mean * log1p(u * expm1((lo - hi) / mean)), lo), hi)


def gamma_truncated(u, k, theta, lo, hi):
    """u' between the CDFs of the bounds."""
    low, high = gamma_cdf(k, lo / theta), gamma_cdf(k, hi / theta)
    return min(max(theta * gamma_quantile(k, clamp_open(low + u * (high - low))), lo), hi)


def geometric(u, p, cap):
    """Ratio of logarithms, rounded up, within 1 .. cap."""
    if p >= 1.0:
        return 1
    if p <= 0.0:
        return min(int(u * cap) + 1, cap)
    rate = log1p(-p)
    return min(max(math.ceil(log1p(u * expm1(cap * rate)) / rate), 1), cap)


def poisson(u, lam, cap):
    """First n whose partial sum reaches u times the whole sum."""
    term = exp(-lam)
    sums = [term]
    for n in range(1, cap + 1):
        term = term * (lam / n)
        sums.append(sums[-1] + term)
        if n > lam and term < sums[-1] * 2.0**-60:
            break
    return next(n for n, total in enumerate(sums) if total >= u * sums[-1])


def lognormal_array(u, median, sigma, lo, hi, out):
    """`lognormal_truncated` of each u."""
    for i, value in enumerate(u):
        out[i] = lognormal_truncated(float(value), median, sigma, lo, hi)


def exponential_array(u, mean, lo, hi, out):
    """`exponential_truncated` of each u."""
    for i, value in enumerate(u):
        out[i] = exponential_truncated(float(value), mean, lo, hi)


def gamma_array(u, k, theta, lo, hi, out):
    """`gamma_truncated` of each u."""
    for i, value in enumerate(u):
        out[i] = gamma_truncated(float(value), k, theta, lo, hi)


def geometric_array(u, p, cap, out):
    """`geometric` of each u."""
    for i, value in enumerate(u):
        out[i] = geometric(float(value), p, cap)


def poisson_array(u, lam, cap, out):
    """`poisson` of each u."""
    for i, value in enumerate(u):
        out[i] = poisson(float(value), lam, cap)
