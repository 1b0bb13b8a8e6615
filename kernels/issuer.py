"""The issuer's one decision per flow, in time order, from observables and history (contracts/laws/s2.md, section 5)."""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import issuer_risk as kr
from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.amounts import half_even
from fraudloom.kernels.flows import D_ISSUER
from fraudloom.kernels.fmath import exp, log, ndtri
from fraudloom.kernels.jit import kernel
from fraudloom.kernels.streams import U_MAX, clamp_open, draw, mix64, uniform

#: Columns of the history of cards, accounts and devices.
CF_HOUR, CF_DAY, CF_DECLINES, CF_GOOD = 0, 1, 2, 3
CI_LAST, CI_SUSPECT, CI_UNTIL, CI_PRESENT, CI_CITY = 0, 1, 2, 3, 4
AF_SPENT, AF_MEAN, AF_GOOD = 0, 1, 2
AI_LAST, AI_SHORT = 0, 1
U64_63 = np.uint64(63)
U64_255 = np.uint64(255)
U64_6 = np.uint64(6)
ONE = np.uint64(1)
ZERO = np.uint64(0)


class Requests(NamedTuple):
    """Flows as the issuer meets them: logit float64[n] (`request_logits`); ordinal, ts, merchant, city, amount_ref,
    issuer int64[n]; channel, entry, exemption, cvv, kind, scheme int8[n]; new_payee, pinned, credit bool[n]; account,
    card, device int64[n]: local indexes of the history; device_id int64[n]; unit float64[cities, 3]."""

    logit: np.ndarray
    ordinal: np.ndarray
    ts: np.ndarray
    merchant: np.ndarray
    city: np.ndarray
    amount_ref: np.ndarray
    issuer: np.ndarray
    channel: np.ndarray
    entry: np.ndarray
    exemption: np.ndarray
    cvv: np.ndarray
    kind: np.ndarray
    scheme: np.ndarray
    new_payee: np.ndarray
    pinned: np.ndarray
    credit: np.ndarray
    account: np.ndarray
    card: np.ndarray
    device: np.ndarray
    device_id: np.ndarray
    unit: np.ndarray


class History(NamedTuple):
    """State: card_f float64[cards, 4], card_i int64[cards, 5], seen uint64[cards, 4] (merchants), account_f
    float64[accounts, 3], account_i int64[accounts, 2], devices uint64[accounts], device_f float64[devices],
    device_i int64[devices]; funds float64[accounts] (reference minor units). Zeros at the start, spent = initial
    share x funds."""

    card_f: np.ndarray
    card_i: np.ndarray
    seen: np.ndarray
    account_f: np.ndarray
    account_i: np.ndarray
    devices: np.ndarray
    device_f: np.ndarray
    device_i: np.ndarray
    funds: np.ndarray


class HistoryRule(NamedTuple):
    """Memories (seconds, float64), counts and speeds of issuer_policy_6B.history; short_us, strikes_us int64."""

    hour_s: float
    day_s: float
    burst_s: float
    decline_s: float
    spend_s: float
    mean_flows: float
    trust: float
    short_us: int
    short_factor: float
    strikes_us: int
    travel_km: float
    slow_kmh: float
    fast_kmh: float


class DecideRule(NamedTuple):
    """coef float64[4, features]; thresholds int64[4, 4] alert, decline, again, block; step float64[5, 6] by channel
    (intercept, large, risk, exempt, regulated, new payee); shares and laws as in issuer_policy_6B; funds, soft
    float64[6]; hazard_cum float64[6, k] with code int8[6, k]; hold float64[2, 4] median, sigma, lo, hi in
    microseconds of score blocks (card, virtual); latency float64[issuers, 5]: median ms, then CDF at lo, at the
    timer, at lo, at the cash timer; outages: start int64 [issuers + 1] into outage int64[m, 3] (from, to, end of the
    trouble after it)."""

    coef: np.ndarray
    thresholds: np.ndarray
    step: np.ndarray
    abandoned: float
    soft_retry: float
    after_share: float
    timeout: float
    floor_ref: int
    approve: float
    outside: float
    retry_share: np.ndarray
    retry_success: np.ndarray
    funds: np.ndarray
    soft: np.ndarray
    hazard_cum: np.ndarray
    hazard_code: np.ndarray
    check_failed: float
    hold: np.ndarray
    lost_share: float
    latency: np.ndarray
    latency_sigma: float
    stand_in_ms: int
    timer_ms: np.ndarray
    outage_start: np.ndarray
    outage: np.ndarray


