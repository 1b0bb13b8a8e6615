"""S4: ground truth, the bank's view of it, labels of events, and cases."""

from fraudloom.states.s4.frame import S4Frame
from fraudloom.states.s4.plan import S4Plan, compile_plan
from fraudloom.states.s4.prove import prove
from fraudloom.states.s4.weave import weave

__all__ = ["S4Frame", "S4Plan", "compile_plan", "prove", "weave"]
