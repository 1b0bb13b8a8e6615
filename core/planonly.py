"""What a run will take, before it writes anything: shards, parts, rows, bytes, memory, time, and room on the disk.

The figures per arrival were measured with the shipped packs (see `run --profile`); they are estimates, not promises.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fraudloom.contracts_api import Contracts
from fraudloom.errors import EnvironmentFault
from fraudloom.policies_api import Pack
from fraudloom.pool import worker_count
from fraudloom.shards import part_count
from fraudloom.spec import RunOptions
from fraudloom.worlds import WorldChoice, read_world_manifest

#: Free bytes that tests pretend to have.
TEST_FREE = "FRAUDLOOM_TEST_DISK_FREE"


@dataclass(frozen=True)
class Rates:
    """Per arrival: output rows and bytes; core-seconds per million arrivals."""

    rows: float
    bytes: float
    core_s: float


RATES: Mapping[str, Rates] = {"full": Rates(16.5, 470.0, 17.0), "core": Rates(14.0, 380.0, 10.0)}
SCRATCH_BYTES = 125.0
WORLD_BYTES = 30.0
WORLD_CORE_S = 3.0
BASE_MEMORY = 450 << 20
#: One shard in flight: frames and encoders, bytes per arrival of the shard, and its least.
SHARD_MEMORY = 2_600.0
#: Reserve on top of the estimate.
MARGIN = 1.10


@dataclass(frozen=True)
class RunPlan:
    """The estimate of one run."""

    world_root: str
    world_built: bool
    manifest_fingerprint: str
    scenarios: tuple[str, ...]
    arrivals: int
    shards: int
    parts: int
    workers: int
    rows_expected: int
    bytes_output: int
    bytes_scratch: int
    bytes_world: int
    bytes_needed: int
    bytes_free: int
    fits: bool
    memory_bytes: int
    core_s: float
    wall_s: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"scenarios": list(self.scenarios)}


def free_bytes(folder: Path) -> int:
    """Bytes free where `folder` is or will be."""
    pretended = os.environ.get(TEST_FREE)
    if pretended:
        return int(pretended)
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def folder_bytes(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0


def _world_facts(
    choice: WorldChoice, contracts: Contracts, options: RunOptions, pack: Pack
) -> tuple[tuple[str, ...], int, int, int]:
    """Scenarios that are in scope, arrivals over them, shards and rows of the largest shard (about)."""
    from fraudloom.states.behaviour import behaviour

    if choice.there:
        manifest = read_world_manifest(choice.root)
        names, _ = behaviour(pack).in_scope(options.scenarios or tuple(manifest["scenarios"]), options.seed)
        rows = [int(manifest["arrivals"].get(s, 0)) for s in names]
        shards = int(manifest["shards"])
    else:
        from fraudloom.states.world.publish import shard_count
        from fraudloom.states.world.spec import make_context

        names, _ = behaviour(pack).in_scope(tuple(choice.spec.scenarios), options.seed)
        rows = [choice.spec.arrivals] * len(names)
        shards = shard_count(make_context(choice.spec, contracts), choice.spec.arrivals)
    return tuple(names), sum(rows), shards, max(rows, default=0) // max(shards, 1)


def plan_run(options: RunOptions, choice: WorldChoice, pack: Pack, contracts: Contracts, held: int = 0) -> RunPlan:
    """Estimate a run. `held`: bytes that a resumed run already has on the disk."""
    scenarios, arrivals, shards, shard_rows = _world_facts(choice, contracts, options, pack)
    workers = worker_count(options.workers)
    rates = RATES[pack.profile]
    world = 0 if choice.there else int(arrivals * WORLD_BYTES)
    output, scratch = int(arrivals * rates.bytes), int(arrivals * SCRATCH_BYTES)
    # Building a world scatters its rows once before it writes them.
    needed = int((output + scratch + 2 * world) * MARGIN) + (4 << 20)
    free = free_bytes(options.runs_root)
    core_s = (rates.core_s + (0.0 if choice.there else WORLD_CORE_S)) * arrivals / 1e6
    busy = max(1, min(workers, part_count(shards)))
    return RunPlan(
        str(choice.root),
        choice.there,
        choice.fingerprint,
        scenarios,
        arrivals,
        shards,
        part_count(shards),
        workers,
        int(arrivals * rates.rows),
        output,
        scratch,
        world,
        max(0, needed - held),
        free,
        max(0, needed - held) <= free,
        int(BASE_MEMORY + busy * SHARD_MEMORY * shard_rows),
        round(core_s, 2),
        round(core_s / busy + 1.0, 2),
    )


def demand_room(plan: RunPlan, runs_root: Path) -> None:
    """EnvironmentFault when the disk will not hold the run."""
    if not plan.fits:
        raise EnvironmentFault(
            "RUN",
            "DISK_TOO_SMALL",
            what="the run will not fit the disk; nothing was written",
            found=f"{plan.bytes_free:,} bytes free",
            expected=f"about {plan.bytes_needed:,} bytes (output, scratch, world)",
            where=runs_root,
            action="free space, name another --runs-root, or ask for fewer --arrivals",
        )
