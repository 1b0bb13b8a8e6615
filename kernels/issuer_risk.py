"""What a request, the world and the census tell the issuer, and the scalar laws of its decision.

Helpers take scalars: a tuple of arrays passed on inside a loop costs a reference count per array and call (measured:
four fifths of the time of `issuer_decide`). Law: contracts/laws/s2.md, section 5.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.amounts import half_even
from fraudloom.kernels.fmath import exp, log
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.sampling import lognormal_truncated
from fraudloom.kernels.streams import mix64

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
EARTH_KM = 6371.0
#: Free place of a table of ids.
EMPTY = np.int64(-(1 << 63))


class Observed(NamedTuple):
    """Observables of flows for the score: ts, merchant, ip, amount_ref int64[n]; channel, entry, cvm, three_ds, cvv,
    avs, issuer_country, merchant_country, payee_country (-1 none), name_check int8[n]; new_payee bool[n]."""

    ts: np.ndarray
    merchant: np.ndarray
    ip: np.ndarray
    amount_ref: np.ndarray
    channel: np.ndarray
    entry: np.ndarray
    cvm: np.ndarray
    three_ds: np.ndarray
    cvv: np.ndarray
    avs: np.ndarray
    issuer_country: np.ndarray
    merchant_country: np.ndarray
    payee_country: np.ndarray
    name_check: np.ndarray
    new_payee: np.ndarray


class Places(NamedTuple):
    """World and census: ip_group, ip_country int8 by ip - 1; risky bool by merchant - 1; merchant_slot, ip_slot int32;
    merchant_hours int32[slots, hours]; ip_days int32[slots, days]; usual float64[slots] (arrivals an hour of watched
    merchants); per_day float64; start_us int64."""

    ip_group: np.ndarray
    ip_country: np.ndarray
    risky: np.ndarray
    merchant_slot: np.ndarray
    ip_slot: np.ndarray
    merchant_hours: np.ndarray
    ip_days: np.ndarray
    usual: np.ndarray
    per_day: float
    start_us: int


@helper
def fade(value, elapsed_us, memory_s):
    """What is left of a value after some time: value * exp(-elapsed / memory)."""
    return value * exp(-(elapsed_us / 1e6) / memory_s)


@helper
def surge(counts, slot, at_us, width_us, usual):
    """Log ratio of the census of the last `width` (two neighbouring bins, blended by place in the bin) to its usual
    count, in [0, 3]. counts: int32[slots, bins]."""
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


@kernel
def request_logits(r, p, coef, out):
    """The part of each logit that the request, the world and the census tell.

    r: Observed; p: Places; coef: float64[4, features]; out: float64[n].
    """
    ts, merchant, ip, amount_ref, channel = r.ts, r.merchant, r.ip, r.amount_ref, r.channel
    entry, cvm, tds, cvv, avs = r.entry, r.cvm, r.three_ds, r.cvv, r.avs
    home, abroad, payee_country, name_check = r.issuer_country, r.merchant_country, r.payee_country, r.name_check
    new_payee, ip_group, ip_country, risky = r.new_payee, p.ip_group, p.ip_country, p.risky
    merchant_slot, ip_slot, hours, days, usual = p.merchant_slot, p.ip_slot, p.merchant_hours, p.ip_days, p.usual
    for i in range(ts.shape[0]):
        g = score_set(channel[i])
        issuer = home[i]
        x = coef[g, 0] + coef[g, 3] * min(4.0, max(-2.0, log(amount_ref[i] / 10000.0)))
        if abroad[i] != issuer:
            x += coef[g, 6]
        if g in (NOT_PRESENT, RAIL):
            group = ip_group[ip[i] - 1]
            if ip_country[ip[i] - 1] != issuer:
                x += coef[g, 7]
            if group == pc.PUBLIC_SHARED:
                x += coef[g, 8]
            elif group in (pc.HOSTING_DATACENTRE, pc.ANONYMIZER_PROXY):
                x += coef[g, 9]
        if entry[i] in (pc.FALLBACK, pc.KEYED):
            x += coef[g, 13]
        if cvv[i] == pc.CHECK_NO_MATCH:
            x += coef[g, 14]
        if avs[i] == pc.CHECK_NO_MATCH:
            x += 0.5 * coef[g, 14]
        if tds[i] in (pc.TDS_FRICTIONLESS, pc.TDS_CHALLENGED) or cvm[i] in (pc.PIN, pc.CVM_DEVICE):
            x += coef[g, 15]
        if risky[merchant[i] - 1]:
            x += coef[g, 21]
        at = ts[i] - p.start_us
        m = merchant_slot[merchant[i] - 1]
        if m >= 0:
            x += coef[g, 17] * surge(hours, m, at, 3_600_000_000, usual[m])
        a = ip_slot[ip[i] - 1]
        if a >= 0:
            x += coef[g, 18] * surge(days, a, at, 86_400_000_000, p.per_day)
        if new_payee[i]:
            x += coef[g, 23]
        if name_check[i] == pc.COP_NO_MATCH:
            x += coef[g, 24]
        elif name_check[i] == pc.COP_CLOSE_MATCH:
            x += 0.4 * coef[g, 24]
        if payee_country[i] >= 0 and payee_country[i] != issuer:
            x += coef[g, 25]
        out[i] = x


@helper
def block_until(ts, u, median, sigma, lo, hi):
    """End of a block that begins at ts: a truncated lognormal later (microseconds)."""
    return ts + half_even(lognormal_truncated(u, median, sigma, lo, hi))


@helper
def replaced_by(kind):
    """Row of the reissue laws: 0 for cards and handles that wait for the post, 1 for virtual ones."""
    return 1 if kind in (pc.CARD_VIRTUAL, pc.WALLET_TOKEN) else 0


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
def travel_share(ax, ay, az, bx, by, bz, elapsed_us, least_km, slow_kmh, fast_kmh):
    """How odd it is to be at b so soon after a (unit vectors): 0 up to slow, 1 from fast on, linear between."""
    dx, dy, dz = bx - ax, by - ay, bz - az
    km = EARTH_KM * np.sqrt(dx * dx + dy * dy + dz * dz)
    if km <= least_km:
        return 0.0
    hours = max(0.1, elapsed_us / 3.6e9)
    return min(1.0, max(0.0, (km / hours - slow_kmh) / (fast_kmh - slow_kmh)))


@helper
def squared_pressure(wanted, funds):
    """q * q with q = x / (1 + x) and x = wanted / funds."""
    x = wanted / funds
    q = x / (1.0 + x)
    return q * q


@helper
def logistic(x):
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(-x))


@helper
def flow_type_of(channel, approved, step):
    """Flow type by channel, approval and step-up."""
    if channel == pc.ATM:
        return pc.ATM_WITHDRAWAL
    if channel == pc.BANK_RAIL:
        return pc.BANK_TRANSFER
    if not approved:
        return pc.CARD_AUTH_DECLINE
    return pc.CARD_AUTH_STEPUP_CLEAR if step == pc.STEP_PASSED else pc.CARD_AUTH_CLEAR


@helper
def outcome_of(channel, approved, decision, alerted):
    """Outcome before settlement."""
    if channel == pc.ATM:
        return pc.CASH_DISPENSED if approved else pc.AUTH_DECLINED
    if decision == pc.CHALLENGE:
        return pc.AUTH_ABANDONED
    if channel == pc.BANK_RAIL:
        if not approved:
            return pc.TRANSFER_REJECTED
        return pc.TRANSFER_HELD if alerted else pc.TRANSFER_COMPLETED
    return pc.AUTH_SETTLED if approved else pc.AUTH_DECLINED


@helper
def payment_of(channel, approved, alerted):
    """Payment state before settlement."""
    if channel != pc.BANK_RAIL:
        return pc.PAY_NOT_APPLICABLE
    if not approved:
        return pc.PAY_REJECTED
    return pc.PAY_HELD if alerted else pc.PAY_ACCEPTED


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
