"""When flows are answered, cleared, reversed and refunded, and for how much (contracts/laws/s2.md, sections 6 and 7)."""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.amounts import half_even, snap
from fraudloom.kernels.flows import D_AUTH_TIME, D_BRANCH, D_SETTLE_AMOUNT, D_SETTLE_TIME
from fraudloom.kernels.fmath import exp, ndtri
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.sampling import lognormal_truncated
from fraudloom.kernels.streams import clamp_open, draw, pick_cdf, split_remap

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
#: Bits of branch_trace that settlement does not own.
KEPT = np.int32(pc.T_PLANNED | pc.T_DECIDED | pc.T_GAVE_UP)
#: Rows of a table of truncated lognormals: median, sigma, lo, hi (microseconds).
L_CARDHOLDER, L_GIVE_UP, L_UNAVAILABLE, L_FUNDS, L_REVERSAL, L_RETURN, L_REFUND = 0, 1, 2, 3, 4, 5, 6


class AuthTimes(NamedTuple):
    """send, back: float64[4] median us, sigma, normal CDF at both cuts; laws float64[7, 4]; step_us, timeout_us int64;
    timed_out float64; timer_us int64[2] (cards, cash)."""

    send: np.ndarray
    back: np.ndarray
    laws: np.ndarray
    step_us: int
    timeout_us: int
    timed_out: float
    timer_us: np.ndarray


class AuthColumns(NamedTuple):
    """ordinal, ts int64[n]; channel, flow_type, first, response, step, attempts int8[n]; latency_ms, trace int32[n]."""

    ordinal: np.ndarray
    ts: np.ndarray
    channel: np.ndarray
    flow_type: np.ndarray
    first: np.ndarray
    response: np.ndarray
    step: np.ndarray
    attempts: np.ndarray
    latency_ms: np.ndarray
    trace: np.ndarray


@helper
def leg(law, u):
    """Microseconds of one way of the network. law: float64[4]; u: float64."""
    return half_even(law[0] * exp(law[1] * ndtri(clamp_open(law[2] + u * (law[3] - law[2])))))


@helper
def law_time(laws, row, u):
    """Microseconds by a truncated lognormal of the table."""
    return half_even(lognormal_truncated(u, laws[row, 0], laws[row, 1], laws[row, 2], laws[row, 3]))


@kernel
def time_auth(rows, a, t, keys, evidence, sent, response_ts, trace):
    """Instants of the last request's departure and of the last answer, for the given rows.

    rows: int64[m]; a: AuthColumns; t: AuthTimes; sent, response_ts: int64[n]; trace: int32[n], its T_GAVE_UP bit.
    Draws: D_AUTH_TIME, 4 a row: 0 there, 1 back, 2 cardholder, 3 timed out, or time to the retry.
    """
    for n in range(rows.shape[0]):
        i = rows[n]
        base = a.ordinal[i] * 4
        u_there = draw(keys, D_AUTH_TIME, base, evidence)
        u_back = draw(keys, D_AUTH_TIME, base + 1, evidence)
        u_holder = draw(keys, D_AUTH_TIME, base + 2, evidence)
        u_gap = draw(keys, D_AUTH_TIME, base + 3, evidence)
        ts = a.ts[i]
        trace[i] = a.trace[i] & ~pc.T_GAVE_UP
        if a.flow_type[i] == pc.CARD_CREDIT:
            sent[i] = ts
            response_ts[i] = ts
            continue
        before = 0
        if a.trace[i] & pc.T_RETRY:
            before = law_time(t.laws, L_FUNDS if a.first[i] == pc.RC_51 else L_UNAVAILABLE, u_gap)
            if a.trace[i] & pc.T_TIMED_OUT:
                before += t.timer_us[1 if a.channel[i] == pc.ATM else 0]
        elif a.step[i] == pc.STEP_PASSED:
            before = t.step_us + law_time(t.laws, L_CARDHOLDER, u_holder)
            if a.trace[i] & pc.T_SOFT:
                before += t.step_us
        sent[i] = ts + before + leg(t.send, u_there)
        response_ts[i] = sent[i] + np.int64(a.latency_ms[i]) * 1000 + leg(t.back, u_back)
        if a.step[i] == pc.STEP_ABANDONED and not a.trace[i] & pc.T_SOFT:
            given = law_time(t.laws, L_GIVE_UP, u_holder)
            if u_gap < t.timed_out:
                given = t.timeout_us
            else:
                trace[i] |= pc.T_GAVE_UP
            response_ts[i] = ts + t.step_us + given + leg(t.back, u_back)


