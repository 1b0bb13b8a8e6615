"""Proof of events against their flows in one pass: what S2's invariants 1 to 4 and 7 say, all rows, no reasons given.

Whoever gets a "no" from here asks `states/s2/prove.py` for the check that is broken and the row that breaks it.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.jit import kernel

#: Columns of the fold of a flow's events: two cache lines a flow.
COUNT, FIRST_KIND, FIRST_TS, LAST_TS, REQUESTS, RESPONSES, FIRST_CODE, LAST_CODE = range(8)
RESPONSE_TS, CLEAR_TS, REFUND_TS, REVERSAL_TS, CLEARED, REFUNDED, REVERSED = range(8, 15)
FOLDS = 16


class EventRows(NamedTuple):
    """Events: flow int64[m] (row), ident int64[m] (flow_id), seq int32[m], kind int8[m], ts int64[m], minor int64[m],
    amount float64[m], code int8[m]."""

    flow: np.ndarray
    ident: np.ndarray
    seq: np.ndarray
    kind: np.ndarray
    ts: np.ndarray
    minor: np.ndarray
    amount: np.ndarray
    code: np.ndarray


class FlowRows(NamedTuple):
    """Flows: ident, ts, sent, response_ts, clear_ts, refund_ts, reversal_ts, minor, cleared, refunded, reversed
    int64[n]; flow_type, response, first, attempts, currency int8[n]."""

    ident: np.ndarray
    ts: np.ndarray
    sent: np.ndarray
    response_ts: np.ndarray
    clear_ts: np.ndarray
    refund_ts: np.ndarray
    reversal_ts: np.ndarray
    minor: np.ndarray
    cleared: np.ndarray
    refunded: np.ndarray
    reversed: np.ndarray
    flow_type: np.ndarray
    response: np.ndarray
    first: np.ndarray
    attempts: np.ndarray
    currency: np.ndarray


@kernel
def fold_proven(e, f, scale, end_us, out):
    """Fold events by flow while they are as they must be; returns the first row that is not, or -1.

    e: EventRows; f: FlowRows; scale: float64[currencies], minor units of a major one; end_us: int64; out: int64[n,
    FOLDS], zeroed. A row must name its flow's id, come after the row before by (ts, ident, seq), have as seq the number
    of its flow's rows before it and a later ts than these, lie before end_us, have amount = minor / scale, and up to
    STEP_UP_COMPLETE the flow's minor. *_TS: of the last row of the kind; CLEARED, REFUNDED, REVERSED: sums of minor.
    """
    flow, ident, seq, kind, ts, minor = e.flow, e.ident, e.seq, e.kind, e.ts, e.minor
    amount, code, ids, due, currency = e.amount, e.code, f.ident, f.minor, f.currency
    n = ids.shape[0]
    for j in range(flow.shape[0]):
        i = flow[j]
        if i < 0 or i >= n or ids[i] != ident[j] or ts[j] >= end_us:
            return j
        if j > 0 and ts[j] <= ts[j - 1]:
            tied = ts[j] == ts[j - 1] and ident[j] >= ident[j - 1]
            if not tied or (ident[j] == ident[j - 1] and seq[j] <= seq[j - 1]):
                return j
        row = out[i]
        k, value = kind[j], minor[j]
        if seq[j] != row[COUNT] or amount[j] != value / scale[currency[i]]:
            return j
        if row[COUNT] == 0:
            row[FIRST_KIND], row[FIRST_TS] = k, ts[j]
        elif ts[j] <= row[LAST_TS]:
            return j
        if k <= pc.STEP_UP_COMPLETE and value != due[i]:
            return j
        row[COUNT] += 1
        row[LAST_TS] = ts[j]
        if k == pc.AUTH_REQUEST:
            row[REQUESTS] += 1
        elif k == pc.AUTH_RESPONSE:
            if row[RESPONSES] == 0:
                row[FIRST_CODE] = code[j]
            row[RESPONSES] += 1
            row[LAST_CODE], row[RESPONSE_TS] = code[j], ts[j]
        elif k == pc.CLEARING:
            row[CLEAR_TS] = ts[j]
            row[CLEARED] += value
        elif k == pc.REFUND:
            row[REFUND_TS] = ts[j]
            row[REFUNDED] += value
        elif k == pc.REVERSAL:
            row[REVERSAL_TS] = ts[j]
            row[REVERSED] += value
    return -1


@kernel
def check_folds(folds, f, out):
    """Compare flows with the folds of their events; returns the first flow that differs, or -1.

    folds: int64[n, FOLDS] of `fold_proven`; f: FlowRows; out: int64[1], grows by the flows compared. A credit
    (CARD_CREDIT) opens with its REFUND and has no answer; any other flow opens with an AUTH_REQUEST. Only for packs
    with settlement.
    """
    flow_type, ts, sent, answered = f.flow_type, f.ts, f.sent, f.response_ts
    clear_ts, refund_ts, reversal_ts = f.clear_ts, f.refund_ts, f.reversal_ts
    cleared, refunded, turned = f.cleared, f.refunded, f.reversed
    response, first, attempts = f.response, f.first, f.attempts
    for i in range(ts.shape[0]):
        row = folds[i]
        credit = flow_type[i] == pc.CARD_CREDIT
        if row[COUNT] == 0 or row[FIRST_KIND] != (pc.REFUND if credit else pc.AUTH_REQUEST):
            return i
        if row[FIRST_TS] != ts[i] or row[REQUESTS] != attempts[i] or not ts[i] <= sent[i] <= answered[i]:
            return i
        if not credit and (
            row[RESPONSE_TS] != answered[i] or row[FIRST_CODE] != first[i] or row[LAST_CODE] != response[i]
        ):
            return i
        if row[CLEAR_TS] != clear_ts[i] or row[REFUND_TS] != refund_ts[i] or row[REVERSAL_TS] != reversal_ts[i]:
            return i
        if row[CLEARED] != cleared[i] or -row[REFUNDED] != refunded[i] or -row[REVERSED] != turned[i]:
            return i
        if refunded[i] > cleared[i] and not credit:
            return i
        if turned[i] != 0 and (cleared[i] != 0 or refunded[i] != 0):
            return i
        out[0] += 1
    return -1
