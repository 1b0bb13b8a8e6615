"""Substream keys: which stream a decision draws from, and the proof that streams do not overlap.

Draws themselves are in `fraudloom.kernels.streams`. A key depends on the world, the seed, the scenario and the names
of family and decision, not on policy numbers: worlds that differ in one number stay paired row by row.
"""

import hashlib
import string
import struct
from collections.abc import Mapping

import numpy as np

#: Enters every key, so no other use of the same hash and fields can meet it.
DOMAIN = "fraudloom/6B"
GAMMA = 0x9E3779B97F4A7C15
MODULUS = 1 << 64
_GAMMA_INVERSE = pow(GAMMA, -1, MODULUS)
_HEX = frozenset(string.hexdigits.lower())


class StreamOverlapError(ValueError):
    """Two streams in use share outputs: their keys lie closer on the generator's cycle than a stream is long."""


def _encode(text: str) -> bytes:
    body = text.encode("utf-8")
    return struct.pack("<I", len(body)) + body


def substream_key(domain: str, world: str, seed: int, scenario: str, family: str, decision: str) -> int:
    """Key of one stream, 0 .. 2^64-1.

    The first 8 bytes, little-endian, of SHA-256 over: domain, world, (seed), scenario, family, decision. Strings are
    UTF-8 behind their length in bytes as LE32; the seed is LE64. `world` is the manifest fingerprint, 64 lower-case
    hex digits; `seed` is 0 .. 2^64-1. ValueError otherwise.
    """
    if len(world) != 64 or not _HEX.issuperset(world):
        raise ValueError(f"world must be 64 lower-case hex digits, found {world!r}")
    if not 0 <= seed < MODULUS:
        raise ValueError(f"seed must be 0 .. 2^64-1, found {seed}")
    names = (scenario, family, decision)
    message = _encode(domain) + _encode(world) + struct.pack("<Q", seed) + b"".join(map(_encode, names))
    return int.from_bytes(hashlib.sha256(message).digest()[:8], "little")


class Streams:
    """The streams of one (world, seed, scenario): keys by family and decision."""

    __slots__ = ("scenario", "seed", "world")

    def __init__(self, world: str, seed: int, scenario: str) -> None:
        """`world`: manifest fingerprint (64 lower-case hex digits); `seed`: 0 .. 2^64-1. ValueError otherwise."""
        substream_key(DOMAIN, world, seed, scenario, "", "")
        self.world = world
        self.seed = seed
        self.scenario = scenario

    def key(self, family: str, decision: str) -> np.uint64:
        """Key of one stream, ready for a kernel."""
        return np.uint64(substream_key(DOMAIN, self.world, self.seed, self.scenario, family, decision))


def prove_disjoint(keys: Mapping[str, int], lengths: Mapping[str, int]) -> None:
    """Prove that no two streams share an output, or raise `StreamOverlapError` naming a pair that does.

    `keys`: stream name -> key, 0 .. 2^64-1; `lengths`: the same names -> outputs in use (0 for none). SplitMix64 walks
    one cycle of 2^64 states in steps of gamma, so a stream is an arc that starts at key / gamma (mod 2^64). Sorted by
    start, all arcs are disjoint exactly when each ends before the next begins: all pairs are covered by n comparisons.
    """
    if keys.keys() != lengths.keys():
        raise ValueError(f"streams without both key and length: {sorted(keys.keys() ^ lengths.keys())}")
    arcs = sorted((int(keys[n]) * _GAMMA_INVERSE % MODULUS, n) for n in keys if int(lengths[n]) > 0)
    for place, (start, name) in enumerate(arcs):
        after, neighbour = arcs[(place + 1) % len(arcs)]
        gap = (after - start) % MODULUS if len(arcs) > 1 else MODULUS
        if gap < int(lengths[name]):
            raise StreamOverlapError(
                f"streams overlap: {name!r} uses {int(lengths[name])} outputs, but {neighbour!r} starts {gap} after it"
            )
