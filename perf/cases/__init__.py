"""One table of kernel cases: it feeds the twin tests (small, many seeds) and the microbenchmarks (large, one seed).

A module of this package holds `CASES: tuple[Case, ...]`. `make(rows, seed)` returns the kernel's arguments, fresh at
each call and a function of its arguments alone; `outputs` are the positions that the kernel writes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """How to call one kernel.

    `kernel`: its name in `fraudloom.kernels.jit.KERNELS`; `make(rows, seed)`: its arguments; `outputs`: positions of
    the arrays that it writes; `returns`: whether its return value counts as an output; `rows`: rows of a benchmark.
    """

    kernel: str
    make: Callable[[int, int], tuple[Any, ...]]
    outputs: tuple[int, ...]
    returns: bool = False
    rows: int = 1_000_000


def all_cases() -> dict[str, Case]:
    """Cases of every module of this package, by kernel name; ValueError when a kernel has two."""
    found: dict[str, Case] = {}
    for info in pkgutil.iter_modules(__path__, __name__ + "."):
        for case in importlib.import_module(info.name).CASES:
            if case.kernel in found:
                raise ValueError(f"two cases for kernel {case.kernel}")
            found[case.kernel] = case
    return found
