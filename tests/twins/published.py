"""Published tables as plain Python: lists by column; instants as microseconds, days as numbers, enums as labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

Table = dict[str, list[Any]]


def plain(table: pa.Table) -> Table:
    """Columns as lists; null is None."""
    out: Table = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        elif pa.types.is_date32(column.type):
            column = column.cast(pa.int32())
        out[name] = column.to_pylist()
    return out


@dataclass(frozen=True)
class Published:
    """A world, a run of it and the pack that it was made with.

    `world`, `run`: their folders; `docs`: policy documents as plain data; `enums`: labels in code order; `seed`,
    `scenario`: of the run.
    """

    world: Path
    run: Path
    docs: dict[str, Any]
    enums: dict[str, list[str]]
    seed: int
    scenario: str

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The world's manifest."""
        return dict(json.loads((self.world / "world.json").read_text("utf-8")))

    @property
    def fingerprint(self) -> str:
        """Which world it is: what keys of the run depend on."""
        return str(self.manifest["manifest_fingerprint"])

    def world_table(self, dataset: str) -> Table:
        """Rows of a table of the world; arrivals: those of the scenario."""
        paths = [e["path"] for e in self.manifest["files"] if e["dataset"] == dataset]
        mine = [p for p in paths if "scenario_id=" not in p or f"scenario_id={self.scenario}/" in p]
        return plain(pa.concat_tables([pq.ParquetFile(self.world / p).read() for p in mine]))

    def _files(self, dataset: str) -> list[pq.ParquetFile]:
        folder = self.run / "data" / "layer3" / "6B" / dataset
        paths = sorted(p for p in folder.rglob("*.parquet") if f"scenario_id={self.scenario}" in str(p))
        return [pq.ParquetFile(p) for p in paths]

    def table(self, dataset: str) -> Table:
        """Rows of a table of the run, in the order of parts and row groups."""
        return plain(pa.concat_tables([f.read() for f in self._files(dataset)]))

    def groups(self, dataset: str) -> list[Table]:
        """The same, one table per row group: one per shard."""
        return [plain(f.read_row_group(g)) for f in self._files(dataset) for g in range(f.num_row_groups)]

    def draws(self, module: str) -> dict[str, list[int]]:
        """Draws and checksum per decision of a state (6B.S1 and so on), as its trace log has them."""
        (path,) = self.run.glob("logs/layer3/6B/rng/trace/**/*.jsonl")
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return {x["decision"]: [x["draws_total"], int(x["checksum"], 16)] for x in lines if x["module"] == module}


def labels() -> dict[str, list[str]]:
    """All closed vocabularies of the contracts."""
    root = Path(__file__).resolve().parents[2]
    text = (root / "contracts" / "dictionary" / "enums.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text)["enums"])


def differences(found: Table, expected: Table, limit: int = 5) -> list[str]:
    """Where two tables differ: columns, rows and values, in words."""
    if list(found) != list(expected):
        return [f"columns {list(found)}, expected {list(expected)}"]
    out = []
    for name, column in expected.items():
        if len(found[name]) != len(column):
            return [f"{len(found[name])} rows, expected {len(column)}"]
        rows = [i for i, v in enumerate(column) if v != found[name][i]]
        out += [f"{name}[{i}]: {found[name][i]!r}, expected {column[i]!r}" for i in rows[:limit]]
        if len(rows) > limit:
            out.append(f"{name}: {len(rows)} rows differ")
    return out
