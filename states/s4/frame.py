"""What S4 gives, and how it reads the columns of S3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.rng import Streams
from fraudloom.states.ordinals import ordinals_of, rows_of
from fraudloom.tables import Columns

Array = np.ndarray[Any, Any]
Rows = Mapping[str, Array]


@dataclass(frozen=True)
class S4Frame:
    """Datasets of S4 for one shard, rows in published order."""

    truth: Columns
    bank: Columns
    event_labels: Columns
    history: Columns
    cases: Columns
    case_links: Columns


def writable(values: Array) -> Array:
    """The array, or a copy of one that Arrow owns: kernels are compiled for writable arrays only."""
    return values if values.flags.writeable and values.flags.c_contiguous else values.copy()


def flow_ordinals(flows: Rows, streams: Streams) -> Array:
    """int64 ordinals of flows: carried in memory, else decoded from the published ids."""
    if "_ordinal" in flows:
        return writable(flows["_ordinal"])
    return ordinals_of(streams, "flow", flows["flow_id"])


def event_rows(flows: Rows, events: Rows) -> Array:
    """int64 row of each event's flow: carried in memory, else found by id."""
    if "_flow_row" in events:
        return writable(events["_flow_row"]).astype(np.int64, copy=False)
    return rows_of(flows["flow_id"], events["flow_id"])
