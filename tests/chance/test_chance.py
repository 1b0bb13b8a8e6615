"""The statistics themselves: exact tails, and what they let pass."""

from __future__ import annotations

import math

import numpy as np

from chance import branch, pit


def test_exact_tail_is_the_binomials() -> None:
    """Rare branches would be judged by wrong tails."""
    upto = sum(math.comb(40, k) * 0.1**k * 0.9 ** (40 - k) for k in range(2))
    assert math.isclose(branch.exact_tail(1, np.full(40, 0.1)), 2.0 * upto, rel_tol=1e-12)
    mixed = branch.exact_tail(0, np.array([0.1, 0.2, 1e-3]))
    assert math.isclose(mixed, min(1.0, 2.0 * 0.9 * 0.8 * 0.999), rel_tol=1e-12)
    assert branch.exact_tail(0, np.array([1.0, 0.5])) == 0.0


def test_a_branch_off_by_five_deviations_is_seen() -> None:
    """A branch that is taken too often would count as chance, or chance as a fault."""
    taken = np.zeros(10_000, np.bool_)
    taken[: 1000 + 5 * 30] = True
    assert not branch.judge("more", taken, 0.1).holds
    assert branch.judge("by chance", taken[:10_000], 0.11).holds
    assert not branch.judge("too many of few", np.ones(10, np.bool_), 0.1).holds
    assert not branch.judge("impossible", np.ones(1, np.bool_), 0.0).holds
    assert branch.judge("few", np.zeros(40, np.bool_), 0.1).tail is not None


def test_rounded_laws_are_uniform_after_the_transform() -> None:
    """Whole days or minor units would fail the test of their own law, or another law would pass it."""
    rng = np.random.Generator(np.random.PCG64(5))
    x = np.rint(20.0 * np.exp(0.8 * rng.standard_normal(200_000)))
    fits, other = (
        pit.distance(pit.lognormal(x - 0.5, 20.0, s), pit.lognormal(x + 0.5, 20.0, s), 6) for s in (0.8, 0.84)
    )
    assert fits <= pit.critical(200_000, 1) < other
    days = rng.integers(4, 12, 200_000)
    assert pit.distance(pit.between(days - 1, 4, 11), pit.between(days, 4, 11), 7) <= pit.critical(200_000, 1)
