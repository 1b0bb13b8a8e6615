"""Arrow crossing: what is written is what is read, nulls and codes included, and digests follow content only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudloom.contracts_api import Dataset, load_contracts
from fraudloom.errors import DataError, InternalError
from fraudloom.tables import (
    Columns,
    ContentHasher,
    PartWriter,
    empty_columns,
    from_arrow,
    iter_batches,
    read_table,
    to_batch,
)

CONTRACTS = load_contracts()
FLOWS = CONTRACTS.dataset("s3_flow_anchor_with_fraud_6B")


def _random(ds: Dataset, n: int, seed: int, profile: str = "full") -> Columns:
    rng = np.random.default_rng(seed)
    cols = empty_columns(ds, n, profile)
    for c in ds.columns_for(profile):
        if c.enum:
            lo = -1 if c.nullable else 0
            cols[c.name] = rng.integers(lo, len(ds.enums[c.enum]), n).astype(np.int8)
        elif c.type == "f64":
            cols[c.name] = rng.normal(size=n)
        elif c.type == "bool":
            cols[c.name] = rng.random(n) < 0.5
        elif c.type in ("str", "hex64"):
            cols[c.name] = np.array([f"x{i}" for i in range(n)], dtype=object)
        else:
            top = min(10**12, np.iinfo(c.memory_dtype).max)
            cols[c.name] = rng.integers(0 if c.nullable else 1, top, n).astype(c.memory_dtype)
    return cols


def _same(a: Columns, b: Columns) -> bool:
    return a.keys() == b.keys() and all(
        np.array_equal(a[k], b[k], equal_nan=a[k].dtype == np.float64) and a[k].dtype == b[k].dtype for k in a
    )


@pytest.mark.parametrize("dataset_id", sorted(CONTRACTS.datasets))
def test_every_dataset_round_trips(dataset_id: str, tmp_path: Path) -> None:
    """A published column would come back with another type, code or null."""
    ds = CONTRACTS.dataset(dataset_id)
    a, b = _random(ds, 50, 1), _random(ds, 7, 2)
    writer = PartWriter(tmp_path / "p.parquet", ds)
    writer.write_group(a)
    writer.write_group(b)
    result = writer.close()
    back = read_table([tmp_path / "p.parquet"], ds)
    assert _same(back, {k: np.concatenate([a[k], b[k]]) for k in a})
    assert result.rows == 57
    file = pq.ParquetFile(tmp_path / "p.parquet")
    assert file.metadata.num_row_groups == 2
    assert file.schema_arrow.equals(ds.arrow_schema())


def test_digest_depends_on_content_and_groups_only(tmp_path: Path) -> None:
    """Equal content would get unequal digests, or unequal content equal ones."""
    cols = _random(FLOWS, 20, 3)
    h = ContentHasher(FLOWS, "full")
    h.update(cols)
    writer = PartWriter(tmp_path / "a.parquet", FLOWS, metadata={"x": "1"})
    writer.write_group(cols)
    assert writer.close().content_digest == h.hexdigest()
    for name in ("ts_utc", "amount", "flow_type"):
        changed = {**cols, name: cols[name].copy()}
        changed[name][7] = 1 if cols[name][7] != 1 else 2
        other = ContentHasher(FLOWS, "full")
        other.update(changed)
        assert other.hexdigest() != h.hexdigest(), name


def test_core_profile_is_a_subset(tmp_path: Path) -> None:
    """The core profile would publish a column that only `full` has, or fail on reading."""
    cols = _random(FLOWS, 5, 4)
    writer = PartWriter(tmp_path / "c.parquet", FLOWS, "core")
    writer.write_group(cols)
    writer.close()
    back = read_table([tmp_path / "c.parquet"], FLOWS)
    assert list(back) == [c.name for c in FLOWS.columns if c.profile == "core"]


def test_no_rows_and_no_groups(tmp_path: Path) -> None:
    """An empty world would not be readable."""
    writer = PartWriter(tmp_path / "e.parquet", FLOWS)
    writer.write_group(empty_columns(FLOWS))
    writer.close()
    PartWriter(tmp_path / "n.parquet", FLOWS).close()
    for name in ("e", "n"):
        assert len(read_table([tmp_path / f"{name}.parquet"], FLOWS)["flow_id"]) == 0


def test_batches_cover_the_rows_in_order(tmp_path: Path) -> None:
    """Reading in batches would lose, repeat or reorder rows."""
    cols = _random(FLOWS, 103, 5)
    for i in range(2):
        writer = PartWriter(tmp_path / f"{i}.parquet", FLOWS)
        writer.write_group(cols)
        writer.close()
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for rows in (1, 10, 1000):
        got = np.concatenate([b["flow_id"] for b in iter_batches(paths, FLOWS, rows, ["flow_id"])])
        assert np.array_equal(got, np.concatenate([cols["flow_id"]] * 2))


def test_codes_outside_the_vocabulary_are_refused() -> None:
    """A kernel's wrong code would be published as another label."""
    cols = _random(FLOWS, 3, 6)
    cols["flow_type"][1] = 100
    with pytest.raises(InternalError, match="flow_type"):
        to_batch(FLOWS, cols)
    cols["flow_type"][1] = -1
    with pytest.raises(InternalError, match="flow_type"):
        to_batch(FLOWS, cols)


