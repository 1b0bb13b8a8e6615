"""`fraudloom runs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloom.cli_common import emit, plain, say, settings
from fraudloom.errors import UsageError

runs_app = typer.Typer(no_args_is_help=True)
Root = Annotated[Path, typer.Option(help="Folder of runs.")]
#: From this width on a run of the list stands on one line.
ROOMY = 110
#: Width of what goes to no terminal: lines stay whole.
UNBOUNDED = 200
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@runs_app.command("list")
def runs_list(runs_root: Root = Path("runs"), as_json: Json = False) -> None:
    """List the runs below a runs root, oldest first."""
    from fraudloom.receipts import find_runs

    rows = [
        {
            "run_id": r.run_id,
            "created_utc": r.receipt["created_utc"],
            "status": r.status(),
            "arrivals": r.arrivals(),
            "seed": r.receipt["seed"],
            "scenarios": r.receipt["scenarios"],
            "policies": r.receipt.get("policies"),
            "run_root": str(r.root),
        }
        for r in find_runs(runs_root)
    ]
    if as_json:
        emit({"runs": rows})
        return
    if rows:
        _list(rows)
    else:
        say(f"no runs under {runs_root}")


def _list(rows: list[dict[str, Any]]) -> None:
    """A table of runs: a line each where there is room (or no terminal), else two lines each."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = max(out.width, UNBOUNDED)
    gap = " " if out.width >= ROOMY else "\n"
    names = ("run", "made (UTC)", "status", "arrivals", "seed", f"policies,{gap}scenarios")
    columns = [Column(n, no_wrap=gap == " ", justify="right" if n in ("arrivals", "seed") else "left") for n in names]
    columns[0].no_wrap = True
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1 if gap == " " else 0, 0, 0), pad_edge=False)
    for row in rows:
        made = str(row["created_utc"])[:16].split("T")
        count = "-" if row["arrivals"] is None else f"{row['arrivals']:,}"
        woven = f"{row['policies']},{gap}{', '.join(row['scenarios'])}"
        status = row["status"].replace(" after", f"{gap}after")
        cells = (row["run_id"], gap.join(made), status, count, row["seed"], woven)
        table.add_row(*(Text(str(cell)) for cell in cells))
    out.print(table)


@runs_app.command("show")
def runs_show(
    ctx: typer.Context,
    run_id: Annotated[str | None, typer.Argument(help="Run id or folder; without it, the latest run.")] = None,
    runs_root: Root = Path("runs"),
    figures: Annotated[
        bool, typer.Option("--figures", help="Measure, over all rows, what S1 and S2 decide; with corridors.")
    ] = False,
    world: Annotated[
        Path | None,
        typer.Option(help="--figures: world of the run, if it has moved.", show_default="as in the receipt"),
    ] = None,
    policies: Annotated[
        str | None,
        typer.Option(
            help="--figures: pack whose corridors count: a shipped name or a folder.", show_default="the run's"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="--figures: threads; 0 for all processors.")] = 0,
    as_json: Json = False,
) -> None:
    """Show one run: receipt, states, datasets; with --figures what its tables measure instead."""
    from fraudloom.receipts import SEAL

    run = find_run(run_id, runs_root)
    if figures:
        _show_figures(ctx, run, world, policies, workers, as_json)
        return
    seal: dict[str, Any] = json.loads((run.root / SEAL).read_text("utf-8")) if run.sealed else {}
    report: list[dict[str, Any]] = [
        json.loads(line)
        for path in sorted((run.root / "data/layer3/6B/run_report").glob("*/run_report_6B.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]
    if as_json:
        emit({"receipt": run.receipt, "status": run.status(), "report": report, "datasets": seal.get("datasets", {})})
        return
    for name, value in run.receipt.items():
        if name != "axes":
            say(f"{name:<22}{value if isinstance(value, int) else plain(value)}")
    say(f"{'status':<22}{run.status()}")
    for row in report:
        rows = sum(int(n) for n in row["counts"].values())
        wrote = f"{rows:>14,} rows" if rows else ""
        scope = row["scenario_id"] or ""
        say(f"  {row['state']}  {row['status']:<5} {wrote:<19}  {row['error_code'] or scope}".rstrip())
    for dataset, s in seal.get("datasets", {}).items():
        say(f"  {dataset:<34}{s['rows']:>14,} rows {s['parts']:>4} parts {s['bytes']:>14,} bytes")


def _show_figures(
    ctx: typer.Context, run: Any, world: Path | None, policies: str | None, workers: int, as_json: bool
) -> None:
    from fraudloom.contracts_api import load_contracts
    from fraudloom.figure_view import show
    from fraudloom.figuring import run_figures
    from fraudloom.progress import Progress

    value, found = run_figures(
        run,
        load_contracts(settings(ctx).contracts),
        world=world,
        policies=policies,
        workers=workers,
        progress=Progress(quiet=as_json),
    )
    if as_json:
        emit(value)
    else:
        show(value, found)


def find_run(run_id: str | None, runs_root: Path) -> Any:
    """The run of that id, or in that folder; without one the latest below the runs root. UsageError if none."""
    from fraudloom.receipts import RECEIPT, RunFolder, find_runs

    for folder in (runs_root / (run_id or ""), Path(run_id or "")) if run_id else ():
        if (folder / RECEIPT).is_file():
            return RunFolder(folder, json.loads((folder / RECEIPT).read_text("utf-8")))
    runs = find_runs(runs_root)
    if run_id is None and runs:
        return runs[-1]
    raise UsageError(
        "RUNS",
        "RUN_UNKNOWN",
        what="no such run",
        found=run_id or "no run at all",
        where=runs_root,
        action="see `fraudloom runs list`",
    )
