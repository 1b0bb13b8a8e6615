"""A row group is decoded one column at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudloom.contracts_api import load_contracts
from fraudloom.errors import DataError
from fraudloom.tables import PartWriter, empty_columns, read_group

FLOWS = load_contracts().dataset("s3_flow_anchor_with_fraud_6B")
ROWS = 50_000


def _part(path: Path) -> Path:
    cols = empty_columns(FLOWS, ROWS)
    for c in FLOWS.columns:
        if not c.nullable and c.type in ("id", "ts", "money"):
            cols[c.name] = np.arange(1, ROWS + 1, dtype=c.memory_dtype)
        elif c.enum and not c.nullable:
            cols[c.name][:] = 0
    writer = PartWriter(path, FLOWS)
    writer.write_group(cols)
    writer.close()
    return path


def test_no_whole_row_group_stands_beside_the_arrays(tmp_path: Path) -> None:
    """Every shard that is read would stand in memory twice, as Arrow's table and as ours."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        with pq.ParquetFile(_part(tmp_path / "p.parquet")) as f:
            held = pool.bytes_allocated()
            cols = read_group(f, FLOWS, 0, ["issuer_latency_ms", "flow_type", "auth_decision", "response_code"])
            assert pool.bytes_allocated() - held <= 4 * ROWS + 4096  # the integers share Arrow's memory, codes do not
            cols.clear()
            assert set(read_group(f, FLOWS, 0)) == {c.name for c in FLOWS.columns}
    finally:
        pa.set_memory_pool(before)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """A part that lacks a column would be read as if it were whole."""
    with (
        pq.ParquetFile(_part(tmp_path / "p.parquet")) as whole,
        pq.ParquetWriter(
            tmp_path / "q.parquet", whole.schema_arrow.remove(whole.schema_arrow.get_field_index("flow_id"))
        ) as less,
    ):
        less.write_table(whole.read().drop_columns(["flow_id"]))
    with pq.ParquetFile(tmp_path / "q.parquet") as f, pytest.raises(DataError) as e:
        read_group(f, FLOWS, 0)
    assert e.value.code == "COLUMN_MISSING"
