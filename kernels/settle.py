"""When flows are answered, cleared, reversed and refunded, and for how much (contracts/laws/s2.md, 6 and 7)."""

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
    """ordinal, ts int64[n]; channel, flow_type, first, step int8[n]; latency_ms int32[n]."""

    ordinal: np.ndarray
    ts: np.ndarray
    channel: np.ndarray
    flow_type: np.ndarray
    first: np.ndarray
    step: np.ndarray
    latency_ms: np.ndarray


@helper
def leg(u, median, sigma, low, high):
    """Microseconds of one way of the network; low, high: normal CDF at both cuts."""
    return half_even(median * exp(sigma * ndtri(clamp_open(low + u * (high - low)))))


@helper
def law_us(u, median, sigma, lo, hi):
    """Microseconds by a truncated lognormal."""
    return half_even(lognormal_truncated(u, median, sigma, lo, hi))


@kernel
def time_auth(rows, a, t, keys, evidence, sent, response_ts, trace):
    """Instants of the last request's departure and of the last answer, for the given rows.

    rows: int64[m]; a: AuthColumns; t: AuthTimes; sent, response_ts: int64[n]; trace: int32[n], its T_GAVE_UP bit.
    Draws (keys, evidence): D_AUTH_TIME, 4 a row: 0 there, 1 back, 2 cardholder, 3 timed out, or time to the retry.
    """
    ordinal, start, channel, flow_type, first = a.ordinal, a.ts, a.channel, a.flow_type, a.first
    steps, latency, send, back, laws, timer = a.step, a.latency_ms, t.send, t.back, t.laws, t.timer_us
    for n in range(rows.shape[0]):
        i = rows[n]
        base = ordinal[i] * 4
        u_there = draw(keys, D_AUTH_TIME, base, evidence)
        u_back = draw(keys, D_AUTH_TIME, base + 1, evidence)
        u_holder = draw(keys, D_AUTH_TIME, base + 2, evidence)
        u_gap = draw(keys, D_AUTH_TIME, base + 3, evidence)
        ts = start[i]
        bits = trace[i] & ~pc.T_GAVE_UP
        trace[i] = bits
        if flow_type[i] == pc.CARD_CREDIT:
            sent[i] = ts
            response_ts[i] = ts
            continue
        before = np.int64(0)
        if bits & pc.T_RETRY:
            k = L_FUNDS if first[i] == pc.RC_51 else L_UNAVAILABLE
            before = law_us(u_gap, laws[k, 0], laws[k, 1], laws[k, 2], laws[k, 3])
            if bits & pc.T_TIMED_OUT:
                before += timer[1 if channel[i] == pc.ATM else 0]
        elif steps[i] == pc.STEP_PASSED:
            k = L_CARDHOLDER
            before = t.step_us + law_us(u_holder, laws[k, 0], laws[k, 1], laws[k, 2], laws[k, 3])
            if bits & pc.T_SOFT:
                before += t.step_us
        home = leg(u_back, back[0], back[1], back[2], back[3])
        sent[i] = ts + before + leg(u_there, send[0], send[1], send[2], send[3])
        response_ts[i] = sent[i] + np.int64(latency[i]) * 1000 + home
        if steps[i] == pc.STEP_ABANDONED and not bits & pc.T_SOFT:
            if u_gap < t.timed_out:
                given = t.timeout_us
            else:
                k = L_GIVE_UP
                given = law_us(u_holder, laws[k, 0], laws[k, 1], laws[k, 2], laws[k, 3])
                trace[i] = bits | pc.T_GAVE_UP
            response_ts[i] = ts + t.step_us + given + home


class SettleColumns(NamedTuple):
    """ordinal, response_ts, amount (minor), merchant, series int64[n]; channel, currency, country (of the outlet)
    int8[n]; pinned, alerted bool[n]; settled bool[n]: approved and not a credit."""

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
    """reversal, refund float64[5] by channel (BANK_RAIL in reversal: returned); recalled (share of those), full,
    partial, late, fuel float64; tip float64[2] (elsewhere, tipping countries); style int8 and tips bool by merchant -
    1; tipping bool[countries]; laws as in AuthTimes; cutoff_us, batch_us, jitter_us int64; lag_cum float64[4];
    late_days, second_days int64[2]; bounds float64[3, 2]: tip, fuel, refund shares; first_day int64; day_slot
    int32[countries, days]: business days before a day; business int32[countries, slots]: the day of each."""

    reversal: np.ndarray
    refund: np.ndarray
    recalled: float
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
    """clear_ts, refund_ts, reversal_ts, cleared, refunded, reversed int64[n]; outcome, payment int8; trace int32."""

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


