"""Twin of the issuer: one decision after the other, from the request and from what came before."""

import math

from naive.flows import draws
from naive.fmath import exp, log, ndtri
from naive.payment_codes import (
    ABANDONED,
    ACCEPTED,
    APPROVE,
    ATM,
    ATTEMPTED,
    AUTH_ABANDONED,
    AUTH_DECLINED,
    AUTH_SETTLED,
    BANK_RAIL,
    BIT_BLOCKS,
    BIT_GOODWILL,
    BIT_MERGED,
    BIT_RETRY,
    BIT_SOFT,
    BIT_STAND_IN,
    BIT_STEP_UP,
    BIT_TIMED_OUT,
    CARD_VIRTUAL,
    CASH_DISPENSED,
    CHALLENGE,
    CHALLENGED,
    CLEAR,
    CREDIT,
    CREDIT_POSTED,
    DECLINE,
    DECLINED,
    FRICTIONLESS,
    HELD,
    ISSUER,
    LOW_VALUE,
    MASTERCARD,
    MIT,
    NETWORK,
    NO_MATCH,
    OUT_OF_SCOPE,
    PASSED,
    POS,
    RC,
    REJECTED,
    REPORT,
    REVIEW,
    SCORE,
    STAND_IN,
    STEP_FRICTIONLESS,
    STEP_NONE,
    STEPUP_CLEAR,
    TRA,
    TRANSFER,
    TRANSFER_COMPLETED,
    TRANSFER_HELD,
    TRANSFER_REJECTED,
    TRUSTED,
    WALLET_TOKEN,
    WITHDRAWAL,
    coefficients,
    plain,
    score_set,
)
from naive.sampling import lognormal_truncated
from naive.streams import clamp_open, mix64, uniform

DECIDE = 6
HOURLY, DAILY, DECLINES, CARD_GOOD = range(4)
LAST, SUSPECT, UNTIL, PLACE_TS, PLACE_CITY = range(5)
SPENT, MEAN, GOOD = range(3)
APPROVED_TS, SHORT = range(2)
PLANNED_BITS = BIT_MERGED | BIT_GOODWILL
AUTHENTICATED, NOT_AUTHENTICATED, MERCHANT_INITIATED, AT_SHOP, CASH, RAIL = range(6)
UNAVAILABLE, FUNDS = 0, 1
NAMES = [
    "score",
    "decision",
    "first",
    "response",
    "responder",
    "attempts",
    "step",
    "block",
    "three_ds",
    "flow_type",
    "outcome",
    "payment",
    "alerted",
    "latency_ms",
    "trace",
]


def fade(x, dt, seconds):
    """What is left of x after dt microseconds."""
    return x * exp(-(dt / 1e6) / seconds)


