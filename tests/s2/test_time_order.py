"""The order of events where times crowd: the counting pass gives way to radix passes."""

from __future__ import annotations

import numpy as np
import pytest

from fraudloom.kernels.events import time_order


@pytest.mark.parametrize(("spread", "last"), [(50, 10**13), (10**6, 10**15), (1, 10**9)])
def test_crowded_times_are_ordered(spread: int, last: int) -> None:
    """A day whose clearings all come at once would be published out of order."""
    rng = np.random.default_rng(spread)
    ts = 1_700_000_000_000_000 + rng.integers(0, spread, 3000)
    ts[17] += last  # one event far out makes all others fall into one span
    tie, seq = rng.integers(0, 40, 3000), rng.permutation(3000).astype(np.int32)
    work, order = np.empty((2, 3000), np.int64)
    time_order(ts, tie, seq, work, order)
    assert np.array_equal(order, np.lexsort((seq, tie, ts)))
