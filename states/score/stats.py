"""Statistics of counts: association, distance, quantiles. Sums are exact integers until the last division."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.kernels.fmath import gamma_cdf_array
from fraudloom.states.score.tally import I64, Counts

#: Chi-square probabilities below this are not told apart (the distribution function is accurate to 1e-12).
P_LEAST = 1e-12


def association(table: npt.NDArray[Any]) -> tuple[float, float] | None:
    """(Cramer's V, chi-square p) of a contingency table int64[r, c]; p is at least `P_LEAST`.

    Empty rows and columns are left out; None when fewer than two rows or columns are left.
    """
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    least = min(table.shape) - 1
    if least < 1:
        return None
    n = int(table.sum())
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    # chi2 = n * (sum of o^2 / (row * column) - 1); fsum, so that the order of summation does not show.
    cells = zip(table.ravel().tolist(), np.outer(rows, columns).ravel().tolist(), strict=True)
    shares = [o * o / rc for o, rc in cells if o]
    excess = max(math.fsum([*shares, -1.0]), 0.0)
    return math.sqrt(excess / least), chi2_p(n * excess, (len(rows) - 1) * (len(columns) - 1))


def chi2_p(chi2: float, degrees: int) -> float:
    """Upper tail of the chi-square distribution, at least `P_LEAST`."""
    out = np.zeros(1)
    gamma_cdf_array(np.array([degrees / 2.0]), np.array([chi2 / 2.0]), out)
    return max(1.0 - float(out[0]), P_LEAST)


def quantile(counts: Counts, numerator: int, denominator: int) -> int | None:
    """Smallest value of which at least the share numerator / denominator are no larger; None of nothing."""
    n = counts.total
    if not n:
        return None
    rank = -(-n * numerator // denominator)
    return int(counts.values[np.searchsorted(np.cumsum(counts.counts), rank)])


def top_share(counts: Counts, most: int) -> float | None:
    """Share of the `most` commonest values."""
    return int(np.sort(counts.counts)[-most:].sum()) / counts.total if counts.total else None


def _moments(counts: Counts) -> tuple[int, int, int]:
    """(n, sum, sum of squares), exact."""
    values = counts.values.astype(object)
    return counts.total, int((values * counts.counts).sum()), int((values * values * counts.counts).sum())


def cohen_d(a: Counts, b: Counts) -> float | None:
    """Absolute difference of means over the pooled standard deviation.

    None with fewer than two on a side, or without spread.
    """
    (n, s, q), (m, t, r) = _moments(a), _moments(b)
    if n < 2 or m < 2:
        return None
    # (n - 1) var = q - s^2 / n; over the common denominator n m, integers.
    spread = (n * q - s * s) * m + (m * r - t * t) * n
    if not spread:
        return None
    variance = spread / (n * m * (n + m - 2))
    return abs(s * m - t * n) / (n * m) / math.sqrt(variance)


def ks_distance(a: Counts, b: Counts) -> float | None:
    """Largest distance of two empirical distribution functions; no monotone transform (a logarithm) changes it."""
    if not (a.total and b.total):
        return None
    grid = np.union1d(a.values, b.values)
    below = [_cumulative(x, grid) for x in (a, b)]
    return float(np.abs(below[0] / a.total - below[1] / b.total).max())


def _cumulative(counts: Counts, grid: I64) -> I64:
    """Members at or below each point of a grid."""
    total = np.concatenate([[0], np.cumsum(counts.counts)])
    at: I64 = total[np.searchsorted(counts.values, grid, side="right")]
    return at
