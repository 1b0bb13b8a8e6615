"""Codes of S0, and the errors that carry them."""

from __future__ import annotations

from enum import StrEnum

from fraudloom.errors import (
    ConflictError,
    ContractError,
    DataError,
    EnvironmentFault,
    FraudloomError,
    InternalError,
    PolicyError,
    SealError,
)


class Code(StrEnum):
    """Everything that S0 can say; the value is the code that an error shows."""

    UPSTREAM_HASHGATE_MISSING = "S0_UPSTREAM_HASHGATE_MISSING"
    UPSTREAM_HASHGATE_INVALID = "S0_UPSTREAM_HASHGATE_INVALID"
    UPSTREAM_VALIDATION_NONPASS = "S0_UPSTREAM_VALIDATION_NONPASS"
    UPSTREAM_SEALED_INPUTS_MISSING = "S0_UPSTREAM_SEALED_INPUTS_MISSING"
    UPSTREAM_SEALED_INPUTS_INVALID = "S0_UPSTREAM_SEALED_INPUTS_INVALID"
    CONTRACT_SET_INCOMPLETE = "S0_CONTRACT_SET_INCOMPLETE"
    SCHEMA_ANCHOR_UNRESOLVED = "S0_SCHEMA_ANCHOR_UNRESOLVED"
    CONFIG_VALIDATION_FAILED = "S0_CONFIG_VALIDATION_FAILED"
    SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING = "S0_SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING"
    SEALED_INPUTS_SCHEMA_VIOLATION = "S0_SEALED_INPUTS_SCHEMA_VIOLATION"
    SEALED_INPUTS_DIGEST_COMPUTE_FAILED = "S0_SEALED_INPUTS_DIGEST_COMPUTE_FAILED"
    SEALED_INPUTS_DRIFT = "S0_SEALED_INPUTS_DRIFT"
    GATE_RECEIPT_SCHEMA_VIOLATION = "S0_GATE_RECEIPT_SCHEMA_VIOLATION"
    GATE_RECEIPT_WRITE_FAILED = "S0_GATE_RECEIPT_WRITE_FAILED"
    GATE_RECEIPT_IDEMPOTENCE_VIOLATION = "S0_GATE_RECEIPT_IDEMPOTENCE_VIOLATION"
    ARRIVALS_UNREADABLE = "S0_ARRIVALS_UNREADABLE"
    ARRIVALS_DUPLICATE = "S0_ARRIVALS_DUPLICATE"
    ARRIVALS_ORDER = "S0_ARRIVALS_ORDER"
    ARRIVALS_NUMBERING = "S0_ARRIVALS_NUMBERING"
    ARRIVALS_OUT_OF_HORIZON = "S0_ARRIVALS_OUT_OF_HORIZON"
    INTERNAL_ERROR = "S0_INTERNAL_ERROR"


WORLD = "restore the world's files, or build the world again"
RUN = "the world, a policy or a contract changed since; start a new run with --fresh"

#: Errors that are not SealErrors, and what to do about a code.
_KINDS: dict[Code, type[FraudloomError]] = {
    Code.CONTRACT_SET_INCOMPLETE: ContractError,
    Code.SCHEMA_ANCHOR_UNRESOLVED: ContractError,
    Code.CONFIG_VALIDATION_FAILED: PolicyError,
    Code.GATE_RECEIPT_WRITE_FAILED: EnvironmentFault,
    Code.GATE_RECEIPT_IDEMPOTENCE_VIOLATION: ConflictError,
    Code.GATE_RECEIPT_SCHEMA_VIOLATION: InternalError,
    Code.INTERNAL_ERROR: InternalError,
    **{c: DataError for c in Code if c.name.startswith("ARRIVALS_")},
}
_ACTIONS: dict[Code, str] = {
    Code.UPSTREAM_HASHGATE_MISSING: "point --world at a whole world, or build one",
    Code.UPSTREAM_HASHGATE_INVALID: WORLD,
    Code.UPSTREAM_VALIDATION_NONPASS: "build the world again; only a segment that passed may be woven from",
    Code.UPSTREAM_SEALED_INPUTS_MISSING: WORLD,
    Code.UPSTREAM_SEALED_INPUTS_INVALID: WORLD,
    Code.CONTRACT_SET_INCOMPLETE: "run `fraudloom contracts check`, or point --contracts at a complete folder",
    Code.SCHEMA_ANCHOR_UNRESOLVED: "run `fraudloom contracts check` and correct the registry or the schema pack",
    Code.CONFIG_VALIDATION_FAILED: "correct the policy; see `fraudloom policies check`",
    Code.SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING: WORLD,
    Code.SEALED_INPUTS_DRIFT: RUN,
    Code.GATE_RECEIPT_WRITE_FAILED: "free space, or make the run folder writable",
    Code.GATE_RECEIPT_IDEMPOTENCE_VIOLATION: RUN,
    **{c: WORLD for c in Code if c.name.startswith("ARRIVALS_")},
}


def fault(
    code: Code, what: str, where: object = None, found: object = None, expected: object = None, action: str = ""
) -> FraudloomError:
    """The error of a code, with the exit status that belongs to it."""
    kind = _KINDS.get(code, SealError)
    return kind(
        "S0",
        str(code),
        what=what,
        where=where,
        found=found,
        expected=expected,
        action=action or _ACTIONS.get(code, "run again with --debug and report what it says"),
    )
