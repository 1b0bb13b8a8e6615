"""The one crossing point between NumPy columns and Arrow files.

In memory a table is `Columns`: contract column name to array, enums as codes, instants as int64 microseconds, null
as the column's `null_value`. Because nulls have one canonical value, the memory of a column is its canonical buffer,
and the content digest of a part is a SHA-256 over those buffers: it does not depend on any library's file format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraudloom.contracts_api import Column, Dataset
from fraudloom.errors import DataError, InternalError

Columns = dict[str, np.ndarray[Any, Any]]

#: What to do about a file that is not as it was written.
AGAIN = "restore the file, or make the world or run that holds it again"


@dataclass(frozen=True)
class PartResult:
    """What one finished file holds: rows, bytes, digest of its content and of the file."""

    rows: int
    bytes: int
    content_digest: str
    file_digest: str


def empty_columns(ds: Dataset, n: int = 0, profile: str = "full") -> Columns:
    """Columns of `n` rows, each filled with its null value."""
    return {c.name: np.full(n, c.null_value, dtype=c.memory_dtype) for c in ds.columns_for(profile)}


def _bits(flags: np.ndarray[Any, Any]) -> pa.Buffer:
    """Flags as Arrow's bitmap. Arrow's own way from a mask takes 3 to 6 ns a flag, this 0.2."""
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def _array(c: Column, ds: Dataset, values: np.ndarray[Any, Any]) -> pa.Array:
    if values.dtype != c.memory_dtype:
        raise InternalError("CORE", "DTYPE", what=f"{ds.id}.{c.name}", found=values.dtype, expected=c.memory_dtype)
    if c.type in ("str", "hex64"):
        return pa.array(values, type=c.arrow_type(), mask=values == "" if c.nullable else None)
    values = np.ascontiguousarray(values)
    validity, nulls = None, 0
    if c.nullable:
        valid = ~np.isnan(values) if c.type == "f64" else values != c.null_value
        nulls = len(values) - int(np.count_nonzero(valid))
        validity = _bits(valid) if nulls else None
    data = _bits(values) if c.type == "bool" else pa.py_buffer(values)
    kind = pa.int8() if c.enum else c.arrow_type()
    array = pa.Array.from_buffers(kind, len(values), [validity, data], nulls)
    # Codes have been checked against the vocabulary by the caller.
    return pa.DictionaryArray.from_arrays(array, pa.array(ds.enums[c.enum]), safe=False) if c.enum else array


def to_batch(ds: Dataset, cols: Mapping[str, np.ndarray[Any, Any]], profile: str = "full") -> pa.RecordBatch:
    """Arrow batch of the contract's columns; enum codes out of range and wrong dtypes are InternalError."""
    arrays = []
    for c in ds.columns_for(profile):
        v = cols[c.name]
        if c.enum and len(v):
            lo, hi = int(v.min()), int(v.max())
            if lo < (-1 if c.nullable else 0) or hi >= len(ds.enums[c.enum]):
                raise InternalError("CORE", "ENUM_CODE", what=f"{ds.id}.{c.name}", found=(lo, hi))
        arrays.append(_array(c, ds, v))
    return pa.RecordBatch.from_arrays(arrays, schema=ds.arrow_schema(profile))


