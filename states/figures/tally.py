"""What a scan adds up: integers and multisets of integers, so that neither workers nor the order of parts can show."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.states.score.stats import quantile
from fraudloom.states.score.tally import I64, Counts, Shared


@dataclass
class Tally:
    """Counts over some shards of one scenario.

    sums: counters; bins: int64 histograms, of one length by name; counts: multisets of int64.
    """

    sums: dict[str, int] = field(default_factory=dict)
    bins: dict[str, I64] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, name: str, amount: Any) -> None:
        """Grow a counter."""
        self.sums[name] = self.sums.get(name, 0) + int(amount)

    def bin(self, name: str, codes: npt.NDArray[Any], size: int) -> None:
        """Count codes int[n] in 0 .. size - 1."""
        self._grow(name, np.bincount(codes, minlength=size).astype(np.int64))

    def _grow(self, name: str, more: I64) -> None:
        self.bins[name] = self.bins[name] + more if name in self.bins else more

    def count(self, name: str, values: npt.NDArray[Any]) -> None:
        """Add int64[n] to a multiset."""
        self.counts.setdefault(name, Counts()).add(values)

    def merge_locked(self, other: Tally) -> None:
        """Add another tally, in any order, from any thread."""
        with self._lock:
            for name, amount in other.sums.items():
                self.add(name, amount)
            for name, more in other.bins.items():
                self._grow(name, more)
            for name, counts in other.counts.items():
                self.counts.setdefault(name, Counts()).merge(counts)

    # --- reading ------------------------------------------------------------------------------------------------------

    def sum(self, name: str) -> int:
        """A counter; 0 if nothing was added."""
        return self.sums.get(name, 0)

    def total(self, name: str) -> float | None:
        """A counter as a value; None if its family was not scanned."""
        return float(self.sums[name]) if name in self.sums else None

    def share(self, part: str, whole: str) -> float | None:
        """part over whole, two counters."""
        return ratio(self.sum(part), self.sum(whole))

    def bins_of(self, name: str, size: int) -> I64:
        """A histogram; zeros if nothing was added."""
        return self.bins.get(name, np.zeros(size, np.int64))

    def quantile(self, name: str, numerator: int, denominator: int) -> int | None:
        """Quantile of a multiset or histogram: the smallest value that at least so many do not exceed."""
        return quantile(self.multiset(name), numerator, denominator)

    def multiset(self, name: str) -> Counts:
        """A multiset, also of a histogram's places; empty if nothing was added."""
        if name not in self.bins:
            return self.counts.get(name, Counts())
        out = Counts()
        out.values = np.flatnonzero(self.bins[name]).astype(np.int64)
        out.counts = self.bins[name][out.values]
        return out


def ratio(part: float | None, whole: float | None) -> float | None:
    """part / whole, or None where there is nothing to divide by."""
    return None if part is None or not whole else part / whole


#: Minutes of a bin of the issuers' clocks.
BIN_MIN = 5


@dataclass
class Shares:
    """What parts share in one scenario: who uses which device, address and account, and the issuers' clocks.

    asked, covered: int64[issuers * bins], authorisations by issuer and five minutes, and those of them that the network
    answered in the issuer's place. One for all workers, under its lock.
    """

    devices: Shared
    addresses: Shared
    accounts: Shared
    asked: I64
    covered: I64
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def empty(cls, devices: int, addresses: int, accounts: int, issuers: int, days: int) -> Shares:
        """Nothing seen yet."""
        size = issuers * clock_bins(days)
        return cls(
            Shared(devices), Shared(addresses), Shared(accounts), np.zeros(size, np.int64), np.zeros(size, np.int64)
        )


def clock_bins(days: int) -> int:
    """Bins of an issuer's clock over the horizon."""
    return days * 1440 // BIN_MIN
