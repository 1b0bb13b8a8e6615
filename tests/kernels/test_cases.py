"""Every kernel of the table of cases equals its plain-Python twin, bit for bit, whatever the seed and the size."""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import naive
from fraudloom.perf.cases import Case, all_cases
from fraudloom.perf.kernels import load_kernels, measure

KERNELS = load_kernels()
CASES = all_cases()


def _twins() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for info in pkgutil.iter_modules(naive.__path__, "naive."):
        module = importlib.import_module(info.name)
        for name in vars(module):
            if name in KERNELS and getattr(vars(module)[name], "__module__", "") == info.name:
                found[name] = vars(module)[name]
    return found


TWINS = _twins()


def _bytes(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_bytes(v) for v in value)
    return np.asarray(value).tobytes() if isinstance(value, np.ndarray) else value


def _number(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple) else value


def compare(case: Case, rows: int, seed: int) -> None:
    """Run kernel and twin on equal arguments and compare every output byte."""
    fast, slow = case.make(rows, seed), copy.deepcopy(case.make(rows, seed))
    got = KERNELS[case.kernel](*fast)
    expected = TWINS[case.kernel](*slow)
    for position in case.outputs:
        assert _bytes(fast[position]) == _bytes(slow[position]), f"argument {position}, rows={rows}, seed={seed}"
    if case.returns:
        assert _number(got) == _number(expected), f"return value, rows={rows}, seed={seed}"


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.integers(0, 60), seed=st.integers(0, 2**31 - 1))
def test_kernel_equals_twin(name: str, rows: int, seed: int) -> None:
    """Broken: the compiled loop does something else than its contract says, on some input."""
    compare(CASES[name], rows, seed)


def test_every_kernel_has_a_case() -> None:
    """Broken: a kernel is neither compared with its twin by the table nor measured."""
    assert set(CASES) == set(KERNELS)


def test_outputs_are_real() -> None:
    """Broken: a case compares nothing."""
    for case in CASES.values():
        assert case.outputs or case.returns, case.kernel


@pytest.mark.parametrize("name", sorted(CASES))
def test_benchmark_runs(name: str) -> None:
    """Broken: a benchmark would fail only when someone measures."""
    result = measure(CASES[name], KERNELS[name], rounds=1, rows=100)
    assert result["kernel"] == name
    assert result["rows"] == 100
