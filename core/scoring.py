"""Scoring a sealed run: its published tables and its world through the realism gates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudloom.contracts_api import Contracts
from fraudloom.errors import PolicyError, SealError, UsageError
from fraudloom.policies_api import Pack, load_pack
from fraudloom.pool import Stop, run_all, worker_count
from fraudloom.progress import Progress
from fraudloom.receipts import SEAL, RunFolder

if TYPE_CHECKING:
    from fraudloom.states.score import Report

POLICY = "realism_gates_6B"


@dataclass(frozen=True)
class Reading:
    """A sealed run that is about to be measured: which pack judges it, which files it has, and where its world lies."""

    run: RunFolder
    pack: Pack
    axes: Mapping[str, Any]
    world_root: Path
    files: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """What every report on a run begins with."""
        return {
            "run_id": self.run.run_id,
            "run_root": str(self.run.root),
            "world_root": str(self.world_root),
            "axes": self.axes,
            "profile": self.run.receipt.get("profile"),
            "policies": self.pack.name,
        }


def open_reading(
    run: RunFolder, contracts: Contracts, world: Path | None, policies: str | None, state: str = "SCORE"
) -> Reading:
    """Open a run to be measured; `world` and `policies` instead of those of its receipt.

    SealError when the run is not sealed, UsageError when its pack is not known.
    """
    seal = seal_of(run, state)
    pack = pack_of(run, policies, contracts, state)
    root = world or Path(str(run.receipt["world_root"]))
    return Reading(run, pack, run.receipt["axes"], root, tuple(str(e["path"]) for e in seal["files"]))


def pack_of(run: RunFolder, named: str | None, contracts: Contracts, state: str = "SCORE") -> Pack:
    """The pack whose gates or corridors count: the one named, else the run's own, by the name in its receipt."""
    try:
        return load_pack(named or str(run.receipt.get("policies")), contracts)
    except PolicyError as e:
        if named is not None or e.code != "PACK_UNKNOWN":
            raise
        raise UsageError(
            state,
            "PACK_UNKNOWN",
            what="the run's policy pack does not ship with fraudloom",
            found=run.receipt.get("policies"),
            expected=e.expected,
            action="name the folder of its pack with --policies",
        ) from None


def seal_of(run: RunFolder, state: str = "SCORE") -> Mapping[str, Any]:
    """The seal of a run. SealError when it is not finished."""
    if not run.sealed:
        raise SealError(
            state,
            "NOT_SEALED",
            what="the run is not sealed: no PASS, no read",
            found=run.status(),
            where=run.root,
            action="finish it with `fraudloom run`, and see `fraudloom runs show`",
        )
    seal: Mapping[str, Any] = json.loads((run.root / SEAL).read_text("utf-8"))
    return seal


def score_run(
    run: RunFolder,
    contracts: Contracts,
    *,
    world: Path | None = None,
    policies: str | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], Report]:
    """Score a sealed run. Returns (plain data of the whole report, the report).

    Raises SealError when the run is not sealed or the world is another one, DataError when a table cannot be decoded,
    UsageError when the pack of the run is not known. A table that is missing is no error: its gates fail for want of
    evidence.
    """
    from fraudloom.states import score

    reading = open_reading(run, contracts, world, policies)
    axes = reading.axes
    plan = score.compile_plan(reading.pack.doc(POLICY))
    surfaces = score.Surfaces.find(run.root, reading.files, contracts)
    bare = not surfaces.has("s3_flow_anchor_with_fraud_6B", "pinned_label")
    facts = score.read_world(reading.world_root, str(axes["manifest_fingerprint"]), axes["scenarios"], contracts, bare)
    sharing = score.Sharing(facts.devices, facts.addresses, facts.accounts)
    ctx = score.Context(surfaces, facts, plan, sharing)
    tasks = score.scan_tasks(surfaces)
    total, stop = score.Tally(ctx.sizes), Stop()
    with (progress or Progress(quiet=True)).task("score", len(tasks), "parts") as bar:

        def scan(task: tuple[str, int]) -> None:
            stop.check()
            tally = score.scan_part((ctx, task))
            total.merge_locked(tally)
            bar.advance(1)

        with ThreadPoolExecutor(worker_count(workers)) as executor:
            run_all(executor, scan, tasks, stop)
    figures = score.measure(score.Evidence(plan, surfaces, total, sharing))
    report = score.judge(plan, figures, facts.arrivals, facts.imported)
    value = {
        **reading.facts(),
        "arrivals": facts.arrivals,
        "verdict": report.verdict,
        "passed": report.passed,
        "not_applicable": report.why_not_applicable or None,
        "routing": report.routing(),
        "gates": [g.as_json() for g in report.gates],
    }
    return value, report
