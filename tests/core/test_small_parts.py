"""Locks, faults of the machine, progress, memory, pools, receipts: small parts that a run leans on."""

import errno
import io
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fraudloom.environment import as_fault
from fraudloom.errors import ConflictError, InternalError, UsageError
from fraudloom.lock import FolderLock
from fraudloom.memory import PeakMemory, tree_pss_bytes
from fraudloom.meter import Meter
from fraudloom.pool import Stop, StoppedError, run_all
from fraudloom.progress import Progress
from fraudloom.receipts import check_run_id, find_runs, new_run_id
from fraudloom.spec import canonical_json, digest_of


def test_lock_is_exclusive_and_freed(tmp_path: Path) -> None:
    """A second holder is told at once who holds it; after release it can be taken; the file stays."""
    path = tmp_path / "a" / "lock"
    with FolderLock(path, "it"), pytest.raises(ConflictError, match=f"process {os.getpid()}"):
        FolderLock(path, "it").acquire()
    with FolderLock(path, "it"):
        assert path.exists()


def test_lock_is_not_inherited(tmp_path: Path) -> None:
    """The descriptor of the lock closes in a program that is started while it is held."""
    lock = FolderLock(tmp_path / "lock", "it")
    lock.acquire()
    assert lock._fd is not None
    assert not os.get_inheritable(lock._fd)
    lock.release()


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "DISK_FULL"), (errno.EACCES, "NO_PERMISSION")])
def test_faults_of_the_machine(number: int, code: str) -> None:
    """Disk full and missing permission become an EnvironmentFault with status 4; other errors do not."""
    fault = as_fault(OSError(number, os.strerror(number), "somewhere"))
    assert fault is not None
    assert (fault.code, fault.exit_status, fault.where) == (code, 4, "somewhere")
    assert as_fault(ValueError("x")) is None
    assert as_fault(FileNotFoundError(errno.ENOENT, "gone")) is None


def test_pool_raises_the_failure_of_the_earliest_item() -> None:
    """One failure stops the rest; stopped tasks are not mistaken for failures."""
    stop = Stop()

    def task(k: int) -> int:
        if k == 3:
            raise InternalError("S1", "THREE", what="three")
        for _ in range(400):
            stop.check()
            time.sleep(0.005)
        return k

    with ThreadPoolExecutor(4) as executor, pytest.raises(InternalError, match="THREE"):
        run_all(executor, task, range(8), stop)
    with pytest.raises(StoppedError):
        stop.check()


def test_pool_keeps_the_order_of_results() -> None:
    """Results stand in the order of the items, whatever finishes first."""
    with ThreadPoolExecutor(3) as executor:
        assert run_all(executor, lambda k: (time.sleep(0.002 * (5 - k)), k)[1], range(5), Stop()) == list(range(5))


def test_meter_charges_inner_blocks_to_their_state_alone() -> None:
    """Nested blocks are not charged twice; after a failure the meter names the innermost state."""
    meter = Meter()
    with meter.of("S1"):
        with meter.of("S2"):
            time.sleep(0.03)
        time.sleep(0.01)
    assert meter.costs["S2"].wall_s >= 0.03
    assert 0.01 <= meter.costs["S1"].wall_s < 0.03
    with pytest.raises(ValueError, match="x"), meter.of("S3"), meter.of("S4"):
        raise ValueError("x")
    assert meter.state == "S4"


def test_progress_degrades_to_plain_lines() -> None:
    """Without a terminal: headers and one closing line per phase; quiet says nothing."""
    out = io.StringIO()
    progress = Progress(stream=out)
    progress.story("S1", "Attach.", [("gated", "x")])
    with progress.task("scatter", 1000) as task:
        task.advance(1000)
    assert out.getvalue().splitlines()[0] == "S1  Attach."
    assert "scatter: 1,000 arrivals in" in out.getvalue()
    silent = io.StringIO()
    with Progress(quiet=True, stream=silent).task("scatter", 10) as task:
        task.advance(10)
    assert silent.getvalue() == ""


def test_peak_memory_sees_an_allocation() -> None:
    """The sampler's peak rises by an allocation that is gone when it is read."""
    with PeakMemory(0.01) as memory:
        before = memory.peak_bytes
        block = bytearray(64 << 20)
        block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
        time.sleep(0.1)
        del block
    assert memory.peak_bytes > 0
    if tree_pss_bytes() is not None:
        assert memory.peak_bytes >= before + (48 << 20)


def test_run_ids_name_folders(tmp_path: Path) -> None:
    """Generated ids are 32 hex digits; given ones may not lead elsewhere; odd folders are no runs."""
    assert len(new_run_id()) == 32
    assert check_run_id("nightly-2026.01") == "nightly-2026.01"
    for bad in ("", ".", "../x", "a/b", "worlds", "x" * 65, "-x"):
        with pytest.raises(UsageError):
            check_run_id(bad)
    (tmp_path / "x").mkdir()
    (tmp_path / "x/run_receipt.json").write_text("{", "utf-8")
    assert find_runs(tmp_path) == []
    assert find_runs(tmp_path / "none") == []


def test_canonical_json_is_one_text_per_value() -> None:
    """Keys are sorted, spaces left out, and numbers that JSON lacks refused."""
    assert canonical_json({"b": 1, "a": [1, 2]}) == '{"a":[1,2],"b":1}'
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


FREED_AND_TAKEN = """
import resource
import numpy as np
from fraudloom.memory import keep_freed_pages

def batch():
    return [np.ones(1 << 17) for _ in range(24)]

keep_freed_pages()
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the bounds of another allocator are its own")
def test_freed_pages_serve_the_next_batch() -> None:
    """Arrays that a batch frees are the next batch's: else each batch of 24 MB costs 6,000 page faults."""
    out = subprocess.run([sys.executable, "-c", FREED_AND_TAKEN], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 3_000