class Memory:
    """What card, account and device did before a flow, and what the flow adds."""

    def __init__(self, r, h, law, i):
        self.r, self.h, self.law, self.i = r, h, law, i
        self.ts, self.ref, self.channel = r.ts[i], r.amount_ref[i], r.channel[i]
        self.present = self.channel in (POS, ATM)
        self.card, self.account, self.device = r.card[i], r.account[i], r.device[i]
        kept, marks = [float(x) for x in h.card_f[self.card]], [int(x) for x in h.card_i[self.card]]
        self.last, self.suspect, self.until, self.place_ts, self.place_city = marks
        self.hour = self.day = self.declines = self.device_hour = 0.0
        if self.last:
            dt = self.ts - self.last
            self.hour = fade(kept[HOURLY], dt, law.hour_s)
            self.day = fade(kept[DAILY], dt, law.day_s)
            self.declines = fade(kept[DECLINES], dt, law.decline_s)
        self.card_good = kept[CARD_GOOD]
        self.spent, self.mean, self.good = (float(x) for x in h.account_f[self.account])
        approved, self.short = (int(x) for x in h.account_i[self.account])
        if approved:
            self.spent = fade(self.spent, self.ts - approved, law.spend_s)
        device_last = int(h.device_i[self.device])
        if device_last:
            self.device_hour = fade(float(h.device_f[self.device]), self.ts - device_last, law.hour_s)
        self.funds = float(h.funds[self.account])
        self.size = log(self.ref + 100.0)
        bit = mix64(r.merchant[i]) & 255
        self.merchant_bit = bit >> 6, 1 << (bit & 63)
        self.device_bit = 1 << (mix64(r.device_id[i]) & 63)

    def score(self, u0, sets):
        """Terms 9 to 15, and the score."""
        r, law, i = self.r, self.law, self.i
        c = coefficients(sets[score_set(self.channel)])
        share = self.good / (self.good + law.trust)
        x = r.logit[i] + c["amount_ratio"] * min(4.0, max(-2.0, self.size - self.mean)) * share
        word, bit = self.merchant_bit
        if not int(self.h.seen[self.card][word]) & bit:
            x += c["new_merchant"] * (self.card_good / (self.card_good + law.trust))
        if self.last:
            x += c["hour_velocity"] * log(1.0 + self.hour)
            x += c["burst"] * fade(1.0, self.ts - self.last, law.burst_s)
            x += c["recent_declines"] * log(1.0 + self.declines)
        else:
            x += c["first_use"]
        x += c["day_amount"] * log(1.0 + (self.day + self.ref) / (0.05 * self.funds + 1.0))
        if not self.present:
            if not int(self.h.devices[self.account]) & self.device_bit:
                x += c["new_device"] * share
            x += c["device_velocity"] * log(1.0 + self.device_hour)
        elif self.place_ts and self.place_city != r.city[i]:
            x += c["travel"] * self.travel()
        x += c["noise"] * ndtri(u0)
        return round(999.0 * (1.0 / (1.0 + exp(-x))))

    def travel(self):
        """How impossible the way from the card's last place is."""
        law = self.law
        here, there = self.r.unit[self.r.city[self.i] - 1], self.r.unit[self.place_city - 1]
        dx, dy, dz = (a - b for a, b in zip(here, there, strict=True))
        km = 6371.0 * math.sqrt(dx * dx + dy * dy + dz * dz)
        if km <= law.travel_km:
            return 0.0
        hours = max(0.1, (self.ts - self.place_ts) / 3.6e9)
        return min(1.0, max(0.0, (km / hours - law.slow_kmh) / (law.fast_kmh - law.slow_kmh)))

    def add(self, response, attempts, until, blocked):
        """Into the history."""
        h, i = self.h, self.i
        good = response == RC["00"]
        kept, marks = h.card_f[self.card], h.card_i[self.card]
        if blocked and response != RC["59"]:
            attempts = 0
        kept[HOURLY] = self.hour + attempts
        kept[DAILY] = self.day + (self.ref if good else 0)
        kept[DECLINES] = self.declines + (attempts - (1 if good else 0))
        marks[LAST] = self.ts
        if response == RC["59"]:
            marks[SUSPECT] = self.ts
        if until is not None:
            marks[UNTIL] = until
        if not self.present:
            h.device_f[self.device] = self.device_hour + 1.0
            h.device_i[self.device] = self.ts
        if response == RC["51"]:
            h.account_i[self.account][SHORT] = self.ts + self.law.short_us
        if not good:
            return
        kept[CARD_GOOD] = self.card_good + 1.0
        word, bit = self.merchant_bit
        h.seen[self.card][word] = int(h.seen[self.card][word]) | bit
        if self.present:
            marks[PLACE_TS], marks[PLACE_CITY] = self.ts, self.r.city[i]
        else:
            h.devices[self.account] = int(h.devices[self.account]) | self.device_bit
        h.account_i[self.account][APPROVED_TS] = self.ts
        mean = self.mean + (self.size - self.mean) / min(self.good + 1.0, self.law.mean_flows)
        h.account_f[self.account][:] = [self.spent + self.ref, mean, self.good + 1.0]


def group_of(channel, entry, three_ds):
    """Which probabilities of declines hold."""
    if channel in (POS, ATM, BANK_RAIL):
        return {POS: AT_SHOP, ATM: CASH, BANK_RAIL: RAIL}[channel]
    if entry == MIT:
        return MERCHANT_INITIATED
    return AUTHENTICATED if three_ds in (FRICTIONLESS, CHALLENGED, ATTEMPTED) else NOT_AUTHENTICATED


def outage_state(law, issuer, ts):
    """0 none, 1 outage, 2 the trouble after it."""
    for j in range(law.outage_start[issuer], law.outage_start[issuer + 1]):
        begin, end, over = law.outage[j]
        if begin <= ts < over:
            return 1 if ts < end else 2
    return 0


def block_until(r, i, law, u9):
    """End of a block that the flow begins."""
    virtual = r.kind[i] in (CARD_VIRTUAL, WALLET_TOKEN)
    return r.ts[i] + round(lognormal_truncated(u9, *law.hold[1 if virtual else 0]))


