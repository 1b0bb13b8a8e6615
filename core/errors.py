"""Errors of fraudloom: one tree, one clear message each.

::

    FraudloomError
    |-- GateError          1   finished, but a gate or a verification failed
    |-- UsageError         2   bad usage
    |-- SealError          2   a seal, an upstream gate or a sealed input is missing or wrong
    |-- PolicyError        2   a policy pack is wrong
    |-- ContractError      2   a contract is wrong
    |-- DataError          2   rows, files or an import map are wrong
    |-- ConflictError      3   locked, or outputs differ from what is published
    |-- EnvironmentFault   4   disk full, no permission
    `-- InternalError     70   a broken invariant of our own

Every error says where it stands (state and code), what was found, what was expected, where, and what to do.
"""

from __future__ import annotations


class FraudloomError(Exception):
    """Base of all errors; `exit_status` is what the command line exits with."""

    exit_status = 70

    def __init__(
        self,
        state: str,
        code: str,
        *,
        what: str,
        found: object = None,
        expected: object = None,
        where: object = None,
        action: str = "",
    ) -> None:
        self.state, self.code, self.what = state, code, what
        self.found, self.expected, self.where, self.action = found, expected, where, action
        super().__init__(self.message())

    def message(self) -> str:
        """The whole message, a line per fact, without a traceback."""
        lines = [f"{self.state} {self.code}: {self.what}"]
        for name, value in (("where", self.where), ("found", self.found), ("expected", self.expected)):
            if value is not None:
                lines.append(f"  {name + ':':<10}{value}")
        if self.action:
            lines.append(f"  {'do:':<10}{self.action}")
        return "\n".join(lines)


class GateError(FraudloomError):
    """The run finished, but a gate or a verification failed."""

    exit_status = 1


class UsageError(FraudloomError):
    """The command line or a call was wrong."""

    exit_status = 2


class SealError(FraudloomError):
    """A seal, an upstream gate or a sealed input is missing or wrong."""

    exit_status = 2


class PolicyError(FraudloomError):
    """A policy pack is wrong."""

    exit_status = 2


class ContractError(FraudloomError):
    """A contract is wrong, or a schema reference does not resolve."""

    exit_status = 2


class DataError(FraudloomError):
    """Rows, files or an import map are wrong."""

    exit_status = 2


class ConflictError(FraudloomError):
    """Another process holds the run, or outputs differ from what is published."""

    exit_status = 3


class EnvironmentFault(FraudloomError):
    """The disk is full, or a permission is missing."""

    exit_status = 4


class InternalError(FraudloomError):
    """A broken invariant of our own."""

    exit_status = 70
