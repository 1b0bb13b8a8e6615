"""What is counted over rows. Everything is an integer or a set, so sums do not depend on who counted which part."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


class Counts:
    """A multiset of int64: distinct `values` ascending, and how often each occurs."""

    def __init__(self) -> None:
        self.values: I64 = np.zeros(0, np.int64)
        self.counts: I64 = np.zeros(0, np.int64)

    def add(self, x: npt.NDArray[Any]) -> None:
        """Count int64[n] in."""
        values, counts = np.unique(x, return_counts=True)
        self._merge(values.astype(np.int64), counts.astype(np.int64))

    def merge(self, other: Counts) -> None:
        """Add another multiset."""
        self._merge(other.values, other.counts)

    def _merge(self, values: I64, counts: I64) -> None:
        if not len(self.values):
            self.values, self.counts = values, counts
        elif len(values):
            values, counts = np.concatenate([self.values, values]), np.concatenate([self.counts, counts])
            order = np.argsort(values, kind="stable")
            values, counts = values[order], counts[order]
            first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
            self.values, self.counts = values[first], np.add.reduceat(counts, first)

    @property
    def total(self) -> int:
        """How many were counted."""
        return int(self.counts.sum())

    def between(self, low: int, high: int) -> Counts:
        """The part with low <= value < high."""
        a, b = np.searchsorted(self.values, [low, high])
        out = Counts()
        out.values, out.counts = self.values[a:b], self.counts[a:b]
        return out


@dataclass
class Campaign:
    """Flows of one campaign: by merchant class, by time zone, by truth label."""

    classes: I64
    zones: I64
    labels: I64

    def merge(self, other: Campaign) -> None:
        """Add flows of the same campaign."""
        self.classes = self.classes + other.classes
        self.zones = self.zones + other.zones
        self.labels = self.labels + other.labels


@dataclass(frozen=True)
class Sizes:
    """Lengths of vocabularies: truth labels, bank labels, merchant classes, time zones, patterns."""

    labels: int
    bank_labels: int
    classes: int
    zones: int
    patterns: int


@dataclass
class Tally:
    """Counts over some parts.

    `amounts`: currency << 44 | amount_minor of S2 flows. `refs`: (2 * kind + bank fraud flag) << 48 | amount_ref_minor
    of S3 flows; kind 0 is a flow without campaign, 1 + pattern else. `rules`: packed predicate and rule of each flow
    (`scan.pack_rule`). `latency_ms`: AUTH_REQUEST to its AUTH_RESPONSE, whole milliseconds, rounded down.
    """

    sizes: Sizes
    sums: dict[str, int] = field(default_factory=dict)
    labels: I64 = field(init=False)
    free_labels: I64 = field(init=False)
    bank_classes: I64 = field(init=False)
    flag_classes: I64 = field(init=False)
    patterns: I64 = field(init=False)
    amounts: Counts = field(default_factory=Counts)
    refs: Counts = field(default_factory=Counts)
    rules: Counts = field(default_factory=Counts)
    latency_ms: Counts = field(default_factory=Counts)
    campaigns: dict[int, Campaign] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        s = self.sizes
        self.labels = np.zeros(s.labels, np.int64)
        self.free_labels = np.zeros(s.labels, np.int64)
        self.bank_classes = np.zeros((s.bank_labels, s.classes), np.int64)
        self.flag_classes = np.zeros((2, s.classes), np.int64)
        self.patterns = np.zeros(s.patterns, np.int64)

    def add(self, name: str, amount: Any) -> None:
        """Grow a counter."""
        self.sums[name] = self.sums.get(name, 0) + int(amount)

    def campaign(self, campaign_id: int) -> Campaign:
        """The counts of a campaign, made when first asked for."""
        s = self.sizes
        sizes = (s.classes, s.zones, s.labels)
        return self.campaigns.setdefault(campaign_id, Campaign(*(np.zeros(n, np.int64) for n in sizes)))

    def merge(self, other: Tally) -> None:
        """Add another tally, in any order."""
        for name, amount in other.sums.items():
            self.add(name, amount)
        for name in ("labels", "free_labels", "bank_classes", "flag_classes", "patterns"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("amounts", "refs", "rules", "latency_ms"):
            getattr(self, name).merge(getattr(other, name))
        for campaign_id, counts in other.campaigns.items():
            self.campaign(campaign_id).merge(counts)

    def merge_locked(self, other: Tally) -> None:
        """Add another tally from any thread."""
        with self._lock:
            self.merge(other)


class Shared:
    """Per entity 1..n: was it seen, and with more than one partner? Holds 9 bytes an entity."""

    def __init__(self, n: int) -> None:
        self.first: I64 = np.zeros(n + 1, np.int64)
        self.several = np.zeros(n + 1, np.bool_)

    def add(self, entity: I64, partner: I64) -> None:
        """Note int64[n] pairs; which partner is remembered does not matter, only whether there is a second."""
        new = self.first[entity] == 0
        self.first[entity[new]] = partner[new]
        self.several[entity[self.first[entity] != partner]] = True

    def figures(self) -> tuple[int, int]:
        """(entities with several partners, entities seen)."""
        return int(self.several.sum()), int(np.count_nonzero(self.first))


class Sharing:
    """Who shares devices, addresses and instruments; one for all workers, since terminals stand in many shards."""

    def __init__(self, devices: int, addresses: int, accounts: int) -> None:
        self.devices, self.addresses, self.accounts = Shared(devices), Shared(addresses), Shared(accounts)
        self._lock = threading.Lock()

    def add(self, rows: dict[str, npt.NDArray[Any]]) -> None:
        """Note the arrivals of a row group."""
        paid = rows["instrument_id"] != 0
        with self._lock:
            self.devices.add(rows["device_id"], rows["party_id"])
            self.addresses.add(rows["ip_id"], rows["device_id"])
            self.accounts.add(rows["account_id"][paid], rows["instrument_id"][paid])
