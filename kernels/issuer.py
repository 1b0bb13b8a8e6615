"""The issuer's one decision per flow, in time order, from observables and history (contracts/laws/s2.md, section 5)."""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.amounts import half_even
from fraudloom.kernels.flows import D_ISSUER
from fraudloom.kernels.fmath import exp, log, ndtri
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.sampling import lognormal_truncated
from fraudloom.kernels.streams import U_MAX, clamp_open, draw, mix64, uniform

#: Score sets, and features in the order of coefficients.
NOT_PRESENT, PRESENT, CASH, RAIL = 0, 1, 2, 3
FEATURES = (
    *("intercept", "noise", "amount_ratio", "large_amount", "new_merchant", "new_device", "foreign", "ip_foreign"),
    *("ip_shared", "ip_hosting", "hour_velocity", "day_amount", "burst", "weak_entry", "check_failed", "authenticated"),
    *("first_use", "merchant_surge", "ip_surge", "recent_declines", "device_velocity", "risky_class", "travel"),
    *("new_payee", "name_mismatch", "payee_foreign"),
)
#: Decline groups: rows of the hazard tables.
G_AUTHENTICATED, G_NOT_AUTHENTICATED, G_MERCHANT_INITIATED, G_PRESENT, G_CASH, G_RAIL = 0, 1, 2, 3, 4, 5
#: Columns of the history of cards, accounts and devices.
CF_HOUR, CF_DAY, CF_DECLINES, CF_GOOD = 0, 1, 2, 3
CI_LAST, CI_SUSPECT, CI_UNTIL, CI_PRESENT, CI_CITY = 0, 1, 2, 3, 4
AF_SPENT, AF_MEAN, AF_GOOD = 0, 1, 2
AI_LAST, AI_SHORT = 0, 1
EARTH_KM = 6371.0
LOG_100 = 4.605170185988092
U64_63 = np.uint64(63)
U64_255 = np.uint64(255)
U64_6 = np.uint64(6)
ONE = np.uint64(1)
#: Free place of a table of ids.
EMPTY = np.int64(-(1 << 63))


class Requests(NamedTuple):
    """Observables of flows: ordinal, ts, merchant, ip, city, amount_ref int64[n]; channel, entry, cvm, exemption, cvv,
    avs, token, kind, scheme, issuer_country, merchant_country, payee_country, name_check int8[n]; issuer int64[n];
    new_payee, pinned, credit bool[n]; account, card, device int64[n]: dense local indexes of the history."""

    ordinal: np.ndarray
    ts: np.ndarray
    merchant: np.ndarray
    ip: np.ndarray
    city: np.ndarray
    amount_ref: np.ndarray
    channel: np.ndarray
    entry: np.ndarray
    cvm: np.ndarray
    exemption: np.ndarray
    cvv: np.ndarray
    avs: np.ndarray
    token: np.ndarray
    kind: np.ndarray
    scheme: np.ndarray
    issuer_country: np.ndarray
    merchant_country: np.ndarray
    payee_country: np.ndarray
    name_check: np.ndarray
    issuer: np.ndarray
    new_payee: np.ndarray
    pinned: np.ndarray
    credit: np.ndarray
    account: np.ndarray
    card: np.ndarray
    device: np.ndarray


class Places(NamedTuple):
    """World and census: ip_group, ip_country int8 by ip - 1; risky bool by merchant - 1; unit float64[cities, 3];
    merchant_slot, ip_slot int32; merchant_hours int32[slots, hours]; ip_days int32[slots, days]; usual float64[slots]
    (arrivals an hour of watched merchants); per_day float64; start_us int64."""

    ip_group: np.ndarray
    ip_country: np.ndarray
    risky: np.ndarray
    unit: np.ndarray
    merchant_slot: np.ndarray
    ip_slot: np.ndarray
    merchant_hours: np.ndarray
    ip_days: np.ndarray
    usual: np.ndarray
    per_day: float
    start_us: int


