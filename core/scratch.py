"""Scratch of the scatter: arrivals leave in unit order and come back shard by shard, always in the same row order.

One file per (part, unit), holding a segment per shard of the part, column after column. A shard is read by joining its
segments in unit order, so what it holds does not depend on which thread wrote which unit when. A part's folder is
freed when the part is done. Files are not synced: a resumed run checks size and CRC of what it finds and scatters again
what is not whole.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom import faults
from fraudloom.errors import InternalError
from fraudloom.publish import write_json
from fraudloom.shards import part_count, part_shards
from fraudloom.tables import Columns

Arrays = dict[str, np.ndarray[Any, Any]]


def remove_work(path: Path, work: Path) -> None:
    """Remove a folder strictly inside a run's work folder; InternalError for anything else."""
    inside = path.resolve()
    if work.resolve() not in inside.parents or path.is_symlink() or work.name != ".work":
        raise InternalError("RUN", "SCRATCH_PATH", what="refusing to remove what is outside the run's work", where=path)
    if path.exists():
        shutil.rmtree(path)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Save arrays, mostly zero ones sparsely."""
    out: Arrays = {}
    for name, a in arrays.items():
        flat = a.reshape(-1)
        where = np.flatnonzero(flat)
        if len(where) * 2 < flat.size:
            out[f"s:{name}"], out[f"v:{name}"] = where, flat[where]
            out[f"d:{name}"] = np.array(a.shape, dtype=np.int64)
        else:
            out[f"a:{name}"] = a
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as f:
        np.savez(f, **out)  # type: ignore[arg-type]
    beside.replace(path)


def load_arrays(path: Path) -> Arrays:
    """Load what `save_arrays` saved."""
    found: Arrays = {}
    with np.load(path) as z:
        for key in z.files:
            kind, _, name = key.partition(":")
            if kind == "a":
                found[name] = z[key]
            elif kind == "s":
                shape = tuple(z[f"d:{name}"].tolist())
                full = np.zeros(int(np.prod(shape)), dtype=z[f"v:{name}"].dtype)
                full[z[key]] = z[f"v:{name}"]
                found[name] = full.reshape(shape)
    return found


def constant_columns(cols: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, list[Any]]:
    """Whole-number and bool columns of one value, as [dtype, value]: a unit's record says them, its files need not.

    A world without pins has four of them. With fewer than two rows none is: a unit with rows has columns in its files.
    """
    found: dict[str, list[Any]] = {}
    for name, v in cols.items():
        if v.dtype.kind in "iub" and len(v) > 1 and v[0] == v[-1] and bool((v == v[0]).all()):
            found[name] = [v.dtype.str, v[0].item()]
    return found


def _named(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Columns of a scatter and their dtypes: a column may be constant in one unit and in the files of another."""
    record = next((r for r in records if r["columns"]), None)
    if record is None:
        return {}
    return dict(record["columns"]) | {name: kind for name, (kind, _) in record.get("constant", {}).items()}


class Scratch:
    """Scatter files of one scenario below `root` (a folder inside the run's work folder)."""

    def __init__(self, root: Path, work: Path, shards: int) -> None:
        self.root, self.work, self.shards = root, work, shards
        self.parts = part_count(shards)

    def _file(self, part: int, unit: int) -> Path:
        return self.root / f"part-{part:05d}" / f"unit-{unit:05d}.bin"

    def record_path(self, unit: int) -> Path:
        """Where a finished unit's record is."""
        return self.root / "units" / f"unit-{unit:05d}.json"

    def arrays_path(self, unit: int, kind: str) -> Path:
        """Where a finished unit's census arrays are."""
        return self.root / "units" / f"unit-{unit:05d}.{kind}.npz"

    def write_unit(self, unit: int, cols: Columns, ends: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Write the segments of a unit; return what the record must say about them.

        Rows of shard s are `ends[s]:ends[s + 1]` of `cols` (contiguous; ends: int64[shards + 1]). Of `constant_columns`
        the caller may leave out some here, and put them into the record as "constant".
        """
        counts = np.diff(ends)
        files: dict[str, list[int]] = {}
        for part in range(self.parts):
            run = part_shards(self.shards, part)
            if counts[run.start : run.stop].sum() == 0:
                continue
            path = self._file(part, unit)
            path.parent.mkdir(parents=True, exist_ok=True)
            crc = size = 0
            # A buffer smaller than a segment: what is larger goes to the system as it is, not copied first.
            with path.open("wb", buffering=1 << 14) as f:
                for s in run:
                    lo, hi = int(ends[s]), int(ends[s + 1])
                    if lo == hi:
                        continue
                    for v in cols.values():
                        raw = v[lo:hi].view(np.uint8).data
                        crc = zlib.crc32(raw, crc)
                        size += len(raw)
                        f.write(raw)
            files[str(part)] = [size, crc]
        return {
            "counts": counts.tolist(),
            "files": files,
            "columns": [[name, v.dtype.str] for name, v in cols.items()],
        }

    def finish_unit(self, unit: int, record: Mapping[str, Any]) -> None:
        """Write a unit's record: from now on it is not done again."""
        write_json(self.record_path(unit), dict(record), durable=False)
        faults.point("unit.done")

    def reusable(self, unit: int, live_parts: Sequence[int], scattered: bool) -> dict[str, Any] | None:
        """The record of a finished unit whose files are whole for the parts still to do, else None."""
        path = self.record_path(unit)
        if not path.is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if "carried" not in record or (scattered and not record.get("columns")):
            return None
        if not all(p.is_file() for p in (self.arrays_path(unit, "census"), self.arrays_path(unit, "busy"))):
            return None
        for part in live_parts if scattered else ():
            wanted = record["files"].get(str(part))
            if wanted is None:
                continue
            file = self._file(part, unit)
            if not file.is_file() or file.stat().st_size != wanted[0] or zlib.crc32(file.read_bytes()) != wanted[1]:
                return None
        return record

    def read_shard(
        self, shard: int, records: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, Any]] = ()
    ) -> Columns:
        """Rows of one shard in unit order. `records`: all unit records in unit order; `columns`: names and dtypes of
        an empty scatter, whose records name none."""
        total = sum(int(r["counts"][shard]) for r in records)
        named = _named(records) or {n: np.dtype(t).str for n, t in columns}
        out: Columns = {name: np.empty(total, dtype=np.dtype(kind)) for name, kind in named.items()}
        part = next(p for p in range(self.parts) if shard in part_shards(self.shards, p))
        at = 0
        for unit, record in enumerate(records):
            rows = int(record["counts"][shard])
            if rows == 0:
                continue
            for name, (_, value) in record.get("constant", {}).items():
                out[name][at : at + rows] = value
            width = sum(np.dtype(kind).itemsize for _, kind in record["columns"])
            before = sum(record["counts"][part_shards(self.shards, part).start : shard])
            with self._file(part, unit).open("rb") as f:
                f.seek(before * width)
                for name, _ in record["columns"]:
                    target = out[name][at : at + rows]
                    if f.readinto(target.view(np.uint8).data) != target.nbytes:
                        raise InternalError("S1", "SCRATCH_SHORT", what="a scratch file is short", where=f.name)
            at += rows
        return out

    def free_part(self, part: int) -> None:
        """Give the part's scratch back to the disk."""
        remove_work(self.root / f"part-{part:05d}", self.work)

    def free(self) -> None:
        """Give everything back."""
        remove_work(self.root, self.work)
