"""What S1 and S2 decide, as figures of a finished run: measured over all rows, each with its corridor.

Like the scorer (`states/score`) it trusts no producer: it reads published tables and the sealed world, and writes
nothing. `plan` compiles the policy of corridors, `scan` counts shard by shard, `families` turn counts into values.
"""

from fraudloom.states.figures.families import FAMILIES, TABLES, figure_names, values
from fraudloom.states.figures.plan import FigurePlan, Outcome, compile_plan, judge
from fraudloom.states.figures.scan import Context, find_tables, scan_part, scan_tasks
from fraudloom.states.figures.tally import Shares, Tally
from fraudloom.states.figures.town import Town, read_town

__all__ = [
    "FAMILIES",
    "TABLES",
    "Context",
    "FigurePlan",
    "Outcome",
    "Shares",
    "Tally",
    "Town",
    "compile_plan",
    "figure_names",
    "find_tables",
    "judge",
    "read_town",
    "scan_part",
    "scan_tasks",
    "values",
]