class Decision:
    """One flow before the issuer."""

    def __init__(self, r, i, law, memory, three_ds, u):
        self.r, self.i, self.law, self.m, self.u = r, i, law, memory, u
        self.channel, self.issuer, self.ref = r.channel[i], r.issuer[i] - 1, r.amount_ref[i]
        self.group = group_of(self.channel, r.entry[i], three_ds)
        self.ready = three_ds in (FRICTIONLESS, CHALLENGED)
        self.response = self.first = RC["00"]
        self.attempts, self.decision, self.responder = 1, APPROVE, ISSUER
        self.step = STEP_FRICTIONLESS if self.ready and not r.pinned[i] else STEP_NONE
        self.block = self.trace = 0
        self.until, self.alerted, self.three_ds = None, False, three_ds
        cash = self.channel == ATM
        self.timer = law.timer_ms[1 if cash else 0]
        self.median = law.latency[self.issuer][0]
        low, high = law.latency[self.issuer][3:5] if cash else law.latency[self.issuer][1:3]
        z = ndtri(clamp_open(low + u[8] * (high - low)))
        self.latency = round(self.median * exp(law.latency_sigma * z))

    def decide(self, score, blocks):
        """By the first reason."""
        self.score = score
        law, r, i, u = self.law, self.r, self.i, self.u
        alert, decline, again, block = law.thresholds[score_set(self.channel)]
        if not r.pinned[i]:
            ts = r.ts[i]
            rows = range(blocks.lo[r.card[i]], blocks.hi[r.card[i]])
            held = next((b for b in rows if blocks.begin[b] <= ts < blocks.end[b]), None)
            if held is not None:
                self.block = blocks.kind[held]
                lost = RC["41"] if u[2] < law.lost_share else RC["43"]
                self.response = lost if self.block == REPORT else RC["62"]
            elif ts < self.m.until:
                self.block, self.response = SCORE, RC["62"]
            elif score >= decline:
                self.response = RC["59"]
                struck = self.m.suspect and ts - self.m.suspect <= self.m.law.strikes_us
                if score >= block or (struck and score >= again):
                    self.block, self.trace = SCORE, BIT_BLOCKS
                    self.until = block_until(r, i, law, u[9])
            else:
                self.ask(score)
        if self.attempts == 1:
            self.first = self.response
        if self.response != RC["00"]:
            if self.decision != CHALLENGE:
                self.decision = DECLINE
        elif not r.pinned[i] and score >= alert:
            self.alerted, self.decision = True, REVIEW
        if self.ready:
            self.three_ds = CHALLENGED if self.trace & BIT_STEP_UP else FRICTIONLESS

    def challenged(self, score):
        """Whether the holder is asked."""
        if not (self.ready or self.channel == BANK_RAIL):
            return False
        intercept, large, risk, exempt, regulated, new_payee = self.law.step[self.channel]
        exemption = self.r.exemption[self.i]
        y = intercept + large * log(self.ref / 10000.0)
        y += risk * (score / 999.0)
        if exemption in (LOW_VALUE, TRA, TRUSTED):
            y += exempt
        if exemption != OUT_OF_SCOPE:
            y += regulated
        if self.r.new_payee[self.i]:
            y += new_payee
        return self.u[3] < 1.0 / (1.0 + exp(-y))

    def ask(self, score):
        """Challenge, availability, funds and other reasons; then a second attempt."""
        law, u = self.law, self.u
        if self.challenged(score):
            self.trace |= BIT_STEP_UP
            self.step = ABANDONED if u[4] < law.abandoned else PASSED
        if self.step == ABANDONED:
            self.response, self.decision = RC["1A"], CHALLENGE
            return
        state = outage_state(law, self.issuer, self.r.ts[self.i])
        late = law.after_share if state == 2 else law.timeout
        if state == 1 or u[7] < late:
            self.stand_in(state, late)
        elif self.short_of_funds():
            self.response = RC["51"]
        else:
            self.other_reason()
        self.first = self.response
        if self.trace & BIT_SOFT:
            if u[5] < law.soft_retry:
                self.trace |= BIT_STEP_UP
                if u[4] < law.abandoned:
                    self.step, self.decision = ABANDONED, CHALLENGE
                else:
                    self.step, self.attempts, self.response = PASSED, 2, RC["00"]
        elif self.step != PASSED and self.response in (RC["51"], RC["91"], RC["96"]):
            self.retry()

    def stand_in(self, state, late):
        """The network answers."""
        law, u7 = self.law, self.u[7]
        self.responder, self.latency = STAND_IN, law.stand_in_ms
        self.trace |= BIT_STAND_IN
        if state == 0:
            self.latency = self.timer
            self.trace |= BIT_TIMED_OUT
        v = u7 if state == 1 else u7 / late
        if v >= (law.approve if self.ref <= law.floor_ref else law.outside):
            self.response, self.responder = RC["91"], NETWORK

    def short_of_funds(self):
        """51."""
        x = (self.m.spent + self.ref) / self.m.funds
        q = x / (1.0 + x)
        p = self.law.funds[self.group] * (q * q)
        if self.r.ts[self.i] < self.m.short:
            p *= self.m.law.short_factor
        return self.u[1] < p

    def other_reason(self):
        """One uniform for all other codes."""
        law, v = self.law, self.u[2]
        if self.r.cvv[self.i] == NO_MATCH:
            if v < law.check_failed:
                self.response = RC["N7"]
                return
            v = min((v - law.check_failed) / (1.0 - law.check_failed), 1.0 - 2.0**-53)
        steps = zip(law.hazard_cum[self.group], law.hazard_code[self.group], strict=True)
        code = next((code for share, code in steps if v < share), None)
        if code is not None:
            self.response = code
        elif v < law.hazard_cum[self.group][-1] + law.soft[self.group]:
            self.trace |= BIT_SOFT
            self.response = RC["65"] if self.r.scheme[self.i] == MASTERCARD else RC["1A"]

    def retry(self):
        """The same again, a little later."""
        short = self.response == RC["51"]
        k = FUNDS if short else UNAVAILABLE
        if (short and self.group == MERCHANT_INITIATED) or self.u[5] >= self.law.retry_share[k]:
            return
        self.attempts = 2
        self.trace |= BIT_RETRY
        if self.u[6] < self.law.retry_success[k]:
            if self.trace & BIT_STAND_IN:
                self.latency = round(self.median)
            self.response, self.responder = RC["00"], ISSUER

    def names(self):
        """flow_type, flow_outcome and payment_state."""
        good = self.response == RC["00"]
        if self.channel == ATM:
            return WITHDRAWAL, CASH_DISPENSED if good else AUTH_DECLINED, 0
        abandoned = self.decision == CHALLENGE
        if self.channel == BANK_RAIL:
            outcome = (TRANSFER_HELD if self.alerted else TRANSFER_COMPLETED) if good else TRANSFER_REJECTED
            payment = (HELD if self.alerted else ACCEPTED) if good else REJECTED
            return TRANSFER, AUTH_ABANDONED if abandoned else outcome, payment
        kind = (STEPUP_CLEAR if self.step == PASSED else CLEAR) if good else DECLINED
        outcome = AUTH_SETTLED if good else AUTH_DECLINED
        return kind, AUTH_ABANDONED if abandoned else outcome, 0


