"""The policy of corridors, compiled, and figures read against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fraudloom.errors import PolicyError
from fraudloom.states.corridors import corridor_ends

INSIDE, OUTSIDE, NOT_APPLICABLE = "inside", "outside", "not applicable"
POLICY = "run_figures_6B"
Values = dict[str, float | None]


@dataclass(frozen=True)
class Corridor:
    """Where a figure lies, both ends included; `always`: of every run, else only where the policy applies."""

    section: str
    low: float
    high: float
    always: bool
    means: str


@dataclass(frozen=True)
class FigurePlan:
    """Compiled run_figures_6B: corridors by figure, and by scenario and figure where a scenario has its own."""

    arrivals_min: int
    imports: bool
    corridors: Mapping[str, Corridor]
    scenarios: Mapping[str, Mapping[str, tuple[float, float]]]
    currency_flows_min: int
    outage_answers_min: int
    issuer_hourly_min: float
    busy_cells_share: float
    cutoff_us: int
    timeout_us: tuple[int, int]
    break_us: tuple[int, int]
    merge_us: int
    horizon_days: int
    speed_kmh: float


@dataclass(frozen=True)
class Outcome:
    """A figure of a scenario beside its corridor; `note` says why there is no value, if there is none."""

    name: str
    section: str
    scenario: str
    value: float | None
    low: float
    high: float
    status: str
    means: str
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dict(vars(self))


def _ends(name: str, ends: Any) -> tuple[float, float]:
    return corridor_ends(name, ends, POLICY, "FIGURES")


def compile_plan(doc: Mapping[str, Any], known: Mapping[str, Any]) -> FigurePlan:
    """Compile the policy. `known`: figures that are measured.

    PolicyError when a corridor ends before it begins (CORRIDOR_EMPTY), names no figure or stands twice, or when a
    figure has none (FIGURE_UNKNOWN, FIGURE_TWICE, FIGURE_WITHOUT_CORRIDOR).
    """
    corridors: dict[str, Corridor] = {}
    for section, laws in doc["figures"].items():
        for name, law in laws.items():
            if name in corridors:
                raise PolicyError(
                    "FIGURES",
                    "FIGURE_TWICE",
                    what="a figure has two corridors",
                    found=name,
                    where=POLICY,
                    action="correct the policy; `fraudloom policies check` names file and key",
                )
            low, high = _ends(name, law["corridor"])
            corridors[name] = Corridor(str(section), low, high, bool(law.get("always", False)), str(law["means"]))
    scenarios = {s: {n: _ends(n, ends) for n, ends in own.items()} for s, own in doc["scenarios"].items()}
    named = {*corridors, *(n for own in scenarios.values() for n in own)}
    for code, what, names in (
        ("FIGURE_UNKNOWN", "a corridor names a figure that is not measured", named - set(known)),
        ("FIGURE_WITHOUT_CORRIDOR", "a figure has no corridor", set(known) - set(corridors)),
    ):
        if names:
            raise PolicyError(
                "FIGURES",
                code,
                what=what,
                found=", ".join(sorted(names)),
                expected="one corridor for each of: " + ", ".join(known),
                where=POLICY,
                action="correct the name, or give it a corridor",
            )
    rules = doc["definitions"]
    sessions = [rules["sessions"][k] for k in ("remote", "present")]
    return FigurePlan(
        arrivals_min=int(doc["applies"]["arrivals_min"]),
        imports=bool(doc["applies"]["imports"]),
        corridors=corridors,
        scenarios=scenarios,
        currency_flows_min=int(rules["currency_flows_min"]),
        outage_answers_min=int(rules["outage_answers_min"]),
        issuer_hourly_min=float(rules["issuer_hourly_min"]),
        busy_cells_share=float(rules["busy_cells_share"]),
        cutoff_us=round(float(rules["cutoff_hour"]) * 3.6e9),
        timeout_us=(int(sessions[0]["timeout_s"]) * 1_000_000, int(sessions[1]["timeout_s"]) * 1_000_000),
        break_us=(int(sessions[0]["hard_break_s"]) * 1_000_000, int(sessions[1]["hard_break_s"]) * 1_000_000),
        merge_us=int(rules["merge_window_min"]) * 60_000_000,
        horizon_days=int(rules["horizon_days"]),
        speed_kmh=float(rules["speed_kmh"]),
    )


def judge(
    plan: FigurePlan, values: Values, why_not: Mapping[str, str], scenario: str, arrivals: int, imported: bool
) -> list[Outcome]:
    """Figures of a scenario in the order of the policy. `why_not`: why a figure could not be measured."""
    applies = arrivals >= plan.arrivals_min and (plan.imports or not imported)
    own = plan.scenarios.get(scenario, {})
    out = []
    for name, law in plan.corridors.items():
        value = values.get(name)
        low, high = own.get(name, (law.low, law.high))
        status, note = NOT_APPLICABLE, ""
        if value is None:
            note = why_not.get(name, "nothing to measure")
        elif applies or law.always:
            status = INSIDE if low <= value <= high else OUTSIDE
        out.append(Outcome(name, law.section, scenario, value, low, high, status, law.means, note))
    return out