class SettleColumns(NamedTuple):
    """ordinal, response_ts, amount (minor), merchant, series int64[n]; channel, currency, flow_type, decision, country
    (of the outlet) int8[n]; pinned, alerted bool[n]; settled bool[n]: approved and not a credit."""

    ordinal: np.ndarray
    response_ts: np.ndarray
    amount: np.ndarray
    merchant: np.ndarray
    series: np.ndarray
    channel: np.ndarray
    currency: np.ndarray
    country: np.ndarray
    pinned: np.ndarray
    alerted: np.ndarray
    settled: np.ndarray


class SettleRule(NamedTuple):
    """reversal, refund float64[5] by channel (BANK_RAIL in reversal: returned); full, partial, late, fuel float64; tip
    float64[2] (elsewhere, tipping countries); style int8 and tips bool by merchant - 1; tipping bool[countries]; laws as
    in AuthTimes; cutoff_us, batch_us, jitter_us int64; lag_cum float64[4]; late_days, second_days int64[2]; bounds
    float64[3, 2]: tip, fuel, refund shares; first_day int64; day_slot int32[countries, days]: business days before a
    day; business int32[countries, slots]: the day of each."""

    reversal: np.ndarray
    refund: np.ndarray
    full: float
    partial: float
    late: float
    fuel: float
    tip: np.ndarray
    style: np.ndarray
    tips: np.ndarray
    tipping: np.ndarray
    laws: np.ndarray
    cutoff_us: int
    batch_us: int
    jitter_us: int
    lag_cum: np.ndarray
    late_days: np.ndarray
    second_days: np.ndarray
    bounds: np.ndarray
    first_day: int
    day_slot: np.ndarray
    business: np.ndarray


class Settled(NamedTuple):
    """clear_ts, refund_ts, reversal_ts, cleared, refunded, reversed int64[n]; outcome, payment int8[n]; trace int32[n]."""

    clear_ts: np.ndarray
    refund_ts: np.ndarray
    reversal_ts: np.ndarray
    cleared: np.ndarray
    refunded: np.ndarray
    reversed: np.ndarray
    outcome: np.ndarray
    payment: np.ndarray
    trace: np.ndarray


@helper
def between(u, lo, hi):
    """Whole number lo .. hi from one uniform."""
    return lo + np.int64(u * (hi - lo + 1))


@helper
def business_slot(rule, country, us):
    """Number of the first business day on or after the day of an instant."""
    day = us // DAY_US - rule.first_day
    return np.int64(rule.day_slot[country, min(max(day, 0), rule.day_slot.shape[1] - 1)])


@helper
def business_day(rule, country, slot):
    """Day (since 1970) of a business-day number; the last one known when it lies beyond the calendar."""
    return np.int64(rule.business[country, min(slot, rule.business.shape[1] - 1)])


@helper
def cleared_amount(c, i, rule, u_branch, u_size, o):
    """Minor units presented: the requested amount, with a tip, or as pumped."""
    amount = c.amount[i]
    row = c.merchant[i] - 1
    if c.channel[i] != pc.POS or c.pinned[i]:
        return amount
    if rule.tips[row] and u_branch < rule.tip[1 if rule.tipping[c.country[i]] else 0]:
        o.trace[i] |= pc.T_TIP
        return amount + half_even(amount * (rule.bounds[0, 0] + u_size * (rule.bounds[0, 1] - rule.bounds[0, 0])))
    if rule.style[row] == pc.STYLE_FUEL and u_branch < rule.fuel:
        o.trace[i] |= pc.T_FUEL
        share = rule.bounds[1, 0] + u_size * (rule.bounds[1, 1] - rule.bounds[1, 0])
        return max(np.int64(1), half_even(amount * share))
    return amount


