"""`fraudloom score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloom.cli_common import emit, settings
from fraudloom.cli_runs import find_run
from fraudloom.errors import UsageError


def score_command(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(help="Run id or folder.", metavar="RUN")],
    runs_root: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    world: Annotated[
        Path | None, typer.Option(help="World of the run, if it has moved.", show_default="as in the receipt")
    ] = None,
    policies: Annotated[
        str | None,
        typer.Option(help="Pack whose gates count: a shipped name or a folder.", show_default="the run's"),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the report to this file as well.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Threads; 0 for all processors.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Read the realism gates T1 to T22 off a sealed run's published tables, and say which state must move.

    Exit status 0 when every gate that applies passes at B, 1 when one does not (also for want of evidence).
    """
    from fraudloom.contracts_api import load_contracts
    from fraudloom.progress import Progress
    from fraudloom.score_view import markdown as as_markdown
    from fraudloom.score_view import show
    from fraudloom.scoring import score_run

    if markdown is not None and not markdown.absolute().parent.is_dir():
        raise UsageError(
            "SCORE",
            "MARKDOWN_FOLDER",
            what="the folder of the Markdown file is not there",
            found=markdown.parent,
            action="make it, or name another file",
        )
    contracts = load_contracts(settings(ctx).contracts)
    value, report = score_run(
        find_run(run, runs_root),
        contracts,
        world=world,
        policies=policies,
        workers=workers,
        progress=Progress(quiet=as_json),
    )
    if markdown is not None:
        markdown.write_text(as_markdown(value, report), "utf-8")
    if as_json:
        emit(value)
    else:
        show(value, report)
    raise typer.Exit(0 if report.passed else 1)
