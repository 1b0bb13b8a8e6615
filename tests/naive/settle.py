"""Twins of the kernels of authorisation times and settlement."""

from naive.amounts import snap
from naive.flows import draws
from naive.fmath import exp, ndtri
from naive.payment_codes import (
    ABANDONED,
    ATM,
    AUTH_REVERSED,
    BANK_RAIL,
    BIT_FUEL,
    BIT_GAVE_UP,
    BIT_LATE,
    BIT_PARTIAL,
    BIT_REFUNDED,
    BIT_RETRY,
    BIT_RETURNED,
    BIT_REVERSED,
    BIT_SHIPMENTS,
    BIT_SOFT,
    BIT_TIMED_OUT,
    BIT_TIP,
    CREDIT,
    CREDIT_POSTED,
    DAY,
    ECOM,
    FUEL,
    HYBRID,
    PASSED,
    POS,
    RC,
    RECALLED,
    RETURNED,
    SHIPMENT_DAYS,
    TRANSFER_RECALLED,
    TRANSFER_RETURNED,
    pick,
    plain,
)
from naive.sampling import lognormal_truncated
from naive.streams import clamp_open, split_remap

AUTH_TIME, BRANCH, SETTLEMENT_TIME, SETTLED_AMOUNT = 7, 8, 9, 10
CARDHOLDER, GIVE_UP, UNAVAILABLE, FUNDS, REVERSAL_LAW, RETURN_LAW, REFUND_LAW = range(7)
KEPT_BITS = 255 | BIT_GAVE_UP  # what grouping, decision and times wrote


def leg(law, u):
    """One way through the network."""
    median, sigma, a, b = law
    return round(median * exp(sigma * ndtri(clamp_open(a + u * (b - a)))))


def time_auth(rows, a, t, keys, evidence, sent, response_ts, trace):
    """Row by row."""
    f, law = plain(a), plain(t)

    def after(k, u):
        return round(lognormal_truncated(u, *law.laws[k]))

    for at in rows:
        i = int(at)
        u0, u1, u2, u3 = draws(keys, AUTH_TIME, f.ordinal[i], 4, evidence)
        bits, ts = int(trace[i]) & ~BIT_GAVE_UP, f.ts[i]
        trace[i] = bits
        if f.flow_type[i] == CREDIT:
            sent[i] = response_ts[i] = ts
            continue
        before = 0
        if bits & BIT_RETRY:
            before = after(FUNDS if f.first[i] == RC["51"] else UNAVAILABLE, u3)
            if bits & BIT_TIMED_OUT:
                before += law.timer_us[1 if f.channel[i] == ATM else 0]
        elif f.step[i] == PASSED:
            before = law.step_us + after(CARDHOLDER, u2) + (law.step_us if bits & BIT_SOFT else 0)
        sent[i] = ts + before + leg(law.send, u0)
        response_ts[i] = int(sent[i]) + f.latency_ms[i] * 1000 + leg(law.back, u1)
        if f.step[i] == ABANDONED and not bits & BIT_SOFT:
            given = law.timeout_us
            if u3 >= law.timed_out:
                given = after(GIVE_UP, u2)
                trace[i] = bits | BIT_GAVE_UP
            response_ts[i] = ts + law.step_us + given + leg(law.back, u1)


