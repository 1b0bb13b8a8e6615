"""What becomes of a claim: plain Python after contracts/laws/s4.md, used by the twin of `work_flows`."""

from types import SimpleNamespace

from naive.delays import sample_delay
from naive.streams import pick_cdf

ISSUER, MERCHANT, PAYER, SHARED = 1, 2, 3, 4
FRAUD_OPEN, FRAUD_ACCEPTED, FRAUD_REFUSED, SERVICE_OPEN, SERVICE_ACCEPTED, SERVICE_REFUSED = range(1, 7)
UNAUTHORISED, SERVICE_DISPUTE, OTHER = 1, 2, 3
BANK_WIN, BANK_LOSS, PARTIAL = 1, 2, 3
FRAUD, NOT_AS_DESCRIBED, CREDIT, DUPLICATE, CANCELLED = 1, 3, 4, 5, 6
NO_KIND, FIRST_PARTY = 0, 3
CARD, RAIL = 1, 2
L_TRIAGE, L_OWN, L_FILE, L_REPRESENT, L_ARBITRATION, L_DECIDE, L_RECOVERY = range(7, 14)
BY_CUSTOMER, BY_CHARGEBACK = 3, 6


def reason_of(f, claims, u):
    """From the table of the truth class, or fraud; only a series can be cancelled."""
    if f.kind not in (NO_KIND, FIRST_PARTY):
        return FRAUD
    reason = pick_cdf(claims.reasons, u, 0, 7) if f.kind == NO_KIND else pick_cdf(claims.reasons, u, 7, 14) - 7
    return NOT_AS_DESCRIBED if reason == CANCELLED and not f.series else reason


def may_charge_back(f, fraud, disputed, claims):
    """The scheme's right of the issuer."""
    if f.moved != CARD or disputed <= 0:
        return False
    if not fraud:
        return True
    if f.amount_ref < claims.write_off:
        return False
    if claims.absent[f.entry]:
        return bool(claims.no_shift[f.three_ds])
    return bool(claims.fallback[f.entry] or claims.weak_cvm[f.cvm])


def charge_back(f, fraud, triage, disputed, claims, delays, last_us, x):
    """A list of (column, instant) to the first one behind the horizon, and the outcome if none is."""
    kind = 1 if f.kind == FIRST_PARTY else 2 if f.kind == NO_KIND else 0
    lost, partial, fought = (float(v) for v in claims.chances[kind])
    instants = [("chargeback", max(triage, f.clear_ts) + sample_delay(x[0], delays, L_FILE))]
    if x[1] < fought:
        instants.append(("representment", instants[-1][1] + sample_delay(x[2], delays, L_REPRESENT)))
        if x[3] < claims.arbitrate:
            instants.append(("arbitration", instants[-1][1] + sample_delay(x[4], delays, L_ARBITRATION)))
    instants.append(("decision", instants[-1][1] + sample_delay(x[5], delays, L_DECIDE)))
    kept = {name: instant for name, instant in instants if instant <= last_us}
    if "decision" not in kept:
        return kept, None
    if x[1] < lost:
        return kept, (BANK_LOSS, ISSUER, disputed)
    if x[1] < partial:
        return kept, (PARTIAL, SHARED, int(float(disputed) * claims.issuer_share))
    return kept, (BANK_WIN, MERCHANT, 0)


def settle_claim(f, report, confirmed, claims, delays, last_us, work, r, x):
    """A claim from its report to its end.

    `f`: a flow; `work(t, d)`: business hours, cut at the horizon; `r`, `x`: draws of CLAIM and CHARGEBACK. Returns a
    namespace of reason, columns (instants by name), steps, and what it comes to.
    """
    reason = reason_of(f, claims, r[0])
    fraud = reason == FRAUD
    end = SimpleNamespace(reason=reason, type=0, result=0, bearer=0, loss=0, recovered=0, pending=False)
    end.instants, end.steps = {"dispute": report}, []
    disputed = {CARD: max(f.cleared - f.refunded, 0), RAIL: f.amount}.get(f.moved, 0)
    triage = work(report, sample_delay(r[4], delays, L_TRIAGE))
    decided = min(max(report + sample_delay(r[3], delays, L_OWN), triage), last_us)
    if not fraud:
        end.steps.append((report, BY_CUSTOMER, 0, SERVICE_OPEN, -1))
    if r[2] < float(claims.refuse[f.kind]) and not confirmed:
        end.instants["decision"], end.bearer = decided, PAYER
        end.steps.append((decided, BY_CUSTOMER, 0, FRAUD_REFUSED if fraud else SERVICE_REFUSED, PAYER))
        return end
    accepted = FRAUD_ACCEPTED if fraud else SERVICE_ACCEPTED
    if fraud:
        end.steps.append((triage, BY_CUSTOMER, 0, FRAUD_ACCEPTED, -1))
    if disputed > 0:
        end.instants["credit"] = triage
    if may_charge_back(f, fraud, disputed, claims):
        kept, outcome = charge_back(f, fraud, triage, disputed, claims, delays, last_us, x)
        end.instants.update(kept)
        if "chargeback" in kept:
            other = OTHER if reason in (CREDIT, DUPLICATE) else SERVICE_DISPUTE
            end.type = UNAUTHORISED if fraud else other
        if outcome is None:
            end.pending = True
            return end
        end.result, end.bearer, end.loss = outcome
        end.recovered = disputed - end.loss
        end.steps.append((kept["decision"], BY_CHARGEBACK, 0, accepted, end.bearer))
    else:
        if f.moved == RAIL and r[5] < claims.recall:
            end.recovered = int(float(disputed) * (r[5] / claims.recall))
        end.loss = disputed - end.recovered
        end.bearer = ISSUER if end.loss > 0 else 0
        end.instants["decision"] = decided
        end.steps.append((decided, BY_CUSTOMER, 0, accepted, end.bearer))
    if end.recovered > 0:
        back = end.instants["decision"] + sample_delay(r[6], delays, L_RECOVERY)
        if back <= last_us:
            end.instants["recovery"] = back
    return end
