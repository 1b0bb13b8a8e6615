"""Functions and samplers: error bounds against mpmath, bit equality with the twins, and bits without JIT or FMA."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloom.kernels import fmath, sampling, streams
from naive import fmath as naive
from naive import sampling as naive_sampling

UNIT = st.floats(2.0**-54, 1.0 - 2.0**-53)
SHAPES = st.one_of(st.floats(0.05, 20.0), st.floats(0.05, 1e4))
INF = math.inf


def uniforms(n: int, key: int = 1) -> np.ndarray:
    """n fixed uniforms."""
    out = np.empty(n)
    streams.fill_uniforms(np.uint64(key), 0, out)
    return out


def spread(lo: float, hi: float, n: int) -> np.ndarray:
    """n fixed points of [lo, hi], unevenly spaced."""
    return lo + (hi - lo) * uniforms(n, n)


def doubles(n: int) -> np.ndarray:
    """n fixed positive doubles over all exponents, subnormals included."""
    return (uniforms(n, 3) * float(0x7FEFFFFFFFFFFFFF)).astype(np.int64).view(np.float64)


def apply(name: str, *inputs: np.ndarray) -> np.ndarray:
    """An array kernel's output."""
    out = np.empty_like(inputs[-1])
    getattr(fmath, name)(*inputs, out)
    return out


def ulps(points: np.ndarray, found: np.ndarray, exact: Callable[[mpmath.mpf], mpmath.mpf]) -> float:
    """Largest distance from the exact value in units in its last place (of the least subnormal at the bottom)."""
    worst = 0.0
    with mpmath.workprec(140):
        for x, y in zip(points.tolist(), found.tolist(), strict=True):
            true = exact(mpmath.mpf(x))
            unit = math.ulp(float(true))
            worst = max(worst, float(abs(mpmath.mpf(y) - true) / unit))
    return worst


def exact_quantile(u: mpmath.mpf) -> mpmath.mpf:
    """Normal quantile by Newton from the double result, in the tail that keeps precision."""
    x = mpmath.mpf(float(fmath.ndtri(float(u))))
    for _ in range(3):
        miss = mpmath.ncdf(x) - u if x < 0 else (1 - u) - mpmath.ncdf(-x)
        x -= miss / mpmath.npdf(x)
    return x


TAILS = 2.0 ** -np.arange(1.0, 54.0)
SMALL = np.concatenate((TAILS * 0.9, -TAILS * 0.9))
POINTS: dict[str, tuple[np.ndarray, Callable[[mpmath.mpf], mpmath.mpf], float]] = {
    "exp_array": (np.concatenate((spread(-745.0, 709.7, 3000), spread(-1.0, 1.0, 1500), SMALL)), mpmath.exp, 2.0),
    "log_array": (np.concatenate((doubles(3000), spread(0.5, 2.0, 3000), 1.0 + SMALL)), mpmath.log, 2.0),
    "expm1_array": (np.concatenate((spread(-45.0, 45.0, 1500), SMALL)), mpmath.expm1, 4.0),
    "log1p_array": (np.concatenate((spread(-0.999, 3.0, 1500), SMALL)), mpmath.log1p, 4.0),
    "ndtr_array": (np.concatenate((spread(-38.4, 9.0, 2000), spread(-6.0, 6.0, 3000), SMALL)), mpmath.ncdf, 8.0),
    "ndtri_array": (np.concatenate((uniforms(1500), TAILS[1:] * 0.9, 1.0 - TAILS[1:-1] * 0.9)), exact_quantile, 8.0),
}


@pytest.mark.parametrize("name", sorted(POINTS))
def test_error_bound(name: str) -> None:
    """Broken: a function of the design's error table leaves its bound, in ulp of mpmath's value."""
    points, exact, bound = POINTS[name]
    assert ulps(points, apply(name, points), exact) <= bound


