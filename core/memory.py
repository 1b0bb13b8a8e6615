"""Peak memory of the process tree: summed PSS, sampled by a thread (shared pages are counted once)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import threading
from pathlib import Path

_PROC = Path("/proc")
#: Bytes held above which arenas are trimmed between shards.
TRIM_ABOVE = 1 << 30
#: Bytes that an arena of the allocator keeps free at its end, and size from which an array has pages of its own.
KEPT_BYTES, MAPPED_FROM = 1 << 26, 1 << 22
#: Names of these bounds in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def _children(pid: int) -> list[int]:
    found = []
    for task in (_PROC / str(pid) / "task").glob("*/children"):
        found += [int(x) for x in task.read_text().split()]
    return found


def _tree() -> list[int]:
    """This process and its descendants."""
    found, stack = [], [os.getpid()]
    while stack:
        pid = stack.pop()
        found.append(pid)
        with contextlib.suppress(OSError, ValueError):
            stack += _children(pid)
    return found


def tree_rss_bytes() -> int | None:
    """Summed resident memory of this process and its descendants now (shared pages count each time), or None."""
    total = 0
    for pid in _tree():
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total or None


def tree_pss_bytes() -> int | None:
    """Summed PSS of this process and its descendants now, or None where the kernel does not tell."""
    total = 0
    seen = False
    for pid in _tree():
        try:
            for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
                    seen = True
        except (OSError, ValueError):
            continue
    return total if seen else None


def use_returning_pool() -> None:
    """Let Arrow allocate from jemalloc where it is built in: it gives freed pages back within a second.

    Measured over runs of 2 and 8 M arrivals: the peak is 100 and 200 MB lower than with mimalloc, Arrow's default.
    """
    import pyarrow as pa

    with contextlib.suppress(NotImplementedError):  # not in this build of Arrow: only the peak is higher
        pa.set_memory_pool(pa.jemalloc_memory_pool())


def keep_freed_pages() -> None:
    """Let the allocator keep what is freed for the next batch or shard: pages that are given back are faulted in anew.

    An arena keeps up to `KEPT_BYTES` free at its end, and arrays below `MAPPED_FROM` come from arenas; glibc's own
    bounds are 128 KiB and move, so that a run of 2 M arrivals up to S1 took 264 k page faults, of which 112 k are left.
    `release_memory` and `trim_memory` give back as before.
    """
    with contextlib.suppress(OSError, AttributeError):  # not glibc: its own bounds stay
        tune = ctypes.CDLL("libc.so.6").mallopt
        tune(_M_TRIM_THRESHOLD, KEPT_BYTES)
        tune(_M_MMAP_THRESHOLD, MAPPED_FROM)


def release_memory() -> None:
    """Give freed memory back to the system: between phases, so that one does not sit on top of what another freed."""
    import gc

    import pyarrow as pa

    gc.collect(1)  # the oldest generation holds modules and compiled code: 0.1 s to look through, each time
    pa.default_memory_pool().release_unused()
    trim_memory()


def trim_memory(above: int = 0) -> None:
    """Give the free pages of the allocator's arenas back, if the process holds more than `above` bytes.

    Each worker has an arena of its own, which fragments and only grows. Pages that are given back have to be touched
    anew: trimming after every shard took 0.6 core-s per million arrivals, hence a bound.
    """
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or not glibc: nothing to trim
        if above and int((_PROC / "self" / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") <= above:
            return
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _getrusage_peak() -> int:
    scale = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)) * scale


class PeakMemory:
    """Context manager; `peak_bytes` is the highest sample (or `getrusage`'s peak where there is no PSS)."""

    def __init__(self, interval_s: float = 0.1) -> None:
        self.interval_s = interval_s
        self._peak = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _sample(self) -> None:
        # PSS is never above RSS, and the kernel walks all pages to tell it: asked for only when it can be a new peak.
        rss = tree_rss_bytes()
        if rss is not None and rss <= self._peak:
            return
        pss = tree_pss_bytes()
        if pss is not None:
            self._peak = max(self._peak, pss)

    def _loop(self) -> None:
        while not self._stop.wait(self.interval_s):
            with contextlib.suppress(OSError):
                self._sample()

    def __enter__(self) -> PeakMemory:
        self._sample()
        self._thread = threading.Thread(target=self._loop, name="fraudloom-memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._sample()

    @property
    def peak_bytes(self) -> int:
        """Highest summed PSS so far, bytes."""
        return self._peak or _getrusage_peak()
