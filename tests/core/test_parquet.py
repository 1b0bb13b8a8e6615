"""Files of our own encoder: every reader of the field reads them, and their bytes follow the format."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from fraudloom import thrift
from fraudloom.contracts_api import Column, Dataset, load_contracts
from fraudloom.tables import Columns, PartWriter, empty_columns, read_table, to_batch

CONTRACTS = load_contracts()
FLOWS = CONTRACTS.dataset("s3_flow_anchor_with_fraud_6B")


def _shaped(ds: Dataset, n: int, seed: int) -> Columns:
    """Columns as they occur: constants, few values, runs, whole ranges, all, some or no nulls."""
    rng = np.random.default_rng(seed)
    cols = empty_columns(ds, n)
    for k, c in enumerate(ds.columns):
        shape = (k + seed) % 4
        if c.enum:
            top = len(ds.enums[c.enum]) if shape else 1
            cols[c.name] = rng.integers(-1 if c.nullable and shape > 1 else 0, top, n).astype(np.int8)
        elif c.type == "f64":
            cols[c.name] = np.round(rng.normal(size=n), shape)
        elif c.type == "bool":
            cols[c.name] = rng.random(n) < shape / 3
        elif c.type not in ("str", "hex64"):
            kind = np.iinfo(c.memory_dtype)
            low, top = ((1, 2), (1, min(300, kind.max)), (1, kind.max), (kind.min, kind.max))[shape]
            if c.type == "ts":  # what Python's own instants can hold
                low, top = 1, 2 * 10**15
            # Null is one of the values, so nullable columns of the last shape hardly have any and the others none.
            values = rng.integers(low, top, n, dtype=c.memory_dtype)
            cols[c.name] = np.sort(values) if k % 3 else values
            if c.nullable:
                cols[c.name][rng.random(n) < (0.0, 0.5, 0.97, 1.0)[shape]] = 0
    return cols


def _write(path: Path, ds: Dataset, *groups: Columns) -> None:
    writer = PartWriter(path, ds)
    for cols in groups:
        writer.write_group(cols)
    result = writer.close()
    assert result.bytes == path.stat().st_size
    assert result.file_digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("seed", range(4))
def test_every_reader_reads_what_was_written(seed: int, tmp_path: Path) -> None:
    """A column would come back with other values, or other nulls, in Arrow, DuckDB or Polars."""
    path = tmp_path / "p.parquet"
    groups = [_shaped(FLOWS, n, seed + n) for n in (1, 700, 0, 5000)]
    _write(path, FLOWS, *groups)
    whole = {k: np.concatenate([g[k] for g in groups]) for k in groups[0]}
    expected = to_batch(FLOWS, whole)
    assert pq.read_table(path).combine_chunks().to_batches()[0].equals(expected)
    back = read_table([path], FLOWS)
    assert all(np.array_equal(back[k], whole[k]) for k in whole)
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    rows = con.sql(f"SELECT * FROM '{path}'").to_arrow_table()
    frame = pl.read_parquet(path, use_pyarrow=False)
    for name in expected.schema.names:
        wanted = expected.column(name).to_pylist()
        assert rows.column(name).to_pylist() == wanted, name
        assert frame[name].to_list() == wanted, name


def test_bounds_are_those_of_the_rows(tmp_path: Path) -> None:
    """A reader that prunes by time would leave out row groups that hold rows it asked for."""
    path = tmp_path / "p.parquet"
    groups = [_shaped(FLOWS, 50, s) for s in (2, 3)]
    _write(path, FLOWS, *groups)
    meta = pq.read_metadata(path)
    at = meta.schema.names.index("ts_utc")
    for g, cols in enumerate(groups):
        found = meta.row_group(g).column(at).statistics
        assert (found.null_count, found.has_min_max) == (0, True)
        bounds = [np.datetime64(x.replace(tzinfo=None), "us").astype(np.int64) for x in (found.min, found.max)]
        assert bounds == [cols["ts_utc"].min(), cols["ts_utc"].max()]
        others = [meta.row_group(g).column(k).statistics for k in range(len(meta.schema.names)) if k != at]
        assert not any(s is not None and s.has_min_max for s in others)


def test_encodings_are_the_contract_s(tmp_path: Path) -> None:
    """A column would be written in another encoding than the contract says."""
    path = tmp_path / "p.parquet"
    cols = _shaped(FLOWS, 3000, 1)
    for c in FLOWS.columns:
        if c.encoding == "dict" and not c.enum:  # few of them, as of merchant classes
            cols[c.name] %= 300
    _write(path, FLOWS, cols)
    meta = pq.read_metadata(path).row_group(0)
    names = {"delta": "DELTA_BINARY_PACKED", "plain": "PLAIN", "raw": "PLAIN", "dict": "RLE_DICTIONARY"}
    for k, c in enumerate(FLOWS.columns):
        chunk = meta.column(k)
        assert names["dict" if c.enum else c.encoding] in chunk.encodings, c.name
        assert chunk.compression == "UNCOMPRESSED" or c.encoding != "raw", c.name


def _only(name: str, encoding: str) -> Dataset:
    column: Column = next(c for c in FLOWS.columns if c.name == name)
    return dataclasses.replace(FLOWS, columns=(dataclasses.replace(column, encoding=encoding),), sort=(), key=())


@pytest.mark.parametrize(
    ("values", "encoding"),
    [
        ([-5, 3, 7], "dict"),
        ([1 << 25, 3, 7], "dict"),
        ([-(2**31), 2**31 - 1, 0, -1], "delta"),
        (list(range(1000)) * 2, "dict"),
    ],
)
def test_numbers_that_an_encoding_cannot_hold(values: list[int], encoding: str, tmp_path: Path) -> None:
    """Numbers that are too many, negative or too far apart for their encoding would be written wrongly."""
    ds = _only("mcc", encoding)
    cols = {"mcc": np.array(values, np.int32)}
    _write(tmp_path / "p.parquet", ds, cols)
    assert pq.read_table(tmp_path / "p.parquet").column("mcc").to_pylist() == values


def test_fields_can_be_skipped() -> None:
    """The library's footer would be cut in the wrong place."""
    inner = thrift.Struct().flag(1, True).number(2, -7, thrift.I64).many(3, thrift.I32, [thrift.zigzag(9)] * 20)
    data = thrift.Struct().struct(1, inner).binary(2, b"\0\0").many(4, thrift.STRUCT, [inner.closed()] * 2)
    whole = data.number(5, 1 << 40, thrift.I64).closed()
    assert whole[thrift.skip_fields(whole, 5) :] == bytes([1 << 4 | thrift.I64]) + thrift.zigzag(1 << 40) + b"\0"
    with pytest.raises(ValueError, match="no field 3"):
        thrift.skip_fields(whole, 3)
