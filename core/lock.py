"""One process per run: an advisory lock that dies with its holder and is never inherited."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from fraudloom.errors import ConflictError


class FolderLock:
    """`flock` on a file; a second holder gets ConflictError at once. Use as a context manager."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise ConflictError with the holder's process number."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise ConflictError(
                "RUN",
                "LOCKED",
                what=f"another process holds {self.what}",
                found=f"process {holder}" if holder else "a holder",
                where=self.path,
                action="wait until it ends, or start another run with --fresh",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode("ascii"), 0)
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; the file stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
