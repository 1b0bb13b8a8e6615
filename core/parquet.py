"""Parquet files written column by column from memory, with the encodings that the contract names.

Why not by the library: of a run of 2 M arrivals its encoders took 1.16 core-s per million arrivals in S1 and S2, these
take 0.45, and the bytes no longer depend on its version. Every file is read back by the library: S5 reads all rows of
all columns of what a run wrote and compares content digests.

A column chunk is one data page (version 1) and, with a dictionary, one dictionary page before it. Source of the format:
apache/parquet-format. What Arrow wants to know about types stands in the footer as the library itself writes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraudloom import thrift
from fraudloom.contracts_api import Column, Dataset
from fraudloom.thrift import Struct, varint

Array = np.ndarray[Any, Any]
Bytes = bytes | Array
MAGIC = b"PAR1"
#: Codes of the format.
BOOLEAN, INT32, INT64, DOUBLE, BYTE_ARRAY = 0, 1, 2, 5, 6
PLAIN, RLE, DELTA, RLE_DICTIONARY = 0, 3, 5, 8
DATA_PAGE, DICTIONARY_PAGE = 0, 2
UNCOMPRESSED, SNAPPY = 0, 1
#: Bytes of each of two samples of a page that decide whether compressing it is worth it, and what it must leave.
SAMPLE, WORTH = 1 << 13, 0.95
#: Whole numbers below this may have a dictionary (found through a table), if there are no more than so many.
DICTIONARY_LIMIT, DICTIONARY_MOST = 1 << 20, 1 << 16

_PHYSICAL = {"f64": DOUBLE, "bool": BOOLEAN, "str": BYTE_ARRAY, "hex64": BYTE_ARRAY}
_PHYSICAL |= dict.fromkeys(("i32", "i16", "i8", "day"), INT32)


@dataclass(frozen=True)
class _Values:
    """The encoded values of a chunk, in pieces that follow each other, and its dictionary page's bytes and entries."""

    encoding: int
    pieces: tuple[Bytes, ...]
    dictionary: bytes = b""
    entries: int = 0


