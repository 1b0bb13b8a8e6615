"""Events of flows, built from flow columns alone, and their order (contracts/laws/s2.md, section 8)."""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.amounts import half_even
from fraudloom.kernels.flows import D_SPLIT
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.settle import DAY_US
from fraudloom.kernels.streams import draw

DIGIT_BITS = 11
DIGITS = 1 << 11


class FlowColumns(NamedTuple):
    """What events follow from: ordinal, ts, sent, response_ts, clear_ts, refund_ts, reversal_ts, amount, cleared,
    refunded, reversed int64[n]; flow_type, first, response, step, attempts, channel int8[n]; trace int32[n]."""

    ordinal: np.ndarray
    ts: np.ndarray
    sent: np.ndarray
    response_ts: np.ndarray
    clear_ts: np.ndarray
    refund_ts: np.ndarray
    reversal_ts: np.ndarray
    amount: np.ndarray
    cleared: np.ndarray
    refunded: np.ndarray
    reversed: np.ndarray
    flow_type: np.ndarray
    first: np.ndarray
    response: np.ndarray
    step: np.ndarray
    attempts: np.ndarray
    channel: np.ndarray
    trace: np.ndarray


class SplitRule(NamedTuple):
    """Bounds of places between anchors: first_us, challenge_us, resend_us int64[2]; shipment float64[2] (share of the
    first); timer_us int64[2] (cards, cash)."""

    first_us: np.ndarray
    challenge_us: np.ndarray
    resend_us: np.ndarray
    shipment: np.ndarray
    timer_us: np.ndarray


class EventColumns(NamedTuple):
    """Events: flow int64[m] (row), seq int32[m], kind int8[m], ts int64[m], amount int64[m] (minor, signed), code
    int8[m], attempt int8[m]."""

    flow: np.ndarray
    seq: np.ndarray
    kind: np.ndarray
    ts: np.ndarray
    amount: np.ndarray
    code: np.ndarray
    attempt: np.ndarray


@kernel
def count_events(f, auth_only, start):
    """start[i]: row of the first event of flow i; start[n]: number of events. start: int64[n + 1]; auth_only: bool."""
    start[0] = 0
    for i in range(f.ts.shape[0]):
        n = 2
        if not auth_only:
            if f.flow_type[i] == pc.CARD_CREDIT:
                n = 0
            elif f.attempts[i] == 2:
                n = 4
            if f.step[i] == pc.STEP_PASSED:
                n += 2
            elif f.step[i] == pc.STEP_ABANDONED:
                n += 1
            if f.cleared[i] > 0:
                n += 2 if f.trace[i] & pc.T_SHIPMENTS else 1
            if f.refunded[i] > 0:
                n += 1
            if f.reversed[i] > 0:
                n += 1
        start[i + 1] = start[i] + n


@helper
def place(bounds, u):
    """Microseconds lo + u (hi - lo), rounded half to even."""
    return bounds[0] + half_even(u * (bounds[1] - bounds[0]))


@helper
def put(o, at, first, i, kind, ts, amount, code, attempt):
    """Write one event at row `at`; returns the next row."""
    o.flow[at] = i
    o.seq[at] = at - first
    o.kind[at] = kind
    o.ts[at] = ts
    o.amount[at] = amount
    o.code[at] = code
    o.attempt[at] = attempt
    return at + 1


@kernel
def build_auth_events(f, start, o):
    """Two events a flow: its request, and its last answer (or, for a credit, its posting; code NONE).

    f: FlowColumns; start: int64[n + 1]; o: EventColumns, in flow order.
    """
    for i in range(f.ts.shape[0]):
        at = start[i]
        after = max(f.response_ts[i], f.ts[i] + 1)
        put(o, at, at, i, pc.AUTH_REQUEST, f.ts[i], f.amount[i], pc.RC_NONE, 1)
        put(o, at + 1, at, i, pc.AUTH_RESPONSE, after, f.amount[i], f.response[i], 1)


