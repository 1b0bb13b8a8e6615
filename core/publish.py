"""Publishing that survives a crash at any instant.

A file is written beside its place and renamed; a set of files is synced, named in an intent record, renamed one by one
and only then named by a PASS row in the run report. Whatever instant a crash picks, the old or the new is there, and
`roll_forward` finishes an intent that was recorded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fraudloom import faults
from fraudloom.errors import ConflictError, InternalError
from fraudloom.spec import STATES, WEAVE, canonical_json


def fsync_file(path: Path) -> None:
    """Force a file's bytes to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_folder(path: Path) -> None:
    """Force a folder's entries to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, each entry synced."""
    missing = []
    p = path
    while not p.exists():
        missing.append(p)
        p = p.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        fsync_folder(made.parent)


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a whole file: either the old bytes or the new ones are there, never a part.

    `durable` False leaves out the syncs: for work files whose digests are checked before they are used again.
    """
    if durable:
        make_folder(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as f:
        f.write(data)
        if durable:
            f.flush()
            os.fsync(f.fileno())
    faults.point("atomic.rename")
    beside.replace(path)
    if durable:
        fsync_folder(path.parent)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Canonical JSON with a closing newline, written atomically."""
    write_atomic(path, (canonical_json(value) + "\n").encode(), durable=durable)


class Journal:
    """Append-only lines of canonical JSON, each synced before the call returns; opening drops a torn last line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        make_folder(path.parent)
        if path.exists():
            self._recover()

    def _recover(self) -> None:
        data = self.path.read_bytes()
        good = 0
        for line in data.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                self.records.append(json.loads(line))
            except ValueError:
                break
            good += len(line)
        if good != len(data):
            with self.path.open("r+b") as f:
                f.truncate(good)
                f.flush()
                os.fsync(f.fileno())

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records, durably, with one sync."""
        lines = "".join(canonical_json(dict(r)) + "\n" for r in records).encode()
        new = not self.path.exists()
        with self.path.open("ab") as f:
            f.write(lines)
            f.flush()
            os.fsync(f.fileno())
        if new:
            fsync_folder(self.path.parent)
        self.records += [dict(r) for r in records]


def same_file(a: Path, b: Path) -> bool:
    """Whether two files hold equal bytes."""
    if a.stat().st_size != b.stat().st_size:
        return False
    with a.open("rb") as x, b.open("rb") as y:
        while True:
            left, right = x.read(1 << 20), y.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True


def move_into_place(pairs: Sequence[tuple[Path, Path]], intent: Path, *, replace: bool = False) -> None:
    """Publish a set of files: sync, record the intent, rename, sync the folders, drop the intent.

    A target that exists with equal bytes stays and its source is dropped; other bytes are IDEMPOTENCE_VIOLATION unless
    `replace` (files that no PASS row names). Sources must lie on the targets' file system.
    """
    for source, _ in pairs:
        fsync_file(source)
    if not replace:
        for source, target in pairs:
            if target.exists() and not same_file(source, target):
                raise ConflictError(
                    "RUN",
                    "IDEMPOTENCE_VIOLATION",
                    what="a published file differs from what this call made",
                    where=target,
                    action="the published file was changed after the run, or the code was; "
                    "compare them, and start a new run with --fresh",
                )
    for folder in sorted({target.parent for _, target in pairs}):
        make_folder(folder)
    root = intent.parent.parent
    listed = [[os.path.relpath(s, root), os.path.relpath(t, root)] for s, t in pairs]
    write_json(intent, {"renames": listed})
    faults.point("publish.intent")
    _rename(pairs)
    intent.unlink()
    fsync_folder(intent.parent)


def _rename(pairs: Iterable[tuple[Path, Path]]) -> None:
    folders: set[Path] = set()
    for source, target in pairs:
        if source.exists():
            source.replace(target)
            faults.point("publish.rename")
        elif not target.exists():
            raise InternalError("RUN", "INTENT_LOST", what="neither source nor target of a rename exists", where=target)
        folders.update((source.parent, target.parent))
    for folder in sorted(folders):
        if folder.exists():
            fsync_folder(folder)


def roll_forward(intents: Path) -> int:
    """Finish every recorded intent; return how many there were."""
    count = 0
    root = intents.parent
    for path in sorted(intents.glob("*.json")) if intents.exists() else ():
        body = json.loads(path.read_text("utf-8"))
        _rename([(root / s, root / t) for s, t in body["renames"]])
        path.unlink()
        count += 1
    for torn in sorted(intents.glob(".*.new")) if intents.exists() else ():
        torn.unlink()
    return count


class RunReport:
    """`run_report_6B`: a row per state and scope, PASS or FAIL. What no PASS row names is not published.

    The scope of S1 to S4 is a scenario (`scenario_id`); that of S0 and S5, and of a failure outside any scenario, is
    the whole run (`scenario_id` null). `scenarios` names those of the run, so that a missing row shows.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            self.rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def of(self, state: str) -> list[dict[str, Any]]:
        """The state's rows, in the order of the run's scenarios."""
        return [r for r in self.rows if r["state"] == state]

    def states(self) -> list[str]:
        """States that have rows, in their order."""
        return [s for s in STATES if self.of(s)]

    def status(self, state: str) -> str:
        """PASS when every scope of the state passed, FAIL when one failed, MISSING when a row is missing."""
        rows = self.of(state)
        if any(r["status"] == "FAIL" for r in rows):
            return "FAIL"
        scopes = {r["scenario_id"] for r in rows}
        whole = bool(rows) and scopes == (set(rows[0]["scenarios"]) if state in WEAVE else {None})
        return "PASS" if whole else "MISSING"

    def passed(self, state: str) -> bool:
        """Whether every scope of the state has a PASS row."""
        return self.status(state) == "PASS"

    def counts(self, state: str) -> dict[str, int]:
        """Rows per dataset of the state, over its scopes."""
        total: dict[str, int] = {}
        for row in self.of(state):
            for dataset, n in row["counts"].items():
                total[dataset] = total.get(dataset, 0) + int(n)
        return total

    def put(self, *rows: Mapping[str, Any]) -> None:
        """Write all rows of one state. FAIL stands alone: rows of later states go, and only one state has failed."""
        (state,) = {str(r["state"]) for r in rows}
        kept = [r for r in self.rows if r["status"] == "PASS" and r["state"] != state]
        if any(r["status"] == "FAIL" for r in rows):
            kept = [r for r in kept if STATES.index(r["state"]) < STATES.index(state)]
        self.rows = sorted([*kept, *map(dict, rows)], key=lambda r: STATES.index(r["state"]))
        self._write()

    def drop(self, states: Iterable[str]) -> None:
        """Remove rows before their states run again."""
        gone = set(states)
        kept = [r for r in self.rows if r["state"] not in gone]
        if len(kept) < len(self.rows):
            self.rows = kept
            self._write()

    def _write(self) -> None:
        write_atomic(self.path, "".join(canonical_json(r) + "\n" for r in self.rows).encode())
        faults.point("report.row")
