"""The door to the world's files: states open what S0 sealed, as S0 sealed it, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fraudloom.errors import SealError
from fraudloom.tables import file_sha256


@dataclass(frozen=True)
class SealedFiles:
    """Files below `root` that may be opened: path to (size, SHA-256).

    `seen`: paths whose bytes this process has compared with their digests; every other file is hashed when it is first
    admitted. Shared by threads.
    """

    root: Path
    files: Mapping[str, tuple[int, str]]
    seen: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    def admit(self, path: Path) -> Path:
        """The path, if it is sealed and its bytes are those that were; SealError otherwise."""
        name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)
        if name not in self.files:
            raise SealError(
                "RUN",
                "SEALED_INPUTS_INCOMPLETE",
                what="a state asked for a file that S0 did not seal",
                found=name,
                expected=f"one of the {len(self.files)} files behind the ROW_LEVEL rows of sealed_inputs_6B",
                where=path,
                action="only sealed inputs may be read; start a new run with --fresh if the world has grown",
            )
        with self._lock:
            if name in self.seen:
                return path
        size, digest = self.files[name]
        found = (path.stat().st_size, file_sha256(path)) if path.is_file() else (0, "no file")
        if found != (size, digest):
            raise SealError(
                "RUN",
                "SEALED_INPUTS_DRIFT",
                what="a sealed input is not what S0 sealed",
                found=f"{found[0]} bytes, {found[1]}",
                expected=f"{size} bytes, {digest}",
                where=path,
                action="restore the world's files, or build the world again",
            )
        with self._lock:
            self.seen.add(name)
        return path

    def admit_all(self, paths: Iterable[Path], map_: Callable[..., Iterable[Any]] = map) -> list[Path]:
        """`admit` for many; `map_` may be an executor's."""
        return list(map_(self.admit, paths))