class Blocks(NamedTuple):
    """Blocks from outside, by (instrument, begin): begin, end int64[b] (us, end exclusive), kind int8[b] (block_state);
    lo, hi int64[cards]: rows [lo, hi) of each local card."""

    begin: np.ndarray
    end: np.ndarray
    kind: np.ndarray
    lo: np.ndarray
    hi: np.ndarray


class Decided(NamedTuple):
    """Columns written by the issuer: score int16; decision, first, response, responder, attempts, step, block,
    three_ds, flow_type, outcome, payment int8; alerted bool; latency_ms, trace int32 (all [n])."""

    score: np.ndarray
    decision: np.ndarray
    first: np.ndarray
    response: np.ndarray
    responder: np.ndarray
    attempts: np.ndarray
    step: np.ndarray
    block: np.ndarray
    three_ds: np.ndarray
    flow_type: np.ndarray
    outcome: np.ndarray
    payment: np.ndarray
    alerted: np.ndarray
    latency_ms: np.ndarray
    trace: np.ndarray


@kernel
def issuer_decide(order, redo, r, h, hrule, rule, blocks, keys, evidence, o):
    """Decide flows in the given order; rows outside `redo` keep their columns and only feed the history.

    order: int64[n], rows by (ts, ordinal); redo: bool[n]; r: Requests; h: History, changed in place; hrule:
    HistoryRule; rule: DecideRule; blocks: Blocks; o: Decided. Draws (keys, evidence): D_ISSUER, 10 per row of redo: 0
    noise, 1 funds, 2 other code, 3 challenge, 4 its result, 5 retry, 6 its result, 7 availability, 8 latency, 9
    block. A row outside redo that began a block reads slot 9 again, unaccounted: it was accounted when the row was
    decided.
    """
    logits, ordinals, stamps, merchants, cities, refs = r.logit, r.ordinal, r.ts, r.merchant, r.city, r.amount_ref
    issuers, channels, entries, exemptions, cvvs, kinds = r.issuer, r.channel, r.entry, r.exemption, r.cvv, r.kind
    schemes = r.scheme
    new_payees, pins, credits_, accounts, cards, devices = r.new_payee, r.pinned, r.credit, r.account, r.card, r.device
    device_ids = r.device_id
    unit = r.unit
    card_f, card_i, seen, account_f, account_i = h.card_f, h.card_i, h.seen, h.account_f, h.account_i
    bound, device_f, device_i, funds = h.devices, h.device_f, h.device_i, h.funds
    coef, thresholds, step_law, retry_share = rule.coef, rule.thresholds, rule.step, rule.retry_share
    retry_success = rule.retry_success
    short_p, soft_p, hazard_cum, hazard_code = rule.funds, rule.soft, rule.hazard_cum, rule.hazard_code
    hold = rule.hold
    latencies, timers, outage_start, outages = rule.latency, rule.timer_ms, rule.outage_start, rule.outage
    begins, ends, held_kind, held_lo, held_hi = blocks.begin, blocks.end, blocks.kind, blocks.lo, blocks.hi
    o_score, o_decision, o_first, o_response, o_responder = o.score, o.decision, o.first, o.response, o.responder
    o_attempts, o_step, o_block, o_tds, o_type = o.attempts, o.step, o.block, o.three_ds, o.flow_type
    o_outcome, o_payment, o_alerted, o_latency, o_trace = o.outcome, o.payment, o.alerted, o.latency_ms, o.trace
    for n in range(order.shape[0]):
        i = order[n]
        base = ordinals[i] * 10
        card, account, device = cards[i], accounts[i], devices[i]
        channel = channels[i]
        g = kr.score_set(channel)
        remote = g in (kr.NOT_PRESENT, kr.RAIL)
        ts = stamps[i]
        ref = refs[i]
        law = kr.replaced_by(kinds[i])
        response, attempts, suspect = np.int64(o_response[i]), np.int64(o_attempts[i]), False
        # What the card, the account and the customer device did before.
        hour, day, declines, spent, device_hour = 0.0, 0.0, 0.0, account_f[account, AF_SPENT], 0.0
        last = card_i[card, CI_LAST]
        if last > 0:
            hour = kr.fade(card_f[card, CF_HOUR], ts - last, hrule.hour_s)
            day = kr.fade(card_f[card, CF_DAY], ts - last, hrule.day_s)
            declines = kr.fade(card_f[card, CF_DECLINES], ts - last, hrule.decline_s)
        if account_i[account, AI_LAST] > 0:
            spent = kr.fade(spent, ts - account_i[account, AI_LAST], hrule.spend_s)
        if remote and device_i[device] > 0:
            device_hour = kr.fade(device_f[device], ts - device_i[device], hrule.hour_s)
        good = account_f[account, AF_GOOD]
        mean = account_f[account, AF_MEAN]
        place = mix64(np.uint64(merchants[i])) & U64_255
        device_bit = ONE << (mix64(np.uint64(device_ids[i])) & U64_63)
        size = log(ref + 100.0)
        if not redo[i]:
            if credits_[i]:
                continue
            suspect = response == pc.RC_59
            if o_trace[i] & pc.T_BLOCKS:
                u_block = uniform(keys[D_ISSUER], base + 9)
                card_i[card, CI_UNTIL] = kr.block_until(
                    ts, u_block, hold[law, 0], hold[law, 1], hold[law, 2], hold[law, 3]
                )
        else:
            u_noise = draw(keys, D_ISSUER, base, evidence)
            u_funds = draw(keys, D_ISSUER, base + 1, evidence)
            u_other = draw(keys, D_ISSUER, base + 2, evidence)
            u_challenge = draw(keys, D_ISSUER, base + 3, evidence)
            u_passed = draw(keys, D_ISSUER, base + 4, evidence)
            u_retry = draw(keys, D_ISSUER, base + 5, evidence)
            u_second = draw(keys, D_ISSUER, base + 6, evidence)
            u_answer = draw(keys, D_ISSUER, base + 7, evidence)
            u_latency = draw(keys, D_ISSUER, base + 8, evidence)
            u_block = draw(keys, D_ISSUER, base + 9, evidence)
            trace = o_trace[i] & pc.T_PLANNED
            step, block, responder, alerted = pc.STEP_NONE, pc.BLOCK_NONE, pc.BY_ISSUER, False
            if credits_[i]:
                o_score[i], o_latency[i], o_attempts[i] = 0, 0, 0
                o_decision[i], o_first[i], o_response[i] = pc.APPROVE, pc.RC_NONE, pc.RC_NONE
                o_responder[i], o_step[i], o_block[i], o_alerted[i] = responder, step, block, alerted
                o_type[i], o_outcome[i] = pc.CARD_CREDIT, pc.CREDIT_POSTED
                o_payment[i], o_trace[i] = pc.PAY_NOT_APPLICABLE, trace
                continue
            # The score.
            x = logits[i] + coef[g, 2] * min(4.0, max(-2.0, size - mean)) * (good / (good + hrule.trust))
            if (seen[card, place >> U64_6] >> (place & U64_63)) & ONE == ZERO:
                x += coef[g, 4] * (card_f[card, CF_GOOD] / (card_f[card, CF_GOOD] + hrule.trust))
            if last > 0:
                x += coef[g, 10] * log(1.0 + hour)
                x += coef[g, 12] * kr.fade(1.0, ts - last, hrule.burst_s)
                x += coef[g, 19] * log(1.0 + declines)
            else:
                x += coef[g, 16]
            x += coef[g, 11] * log(1.0 + (day + ref) / (0.05 * funds[account] + 1.0))
            if remote:
                if bound[account] & device_bit == ZERO:
                    x += coef[g, 5] * (good / (good + hrule.trust))
                x += coef[g, 20] * log(1.0 + device_hour)
            elif card_i[card, CI_PRESENT] > 0:
                a, b = card_i[card, CI_CITY] - 1, cities[i] - 1
                if a != b:
                    gone = ts - card_i[card, CI_PRESENT]
                    x += coef[g, 22] * kr.travel_share(
                        *(unit[a, 0], unit[a, 1], unit[a, 2], unit[b, 0], unit[b, 1], unit[b, 2]),
                        *(gone, hrule.travel_km, hrule.slow_kmh, hrule.fast_kmh),
                    )
            x += coef[g, 1] * ndtri(u_noise)
            score = half_even(999.0 * kr.logistic(x))
            # The issuer's clock.
            cash = 1 if channel == pc.ATM else 0
            issuer = issuers[i] - 1
            low, high = latencies[issuer, 1 + 2 * cash], latencies[issuer, 2 + 2 * cash]
            z = ndtri(clamp_open(low + u_latency * (high - low)))
            latency = half_even(latencies[issuer, 0] * exp(rule.latency_sigma * z))
            # The decision.
            tds = o_tds[i]
            response, first, attempts, decision = pc.RC_00, pc.RC_00, 1, pc.APPROVE
            ready = tds in (pc.TDS_FRICTIONLESS, pc.TDS_CHALLENGED)
            if ready and not pins[i]:
                step = pc.STEP_FRICTIONLESS
            held = -1
            for j in range(held_lo[card], held_hi[card]):
                if held < 0 and begins[j] <= ts < ends[j]:
                    held = j
            if pins[i]:
                pass
            elif held >= 0:
                block = np.int64(held_kind[held])
                response = pc.RC_62
                if block == pc.BLOCK_REPORT:
                    response = pc.RC_41 if u_other < rule.lost_share else pc.RC_43
            elif ts < card_i[card, CI_UNTIL]:
                block = pc.BLOCK_SCORE
                response = pc.RC_62
            elif score >= thresholds[g, 1]:
                response = pc.RC_59
                suspect = True
                soon = card_i[card, CI_SUSPECT] > 0 and ts - card_i[card, CI_SUSPECT] <= hrule.strikes_us
                if score >= thresholds[g, 3] or (soon and score >= thresholds[g, 2]):
                    block = pc.BLOCK_SCORE
                    trace |= pc.T_BLOCKS
                    card_i[card, CI_UNTIL] = kr.block_until(
                        ts, u_block, hold[law, 0], hold[law, 1], hold[law, 2], hold[law, 3]
                    )
            else:
                if ready or channel == pc.BANK_RAIL:
                    y = step_law[channel, 0] + step_law[channel, 1] * log(ref / 10000.0)
                    y += step_law[channel, 2] * (score / 999.0)
                    if exemptions[i] in (pc.EX_LOW_VALUE, pc.EX_TRA, pc.EX_TRUSTED):
                        y += step_law[channel, 3]
                    if exemptions[i] != pc.EX_OUT_OF_SCOPE:
                        y += step_law[channel, 4]
                    if new_payees[i]:
                        y += step_law[channel, 5]
                    if u_challenge < kr.logistic(y):
                        trace |= pc.T_STEP_UP
                        step = pc.STEP_ABANDONED if u_passed < rule.abandoned else pc.STEP_PASSED
                group = kr.decline_group(channel, entries[i], tds)
                state = 0
                for j in range(outage_start[issuer], outage_start[issuer + 1]):
                    if state == 0 and outages[j, 0] <= ts < outages[j, 2]:
                        state = 1 if ts < outages[j, 1] else 2
                late = rule.after_share if state == 2 else rule.timeout
                chance = short_p[group] * kr.squared_pressure(spent + ref, funds[account])
                if ts < account_i[account, AI_SHORT]:
                    chance = chance * hrule.short_factor
                if step == pc.STEP_ABANDONED:
                    response = pc.RC_1A
                    decision = pc.CHALLENGE
                elif state == 1 or u_answer < late:
                    v = u_answer if state == 1 else u_answer / late
                    latency = rule.stand_in_ms
                    if state == 0:
                        latency = timers[cash]
                        trace |= pc.T_TIMED_OUT
                    responder = pc.BY_STAND_IN
                    trace |= pc.T_STAND_IN
                    if v >= (rule.approve if ref <= rule.floor_ref else rule.outside):
                        response = pc.RC_91
                        responder = pc.BY_NETWORK
                elif u_funds < chance:
                    response = pc.RC_51
                else:
                    v = u_other
                    if cvvs[i] == pc.CHECK_NO_MATCH:
                        if v < rule.check_failed:
                            response = pc.RC_N7
                        else:
                            v = min((v - rule.check_failed) / (1.0 - rule.check_failed), U_MAX)
                    if response == pc.RC_00:
                        k = hazard_cum.shape[1]
                        if v < hazard_cum[group, k - 1]:
                            j = 0
                            while v >= hazard_cum[group, j]:
                                j += 1
                            response = np.int64(hazard_code[group, j])
                        elif v < hazard_cum[group, k - 1] + soft_p[group]:
                            trace |= pc.T_SOFT
                            response = pc.RC_65 if schemes[i] == pc.MASTERCARD else pc.RC_1A
                first = response
                # A second attempt: with a challenge after a soft decline, or the same again.
                if trace & pc.T_SOFT:
                    if u_retry < rule.soft_retry:
                        trace |= pc.T_STEP_UP
                        step = pc.STEP_ABANDONED if u_passed < rule.abandoned else pc.STEP_PASSED
                        if step == pc.STEP_PASSED:
                            attempts = 2
                            response = pc.RC_00
                        else:
                            decision = pc.CHALLENGE
                elif step != pc.STEP_PASSED and response in (pc.RC_51, pc.RC_91, pc.RC_96):
                    k = 1 if response == pc.RC_51 else 0
                    if (k == 0 or group != kr.G_MERCHANT_INITIATED) and u_retry < retry_share[k]:
                        attempts = 2
                        trace |= pc.T_RETRY
                        if u_second < retry_success[k]:
                            response = pc.RC_00
                            if trace & pc.T_STAND_IN:
                                latency = half_even(latencies[issuer, 0])
                            responder = pc.BY_ISSUER
            approved = response == pc.RC_00
            if not approved:
                if attempts == 1:
                    first = response
                if decision != pc.CHALLENGE:
                    decision = pc.DECLINE
            elif not pins[i] and score >= thresholds[g, 0]:
                alerted = True
                decision = pc.REVIEW
            if ready:
                o_tds[i] = pc.TDS_CHALLENGED if trace & pc.T_STEP_UP else pc.TDS_FRICTIONLESS
            o_score[i], o_latency[i], o_attempts[i] = score, latency, attempts
            o_decision[i], o_first[i], o_response[i] = decision, first, response
            o_responder[i], o_step[i], o_block[i], o_alerted[i] = responder, step, block, alerted
            o_type[i] = kr.flow_type_of(channel, approved, step)
            o_outcome[i] = kr.outcome_of(channel, approved, decision, alerted)
            o_payment[i], o_trace[i] = kr.payment_of(channel, approved, alerted), trace
        # What later flows will remember.
        approved = response == pc.RC_00
        # What a block answers is no news about the card: it would begin the next block.
        if o_block[i] != pc.BLOCK_NONE and response != pc.RC_59:
            attempts = np.int64(0)
        card_f[card, CF_HOUR] = hour + attempts
        card_f[card, CF_DAY] = day + (ref if approved else 0)
        card_f[card, CF_DECLINES] = declines + (attempts - (1 if approved else 0))
        card_i[card, CI_LAST] = ts
        if suspect:
            card_i[card, CI_SUSPECT] = ts
        if remote:
            device_f[device] = device_hour + 1.0
            device_i[device] = ts
        if response == pc.RC_51:
            account_i[account, AI_SHORT] = ts + hrule.short_us
        if approved:
            card_f[card, CF_GOOD] += 1.0
            seen[card, place >> U64_6] |= ONE << (place & U64_63)
            if remote:
                bound[account] |= device_bit
            else:
                card_i[card, CI_PRESENT] = ts
                card_i[card, CI_CITY] = cities[i]
            account_f[account, AF_SPENT] = spent + ref
            account_i[account, AI_LAST] = ts
            account_f[account, AF_MEAN] = mean + (size - mean) / min(good + 1.0, hrule.mean_flows)
            account_f[account, AF_GOOD] = good + 1.0
