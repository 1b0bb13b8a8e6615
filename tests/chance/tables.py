"""A small world woven by the product's public way, as NumPy columns: enums as labels, instants as microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraudloom.contracts_api import load_contracts
from fraudloom.policies_api import load_pack
from fraudloom.run import run_world
from fraudloom.spec import RunOptions
from fraudloom.states.world import WorldSpec, build_world, load_world

CONTRACTS = load_contracts()
Array = np.ndarray[Any, Any]
Table = dict[str, Array]
FLOWS, EVENTS, LINKS = "s2_flow_anchor_baseline_6B", "s2_event_stream_baseline_6B", "s2_arrival_flow_link_6B"
ARRIVALS, SESSIONS = "s1_arrival_entities_6B", "s1_session_index_6B"
DAY = 86_400_000_000


def column(values: pa.ChunkedArray) -> Array:
    """Plain NumPy: labels as text ("" null), instants as microseconds and ids with 0 for null."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    if pa.types.is_string(values.type):
        return np.array(values.fill_null("").to_pylist(), dtype=np.str_)
    if pa.types.is_integer(values.type):
        values = values.fill_null(0)
    out: Array = values.to_numpy()
    return out


@dataclass(frozen=True)
class Sample:
    """A run of S1 to S3 by the default pack. seed: of the world and of the run."""

    seed: int
    world_root: Path
    run_root: Path

    @cached_property
    def world(self) -> Any:
        """The loaded world; its tables hold codes."""
        return load_world(self.world_root, CONTRACTS)

    @cached_property
    def policies(self) -> dict[str, Any]:
        """Documents of the pack."""
        return dict(load_pack("default", CONTRACTS).docs)

    def table(self, dataset: str) -> Table:
        """All rows of a published table."""
        folder = self.run_root / "data" / "layer3" / "6B" / dataset
        rows = pa.concat_tables([pq.ParquetFile(p).read() for p in sorted(folder.rglob("*.parquet"))])
        return {name: column(rows.column(name)) for name in rows.column_names}

    def of_world(self, dataset: str) -> Table:
        """A table of the world, enums as labels."""
        out = {}
        for c in CONTRACTS.dataset(dataset).columns:
            if c.name in self.world.tables[dataset]:
                values = self.world.tables[dataset][c.name]
                out[c.name] = np.array([*CONTRACTS.enum(c.enum), ""])[values] if c.enum else values
        return out

    @cached_property
    def flows(self) -> Table:
        """Flows, in (ts_utc, flow_id) order."""
        return self.table(FLOWS)

    @cached_property
    def arrivals(self) -> Table:
        """Arrivals, in (ts_utc, merchant_id, arrival_seq) order, with flow_id and link_rank."""
        a, links = self.table(ARRIVALS), self.table(LINKS)
        places = [np.lexsort((t["arrival_seq"], t["merchant_id"])) for t in (a, links)]
        for name in ("flow_id", "link_rank"):
            a[name] = np.empty_like(links[name])
            a[name][places[0]] = links[name][places[1]]
        order = np.lexsort((a["arrival_seq"], a["merchant_id"], a["ts_utc"]))
        return {k: v[order] for k, v in a.items()}


def weave(folder: Path, seed: int, arrivals: int) -> Sample:
    """Build a world and run it to S3."""
    world = folder / f"world-{seed}"
    build_world(WorldSpec(arrivals=arrivals, seed=seed), world, workers=1)
    options = RunOptions(world=world, seed=seed, runs_root=folder / f"runs-{seed}", last="S3", quiet=True, workers=1)
    return Sample(seed, world, Path(run_world(options).values["run_root"]))
