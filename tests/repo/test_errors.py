"""Errors that users can provoke say what to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fraudloom import errors

ROOT = Path(__file__).resolve().parents[2]
#: All but InternalError: a broken invariant of our own, which nobody can mend by other input.
OF_USERS = frozenset(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type)
    and issubclass(kind, errors.FraudloomError)
    and kind not in (errors.FraudloomError, errors.InternalError)
)


def without_action(source: str) -> Iterator[int]:
    """Lines that make an error for users without saying what to do (`**more` may not hold it)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            made = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            told = [k.value for k in node.keywords if k.arg == "action"]
            empty = not told or (isinstance(told[0], ast.Constant) and not str(told[0].value).strip())
            if made in OF_USERS and empty:
                yield node.lineno


def test_errors_for_users_say_what_to_do() -> None:
    """A message that ends with what was found would leave its reader alone."""
    files = [p for room in ("core", "states", "perf") for p in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 100
    bare = [f"{p.relative_to(ROOT)}:{n}" for p in files for n in without_action(p.read_text("utf-8"))]
    assert not bare, "\n".join(bare)


@pytest.mark.parametrize("words", ["", ", action=''", ", **more"])
def test_sweep_finds_what_it_looks_for(words: str) -> None:
    """A sweep that found nothing would let every bare error through."""
    assert list(without_action(f"raise errors.DataError('S1', 'X', what='y'{words})")) == [1]
    assert not list(without_action("DataError('S1', 'X', what='y', action='z')"))
    assert {"UsageError", "PolicyError", "EnvironmentFault"} <= OF_USERS