class History(NamedTuple):
    """State: card_f float64[cards, 4], card_i int64[cards, 5], seen uint64[cards, 4] (merchants), account_f
    float64[accounts, 3], account_i int64[accounts, 2], devices uint64[accounts], device_f float64[devices], device_i
    int64[devices]; funds float64[accounts] (reference minor units). Zeros at the start, spent = initial share x funds."""

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
    """coef float64[4, features]; thresholds int64[4, 4] alert, decline, again, block; step float64[5, 6] by channel (intercept,
    large, risk, exempt, regulated, new payee); shares and laws as in issuer_policy_6B; funds, soft float64[6]; hazard_cum
    float64[6, k] with code int8[6, k]; reissue float64[2, 4] median, sigma, lo, hi in microseconds (card, virtual);
    latency float64[issuers, 5]: median ms, then CDF at lo, at the timer, at lo, at the cash timer; outages: start int64
    [issuers + 1] into outage int64[m, 3] (from, to, end of the trouble after it)."""

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
    reissue: np.ndarray
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
    """Columns written by the issuer: score int16; decision, first, response, responder, attempts, step, block, three_ds,
    flow_type, outcome, payment int8; alerted bool; latency_ms, trace int32 (all [n])."""

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


@helper
def fade(value, elapsed_us, memory_s):
    """What is left of a value after some time: value * exp(-elapsed / memory)."""
    return value * exp(-(elapsed_us / 1e6) / memory_s)


@helper
def surge(counts, slot, at_us, width_us, usual):
    """Log ratio of the census of the last `width` (two neighbouring bins, blended by place in the bin) to its usual
    count, in [0, 3]."""
    b = at_us // width_us
    if b < 0 or b >= counts.shape[1]:
        return 0.0
    part = (at_us - b * width_us) / width_us
    seen = counts[slot, b] * part
    if b > 0:
        seen = seen + counts[slot, b - 1] * (1.0 - part)
    return min(3.0, max(0.0, log((seen + 1.0) / (usual + 1.0))))


@helper
def score_set(channel):
    """Channel code -> score set."""
    if channel == pc.POS:
        return PRESENT
    if channel == pc.ATM:
        return CASH
    if channel == pc.BANK_RAIL:
        return RAIL
    return NOT_PRESENT


@helper
def request_logit(r, i, g, p, c):
    """The part of the logit that the request, the world and the census tell. c: float64[features], the set's row."""
    ref = r.amount_ref[i]
    issuer = r.issuer_country[i]
    x = c[0] + c[3] * min(4.0, max(-2.0, log(ref / 10000.0)))
    if r.merchant_country[i] != issuer:
        x += c[6]
    if g in (NOT_PRESENT, RAIL):
        group = p.ip_group[r.ip[i] - 1]
        if p.ip_country[r.ip[i] - 1] != issuer:
            x += c[7]
        if group == pc.PUBLIC_SHARED:
            x += c[8]
        elif group in (pc.HOSTING_DATACENTRE, pc.ANONYMIZER_PROXY):
            x += c[9]
    if r.entry[i] in (pc.FALLBACK, pc.KEYED):
        x += c[13]
    if r.cvv[i] == pc.CHECK_NO_MATCH:
        x += c[14]
    if r.avs[i] == pc.CHECK_NO_MATCH:
        x += 0.5 * c[14]
    if p.risky[r.merchant[i] - 1]:
        x += c[21]
    at = r.ts[i] - p.start_us
    m = p.merchant_slot[r.merchant[i] - 1]
    if m >= 0:
        x += c[17] * surge(p.merchant_hours, m, at, 3_600_000_000, p.usual[m])
    a = p.ip_slot[r.ip[i] - 1]
    if a >= 0:
        x += c[18] * surge(p.ip_days, a, at, 86_400_000_000, p.per_day)
    if r.new_payee[i]:
        x += c[23]
    if r.name_check[i] == pc.COP_NO_MATCH:
        x += c[24]
    elif r.name_check[i] == pc.COP_CLOSE_MATCH:
        x += 0.4 * c[24]
    if r.payee_country[i] >= 0 and r.payee_country[i] != issuer:
        x += c[25]
    return x


