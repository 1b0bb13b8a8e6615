"""Columns as pages of Parquet's encodings: what `core/parquet.py` asks of the kernels. Bytes only, no files."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from fraudloom.kernels.encode import BLOCK, MINI, keep_present, pack_codes, pack_deltas

Array = np.ndarray[Any, Any]
_spaces = threading.local()


def _space(name: str, size: int) -> Array:
    """Bytes of a work space of this thread, kept from call to call: fresh memory costs more to touch than to fill."""
    held: Array | None = getattr(_spaces, name, None)
    if held is None or len(held) < size:
        held = np.empty(size + size // 4, np.uint8)
        setattr(_spaces, name, held)
    return held


def present(values: Array, null: Any) -> Array:
    """Values that are not null, in order: a view of a work space of this thread, until its next call."""
    out = _space("present", values.nbytes + 8)[: values.nbytes].view(values.dtype)
    return out[: int(keep_present(values, values.dtype.type(null), out))]


def packed_codes(codes: Array, width: int) -> Array:
    """Bit-packed codes, uint8: a view of a work space of this thread, until its next call. codes: int8 or int32[n]."""
    out = _space("codes", -(-len(codes) // 8) * width + 8)
    return out[: int(pack_codes(codes, width, out))]


def packed_deltas(values: Array) -> Array:
    """DELTA_BINARY_PACKED bytes of int64 values, uint8: a view of a work space of this thread, until its next call."""
    out = _space("deltas", 32 + -(-len(values) // BLOCK) * 1040)
    words = _space("words", 8 * (MINI + 1))[: 8 * (MINI + 1)]
    scratch = _space("block", 8 * BLOCK)[: 8 * BLOCK].view(np.uint64)
    return out[: int(pack_deltas(values, scratch, words.view(np.uint64), words, out))]
