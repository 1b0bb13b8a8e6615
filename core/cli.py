"""The command line: `fraudloom`. Each group of commands is a small module; Arrow and numba load only when needed."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fraudloom.cli_calibrate import calibrate_command
from fraudloom.cli_common import Settings, guarded
from fraudloom.cli_data import contracts_app, policies_app
from fraudloom.cli_perf import perf_app
from fraudloom.cli_run import run_command
from fraudloom.cli_runs import runs_app
from fraudloom.cli_score import score_command
from fraudloom.cli_world import world_app

EPILOG = """\
Exit status: 0 done; 1 finished, but a gate or a verification failed; 2 bad usage, seal, policy, contract or data;
3 conflict (locked, or outputs differ); 4 environment (disk full, no permission); 70 internal error; 130 interrupted
(Ctrl-C: the same command resumes the run).
"""

app = typer.Typer(
    name="fraudloom",
    help="Weave sealed synthetic payment-fraud worlds.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(world_app, name="world", help="Build, import, verify and show sealed upstream worlds.")
app.add_typer(contracts_app, name="contracts", help="Check and show the contracts.")
app.add_typer(policies_app, name="policies", help="Check, show and calibrate policy packs.")
app.add_typer(runs_app, name="runs", help="List and show runs.")
app.add_typer(perf_app, name="perf", help="Measure.")
policies_app.command("calibrate", epilog=EPILOG)(calibrate_command)
app.command("run", epilog=EPILOG)(run_command)
app.command("score", epilog=EPILOG)(score_command)


def _version(wanted: bool) -> None:
    if wanted:
        from fraudloom import __version__

        typer.echo(f"fraudloom {__version__}")
        raise typer.Exit


@app.callback()
def _settings(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    contracts: Annotated[
        Path | None,
        typer.Option("--contracts", envvar="FRAUDLOOM_CONTRACTS_ROOT", help="Folder of contracts to use."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands."""
    ctx.obj = Settings(debug=debug, contracts=contracts)


def main() -> None:
    """Entry point: run the command line and exit with its documented status."""
    # Arrow's own threads are not used: parts are the unit of parallelism.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Compiling makes millions of objects and hardly any garbage: collecting it took a tenth of a cold start.
    gc.set_threshold(100_000, 50, 100)
    status = guarded(app)
    # Nothing is left to collect that the system does not free itself: the last collection took 0.4 s of every command.
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    main()
