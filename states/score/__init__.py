"""The scorer: realism gates T1 to T22 and their stronger twins, from published tables and the sealed world alone.

It trusts no producer: nothing of a journal, of evidence or of a report of the run is read. `plan` compiles the policy
of gates, `scan` counts over all rows, `measures` turns counts into figures, `judge` reads figures against thresholds.
"""

from fraudloom.states.score.judge import GateResult, MeasureResult, Report, judge
from fraudloom.states.score.measures import Evidence, Found, measure
from fraudloom.states.score.plan import GatePlan, compile_plan
from fraudloom.states.score.scan import AMOUNT_SHIFT, Context, scan_part, scan_tasks
from fraudloom.states.score.surfaces import Surfaces, WorldFacts, read_world
from fraudloom.states.score.tally import Counts, Sharing, Tally

__all__ = [
    "AMOUNT_SHIFT",
    "Context",
    "Counts",
    "Evidence",
    "Found",
    "GatePlan",
    "GateResult",
    "MeasureResult",
    "Report",
    "Sharing",
    "Surfaces",
    "Tally",
    "WorldFacts",
    "compile_plan",
    "judge",
    "measure",
    "read_world",
    "scan_part",
    "scan_tasks",
]
