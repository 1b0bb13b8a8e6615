"""Events of flows, built from flow columns alone, and their order (contracts/laws/s2.md, section 8)."""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.amounts import half_even
from fraudloom.kernels.flows import D_SPLIT
from fraudloom.kernels.jit import allocating_kernel, helper, kernel
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
    """start[i]: row of the first event of flow i; start[n]: number of events. f: FlowColumns;
    start: int64[n + 1]; auth_only: bool."""
    flow_type, attempts, step, trace = f.flow_type, f.attempts, f.step, f.trace
    cleared, refunded, turned = f.cleared, f.refunded, f.reversed
    start[0] = 0
    for i in range(flow_type.shape[0]):
        n = 2
        if not auth_only:
            if flow_type[i] == pc.CARD_CREDIT:
                n = 0
            elif attempts[i] == 2:
                n = 4
            if step[i] == pc.STEP_PASSED:
                n += 2
            elif step[i] == pc.STEP_ABANDONED:
                n += 1
            if cleared[i] > 0:
                n += 2 if trace[i] & pc.T_SHIPMENTS else 1
            if refunded[i] > 0:
                n += 1
            if turned[i] > 0:
                n += 1
        start[i + 1] = start[i] + n


@helper
def place(u, lo, hi):
    """Microseconds lo + u (hi - lo), rounded half to even."""
    return lo + half_even(u * (hi - lo))


@helper
def put(kinds, stamps, codes, attempts, at, kind, ts, code, attempt):
    """Write the four columns that differ between the events of a flow; returns the next row."""
    kinds[at] = kind
    stamps[at] = ts
    codes[at] = code
    attempts[at] = attempt
    return at + 1


@kernel
def build_auth_events(f, start, o):
    """Two events a flow: its request, and its last answer (or, for a credit, its posting; code NONE).

    f: FlowColumns; start: int64[n + 1]; o: EventColumns, in flow order.
    """
    ts, answered, due, response = f.ts, f.response_ts, f.amount, f.response
    flow, seq, kind, stamp, amount, code, attempt = o.flow, o.seq, o.kind, o.ts, o.amount, o.code, o.attempt
    for i in range(ts.shape[0]):
        for k in range(2):
            at = start[i] + k
            flow[at] = i
            seq[at] = k
            amount[at] = due[i]
        at = put(kind, stamp, code, attempt, start[i], pc.AUTH_REQUEST, ts[i], pc.RC_NONE, 1)
        put(kind, stamp, code, attempt, at, pc.AUTH_RESPONSE, max(answered[i], ts[i] + 1), response[i], 1)


