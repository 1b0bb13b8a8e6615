"""The little of Thrift's compact protocol that a Parquet footer needs: writing structs, and skipping over fields.

Source: "thrift-compact-protocol.md" (apache/thrift).
"""

from __future__ import annotations

from collections.abc import Sequence

#: Types on the wire.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)


def varint(value: int) -> bytes:
    """A whole number >= 0 in groups of seven bits, low ones first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> bytes:
    """A 64-bit whole number: 0, -1, 1, -2 as the varints 0, 1, 2, 3."""
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


class Struct:
    """A struct under construction; fields are added with ascending numbers, less than 16 apart.

    `after`: number of the field that stands before the first one, for a struct of which another hand writes the start.
    """

    def __init__(self, after: int = 0) -> None:
        self._out = bytearray()
        self._last = after

    def _head(self, field: int, kind: int) -> None:
        self._out.append((field - self._last) << 4 | kind)
        self._last = field

    def flag(self, field: int, value: bool) -> Struct:
        """Add a bool."""
        self._head(field, TRUE if value else FALSE)
        return self

    def number(self, field: int, value: int, kind: int = I32) -> Struct:
        """Add an i16, i32 or i64."""
        self._head(field, kind)
        self._out += zigzag(value)
        return self

    def binary(self, field: int, value: bytes) -> Struct:
        """Add bytes."""
        self._head(field, BINARY)
        self._out += varint(len(value)) + value
        return self

    def struct(self, field: int, value: Struct) -> Struct:
        """Add a struct."""
        self._head(field, STRUCT)
        self._out += value.closed()
        return self

    def many(self, field: int, kind: int, items: Sequence[bytes]) -> Struct:
        """Add a list of encoded items of one kind."""
        self._head(field, LIST)
        self._out += bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + varint(len(items))
        self._out += b"".join(items)
        return self

    def fields(self) -> bytes:
        """The fields without the stop byte."""
        return bytes(self._out)

    def closed(self) -> bytes:
        """The struct with its stop byte."""
        return bytes(self._out) + b"\0"


def text(value: bytes) -> bytes:
    """Bytes as an item of a list."""
    return varint(len(value)) + value


def skip_fields(data: bytes, field: int) -> int:
    """Place in the struct `data` where the header of the given field stands; ValueError if it has none."""
    at, last = 0, 0
    while data[at]:
        last += data[at] >> 4 or _refuse(data[at])
        if last == field:
            return at
        at = _after(data, at + 1, data[at] & 15)
    raise ValueError(f"no field {field}")


def _refuse(head: int) -> int:
    raise ValueError(f"a long field header {head:#x}")


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 128:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def _after(data: bytes, at: int, kind: int) -> int:
    """Place after a value of the kind that begins at `at`."""
    if kind in (TRUE, FALSE):
        return at
    if kind == BYTE:
        return at + 1
    if kind in (I16, I32, I64):
        return _read(data, at)[1]
    if kind == DOUBLE:
        return at + 8
    if kind == BINARY:
        size, at = _read(data, at)
        return at + size
    if kind == STRUCT:
        while data[at]:
            at = _after(data, at + 1, data[at] & 15)
        return at + 1
    if kind != LIST:
        raise ValueError(f"kind {kind} does not occur in Parquet's metadata")
    size, inner = data[at] >> 4, data[at] & 15
    at += 1
    if size == 15:
        size, at = _read(data, at)
    for _ in range(size):
        # A bool in a list takes a byte, unlike one in a struct.
        at = at + 1 if inner in (TRUE, FALSE) else _after(data, at, inner)
    return at
