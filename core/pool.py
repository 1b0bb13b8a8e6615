"""Mapping tasks over an executor: results in order, one failure stops the rest, Ctrl-C leaves nothing half done."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, wait
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


class StoppedError(Exception):
    """A task gave up because another one failed or the user interrupted."""


class Stop:
    """A flag that tasks look at between pieces of work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask all tasks to give up."""
        self._event.set()

    def check(self) -> None:
        """Raise StoppedError when asked to give up."""
        if self._event.is_set():
            raise StoppedError


def worker_count(wanted: int) -> int:
    """Workers to use: the number asked for, or the processors that this process may use."""
    if wanted > 0:
        return wanted
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else (os.cpu_count() or 1)


def run_all(executor: Executor, task: Callable[[A], B], items: Sequence[A], stop: Stop) -> list[B]:
    """Results of `task` over items, in order.

    On a failure the others are stopped and the failure of the earliest item is raised. KeyboardInterrupt stops them
    too.
    """
    futures: list[Future[B]] = []
    try:
        futures = [executor.submit(task, item) for item in items]
        pending = set(futures)
        while pending:
            # A finite timeout lets Ctrl-C through while threads hold the interpreter busy.
            done, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
            if any(f.exception() is not None for f in done if not f.cancelled()):
                break
    except BaseException:
        stop.set()
        _settle(futures)
        raise
    if pending:
        stop.set()
        _settle(futures)
    errors = [e for f in futures if not f.cancelled() and (e := f.exception()) is not None]
    for kind in (Exception, BaseException):
        for e in errors:
            if isinstance(e, kind) and not isinstance(e, StoppedError):
                raise e
    if errors:
        raise errors[0]
    return [f.result() for f in futures]


def _settle(futures: Sequence[Future[B]]) -> None:
    for f in futures:
        f.cancel()
    wait([f for f in futures if not f.cancelled()])
