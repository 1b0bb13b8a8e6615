"""RNG evidence: per state, family, decision and shard (or scatter unit) the events, draws and checksum that were made.

Counts are true: every draw of S1 to S4 passes through one helper that adds to the evidence array. S5 recomputes what
each decision's domain implies and compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import InternalError
from fraudloom.publish import write_atomic
from fraudloom.runlog import utc_now
from fraudloom.spec import WEAVE, Axes, RunSpec, canonical_json

ALGORITHM = "splitmix64-counter"
MASK = (1 << 64) - 1


def evidence_rows(
    state: str, decisions: Any, evidence: np.ndarray[Any, Any], scope: str, index: int
) -> list[dict[str, Any]]:
    """Rows of one shard or unit: a row per decision that drew. `decisions`: the plan's; evidence: uint64[n, 2]."""
    rows = []
    for d, (draws, checksum) in zip(decisions.items, evidence.tolist(), strict=True):
        if draws == 0:
            continue
        if draws % d.slots:
            raise InternalError(
                state,
                "EVIDENCE",
                what=f"{d.family}/{d.decision} made draws that are no multiple of its slots",
                found=draws,
                expected=f"a multiple of {d.slots}",
            )
        rows.append(
            {
                "module": f"6B.{state}",
                "family": d.family,
                "decision": d.decision,
                "scope": scope,
                "index": index,
                "events": draws // d.slots,
                "draws": draws,
                "checksum": f"{checksum:016x}",
            }
        )
    return rows


def totals(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Totals per (module, family, decision): events, draws, checksum (sum mod 2^64), sorted."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for r in rows:
        t = found.setdefault((str(r["module"]), str(r["family"]), str(r["decision"])), [0, 0, 0])
        t[0] += int(r["events"])
        t[1] += int(r["draws"])
        t[2] = (t[2] + int(str(r["checksum"]), 16)) & MASK
    return [
        {"module": m, "family": f, "decision": d, "events": e, "draws": n, "checksum": f"{c:016x}"}
        for (m, f, d), (e, n, c) in sorted(found.items())
    ]


def write_evidence(
    run_root: Path, contracts: Contracts, axes: Axes, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Path]:
    """Write the evidence files (per scenario and family) and the trace log; return their paths.

    `rows`: scenario -> evidence rows. The order in a file is (module, decision, scope, index).
    """
    written = []
    trace = []
    for scenario, all_rows in rows.items():
        by_family: dict[str, list[Mapping[str, Any]]] = {}
        for r in all_rows:
            by_family.setdefault(str(r["family"]), []).append(r)
        for family, members in sorted(by_family.items()):
            members.sort(key=lambda r: (str(r["module"]), str(r["decision"]), str(r["scope"]), int(r["index"])))
            path = run_root / contracts.artefact_path("rng_evidence_6B", **axes.tokens(scenario, family=family))
            write_atomic(path, "".join(canonical_json(dict(r)) + "\n" for r in members).encode())
            written.append(path)
        for t in totals(all_rows):
            trace.append(
                {
                    "seed": axes.seed,
                    "scenario_id": scenario,
                    "module": t["module"],
                    "substream_label": t["family"],
                    "decision": t["decision"],
                    "rng_counter_before_lo": 0,
                    "draws_total": t["draws"],
                    "blocks_total": t["draws"],
                    "events_total": t["events"],
                    "checksum": t["checksum"],
                }
            )
    path = run_root / contracts.artefact_path("rng_trace_log", **axes.tokens())
    write_atomic(path, "".join(canonical_json(t) + "\n" for t in trace).encode())
    written.append(path)
    return written


def write_audit(spec: RunSpec, contracts: Contracts, version: str) -> None:
    """One row: who drew with which generator. Outside the seal, since it holds a clock."""
    path = spec.run_root / contracts.artefact_path("rng_audit_log", **spec.axes.tokens(run=spec.run_id))
    if path.exists():
        return
    row = {
        "ts_utc": utc_now(),
        "run_id": spec.run_id,
        "seed": spec.seed,
        "manifest_fingerprint": spec.axes.manifest_fingerprint,
        "parameter_hash": spec.axes.parameter_hash,
        "algorithm": ALGORITHM,
        "build_commit": version,
        "modules": [f"6B.{s}" for s in WEAVE],
    }
    write_atomic(path, (canonical_json(row) + "\n").encode())