def _decode(c: Column, ds: Dataset, arr: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    if isinstance(arr, pa.ChunkedArray):
        arr = arr.chunk(0) if arr.num_chunks == 1 else arr.combine_chunks()
        if isinstance(arr, pa.ChunkedArray):
            arr = pa.concat_arrays(arr.chunks) if arr.num_chunks else pa.array([], type=arr.type)
    if arr.null_count and not c.nullable:
        raise DataError(
            "DATA",
            "NULL_IN_REQUIRED_COLUMN",
            what=f"{ds.id}.{c.name} holds nulls",
            found=f"{arr.null_count} nulls",
            expected="none",
            action=AGAIN,
        )
    if c.enum:
        return _decode_enum(c, ds, arr)
    if c.type in ("str", "hex64"):
        filled = pc.fill_null(arr, "") if arr.null_count else arr
        return np.asarray(filled.to_pylist(), dtype=object)
    if c.type == "bool":
        return np.asarray(arr.to_numpy(zero_copy_only=False), dtype=np.bool_)
    if arr.type != c.arrow_type():
        raise DataError(
            "DATA",
            "COLUMN_TYPE",
            what=f"{ds.id}.{c.name}",
            found=arr.type,
            expected=c.arrow_type(),
            action=AGAIN,
        )
    if c.type == "ts":
        arr = arr.view(pa.int64())
    elif c.type == "day":
        arr = arr.view(pa.int32())
    if arr.null_count:
        arr = pc.fill_null(arr, pa.scalar(c.null_value, type=arr.type))
    return np.asarray(arr.to_numpy(zero_copy_only=False), dtype=c.memory_dtype)


def _decode_enum(c: Column, ds: Dataset, arr: pa.Array) -> np.ndarray[Any, Any]:
    labels = ds.enums[c.enum or ""]
    if not pa.types.is_dictionary(arr.type):
        arr = arr.dictionary_encode()
    own = arr.dictionary.to_pylist()
    index = {x: i for i, x in enumerate(labels)}
    unknown = [x for x in own if x not in index]
    if unknown:
        raise DataError(
            "DATA",
            "ENUM_LABEL",
            what=f"{ds.id}.{c.name} holds labels that the contract does not know",
            found=unknown[:5],
            expected=labels,
            action=AGAIN,
        )
    indices = arr.indices
    codes = pc.fill_null(indices, -1) if indices.null_count else indices
    raw = np.asarray(codes.to_numpy(zero_copy_only=False))
    if own == list(labels[: len(own)]):
        return raw.astype(np.int8)
    table = np.array([index[x] for x in own] + [-1], dtype=np.int8)
    mapped: np.ndarray[Any, Any] = table[raw]
    return mapped


def _wanted(ds: Dataset, have: Sequence[str], columns: Sequence[str] | None) -> Iterator[Column]:
    """The contract's columns to decode of those at hand; DataError names the first that is missing."""
    for c in ds.columns:
        if columns is not None and c.name not in columns:
            continue
        if c.name not in have:
            if columns is None and c.profile == "full":
                continue
            raise DataError(
                "DATA",
                "COLUMN_MISSING",
                what=f"{ds.id} lacks column {c.name}",
                found=", ".join(have),
                expected=c.name,
                action=AGAIN,
            )
        yield c


def from_arrow(ds: Dataset, data: pa.Table | pa.RecordBatch, columns: Sequence[str] | None = None) -> Columns:
    """Columns of an Arrow table; DataError names a missing column, a null, a wrong type or an unknown label."""
    return {c.name: _decode(c, ds, data.column(c.name)) for c in _wanted(ds, data.schema.names, columns)}


def read_group(file: pq.ParquetFile, ds: Dataset, group: int, columns: Sequence[str] | None = None) -> Columns:
    """One row group of an open part, decoded column by column; errors as of `from_arrow`, and Arrow's own.

    All columns at once would stand in memory twice, as Arrow's and as ours: up to 90 MB for a shard's flows.
    """
    out: Columns = {}
    for c in _wanted(ds, file.schema_arrow.names, columns):
        table = file.read_row_group(group, columns=[c.name], use_threads=False)
        out[c.name] = _decode(c, ds, table.column(c.name))
    return out


def _framed(texts: Iterable[Any]) -> np.ndarray[Any, Any]:
    """UTF-8 bytes of texts, each after its length as four little-endian bytes: uint8[bytes + 4 texts].

    In one go: a hash update per text took most of S0's time.
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


class ContentHasher:
    """Canonical content digest: column buffers in dictionary order, a row group at a time."""

    def __init__(self, ds: Dataset, profile: str) -> None:
        self._columns = ds.columns_for(profile)
        self._hash = hashlib.sha256()
        head = "\n".join(f"{c.name}:{c.enum or c.type}:{'null' if c.nullable else 'required'}" for c in self._columns)
        self._hash.update(f"{ds.id}\n{head}\n".encode())

    def update(self, cols: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Add one row group."""
        n = len(cols[self._columns[0].name])
        self._hash.update(int(n).to_bytes(8, "little"))
        for c in self._columns:
            v = cols[c.name]
            if c.type in ("str", "hex64"):
                self._hash.update(_framed(v).data)
            else:
                self._hash.update(np.ascontiguousarray(v).view(np.uint8).data)

    def hexdigest(self) -> str:
        """Digest of all row groups so far."""
        return self._hash.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def writer_options(ds: Dataset, profile: str) -> dict[str, Any]:
    """Parquet settings from the contract.

    Dictionary pages only where the contract says so, DELTA_BINARY_PACKED on times, amounts and dense ids, snappy on
    plain values alone: random 64-bit ids do not shrink, and bit-packed codes and deltas shrink by 3 % in all for 5 % of
    the time of writing. Statistics only on the columns by which readers prune.
    """
    cols = ds.columns_for(profile)
    encodings = {"delta": "DELTA_BINARY_PACKED", "plain": "PLAIN", "raw": "PLAIN"}
    return {
        "version": "2.6",
        "compression": {c.name: "snappy" if c.encoding == "plain" and not c.enum else "NONE" for c in cols},
        "use_dictionary": [c.name for c in cols if c.enum or c.encoding == "dict"],
        "column_encoding": {c.name: encodings[c.encoding] for c in cols if not (c.enum or c.encoding == "dict")},
        "write_statistics": [c.name for c in cols if c.type == "ts" and c.name in ds.sort],
        "write_page_index": False,
        "write_batch_size": 1 << 16,
    }


class PartWriter:
    """Writes one part file, a row group per call; the caller gives sorted rows and moves the file into place."""

    def __init__(
        self, path: Path, ds: Dataset, profile: str = "full", metadata: Mapping[str, str] | None = None
    ) -> None:
        self.path, self.ds, self.profile = path, ds, profile
        self.rows = 0
        schema = ds.arrow_schema(profile).with_metadata({"fraudloom.dataset": ds.id, **(metadata or {})})
        self._schema = schema
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, schema, **writer_options(ds, profile))
        self._hash = ContentHasher(ds, profile)

    def write_group(self, cols: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Append one row group (also when it has no rows)."""
        batch = to_batch(self.ds, cols, self.profile).replace_schema_metadata(self._schema.metadata)
        self._hash.update(cols)
        self._writer.write_table(pa.Table.from_batches([batch], self._schema), row_group_size=max(1, batch.num_rows))
        self.rows += batch.num_rows

    def abandon(self) -> None:
        """Close without a result (the file is not a part)."""
        self._writer.close()

    def close(self) -> PartResult:
        """Finish the file and digest it."""
        self._writer.close()
        return PartResult(self.rows, self.path.stat().st_size, self._hash.hexdigest(), file_sha256(self.path))


def _unreadable(what: str, error: Exception, path: Path) -> DataError:
    return DataError("DATA", "PART_UNREADABLE", what=what, found=str(error), where=path, action=AGAIN)


def open_part(path: Path, ds: Dataset) -> pq.ParquetFile:
    """A part, opened; DataError when it is missing or no whole Parquet file."""
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(
            "DATA",
            "PART_MISSING",
            what=f"a part of {ds.id} is missing",
            where=path,
            action=AGAIN,
        ) from None
    except (pa.ArrowException, OSError) as e:
        raise DataError(
            "DATA",
            "PART_UNREADABLE",
            what=f"a part of {ds.id} is not a whole Parquet file",
            found=str(e).splitlines()[0],
            where=path,
            action="restore the file, or build the world or run again",
        ) from None


def iter_groups(path: Path, ds: Dataset, columns: Sequence[str] | None = None) -> Iterator[Columns]:
    """Row groups of one part, decoded; DataError when the file is corrupt or truncated."""
    with open_part(path, ds) as f:
        for g in range(f.metadata.num_row_groups):
            try:
                cols = read_group(f, ds, g, columns)
            except (pa.ArrowException, OSError) as e:
                raise _unreadable(f"row group {g} of {ds.id}", e, path) from None
            yield cols


def concat(parts: Sequence[Columns]) -> Columns:
    """Rows of several tables with equal columns, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def read_table(paths: Iterable[Path], ds: Dataset, columns: Sequence[str] | None = None) -> Columns:
    """All rows of the given parts."""
    groups = [g for p in paths for g in iter_groups(p, ds, columns)]
    if not groups:
        full = empty_columns(ds)
        return full if columns is None else {k: v for k, v in full.items() if k in columns}
    return concat(groups)


def iter_batches(
    paths: Iterable[Path], ds: Dataset, batch_rows: int, columns: Sequence[str] | None = None
) -> Iterator[Columns]:
    """Rows of the parts in batches of at most `batch_rows` (never across parts)."""
    names = None if columns is None else [c.name for c in ds.columns if c.name in columns]
    for path in paths:
        with open_part(path, ds) as f:
            try:
                for batch in f.iter_batches(batch_size=batch_rows, columns=names, use_threads=False):
                    yield from_arrow(ds, batch, columns)
            except (pa.ArrowException, OSError) as e:
                raise _unreadable(f"a part of {ds.id}", e, path) from None