@helper
def history_logit(r, i, g, p, h, rule, c):
    """The part of the logit that earlier flows tell: of the card, the account and the customer device."""
    card, account, device = r.card[i], r.account[i], r.device[i]
    ref = r.amount_ref[i]
    ts = r.ts[i]
    x = 0.0
    good = h.account_f[account, AF_GOOD]
    ratio = log(ref + 100.0) - h.account_f[account, AF_MEAN]
    x += c[2] * min(4.0, max(-2.0, ratio)) * (good / (good + rule.trust))
    own = h.card_f[card, CF_GOOD]
    key = mix64(np.uint64(r.merchant[i])) & U64_255
    if (h.seen[card, key >> U64_6] >> (key & U64_63)) & ONE == np.uint64(0):
        x += c[4] * (own / (own + rule.trust))
    last = h.card_i[card, CI_LAST]
    day = 0.0
    if last > 0:
        gap = ts - last
        x += c[10] * log(1.0 + fade(h.card_f[card, CF_HOUR], gap, rule.hour_s))
        x += c[12] * fade(1.0, gap, rule.burst_s)
        x += c[19] * log(1.0 + fade(h.card_f[card, CF_DECLINES], gap, rule.decline_s))
        day = fade(h.card_f[card, CF_DAY], gap, rule.day_s)
    else:
        x += c[16]
    x += c[11] * log(1.0 + (day + ref) / (0.05 * h.funds[account] + 1.0))
    if g in (NOT_PRESENT, RAIL):
        bit = mix64(np.uint64(device)) & U64_63
        if (h.devices[account] >> bit) & ONE == np.uint64(0):
            x += c[5] * (good / (good + rule.trust))
        if h.device_i[device] > 0:
            x += c[20] * log(1.0 + fade(h.device_f[device], ts - h.device_i[device], rule.hour_s))
    elif h.card_i[card, CI_PRESENT] > 0:
        there, here = h.card_i[card, CI_CITY] - 1, r.city[i] - 1
        dx = p.unit[here, 0] - p.unit[there, 0]
        dy = p.unit[here, 1] - p.unit[there, 1]
        dz = p.unit[here, 2] - p.unit[there, 2]
        km = EARTH_KM * np.sqrt(dx * dx + dy * dy + dz * dz)
        if km > rule.travel_km:
            hours = max(0.1, (ts - h.card_i[card, CI_PRESENT]) / 3.6e9)
            x += c[22] * min(1.0, max(0.0, (km / hours - rule.slow_kmh) / (rule.fast_kmh - rule.slow_kmh)))
    return x


@helper
def learn(r, i, g, h, rule, response, attempts, suspect):
    """Add a decided flow to the history."""
    card, account, device = r.card[i], r.account[i], r.device[i]
    ts = r.ts[i]
    good = response == pc.RC_00
    last = h.card_i[card, CI_LAST]
    gap = ts - last
    hour, day, declines = 0.0, 0.0, 0.0
    if last > 0:
        hour = fade(h.card_f[card, CF_HOUR], gap, rule.hour_s)
        day = fade(h.card_f[card, CF_DAY], gap, rule.day_s)
        declines = fade(h.card_f[card, CF_DECLINES], gap, rule.decline_s)
    h.card_f[card, CF_HOUR] = hour + attempts
    h.card_f[card, CF_DAY] = day + (r.amount_ref[i] if good else 0)
    h.card_f[card, CF_DECLINES] = declines + (attempts - (1 if good else 0))
    h.card_i[card, CI_LAST] = ts
    if suspect:
        h.card_i[card, CI_SUSPECT] = ts
    if g in (NOT_PRESENT, RAIL):
        v = 0.0
        if h.device_i[device] > 0:
            v = fade(h.device_f[device], ts - h.device_i[device], rule.hour_s)
        h.device_f[device] = v + 1.0
        h.device_i[device] = ts
    elif good:
        h.card_i[card, CI_PRESENT] = ts
        h.card_i[card, CI_CITY] = r.city[i]
    if response == pc.RC_51:
        h.account_i[account, AI_SHORT] = ts + rule.short_us
    if not good:
        return
    key = mix64(np.uint64(r.merchant[i])) & U64_255
    h.seen[card, key >> U64_6] |= ONE << (key & U64_63)
    h.card_f[card, CF_GOOD] += 1.0
    if g in (NOT_PRESENT, RAIL):
        h.devices[account] |= ONE << (mix64(np.uint64(device)) & U64_63)
    before = h.account_i[account, AI_LAST]
    spent = h.account_f[account, AF_SPENT]
    if before > 0:
        spent = fade(spent, ts - before, rule.spend_s)
    h.account_f[account, AF_SPENT] = spent + r.amount_ref[i]
    h.account_i[account, AI_LAST] = ts
    n = h.account_f[account, AF_GOOD]
    mean = h.account_f[account, AF_MEAN]
    h.account_f[account, AF_MEAN] = mean + (log(r.amount_ref[i] + 100.0) - mean) / min(n + 1.0, rule.mean_flows)
    h.account_f[account, AF_GOOD] = n + 1.0


