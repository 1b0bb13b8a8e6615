"""S1: every arrival gets a party, account, instrument, device and address; arrivals become sessions."""

from fraudloom.states.s1.ledger import Ledger, recorded_sum
from fraudloom.states.s1.plan import S1Plan, compile_plan
from fraudloom.states.s1.prove import prove, prove_scattered, prove_unit
from fraudloom.states.s1.weave import SCRATCH_COLUMNS, arrange, attach, scatter, sessionise

__all__ = [
    "SCRATCH_COLUMNS",
    "Ledger",
    "S1Plan",
    "arrange",
    "attach",
    "compile_plan",
    "prove",
    "prove_scattered",
    "prove_unit",
    "recorded_sum",
    "scatter",
    "sessionise",
]
