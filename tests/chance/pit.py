"""Randomised probability-integral transforms in float64, from `math.erfc` alone: nothing of the package is used.

A law that is rounded to whole microseconds, minor units or days has atoms. Uniforms between F(x-) and F(x) are exactly
uniform all the same when F is the law of x, so one Kolmogorov-Smirnov distance serves continuous and rounded laws.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
#: The normal CDF on a grid so fine that linear interpolation is within 1e-8.
_GRID = np.linspace(-9.0, 9.0, 36001)
_NORMAL = np.array([0.5 * math.erfc(-z / math.sqrt(2.0)) for z in _GRID])


def normal(z: Array) -> Array:
    """Standard normal CDF, within 1e-8."""
    return np.interp(z, _GRID, _NORMAL)


def lognormal(x: Array, median: Any, sigma: Any, lo: float = 0.0, hi: float = math.inf) -> Array:
    """CDF at x of a lognormal truncated to [lo, hi]; x may lie outside the support."""

    def at(y: Any) -> Array:
        y = np.asarray(y, np.float64)
        with np.errstate(divide="ignore"):
            return normal(np.log(np.maximum(y, 0.0) / median) / sigma)

    low = at(lo)
    return np.clip((at(np.minimum(x, hi)) - low) / (at(hi) - low), 0.0, 1.0)


def between(x: Array, lo: int, hi: int) -> Array:
    """CDF at x of whole numbers lo .. hi, all equally likely."""
    return np.clip((np.floor(x) - lo + 1.0) / (hi - lo + 1.0), 0.0, 1.0)


def distance(below: Array, upto: Array, seed: int) -> float:
    """Kolmogorov-Smirnov distance to the uniform of draws between F(x-) = `below` and F(x) = `upto`."""
    v = np.random.Generator(np.random.PCG64(seed)).random(len(below))
    u = np.sort(below + v * (upto - below))
    n = len(u)
    steps = np.arange(n + 1) / n
    return float(max(np.max(steps[1:] - u), np.max(u - steps[:-1])))


def critical(n: int, tests: int, alpha: float = 1e-6) -> float:
    """Distance that n draws exceed with probability alpha in any of so many tests."""
    return math.sqrt(math.log(2.0 * tests / alpha) / (2.0 * n))
