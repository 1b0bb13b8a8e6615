"""What one part contributes: findings, key bitmaps, counters of realism, evidence and campaign tags. Tallies add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fraudloom.kernels.checks import mark_bits
from fraudloom.states.s5.findings import Findings

Array = np.ndarray[Any, Any]
MASK = (1 << 64) - 1

#: Evidence of a decision in a shard: events, draws, checksum.
Budget = tuple[int, int, int]


@dataclass
class Tally:
    """Findings and sums over some parts of one scenario."""

    findings: Findings
    arrivals: int
    sums: dict[str, int] = field(default_factory=dict)
    bits: Array = field(init=False)
    hashes: Array = field(init=False)
    overlay_ordinals: list[Array] = field(default_factory=list)
    case_ordinals: list[Array] = field(default_factory=list)
    campaign_flows: dict[int, list[int]] = field(default_factory=dict)
    incidents: list[Array] = field(default_factory=list)
    budgets: dict[tuple[str, str, str, int], Budget] = field(default_factory=dict)
    highest: dict[tuple[str, str, str], int] = field(default_factory=dict)
    loci: dict[tuple[str, str, str], list[int]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bits = np.zeros((self.arrivals >> 3) + 1, dtype=np.uint8)
        self.hashes = np.zeros(0, dtype=np.uint64)

    def add(self, name: str, amount: int) -> None:
        """Grow a counter."""
        self.sums[name] = self.sums.get(name, 0) + int(amount)

    def mark(self, ordinals: Array) -> tuple[int, int]:
        """Mark arrivals as seen: (repeated, out of range)."""
        defects = np.zeros(2, dtype=np.int64)
        mark_bits(ordinals, self.arrivals, self.bits, defects)
        return int(defects[0]), int(defects[1])

    def merge(self, other: Tally) -> None:
        """Add a later part."""
        self.findings.merge(other.findings)
        twice = int(np.bitwise_count(self.bits & other.bits).sum())
        self.findings.one(
            "REQ_PK_UNIQUENESS",
            "arrival in one part",
            twice == 0,
            f"{twice} arrivals stand in two parts",
        )
        self.bits |= other.bits
        self.hashes = other.hashes if not len(self.hashes) else self.hashes + other.hashes
        for name, amount in other.sums.items():
            self.add(name, amount)
        for name, amount in other.rows.items():
            self.rows[name] = self.rows.get(name, 0) + amount
        self.overlay_ordinals += other.overlay_ordinals
        self.case_ordinals += other.case_ordinals
        self.incidents += other.incidents
        for campaign, counts in other.campaign_flows.items():
            mine = self.campaign_flows.setdefault(campaign, [0] * len(counts))
            for i, c in enumerate(counts):
                mine[i] += c
        self.budgets.update(other.budgets)
        for key, top in other.highest.items():
            self.highest[key] = max(top, self.highest.get(key, -1))
        for key, loci in other.loci.items():
            self.loci.setdefault(key, []).extend(loci)