def _run(value: int, count: int, width: int) -> bytes:
    """One run of equal codes in the RLE hybrid."""
    return varint(count << 1) + value.to_bytes(-(-width // 8), "little")


def _levels(valid: Array, held: int) -> tuple[Bytes, ...]:
    """Definition levels of an optional column: their length in four bytes, and one run."""
    n = len(valid)
    if held in (0, n):
        body = _run(int(held > 0), n, 1) if n else b""
        return (len(body).to_bytes(4, "little") + body,)
    bits = np.packbits(valid, bitorder="little")
    head = varint(len(bits) << 1 | 1)
    return ((len(head) + len(bits)).to_bytes(4, "little") + head, bits)


def framed(texts: Iterable[Any]) -> Array:
    """UTF-8 bytes of texts, each after its length as four little-endian bytes: uint8[bytes + 4 texts].

    In one go: a hash update per text took most of S0's time. This is Parquet's PLAIN encoding of byte arrays, too.
    """
    array = pa.array([str(x) for x in texts], type=pa.large_string())
    _, places, chars = array.buffers()
    ends = np.frombuffer(places, np.int64)[: len(array) + 1] if places else np.zeros(1, np.int64)
    data = np.frombuffer(chars, np.uint8)[: ends[-1]] if chars else np.zeros(0, np.uint8)
    sizes, heads = np.diff(ends), ends[:-1] + 4 * np.arange(len(array))
    out = np.empty(len(data) + 4 * len(array), np.uint8)
    is_text = np.ones(len(out), np.bool_)
    for k in range(4):
        out[heads + k] = (sizes >> (8 * k)) & 255
        is_text[heads + k] = False
    out[is_text] = data
    return out


def _coded(codes: Array, entries: int, dictionary: bytes) -> _Values:
    """Codes of a dictionary: their width in a byte, then one run."""
    from fraudloom.states.encode import packed_codes

    width = max(1, (entries - 1).bit_length())
    if not len(codes):
        return _Values(RLE_DICTIONARY, (bytes([width]),), dictionary, entries)
    low = int(codes.min())
    if low == int(codes.max()):
        return _Values(RLE_DICTIONARY, (bytes([width]) + _run(low, len(codes), width),), dictionary, entries)
    head = bytes([width]) + varint(-(-len(codes) // 8) << 1 | 1)
    return _Values(RLE_DICTIONARY, (head, packed_codes(codes, width)), dictionary, entries)


def _plain(c: Column, values: Array) -> _Values:
    if c.type in ("str", "hex64"):
        return _Values(PLAIN, (framed(values),))
    if c.type == "bool":
        return _Values(PLAIN, (np.packbits(values, bitorder="little"),))
    wide = values.astype(np.int32) if values.dtype.itemsize < 4 else np.ascontiguousarray(values)
    return _Values(PLAIN, (wide.view(np.uint8),))


def _whole_dictionary(c: Column, values: Array) -> _Values:
    """Whole numbers through a dictionary in ascending order; plain when they are many, large or negative."""
    if len(values) and (int(values.min()) < 0 or int(values.max()) >= DICTIONARY_LIMIT):
        return _plain(c, values)
    seen = np.zeros(int(values.max(initial=0)) + 1, np.bool_)
    seen[values] = True
    entries = np.flatnonzero(seen)
    if len(entries) > DICTIONARY_MOST:
        return _plain(c, values)
    place = np.cumsum(seen, dtype=np.int32) - np.int32(1)
    table = entries.astype(np.int64 if _PHYSICAL.get(c.type, INT64) == INT64 else np.int32)
    return _coded(place.take(values), len(entries), table.tobytes())


def _delta(c: Column, values: Array) -> _Values:
    """Deltas; plain for 32-bit numbers whose deltas might need more bits than that."""
    from fraudloom.states.encode import packed_deltas

    if values.dtype.itemsize < 8:
        if len(values) and int(values.max()) - int(values.min()) >= 1 << 31:
            return _plain(c, values)
        values = values.astype(np.int64)
    return _Values(DELTA, (packed_deltas(values),))


class ParquetFile:
    """One file under construction: `write_group` per row group, then `close`."""

    def __init__(self, path: Path, ds: Dataset, profile: str, metadata: Mapping[str, str]) -> None:
        self._columns = ds.columns_for(profile)
        self._stamped = {c.name for c in self._columns if c.type == "ts" and c.name in ds.sort}
        self._labels = {}
        for c in self._columns:
            if c.enum:
                self._labels[c.name] = (len(ds.enums[c.enum]), framed(ds.enums[c.enum]).tobytes())
        # Schema, types of Arrow and order of columns as the library writes them for a file without rows.
        sink = pa.BufferOutputStream()
        pq.ParquetWriter(sink, ds.arrow_schema(profile).with_metadata(dict(metadata)), version="2.6").close()
        footer = sink.getvalue().to_pybytes()[4:-8]
        self._head = footer[: thrift.skip_fields(footer, 3)]
        self._tail = footer[thrift.skip_fields(footer, 5) :]
        self._snappy = pa.Codec("snappy")
        self._groups: list[bytes] = []
        self._rows = self.size = 0
        self._digest = hashlib.sha256()
        self._file = path.open("wb", buffering=0)
        self._put(MAGIC)

    def _put(self, *pieces: Any) -> None:
        for piece in pieces:
            self._file.write(piece)
            self._digest.update(piece)
            self.size += len(piece)

    def write_group(self, cols: Mapping[str, Array]) -> None:
        """Append a row group; columns are as the contract has them in memory."""
        rows = len(cols[self._columns[0].name])
        start = self.size
        chunks, total = [], 0
        for c in self._columns:
            chunk, raw = self._chunk(c, cols[c.name])
            chunks.append(chunk)
            total += raw
        group = Struct().many(1, thrift.STRUCT, chunks).number(2, total, thrift.I64).number(3, rows, thrift.I64)
        group.number(5, start, thrift.I64).number(6, self.size - start, thrift.I64)
        self._groups.append(group.number(7, len(self._groups), thrift.I16).closed())
        self._rows += rows

    def _encoded(self, c: Column, values: Array) -> _Values:
        if c.enum:
            entries, dictionary = self._labels[c.name]
            return _coded(values, entries, dictionary)
        if c.encoding == "dict":
            return _whole_dictionary(c, values)
        return _delta(c, values) if c.encoding == "delta" else _plain(c, values)

    def _chunk(self, c: Column, values: Array) -> tuple[bytes, int]:
        """Write a column chunk; its metadata, and its size without compression."""
        from fraudloom.states.encode import present

        rows, nulls = len(values), 0
        pieces: tuple[Bytes, ...] = ()
        if c.nullable:
            valid = ~np.isnan(values) if c.type == "f64" else values != c.null_value
            held = int(np.count_nonzero(valid))
            nulls, pieces = rows - held, _levels(valid, held)
            if nulls:
                values = values[valid] if values.dtype.kind in "Of" else present(values, c.null_value)
        encoded = self._encoded(c, values)
        parts = [np.frombuffer(p, np.uint8) for p in (*pieces, *encoded.pieces)]
        page = parts[0] if len(parts) == 1 else np.concatenate(parts)
        codec = SNAPPY if c.encoding != "raw" and self._worth(page) else UNCOMPRESSED
        start, raw = self.size, 0
        if encoded.dictionary or encoded.encoding == RLE_DICTIONARY:
            about = Struct().number(1, encoded.entries).number(2, PLAIN)
            raw += self._page(DICTIONARY_PAGE, 7, about, np.frombuffer(encoded.dictionary, np.uint8), codec)
        at = self.size
        about = Struct().number(1, rows).number(2, encoded.encoding).number(3, RLE).number(4, RLE)
        raw += self._page(DATA_PAGE, 5, about, page, codec)
        return self._about(c, encoded, codec, rows, raw, (start, at), self._statistics(c, values, nulls)), raw

    def _worth(self, page: Array) -> bool:
        """Whether compressing pays: told by two samples, since trying all of it costs as much as doing it."""
        if len(page) <= 2 * SAMPLE:
            return True
        middle = len(page) // 2
        sample = np.concatenate([page[:SAMPLE], page[middle : middle + SAMPLE]])
        return len(self._snappy.compress(sample)) < WORTH * len(sample)

    def _page(self, kind: int, field: int, about: Struct, body: Array, codec: int) -> int:
        """Write a page; its size without compression, header included."""
        stored: Any = self._snappy.compress(body) if codec == SNAPPY else body.data
        head = Struct().number(1, kind).number(2, len(body)).number(3, len(stored)).struct(field, about).closed()
        self._put(head, stored)
        return len(head) + len(body)

    def _statistics(self, c: Column, values: Array, nulls: int) -> Struct | None:
        """Bounds of the columns by which readers prune."""
        if c.name not in self._stamped:
            return None
        found = Struct().number(3, nulls, thrift.I64)
        if not len(values):
            return found
        low, high = (int(x).to_bytes(8, "little", signed=True) for x in (values.min(), values.max()))
        return found.binary(5, high).binary(6, low).flag(7, True).flag(8, True)

    def _about(
        self, c: Column, v: _Values, codec: int, rows: int, raw: int, at: tuple[int, int], statistics: Struct | None
    ) -> bytes:
        """Metadata of a column chunk."""
        start, data = at
        coded = v.encoding == RLE_DICTIONARY
        used = sorted({RLE, v.encoding, *((PLAIN,) if coded else ())})
        kind = BYTE_ARRAY if c.enum else _PHYSICAL.get(c.type, INT64)
        meta = Struct().number(1, kind).many(2, thrift.I32, [thrift.zigzag(e) for e in used])
        meta.many(3, thrift.BINARY, [thrift.text(c.name.encode())]).number(4, codec).number(5, rows, thrift.I64)
        meta.number(6, raw, thrift.I64).number(7, self.size - start, thrift.I64).number(9, data, thrift.I64)
        if coded:
            meta.number(11, start, thrift.I64)
        if statistics is not None:
            meta.struct(12, statistics)
        pages = [(DICTIONARY_PAGE, PLAIN)] * coded + [(DATA_PAGE, v.encoding)]
        counts = [Struct().number(1, p).number(2, e).number(3, 1).closed() for p, e in pages]
        meta.many(13, thrift.STRUCT, counts)
        return Struct().number(2, 0, thrift.I64).struct(3, meta).closed()

    def abandon(self) -> None:
        """Close without a footer: the file is not a Parquet file."""
        self._file.close()

    def close(self) -> str:
        """Write the footer and close; the SHA-256 of the file."""
        ours = Struct(after=2).number(3, self._rows, thrift.I64).many(4, thrift.STRUCT, self._groups)
        # A field's header says how far its number is from the last one's, so pieces of a struct join as they are.
        footer = self._head + ours.fields() + self._tail
        self._put(footer, len(footer).to_bytes(4, "little") + MAGIC)
        self._file.close()
        return self._digest.hexdigest()
