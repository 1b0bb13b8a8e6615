"""A family of figures: the columns that it needs, how a shard is counted, and what its counts mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.states.figures.plan import FigurePlan, Values
from fraudloom.states.figures.tally import Shares, Tally
from fraudloom.states.figures.town import Town
from fraudloom.states.score.surfaces import ARRIVALS, BANK, BASE_EVENTS, BASE_FLOWS, FLOWS, SESSIONS
from fraudloom.tables import Columns

LINKS = "s2_arrival_flow_link_6B"
#: Every table that some figure reads.
TABLES = (ARRIVALS, SESSIONS, BASE_FLOWS, BASE_EVENTS, LINKS, FLOWS, BANK)
Shard = Mapping[str, Columns]
Scan = Callable[[Shard, Town, FigurePlan, Tally, Shares], None]
Read = Callable[[Tally, Town, FigurePlan, Shares], Values]
#: Codes of channel_group.
ECOM, POS, ATM, BANK_RAIL, HYBRID = range(5)


@dataclass(frozen=True)
class Family:
    """`needs`: columns by table; `scan` counts one shard; `read` gives every figure of `figures`, None for nothing."""

    name: str
    needs: Mapping[str, tuple[str, ...]]
    figures: tuple[str, ...]
    scan: Scan
    read: Read


def starts(sorted_keys: npt.NDArray[Any], *more: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Where a run of equal keys begins."""
    first = np.ones(len(sorted_keys), np.bool_)
    if len(first):
        first[1:] = sorted_keys[1:] != sorted_keys[:-1]
        for key in more:
            first[1:] |= key[1:] != key[:-1]
    return first


def ranks(first: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Place of each row within its run."""
    at = np.arange(len(first))
    return at - np.maximum.accumulate(np.where(first, at, 0)) if len(first) else at


def bits(trace: npt.NDArray[Any], *wanted: int) -> npt.NDArray[np.bool_]:
    """Whether any of the bits of `branch_trace` is set."""
    out: npt.NDArray[np.bool_] = (trace & sum(wanted)) != 0
    return out


#: Bits of `branch_trace` (laws/s2.md).
SOFT, RETRIED, STAND_IN, TWO_SHIPMENTS, LATE, REVERSED, REFUNDED = 8, 16, 32, 1024, 2048, 4096, 8192
