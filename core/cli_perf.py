"""`fraudloom perf`."""

from __future__ import annotations

from typing import Annotated

import typer

perf_app = typer.Typer(no_args_is_help=True)


@perf_app.callback()
def _perf() -> None:
    """Measure."""


@perf_app.command("kernels")
def perf_kernels(
    kernel: Annotated[list[str] | None, typer.Argument(help="Kernels to measure; all when left out.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the best counts.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Rows per second of every kernel on one thread, compile time apart."""
    from fraudloom.errors import UsageError
    from fraudloom.perf import kernels
    from fraudloom.perf.cases import all_cases

    unknown = sorted(set(kernel or ()) - set(all_cases()))
    if unknown:
        raise UsageError(
            "PERF", "KERNEL_UNKNOWN", what="no such kernel", found=", ".join(unknown), action="name one of these"
        )
    status = kernels.main(as_json=as_json, only=kernel or (), rounds=rounds)
    if status:
        raise typer.Exit(status)
