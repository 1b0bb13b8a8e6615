"""S0: the gate. Proves that a world may be used, and freezes what 6B may read."""

from fraudloom.states.s0.codes import Code, fault
from fraudloom.states.s0.gate import Gate, check_receipt, gate, recheck, reopen, same_receipt
from fraudloom.states.s0.inventory import OPTIONAL_INPUTS, check_rows, persisted_rows, sealed_digest

__all__ = [
    "OPTIONAL_INPUTS",
    "Code",
    "Gate",
    "check_receipt",
    "check_rows",
    "fault",
    "gate",
    "persisted_rows",
    "recheck",
    "reopen",
    "same_receipt",
    "sealed_digest",
]