@kernel
def build_events(f, rule, start, keys, evidence, o):
    """All events of each flow, in flow order and, within a flow, in time order.

    f: FlowColumns; rule: SplitRule; start: int64[n + 1]; o: EventColumns. Draws: D_SPLIT, 4 a row: 0 first answer,
    1 challenge, 2 departure of the last request, 3 share of the first shipment.
    """
    for i in range(f.ts.shape[0]):
        base = f.ordinal[i] * 4
        u_first = draw(keys, D_SPLIT, base, evidence)
        u_challenge = draw(keys, D_SPLIT, base + 1, evidence)
        u_resend = draw(keys, D_SPLIT, base + 2, evidence)
        u_share = draw(keys, D_SPLIT, base + 3, evidence)
        a = start[i]
        at = a
        amount = f.amount[i]
        step = f.step[i]
        soft = f.trace[i] & pc.T_SOFT != 0
        ts = f.ts[i]
        resend = place(rule.resend_us, u_resend)
        wait = place(rule.challenge_us, u_challenge)
        if f.flow_type[i] != pc.CARD_CREDIT:
            at = put(o, at, a, i, pc.AUTH_REQUEST, ts, amount, pc.RC_NONE, 1)
            if f.attempts[i] == 2:
                answer = ts + place(rule.first_us, u_first)
                if f.trace[i] & pc.T_TIMED_OUT:
                    answer += rule.timer_us[1 if f.channel[i] == pc.ATM else 0]
                at = put(o, at, a, i, pc.AUTH_RESPONSE, answer, amount, f.first[i], 1)
                again = f.sent[i] - resend
                if step == pc.STEP_PASSED:
                    at = put(o, at, a, i, pc.STEP_UP_CHALLENGE, answer + wait, amount, pc.RC_NONE, 2)
                    at = put(o, at, a, i, pc.STEP_UP_COMPLETE, again - resend, amount, pc.RC_NONE, 2)
                at = put(o, at, a, i, pc.AUTH_REQUEST, again, amount, pc.RC_NONE, 2)
            elif step in (pc.STEP_PASSED, pc.STEP_ABANDONED) and not soft:
                at = put(o, at, a, i, pc.STEP_UP_CHALLENGE, ts + wait, amount, pc.RC_NONE, 1)
                if step == pc.STEP_PASSED:
                    at = put(o, at, a, i, pc.STEP_UP_COMPLETE, f.sent[i] - resend, amount, pc.RC_NONE, 1)
            at = put(o, at, a, i, pc.AUTH_RESPONSE, f.response_ts[i], amount, f.response[i], f.attempts[i])
            if step == pc.STEP_ABANDONED and soft:
                at = put(o, at, a, i, pc.STEP_UP_CHALLENGE, f.response_ts[i] + wait, amount, pc.RC_NONE, 1)
        if f.reversed[i] > 0:
            at = put(o, at, a, i, pc.REVERSAL, f.reversal_ts[i], -f.reversed[i], pc.RC_NONE, 0)
        if f.cleared[i] > 0:
            rest = f.cleared[i]
            if f.trace[i] & pc.T_SHIPMENTS:
                days = (f.trace[i] >> pc.DAYS_SHIFT) & 31
                share = rule.shipment[0] + u_share * (rule.shipment[1] - rule.shipment[0])
                part = min(rest - 1, max(np.int64(1), half_even(rest * share)))
                rest -= part
                at = put(o, at, a, i, pc.CLEARING, f.clear_ts[i] - days * DAY_US, part, pc.RC_NONE, 0)
            at = put(o, at, a, i, pc.CLEARING, f.clear_ts[i], rest, pc.RC_NONE, 0)
        if f.refunded[i] > 0:
            at = put(o, at, a, i, pc.REFUND, f.refund_ts[i], -f.refunded[i], pc.RC_NONE, 0)


@kernel
def time_order(ts, tie, seq, work, order):
    """Order rows by (ts, tie, seq): radix passes over the bits that differ, then ties in place.

    ts, tie: int64[m]; seq: int32[m]; work: int64[m] scratch; order: int64[m] out.
    """
    m = ts.shape[0]
    if m == 0:
        return
    low, high = ts[0], ts[0]
    for j in range(m):
        order[j] = j
        low = min(low, ts[j])
        high = max(high, ts[j])
    span = high - low
    count = np.zeros(DIGITS, np.int64)
    shift = 0
    source, target = order, work
    passes = 0
    while passes == 0 or span >> shift > 0:
        count[:] = 0
        for j in range(m):
            count[((ts[source[j]] - low) >> shift) & (DIGITS - 1)] += 1
        total = 0
        for d in range(DIGITS):
            c = count[d]
            count[d] = total
            total += c
        for j in range(m):
            d = ((ts[source[j]] - low) >> shift) & (DIGITS - 1)
            target[count[d]] = source[j]
            count[d] += 1
        source, target = target, source
        shift += DIGIT_BITS
        passes += 1
    if passes % 2 == 1:
        for j in range(m):
            order[j] = work[j]
    for j in range(1, m):
        row = order[j]
        k = j - 1
        while k >= 0 and ts[order[k]] == ts[row]:
            other = order[k]
            if tie[other] < tie[row] or (tie[other] == tie[row] and seq[other] < seq[row]):
                break
            order[k + 1] = other
            k -= 1
        order[k + 1] = row
