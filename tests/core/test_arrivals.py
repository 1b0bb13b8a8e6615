"""Rules of arrival rows, in a batch and across its edges."""

from pathlib import Path

import numpy as np
import pytest

from fraudloom.arrivals import ArrivalChecker
from fraudloom.errors import DataError
from fraudloom.tables import Columns

HOUR = 3_600_000_000


def rows(*triples: tuple[int, int, int]) -> Columns:
    """Arrivals of (merchant, sequence, hour)."""
    m, s, h = (np.array(v, dtype=np.int64) for v in zip(*triples, strict=True))
    return {"merchant_id": m, "arrival_seq": s, "ts_utc": h * HOUR}


GOOD = [(1, 1, 0), (1, 2, 5), (1, 3, 5), (4, 1, 2), (9, 1, 23)]


@pytest.mark.parametrize("cut", range(len(GOOD) + 1))
def test_good_rows_pass_however_they_are_cut(cut: int) -> None:
    """The checker sees the same in any batches, and knows its edges."""
    checker = ArrivalChecker(0, 24 * HOUR, Path("part"))
    for batch in (GOOD[:cut], GOOD[cut:]):
        if batch:
            checker.add(rows(*batch))
    assert checker.first == [1, 1, 0]
    assert checker.last == [9, 1, 23 * HOUR]


BAD = [
    ([(1, 1, 0), (1, 1, 0)], "ARRIVAL_DUPLICATE"),
    ([(1, 1, 0), (1, 3, 1)], "ARRIVAL_ORDER"),
    ([(1, 1, 5), (1, 2, 4)], "ARRIVAL_ORDER"),
    ([(2, 1, 0), (1, 1, 0)], "ARRIVAL_ORDER"),
    ([(1, 1, -1)], "ARRIVAL_OUTSIDE_HORIZON"),
    ([(1, 1, 24)], "ARRIVAL_OUTSIDE_HORIZON"),
    ([(0, 1, 3)], "ARRIVAL_KEY"),
]


@pytest.mark.parametrize(("triples", "code"), BAD, ids=str)
@pytest.mark.parametrize("alone", [False, True])
def test_bad_rows_are_named(triples: list[tuple[int, int, int]], code: str, alone: bool) -> None:
    """Duplicates, gaps, disorder and instants outside the horizon are DataErrors, inside a batch and between two."""
    checker = ArrivalChecker(0, 24 * HOUR, Path("part"))
    with pytest.raises(DataError, match=code):
        for batch in [[t] for t in triples] if alone else [triples]:
            checker.add(rows(*batch))
