"""Scatter files: what goes in comes back by shard, in unit order; broken files are noticed; nothing else is removed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloom.errors import InternalError
from fraudloom.scratch import Scratch, constant_columns, load_arrays, remove_work, save_arrays
from fraudloom.tables import Columns

COLUMNS = (("a", "int64"), ("b", "int8"), ("c", "bool"))


def rows(n: int, start: int) -> Columns:
    """n rows that can be told apart."""
    a = np.arange(start, start + n, dtype=np.int64)
    return {"a": a, "b": (a % 100).astype(np.int8), "c": a % 2 == 0}


def write(scratch: Scratch, unit: int, cols: Columns) -> dict[str, object]:
    """Scatter by a * 7 mod shards; return the record."""
    shard = cols["a"] * 7 % scratch.shards
    order = np.argsort(shard, kind="stable")
    ends = np.searchsorted(shard[order], np.arange(scratch.shards + 1))
    empty = {"first": None, "last": None, "evidence": [], "carried": ["0"]}
    record = {**empty, **scratch.write_unit(unit, {k: v[order] for k, v in cols.items()}, ends)}
    for kind in ("census", "busy"):
        save_arrays(scratch.arrays_path(unit, kind), {"x": np.zeros(3)})
    scratch.finish_unit(unit, record)
    return record


@given(st.integers(1, 40), st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_shards_come_back_whole_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, shards: int, sizes: list[int]
) -> None:
    """Every row comes back once, in its shard, in unit order and in row order within the unit."""
    work = tmp_path_factory.mktemp("scratch") / ".work"
    scratch = Scratch(work / "scatter", work, shards)
    records = [write(scratch, k, rows(n, 1000 * k)) for k, n in enumerate(sizes)]
    everything = np.concatenate([rows(n, 1000 * k)["a"] for k, n in enumerate(sizes)])
    for shard in range(shards):
        found = scratch.read_shard(shard, records, COLUMNS)
        wanted = everything[everything * 7 % shards == shard]
        assert found["a"].tolist() == wanted.tolist()
        assert found["b"].tolist() == (wanted % 100).tolist()
        assert found["c"].dtype == np.bool_


def test_constant_columns_come_back_beside_varying_ones(tmp_path: Path) -> None:
    """A column that is constant in one unit and not in the next has each unit's own values in every shard."""
    work = tmp_path / ".work"
    scratch = Scratch(work / "scatter", work, 2)
    records, wanted = [], []
    for unit, values in enumerate(([7, 7, 7, 7], [0, 7, 7, 7], [5])):
        cols = rows(len(values), 10 * unit) | {"d": np.array(values, dtype=np.int32), "e": np.ones(len(values))}
        constant = constant_columns(cols)
        assert constant == ({"d": ["<i4", 7]} if unit == 0 else {})
        ends = np.array([0, len(values) // 2, len(values)])
        kept = {name: v for name, v in cols.items() if name not in constant}
        records.append({**scratch.write_unit(unit, kept, ends), "constant": constant})
        wanted += values[len(values) // 2 :]
    found = scratch.read_shard(1, records)
    assert found["d"].tolist() == wanted and found["d"].dtype == np.int32
    assert found["a"].tolist() == [2, 3, 12, 13, 20]


def test_broken_scatter_files_are_not_reused(tmp_path: Path) -> None:
    """A changed, short or missing file of a part to do makes its unit undone; one of a finished part does not."""
    work = tmp_path / ".work"
    scratch = Scratch(work / "scatter", work, 4)
    write(scratch, 0, rows(50, 0))
    assert scratch.reusable(0, [0, 1, 2, 3], True) is not None
    assert scratch.reusable(1, [0], True) is None
    file = work / "scatter/part-00002/unit-00000.bin"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"x")
    assert scratch.reusable(0, [2], True) is None
    assert scratch.reusable(0, [0, 1, 3], True) is not None
    file.write_bytes(good[:-1])
    assert scratch.reusable(0, [2], True) is None
    scratch.free_part(2)
    assert scratch.reusable(0, [2], True) is None
    assert scratch.reusable(0, [0, 1, 3], True) is not None


def test_arrays_survive_the_sparse_form(tmp_path: Path) -> None:
    """Mostly zero arrays, dense ones and empty ones come back with shape and dtype."""
    sparse = np.zeros((50, 7), dtype=np.int32)
    sparse[3, 2] = -5
    arrays = {"sparse": sparse, "dense": np.arange(6.0), "none": np.zeros((0, 4), dtype=np.int64)}
    save_arrays(tmp_path / "x.npz", arrays)
    found = load_arrays(tmp_path / "x.npz")
    for name, a in arrays.items():
        assert np.array_equal(found[name], a)
        assert found[name].dtype == a.dtype


def test_nothing_outside_the_work_folder_is_removed(tmp_path: Path) -> None:
    """`remove_work` refuses the work folder itself, its siblings, and folders of another name."""
    work = tmp_path / ".work"
    (work / "staging").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    for path in (work, tmp_path / "data", tmp_path, work / ".." / "data"):
        with pytest.raises(InternalError, match="SCRATCH_PATH"):
            remove_work(path, work)
    with pytest.raises(InternalError, match="SCRATCH_PATH"):
        remove_work(tmp_path / "data" / "x", tmp_path / "data")
    remove_work(work / "staging", work)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".work", "data"]
