"""One part: its shards, the tables of each side by side, columns pruned, into counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fraudloom.contracts_api import Contracts
from fraudloom.errors import DataError
from fraudloom.states.figures.families import FAMILIES, TABLES, Family
from fraudloom.states.figures.plan import FigurePlan
from fraudloom.states.figures.tally import Shares, Tally
from fraudloom.states.figures.town import Town
from fraudloom.states.score.surfaces import Surfaces, Task
from fraudloom.tables import Columns, iter_groups


@dataclass(frozen=True)
class Context:
    """What every part's scan needs; of it only `shares` (by scenario) are written, under their locks."""

    surfaces: Surfaces
    town: Town
    plan: FigurePlan
    shares: Mapping[str, Shares]

    def families(self) -> list[Family]:
        """Families whose columns are published."""
        return [f for f in FAMILIES if not self.why_not(f)]

    def why_not(self, family: Family) -> str:
        """Why a family cannot be measured; empty when it can."""
        for dataset, columns in family.needs.items():
            if not self.surfaces.files[dataset]:
                return f"{dataset} is not published"
            gone = [c for c in columns if c not in self.surfaces.columns[dataset]]
            if gone:
                return f"{dataset}.{gone[0]} is not published"
        return ""


def find_tables(root: Path, published: Iterable[str], contracts: Contracts) -> Surfaces:
    """The tables that figures read; `published`: paths of the run's files, as its seal names them."""
    return Surfaces.find(root, published, contracts, TABLES)


def scan_tasks(surfaces: Surfaces) -> list[Task]:
    """Every (scenario, part) of the tables that figures read. DataError when a published file is not there."""
    for dataset, why in surfaces.missing.items():
        if surfaces.files[dataset]:
            gone = next(p for p in surfaces.files[dataset].values() if not p.is_file())
            raise DataError(
                "FIGURES",
                "PART_MISSING",
                what=why,
                where=gone,
                expected="every file that the run's seal names",
                action="restore the file, or run again",
            )
    return sorted({task for name in TABLES for task in surfaces.files[name]})


def _shards(ctx: Context, task: Task) -> Iterator[dict[str, Columns]]:
    """The shards of a part: row group by row group, each table's columns that some family needs."""
    wanted: dict[str, set[str]] = {}
    for family in ctx.families():
        for dataset, columns in family.needs.items():
            wanted.setdefault(dataset, set()).update(columns)
    groups = {}
    for dataset, names in wanted.items():
        path = ctx.surfaces.files[dataset].get(task)
        if path is not None:
            groups[dataset] = iter_groups(path, ctx.surfaces.contracts.dataset(dataset), sorted(names))
    try:
        for rows in zip(*groups.values(), strict=True):
            yield dict(zip(groups, rows, strict=True))
    except ValueError as e:
        if "zip()" not in str(e):
            raise
        raise DataError(
            "FIGURES",
            "SHARDS_UNEQUAL",
            what=f"tables of part {task[1]} of {task[0]} have different numbers of row groups",
            expected=f"one row group per shard in each of {', '.join(groups)}",
            where=next(iter(ctx.surfaces.files[next(iter(groups))].values())).parent,
            action="run again",
        ) from None


def scan_part(work: tuple[Context, Task]) -> Tally:
    """Counts of one (scenario, part); what parts share goes into the scenario's `shares`."""
    ctx, task = work
    tally, shares = Tally(), ctx.shares[task[0]]
    for shard in _shards(ctx, task):
        for family in ctx.families():
            if family.needs.keys() <= shard.keys():
                family.scan(shard, ctx.town, ctx.plan, tally, shares)
    return tally
