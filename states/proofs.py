"""Proofs of a state: a catalogue of checks, and the error that names the row which breaks one.

The catalogue is what the law pages list: every check has an invariant, a code, what must hold, and the columns that are
shown of a row that breaks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import InternalError

Array = np.ndarray[Any, Any]
Rows = Mapping[str, Array]

ACTION = "the inputs are not at fault: keep the run's folder, run again with --fresh, and report this message"


@dataclass(frozen=True)
class Check:
    """One check of an invariant (0: the form of tables). `what` is what is wrong, `expected` what would be right;
    `columns` are shown of the first row that breaks it."""

    invariant: int
    what: str
    code: str
    expected: str
    columns: tuple[str, ...] = ()


class Proofs:
    """The checks of one state by `what`; `key`: columns that name a row, by the first of them that a table has."""

    def __init__(self, state: str, *checks: Check, keys: tuple[tuple[str, ...], ...]) -> None:
        self.state, self.keys = state, keys
        self.checks = {c.what: c for c in checks}
        if len(self.checks) != len(checks):
            raise ValueError(f"two checks of {state} say the same")

    def error(self, what: str, found: object, where: object) -> InternalError:
        """The error of a check."""
        c = self.checks[what]
        return InternalError(
            self.state,
            f"{self.state}_{c.code}",
            what=c.what,
            found=found,
            expected=c.expected,
            where=where,
            action=ACTION,
        )

    def rows(self, what: str, good: Array, rows: Rows, at: Array | None = None, note: str = "") -> None:
        """InternalError for the first row that is not good.

        good: bool[n]; rows: columns of the table; at: int64[n] rows of the table that `good` speaks of (all, in their
        order, without it); note: added to what is found.
        """
        if bool(good.all()):
            return
        first = int(np.argmin(good))
        bad = first if at is None else int(at[first])
        key = next(k for k in self.keys if k[0] in rows)
        shown = ", ".join(f"{c} {rows[c][bad]}" for c in self.checks[what].columns if c in rows)
        found = f"{note}{int((~good).sum())} of {len(good)} rows" + (f"; the first has {shown}" if shown else "")
        place = ", ".join(f"{c} {rows[c][bad]}" for c in key if c in rows)
        raise self.error(what, found, f"{place} (row {bad} of the shard)")

    def equal(self, what: str, found: object, expected: object, where: object) -> None:
        """InternalError when two numbers differ."""
        if found != expected:
            raise self.error(what, f"{found}, not {expected}", where)

    def schema(self, what: str, contracts: Contracts, dataset_id: str, columns: Rows, profile: str = "full") -> None:
        """InternalError for a column of the dataset that is missing, or has another type or length."""
        length = len(next(iter(columns.values())))
        for column in contracts.dataset(dataset_id).columns_for(profile):
            values = columns.get(column.name)
            if values is None or values.dtype != column.memory_dtype or len(values) != length:
                found = "no column" if values is None else f"{values.dtype}, {len(values)} rows"
                wanted = f"{column.memory_dtype}, {length} rows"
                raise self.error(what, f"{found}, not {wanted}", f"{dataset_id}.{column.name}")
