"""Sanity of the sealed arrivals, over all rows: nulls, duplicates, order, numbering, horizon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import DataError
from fraudloom.states.s0.codes import Code, fault
from fraudloom.tables import iter_groups

COLUMNS = ("merchant_id", "arrival_seq", "ts_utc", "visit_key", "channel_group")
Row = tuple[int, int, int]


@dataclass(frozen=True)
class Seam:
    """First and last (merchant_id, arrival_seq, ts_utc) of a file and its rows; None when it has none."""

    rows: int
    first: Row | None
    last: Row | None


def _follows(before: Row, after: Row, where: object) -> None:
    """Raise unless `after` may stand right behind `before`."""
    (m0, s0, t0), (m1, s1, t1) = before, after
    if (m1, s1) == (m0, s0):
        raise fault(
            Code.ARRIVALS_DUPLICATE, "an arrival stands twice", where, f"merchant {m1} arrival {s1}", "each key once"
        )
    if m1 < m0 or (m1 == m0 and (s1 < s0 or t1 < t0)):
        raise fault(Code.ARRIVALS_ORDER, "arrivals are not in (merchant, time) order", where, after, f"after {before}")
    if s1 != (s0 + 1 if m1 == m0 else 1):
        raise fault(
            Code.ARRIVALS_NUMBERING, "arrivals of a merchant are not numbered 1..", where, after, f"next to {before}"
        )


def check_file(task: tuple[Contracts, Path, int, int]) -> Seam:
    """Check one file: (contracts, path, first instant, first instant after). DataError names row and fault."""
    contracts, path, start, end = task
    ds = contracts.dataset("arrival_events_5B")
    rows, first, last = 0, None, None
    try:
        for cols in iter_groups(path, ds, COLUMNS):
            merchant, seq, ts = cols["merchant_id"], cols["arrival_seq"], cols["ts_utc"]
            if not len(ts):
                continue
            head = (int(merchant[0]), int(seq[0]), int(ts[0]))
            if last is None:
                first = head
            else:
                _follows(last, head, f"{path}, row {rows}")
            outside = np.flatnonzero((ts < start) | (ts >= end))
            if len(outside):
                where = f"{path}, row {rows + int(outside[0])}"
                raise fault(
                    Code.ARRIVALS_OUT_OF_HORIZON,
                    "an arrival lies outside the horizon",
                    where,
                    int(ts[outside[0]]),
                    (start, end),
                )
            same = merchant[1:] == merchant[:-1]
            good = np.where(
                same, (seq[1:] == seq[:-1] + 1) & (ts[1:] >= ts[:-1]), (merchant[1:] > merchant[:-1]) & (seq[1:] == 1)
            )
            if not good.all():
                i = int(np.argmin(good))
                pair = [(int(merchant[j]), int(seq[j]), int(ts[j])) for j in (i, i + 1)]
                _follows(pair[0], pair[1], f"{path}, row {rows + i + 1}")
            last = (int(merchant[-1]), int(seq[-1]), int(ts[-1]))
            rows += len(ts)
    except DataError as e:
        if e.state == "S0":
            raise
        raise fault(Code.ARRIVALS_UNREADABLE, f"{e.code}: {e.what}", path, e.found, e.expected) from None
    return Seam(rows, first, last)


def check_arrivals(
    contracts: Contracts,
    files: list[Path],
    start: int,
    end: int,
    map_: Callable[..., Iterable[Any]] = map,
) -> int:
    """Check all arrivals of a scenario, files in part order; returns the number of rows."""
    rows, last = 0, None
    for path, seam in zip(files, map_(check_file, [(contracts, f, start, end) for f in files]), strict=True):
        if seam.first is not None:
            if last is not None:
                _follows(last, seam.first, f"{path}, row 0")
            elif seam.first[1] != 1:
                raise fault(Code.ARRIVALS_NUMBERING, "a merchant's first arrival is not number 1", path, seam.first, 1)
            last = seam.last
        rows += seam.rows
    return rows