def write(o, i, values):
    """One row of the decided columns."""
    for name, value in zip(NAMES, values, strict=True):
        getattr(o, name)[i] = value


def issuer_decide(order, redo, r, h, hrule, rule, blocks, keys, evidence, o):
    """In the order given; every flow but a credit reads and feeds the history."""
    rows, memories, law, walls = plain(r), plain(hrule), plain(rule), plain(blocks)
    for at in order:
        i = int(at)
        u = draws(keys, DECIDE, rows.ordinal[i], 10, evidence) if redo[i] else None
        trace = int(o.trace[i]) & PLANNED_BITS
        if rows.credit[i]:
            if u:
                three_ds = int(o.three_ds[i])
                write(o, i, (0, APPROVE, 0, 0, 0, 0, 0, 0, three_ds, CREDIT, CREDIT_POSTED, 0, False, 0, trace))
            continue
        m = Memory(rows, h, memories, i)
        if u is None:
            blocked = int(o.trace[i]) & BIT_BLOCKS
            until = block_until(rows, i, law, uniform(keys[DECIDE], rows.ordinal[i] * 10 + 9)) if blocked else None
            m.add(int(o.response[i]), int(o.attempts[i]), until, int(o.block[i]) != 0)
            continue
        d = Decision(rows, i, law, m, int(o.three_ds[i]), u)
        d.decide(m.score(u[0], law.coef), walls)
        m.add(d.response, d.attempts, d.until, d.block != 0)
        kind, outcome, payment = d.names()
        first_part = (d.score, d.decision, d.first, d.response, d.responder, d.attempts, d.step, d.block, d.three_ds)
        write(o, i, (*first_part, kind, outcome, payment, d.alerted, d.latency, trace | d.trace))