def test_edges() -> None:
    """Broken: an edge value is not the limit, and a plan that meets one publishes rubbish."""
    x = np.array([-INF, -1000.0, 0.0, -0.0, 1000.0, INF])
    assert apply("exp_array", x).tolist() == [0.0, 0.0, 1.0, 1.0, INF, INF]
    assert apply("log_array", np.array([0.0, -0.0, 1.0, INF])).tolist() == [-INF, -INF, 0.0, INF]
    assert np.isnan(apply("log_array", np.array([-1.0, -INF, math.nan]))).all()
    assert np.isnan(apply("exp_array", np.array([math.nan]))).all()
    assert apply("ndtr_array", x).tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert apply("ndtri_array", np.array([0.0, 0.5, 1.0])).tolist() == [-INF, 0.0, INF]
    assert apply("expm1_array", x).tolist() == [-1.0, -1.0, 0.0, 0.0, INF, INF]
    assert apply("log1p_array", np.array([-1.0, 0.0, INF])).tolist() == [-INF, 0.0, INF]
    k = np.ones(4)
    assert apply("gamma_cdf_array", k, np.array([-1.0, 0.0, 1e9, INF])).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert apply("gamma_quantile_array", k[:2], np.array([0.0, 1.0])).tolist() == [0.0, INF]


@pytest.mark.parametrize("name", ["exp", "ndtr", "ndtri", "log"])
def test_monotone_on_a_fine_grid(name: str) -> None:
    """Broken: two uniforms in order give values out of order by more than the error bound, at a seam of formulas."""
    seams = {
        "exp": [0.34657, 1.0],
        "ndtr": [-5.65685425, -0.67448975, 0.67448975, 5.65685425],
        "log": [0.70710678, 1.4142],
    }
    for seam in seams.get(name, [0.075, 0.925, math.exp(-25.0)]):
        out = apply(f"{name}_array", np.sort(seam * (1.0 + np.arange(-20_000, 20_000) * 2.0**-40)))
        assert np.diff(out).min() >= -8.0 * np.spacing(np.abs(out).max())


def test_lgamma_bound() -> None:
    """Broken: log Gamma is off by more than 2e-14, and the gamma law with it."""
    x = np.concatenate((10.0 ** spread(-8.0, 6.0, 400), spread(0.5, 20.0, 400)))
    for a, b in zip(x.tolist(), apply("lgamma_array", x).tolist(), strict=True):
        exact = mpmath.loggamma(mpmath.mpf(a))
        assert abs(b - exact) <= 2e-14 * max(1, abs(exact))


GAMMA_SHAPES = [0.05, 0.1, 0.3, 0.4999, 0.5, 0.8, 1.0, 1.5, 2.0, 5.0, 15.99, 16.0, 40.0, 321.0, 1000.0, 4321.0, 1e4]


@pytest.mark.parametrize("k", GAMMA_SHAPES)
def test_gamma_error_bound(k: float) -> None:
    """Broken: the gamma CDF or quantile is off by more than 1e-12 relative at this shape."""
    u = np.concatenate((uniforms(8), [2.0**-54, 1e-9, 0.01, 0.5, 0.75, 0.7500001, 0.99, 1 - 2.0**-20, 1 - 2.0**-53]))
    x = apply("gamma_quantile_array", np.full_like(u, k), u)
    probes = np.concatenate((x, k * np.array([0.5, 0.61, 0.8, 0.95, 1.05, 1.3, 1.0 + min(1.0, 40.0 / math.sqrt(k))])))
    cdf = apply("gamma_cdf_array", np.full_like(probes, k), probes)
    with mpmath.workprec(130):
        shape = mpmath.mpf(k)
        for place, (point, found) in enumerate(zip(probes.tolist(), cdf.tolist(), strict=True)):
            if point < 1e-300 or found < 1e-290:
                continue
            at = mpmath.mpf(point)
            lower = mpmath.gammainc(shape, 0, at, regularized=True)
            assert abs(found / lower - 1) < 1e-12
            if place < len(u):
                # The quantile's relative error is the probability's over x f(x), to first order.
                slope = at**shape * mpmath.exp(-at) / mpmath.gamma(shape)
                assert abs(lower - mpmath.mpf(float(u[place]))) / slope < 1e-12


