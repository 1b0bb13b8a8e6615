"""S5: validation over all rows, and the verdict that decides on the seal."""

from fraudloom.states.s5.context import RunFacts, RunView
from fraudloom.states.s5.report import S5Result
from fraudloom.states.s5.validation import validate

__all__ = ["RunFacts", "RunView", "S5Result", "validate"]
