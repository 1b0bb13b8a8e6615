"""Corridors of policies: both ends included."""

from __future__ import annotations

from typing import Any

from fraudloom.errors import PolicyError


def corridor_ends(name: str, ends: Any, policy: str, state: str, code: str = "CORRIDOR_EMPTY") -> tuple[float, float]:
    """(low, high) of a corridor as a policy gives it; PolicyError of that code when it ends before it begins."""
    low, high = (float(x) for x in ends)
    if low > high:
        raise PolicyError(
            state,
            code,
            what=f"the corridor of {name} ends before it begins",
            found=[low, high],
            expected="[low, high]",
            where=policy,
            action="swap the ends",
        )
    return low, high
