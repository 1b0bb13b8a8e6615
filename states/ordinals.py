"""Ordinals of published rows: ids are a keyed bijection of them, so a part can be read back into its frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels.idmap import decode_ids
from fraudloom.rng import Streams

Ints = np.ndarray[Any, np.dtype[np.int64]]


def ordinals_of(streams: Streams, kind: str, ids: Ints) -> Ints:
    """int64 ordinals of published ids; `kind`: flow, session, case, campaign or incident."""
    out = np.empty(len(ids), dtype=np.int64)
    decode_ids(streams.key("identity", kind), ids, out)
    return out


def rows_of(ids: Ints, wanted: Ints) -> Ints:
    """int64 row at which each wanted id stands in `ids` (unique, any order); every wanted id is there."""
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids[order], wanted)
    return order[place].astype(np.int64, copy=False)
