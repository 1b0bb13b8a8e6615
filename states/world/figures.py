"""What a world alone decides, as figures: each with its corridor, and whether it lies inside.

Corridors are data (`world_figures` of the world's policy pack). The structural ones always hold; the others are read
from `arrivals_min` arrivals on and of built worlds, for a small world or an imported log is whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fraudloom.contracts_api import Contracts
from fraudloom.errors import PolicyError
from fraudloom.policies_api import load_pack
from fraudloom.states.corridors import corridor_ends
from fraudloom.states.world.figure_rows import (
    KEYS_HELD,
    Rows,
    Values,
    arrival_figures,
    read_rows,
    read_steps,
)
from fraudloom.states.world.figure_tables import table_figures
from fraudloom.states.world.view import World

INSIDE, OUTSIDE, NOT_APPLICABLE = "inside", "outside", "not applicable"
POLICY = "world_figures"


@dataclass(frozen=True)
class Figure:
    """A figure of the world ("" as scenario) or of a scenario, with its corridor, both ends included."""

    name: str
    scenario: str
    value: float | None
    low: float
    high: float
    status: str
    means: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dict(vars(self))


def load_corridors(contracts: Contracts) -> Mapping[str, Any]:
    """The shipped corridors, schema-checked. PolicyError when one ends before it begins."""
    doc = load_pack("world", contracts).doc(POLICY)
    for part in (doc["world"], *doc["scenarios"].values()):
        for name, law in part.items():
            corridor_ends(name, law["corridor"], POLICY, "WORLD")
    return doc


def judge(values: Values, corridors: Mapping[str, Mapping[str, Any]], scenario: str, applies: bool) -> list[Figure]:
    """Figures in the order of their corridors. PolicyError when a corridor names no figure."""
    unknown = sorted(set(corridors) - set(values))
    if unknown:
        raise PolicyError(
            "WORLD",
            "FIGURE_UNKNOWN",
            what="a corridor names a figure that is not measured",
            found=", ".join(unknown),
            expected=", ".join(sorted(values)),
            where=POLICY,
            action="correct the name",
        )
    out = []
    for name, law in corridors.items():
        value, (low, high) = values[name], (float(x) for x in law["corridor"])
        status = NOT_APPLICABLE
        if value is not None and (applies or law.get("always", False)):
            status = INSIDE if low <= value <= high else OUTSIDE
        out.append(Figure(name, scenario, value, low, high, status, str(law["means"])))
    return out


def corridors_of(doc: Mapping[str, Any], scenario: str) -> dict[str, Mapping[str, Any]]:
    """Corridors of a scenario: those of every scenario, and its own in their place or beside them."""
    return {**doc["scenarios"]["every"], **doc["scenarios"].get(scenario, {})}


def measured(
    world: World, scenario: str, tell: Callable[[str, int, int], None], held: int = KEYS_HELD
) -> tuple[Values, Rows]:
    """Values of a scenario's figures, and the counts that they come from; `held` bounds memory and changes nothing."""
    n = world.n_arrivals(scenario)
    rows = read_rows(world, scenario, Counter(tell, f"{scenario}: rows", n))
    passes = -(-max(rows.visits, rows.series) // held)
    steps = read_steps(world, scenario, rows, held, Counter(tell, f"{scenario}: steps of visits", n * passes))
    return arrival_figures(world, scenario, rows, steps), rows


@dataclass
class Counter:
    """Tells of rows read."""

    tell: Callable[[str, int, int], None]
    stage: str
    total: int
    done: int = 0

    def __call__(self, rows: int) -> None:
        """Add rows."""
        self.done += rows
        self.tell(self.stage, self.done, self.total)


def silent(stage: str, done: int, total: int) -> None:
    """Progress that goes nowhere."""


def world_figures(
    world: World,
    tell: Callable[[str, int, int], None] = silent,
    corridors: Mapping[str, Any] | None = None,
) -> list[Figure]:
    """Every figure of a world, over all rows. PolicyError when the corridors do not fit."""
    doc = load_corridors(world.contracts) if corridors is None else corridors
    built = world.manifest["origin"] == "built"
    least = int(doc["arrivals_min"])
    applies = {s: built and world.n_arrivals(s) >= least for s in world.scenarios}
    figures = judge(table_figures(world, doc["laws"]), doc["world"], "", all(applies.values()))
    for scenario in world.scenarios:
        values, _ = measured(world, scenario, tell)
        figures += judge(values, corridors_of(doc, scenario), scenario, applies[scenario])
    return figures
