"""`fraudloom world`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import typer

from fraudloom.cli_common import emit, say, settings
from fraudloom.errors import GateError
from fraudloom.spec import DEFAULT_ARRIVALS, DEFAULT_DAYS, DEFAULT_SCENARIO, DEFAULT_SEED

world_app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Workers = Annotated[int, typer.Option(min=0, help="Threads; 0 for all processors.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the world; it must be free, or hold this very world.")]
MAX_SEED = (1 << 63) - 1
#: Findings that `world verify` prints.
SHOWN = 50


class _Tell:
    """Progress of building, importing or verifying a world, as one bar per stage; a context closes the last."""

    def __init__(self, progress: Any) -> None:
        self.progress = progress
        self.stage, self.done, self.since = "", 0, time.monotonic()
        self.task: Any = None
        self.open = ExitStack()
        self.lock = Lock()

    def __enter__(self) -> _Tell:
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of a stage."""
        with self.lock:
            if stage != self.stage:
                self.open.close()
                self.stage, self.done = stage, 0
                self.task = self.open.enter_context(self.progress.task(stage, total, ""))
                self.task.started = self.since  # a stage is first heard of when some of it is done
            self.task.advance(done - self.done)
            self.done, self.since = done, time.monotonic()


def _tell_abandoned(out: Path, quiet: bool) -> None:
    from fraudloom.progress import Progress
    from fraudloom.worlds import tell_abandoned

    tell_abandoned(out.absolute().parent, Progress(quiet))


def _report(manifest: Any, as_json: bool, quiet: bool) -> None:
    document = manifest.document
    facts = {
        "world_root": str(manifest.root.resolve()),
        "manifest_fingerprint": manifest.fingerprint,
        "origin": document.get("origin"),
        "seed": document.get("seed"),
        "scenarios": list(document["scenarios"]),
        "arrivals": manifest.arrivals,
        "shards": document["shards"],
        "rows": document["rows"],
        "unusable_rows": document.get("unusable_rows", []),
        "pinned": document["pinned"],
        "made": document["made"],
    }
    if as_json:
        emit(facts)
        return
    if quiet:
        return
    for name in ("world_root", "manifest_fingerprint", "origin", "seed", "shards"):
        say(f"{name:<22}{facts[name]}")
    for scenario, n in manifest.arrivals.items():
        say(f"{scenario:<22}{n:,} arrivals")
    if document["pinned"]:
        for name in ("pinned", "made"):
            say(f"{name:<22}{', '.join(document[name])}")
    for row in document.get("unusable_rows", [])[:20]:
        say(f"  line {row['line']}: {row['reason']}")


@world_app.command("build")
def world_build(
    ctx: typer.Context,
    out: Out,
    arrivals: Annotated[int, typer.Option(min=0, help="Arrivals per scenario.")] = DEFAULT_ARRIVALS,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="World seed.")] = DEFAULT_SEED,
    days: Annotated[int, typer.Option(min=1, help="Days of the horizon.")] = DEFAULT_DAYS,
    scenario: Annotated[list[str] | None, typer.Option(help="Scenario; may be repeated.")] = None,
    policy: Annotated[str, typer.Option(help="World policy pack: a shipped name or a folder.")] = "world",
    workers: Workers = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Build and seal an upstream world (1A to 6A)."""
    from fraudloom.contracts_api import load_contracts
    from fraudloom.pool import worker_count
    from fraudloom.progress import Progress
    from fraudloom.states.world import WorldSpec, build_world

    spec = WorldSpec(
        arrivals=arrivals, seed=seed, days=days, scenarios=tuple(scenario or (DEFAULT_SCENARIO,)), policy=policy
    )
    contracts = load_contracts(settings(ctx).contracts)
    with _Tell(Progress(quiet)) as tell:
        manifest = build_world(spec, out, worker_count(workers), tell, contracts)
    _tell_abandoned(out, quiet)
    _report(manifest, as_json, quiet)


@world_app.command("import")
def world_import(
    ctx: typer.Context,
    log: Annotated[Path, typer.Argument(help="Transaction log: CSV, gzipped or not, or Parquet.")],
    map_file: Annotated[Path, typer.Option("--map", help="YAML map of the log's columns.")],
    out: Out,
    max_bad_rows: Annotated[int, typer.Option(min=0, help="Unusable rows to put up with.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="World seed.")] = DEFAULT_SEED,
    policy: Annotated[str, typer.Option(help="World policy pack: a shipped name or a folder.")] = "world",
    workers: Workers = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a sealed world from a real transaction log."""
    from fraudloom.contracts_api import load_contracts
    from fraudloom.pool import worker_count
    from fraudloom.progress import Progress
    from fraudloom.states.world import import_world

    contracts = load_contracts(settings(ctx).contracts)
    with _Tell(Progress(quiet)) as tell:
        manifest = import_world(
            log,
            map_file,
            out,
            max_bad_rows=max_bad_rows,
            workers=worker_count(workers),
            seed=seed,
            policy=policy,
            progress=tell,
            contracts=contracts,
        )
    _tell_abandoned(out, quiet)
    _report(manifest, as_json, quiet)


