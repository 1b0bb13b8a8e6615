"""Twins of the Parquet encodings, written from the format's "Encodings.md"."""

import itertools

BLOCK, MINIBLOCKS = 128, 4
WORD = 1 << 64


def keep_present(values, null, out):
    """The values that are not null, and one null after them if there is room."""
    held = [v for v in values if v != null]
    out[: len(held)] = held
    out[len(held) : len(held) + 1] = null
    return len(held)


def _pack(numbers, width):
    """Numbers of `width` bits one after the other, from the lowest bit on, as bytes."""
    bits = "".join(format(int(x), f"0{width}b")[::-1] for x in numbers) if width else ""
    return [int(bits[i : i + 8].ljust(8, "0")[::-1], 2) for i in range(0, len(bits), 8)]


def pack_codes(codes, width, out):
    """Groups of eight, the last one filled up with zeros."""
    numbers = [int(c) for c in codes]
    while len(numbers) % 8:
        numbers.append(0)
    packed = _pack(numbers, int(width))
    out[: len(packed)] = packed
    return len(packed)


def put_varint(out, at, value):
    """Seven bits a byte, low ones first; the high bit says that more follow."""
    value = int(value)
    while value > 127:
        out[at] = value % 128 + 128
        value //= 128
        at += 1
    out[at] = value
    return at + 1


def zigzag(value):
    """Even numbers for 0 and above, odd ones below."""
    value = int(value)
    return 2 * value if value >= 0 else -2 * value - 1


def bits_of(word):
    """Binary digits."""
    return int(word).bit_length()


def _signed(x):
    return x - WORD if x >= WORD // 2 else x


def pack_deltas(values, deltas, words, word_bytes, out):
    """Header; then per block the least delta, the widths of its miniblocks, and these."""
    numbers = [int(v) for v in values]
    at = 0
    for x in (BLOCK, MINIBLOCKS, len(numbers), zigzag(numbers[0] if numbers else 0)):
        at = put_varint(out, at, x)
    every = [_signed((b - a) % WORD) for a, b in itertools.pairwise(numbers)]
    for lo in range(0, len(every), BLOCK):
        block = every[lo : lo + BLOCK]
        at = put_varint(out, at, zigzag(min(block)))
        minis = [[d - min(block) for d in block[k : k + 32]] for k in range(0, BLOCK, 32)]
        widths = [max(m).bit_length() if m else 0 for m in minis]
        body = list(widths)
        for mini, width in zip(minis, widths, strict=True):
            if width:
                body += _pack(mini + [0] * (32 - len(mini)), width)
        out[at : at + len(body)] = body
        at += len(body)
    return at
