"""`fraudloom policies calibrate`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloom.cli_common import emit, say, settings

#: Narrower terminals are not shown over how many flows a share is.
ROOMY = 100


def calibrate_command(
    ctx: typer.Context,
    pack: Annotated[str, typer.Argument(help="Pack name or folder.")] = "default",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write issuer_policy_6B with the solved numbers to this file.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 when a frozen number is further off than the tolerance.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Solve the issuer's thresholds and chances of insufficient funds for the targets of a pack, on its fixed pilot.

    Targets, pilot and tolerance stand in the pack's issuer_calibration_6B. Nothing is written without --out.
    """
    from fraudloom.calibration import calibrate, write
    from fraudloom.contracts_api import load_contracts
    from fraudloom.policies_api import load_pack

    contracts = load_contracts(settings(ctx).contracts)
    loaded = load_pack(pack, contracts)
    with tempfile.TemporaryDirectory(prefix="fraudloom-pilot-") as folder:
        found = calibrate(loaded, contracts, Path(folder))
    if out is not None:
        write(loaded, found, contracts, out)
    if as_json:
        emit(found.as_json() | {"out": str(out) if out else None})
    else:
        _table(found)
        if out is not None:
            say(f"written: {out}")
    if check and not found.holds:
        raise typer.Exit(1)


def _table(found: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, ROOMY)
    roomy = console.width >= ROOMY
    table = Table(box=SIMPLE_HEAD, padding=(0, 1 if roomy else 0, 0, 0), pad_edge=False)
    table.add_column("number", overflow="fold")
    shares = ("target", "frozen\ngives", "solved\ngives", *(["of flows"] if roomy else []))
    for name in ("frozen", "solved", *shares, "within"):
        table.add_column(name, justify="right")
    for n in found.numbers:
        shares = (
            f"{n.target:.5f}",
            f"{n.before:.5f}",
            f"{n.achieved:.5f}",
            *([f"{n.flows:,}"] if roomy else []),
            "yes" if n.within else "NO",
        )
        table.add_row(n.path, str(n.frozen), str(n.solved), *shares)
    console.print(f"{found.pack}: pilot of {found.pilot['arrivals']:,} arrivals", markup=False)
    console.print(table)
    off = sum(not n.within for n in found.numbers)
    words = "every frozen number is within its tolerance" if found.holds else f"{off} frozen numbers are off"
    console.print(words + ("" if found.steady else "; the last round still moved a number by more than its tolerance"))