@kernel
def settle_flows(rows, c, rule, currencies, amounts, keys, evidence, o):
    """Clearing, reversal, refund and return of the given rows.

    rows: int64[m]; c: SettleColumns; rule: SettleRule; currencies: CurrencyTables; amounts: AmountRule (endings); o:
    Settled. Draws: D_BRANCH, 4 a row: 0 reversal or return, 1 refund, 2 shipments or late, 3 tip or fuel; D_SETTLE_TIME,
    5: 0 lag, 1 jitter, 2 days, 3 reversal or return, 4 refund; D_SETTLE_AMOUNT, 3: 0 tip or fuel, 1 full or share,
    2 ending of a partial refund.
    """
    for n in range(rows.shape[0]):
        i = rows[n]
        base = c.ordinal[i]
        u_back = draw(keys, D_BRANCH, base * 4, evidence)
        u_refund = draw(keys, D_BRANCH, base * 4 + 1, evidence)
        u_parts = draw(keys, D_BRANCH, base * 4 + 2, evidence)
        u_tip = draw(keys, D_BRANCH, base * 4 + 3, evidence)
        u_lag = draw(keys, D_SETTLE_TIME, base * 5, evidence)
        u_jitter = draw(keys, D_SETTLE_TIME, base * 5 + 1, evidence)
        u_days = draw(keys, D_SETTLE_TIME, base * 5 + 2, evidence)
        u_back_ts = draw(keys, D_SETTLE_TIME, base * 5 + 3, evidence)
        u_refund_ts = draw(keys, D_SETTLE_TIME, base * 5 + 4, evidence)
        u_size = draw(keys, D_SETTLE_AMOUNT, base * 3, evidence)
        u_share = draw(keys, D_SETTLE_AMOUNT, base * 3 + 1, evidence)
        u_end = draw(keys, D_SETTLE_AMOUNT, base * 3 + 2, evidence)
        o.trace[i] &= KEPT
        if o.outcome[i] == pc.AUTH_REVERSED:
            o.outcome[i] = pc.CASH_DISPENSED if c.channel[i] == pc.ATM else pc.AUTH_SETTLED
        elif o.outcome[i] == pc.TRANSFER_RETURNED:
            o.outcome[i] = pc.TRANSFER_COMPLETED
            o.payment[i] = pc.PAY_ACCEPTED
        o.clear_ts[i] = 0
        o.reversal_ts[i] = 0
        o.cleared[i] = 0
        o.reversed[i] = 0
        channel = c.channel[i]
        credit = not c.settled[i] and o.outcome[i] == pc.CREDIT_POSTED
        o.refund_ts[i] = c.response_ts[i] if credit else 0
        o.refunded[i] = c.amount[i] if credit else 0
        if not c.settled[i]:
            continue
        if channel == pc.BANK_RAIL:
            if not c.alerted[i] and u_back < rule.reversal[channel]:
                o.trace[i] |= pc.T_RETURNED
                o.reversal_ts[i] = c.response_ts[i] + law_time(rule.laws, L_RETURN, u_back_ts)
                o.reversed[i] = c.amount[i]
                o.outcome[i] = pc.TRANSFER_RETURNED
                o.payment[i] = pc.PAY_RETURNED
            continue
        if not c.pinned[i] and u_back < rule.reversal[channel]:
            o.trace[i] |= pc.T_REVERSAL
            o.reversal_ts[i] = c.response_ts[i] + law_time(rule.laws, L_REVERSAL, u_back_ts)
            o.reversed[i] = c.amount[i]
            o.outcome[i] = pc.AUTH_REVERSED
            continue
        country = c.country[i]
        slot = business_slot(rule, country, c.response_ts[i] + DAY_US - rule.cutoff_us)
        slot += pick_cdf(rule.lag_cum, u_lag, 0, rule.lag_cum.shape[0])
        online = channel in (pc.ECOM, pc.HYBRID) and not c.pinned[i]
        cleared = cleared_amount(c, i, rule, u_tip, u_size, o)
        day = business_day(rule, country, slot)
        if online and c.series[i] == 0 and cleared > 1 and u_parts < rule.partial:
            o.trace[i] |= pc.T_SHIPMENTS
            later = business_day(rule, country, slot + between(u_days, rule.second_days[0], rule.second_days[1]))
            o.trace[i] |= np.int32((later - day) << pc.DAYS_SHIFT)
            day = later
        elif not c.pinned[i] and rule.partial <= u_parts < rule.partial + rule.late:
            o.trace[i] |= pc.T_LATE
            day = business_day(rule, country, slot + between(u_days, rule.late_days[0], rule.late_days[1]))
        o.clear_ts[i] = day * DAY_US + rule.batch_us + half_even(u_jitter * rule.jitter_us)
        o.cleared[i] = cleared
        if c.pinned[i] or u_refund >= rule.refund[channel]:
            continue
        o.trace[i] |= pc.T_REFUND
        o.refund_ts[i] = o.clear_ts[i] + law_time(rule.laws, L_REFUND, u_refund_ts)
        full, rest = split_remap(u_share, rule.full)
        o.refunded[i] = cleared
        if not full:
            share = rule.bounds[2, 0] + rest * (rule.bounds[2, 1] - rule.bounds[2, 0])
            part = snap(cleared * share, rule.style[c.merchant[i] - 1], c.currency[i], u_end, currencies, amounts)
            o.refunded[i] = min(cleared, part)
            if part < cleared:
                o.trace[i] |= pc.T_PARTIAL_REFUND
