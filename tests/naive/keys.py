"""Twin of the substream keys: SHA-256 over length-prefixed names."""

import hashlib


def _prefixed(text):
    body = text.encode("utf-8")
    return len(body).to_bytes(4, "little") + body


def stream_key(domain, world, seed, scenario, family, decision):
    """First eight bytes, little-endian, of the digest of domain, world, seed, scenario, family and decision."""
    message = _prefixed(domain) + _prefixed(world) + int(seed).to_bytes(8, "little")
    message += b"".join(_prefixed(name) for name in (scenario, family, decision))
    return int.from_bytes(hashlib.sha256(message).digest()[:8], "little")


def run_keys(world, seed, scenario):
    """Keys of a run: a function of (family, decision)."""
    return lambda family, decision: stream_key("fraudloom/6B", world, seed, scenario, family, decision)
