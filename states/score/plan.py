"""The policy of gates as frozen scalars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fraudloom.errors import PolicyError

#: Bits of `mutation_flags` by the policy's names.
FLAGS = {"AMOUNT": 1, "TIME": 2, "DEVICE": 4, "ADDRESS": 8, "ROUTING": 16, "MERCHANT": 32, "REFUND_INSERTED": 64}
#: Gates of the three stochastic branches that T21 counts.
BRANCHES = {"amount": ("T11", "T12", "T13"), "timing": ("T14", "T15", "T16"), "delay": ("T8", "T9", "T10")}
SIGNS = {"min": "≥", "above": ">", "max": "≤", "below": "<"}


@dataclass(frozen=True)
class Bounds:
    """What a figure must keep: at least `min`, more than `above`, at most `max`, less than `below` (None: anything)."""

    min: float | None = None
    above: float | None = None
    max: float | None = None
    below: float | None = None

    def hold(self, x: float) -> bool:
        """Whether `x` keeps all bounds."""
        return not (
            (self.min is not None and x < self.min)
            or (self.above is not None and x <= self.above)
            or (self.max is not None and x > self.max)
            or (self.below is not None and x >= self.below)
        )

    def as_json(self) -> dict[str, float]:
        """The bounds that are set."""
        return {name: value for name in SIGNS if (value := getattr(self, name)) is not None}

    def __str__(self) -> str:
        """As people write it: `≥ 0.05`, `0.3-8`."""
        if self.min is not None and self.max is not None:
            return f"{self.min:g}" if self.min == self.max else f"{self.min:g}-{self.max:g}"
        return ", ".join(f"{SIGNS[name]} {value:g}" for name, value in self.as_json().items())


@dataclass(frozen=True)
class Measure:
    """One figure of a gate: bounds for B and B+; `p_max`: an association with a larger chi-square p is chance."""

    name: str
    b: Bounds
    b_plus: Bounds
    p_max: float | None = None


@dataclass(frozen=True)
class Gate:
    """One gate: `klass` critical, hard or stretch; `structure` gates always gate; `owners` must move when it fails."""

    id: str
    klass: str
    structure: bool
    owners: tuple[str, ...]
    metric: str
    move: str
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class GatePlan:
    """Compiled realism_gates_6B."""

    gates: tuple[Gate, ...]
    realism_from_arrivals: int
    realism_of_imports: bool
    anomaly_mask: int
    class_share_min: float
    currency_flows_min: int
    round_gaps_us: tuple[int, ...]
    top_amounts: int


def _bounds(gate: str, name: str, doc: Mapping[str, float]) -> Bounds:
    found = Bounds(**{k: float(v) for k, v in doc.items()})
    low = max((x for x in (found.min, found.above) if x is not None), default=None)
    high = min((x for x in (found.max, found.below) if x is not None), default=None)
    shut = low is not None and high is not None and (low > high or (low == high and not found.hold(low)))
    if shut:
        raise PolicyError(
            "SCORE",
            "SCORE_GATES_INVALID",
            what=f"no value of {name} can pass {gate}",
            found=dict(doc),
            expected="lower bounds below upper bounds",
            where="realism_gates_6B",
            action="correct the policy; `fraudloom policies check` names file and key",
        )
    return found


def _measures(gate: str, doc: Mapping[str, Any]) -> tuple[Measure, ...]:
    out = []
    for name, body in doc.items():
        p_max = body.get("p_max")
        b, b_plus = (_bounds(gate, name, body.get(level, body["b"])) for level in ("b", "b_plus"))
        out.append(Measure(str(name), b, b_plus, None if p_max is None else float(p_max)))
    return tuple(out)


def compile_plan(doc: Mapping[str, Any]) -> GatePlan:
    """Compile the policy; PolicyError (SCORE_GATES_INVALID) when no value can pass a gate."""
    rules = doc["definitions"]
    gates = tuple(
        Gate(
            id=str(name),
            klass=str(g["class"]),
            structure=g["kind"] == "structure",
            owners=tuple(map(str, g["owners"])),
            metric=str(g["metric"]),
            move=str(g["move"]),
            measures=_measures(name, g["measures"]),
        )
        for name, g in doc["gates"].items()
    )
    return GatePlan(
        gates=gates,
        realism_from_arrivals=int(doc["applies"]["realism_from_arrivals"]),
        realism_of_imports=bool(doc["applies"]["realism_of_imports"]),
        anomaly_mask=sum(FLAGS[name] for name in rules["anomaly_flags"]),
        class_share_min=float(rules["class_share_min"]),
        currency_flows_min=int(rules["currency_flows_min"]),
        round_gaps_us=tuple(sorted(int(s) * 1_000_000 for s in rules["round_gaps_s"])),
        top_amounts=int(rules["top_amounts"]),
    )
