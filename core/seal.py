"""The root seal: every file of `data/` and of the evidence with size and digests, and what lies outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from fraudloom.errors import ConflictError
from fraudloom.publish import write_json
from fraudloom.receipts import SEAL
from fraudloom.spec import SPEC, SPEC_VERSION_6B, Axes
from fraudloom.tables import file_sha256

#: What the seal does not bind: receipts and logs hold clocks, the work folder holds journal and lock.
OUTSIDE = ("run_receipt.json", "logs/run_log.jsonl", "logs/layer3/6B/rng/audit/", ".work/")


def sealed_files(run_root: Path) -> list[Path]:
    """Files that a seal lists: all of `data/`, and logs but those that hold clocks; sorted by path."""
    found = [p for p in (run_root / "data").rglob("*") if p.is_file()]
    for p in (run_root / "logs").rglob("*"):
        name = p.relative_to(run_root).as_posix()
        if p.is_file() and not name.startswith(OUTSIDE):
            found.append(p)
    return sorted(found, key=lambda p: p.relative_to(run_root).as_posix())


def write_seal(
    run_root: Path,
    axes: Axes,
    parts: Mapping[str, Mapping[str, Any]],
    datasets: Mapping[str, Mapping[str, Any]],
    executor: Executor,
) -> None:
    """Write `SEAL.json`. `parts`: facts by path relative to the run root; `datasets`: summaries by id.

    Parts enter with the digests under which they were journalled (their content was compared with the journal by S5 a
    moment ago); every other file is hashed here.
    """
    names = {path.relative_to(run_root).as_posix(): path for path in sealed_files(run_root)}
    others = [path for name, path in names.items() if name not in parts]
    found = dict(zip(others, executor.map(file_sha256, others), strict=True))
    entries = []
    for name, path in names.items():
        facts = parts.get(name)
        digest = found[path] if facts is None else facts["file_digest"]
        entry: dict[str, Any] = {"path": name, "size_bytes": path.stat().st_size, "sha256_hex": digest}
        if facts is not None:
            entry |= {"rows": facts["rows"], "content_digest": facts["content_digest"]}
        entries.append(entry)
    write_json(
        run_root / SEAL,
        {
            "spec_version_6B": SPEC_VERSION_6B,
            "spec": SPEC,
            "axes": axes.as_json(),
            "files": entries,
            "datasets": {d: dict(s) for d, s in datasets.items()},
            "outside": list(OUTSIDE),
        },
    )


def verify_seal(run_root: Path, executor: Executor) -> dict[str, Any]:
    """Compare a sealed run with its seal; ConflictError names the first file that differs. Returns the seal."""
    seal: dict[str, Any] = json.loads((run_root / SEAL).read_text("utf-8"))
    wanted = {str(e["path"]): e for e in seal["files"]}
    present = {p.relative_to(run_root).as_posix(): p for p in sealed_files(run_root)}
    odd = sorted(set(wanted) ^ set(present))
    if odd:
        raise ConflictError(
            "RUN",
            "SEAL_BROKEN",
            what="a sealed file is missing" if odd[0] in wanted else "a file that the seal does not know",
            where=run_root / odd[0],
            action="restore the run folder, or start a new run with --fresh",
        )
    for (name, path), digest in zip(present.items(), executor.map(file_sha256, present.values()), strict=True):
        if digest != wanted[name]["sha256_hex"]:
            raise ConflictError(
                "RUN",
                "SEAL_BROKEN",
                what="a sealed file has changed",
                found=digest,
                expected=wanted[name]["sha256_hex"],
                where=path,
                action="restore the file, or start a new run with --fresh",
            )
    return seal
