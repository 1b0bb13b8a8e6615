"""Codes of payments that twins name: places in the vocabularies of contracts/dictionary/enums.yaml, and bits of S2."""

from types import SimpleNamespace

ECOM, POS, ATM, BANK_RAIL, HYBRID = range(5)
CARD_VIRTUAL, WALLET_TOKEN, WALLET_DEVICE_TOKEN, MASTERCARD = 1, 3, 10, 1
PUBLIC_SHARED, HOSTING_DATACENTRE, ANONYMIZER_PROXY = 2, 3, 4
ONLINE, FUEL, ROUND = 0, 2, 4
CLEAR, DECLINED, STEPUP_CLEAR, TRANSFER, WITHDRAWAL, CREDIT = range(6)
(
    AUTH_SETTLED,
    AUTH_DECLINED,
    AUTH_REVERSED,
    AUTH_ABANDONED,
    CASH_DISPENSED,
    TRANSFER_COMPLETED,
    TRANSFER_HELD,
    TRANSFER_REJECTED,
    TRANSFER_RETURNED,
    TRANSFER_RECALLED,
) = range(10)
CREDIT_POSTED = 10
AUTH_REQUEST, AUTH_RESPONSE, STEP_UP_CHALLENGE, STEP_UP_COMPLETE, CLEARING, REFUND, REVERSAL = range(7)
NO_ENTRY, CHIP, CONTACTLESS, FALLBACK, KEYED, ENTRY_ECOM, COF, MIT = range(8)
NO_METHOD, PIN, SIGNATURE, DEVICE, NO_CVM = range(5)
NOT_APPLICABLE, NOT_USED, FRICTIONLESS, CHALLENGED, ATTEMPTED = range(5)
EX_NONE, LOW_VALUE, TRA, RECURRING, TRUSTED, OUT_OF_SCOPE = range(6)
NOT_PRESENT, MATCH, NO_MATCH = range(3)
NO_TOKEN, DEVICE_TOKEN, NETWORK_TOKEN = range(3)
OWN_ACCOUNT = 5
NAME_MATCH, NAME_CLOSE, NAME_NO_MATCH, NAME_UNAVAILABLE = 1, 2, 3, 4
ACCEPTED, HELD, REJECTED, RETURNED, RECALLED = 1, 2, 3, 4, 5
APPROVE, DECLINE, REVIEW, CHALLENGE = range(4)
ISSUER, STAND_IN, NETWORK = 0, 1, 2
SCORE, REPORT = 1, 2
STEP_NONE, STEP_FRICTIONLESS, PASSED, ABANDONED = range(4)
RESPONSES = [
    "NONE",
    "00",
    "05",
    "14",
    "41",
    "43",
    "51",
    "54",
    "55",
    "59",
    "61",
    "62",
    "65",
    "75",
    "91",
    "96",
    "04",
    "1A",
    "R0",
    "R1",
    "N7",
]
RC = {label: code for code, label in enumerate(RESPONSES)}
FEATURES = [
    "intercept",
    "noise",
    "amount_ratio",
    "large_amount",
    "new_merchant",
    "new_device",
    "foreign",
    "ip_foreign",
    "ip_shared",
    "ip_hosting",
    "hour_velocity",
    "day_amount",
    "burst",
    "weak_entry",
    "check_failed",
    "authenticated",
    "first_use",
    "merchant_surge",
    "ip_surge",
    "recent_declines",
    "device_velocity",
    "risky_class",
    "travel",
    "new_payee",
    "name_mismatch",
    "payee_foreign",
]
(
    BIT_MERGED,
    BIT_GOODWILL,
    BIT_STEP_UP,
    BIT_SOFT,
    BIT_RETRY,
    BIT_STAND_IN,
    BIT_TIMED_OUT,
    BIT_BLOCKS,
    BIT_TIP,
    BIT_FUEL,
    BIT_SHIPMENTS,
    BIT_LATE,
    BIT_REVERSED,
    BIT_REFUNDED,
    BIT_PARTIAL,
    BIT_RETURNED,
    BIT_GAVE_UP,
) = (1 << k for k in range(17))
SHIPMENT_DAYS = 20
DAY, HOUR = 86_400_000_000, 3_600_000_000


def plain(named):
    """Plain-Python copy of named arrays and numbers."""
    values = named._asdict() if hasattr(named, "_asdict") else vars(named)
    return SimpleNamespace(**{k: v.tolist() if hasattr(v, "tolist") else v for k, v in values.items()})


def pick(cum, u):
    """First place whose cumulative weight exceeds u times the last, or the last place."""
    return next((i for i, w in enumerate(cum) if w > u * cum[-1]), len(cum) - 1)


def coefficients(row):
    """Names for a row of coefficients."""
    return dict(zip(FEATURES, row, strict=True))


def score_set(channel):
    """Which coefficients, thresholds: not present, present, cash, rail."""
    return {POS: 1, ATM: 2, BANK_RAIL: 3}.get(channel, 0)
