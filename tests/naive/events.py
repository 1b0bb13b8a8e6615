"""Twins of the kernels of events."""

from naive.flows import draws
from naive.payment_codes import (
    ABANDONED,
    ATM,
    AUTH_REQUEST,
    AUTH_RESPONSE,
    BIT_SHIPMENTS,
    BIT_SOFT,
    BIT_TIMED_OUT,
    CLEARING,
    CREDIT,
    DAY,
    PASSED,
    REFUND,
    REVERSAL,
    SHIPMENT_DAYS,
    STEP_UP_CHALLENGE,
    STEP_UP_COMPLETE,
    plain,
)

EVENT_SPLIT = 11


def events_of(f, i, law, u):
    """(type, instant, amount, code, attempt) of each event of a flow, in order."""
    bits, ts, amount, attempts, step = f.trace[i], f.ts[i], f.amount[i], f.attempts[i], f.step[i]
    soft, out = bits & BIT_SOFT, []

    def at(bounds, w):
        return bounds[0] + round(w * (bounds[1] - bounds[0]))

    if f.flow_type[i] != CREDIT:
        first, wait, back = at(law.first_us, u[0]), at(law.challenge_us, u[1]), at(law.resend_us, u[2])
        out.append((AUTH_REQUEST, ts, amount, 0, 1))
        if attempts == 2:
            timer = law.timer_us[1 if f.channel[i] == ATM else 0] if bits & BIT_TIMED_OUT else 0
            answer = ts + first + timer
            out.append((AUTH_RESPONSE, answer, amount, f.first[i], 1))
            if step == PASSED:
                out.append((STEP_UP_CHALLENGE, answer + wait, amount, 0, 2))
                out.append((STEP_UP_COMPLETE, f.sent[i] - back - back, amount, 0, 2))
            out.append((AUTH_REQUEST, f.sent[i] - back, amount, 0, 2))
        elif step in (PASSED, ABANDONED) and not soft:
            out.append((STEP_UP_CHALLENGE, ts + wait, amount, 0, 1))
            if step == PASSED:
                out.append((STEP_UP_COMPLETE, f.sent[i] - back, amount, 0, 1))
        out.append((AUTH_RESPONSE, f.response_ts[i], amount, f.response[i], attempts))
        if step == ABANDONED and soft:
            out.append((STEP_UP_CHALLENGE, f.response_ts[i] + wait, amount, 0, 1))
        if f.reversed[i] > 0:
            out.append((REVERSAL, f.reversal_ts[i], -f.reversed[i], 0, 0))
        if f.cleared[i] > 0:
            rest = f.cleared[i]
            if bits & BIT_SHIPMENTS:
                lo, hi = law.shipment
                part = min(rest - 1, max(1, round(rest * (lo + u[3] * (hi - lo)))))
                days = bits >> SHIPMENT_DAYS & 31
                out.append((CLEARING, f.clear_ts[i] - days * DAY, part, 0, 0))
                rest -= part
            out.append((CLEARING, f.clear_ts[i], rest, 0, 0))
    if f.refunded[i] > 0:
        out.append((REFUND, f.refund_ts[i], -f.refunded[i], 0, 0))
    return out


def put(o, row, flow, events):
    """Events of a flow from a row on."""
    for seq, (kind, ts, amount, code, attempt) in enumerate(events):
        o.flow[row], o.seq[row], o.kind[row], o.ts[row] = flow, seq, kind, ts
        o.amount[row], o.code[row], o.attempt[row] = amount, code, attempt
        row += 1


def count_events(f, auth_only, start):
    """Events before each flow."""
    rows, n = plain(f), 0
    for i in range(len(rows.ts)):
        start[i] = n
        n += 2 if auth_only else sum(1 for _ in events_of(rows, i, AnySplit, (0.5,) * 4))
    start[len(rows.ts)] = n


class AnySplit:
    """Any split: the number of events does not depend on it."""

    first_us = challenge_us = resend_us = timer_us = (0, 0)
    shipment = (0.5, 0.5)


def build_auth_events(f, start, o):
    """Request and answer."""
    rows = plain(f)
    for i, ts in enumerate(rows.ts):
        amount, answer = rows.amount[i], max(rows.response_ts[i], ts + 1)
        pair = [(AUTH_REQUEST, ts, amount, 0, 1), (AUTH_RESPONSE, answer, amount, rows.response[i], 1)]
        put(o, int(start[i]), i, pair)


def build_events(f, rule, start, keys, evidence, o):
    """Flow by flow."""
    rows, law = plain(f), plain(rule)
    for i, ordinal in enumerate(rows.ordinal):
        u = draws(keys, EVENT_SPLIT, ordinal, 4, evidence)
        put(o, int(start[i]), i, events_of(rows, i, law, u))


def time_order(ts, tie, seq, work, order):
    """Sorted."""
    order[:] = sorted(range(len(ts)), key=lambda i: (int(ts[i]), int(tie[i]), int(seq[i])))
