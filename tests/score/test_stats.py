"""Statistics of counts against plain definitions."""

from __future__ import annotations

import math
import statistics

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloom.states.score.stats import P_LEAST, association, chi2_p, cohen_d, ks_distance, quantile, top_share
from fraudloom.states.score.tally import Counts, Shared

numbers = st.lists(st.integers(-50, 10**12), min_size=2, max_size=60)


def counted(*lists: list[int]) -> Counts:
    """Counts of several lists, added one after the other."""
    out = Counts()
    for x in lists:
        part = Counts()
        part.add(np.array(x, np.int64))
        out.merge(part)
    return out


@given(st.lists(numbers, min_size=1, max_size=4), st.integers(1, 99))
def test_counts_are_a_multiset(lists: list[list[int]], percent: int) -> None:
    """A value lost or doubled when parts are merged would move every quantile."""
    counts, everything = counted(*lists), sorted(x for one in lists for x in one)
    assert np.repeat(counts.values, counts.counts).tolist() == everything
    at = quantile(counts, percent, 100)
    assert at == everything[math.ceil(percent * len(everything) / 100) - 1]
    often = sorted((everything.count(x) for x in set(everything)), reverse=True)
    assert top_share(counts, 3) == sum(often[:3]) / len(everything)


@given(numbers, numbers)
def test_effect_sizes(a: list[int], b: list[int]) -> None:
    """Sums that overflow, or a distribution function off by one, would show between two small samples."""
    x, y = counted(a), counted(b)
    spread = (len(a) - 1) * statistics.variance(a) + (len(b) - 1) * statistics.variance(b)
    d = cohen_d(x, y)
    if spread == 0:
        assert d is None
    else:
        pooled = math.sqrt(spread / (len(a) + len(b) - 2))
        assert d == pytest.approx(abs(statistics.mean(a) - statistics.mean(b)) / pooled, rel=1e-9, abs=1e-12)
    grid = sorted({*a, *b})
    distance = max(abs(sum(v <= g for v in a) / len(a) - sum(v <= g for v in b) / len(b)) for g in grid)
    assert ks_distance(x, y) == pytest.approx(distance, abs=1e-12)


@given(st.integers(1, 30), st.floats(0.01, 200.0))
def test_chi_square_tail(degrees: int, chi2: float) -> None:
    """The wrong tail would call chance an association."""
    exact = float(mpmath.gammainc(degrees / 2, chi2 / 2, mpmath.inf, regularized=True))
    assert chi2_p(chi2, degrees) == pytest.approx(max(exact, P_LEAST), rel=1e-6, abs=2e-12)


def test_association_of_known_tables() -> None:
    """Independent columns have V 0, equal columns V 1, and one column nothing to compare."""
    assert association(np.array([[10, 20, 0], [30, 60, 0], [0, 0, 0]])) == (
        pytest.approx(0.0, abs=1e-7),
        pytest.approx(1.0),
    )
    v = association(np.diag([5, 6, 7]))
    assert v is not None and v[0] == pytest.approx(1.0)
    assert association(np.array([[3, 0], [4, 0]])) is None
    assert association(np.zeros((2, 3), np.int64)) is None


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), max_size=40), st.integers(0, 40))
def test_shared_entities(pairs: list[tuple[int, int]], cut: int) -> None:
    """The order in which parts are seen must not matter, nor a partner that comes twice."""
    shared = Shared(5)
    for part in (pairs[cut:], pairs[:cut]):
        shared.add(*(np.array([p[k] for p in part], np.int64) for k in (0, 1)))
    seen = {e: {q for p, q in pairs if p == e} for e, _ in pairs}
    assert shared.figures() == (sum(len(s) > 1 for s in seen.values()), len(seen))
