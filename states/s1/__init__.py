"""S1: every arrival gets a party, account, instrument, device and address; arrivals become sessions."""

from fraudloom.states.s1.plan import S1Plan, compile_plan
from fraudloom.states.s1.prove import prove
from fraudloom.states.s1.weave import SCRATCH_COLUMNS, attach, scatter, sessionise

__all__ = ["SCRATCH_COLUMNS", "S1Plan", "attach", "compile_plan", "prove", "scatter", "sessionise"]
