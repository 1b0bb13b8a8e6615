"""Microbenchmarks: rows a second per kernel on one thread, with the time to compile apart.

The rates of one run compare with each other (ratios); machines are shared, so no test asserts a time.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import fraudloom.kernels
from fraudloom.kernels.jit import KERNELS
from fraudloom.perf.cases import Case, all_cases


def load_kernels() -> dict[str, Callable[..., Any]]:
    """Import every kernel module and return the registry by name."""
    for info in pkgutil.walk_packages(fraudloom.kernels.__path__, "fraudloom.kernels."):
        importlib.import_module(info.name)
    return KERNELS


def measure(case: Case, function: Callable[..., Any], rounds: int = 3, rows: int | None = None) -> dict[str, Any]:
    """Compile (or load) once on a small input, then take the best of `rounds`; seconds and rows a second."""
    n = case.rows if rows is None else rows
    small = case.make(8, 1)
    start = time.perf_counter()
    function(*small)
    compile_s = time.perf_counter() - start
    best = float("inf")
    for r in range(rounds):
        args = case.make(n, r + 1)
        start = time.perf_counter()
        function(*args)
        best = min(best, time.perf_counter() - start)
    return {
        "kernel": case.kernel,
        "rows": n,
        "compile_or_load_s": round(compile_s, 4),
        "best_s": round(best, 6),
        "rows_per_s": round(n / best) if best > 0 else None,
    }


def run(only: Iterable[str] = (), rounds: int = 3, rows: int | None = None) -> list[dict[str, Any]]:
    """Measure the kernels called `only` (all when empty), in name order."""
    functions = load_kernels()
    cases = all_cases()
    names = sorted(only) or sorted(cases)
    return [measure(cases[name], functions[name], rounds, rows) for name in names]


def main(as_json: bool = False, only: Iterable[str] = (), rounds: int = 3) -> int:
    """Print the table (rich on a terminal, JSON on request); exit status."""
    results = run(only, rounds)
    if as_json:
        json.dump({"kernels": results}, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(title="kernels, one thread, best of rounds")
    table.add_column("kernel")
    for head in ("rows", "compile or load s", "M rows/s", "ns/row"):
        table.add_column(head, justify="right")
    for r in results:
        rate = r["rows_per_s"] or 0
        table.add_row(
            r["kernel"],
            f"{r['rows']:,}",
            f"{r['compile_or_load_s']:.2f}",
            f"{rate / 1e6:,.1f}",
            f"{1e9 / rate:,.1f}" if rate else "-",
        )
    Console().print(table)
    return 0
