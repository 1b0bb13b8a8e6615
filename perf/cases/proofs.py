"""Cases of the proof of events: flows of all shapes with their events, half of them with one number changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.proofs import FOLDS, EventRows, FlowRows, fold_proven
from fraudloom.perf.cases import Case

DAY = 86_400_000_000
END = 400 * DAY


def _tables(rows: int, seed: int) -> tuple[EventRows, FlowRows, np.ndarray[Any, Any]]:
    """Flows that are cleared, refunded or reversed, declined, credits, or answered twice; their events in order."""
    rng = np.random.Generator(np.random.PCG64(seed))
    ts = np.sort(rng.integers(DAY, 90 * DAY, rows))
    ident = rng.permutation(np.arange(1, rows + 1))
    shape = rng.integers(0, 6, rows)
    minor = rng.integers(1, 100_000, rows)
    credit, twice = shape == 4, shape == 5
    cleared, turned = np.where((shape < 2) | twice, minor, 0), np.where(shape == 2, minor, 0)
    refunded = np.where((shape == 1) | credit, minor, 0)
    answered = np.where(credit, ts, ts + 4000)
    code = rng.integers(1, 20, (2, rows)).astype(np.int8)
    flows = FlowRows(
        *(ident, ts, np.where(credit, ts, ts + 10), answered),
        np.where(cleared > 0, ts + DAY, 0),
        np.where(credit, ts, np.where(refunded > 0, ts + 5 * DAY, 0)),
        np.where(turned > 0, ts + DAY // 24, 0),
        *(minor, cleared, refunded, turned),
        np.where(credit, pc.CARD_CREDIT, 0).astype(np.int8),
        code[0],
        np.where(twice, code[1], code[0]),
        np.where(credit, 0, 1 + twice).astype(np.int8),
        rng.integers(0, 3, rows).astype(np.int8),
    )
    kinds = (
        (~credit, pc.AUTH_REQUEST, ts, minor, 0),
        (twice, pc.AUTH_RESPONSE, ts + 2000, minor, code[1]),
        (twice, pc.AUTH_REQUEST, ts + 3000, minor, 0),
        (~credit, pc.AUTH_RESPONSE, answered, minor, code[0]),
        (turned > 0, pc.REVERSAL, flows.reversal_ts, -turned, 0),
        (cleared > 0, pc.CLEARING, flows.clear_ts, cleared, 0),
        (refunded > 0, pc.REFUND, flows.refund_ts, -refunded, 0),
    )
    row = np.concatenate([np.flatnonzero(there) for there, *_ in kinds])
    kind, when, value, answer = (
        np.concatenate([np.broadcast_to(k[c], rows)[k[0]] for k in kinds]) for c in range(1, 5)
    )
    by_flow = np.lexsort((when, row))
    seq = np.empty(len(row), np.int64)
    seq[by_flow] = np.arange(len(row)) - np.searchsorted(row[by_flow], row[by_flow])
    order = np.lexsort((seq, ident[row], when))
    scale = np.array([100.0, 1.0, 1000.0])
    amount = value / scale[flows.currency[row]]
    columns = (row, ident[row], seq.astype(np.int32), kind.astype(np.int8), when, value, amount, answer.astype(np.int8))
    return EventRows(*(c[order] for c in columns)), flows, scale


def _spoil(columns: Any, rng: np.random.Generator) -> None:
    """Change one number of one column."""
    column = columns[int(rng.integers(len(columns)))]
    if len(column):
        column[int(rng.integers(len(column)))] += (1, -1, 3)[int(rng.integers(3))]


def _fold(rows: int, seed: int) -> tuple[Any, ...]:
    events, flows, scale = _tables(rows, seed)
    if seed % 2:
        _spoil(events[:7], np.random.Generator(np.random.PCG64(seed)))
    return events, flows, scale, END, np.zeros((rows, FOLDS), np.int64)


def _check(rows: int, seed: int) -> tuple[Any, ...]:
    events, flows, scale = _tables(rows, seed)
    folds = np.zeros((rows, FOLDS), np.int64)
    fold_proven(events, flows, scale, END, folds)
    if seed % 2:
        _spoil(flows[1:15], np.random.Generator(np.random.PCG64(seed)))
    return folds, flows, np.zeros(1, np.int64)


CASES = (
    Case("fold_proven", _fold, (4,), returns=True, rows=500_000),
    Case("check_folds", _check, (2,), returns=True, rows=500_000),
)
