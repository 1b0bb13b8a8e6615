"""Arithmetic of shards, parts and units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloom.shards import part_count, part_of, part_shards, units


@given(st.integers(1, 5000))
def test_parts_cover_the_shards_once_and_in_order(shards: int) -> None:
    """Parts are consecutive runs: every shard in exactly one, sizes differ by at most one, none is empty."""
    parts = part_count(shards)
    runs = [part_shards(shards, p) for p in range(parts)]
    assert [s for run in runs for s in run] == list(range(shards))
    sizes = {len(run) for run in runs}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("shards", "parts"), [(1, 1), (8, 8), (16, 16), (17, 16), (128, 16), (129, 17), (475, 60), (4096, 512)]
)
def test_number_of_parts(shards: int, parts: int) -> None:
    """min(shards, max(16, ceil(shards / 8)))."""
    assert part_count(shards) == parts


@given(st.integers(1, 2000), st.data())
def test_part_of_a_shard(shards: int, data: st.DataObject) -> None:
    """`part_of` inverts `part_shards`."""
    shard = data.draw(st.integers(0, shards - 1))
    assert shard in part_shards(shards, part_of(shards, shard))


@given(st.lists(st.lists(st.integers(0, 50), max_size=8), max_size=6), st.integers(1, 60))
def test_units_cover_the_row_groups_in_order(sizes: list[list[int]], limit: int) -> None:
    """Units hold every row group once, in order, of one file each; ordinals run on; the limit holds unless alone."""
    found = units(sizes, limit)
    assert [(u.file, g) for u in found for g in u.groups] == [
        (f, g) for f, s in enumerate(sizes) for g in range(len(s))
    ]
    ordinal = 0
    for index, u in enumerate(found):
        assert (u.index, u.first) == (index, ordinal)
        assert u.rows == sum(sizes[u.file][g] for g in u.groups)
        assert u.rows <= limit or len(u.groups) == 1 or sum(sizes[u.file][g] > 0 for g in u.groups) == 1
        ordinal += u.rows
