"""Crash points for tests: `FRAUDLOOM_TEST_FAULT=point:n[:kind]` strikes the n-th time that a point is passed.

Kinds: `kill` (default; SIGKILL to this process), `raise` (an unexpected error), `enospc` and `eacces` (what a full disk
or a missing permission raises), `interrupt` (as Ctrl-C). Without the variable a point costs one dictionary look-up.
"""

from __future__ import annotations

import errno
import os
import signal
import threading

VARIABLE = "FRAUDLOOM_TEST_FAULT"
_lock = threading.Lock()
_passed: dict[str, int] = {}


def reset() -> None:
    """Forget how often points were passed."""
    with _lock:
        _passed.clear()


def point(name: str) -> None:
    """Pass a crash point."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    target, _, rest = wanted.partition(":")
    if target != name:
        return
    count, _, kind = rest.partition(":")
    with _lock:
        _passed[name] = _passed.get(name, 0) + 1
        strike = _passed[name] == int(count or 1)
    if strike:
        _strike(name, kind or "kill")


def _strike(name: str, kind: str) -> None:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind in ("enospc", "eacces"):
        number = errno.ENOSPC if kind == "enospc" else errno.EACCES
        raise OSError(number, os.strerror(number), name)
    raise RuntimeError(f"fault injected at {name}")
