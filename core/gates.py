"""The two gates of a run: S0 publishes receipt and inventory; S5 report, issues, index and, on PASS, the flag."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fraudloom import faults
from fraudloom.digests import part_journal
from fraudloom.engine import Engine, seal_world
from fraudloom.errors import ConflictError, FraudloomError, GateError, SealError
from fraudloom.publish import write_atomic, write_json
from fraudloom.spec import SPEC_VERSION_6B, STATES, WEAVE, canonical_json
from fraudloom.sweeps import demand_pass, pass_row, tell_story
from fraudloom.tables import file_sha256


def _publish(engine: Engine, state: str, path: Path, data: bytes) -> None:
    """Write a control file; one that a PASS row names may not change."""
    if path.exists() and path.read_bytes() != data and engine.report.passed(state):
        raise ConflictError(
            state,
            "IDEMPOTENCE_VIOLATION",
            what="a published control file differs from what this call made",
            where=path,
            action="the world, a contract or the file changed since; start a new run with --fresh",
        )
    if not path.exists() or path.read_bytes() != data:
        write_atomic(path, data)


def _publish_gate(engine: Engine, gate: Any) -> None:
    """Write the inventory, read it back, and write the receipt over what stands on disk: last, and once."""
    from fraudloom.states import s0

    tokens, root, passed = engine.spec.axes.tokens(), engine.spec.run_root, engine.report.passed("S0")
    listed = root / engine.contracts.artefact_path("sealed_inputs_6B", **tokens)
    path = root / engine.contracts.artefact_path("s0_gate_receipt_6B", **tokens)
    data = (canonical_json(gate.sealed_inputs) + "\n").encode()
    if passed and listed.exists() and listed.read_bytes() != data:
        what = "what may be read is not what this run had sealed"
        raise s0.fault(s0.Code.SEALED_INPUTS_DRIFT, what, listed, *_digests(listed.read_bytes(), data))
    try:
        if not listed.exists() or listed.read_bytes() != data:
            write_atomic(listed, data)
        rows = s0.persisted_rows(listed)
        if rows != gate.sealed_inputs:
            what = "the inventory on disk is not what was written"
            raise s0.fault(s0.Code.SEALED_INPUTS_DRIFT, what, listed, *_digests(listed.read_bytes(), data))
        receipt = gate.receipt(s0.sealed_digest(rows))
        s0.check_receipt(engine.contracts, receipt)
        if path.exists() and s0.same_receipt(path.read_bytes(), receipt):
            return
        data = (canonical_json(receipt) + "\n").encode()
        if passed and path.exists():
            what = "the published receipt says something else of this world"
            code = s0.Code.GATE_RECEIPT_IDEMPOTENCE_VIOLATION
            raise s0.fault(code, what, path, *_digests(path.read_bytes(), data))
        write_atomic(path, data)
    except OSError as e:
        what = f"receipt or inventory cannot be written: {e.strerror or e}"
        raise s0.fault(s0.Code.GATE_RECEIPT_WRITE_FAILED, what, e.filename or path) from e


def _digests(found: bytes, expected: bytes) -> tuple[str, str]:
    return hashlib.sha256(found).hexdigest(), hashlib.sha256(expected).hexdigest()


def reopen_gate(engine: Engine) -> None:
    """For a call that starts behind S0: take the run's receipt and inventory, and open the world through them."""
    from fraudloom.states import s0

    demand_pass(engine, "S1")
    tokens, root = engine.spec.axes.tokens(), engine.spec.run_root
    path = root / engine.contracts.artefact_path("s0_gate_receipt_6B", **tokens)
    try:
        receipt = json.loads(path.read_bytes())
    except (OSError, ValueError) as e:
        what = f"the gate receipt cannot be read: {e}"
        raise SealError(
            "RUN", "PRECONDITION_S0_OR_UPSTREAM_FAILED", what=what, where=path, action="run from S0 on"
        ) from None
    rows = s0.persisted_rows(root / engine.contracts.artefact_path("sealed_inputs_6B", **tokens))
    try:
        seal_world(engine, s0.reopen(engine.spec.world_root, engine.contracts, receipt, rows))
    except FraudloomError as e:
        e.state = "RUN"  # the state that now reads is the one that fails, not the gate that passed
        e.args = (e.message(),)
        raise


