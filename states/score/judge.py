"""Figures against thresholds: a status per figure and gate, and one verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fraudloom.states.score.measures import Figures, Found
from fraudloom.states.score.plan import BRANCHES, Gate, GatePlan, Measure

B_PLUS, B, FAIL, INSUFFICIENT, NOT_APPLICABLE = "PASS_BPLUS", "PASS_B", "FAIL", "INSUFFICIENT", "NOT_APPLICABLE"
#: Verdict where only gates of structure apply: realism was not judged, so no posture of realism is claimed.
STRUCTURE = "PASS_STRUCTURE"
#: Of a figure that the profile does not publish: it takes no part.
UNPUBLISHED = "NOT_PUBLISHED"
#: From best to worst: the worst figure is the gate's.
ORDER = (B_PLUS, B, FAIL, INSUFFICIENT)
PASSED = (B_PLUS, B)


@dataclass(frozen=True)
class MeasureResult:
    """One figure beside its bounds."""

    measure: Measure
    found: Found
    status: str

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        p = {} if self.measure.p_max is None else {"p": self.found.p, "p_max": self.measure.p_max}
        return {
            "measure": self.measure.name,
            "found": self.found.value,
            **p,
            "b": self.measure.b.as_json(),
            "b_plus": self.measure.b_plus.as_json(),
            "status": self.status,
            "note": self.found.note,
        }


@dataclass(frozen=True)
class GateResult:
    """One gate: its figures and what comes of them. `owners`: who must move; for T21, those of branches that fail."""

    gate: Gate
    measures: tuple[MeasureResult, ...]
    status: str
    owners: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Insufficient evidence counts as failed."""
        return self.status in (FAIL, INSUFFICIENT)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "gate": self.gate.id,
            "class": self.gate.klass,
            "kind": "structure" if self.gate.structure else "realism",
            "metric": self.gate.metric,
            "status": self.status,
            "owners": list(self.owners),
            "move": self.gate.move if self.failed else None,
            "measures": [m.as_json() for m in self.measures],
        }


@dataclass(frozen=True)
class Report:
    """All gates in order, and the verdict."""

    gates: tuple[GateResult, ...]
    verdict: str
    why_not_applicable: str

    @property
    def passed(self) -> bool:
        """Whether every applicable gate passes at B."""
        return self.verdict in (*PASSED, STRUCTURE)

    @property
    def failures(self) -> tuple[GateResult, ...]:
        """Gates that fail, insufficient evidence included."""
        return tuple(g for g in self.gates if g.failed)

    def routing(self) -> dict[str, list[str]]:
        """State to the failed gates that it owns."""
        out: dict[str, list[str]] = {}
        for g in self.failures:
            for owner in g.owners:
                out.setdefault(owner, []).append(g.gate.id)
        return {owner: out[owner] for owner in sorted(out)}


def _status(m: Measure, found: Found) -> str:
    if found.value is None:
        return UNPUBLISHED if found.unpublished else INSUFFICIENT
    if m.p_max is not None and (found.p is None or found.p > m.p_max):
        return FAIL
    if m.b_plus.hold(found.value):
        return B_PLUS
    return B if m.b.hold(found.value) else FAIL


def _gate(gate: Gate, figures: Figures, applies: bool) -> GateResult:
    results = tuple(MeasureResult(m, figures[m.name], _status(m, figures[m.name])) for m in gate.measures)
    told = [r.status for r in results if r.status != UNPUBLISHED]
    status = max(told, key=ORDER.index) if told else INSUFFICIENT
    return GateResult(gate, results, status if applies else NOT_APPLICABLE, gate.owners)


def _branches(gate: Gate, done: Mapping[str, GateResult], applies: bool) -> GateResult:
    """T21: how many branches pass B, and, for B+, how many pass B+."""
    worst = {name: [_told(done[g]) for g in gates] for name, gates in BRANCHES.items()}
    at_b = [name for name, told in worst.items() if all(s in PASSED for s in told)]
    at_plus = [name for name, told in worst.items() if all(s == B_PLUS for s in told)]
    m = gate.measures[0]
    status = B_PLUS if m.b_plus.hold(len(at_plus)) else B if m.b.hold(len(at_b)) else FAIL
    failing = [g for name, gates in BRANCHES.items() if name not in at_b for g in gates if done[g].failed]
    owners = sorted({o for g in failing for o in done[g].owners}) or list(gate.owners)
    note = f"pass B: {', '.join(at_b) or 'none'}; pass B+: {', '.join(at_plus) or 'none'}"
    result = MeasureResult(m, Found(float(len(at_b)), note=note), status)
    return GateResult(gate, (result,), status if applies else NOT_APPLICABLE, tuple(owners))


def _told(result: GateResult) -> str:
    """A gate's status whether or not it applies."""
    told = [r.status for r in result.measures if r.status != UNPUBLISHED]
    return max(told, key=ORDER.index) if told else INSUFFICIENT


def judge(plan: GatePlan, figures: Mapping[str, Figures], arrivals: int, imported: bool) -> Report:
    """Read the figures of `measure` against the policy.

    Realism gates apply from the policy's number of arrivals on, and to imports if it says so; the others always.
    """
    why = ""
    if imported and not plan.realism_of_imports:
        why = "the world is an imported log: realism gates do not apply"
    elif arrivals < plan.realism_from_arrivals:
        why = f"{arrivals:,} arrivals: realism gates apply from {plan.realism_from_arrivals:,} on"
    done: dict[str, GateResult] = {}
    for gate in plan.gates:
        if gate.id in figures:
            done[gate.id] = _gate(gate, figures[gate.id], gate.structure or not why)
    results = tuple(done[g.id] if g.id in done else _branches(g, done, g.structure or not why) for g in plan.gates)
    return Report(results, verdict_of(results), why)


def verdict_of(results: tuple[GateResult, ...]) -> str:
    """PASS_BPLUS, PASS_B, PASS_HARD_ONLY or FAIL_REALISM over the gates that apply.

    Where some do not apply, what passes is structure: PASS_STRUCTURE instead of the first two.
    """
    told = [r for r in results if r.status != NOT_APPLICABLE]
    if len(told) < len(results) and all(r.status in PASSED for r in told):
        return STRUCTURE
    if all(r.status == B_PLUS for r in told):
        return B_PLUS
    if all(r.status in PASSED for r in told):
        return B
    hard = all(r.status in PASSED for r in told if r.gate.klass != "stretch")
    return "PASS_HARD_ONLY" if hard else "FAIL_REALISM"
