"""S0: the gate. Proves that a world may be used, and freezes what 6B may read."""

from fraudloom.states.s0.gate import Gate, gate, sealed_digest

__all__ = ["Gate", "gate", "sealed_digest"]
