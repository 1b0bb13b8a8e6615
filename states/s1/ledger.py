"""What a unit of the scatter hands on to the shards: numbers of rows, and a checksum of the columns that S1 carries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.kernels.attach_device import ATM, POS
from fraudloom.kernels.scatter import mix_columns, sum_mixed
from fraudloom.tables import Columns

MASK = (1 << 64) - 1
Words = np.ndarray[Any, np.dtype[np.uint64]]


def carried_columns(contracts: Contracts) -> tuple[str, ...]:
    """Columns of 5B that S1 publishes unchanged, in 5B's order."""
    own = {c.name for c in contracts.dataset("s1_arrival_entities_6B").columns}
    return tuple(c.name for c in contracts.dataset("arrival_events_5B").columns if c.name in own)


def carried_factors(names: Iterable[str]) -> dict[str, np.uint64]:
    """An odd factor per column: the first eight bytes of the SHA-256 of its name, and 1."""
    words = {n: int.from_bytes(hashlib.sha256(n.encode()).digest()[:8], "little") | 1 for n in names}
    return {n: np.uint64(w) for n, w in words.items()}


def add_checksums(factors: Mapping[str, np.uint64], rows: Columns, shard: np.ndarray[Any, Any], sums: Words) -> None:
    """Add the checksums of rows to those of their shards. shard: int32[n]; sums: uint64[shards]."""
    state = np.zeros(len(shard), dtype=np.uint64)
    for name, factor in factors.items():
        mix_columns(rows[name], factor, state)
    sum_mixed(state, shard, sums)


class Ledger:
    """Counts of one unit: `rows` attached, `series` with a series_key, `tills` at POS and ATM, checksums by shard."""

    def __init__(self, plan: Any, shards: int) -> None:
        self.factors: Mapping[str, np.uint64] = plan.carried
        self.rows = self.series = self.tills = 0
        self.sums: Words = np.zeros(shards, dtype=np.uint64)

    def add(self, attached: Columns) -> None:
        """Count a batch of attached arrivals, before it is narrowed for the scratch files."""
        channel = attached["channel_group"]
        self.rows += len(channel)
        self.series += int(np.count_nonzero(attached["series_key"]))
        self.tills += int(np.count_nonzero(channel == POS) + np.count_nonzero(channel == ATM))
        add_checksums(self.factors, attached, attached["_shard"], self.sums)

    def record(self) -> list[str]:
        """Checksums by shard, in hex, for the unit's record."""
        return [f"{int(x):016x}" for x in self.sums]


def recorded_sum(records: Iterable[Mapping[str, Any]], shard: int) -> int:
    """Checksum of a shard over the records of all units."""
    return sum(int(r["carried"][shard], 16) for r in records) & MASK