class Settlement:
    """One approved flow after its authorisation."""

    def __init__(self, c, i, law):
        self.c, self.i, self.law = c, i, law
        self.trace = self.cleared = self.refunded = self.reversed = 0
        self.clear_ts = self.refund_ts = self.reversal_ts = 0
        self.outcome = self.payment = None
        self.free = not c.pinned[i]

    def after(self, k, u):
        """A delay in microseconds."""
        return round(lognormal_truncated(u, *self.law.laws[k]))

    def between(self, k, u):
        """A share within bounds."""
        lo, hi = self.law.bounds[k]
        return lo + u * (hi - lo)

    def run(self, b, t, a, money, endings):
        """Return, reversal, or clearing and refund."""
        c, i, law = self.c, self.i, self.law
        channel, amount, response = c.channel[i], c.amount[i], c.response_ts[i]
        if channel == BANK_RAIL:
            if not c.alerted[i] and b[0] < law.reversal[channel]:
                self.back_out(response + self.after(RETURN_LAW, t[3]), BIT_RETURNED, TRANSFER_RETURNED)
                self.payment = RETURNED
                if b[0] < law.reversal[channel] * law.recalled:
                    self.outcome, self.payment = TRANSFER_RECALLED, RECALLED
            return
        if self.free and b[0] < law.reversal[channel]:
            self.back_out(response + self.after(REVERSAL_LAW, t[3]), BIT_REVERSED, AUTH_REVERSED)
            return
        style = law.style[c.merchant[i] - 1]
        due = self.due(amount, style, b[3], a[0])
        self.clear(due, b[2], t)
        if self.free and b[1] < law.refund[channel]:
            self.trace |= BIT_REFUNDED
            self.refund_ts = self.clear_ts + self.after(REFUND_LAW, t[4])
            full, rest = split_remap(a[1], law.full)
            self.refunded = due
            if not full:
                part = snap(due * self.between(2, rest), style, c.currency[i], a[2], money, endings)
                self.refunded = min(due, part)
                self.trace |= BIT_PARTIAL if self.refunded < due else 0

    def back_out(self, ts, bit, outcome):
        """All comes back before it clears."""
        self.reversal_ts, self.reversed = ts, self.c.amount[self.i]
        self.outcome, self.trace = outcome, bit

    def due(self, amount, style, b3, a0):
        """Tips and pumps change what is cleared."""
        c, i, law = self.c, self.i, self.law
        if c.channel[i] != POS or not self.free:
            return amount
        if law.tips[c.merchant[i] - 1] and b3 < law.tip[1 if law.tipping[c.country[i]] else 0]:
            self.trace |= BIT_TIP
            return amount + round(amount * self.between(0, a0))
        if style == FUEL and b3 < law.fuel:
            self.trace |= BIT_FUEL
            return max(1, round(amount * self.between(1, a0)))
        return amount

    def clear(self, due, b2, t):
        """In one shipment or two, in time or late."""
        c, i, law = self.c, self.i, self.law
        slots, days = law.business[c.country[i]], law.day_slot[c.country[i]]
        day = (c.response_ts[i] + DAY - law.cutoff_us) // DAY
        n = days[day - law.first_day] + pick(law.lag_cum, t[0])

        def day_of(number):
            return slots[min(number, len(slots) - 1)]

        def later(bounds):
            return bounds[0] + int(t[2] * (bounds[1] - bounds[0] + 1))

        last = day_of(n)
        shipped = c.channel[i] in (ECOM, HYBRID) and self.free and c.series[i] == 0 and due > 1
        if shipped and b2 < law.partial:
            last = day_of(n + later(law.second_days))
            self.trace |= BIT_SHIPMENTS | (last - day_of(n)) << SHIPMENT_DAYS
        elif self.free and law.partial <= b2 < law.partial + law.late:
            last = day_of(n + later(law.late_days))
            self.trace |= BIT_LATE
        self.clear_ts = last * DAY + law.batch_us + round(t[1] * law.jitter_us)
        self.cleared = due


def settle_flows(rows, c, rule, currencies, amounts, keys, evidence, o):
    """Row by row; whoever is not settled keeps nothing."""
    f, law, money, endings = plain(c), plain(rule), plain(currencies), plain(amounts)
    names = ("clear_ts", "refund_ts", "reversal_ts", "cleared", "refunded", "reversed")
    for at in rows:
        i = int(at)
        b = draws(keys, BRANCH, f.ordinal[i], 4, evidence)
        t = draws(keys, SETTLEMENT_TIME, f.ordinal[i], 5, evidence)
        a = draws(keys, SETTLED_AMOUNT, f.ordinal[i], 3, evidence)
        s = Settlement(f, i, law)
        if f.settled[i]:
            s.run(b, t, a, money, endings)
        elif int(o.outcome[i]) == CREDIT_POSTED:
            s.refund_ts, s.refunded = f.response_ts[i], f.amount[i]
        for name in names:
            getattr(o, name)[i] = getattr(s, name)
        o.trace[i] = int(o.trace[i]) & KEPT_BITS | s.trace
        if s.outcome is not None:
            o.outcome[i] = s.outcome
        if s.payment is not None:
            o.payment[i] = s.payment