def test_reading_refuses_what_the_contract_forbids(tmp_path: Path) -> None:
    """Nulls, unknown labels, wrong types or missing columns would enter the engine unseen."""
    ds = CONTRACTS.dataset("fx_rates_3A")
    good = pa.Table.from_batches([to_batch(ds, _random(ds, 4, 7))])
    assert len(from_arrow(ds, good)["currency"]) == 4
    n = good.num_rows
    bad = {
        "nulls": good.set_column(2, "ref_per_major", pa.array([1.0, None, 1.0, 1.0])),
        "labels": good.set_column(0, "currency", pa.array(["EUR", "GBP", "USD", "XXX"])),
        "ref_per_major": good.set_column(2, "ref_per_major", pa.array(["a"] * n)),
        "lacks column decimals": good.drop_columns(["decimals"]),
    }
    for words, table in bad.items():
        with pytest.raises(DataError, match=words):
            from_arrow(ds, table)


def test_corrupt_and_missing_files_are_named(tmp_path: Path) -> None:
    """A truncated part would end in a library's traceback instead of naming the file."""
    path = tmp_path / "p.parquet"
    writer = PartWriter(path, FLOWS)
    writer.write_group(_random(FLOWS, 1000, 8))
    writer.close()
    data = path.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut\.parquet"):
        read_table([tmp_path / "cut.parquet"], FLOWS)
    with pytest.raises(DataError, match=r"gone\.parquet"):
        read_table([tmp_path / "gone.parquet"], FLOWS)


def test_files_are_encoded_as_the_contract_says(tmp_path: Path) -> None:
    """A column is compressed where only time is lost by it, or written in another encoding than the contract names."""
    events = CONTRACTS.dataset("s3_event_stream_with_fraud_6B")
    kinds = {"delta": {"DELTA_BINARY_PACKED"}, "plain": {"PLAIN"}, "raw": {"PLAIN"}}
    kinds["dict"] = {"PLAIN", "RLE_DICTIONARY"}
    for ds in (FLOWS, events):
        path = tmp_path / f"{ds.id}.parquet"
        writer = PartWriter(path, ds)
        writer.write_group(_random(ds, 5_000, 3))
        writer.close()
        group = pq.ParquetFile(path).metadata.row_group(0)
        for k, c in enumerate(ds.columns):
            found = group.column(k)
            assert found.compression == ("SNAPPY" if c.encoding == "plain" else "UNCOMPRESSED"), c.name
            # Booleans and definition levels are RLE besides; few values leave out no kind that is named.
            assert set(found.encodings) - {"RLE"} == kinds[c.encoding], (c.name, found.encodings)
    assert {events.column("amount").encoding, FLOWS.column("bin").encoding} == {"dict"}
