"""All families, and the values that their counts give."""

from __future__ import annotations

from collections.abc import Iterable

from fraudloom.states.figures.amounts import AMOUNTS
from fraudloom.states.figures.attached import ATTACHED
from fraudloom.states.figures.decisions import DECIDED
from fraudloom.states.figures.events import EVENTS
from fraudloom.states.figures.family import TABLES, Family
from fraudloom.states.figures.grouped import GROUPED
from fraudloom.states.figures.plan import FigurePlan, Values
from fraudloom.states.figures.settled import SETTLED
from fraudloom.states.figures.tally import Shares, Tally
from fraudloom.states.figures.town import Town

__all__ = ["FAMILIES", "TABLES", "Family", "figure_names", "values"]

FAMILIES: tuple[Family, ...] = (*ATTACHED, *GROUPED, *DECIDED, *EVENTS, *AMOUNTS, *SETTLED)


def figure_names() -> tuple[str, ...]:
    """Every figure that is measured."""
    return tuple(name for family in FAMILIES for name in family.figures)


def values(families: Iterable[Family], tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    """Figures of the given families, None where there is nothing to measure."""
    out: Values = {}
    for family in families:
        found = family.read(tally, town, plan, shares)
        out |= {name: found[name] for name in family.figures}
    return out
