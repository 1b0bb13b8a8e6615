"""Twin of the id bijection: rounds over Python integers, decoded by undoing one round after the other."""

from naive.streams import GAMMA, mix64

MODULUS = 1 << 63
MULTIPLIERS = (0x3F58476D1CE4E5B9, 0x14D049BB133111EB, 0x62A9D9ED799705F5, 0x4B24D0A5C3B2D2E9, 0x1E3779B97F4A7C15)
SHIFTS = (32, 29, 30, 27, 31)
LAST_SHIFT = 32


def permute63(key, x):
    """Per round: add the round key (output r of the key's stream), xor a right shift, multiply; at last one xor."""
    x = int(x)
    for r in range(5):
        x = (x + mix64(int(key) + (r + 1) * GAMMA)) % MODULUS
        x = (x ^ (x >> SHIFTS[r])) * MULTIPLIERS[r] % MODULUS
    return x ^ (x >> LAST_SHIFT)


def _unshift(y, shift):
    """Solve y = x ^ (x >> shift) for x, from the top bits down."""
    x = 0
    for bit in range(62, -1, -1):
        above = (x >> (bit + shift)) & 1
        x |= (((y >> bit) & 1) ^ above) << bit
    return x


def unpermute63(key, y):
    """The rounds of `permute63` undone."""
    x = _unshift(int(y), LAST_SHIFT)
    for r in range(4, -1, -1):
        x = _unshift(x * pow(MULTIPLIERS[r], -1, MODULUS) % MODULUS, SHIFTS[r])
        x = (x - mix64(int(key) + (r + 1) * GAMMA)) % MODULUS
    return x


def encode_id(key, ordinal):
    """Permute ordinal + 1 until the result is not 0."""
    y = permute63(key, int(ordinal) + 1)
    while y == 0:
        y = permute63(key, y)
    return y


def decode_id(key, ident):
    """The inverse of `encode_id`."""
    x = unpermute63(key, ident)
    while x == 0:
        x = unpermute63(key, x)
    return x - 1


def encode_ids(key, ordinals, out):
    """out[i] = encode_id(key, ordinals[i])."""
    for i, ordinal in enumerate(ordinals):
        out[i] = encode_id(key, ordinal)


def decode_ids(key, ids, out):
    """out[i] = decode_id(key, ids[i])."""
    for i, ident in enumerate(ids):
        out[i] = decode_id(key, ident)
