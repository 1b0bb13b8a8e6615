"""The label map: what the bank calls a flow, as a total function of finding, claim and bearer, blind to truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels.signals import (
    BEARER_ISSUER,
    BEARER_SHARED,
    CLAIM_NONE,
    FINDING_CLEARED,
    FINDING_CONFIRMED,
    FINDING_OPEN,
    FRAUD_ACCEPTED,
    FRAUD_OPEN,
    FRAUD_REFUSED,
    LABEL_FRAUD,
    LABEL_LEGIT,
    LABEL_NONE,
    LABEL_REJECTED,
    LABEL_WRITTEN_OFF,
    SERVICE_REFUSED,
)

FINDINGS, CLAIMS, BEARERS = 4, 7, 5


def bank_label(finding: int, claim: int, bearer: int) -> int:
    """Code of bank_label for one combination; the first line that holds wins.

    A claim of fraud that is open counts as accepted (the payer is believed until the issuer decides), and a finding
    that is open as cleared.
    """
    if claim in (FRAUD_OPEN, FRAUD_ACCEPTED):
        return LABEL_WRITTEN_OFF if bearer in (BEARER_ISSUER, BEARER_SHARED) else LABEL_FRAUD
    if finding == FINDING_CONFIRMED:
        return LABEL_FRAUD
    if claim in (FRAUD_REFUSED, SERVICE_REFUSED):
        return LABEL_REJECTED
    if finding in (FINDING_OPEN, FINDING_CLEARED) or claim != CLAIM_NONE:
        return LABEL_LEGIT
    return LABEL_NONE


def label_map() -> np.ndarray[Any, np.dtype[np.int8]]:
    """int8[findings, claims, bearers]: `bank_label` of every combination."""
    out = np.empty((FINDINGS, CLAIMS, BEARERS), dtype=np.int8)
    for finding in range(FINDINGS):
        for claim in range(CLAIMS):
            for bearer in range(BEARERS):
                out[finding, claim, bearer] = bank_label(finding, claim, bearer)
    return out