@helper
def trouble(rule, issuer, ts):
    """0 when the issuer answers, 1 within an outage, 2 in the time of trouble after one."""
    for j in range(rule.outage_start[issuer - 1], rule.outage_start[issuer]):
        if rule.outage[j, 0] <= ts < rule.outage[j, 1]:
            return 1
        if rule.outage[j, 1] <= ts < rule.outage[j, 2]:
            return 2
    return 0


@helper
def block_until(kind, ts, u, rule):
    """End of a block that begins at ts: physical cards and handles wait for the post, virtual ones for minutes."""
    row = 1 if kind in (pc.CARD_VIRTUAL, pc.WALLET_TOKEN) else 0
    law = rule.reissue[row]
    return ts + half_even(lognormal_truncated(u, law[0], law[1], law[2], law[3]))


@helper
def decline_group(channel, entry, three_ds):
    """Row of the hazard tables."""
    if channel == pc.POS:
        return G_PRESENT
    if channel == pc.ATM:
        return G_CASH
    if channel == pc.BANK_RAIL:
        return G_RAIL
    if entry == pc.MIT:
        return G_MERCHANT_INITIATED
    if three_ds in (pc.TDS_FRICTIONLESS, pc.TDS_CHALLENGED, pc.TDS_ATTEMPTED):
        return G_AUTHENTICATED
    return G_NOT_AUTHENTICATED


@helper
def other_code(r, i, group, u, rule):
    """Code of a decline for another reason, RC_00 for none, RC_1A for a soft one."""
    if r.cvv[i] == pc.CHECK_NO_MATCH:
        if u < rule.check_failed:
            return pc.RC_N7
        u = min((u - rule.check_failed) / (1.0 - rule.check_failed), U_MAX)
    for j in range(rule.hazard_cum.shape[1]):
        if u < rule.hazard_cum[group, j]:
            return np.int64(rule.hazard_code[group, j])
    if u < rule.hazard_cum[group, rule.hazard_cum.shape[1] - 1] + rule.soft[group]:
        return pc.RC_1A
    return pc.RC_00


@helper
def funds_chance(r, i, group, h, hrule, rule):
    """Probability of 51: funds[group] * q * q, q = x / (1 + x), x = (spent + amount) / funds; more when short of late."""
    account = r.account[i]
    spent = h.account_f[account, AF_SPENT]
    if h.account_i[account, AI_LAST] > 0:
        spent = fade(spent, r.ts[i] - h.account_i[account, AI_LAST], hrule.spend_s)
    x = (spent + r.amount_ref[i]) / h.funds[account]
    q = x / (1.0 + x)
    p = rule.funds[group] * q * q
    if r.ts[i] < h.account_i[account, AI_SHORT]:
        p = p * hrule.short_factor
    return p


@helper
def challenge_chance(r, i, score, rule):
    """Probability that the issuer asks for a challenge: logistic of amount, score, exemption, region and payee."""
    law = rule.step[r.channel[i]]
    x = law[0] + law[1] * log(r.amount_ref[i] / 10000.0) + law[2] * (score / 999.0)
    if r.exemption[i] in (pc.EX_LOW_VALUE, pc.EX_TRA, pc.EX_TRUSTED):
        x += law[3]
    if r.exemption[i] != pc.EX_OUT_OF_SCOPE:
        x += law[4]
    if r.new_payee[i]:
        x += law[5]
    return 1.0 / (1.0 + exp(-x))


@helper
def outside_block(b, card, ts):
    """Row of the block from outside that holds at ts on a local card, or -1."""
    for j in range(b.lo[card], b.hi[card]):
        if b.begin[j] <= ts < b.end[j]:
            return j
    return -1


@helper
def close_flow(o, i, channel, response, decision, step, alerted):
    """Flow type, outcome and payment state by channel, response and decision."""
    approved = response == pc.RC_00
    o.payment[i] = pc.PAY_NOT_APPLICABLE
    if channel == pc.ATM:
        o.flow_type[i] = pc.ATM_WITHDRAWAL
        o.outcome[i] = pc.CASH_DISPENSED if approved else pc.AUTH_DECLINED
    elif channel == pc.BANK_RAIL:
        o.flow_type[i] = pc.BANK_TRANSFER
        o.outcome[i] = pc.TRANSFER_REJECTED
        o.payment[i] = pc.PAY_REJECTED
        if decision == pc.CHALLENGE:
            o.outcome[i] = pc.AUTH_ABANDONED
        elif approved:
            o.outcome[i] = pc.TRANSFER_HELD if alerted else pc.TRANSFER_COMPLETED
            o.payment[i] = pc.PAY_HELD if alerted else pc.PAY_ACCEPTED
    elif approved:
        o.flow_type[i] = pc.CARD_AUTH_STEPUP_CLEAR if step == pc.STEP_PASSED else pc.CARD_AUTH_CLEAR
        o.outcome[i] = pc.AUTH_SETTLED
    else:
        o.flow_type[i] = pc.CARD_AUTH_DECLINE
        o.outcome[i] = pc.AUTH_ABANDONED if decision == pc.CHALLENGE else pc.AUTH_DECLINED


