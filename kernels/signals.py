"""Codes and layouts that the bank kernels share: signal bits, findings, labels, columns, draw slots.

Codes of published vocabularies are fixed by their position in the contract; the plan refuses a contract that differs.
"""

from fraudloom.kernels.jit import helper

# --- signals of a flow: bits of the screen
BLOCK, ALERT, CUSTOMER, NETWORK, SERVICE, COLLATERAL, CANDIDATE = 1, 2, 4, 8, 16, 32, 64

# --- decisions of label_rng_policy_6B, in its order, and draws per row of their domain
D_AMBIGUITY, D_SERVICE, D_BLOCK, D_ALERT, D_NETWORK, D_COLLATERAL, D_CLAIM, D_CHARGEBACK, D_MEMBER, D_CLOSE = range(10)
SLOTS_BLOCK, SLOTS_ALERT, SLOTS_NETWORK, SLOTS_CLAIM, SLOTS_CHARGEBACK = 3, 4, 2, 7, 6
#: Slots of CLAIM, then of CHARGEBACK behind them, as they lie in the scratch of `work_flows`.
U_REASON, U_SERVICE, U_REFUSE, U_OWN, U_TRIAGE, U_RECALL, U_RECOVERY = range(7)
U_FILE, U_OUTCOME, U_REPRESENT, U_ARBITRATE, U_ARBITRATION, U_DECIDE = range(7, 13)

# --- delay laws, in the order of delay_models_6B as compiled
(
    L_ALERT,
    L_TOUCH,
    L_HANDLE,
    L_BLOCK,
    L_NETWORK,
    L_COLLATERAL,
    L_SERVICE,
    L_TRIAGE,
    L_OWN,
    L_FILE,
    L_REPRESENT,
    L_ARBITRATION,
    L_DECIDE,
    L_RECOVERY,
    L_CLOSE,
    L_ATTACH,
) = range(16)

# --- what the label map reads: finding, claim, bearer
FINDING_NONE, FINDING_OPEN, FINDING_CLEARED, FINDING_CONFIRMED = range(4)
CLAIM_NONE, FRAUD_OPEN, FRAUD_ACCEPTED, FRAUD_REFUSED, SERVICE_OPEN, SERVICE_ACCEPTED, SERVICE_REFUSED = range(7)
#: Codes of liability_party.
BEARER_NONE, BEARER_ISSUER, BEARER_MERCHANT, BEARER_CUSTOMER, BEARER_SHARED = range(5)

# --- published codes: bank_label, detection_outcome, report_source, dispute_reason, chargeback_type,
# --- chargeback_outcome, label_status, fraud_class
LABEL_FRAUD, LABEL_LEGIT, LABEL_NONE, LABEL_REJECTED, LABEL_WRITTEN_OFF = range(5)
OUTCOME_NONE, OUTCOME_AT_AUTH, OUTCOME_POST = range(3)
SOURCE_NONE, SOURCE_BLOCK, SOURCE_ALERT, SOURCE_CUSTOMER, SOURCE_NETWORK, SOURCE_ANALYST, SOURCE_CHARGEBACK = range(7)
REASON_NONE, REASON_FRAUD, REASON_NOT_RECEIVED, REASON_NOT_AS_DESCRIBED = range(4)
REASON_CREDIT, REASON_DUPLICATE, REASON_CANCELLED = range(4, 7)
TYPE_NONE, TYPE_UNAUTHORISED, TYPE_SERVICE, TYPE_OTHER = range(4)
RESULT_NONE, RESULT_WIN, RESULT_LOSS, RESULT_PARTIAL = range(4)
STATUS_PROVISIONAL, STATUS_FINAL, STATUS_CENSORED, STATUS_BLOCKED = range(4)
KIND_NONE, KIND_FIRST_PARTY = 0, 3

# --- columns of the bank's working arrays: instants and amounts (int64), codes (int8), steps of the label
T_DETECTION, T_ALERT, T_DISPUTE, T_CHARGEBACK, T_REPRESENTMENT, T_ARBITRATION, T_DECISION = range(7)
T_LOSS, T_RECOVERED, T_AVAILABLE, T_FINAL, T_JOIN, T_REVIEW, T_CREDIT, T_RECOVERY = range(7, 15)
T_WIDTH = 15
C_LABEL, C_DETECTION, C_SOURCE, C_REASON, C_TYPE, C_RESULT, C_BEARER, C_STATUS, C_STEPS = range(9)
C_WIDTH = 9
STEPS = 8


@helper
def add_step(steps, n, ts, source, finding, claim, bearer):
    """Append a step (int64[8, 5]: instant, door, finding or 0, claim or -1, bearer or -1); returns the new count."""
    steps[n, 0] = ts
    steps[n, 1] = source
    steps[n, 2] = finding
    steps[n, 3] = claim
    steps[n, 4] = bearer
    return n + 1
