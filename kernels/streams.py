"""Counter-based random streams: draw *i* of a stream is computed from (key, i) alone.

A stream is the output sequence of SplitMix64 seeded with the stream's key (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014); since its state only ever grows by a constant, output *i* (0-based) is
one multiplication and one mix away. All integer work is uint64, modulo 2^64; mixing uint64 with int64 would give
float64, hence the casts.
"""

import numpy as np

from fraudloom.kernels.jit import helper, kernel

GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
ONE = np.uint64(1)
SHIFT_11 = np.uint64(11)
SHIFT_27 = np.uint64(27)
SHIFT_30 = np.uint64(30)
SHIFT_31 = np.uint64(31)

U_SCALE = float.fromhex("0x1p-53")
#: Bounds of every uniform: open at both ends, so quantiles are finite.
U_MIN = float.fromhex("0x1p-54")
U_MAX = float.fromhex("0x1.fffffffffffffp-1")


@helper
def mix64(z):
    """uint64 -> uint64: the finaliser of SplitMix64, a bijection."""
    z = np.uint64(z)
    z = (z ^ (z >> SHIFT_30)) * MIX_1
    z = (z ^ (z >> SHIFT_27)) * MIX_2
    return z ^ (z >> SHIFT_31)


@helper
def draw64(key, i):
    """(uint64 key, int64 i >= 0) -> uint64: output i (0-based) of SplitMix64 seeded with the key."""
    return mix64(np.uint64(key) + (np.uint64(i) + ONE) * GAMMA)


@helper
def uniform(key, i):
    """(uint64 key, int64 i >= 0) -> float64 in (0, 1): ((x >> 11) + 0.5) * 2**-53 of output i.

    From 0.5 on the half is a tie and rounds to even; the one output that would round to 1.0 (probability 2^-53) gives
    the largest double below it, so the interval stays open.
    """
    # Through int64: the value has 53 bits, and a signed conversion is one instruction where an unsigned one is five.
    u = (np.float64(np.int64(draw64(key, i) >> SHIFT_11)) + 0.5) * U_SCALE
    return min(u, U_MAX)


@helper
def draw(keys, d, counter, evidence):
    """One accounted uniform: `uniform(keys[d], counter)`, float64 in (0, 1).

    keys: uint64[decisions]; d: int64, the decision's row; counter: int64 >= 0; evidence: uint64[decisions, 2], whose
    row d grows by one draw (column 0) and by mix64(counter) modulo 2^64 (column 1).
    """
    evidence[d, 0] += ONE
    evidence[d, 1] += mix64(np.uint64(counter))
    return uniform(keys[d], counter)


@helper
def pick_cdf(cum, u, lo, hi):
    """Index drawn from the weights whose cumulative sums are cum[lo:hi], int64 in [lo, hi).

    cum: float64, non-decreasing over [lo, hi) (and from lo - 1 on); u: float64 in (0, 1); lo < hi: int64. With
    base = cum[lo - 1], or 0 when lo == 0, the result is the smallest i in [lo, hi) such that
    cum[i] - base > u * (cum[hi - 1] - base), and hi - 1 when there is none (all weights zero). An entry of weight zero
    is never picked otherwise. Many tables may share one array: each is a window [lo, hi).
    """
    base = 0.0
    if lo > 0:
        base = cum[lo - 1]
    target = u * (cum[hi - 1] - base)
    left = lo
    right = hi - 1
    while left < right:
        middle = (left + right) >> 1
        if cum[middle] - base > target:
            right = middle
        else:
            left = middle + 1
    return left


@helper
def clamp_open(u):
    """float64 -> float64 in [2^-54, 1 - 2^-53], the range of `uniform`."""
    return min(max(u, U_MIN), U_MAX)


@helper
def split_remap(u, p):
    """Spend one uniform on a yes/no choice and keep what is left of it.

    (u in (0, 1), p in [0, 1]: float64) -> (bool, float64): (True, u / p) when u < p, else (False, (u - p) / (1 - p)),
    the second clamped into the range of `uniform`. The remainder is uniform given the branch, on a grid coarser by
    the branch's probability.
    """
    if u < p:
        return True, clamp_open(u / p)
    if p >= 1.0:
        return True, U_MAX
    return False, clamp_open((u - p) / (1.0 - p))


@helper
def pick_remap(cum, u, lo, hi):
    """`pick_cdf` that keeps what is left of the uniform: -> (int64 index, float64 uniform given the index).

    Arguments as for `pick_cdf`. The remainder is (u * total - below) / weight, clamped into the range of `uniform`;
    when the picked entry has weight zero (all are zero) it is u itself.
    """
    i = pick_cdf(cum, u, lo, hi)
    base = 0.0
    if lo > 0:
        base = cum[lo - 1]
    below = 0.0
    if i > lo:
        below = cum[i - 1] - base
    weight = (cum[i] - base) - below
    if weight <= 0.0:
        return i, u
    return i, clamp_open((u * (cum[hi - 1] - base) - below) / weight)


@kernel
def fill_uniforms(key, start, out):
    """out[j] = uniform(key, start + j). key: uint64; start: int64 >= 0; out: float64[n]."""
    for j in range(out.shape[0]):
        out[j] = uniform(key, start + j)