@settings(max_examples=300)
@given(st.floats(allow_nan=False), UNIT)
def test_functions_equal_the_twins(x: float, u: float) -> None:
    """Broken: a function's bits differ from the same formula in plain Python."""
    one = np.array([x])
    finite = x if math.isfinite(x) else 0.0
    cases: Iterable[tuple[str, np.ndarray]] = [
        *((name, one) for name in ("exp_array", "log_array", "ndtr_array", "expm1_array", "log1p_array")),
        *((name, np.array([u])) for name in ("exp_array", "log_array", "ndtri_array", "lgamma_array", "log1p_array")),
        ("exp_array", np.array([math.fmod(finite, 745.0)])),
        ("ndtr_array", np.array([math.fmod(finite, 38.0)])),
    ]
    for name, values in cases:
        if np.isnan(values).any():
            continue
        expected = np.empty(1)
        getattr(naive, name)(values, expected)
        found = apply(name, values)
        assert found.tobytes() == expected.tobytes() or (np.isnan(found[0]) and np.isnan(expected[0])), (name, values)


@settings(max_examples=120)
@given(SHAPES, UNIT, st.floats(0.0, 3.0))
def test_gamma_equals_the_twin(k: float, u: float, ratio: float) -> None:
    """Broken: the gamma law's bits differ from plain Python, or an iteration bound cuts a sum short."""
    shape, out, expected = np.array([k]), np.empty(1), np.empty(1)
    for name, values in (("gamma_cdf_array", np.array([k * ratio])), ("gamma_quantile_array", np.array([u]))):
        getattr(fmath, name)(shape, values, out)
        getattr(naive, name)(shape, values, expected)
        assert out.tobytes() == expected.tobytes(), (name, values)


POSITIVE = st.floats(1e-3, 1e4)


@given(
    UNIT, POSITIVE, st.floats(0.01, 3.0), st.floats(0.0, 1e4), st.one_of(st.just(INF), POSITIVE), st.floats(0.05, 50.0)
)
def test_continuous_samplers_equal_the_twins(
    u: float, scale: float, sigma: float, lo: float, width: float, k: float
) -> None:
    """Broken: a sampler's bits differ from plain Python, or a draw leaves its bounds."""
    draws = np.array([u])
    cases: list[tuple[str, tuple[float, ...]]] = [
        ("lognormal_array", (scale, sigma)),
        ("exponential_array", (scale,)),
        ("gamma_array", (k, scale)),
    ]
    for name, parameters in cases:
        out, expected = np.empty(1), np.empty(1)
        getattr(sampling, name)(draws, *parameters, lo, lo + width, out)
        getattr(naive_sampling, name)(draws, *parameters, lo, lo + width, expected)
        assert out.tobytes() == expected.tobytes(), name
        assert lo <= out[0] <= lo + width, name


@given(UNIT, st.floats(0.0, 1.0), st.floats(0.0, 30.0), st.integers(1, 60))
def test_counting_samplers_equal_the_twins(u: float, p: float, lam: float, cap: int) -> None:
    """Broken: a count differs from plain Python, or exceeds its cap."""
    draws = np.array([u])
    for name, parameter, least in (("geometric_array", p, 1), ("poisson_array", lam, 0)):
        out, expected = np.empty(1, dtype=np.int64), np.empty(1, dtype=np.int64)
        getattr(sampling, name)(draws, parameter, cap, out)
        getattr(naive_sampling, name)(draws, parameter, cap, expected)
        assert out[0] == expected[0], name
        assert least <= out[0] <= cap, name


def test_truncation_leaves_no_atom() -> None:
    """Broken: truncated laws pile up at a bound, the tell-tale of clipping."""
    u = (np.arange(20_000) + 0.5) / 20_000
    out = np.empty_like(u)
    for name, parameters in (
        ("lognormal_array", (50.0, 1.0)),
        ("exponential_array", (40.0,)),
        ("gamma_array", (2.0, 20.0)),
    ):
        getattr(sampling, name)(u, *parameters, 20.0, 60.0, out)
        assert np.unique(out).size == out.size
        assert 20.0 < out.min() < 20.01
        assert 59.99 < out.max() < 60.0


