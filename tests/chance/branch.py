"""Whether a branch is taken as often as its law says, by the per-row probabilities in force.

The realism pages ask for |sum(x - p)| <= 4.6 sqrt(sum p (1 - p)), and for an exact test where fewer than 10 are
expected. The exact one is the two-sided tail of a sum of independent trials with these probabilities, at the chance
that 4.6 standard deviations leave (4.2e-6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
SIGMAS = 4.6
ALPHA = math.erfc(SIGMAS / math.sqrt(2.0))
FEW = 10.0


@dataclass(frozen=True)
class Verdict:
    """Rows in the domain, how often the branch was taken and expected, in standard deviations (or the exact tail)."""

    name: str
    rows: int
    taken: int
    expected: float
    z: float
    tail: float | None

    @property
    def holds(self) -> bool:
        """Whether the difference is chance."""
        return abs(self.z) <= SIGMAS if self.tail is None else self.tail >= ALPHA

    def __str__(self) -> str:
        judged = f"z {self.z:+.2f}" if self.tail is None else f"exact tail {self.tail:.3g}"
        return f"{self.name}: {self.taken} of {self.rows}, expected {self.expected:.2f}, {judged}"


def exact_tail(taken: int, p: Array) -> float:
    """Two-sided tail of a sum of independent trials with chances p at `taken`; p of one value: the binomial's."""
    size = taken + 1
    mass = np.zeros(size)
    mass[0] = 1.0
    for chance, n in zip(*np.unique(p, return_counts=True), strict=True):
        if chance >= 1.0:
            shift = np.zeros(size)
            shift[n:] = mass[: max(0, size - n)]
            mass = shift
        elif chance > 0.0:
            k = np.arange(min(size, n + 1))
            logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k]
            law = np.exp(np.array(logs) + k * math.log(chance) + (n - k) * math.log1p(-chance))
            mass = np.convolve(mass, law)[:size]
    upto = float(mass.sum())
    return min(1.0, 2.0 * min(upto, 1.0 - upto + float(mass[-1])))


def judge(name: str, taken: Array, p: Any) -> Verdict:
    """Judge one branch. taken: bool[n], rows of its domain; p: float64[n] or one chance for all."""
    chance = np.broadcast_to(np.asarray(p, np.float64), taken.shape)
    if taken.size == 0:
        return Verdict(name, 0, 0, 0.0, 0.0, 1.0)
    expected, deviation = float(chance.sum()), math.sqrt(float((chance * (1.0 - chance)).sum()))
    count, rest = int(taken.sum()), float((1.0 - chance).sum())
    z = (count - expected) / deviation if deviation > 0.0 else math.copysign(math.inf, count - expected)
    if deviation <= 0.0 and count == round(expected):
        z = 0.0
    tail = None
    if expected < FEW:
        tail = exact_tail(count, chance)
    elif rest < FEW:
        tail = exact_tail(len(taken) - count, 1.0 - chance)
    return Verdict(name, len(taken), count, expected, z, tail)


@dataclass
class Ledger:
    """Branches judged so far."""

    verdicts: list[Verdict] = field(default_factory=list)

    def note(self, name: str, taken: Array, p: Any, where: Array | None = None) -> None:
        """Judge a branch over the rows of a mask (all rows without one)."""
        chance = np.broadcast_to(np.asarray(p, np.float64), taken.shape)
        if where is not None:
            taken, chance = taken[where], chance[where]
        self.verdicts.append(judge(name, taken, chance))

    def failures(self) -> list[str]:
        """Branches that do not hold, in words."""
        return [str(v) for v in self.verdicts if not v.holds]

    def untried(self) -> list[str]:
        """Branches without a row in their domain, or that nobody would expect to see."""
        return [str(v) for v in self.verdicts if v.rows == 0 or v.expected <= 0.0]

    def report(self) -> str:
        """All branches, one a line."""
        return "\n".join(map(str, self.verdicts))
