"""Claims: reason, rights, refusal, chargeback with representment and pre-arbitration, recall, who bears the loss.

Law: contracts/laws/s4.md.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.delays import business_add, sample_delay
from fraudloom.kernels.jit import helper
from fraudloom.kernels.signals import (
    BEARER_CUSTOMER,
    BEARER_ISSUER,
    BEARER_MERCHANT,
    BEARER_NONE,
    BEARER_SHARED,
    C_BEARER,
    C_REASON,
    C_RESULT,
    C_TYPE,
    FRAUD_ACCEPTED,
    FRAUD_REFUSED,
    KIND_FIRST_PARTY,
    KIND_NONE,
    L_ARBITRATION,
    L_DECIDE,
    L_FILE,
    L_OWN,
    L_RECOVERY,
    L_REPRESENT,
    L_TRIAGE,
    REASON_CANCELLED,
    REASON_CREDIT,
    REASON_DUPLICATE,
    REASON_FRAUD,
    REASON_NOT_AS_DESCRIBED,
    RESULT_LOSS,
    RESULT_PARTIAL,
    RESULT_WIN,
    SERVICE_ACCEPTED,
    SERVICE_OPEN,
    SERVICE_REFUSED,
    SOURCE_CHARGEBACK,
    SOURCE_CUSTOMER,
    T_ARBITRATION,
    T_CHARGEBACK,
    T_CREDIT,
    T_DECISION,
    T_DISPUTE,
    T_LOSS,
    T_RECOVERED,
    T_RECOVERY,
    T_REPRESENTMENT,
    TYPE_OTHER,
    TYPE_SERVICE,
    TYPE_UNAUTHORISED,
    U_ARBITRATE,
    U_ARBITRATION,
    U_DECIDE,
    U_FILE,
    U_OUTCOME,
    U_OWN,
    U_REASON,
    U_RECALL,
    U_RECOVERY,
    U_REFUSE,
    U_REPRESENT,
    U_TRIAGE,
    add_step,
)
from fraudloom.kernels.streams import pick_cdf


class ClaimRules(NamedTuple):
    """Rules of claims. reasons float64[14]: running sum of weights over dispute_reason, of service claims at 0..6, of
    first-party ones at 7..13; refuse float64[fraud classes]; chances float64[3, 3] by kind of
    chargeback (third party, friendly, service): cumulative p of LOSS, of LOSS or PARTIAL, and p of representment;
    absent, no_shift, fallback, weak_cvm bool by code of entry_mode, three_ds, entry_mode, cvm; arbitrate, recall,
    issuer_share float64; write_off int64 reference minor units."""

    reasons: np.ndarray
    refuse: np.ndarray
    chances: np.ndarray
    absent: np.ndarray
    no_shift: np.ndarray
    fallback: np.ndarray
    weak_cvm: np.ndarray
    arbitrate: float
    recall: float
    issuer_share: float
    write_off: int


@helper
def claim_reason(kind, series, claims, u):
    """What the payer says: dispute_reason of a claim on a flow of truth class `kind`."""
    if kind == KIND_NONE:
        reason = pick_cdf(claims.reasons, u, 0, 7)
    elif kind == KIND_FIRST_PARTY:
        reason = pick_cdf(claims.reasons, u, 7, 14) - 7
    else:
        reason = REASON_FRAUD
    if reason == REASON_CANCELLED and not series:
        reason = REASON_NOT_AS_DESCRIBED
    return np.int64(reason)


@helper
def fraud_right(entry, cvm, three_ds, claims):
    """Whether the issuer may charge a cleared card payment back as fraud."""
    if claims.absent[entry]:
        return claims.no_shift[three_ds]
    return claims.fallback[entry] or claims.weak_cvm[cvm]


@helper
def recover(recovered, decided, rules, claims, u, out, j):
    """Book what comes back, and when, if within the horizon."""
    out.times[j, T_RECOVERED] = recovered
    if recovered > 0:
        at = decided + sample_delay(u, rules.delays, L_RECOVERY)
        if at <= rules.last_us:
            out.times[j, T_RECOVERY] = at


@helper
def charge_back(flows, j, fraud, triage, disputed, rules, claims, u, steps, n, out):
    """A chargeback and its course; what lies behind the horizon is not known. Returns (steps, pending)."""
    filed = max(triage, flows.clear_ts[j]) + sample_delay(u[U_FILE], rules.delays, L_FILE)
    if filed > rules.last_us:
        return n, True
    reason = out.codes[j, C_REASON]
    out.times[j, T_CHARGEBACK] = filed
    if fraud:
        out.codes[j, C_TYPE] = TYPE_UNAUTHORISED
    elif reason in (REASON_CREDIT, REASON_DUPLICATE):
        out.codes[j, C_TYPE] = TYPE_OTHER
    else:
        out.codes[j, C_TYPE] = TYPE_SERVICE
    row = 0
    if flows.kind[j] == KIND_FIRST_PARTY:
        row = 1
    elif flows.kind[j] == KIND_NONE:
        row = 2
    step = filed
    if u[U_OUTCOME] < claims.chances[row, 2]:
        step = step + sample_delay(u[U_REPRESENT], rules.delays, L_REPRESENT)
        if step > rules.last_us:
            return n, True
        out.times[j, T_REPRESENTMENT] = step
        if u[U_ARBITRATE] < claims.arbitrate:
            step = step + sample_delay(u[U_ARBITRATION], rules.delays, L_ARBITRATION)
            if step > rules.last_us:
                return n, True
            out.times[j, T_ARBITRATION] = step
    step = step + sample_delay(u[U_DECIDE], rules.delays, L_DECIDE)
    if step > rules.last_us:
        return n, True
    out.times[j, T_DECISION] = step
    loss = np.int64(0)
    if u[U_OUTCOME] < claims.chances[row, 0]:
        out.codes[j, C_RESULT] = RESULT_LOSS
        bearer = BEARER_ISSUER
        loss = disputed
    elif u[U_OUTCOME] < claims.chances[row, 1]:
        out.codes[j, C_RESULT] = RESULT_PARTIAL
        bearer = BEARER_SHARED
        loss = np.int64(np.float64(disputed) * claims.issuer_share)
    else:
        out.codes[j, C_RESULT] = RESULT_WIN
        bearer = BEARER_MERCHANT
    out.codes[j, C_BEARER] = bearer
    out.times[j, T_LOSS] = loss
    recover(disputed - loss, step, rules, claims, u[U_RECOVERY], out, j)
    claim = FRAUD_ACCEPTED if fraud else SERVICE_ACCEPTED
    return add_step(steps, n, step, SOURCE_CHARGEBACK, 0, claim, bearer), False


@helper
def decide_alone(flows, j, fraud, decided, disputed, rules, claims, u, steps, n, out):
    """An accepted claim without a chargeback: the issuer bears what a recall does not bring back. Returns the steps."""
    recovered = np.int64(0)
    if flows.moved[j] == 2 and u[U_RECALL] < claims.recall:
        recovered = np.int64(np.float64(disputed) * (u[U_RECALL] / claims.recall))
    loss = disputed - recovered
    bearer = BEARER_ISSUER if loss > 0 else BEARER_NONE
    out.times[j, T_DECISION] = decided
    out.times[j, T_LOSS] = loss
    out.codes[j, C_BEARER] = bearer
    recover(recovered, decided, rules, claims, u[U_RECOVERY], out, j)
    claim = FRAUD_ACCEPTED if fraud else SERVICE_ACCEPTED
    return add_step(steps, n, decided, SOURCE_CUSTOMER, 0, claim, bearer)


@helper
def settle_claim(flows, j, report, confirmed, rules, claims, u, steps, n, out):
    """A claim from filing to the end. report int64: when it was filed; confirmed bool: an analyst already called the
    flow fraud; u float64[13]: draws of CLAIM, then of CHARGEBACK. Returns (steps, reason, pending)."""
    reason = claim_reason(flows.kind[j], flows.series[j], claims, u[U_REASON])
    fraud = reason == REASON_FRAUD
    out.times[j, T_DISPUTE] = report
    out.codes[j, C_REASON] = reason
    card = flows.moved[j] == 1
    disputed = np.int64(0)
    if card:
        disputed = max(flows.cleared[j] - flows.refunded[j], 0)
    elif flows.moved[j] == 2:
        disputed = flows.amount[j]
    row = flows.issuer[j] - 1
    lo = rules.window[row, 0]
    hi = rules.window[row, 1]
    spent = sample_delay(u[U_TRIAGE], rules.delays, L_TRIAGE)
    triage = min(business_add(report, spent, rules.opens, rules.closes, lo, hi, rules.stretch), rules.last_us)
    own = report + sample_delay(u[U_OWN], rules.delays, L_OWN)
    decided = min(max(own, triage), rules.last_us)
    if not fraud:
        n = add_step(steps, n, report, SOURCE_CUSTOMER, 0, SERVICE_OPEN, -1)
    if u[U_REFUSE] < claims.refuse[flows.kind[j]] and not confirmed:
        out.times[j, T_DECISION] = decided
        out.codes[j, C_BEARER] = BEARER_CUSTOMER
        claim = FRAUD_REFUSED if fraud else SERVICE_REFUSED
        return add_step(steps, n, decided, SOURCE_CUSTOMER, 0, claim, BEARER_CUSTOMER), reason, False
    if fraud:
        n = add_step(steps, n, triage, SOURCE_CUSTOMER, 0, FRAUD_ACCEPTED, -1)
    if disputed > 0:
        out.times[j, T_CREDIT] = triage
    right = card and disputed > 0
    if fraud:
        right = right and fraud_right(flows.entry[j], flows.cvm[j], flows.three_ds[j], claims)
        right = right and flows.amount_ref[j] >= claims.write_off
    if right:
        n, pending = charge_back(flows, j, fraud, triage, disputed, rules, claims, u, steps, n, out)
        return n, reason, pending
    return decide_alone(flows, j, fraud, decided, disputed, rules, claims, u, steps, n, out), reason, False
