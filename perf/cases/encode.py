"""Cases of the kernels that encode columns: widths, ranges and shares of nulls that occur, and the extremes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.perf.cases import Case


def _keep(rows: int, seed: int) -> tuple[Any, ...]:
    rng = np.random.Generator(np.random.PCG64(seed))
    values = np.where(rng.random(rows) < rng.random(), rng.integers(-(2**62), 2**62, rows), 0)
    return values, np.int64(0), np.zeros(rows, np.int64)


def _codes(rows: int, seed: int) -> tuple[Any, ...]:
    rng = np.random.Generator(np.random.PCG64(seed))
    width = int(rng.integers(1, 17))
    return rng.integers(0, 1 << width, rows).astype(np.int32), width, np.zeros(-(-rows // 8) * width + 8, np.uint8)


def _deltas(rows: int, seed: int) -> tuple[Any, ...]:
    rng = np.random.Generator(np.random.PCG64(seed))
    kinds = (
        rng.integers(-(2**63), 2**63 - 1, rows),
        np.sort(rng.integers(0, 1 << 50, rows)),
        rng.integers(0, 1 << int(rng.integers(1, 50)), rows),
        np.where(rng.random(rows) < 0.05, rng.integers(0, 1 << 40, rows), 0),
    )
    # Several blocks also in the tests, which ask for few rows.
    values = np.tile(kinds[seed % 4], 8 if rows < 1000 else 1)
    words = np.zeros(33, np.uint64)
    out = np.zeros(32 + -(-len(values) // 128) * 1040, np.uint8)
    return values, np.zeros(128, np.uint64), words, words.view(np.uint8), out


CASES = (
    Case("keep_present", _keep, (2,), returns=True, rows=10_000_000),
    Case("pack_codes", _codes, (2,), returns=True, rows=10_000_000),
    Case("pack_deltas", _deltas, (4,), returns=True, rows=5_000_000),
)
