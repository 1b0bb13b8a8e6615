"""What each state costs: wall and CPU seconds, summed over threads, and rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fraudloom.spec import STATES


@dataclass
class Cost:
    """Seconds and rows of one state."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    encode_s: float = 0.0


class Meter:
    """Adds up costs by state; safe from several threads."""

    def __init__(self) -> None:
        self.costs = {s: Cost() for s in STATES}
        self._lock = threading.Lock()
        self._here = threading.local()

    @property
    def state(self) -> str:
        """The state that this thread is working for."""
        return str(getattr(self._here, "state", "S0"))

    @contextmanager
    def of(self, state: str, encode: bool = False) -> Iterator[None]:
        """Charge the block to a state: wall and this thread's CPU seconds, without those of blocks inside it.

        After an exception `state` still names the innermost state, so that the error can say where it arose.
        """
        before = getattr(self._here, "state", "S0")
        outer = getattr(self._here, "inner", (0.0, 0.0))
        self._here.state, self._here.inner = state, (0.0, 0.0)
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
            self._here.state = before
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            inside = self._here.inner
            self._here.inner = (outer[0] + wall, outer[1] + cpu)
            with self._lock:
                cost = self.costs[state]
                cost.wall_s += wall - inside[0]
                cost.cpu_s += cpu - inside[1]
                if encode:
                    cost.encode_s += cpu - inside[1]

    @contextmanager
    def whole(self, state: str) -> Iterator[None]:
        """Charge the block to a state with the CPU seconds of all threads: for phases that run alone."""
        wall, cpu = time.perf_counter(), time.process_time()
        self.begin(state)
        try:
            yield
        finally:
            with self._lock:
                self.costs[state].wall_s += time.perf_counter() - wall
                self.costs[state].cpu_s += time.process_time() - cpu

    def begin(self, state: str) -> None:
        """Forget what an earlier task left in this thread."""
        self._here.state, self._here.inner = state, (0.0, 0.0)
