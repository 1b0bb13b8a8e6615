"""Keyed bijection between ordinals and published ids, so that ids are unique by construction.

`encode_id` maps ordinals 0 .. 2^63-2 one to one onto ids 1 .. 2^63-1. Underneath is a permutation of [0, 2^63) made of
five rounds of "add a round key, xor with a right shift, multiply by an odd constant", each invertible modulo 2^63; it
is applied to ordinal + 1, and when it lands on 0 it is applied once more (cycle-walking: 0 is not an input, so the
second step cannot land on 0 again unless the permutation fixes 0, and then the first step could not have).

The constants are those of David Stafford's "Better bit mixing" (variants 13 and 4) and SplitMix64. This hides the
ordinal from a reader; it is not encryption.
"""

import numpy as np

from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.streams import GAMMA, mix64

MASK_63 = np.uint64((1 << 63) - 1)
ONE = np.uint64(1)

#: Odd multipliers and their inverses modulo 2^63.
_MULTIPLIERS = (0x3F58476D1CE4E5B9, 0x14D049BB133111EB, 0x62A9D9ED799705F5, 0x4B24D0A5C3B2D2E9, 0x1E3779B97F4A7C15)
M_0, M_1, M_2, M_3, M_4 = (np.uint64(m) for m in _MULTIPLIERS)
I_0, I_1, I_2, I_3, I_4 = (np.uint64(pow(m, -1, 1 << 63)) for m in _MULTIPLIERS)
R_1, R_2, R_3, R_4 = (np.uint64(r) for r in (1, 2, 3, 4))
S_27, S_29, S_30, S_31, S_32, S_54, S_58, S_60, S_62 = (np.uint64(s) for s in (27, 29, 30, 31, 32, 54, 58, 60, 62))


@helper
def permute63(key, x):
    """(uint64 key, uint64 x < 2^63) -> uint64 < 2^63: a permutation of [0, 2^63) for each key."""
    x = (x + mix64(key + GAMMA)) & MASK_63
    x = ((x ^ (x >> S_32)) * M_0) & MASK_63
    x = (x + mix64(key + R_1 * GAMMA + GAMMA)) & MASK_63
    x = ((x ^ (x >> S_29)) * M_1) & MASK_63
    x = (x + mix64(key + R_2 * GAMMA + GAMMA)) & MASK_63
    x = ((x ^ (x >> S_30)) * M_2) & MASK_63
    x = (x + mix64(key + R_3 * GAMMA + GAMMA)) & MASK_63
    x = ((x ^ (x >> S_27)) * M_3) & MASK_63
    x = (x + mix64(key + R_4 * GAMMA + GAMMA)) & MASK_63
    x = ((x ^ (x >> S_31)) * M_4) & MASK_63
    return x ^ (x >> S_32)


@helper
def unpermute63(key, y):
    """(uint64 key, uint64 y < 2^63) -> uint64 < 2^63: the inverse of `permute63`.

    Under xor a right shift by s >= 32 of a 63-bit word is its own inverse; a smaller s needs one more term, at 2 s.
    """
    y = y ^ (y >> S_32)
    y = (y * I_4) & MASK_63
    y = y ^ (y >> S_31) ^ (y >> S_62)
    y = (y - mix64(key + R_4 * GAMMA + GAMMA)) & MASK_63
    y = (y * I_3) & MASK_63
    y = y ^ (y >> S_27) ^ (y >> S_54)
    y = (y - mix64(key + R_3 * GAMMA + GAMMA)) & MASK_63
    y = (y * I_2) & MASK_63
    y = y ^ (y >> S_30) ^ (y >> S_60)
    y = (y - mix64(key + R_2 * GAMMA + GAMMA)) & MASK_63
    y = (y * I_1) & MASK_63
    y = y ^ (y >> S_29) ^ (y >> S_58)
    y = (y - mix64(key + R_1 * GAMMA + GAMMA)) & MASK_63
    y = (y * I_0) & MASK_63
    y = y ^ (y >> S_32)
    return (y - mix64(key + GAMMA)) & MASK_63


@helper
def encode_id(key, ordinal):
    """(uint64 key, int64 ordinal in 0 .. 2^63-2) -> int64 id in 1 .. 2^63-1, one to one. Bounds are not checked."""
    key = np.uint64(key)
    y = permute63(key, np.uint64(ordinal) + ONE)
    if y == np.uint64(0):
        y = permute63(key, np.uint64(0))
    return np.int64(y)


@helper
def decode_id(key, ident):
    """(uint64 key, int64 ident in 1 .. 2^63-1) -> int64 ordinal in 0 .. 2^63-2: the inverse of `encode_id`."""
    key = np.uint64(key)
    x = unpermute63(key, np.uint64(ident))
    if x == np.uint64(0):
        x = unpermute63(key, np.uint64(0))
    return np.int64(x - ONE)


@kernel
def encode_ids(key, ordinals, out):
    """out[i] = encode_id(key, ordinals[i]). key: uint64; ordinals: int64[n] in 0 .. 2^63-2; out: int64[n]."""
    for i in range(ordinals.shape[0]):
        out[i] = encode_id(key, ordinals[i])


@kernel
def decode_ids(key, ids, out):
    """out[i] = decode_id(key, ids[i]). key: uint64; ids: int64[n] in 1 .. 2^63-1; out: int64[n]."""
    for i in range(ids.shape[0]):
        out[i] = decode_id(key, ids[i])
