"""`fraudloom run`."""

from __future__ import annotations

import sys
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloom.cli_common import emit, near, plain, say, settings
from fraudloom.errors import FraudloomError, UsageError
from fraudloom.spec import (
    DEFAULT_ARRIVALS,
    DEFAULT_BATCH_ROWS,
    DEFAULT_DAYS,
    DEFAULT_SEED,
    STATES,
    RunOptions,
)


class State(StrEnum):
    """The states in order."""

    S0 = "S0"
    S1 = "S1"
    S2 = "S2"
    S3 = "S3"
    S4 = "S4"
    S5 = "S5"


class Mode(StrEnum):
    """How states are swept over the shards; both give the same bytes."""

    fused = "fused"
    staged = "staged"


class Verify(StrEnum):
    """How deep the gate looks at the world before it is read."""

    full = "full"
    metadata = "metadata"


MAX_SEED = (1 << 63) - 1


def run_command(
    ctx: typer.Context,
    world: Annotated[Path | None, typer.Option(help="Sealed world to weave from.", show_default="built")] = None,
    arrivals: Annotated[int | None, typer.Option(min=0, help="Arrivals of the world to build or reuse.")] = None,
    world_seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Seed of that world.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days of that world.")] = None,
    scenario: Annotated[list[str] | None, typer.Option(help="Scenario; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Run seed.")] = DEFAULT_SEED,
    policies: Annotated[str, typer.Option(help="Policy pack: a shipped name or a folder.")] = "default",
    run_id: Annotated[str | None, typer.Option(help="Resume, or verify, this run.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="A new run, whatever is unfinished.")] = False,
    runs_root: Annotated[Path, typer.Option(help="Folder of runs and worlds.")] = Path("runs"),
    first: Annotated[State, typer.Option("--from", help="First state; from S2 on: weave again.")] = State.S0,
    last: Annotated[State, typer.Option("--to", help="Last state.")] = State.S5,
    mode: Annotated[Mode, typer.Option(help="All states on a shard at once, or one at a time.")] = Mode.fused,
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0 for all processors.")] = 0,
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows read at a time; changes no byte.")] = DEFAULT_BATCH_ROWS,
    verify: Annotated[
        Verify, typer.Option(help="Hash the world's every byte first, or bulk data when it is first read.")
    ] = Verify.full,
    plan_only: Annotated[
        bool,
        typer.Option(
            "--plan-only", help="Print what it will take, and stop; status 4 where the disk would not hold it."
        ),
    ] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Print the cost of each state.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Weave a sealed fraud world: gate, sessions, flows, fraud, labels, proof and seal.

    Without --world, a world of --arrivals (1,000,000), --world-seed (42), --days (90) is built under the runs root, or
    reused. Without --run-id, the latest unfinished run of the same inputs is resumed, else a new one is made.
    """
    built = [n for n, v in (("--arrivals", arrivals), ("--world-seed", world_seed), ("--days", days)) if v is not None]
    if world is not None and built:
        raise UsageError(
            "RUN",
            "OPTIONS_CONFLICT",
            what="--world names a finished world",
            found=", ".join(built),
            action="leave out --world, or leave these out",
        )
    if run_id is not None and fresh:
        raise UsageError(
            "RUN",
            "OPTIONS_CONFLICT",
            what="--fresh makes a new run, --run-id names one",
            action="leave one of the two out",
        )
    if STATES.index(str(first)) > STATES.index(str(last)):
        raise UsageError(
            "RUN",
            "STATES_ORDER",
            what=f"--from {first} lies after --to {last}",
            action="name states in the order S0 to S5",
        )
    options = RunOptions(
        world=world,
        arrivals=DEFAULT_ARRIVALS if arrivals is None else arrivals,
        world_seed=DEFAULT_SEED if world_seed is None else world_seed,
        days=DEFAULT_DAYS if days is None else days,
        scenarios=tuple(scenario or ()),
        seed=seed,
        policies=policies,
        run_id=run_id,
        fresh=fresh,
        runs_root=runs_root,
        first=str(first),
        last=str(last),
        mode=str(mode),
        workers=workers,
        batch_rows=batch_rows,
        profile=profile,
        quiet=quiet,
        contracts=settings(ctx).contracts,
        verify=str(verify),
    )
    if plan_only:
        _plan(options, as_json)
        return
    _run(options, as_json)


def _run(options: RunOptions, as_json: bool) -> None:
    from fraudloom.run import run_world

    try:
        result = run_world(options)
    except FraudloomError as e:
        if as_json:
            found = getattr(e, "result", None)
            emit(found.as_json() if found is not None else _nothing())
        raise
    value = result.as_json()
    if options.profile:
        from fraudloom.perf.profile import profile_lines

        sys.stderr.write("\n".join(profile_lines(value)) + "\n")
    if as_json:
        emit(value)
    elif not options.quiet:
        sys.stderr.write("\n".join(_closing(value)) + "\n")


def _nothing() -> dict[str, Any]:
    from fraudloom.result import RunResult

    return RunResult({"verdict": "FAIL"}).as_json()


def _closing(value: dict[str, Any]) -> list[str]:
    lines = [
        f"{value['verdict']}  {value['arrivals']:,} arrivals, {value['rows_out']:,} rows, "
        f"{value['bytes_out'] / 1e6:,.1f} MB in {value['wall_s']:.1f} s "
        f"({value['arrivals_per_s']:,.0f} arrivals/s, peak memory {value['peak_rss_bytes'] / 2**20:,.0f} MiB)",
        f"      {near(value['run_root'])}",
    ]
    if value["verdict"] == "PASS":
        lines.append(f"      read it: fraudloom.open({near(value['run_root'])!r})")
    return lines


def _plan(options: RunOptions, as_json: bool) -> None:
    from fraudloom.contracts_api import load_contracts
    from fraudloom.planonly import demand_room, plan_run
    from fraudloom.policies_api import load_pack
    from fraudloom.worlds import choose_world

    contracts = load_contracts(options.contracts)
    choice = choose_world(options, contracts)
    plan = plan_run(options, choice, load_pack(options.policies, contracts), contracts)
    value = plan.as_json()
    if as_json:
        emit(value)
    else:
        for f in fields(plan):
            say(f"{f.name:<22}{_planned(f.name, value[f.name])}")
    demand_room(plan, options.runs_root)


def _planned(name: str, value: Any) -> str:
    """A figure of the plan with its unit."""
    if name.startswith("bytes_"):
        return f"{value / 1e9:,.1f} GB"
    if name == "memory_bytes":
        return f"{value / 2**30:,.1f} GiB"
    if name.endswith("_s"):
        return f"{value:,.0f} s" if value < 600 else f"{value:,.0f} s ({value / 60:,.0f} min)"
    return plain(value)
