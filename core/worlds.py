"""The world of a run: the one that was named, or the one that is built or reused by its specification."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fraudloom.contracts_api import Contracts
from fraudloom.errors import SealError, UsageError
from fraudloom.lock import FolderLock
from fraudloom.policies_api import Pack
from fraudloom.progress import Progress
from fraudloom.spec import DEFAULT_SCENARIO, RunOptions

MANIFEST = "world.json"


@dataclass(frozen=True)
class WorldChoice:
    """Where the world is (or will be), its fingerprint, and what building it takes."""

    root: Path
    fingerprint: str
    spec: Any
    there: bool


def read_world_manifest(root: Path) -> dict[str, Any]:
    """`world.json` of a world; SealError when it is missing or malformed."""
    path = root / MANIFEST
    try:
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict) or len(str(value["manifest_fingerprint"])) != 64:
            raise ValueError("no manifest fingerprint")
    except PermissionError:
        raise
    except OSError:
        raise SealError(
            "S0",
            "WORLD_MISSING",
            what="the folder holds no sealed world",
            found=f"no {MANIFEST}",
            where=root,
            action="name a world that `fraudloom world build` or `world import` made, or leave --world out",
        ) from None
    except (ValueError, KeyError) as e:
        raise SealError(
            "S0",
            "WORLD_MANIFEST_MALFORMED",
            what=f"{MANIFEST} is malformed: {e}",
            where=path,
            action="restore the file, or build the world again",
        ) from None
    return value


def choose_world(options: RunOptions, contracts: Contracts) -> WorldChoice:
    """Which world a call means. Nothing is written."""
    if options.world is not None:
        manifest = read_world_manifest(options.world)
        return WorldChoice(options.world.resolve(), str(manifest["manifest_fingerprint"]), None, True)
    from fraudloom.states.world.spec import WorldSpec, make_context

    spec = WorldSpec(
        arrivals=options.arrivals,
        seed=options.world_seed,
        days=options.days,
        scenarios=options.scenarios or (DEFAULT_SCENARIO,),
    )
    mf = make_context(spec, contracts).mf
    root = (options.runs_root / "worlds" / mf).resolve()
    return WorldChoice(root, mf, spec, (root / MANIFEST).is_file())


def ensure_world(choice: WorldChoice, contracts: Contracts, workers: int, progress: Progress) -> None:
    """Build the world unless it is there."""
    if choice.there or choice.spec is None:
        return
    from fraudloom.states.world import build_world

    lock = choice.root.parent / f".{choice.fingerprint[:16]}.lock"
    with FolderLock(lock, "the building of this world"):
        progress.line(f"world  building {choice.spec.arrivals:,} arrivals under {choice.root}")
        with progress.task("world", 1000, "steps") as task:
            stages: dict[str, int] = {}

            def tell(stage: str, done: int, total: int) -> None:
                """Map stages onto one bar: entities a fifth, then each stage a share."""
                stages[stage] = min(done * 1000 // max(total, 1), 1000)
                share = sum(stages.values()) // max(len(stages), 3)
                if share > task.done:
                    task.advance(share - task.done)

            build_world(choice.spec, choice.root, workers=workers, progress=tell, contracts=contracts)
            if task.done < task.total:
                task.advance(task.total - task.done)
        tell_abandoned(choice.root.parent, progress)


def tell_abandoned(folder: Path, progress: Progress) -> None:
    """Say which building folders killed builds of other worlds left in a folder; a build removes its own."""
    from fraudloom.states.world.publish import abandoned

    for path in abandoned(folder):
        progress.line(f"left by a killed build: {path}; build that world again, or remove the folder")


def scenarios_in_scope(options: RunOptions, world: Any, pack: Pack) -> tuple[tuple[str, ...], list[str]]:
    """(scenarios to weave, notes on those that the pack's scope filters leave out); PolicyError when none is left."""
    from fraudloom.states.behaviour import behaviour

    return behaviour(pack).in_scope(choose_scenarios(options, world), options.seed)


def choose_scenarios(options: RunOptions, world: Any) -> tuple[str, ...]:
    """The scenarios to weave: those named, else all of the world; UsageError for an unknown one."""
    known = tuple(world.scenarios)
    wanted = options.scenarios or known
    unknown = [s for s in wanted if s not in known]
    if unknown or len(set(wanted)) != len(wanted):
        raise UsageError(
            "RUN",
            "SCENARIO_UNKNOWN",
            what="scenarios must be in the world, each named once",
            found=", ".join(unknown or wanted),
            expected=", ".join(known),
            action="name scenarios of the world, or leave --scenario out",
        )
    return tuple(wanted)