@helper
def credit_flow(o, i):
    """A credit asks for no authorisation: posted at once."""
    o.score[i] = 0
    o.decision[i] = pc.APPROVE
    o.first[i] = pc.RC_NONE
    o.response[i] = pc.RC_NONE
    o.responder[i] = pc.BY_ISSUER
    o.attempts[i] = 0
    o.step[i] = pc.STEP_NONE
    o.block[i] = pc.BLOCK_NONE
    o.flow_type[i] = pc.CARD_CREDIT
    o.outcome[i] = pc.CREDIT_POSTED
    o.payment[i] = pc.PAY_NOT_APPLICABLE
    o.alerted[i] = False
    o.latency_ms[i] = 0
    o.trace[i] = o.trace[i] & pc.T_PLANNED


@kernel
def issuer_decide(order, redo, r, places, h, hrule, rule, blocks, keys, evidence, o):
    """Decide flows in the given order; rows outside `redo` keep their columns and only feed the history.

    order: int64[n], rows by (ts, ordinal); redo: bool[n]; r: Requests; places: Places; h: History, changed in place;
    hrule: HistoryRule; rule: DecideRule; blocks: Blocks; o: Decided. Draws: D_ISSUER, 10 per row of redo: 0 noise,
    1 funds, 2 other code, 3 challenge, 4 its result, 5 retry, 6 its result, 7 availability, 8 latency, 9 block.
    A row outside redo that began a block reads slot 9 again, unaccounted: it was accounted when the row was decided.
    """
    for n in range(order.shape[0]):
        i = order[n]
        base = r.ordinal[i] * 10
        card = r.card[i]
        channel = r.channel[i]
        g = score_set(channel)
        if not redo[i]:
            if not r.credit[i]:
                learn(r, i, g, h, hrule, o.response[i], o.attempts[i], o.response[i] == pc.RC_59)
                if o.trace[i] & pc.T_BLOCKS:
                    u = uniform(keys[D_ISSUER], base + 9)
                    h.card_i[card, CI_UNTIL] = block_until(r.kind[i], r.ts[i], u, rule)
            continue
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
        if r.credit[i]:
            credit_flow(o, i)
            continue
        c = rule.coef[g]
        x = request_logit(r, i, g, places, c) + history_logit(r, i, g, places, h, hrule, c)
        tds = o.three_ds[i]
        authenticated = tds in (pc.TDS_FRICTIONLESS, pc.TDS_CHALLENGED) or r.cvm[i] in (pc.PIN, pc.CVM_DEVICE)
        if authenticated:
            x += c[15]
        x += c[1] * ndtri(u_noise)
        score = half_even(999.0 / (1.0 + exp(-x)))
        ts = r.ts[i]
        ref = r.amount_ref[i]
        timer = rule.timer_ms[1 if channel == pc.ATM else 0]
        law = rule.latency[r.issuer[i] - 1]
        cut = 3 if channel == pc.ATM else 1
        z = ndtri(clamp_open(law[cut] + u_latency * (law[cut + 1] - law[cut])))
        latency = half_even(law[0] * exp(rule.latency_sigma * z))
        response, first = pc.RC_00, pc.RC_00
        decision, responder, attempts, step, block = pc.APPROVE, pc.BY_ISSUER, 1, pc.STEP_NONE, pc.BLOCK_NONE
        trace = o.trace[i] & pc.T_PLANNED
        suspect, alerted = False, False
        asks = channel == pc.BANK_RAIL or tds in (pc.TDS_FRICTIONLESS, pc.TDS_CHALLENGED)
        if channel != pc.BANK_RAIL and asks:
            step = pc.STEP_FRICTIONLESS
        held = outside_block(blocks, card, ts)
        if r.pinned[i]:
            step = pc.STEP_NONE
        elif held >= 0:
            block = np.int64(blocks.kind[held])
            response = pc.RC_62
            if block == pc.BLOCK_REPORT:
                response = pc.RC_41 if u_other < rule.lost_share else pc.RC_43
        elif ts < h.card_i[card, CI_UNTIL]:
            block = pc.BLOCK_SCORE
            response = pc.RC_62
        elif score >= rule.thresholds[g, 1]:
            response = pc.RC_59
            suspect = True
            soon = h.card_i[card, CI_SUSPECT] > 0 and ts - h.card_i[card, CI_SUSPECT] <= hrule.strikes_us
            if score >= rule.thresholds[g, 3] or (soon and score >= rule.thresholds[g, 2]):
                block = pc.BLOCK_SCORE
                trace |= pc.T_BLOCKS
                h.card_i[card, CI_UNTIL] = block_until(r.kind[i], ts, u_block, rule)
        else:
            if asks and u_challenge < challenge_chance(r, i, score, rule):
                trace |= pc.T_STEP_UP
                step = pc.STEP_ABANDONED if u_passed < rule.abandoned else pc.STEP_PASSED
            group = decline_group(channel, r.entry[i], tds)
            state = trouble(rule, r.issuer[i], ts)
            late = rule.after_share if state == 2 else rule.timeout
            if step == pc.STEP_ABANDONED:
                response = pc.RC_1A
                decision = pc.CHALLENGE
            elif state == 1 or u_answer < late:
                v = u_answer
                latency = rule.stand_in_ms
                if state != 1:
                    v = u_answer / late
                if state == 0:
                    latency = timer
                    trace |= pc.T_TIMED_OUT
                responder = pc.BY_STAND_IN
                trace |= pc.T_STAND_IN
                if v >= (rule.approve if ref <= rule.floor_ref else rule.outside):
                    response = pc.RC_91
            elif u_funds < funds_chance(r, i, group, h, hrule, rule):
                response = pc.RC_51
            else:
                response = other_code(r, i, group, u_other, rule)
                if response == pc.RC_1A:
                    trace |= pc.T_SOFT
                    if r.scheme[i] == pc.MASTERCARD:
                        response = pc.RC_65
            first = response
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
                kind = 1 if response == pc.RC_51 else 0
                if (kind == 0 or group != G_MERCHANT_INITIATED) and u_retry < rule.retry_share[kind]:
                    attempts = 2
                    trace |= pc.T_RETRY
                    if u_second < rule.retry_success[kind]:
                        response = pc.RC_00
                        if latency == timer or responder == pc.BY_STAND_IN:
                            latency = half_even(law[0])
                        responder = pc.BY_ISSUER
        if response != pc.RC_00:
            if attempts == 1:
                first = response
            if decision != pc.CHALLENGE:
                decision = pc.DECLINE
        elif not r.pinned[i] and score >= rule.thresholds[g, 0]:
            alerted = True
            decision = pc.REVIEW
        if tds == pc.TDS_CHALLENGED or (tds == pc.TDS_FRICTIONLESS and trace & pc.T_STEP_UP):
            o.three_ds[i] = pc.TDS_CHALLENGED if trace & pc.T_STEP_UP else pc.TDS_FRICTIONLESS
        o.score[i] = score
        o.decision[i] = decision
        o.first[i] = first
        o.response[i] = response
        o.responder[i] = responder
        o.attempts[i] = attempts
        o.step[i] = step
        o.block[i] = block
        o.alerted[i] = alerted
        o.latency_ms[i] = latency
        o.trace[i] = trace
        close_flow(o, i, channel, response, decision, step, alerted)
        learn(r, i, g, h, hrule, response, attempts, suspect)


@kernel
def local_ids(ids, table, out):
    """Number ids 0, 1, ... by first appearance; returns how many there are.

    ids: int64[n], any values but the smallest int64; table: int64[power of two >= 2 n, 2] scratch, column 0 filled with
    the smallest int64; out: int64[n]. Open addressing from mix64(id).
    """
    mask = np.uint64(table.shape[0] - 1)
    found = 0
    for i in range(ids.shape[0]):
        slot = np.int64(mix64(np.uint64(ids[i])) & mask)
        while table[slot, 0] != EMPTY and table[slot, 0] != ids[i]:
            slot = np.int64(np.uint64(slot + 1) & mask)
        if table[slot, 0] == EMPTY:
            table[slot, 0] = ids[i]
            table[slot, 1] = found
            found += 1
        out[i] = table[slot, 1]
    return found
