"""The tables of checks in the law pages, the checks that states make, and the tests that break them are in step."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([A-Z_]+) \| (test_\w+) \|$", re.MULTILINE)


def listed(state: str) -> dict[str, tuple[int, str, str]]:
    """Check to (invariant, code, test) of a law page."""
    rows = ROW.findall((ROOT / f"contracts/laws/{state}.md").read_text("utf-8"))
    assert len({r[1] for r in rows}) == len(rows)
    return {what: (int(number), code, test) for number, what, code, test in rows}


def made(state: str) -> set[str]:
    """Checks that the prover asks for: the texts that it hands to `PROOFS` by name, and those it keeps in `what`."""
    tree = ast.parse((ROOT / f"states/{state}/prove.py").read_text("utf-8"))
    known = importlib.import_module(f"fraudloom.states.{state}.checks").PROOFS.checks
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
            pattern = "".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values)
            fitting = re.escape(pattern).replace("\0", "(flows|events)").replace("\\(flows", "(flows")
            texts |= {what for what in known if re.fullmatch(fitting, what)}
    return texts & set(known)


@pytest.mark.parametrize("state", ["s1", "s2"])
def test_tables_and_checks_agree(state: str) -> None:
    """The law page lists another check, invariant or code than the state's catalogue, or one that nobody makes."""
    checks = importlib.import_module(f"fraudloom.states.{state}.checks").PROOFS.checks
    assert {w: (c.invariant, c.code) for w, c in checks.items()} == {w: r[:2] for w, r in listed(state).items()}
    assert made(state) == set(checks)


@pytest.mark.parametrize(("state", "invariants"), [("s1", 11), ("s2", 8)])
def test_every_invariant_has_a_check(state: str, invariants: int) -> None:
    """An invariant of the state is not checked at all."""
    assert {r[0] for r in listed(state).values()} == set(range(invariants + 1))


@pytest.mark.parametrize("state", ["s1", "s2"])
def test_every_check_has_its_test(state: str) -> None:
    """A listed test does not exist, or does not break the check beside which it stands."""
    module = importlib.import_module(f"{state}.test_prove")
    for what, (_, _, test) in listed(state).items():
        assert callable(getattr(module, test)), test
        assert what in module.COVERS[test], f"{test} does not break: {what}"
