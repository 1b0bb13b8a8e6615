"""Arithmetic of shards, parts and scatter units: functions of the world alone, never of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Rows of one unit of the scatter, at most, unless a single row group has more.
UNIT_ROWS = 1 << 18


def part_count(shards: int) -> int:
    """min(shards, max(16, ceil(shards / 8)))."""
    return min(shards, max(16, -(-shards // 8)))


def part_shards(shards: int, part: int) -> range:
    """The consecutive shards of a part: a balanced split, [part * S // P, (part + 1) * S // P)."""
    parts = part_count(shards)
    return range(part * shards // parts, (part + 1) * shards // parts)


def part_of(shards: int, shard: int) -> int:
    """The part that holds a shard."""
    parts = part_count(shards)
    part = shard * parts // shards
    while part_shards(shards, part).stop <= shard:
        part += 1
    return part


@dataclass(frozen=True)
class Unit:
    """One unit of the scatter: row groups `groups` of arrival file `file`, from arrival ordinal `first` on."""

    index: int
    file: int
    groups: tuple[int, ...]
    first: int
    rows: int


def units(group_rows: Sequence[Sequence[int]], limit: int = UNIT_ROWS) -> tuple[Unit, ...]:
    """Cut the arrival files into units: consecutive row groups of a file, at most `limit` rows unless one has more.

    `group_rows[f][g]`: rows of row group g of file f, files in part order.
    """
    found: list[Unit] = []
    ordinal = 0
    for file, sizes in enumerate(group_rows):
        run: list[int] = []
        held = 0
        for g, rows in enumerate(sizes):
            if run and held + rows > limit:
                found.append(Unit(len(found), file, tuple(run), ordinal, held))
                ordinal, run, held = ordinal + held, [], 0
            run.append(g)
            held += rows
        if run:
            found.append(Unit(len(found), file, tuple(run), ordinal, held))
            ordinal += held
    return tuple(found)