def test_samplers_have_their_laws() -> None:
    """Broken: a sampler draws from another law than its name says (checked by mean and median)."""
    u = (np.arange(100_000) + 0.5) / 100_000
    out, counts = np.empty_like(u), np.empty(u.size, dtype=np.int64)
    sampling.lognormal_array(u, 50.0, 0.5, 0.0, INF, out)
    assert np.median(out) == pytest.approx(50.0, rel=1e-4)
    assert out.mean() == pytest.approx(50.0 * math.exp(0.125), rel=1e-4)
    sampling.exponential_array(u, 7.0, 0.0, INF, out)
    assert out.mean() == pytest.approx(7.0, rel=1e-4)
    sampling.gamma_array(u, 2.5, 3.0, 0.0, INF, out)
    assert out.mean() == pytest.approx(7.5, rel=1e-4)
    sampling.geometric_array(u, 0.3, 1000, counts)
    assert (np.bincount(counts)[1:5] / u.size).tolist() == pytest.approx([0.3, 0.21, 0.147, 0.1029], abs=2e-5)
    sampling.geometric_array(u, 0.0, 4, counts)
    assert np.bincount(counts).tolist() == [0, 25_000, 25_000, 25_000, 25_000]
    sampling.poisson_array(u, 2.0, 100, counts)
    assert (np.bincount(counts)[:3] / u.size).tolist() == pytest.approx([0.135335, 0.270671, 0.270671], abs=2e-5)


DIGEST_PROGRAM = """
import hashlib, sys
import numpy as np
from numba.core.registry import cpu_target
from fraudloom.kernels import fmath, idmap, sampling, streams
u = np.empty(403)
streams.fill_uniforms(np.uint64(2**64 - 3), 5, u)
digest = hashlib.sha256(u.tobytes())
out = np.empty_like(u)
wide = np.concatenate((np.ldexp(u[:200], (u[200:400] * 2000).astype(int) - 1040), u[400:]))
inputs = [("exp", u * 1450 - 745), ("exp", u), ("log", wide[:203]), ("log", u + 0.5), ("expm1", u * 2 - 1),
          ("log1p", u * 2 - 1), ("ndtr", u * 48 - 38.4), ("ndtri", u), ("lgamma", u * 30)]
for name, x in inputs:
    getattr(fmath, name + "_array")(x, out[: x.size])
    digest.update(out[: x.size].tobytes())
few = u[:40]
for k in (0.07, 0.9, 3.0, 60.0, 700.0):
    shape = np.full(few.size, k)
    fmath.gamma_quantile_array(shape, few, out[: few.size])
    digest.update(out[: few.size].tobytes())
    fmath.gamma_cdf_array(shape, few * 2 * k, out[: few.size])
    digest.update(out[: few.size].tobytes())
sampling.lognormal_array(u, 40.0, 1.1, 5.0, 900.0, out)
digest.update(out.tobytes())
sampling.exponential_array(u, 40.0, 5.0, 900.0, out)
digest.update(out.tobytes())
ids = np.empty(u.size, dtype=np.int64)
idmap.encode_ids(np.uint64(2**64 - 3), np.arange(u.size), ids)
digest.update(ids.tobytes())
sampling.poisson_array(u, 3.0, 50, ids)
digest.update(ids.tobytes())
print(digest.hexdigest(), ",".join(map(str, cpu_target.target_context.codegen().magic_tuple())))
"""


def digest(**environment: str) -> tuple[str, str]:
    """(digest of outputs, target triple, CPU and features) of a fresh process."""
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", DIGEST_PROGRAM]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**kept, **environment})
    assert done.returncode == 0, done.stderr
    found, _, target = done.stdout.strip().partition(" ")
    return found, target


def test_bits_are_the_same_without_jit_and_without_cpu_features() -> None:
    """Broken: published bits depend on the processor, or on whether numba compiles."""
    masked, target = digest(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    assert "generic" in target
    assert not [word for word in ("+fma", "+avx") if word in target]
    default, _ = digest()
    assert masked == default
    plain, _ = digest(NUMBA_DISABLE_JIT="1")
    assert plain == default
