"""Twins of the kernels that number ids and score what a request shows."""

from naive.fmath import log
from naive.payment_codes import (
    ANONYMIZER_PROXY,
    ATM,
    CHALLENGED,
    DAY,
    DEVICE,
    FALLBACK,
    FRICTIONLESS,
    HOSTING_DATACENTRE,
    HOUR,
    KEYED,
    NAME_CLOSE,
    NAME_NO_MATCH,
    NO_MATCH,
    PIN,
    POS,
    PUBLIC_SHARED,
    coefficients,
    plain,
    score_set,
)


def local_ids(ids, table, out):
    """Numbers by first appearance, in a dictionary."""
    numbers = {}
    for i, ident in enumerate(ids):
        out[i] = numbers.setdefault(int(ident), len(numbers))
    return len(numbers)


def surge(counts, at, width, usual):
    """How far the hour or day so far is above the usual, on a log scale up to 3."""
    b = at // width
    if not 0 <= b < len(counts):
        return 0.0
    part = (at - b * width) / width
    s = counts[b] * part
    if b > 0:
        s = s + counts[b - 1] * (1.0 - part)
    return min(3.0, max(0.0, log((s + 1.0) / (usual + 1.0))))


def request_logit(r, i, p, sets):
    """Terms 1 to 8."""
    channel, home = r.channel[i], r.issuer_country[i]
    c = coefficients(sets[score_set(channel)])
    x = c["intercept"] + c["large_amount"] * min(4.0, max(-2.0, log(r.amount_ref[i] / 10000.0)))
    if r.merchant_country[i] != home:
        x += c["foreign"]
    ip, at = r.ip[i] - 1, r.ts[i] - p.start_us
    if channel not in (POS, ATM):
        if p.ip_country[ip] != home:
            x += c["ip_foreign"]
        if p.ip_group[ip] == PUBLIC_SHARED:
            x += c["ip_shared"]
        if p.ip_group[ip] in (HOSTING_DATACENTRE, ANONYMIZER_PROXY):
            x += c["ip_hosting"]
    if r.entry[i] in (FALLBACK, KEYED):
        x += c["weak_entry"]
    if r.cvv[i] == NO_MATCH:
        x += c["check_failed"]
    if r.avs[i] == NO_MATCH:
        x += 0.5 * c["check_failed"]
    if r.three_ds[i] in (FRICTIONLESS, CHALLENGED) or r.cvm[i] in (PIN, DEVICE):
        x += c["authenticated"]
    if p.risky[r.merchant[i] - 1]:
        x += c["risky_class"]
    slot = p.merchant_slot[r.merchant[i] - 1]
    if slot >= 0:
        x += c["merchant_surge"] * surge(p.merchant_hours[slot], at, HOUR, p.usual[slot])
    slot = p.ip_slot[ip]
    if slot >= 0:
        x += c["ip_surge"] * surge(p.ip_days[slot], at, DAY, p.per_day)
    if r.new_payee[i]:
        x += c["new_payee"]
    if r.name_check[i] == NAME_NO_MATCH:
        x += c["name_mismatch"]
    if r.name_check[i] == NAME_CLOSE:
        x += 0.4 * c["name_mismatch"]
    if r.payee_country[i] >= 0 and r.payee_country[i] != home:
        x += c["payee_foreign"]
    return x


def request_logits(r, p, coef, out):
    """Row by row."""
    rows, places, sets = plain(r), plain(p), [list(map(float, row)) for row in coef]
    for i in range(len(rows.ts)):
        out[i] = request_logit(rows, i, places, sets)