def run_gate(engine: Engine) -> None:
    """S0: verify what is sealed upstream, publish inventory and receipt, write the PASS row."""
    from fraudloom.states import s0

    tell_story(engine, "S0", f"world {engine.spec.axes.manifest_fingerprint[:16]} at {engine.spec.world_root}")
    spec = engine.spec
    gate = s0.gate(spec.world_root, engine.contracts, engine.pack, verify=spec.options.verify, executor=engine.executor)
    for name, want in (
        ("manifest_fingerprint", spec.axes.manifest_fingerprint),
        ("parameter_hash", spec.axes.parameter_hash),
    ):
        if gate.facts[name] != want:
            what = f"the {name} is no more that with which the run was opened"
            raise s0.fault(s0.Code.SEALED_INPUTS_DRIFT, what, spec.world_root, gate.facts[name], want)
    _publish_gate(engine, gate)
    engine.note("S0", *gate.notes)
    seal_world(engine, gate.files)
    if not engine.report.passed("S0"):
        engine.report.put(pass_row(engine, "S0"))
    engine.log.event("6B.S0.END", sealed_inputs=len(gate.sealed_inputs), verify=spec.options.verify)


def run_validation(engine: Engine) -> None:
    """S5: check everything over all rows; publish report and issues, then, on PASS alone, the flag and the PASS row.

    GateError when the verdict is FAIL.
    """
    demand_pass(engine, "S5")
    tell_story(engine, "S5", "everything that S1 to S4 published, and the upstream arrivals")
    with engine.meter.whole("S5"):
        result = _validate(engine)
    for check in result.checks:
        engine.progress.line(f"    {check['result']:<16}{check['check_id']}")
    folder = engine.spec.run_root / engine.contracts.artefact_path("validation_bundle_6B", **engine.spec.axes.tokens())
    report = folder / "s5_validation_report_6B.json"
    issues = folder / "s5_issue_table_6B.parquet"
    _publish(engine, "S5", report, (canonical_json(result.report) + "\n").encode())
    _publish(engine, "S5", issues, issue_bytes(result.issues))
    items = [
        {
            "path": path.name,
            "role": role,
            "schema_ref": f"schemas.control.yaml#/artefacts/{path.stem}",
            "size_bytes": path.stat().st_size,
            "sha256_hex": file_sha256(path),
        }
        for path, role in ((issues, "validation_issue_table"), (report, "validation_report"))
    ]
    index = {
        "manifest_fingerprint": engine.spec.axes.manifest_fingerprint,
        "parameter_hash": engine.spec.axes.parameter_hash,
        "spec_version_6B": SPEC_VERSION_6B,
        "items": items,
    }
    write_json(folder / "index.json", index)
    flag = folder / "_passed.flag"
    if result.verdict != "PASS":
        flag.unlink(missing_ok=True)
        bad = [str(c["check_id"]) for c in result.checks if c["result"] == "FAIL"]
        raise GateError(
            "S5",
            "VALIDATION_FAILED",
            what=f"the run finished, but {len(bad)} check(s) failed: {', '.join(bad) or 'see the report'}",
            where=report,
            action="read the issue table; the run is not sealed",
        )
    faults.point("s5.flag")
    write_atomic(flag, f"sha256_hex = {file_sha256(folder / 'index.json')}\n".encode())
    if not engine.report.passed("S5"):
        engine.report.put(pass_row(engine, "S5"))
    engine.log.event("6B.S5.END", verdict=result.verdict)


def _validate(engine: Engine) -> Any:
    from fraudloom.states import s5

    return s5.validate(
        engine.spec.run_root,
        engine.world,
        engine.contracts,
        engine.pack,
        engine.spec,
        journal=part_journal(engine, WEAVE),
        executor=engine.executor,
        progress=engine.progress,
    )


def issue_bytes(table: Any) -> bytes:
    """An Arrow table as the bytes of a Parquet file."""
    import io

    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="snappy")
    return sink.getvalue()


def segment_states(engine: Engine) -> dict[str, str]:
    """Status per state before S5, for the report."""
    return {s: engine.report.status(s) for s in STATES[:-1]}
