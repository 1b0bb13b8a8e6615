"""Decisions of a state's RNG policy, as arrays for kernels: one key, one slot count and one evidence row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.errors import PolicyError
from fraudloom.rng import Streams

EvidenceArray = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True)
class Decision:
    """One accounted decision: where its loci are and how many draws each consumes.

    `domain` is the dataset whose rows are the loci, `where` restricts it (column -> allowed labels or values),
    `counter` names the ordinal (arrival, visit, series, session, flow, campaign, incident, case), `slots` the stride.
    """

    family: str
    decision: str
    domain: str
    where: Mapping[str, Any]
    counter: str
    slots: int


class Decisions:
    """All decisions of one policy document, in its order.

    Attributes: `names`, `keys` (uint64[n]), `slots` (int64[n]), `items`.
    """

    def __init__(self, doc: Mapping[str, Any], streams: Streams) -> None:
        self.items = tuple(
            Decision(
                str(d["family"]),
                str(d["decision"]),
                str(d["domain"]),
                dict(d["where"]),
                str(d["counter"]),
                int(d["slots"]),
            )
            for d in doc["decisions"]
        )
        self.names = tuple(d.decision for d in self.items)
        if len(set(self.names)) != len(self.names):
            raise PolicyError(
                "POLICY",
                "DECISION_TWICE",
                what="a decision is listed twice",
                found=self.names,
                action="correct the policy; `fraudloom policies check` names file and key",
            )
        self.keys = np.array([streams.key(d.family, d.decision) for d in self.items], dtype=np.uint64)
        self.slots = np.array([d.slots for d in self.items], dtype=np.int64)

    def index(self, name: str) -> int:
        """Row of a decision in `keys`, `slots` and evidence."""
        if name not in self.names:
            raise PolicyError(
                "POLICY",
                "DECISION_MISSING",
                what="the RNG policy lacks a decision",
                expected=name,
                found=self.names,
                action="correct the policy; `fraudloom policies check` names file and key",
            )
        return self.names.index(name)

    def order(self, *names: str) -> None:
        """Check that the policy lists exactly these decisions in this order (kernels index them by position)."""
        if self.names != names:
            raise PolicyError(
                "POLICY",
                "DECISION_ORDER",
                what="the RNG policy lists other decisions",
                expected=names,
                found=self.names,
                action="correct the policy; `fraudloom policies check` names file and key",
            )

    def new_evidence(self) -> EvidenceArray:
        """Zeroed evidence: draws and checksum per decision, uint64[n, 2]."""
        return np.zeros((len(self.items), 2), dtype=np.uint64)
