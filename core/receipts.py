"""Run receipts: which runs there are, and which one a call means."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fraudloom.errors import ConflictError, UsageError
from fraudloom.publish import RunReport, write_json
from fraudloom.runlog import utc_now
from fraudloom.spec import SPEC, SPEC_VERSION_6B, Axes, RunSpec

RECEIPT = "run_receipt.json"
SEAL = "SEAL.json"
WORK = ".work"
ARRIVALS = "s1_arrival_entities_6B"
_RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")


@dataclass(frozen=True)
class RunFolder:
    """A run found on disk."""

    root: Path
    receipt: dict[str, Any]

    @property
    def run_id(self) -> str:
        """Name of the folder."""
        return str(self.receipt["run_id"])

    @property
    def sealed(self) -> bool:
        """Whether the run is finished: its seal stands."""
        return (self.root / SEAL).is_file()

    def arrivals(self) -> int | None:
        """Arrivals over its scenarios, by the receipt (older ones: by the seal); None when neither says."""
        told = self.receipt.get("arrivals")
        if told is None and self.sealed:
            told = json.loads((self.root / SEAL).read_text("utf-8"))["datasets"].get(ARRIVALS, {}).get("rows")
        return None if told is None else int(told)

    def status(self) -> str:
        """SEALED, the failing state, or the last state that passed."""
        if self.sealed:
            return "SEALED"
        reports = sorted((self.root / "data/layer3/6B/run_report").glob("manifest_fingerprint=*/run_report_6B.jsonl"))
        report = RunReport(reports[0]) if reports else None
        states = report.states() if report else []
        failed = [s for s in states if report and report.status(s) == "FAIL"]
        if failed:
            return f"FAIL {failed[0]}"
        return f"UNFINISHED after {states[-1]}" if states else "UNFINISHED"


def new_run_id() -> str:
    """A folder name: 32 hex digits that enter no content."""
    return os.urandom(16).hex()


def check_run_id(run_id: str) -> str:
    """The id, or UsageError when it cannot name a folder."""
    if not _RUN_ID.match(run_id) or run_id == "worlds":
        raise UsageError(
            "RUN",
            "RUN_ID",
            what="a run id names a folder",
            found=run_id,
            expected="letters, digits, dot, dash, underscore; at most 64; not 'worlds'",
            action="name another --run-id, or leave it out",
        )
    return run_id


def find_runs(runs_root: Path) -> list[RunFolder]:
    """All runs below a runs root, oldest first (by `created_utc`, then id)."""
    found = []
    for path in sorted(runs_root.glob(f"*/{RECEIPT}")) if runs_root.is_dir() else ():
        try:
            receipt = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(receipt, dict) and {"run_id", "created_utc", "axes"} <= receipt.keys():
            found.append(RunFolder(path.parent, receipt))
    return sorted(found, key=lambda r: (str(r.receipt["created_utc"]), r.run_id))


def choose_run(
    runs_root: Path, axes: Axes, *, run_id: str | None, fresh: bool, first: str
) -> tuple[str, RunFolder | None]:
    """The run that a call means: (run id, its folder when it exists).

    Without an id: the latest unfinished run with equal axes, else a new one (`fresh`: always a new one). With an id:
    that run, which must have equal axes (ConflictError). Re-running from a later state needs a run to re-run.
    """
    if run_id is not None:
        folder = runs_root / check_run_id(run_id)
        receipt = folder / RECEIPT
        if not receipt.is_file():
            _refuse_late_start(first, run_id)
            return run_id, None
        run = RunFolder(folder, json.loads(receipt.read_text("utf-8")))
        if run.receipt["axes"] != axes.as_json():
            other = {k: v for k, v in run.receipt["axes"].items() if axes.as_json().get(k) != v}
            raise ConflictError(
                "RUN",
                "AXES_DIFFER",
                what=f"run {run_id} was made with other axes",
                found=other,
                expected={k: axes.as_json().get(k) for k in other},
                where=folder,
                action="name another --run-id, or leave it out",
            )
        return run_id, run
    if not fresh:
        equal = [r for r in find_runs(runs_root) if r.receipt["axes"] == axes.as_json() and not r.sealed]
        if equal:
            return equal[-1].run_id, equal[-1]
    _refuse_late_start(first, None)
    return new_run_id(), None


def _refuse_late_start(first: str, run_id: str | None) -> None:
    if first not in ("S0", "S1"):
        raise UsageError(
            "RUN",
            "NOTHING_TO_RERUN",
            what=f"--from {first} needs a run that exists",
            found=run_id or "no unfinished run with these axes",
            action="name a run with --run-id, or start from S0",
        )


def write_receipt(spec: RunSpec, version: str) -> None:
    """Write `run_receipt.json` once; a resumed run keeps its first."""
    path = spec.run_root / RECEIPT
    if path.exists():
        return
    write_json(
        path,
        {
            "run_id": spec.run_id,
            "seed": spec.seed,
            "parameter_hash": spec.axes.parameter_hash,
            "manifest_fingerprint": spec.axes.manifest_fingerprint,
            "validation_hash": spec.axes.validation_hash,
            "scenarios": list(spec.scenarios),
            "axes": spec.axes.as_json(),
            "spec": SPEC,
            "spec_version_6B": SPEC_VERSION_6B,
            "policies": spec.pack_name,
            "profile": spec.profile,
            "contracts_layout": "packaged",
            "contracts_root": str(spec.contracts_root),
            "runs_root": str(spec.runs_root),
            "world_root": str(spec.world_root),
            "world_seed": spec.world_seed,
            "arrivals": spec.arrivals,
            "external_roots": [str(spec.world_root)],
            "version": version,
            "created_utc": utc_now(),
        },
    )