@kernel
def settle_flows(rows, c, rule, currencies, amounts, keys, evidence, o):
    """Clearing, reversal, refund and return of the given rows.

    rows: int64[m]; c: SettleColumns; rule: SettleRule; currencies: CurrencyTables; amounts: AmountRule (endings); o:
    Settled. Draws (keys, evidence): D_BRANCH, 4 a row: 0 reversal or return, 1 refund, 2 shipments or late, 3 tip or
    fuel; D_SETTLE_TIME, 5: 0 lag, 1 jitter, 2 days, 3 reversal or return, 4 refund; D_SETTLE_AMOUNT, 3: 0 tip or
    fuel, 1 full or share, 2 ending of a partial refund.
    """
    ordinal, answered, amounts_due, merchants, series = c.ordinal, c.response_ts, c.amount, c.merchant, c.series
    channels, currency, countries, pins, alerts = c.channel, c.currency, c.country, c.pinned, c.alerted
    settled = c.settled
    p_back, p_refund, p_tip, styles, tips = rule.reversal, rule.refund, rule.tip, rule.style, rule.tips
    tipping = rule.tipping
    laws, lag_cum, late_days, second_days = rule.laws, rule.lag_cum, rule.late_days, rule.second_days
    bounds = rule.bounds
    day_slot, business, ends = rule.day_slot, rule.business, amounts.endings
    unit, off99, off95 = currencies.unit, currencies.off99, currencies.off95
    clear_ts, refund_ts, reversal_ts, cleared, refunded = o.clear_ts, o.refund_ts, o.reversal_ts, o.cleared, o.refunded
    turned, outcome, payment, trace = o.reversed, o.outcome, o.payment, o.trace
    last_day, last_slot = day_slot.shape[1] - 1, business.shape[1] - 1
    for n in range(rows.shape[0]):
        i = rows[n]
        base = ordinal[i]
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
        channel = channels[i]
        bits = trace[i] & KEPT
        trace[i] = bits
        if outcome[i] == pc.AUTH_REVERSED:
            outcome[i] = pc.CASH_DISPENSED if channel == pc.ATM else pc.AUTH_SETTLED
        elif outcome[i] in (pc.TRANSFER_RETURNED, pc.TRANSFER_RECALLED):
            outcome[i] = pc.TRANSFER_COMPLETED
            payment[i] = pc.PAY_ACCEPTED
        amount = amounts_due[i]
        then = answered[i]
        credit = outcome[i] == pc.CREDIT_POSTED
        clear_ts[i] = 0
        cleared[i] = 0
        reversal_ts[i] = 0
        turned[i] = 0
        refund_ts[i] = then if credit else 0
        refunded[i] = amount if credit else 0
        if not settled[i]:
            continue
        if channel == pc.BANK_RAIL:
            if not alerts[i] and u_back < p_back[channel]:
                k = L_RETURN
                trace[i] = bits | pc.T_RETURNED
                reversal_ts[i] = then + law_us(u_back_ts, laws[k, 0], laws[k, 1], laws[k, 2], laws[k, 3])
                turned[i] = amount
                outcome[i] = pc.TRANSFER_RETURNED
                payment[i] = pc.PAY_RETURNED
                if u_back < p_back[channel] * rule.recalled:
                    outcome[i] = pc.TRANSFER_RECALLED
                    payment[i] = pc.PAY_RECALLED
            continue
        if not pins[i] and u_back < p_back[channel]:
            k = L_REVERSAL
            trace[i] = bits | pc.T_REVERSAL
            reversal_ts[i] = then + law_us(u_back_ts, laws[k, 0], laws[k, 1], laws[k, 2], laws[k, 3])
            turned[i] = amount
            outcome[i] = pc.AUTH_REVERSED
            continue
        # What is presented: the requested amount, with a tip, or as pumped.
        row = merchants[i] - 1
        country = countries[i]
        due = amount
        if channel == pc.POS and not pins[i]:
            if tips[row] and u_tip < p_tip[1 if tipping[country] else 0]:
                bits |= pc.T_TIP
                due = amount + half_even(amount * (bounds[0, 0] + u_size * (bounds[0, 1] - bounds[0, 0])))
            elif styles[row] == pc.STYLE_FUEL and u_tip < rule.fuel:
                bits |= pc.T_FUEL
                share = bounds[1, 0] + u_size * (bounds[1, 1] - bounds[1, 0])
                due = max(np.int64(1), half_even(amount * share))
        # When: the next business day's batch after the cutoff, some business days later.
        day = (then + DAY_US - rule.cutoff_us) // DAY_US - rule.first_day
        slot = np.int64(day_slot[country, min(max(day, 0), last_day)])
        slot += pick_cdf(lag_cum, u_lag, 0, lag_cum.shape[0])
        day = np.int64(business[country, min(slot, last_slot)])
        online = channel in (pc.ECOM, pc.HYBRID) and not pins[i]
        if online and series[i] == 0 and due > 1 and u_parts < rule.partial:
            slot += between(u_days, second_days[0], second_days[1])
            later = np.int64(business[country, min(slot, last_slot)])
            bits |= pc.T_SHIPMENTS | ((later - day) << pc.DAYS_SHIFT)
            day = later
        elif not pins[i] and rule.partial <= u_parts < rule.partial + rule.late:
            bits |= pc.T_LATE
            slot += between(u_days, late_days[0], late_days[1])
            day = np.int64(business[country, min(slot, last_slot)])
        clear_ts[i] = day * DAY_US + rule.batch_us + half_even(u_jitter * rule.jitter_us)
        cleared[i] = due
        if not pins[i] and u_refund < p_refund[channel]:
            k = L_REFUND
            bits |= pc.T_REFUND
            refund_ts[i] = clear_ts[i] + law_us(u_refund_ts, laws[k, 0], laws[k, 1], laws[k, 2], laws[k, 3])
            full, rest = split_remap(u_share, rule.full)
            back = due
            if not full:
                share = bounds[2, 0] + rest * (bounds[2, 1] - bounds[2, 0])
                k, cur = styles[row], currency[i]
                part = snap(
                    *(due * share, k, u_end, ends[k, 0], ends[k, 1], ends[k, 2]),
                    *(unit[cur], off99[cur], off95[cur], amounts.round_step),
                )
                back = min(due, part)
                if back < due:
                    bits |= pc.T_PARTIAL_REFUND
            refunded[i] = back
        trace[i] = bits