@world_app.command("verify")
def world_verify(
    ctx: typer.Context,
    world: Annotated[Path, typer.Argument(help="Folder of the world.")],
    workers: Workers = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Re-hash every file, re-derive every bundle, check keys, order and references over all rows."""
    from fraudloom.contracts_api import load_contracts
    from fraudloom.pool import worker_count
    from fraudloom.progress import Progress
    from fraudloom.states.world import verify_world

    contracts = load_contracts(settings(ctx).contracts)
    with _Tell(Progress(quiet)) as tell:
        report = verify_world(world, contracts, worker_count(workers), tell)
    if as_json:
        emit(report.as_dict())
    elif not quiet:
        say(f"{'PASS' if report.passed else 'FAIL'}  {report.files:,} files, {report.rows:,} rows")
        for f in report.findings[1:SHOWN]:  # the first one is the error's
            say(f"  {f.check}: {f.where}: found {f.found}, expected {f.expected}")
        if len(report.findings) > SHOWN:
            say(f"  and {len(report.findings) - SHOWN:,} more (--json has all)")
    if not report.passed:
        first, others = report.findings[0], len(report.findings) - 1
        count = f"{others + 1} findings; the first: " if others else ""
        raise GateError(
            "WORLD",
            "WORLD_VERIFICATION_FAILED",
            what=f"{count}{first.check}",
            found=first.found,
            expected=first.expected,
            where=first.where,
            action="restore the file, or build the world again",
        )


@world_app.command("show")
def world_show(
    ctx: typer.Context,
    world: Annotated[Path, typer.Argument(help="Folder of the world.")],
    figures: Annotated[
        bool, typer.Option("--figures", help="Measure, over all rows, what the world alone decides; with corridors.")
    ] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Show what a world holds: identity, tables, and histograms over all arrivals (--json: the manifest only)."""
    from fraudloom.worlds import read_world_manifest

    manifest = read_world_manifest(world)
    if figures:
        _show_figures(ctx, world, as_json, quiet)
        return
    if as_json:
        emit({k: v for k, v in manifest.items() if k != "files"})
        return
    from fraudloom.contracts_api import load_contracts
    from fraudloom.worldapi import show_world

    show_world(world, load_contracts(settings(ctx).contracts))


def _show_figures(ctx: typer.Context, root: Path, as_json: bool, quiet: bool) -> None:
    from fraudloom.contracts_api import load_contracts
    from fraudloom.progress import Progress
    from fraudloom.states.world import load_world
    from fraudloom.states.world.figures import world_figures
    from fraudloom.worldapi import figure_facts, show_figures

    world = load_world(root, load_contracts(settings(ctx).contracts))
    with _Tell(Progress(quiet)) as tell:
        found = world_figures(world, tell)
    if as_json:
        emit(figure_facts(world, found))
    else:
        show_figures(world, found)
