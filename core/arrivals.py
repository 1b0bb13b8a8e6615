"""Reading arrivals: units of row groups, batches inside them, and the rules that arrival rows must keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraudloom.contracts_api import Dataset
from fraudloom.errors import DataError
from fraudloom.shards import Unit, units
from fraudloom.tables import AGAIN, Columns, from_arrow

ARRIVALS = "arrival_events_5B"


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(
        "S1",
        "PART_UNREADABLE",
        what=f"a part of {ARRIVALS} is not a whole Parquet file",
        found=str(error).splitlines()[0] if str(error) else type(error).__name__,
        where=path,
        action="restore the file, or build the world again",
    )


@dataclass(frozen=True)
class ArrivalFiles:
    """The arrival parts of one scenario, cut into units."""

    ds: Dataset
    paths: tuple[Path, ...]
    units: tuple[Unit, ...]
    rows: int

    @classmethod
    def find(cls, ds: Dataset, paths: Sequence[Path]) -> ArrivalFiles:
        """Read the footers of the parts (given in part order)."""
        sizes = []
        for path in paths:
            try:
                meta = pq.read_metadata(path)
            except (pa.ArrowException, OSError) as e:
                raise _unreadable(path, e) from None
            sizes.append([meta.row_group(g).num_rows for g in range(meta.num_row_groups)])
        return cls(ds, tuple(paths), units(sizes), sum(map(sum, sizes)))

    def batches(self, unit: Unit, batch_rows: int) -> Iterator[tuple[int, Columns]]:
        """(first ordinal, columns) of the unit's batches of at most `batch_rows` rows."""
        path = self.paths[unit.file]
        first = unit.first
        try:
            with pq.ParquetFile(path) as f:
                for batch in f.iter_batches(batch_size=batch_rows, row_groups=list(unit.groups), use_threads=False):
                    yield first, from_arrow(self.ds, batch)
                    first += batch.num_rows
        except (pa.ArrowException, OSError) as e:
            raise _unreadable(path, e) from None


class ArrivalChecker:
    """Checks rows of one unit in order; `edge` is what the neighbouring units are compared by."""

    def __init__(self, start_us: int, end_us: int, where: Path) -> None:
        self.start_us, self.end_us, self.where = start_us, end_us, where
        self.first: list[int] | None = None
        self.last: list[int] | None = None

    def add(self, cols: Columns) -> None:
        """Check one batch; DataError names the rule that a row breaks."""
        merchant, seq, ts = cols["merchant_id"], cols["arrival_seq"], cols["ts_utc"]
        if not len(merchant):
            return
        outside = (ts < self.start_us) | (ts >= self.end_us)
        if outside.any():
            row = int(np.argmax(outside))
            self._refuse(
                "ARRIVAL_OUTSIDE_HORIZON",
                "an arrival lies outside the horizon",
                cols,
                row,
                f"{_iso(self.start_us)} <= ts_utc < {_iso(self.end_us)}",
            )
        small = (merchant < 1) | (seq < 1)
        if small.any():
            self._refuse("ARRIVAL_KEY", "a key is below 1", cols, int(np.argmax(small)), "keys from 1 on")
        if self.last is not None:
            before = self.last
            self._neighbours(before, [int(merchant[0]), int(seq[0]), int(ts[0])])
        same = merchant[1:] == merchant[:-1]
        bad = np.where(same, (seq[1:] != seq[:-1] + 1) | (ts[1:] < ts[:-1]), merchant[1:] < merchant[:-1])
        if bad.any():
            row = int(np.argmax(bad))
            self._pair(
                [int(merchant[row]), int(seq[row]), int(ts[row])],
                [int(merchant[row + 1]), int(seq[row + 1]), int(ts[row + 1])],
            )
        if self.first is None:
            self.first = [int(merchant[0]), int(seq[0]), int(ts[0])]
        self.last = [int(merchant[-1]), int(seq[-1]), int(ts[-1])]

    def _neighbours(self, a: list[int], b: list[int]) -> None:
        if not follows(a, b):
            self._pair(a, b)

    def _pair(self, a: list[int], b: list[int]) -> None:
        refuse_pair(a, b, self.where)

    def _refuse(self, code: str, what: str, cols: Columns, row: int, expected: str) -> None:
        key = f"merchant_id {int(cols['merchant_id'][row])}, arrival_seq {int(cols['arrival_seq'][row])}"
        raise DataError(
            "S1",
            code,
            what=what,
            found=f"{key}, ts_utc {_iso(int(cols['ts_utc'][row]))}",
            expected=expected,
            where=self.where,
            action=AGAIN,
        )


def follows(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether arrival b = (merchant, seq, ts) may stand right after a."""
    if a[0] == b[0]:
        return b[1] == a[1] + 1 and b[2] >= a[2]
    return b[0] > a[0]


def refuse_pair(a: Sequence[int], b: Sequence[int], where: Path) -> None:
    """Raise the DataError for two neighbours that may not follow each other."""
    duplicate = a[0] == b[0] and a[1] == b[1]
    raise DataError(
        "S1",
        "ARRIVAL_DUPLICATE" if duplicate else "ARRIVAL_ORDER",
        what="an arrival stands twice" if duplicate else "arrivals are out of order, or one is missing",
        found=f"(merchant_id, arrival_seq, ts_utc) ({b[0]}, {b[1]}, {_iso(b[2])}) after ({a[0]}, {a[1]}, {_iso(a[2])})",
        expected="merchants ascending; per merchant arrival_seq 1, 2, ... and times that never decrease",
        where=where,
        action=AGAIN,
    )


def _iso(us: int) -> str:
    return str(np.datetime64(int(us), "us")) + "Z"


def merchant_bases(files: ArrivalFiles, merchants: int) -> np.ndarray[Any, Any]:
    """int64[merchants + 1]: arrival ordinal of merchant m's row with arrival_seq s is bases[m] + s.

    Needs rows that keep the rules of `ArrivalChecker`. Used to rebuild ordinals of published arrivals.
    """
    bases = np.zeros(merchants + 1, dtype=np.int64)
    seen = 0
    last = 0
    for path in files.paths:
        with pq.ParquetFile(path) as f:
            for batch in f.iter_batches(1 << 20, columns=["merchant_id", "arrival_seq"], use_threads=False):
                m = batch.column(0).to_numpy()
                s = batch.column(1).to_numpy()
                if not len(m):
                    continue
                new = np.flatnonzero(np.concatenate(([m[0] != last], m[1:] != m[:-1])))
                bases[m[new]] = seen + new - s[new]
                seen += len(m)
                last = int(m[-1])
    return bases
