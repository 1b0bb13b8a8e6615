"""Cases of the numeric kernels: streams, ids, elementary functions, samplers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fraudloom.perf.cases import Case

KEY = np.uint64(0x1234_5678_9ABC_DEF1)


def _uniforms(rows: int, seed: int) -> np.ndarray[Any, Any]:
    rng = np.random.Generator(np.random.PCG64(seed))
    return (np.floor(rng.random(rows) * 2.0**53) + 0.5) * 2.0**-53 * (1.0 - 2.0**-52) + 2.0**-54


def _one(values: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Callable[[int, int], tuple[Any, ...]]:
    def make(rows: int, seed: int) -> tuple[Any, ...]:
        return values(_uniforms(rows, seed)), np.empty(rows)

    return make


def _sampler(*parameters: float) -> Callable[[int, int], tuple[Any, ...]]:
    def make(rows: int, seed: int) -> tuple[Any, ...]:
        return (_uniforms(rows, seed), *parameters, np.empty(rows))

    return make


def _ids(rows: int, seed: int) -> tuple[Any, ...]:
    rng = np.random.Generator(np.random.PCG64(seed))
    return KEY, rng.integers(1, 2**63 - 2, rows), np.empty(rows, np.int64)


def _fill(rows: int, seed: int) -> tuple[Any, ...]:
    return KEY, seed, np.empty(rows)


def _gamma(third: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Callable[[int, int], tuple[Any, ...]]:
    def make(rows: int, seed: int) -> tuple[Any, ...]:
        u = _uniforms(rows, seed)
        return 0.1 + 20.0 * _uniforms(rows, seed + 1), third(u), np.empty(rows)

    return make


CASES = (
    Case("fill_uniforms", _fill, (2,), rows=10_000_000),
    Case("encode_ids", _ids, (2,), rows=10_000_000),
    Case("decode_ids", _ids, (2,), rows=10_000_000),
    Case("exp_array", _one(lambda u: 60.0 * (u - 0.5)), (1,), rows=10_000_000),
    Case("expm1_array", _one(lambda u: 4.0 * (u - 0.5)), (1,), rows=10_000_000),
    Case("log_array", _one(lambda u: 100.0 * u), (1,), rows=10_000_000),
    Case("log1p_array", _one(lambda u: u - 0.5), (1,), rows=10_000_000),
    Case("ndtr_array", _one(lambda u: 12.0 * (u - 0.5)), (1,), rows=5_000_000),
    Case("ndtri_array", _one(lambda u: u), (1,), rows=5_000_000),
    Case("lgamma_array", _one(lambda u: 50.0 * u), (1,), rows=2_000_000),
    Case("gamma_cdf_array", _gamma(lambda u: 30.0 * u), (2,), rows=200_000),
    Case("gamma_quantile_array", _gamma(lambda u: u), (2,), rows=200_000),
    Case("lognormal_array", _sampler(30.0, 0.9, 1.0, 500.0), (5,), rows=2_000_000),
    Case("exponential_array", _sampler(30.0, 1.0, 500.0), (4,), rows=2_000_000),
    Case("gamma_array", _sampler(2.0, 1500.0, 60.0, 21600.0), (5,), rows=200_000),
    Case("geometric_array", _sampler(0.55, 50), (3,), rows=2_000_000),
    Case("poisson_array", _sampler(3.5, 100), (3,), rows=1_000_000),
)