@kernel
def build_events(f, rule, start, keys, evidence, o):
    """All events of each flow, in flow order and, within a flow, in time order.

    f: FlowColumns; rule: SplitRule; start: int64[n + 1]; o: EventColumns. Draws (keys, evidence): D_SPLIT, 4 a row: 0
    first answer, 1 challenge, 2 departure of the last request, 3 share of the first shipment.
    """
    ordinal, start_ts, sent, answered, due = f.ordinal, f.ts, f.sent, f.response_ts, f.amount
    cleared, refunded, turned, trace = f.cleared, f.refunded, f.reversed, f.trace
    flow_type, first, response, steps, tries, channel = f.flow_type, f.first, f.response, f.step, f.attempts, f.channel
    clear_ts, refund_ts, reversal_ts = f.clear_ts, f.refund_ts, f.reversal_ts
    first_us, challenge_us, resend_us, timer = rule.first_us, rule.challenge_us, rule.resend_us, rule.timer_us
    flow, seq, kind, stamp, amount, code, attempt = o.flow, o.seq, o.kind, o.ts, o.amount, o.code, o.attempt
    for i in range(ordinal.shape[0]):
        base = ordinal[i] * 4
        u_first = draw(keys, D_SPLIT, base, evidence)
        u_challenge = draw(keys, D_SPLIT, base + 1, evidence)
        u_resend = draw(keys, D_SPLIT, base + 2, evidence)
        u_share = draw(keys, D_SPLIT, base + 3, evidence)
        for at in range(start[i], start[i + 1]):
            flow[at] = i
            seq[at] = at - start[i]
            amount[at] = due[i]
        at = start[i]
        step = steps[i]
        bits = np.int64(trace[i])
        ts = start_ts[i]
        back = place(u_resend, resend_us[0], resend_us[1])
        wait = place(u_challenge, challenge_us[0], challenge_us[1])
        if flow_type[i] != pc.CARD_CREDIT:
            at = put(kind, stamp, code, attempt, at, pc.AUTH_REQUEST, ts, pc.RC_NONE, 1)
            if tries[i] == 2:
                answer = ts + place(u_first, first_us[0], first_us[1])
                if bits & pc.T_TIMED_OUT:
                    answer += timer[1 if channel[i] == pc.ATM else 0]
                again = sent[i] - back
                at = put(kind, stamp, code, attempt, at, pc.AUTH_RESPONSE, answer, first[i], 1)
                if step == pc.STEP_PASSED:
                    at = put(kind, stamp, code, attempt, at, pc.STEP_UP_CHALLENGE, answer + wait, pc.RC_NONE, 2)
                    at = put(kind, stamp, code, attempt, at, pc.STEP_UP_COMPLETE, again - back, pc.RC_NONE, 2)
                at = put(kind, stamp, code, attempt, at, pc.AUTH_REQUEST, again, pc.RC_NONE, 2)
            elif step in (pc.STEP_PASSED, pc.STEP_ABANDONED) and not bits & pc.T_SOFT:
                at = put(kind, stamp, code, attempt, at, pc.STEP_UP_CHALLENGE, ts + wait, pc.RC_NONE, 1)
                if step == pc.STEP_PASSED:
                    at = put(kind, stamp, code, attempt, at, pc.STEP_UP_COMPLETE, sent[i] - back, pc.RC_NONE, 1)
            at = put(kind, stamp, code, attempt, at, pc.AUTH_RESPONSE, answered[i], response[i], tries[i])
            if step == pc.STEP_ABANDONED and bits & pc.T_SOFT:
                at = put(kind, stamp, code, attempt, at, pc.STEP_UP_CHALLENGE, answered[i] + wait, pc.RC_NONE, 1)
        if turned[i] > 0:
            amount[at] = -turned[i]
            at = put(kind, stamp, code, attempt, at, pc.REVERSAL, reversal_ts[i], pc.RC_NONE, 0)
        if cleared[i] > 0:
            rest = cleared[i]
            if bits & pc.T_SHIPMENTS:
                days = (bits >> pc.DAYS_SHIFT) & 31
                share = rule.shipment[0] + u_share * (rule.shipment[1] - rule.shipment[0])
                part = min(rest - 1, max(np.int64(1), half_even(rest * share)))
                rest -= part
                amount[at] = part
                at = put(kind, stamp, code, attempt, at, pc.CLEARING, clear_ts[i] - days * DAY_US, pc.RC_NONE, 0)
            amount[at] = rest
            at = put(kind, stamp, code, attempt, at, pc.CLEARING, clear_ts[i], pc.RC_NONE, 0)
        if refunded[i] > 0:
            amount[at] = -refunded[i]
            at = put(kind, stamp, code, attempt, at, pc.REFUND, refund_ts[i], pc.RC_NONE, 0)


@allocating_kernel
def time_order(ts, tie, seq, work, order):
    """Order rows by (ts, tie, seq): one counting pass over as many spans of time as rows, then rows in place.

    ts, tie: int64[m]; seq: int32[m]; work: int64[m] scratch; order: int64[m] out. Rows that crowd in few spans (more
    than 64 times the squares of an even spread) go by radix passes over all bits that differ instead.
    """
    m = ts.shape[0]
    if m == 0:
        return
    low, high = ts[0], ts[0]
    for j in range(m):
        low = min(low, ts[j])
        high = max(high, ts[j])
    spans, shift = 1, 0
    while spans < m:
        spans += spans
    while (high - low) >> shift >= spans:
        shift += 1
    count = np.zeros(spans, np.int32)
    for j in range(m):
        count[(ts[j] - low) >> shift] += np.int32(1)
    total, crowd = 0, 0
    for d in range(spans):
        c = np.int64(count[d])
        count[d] = total
        total += c
        crowd += c * c
    if crowd <= 64 * m:
        for j in range(m):
            d = (ts[j] - low) >> shift
            order[count[d]] = j
            count[d] += np.int32(1)
    else:
        radix_times(ts, low, high - low, np.zeros(DIGITS, np.int64), work, order)
    for j in range(1, m):
        row = order[j]
        k = j - 1
        while k >= 0:
            other = order[k]
            if ts[other] < ts[row]:
                break
            if ts[other] == ts[row] and (tie[other] < tie[row] or (tie[other] == tie[row] and seq[other] < seq[row])):
                break
            order[k + 1] = other
            k -= 1
        order[k + 1] = row


@helper
def radix_times(ts, low, span, count, work, order):
    """Stable order of rows by ts. ts: int64[m], low .. low + span; count: int64[DIGITS], work: int64[m] scratch;
    order: int64[m] out."""
    m = ts.shape[0]
    for j in range(m):
        order[j] = j
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
