"""The weaving of S1 to S4: which sweeps a call needs, fused or staged, and the publishing of each state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fraudloom import faults
from fraudloom.digests import part_facts, summaries
from fraudloom.engine import CATALOGUE, Engine, Scenario, compile_plans
from fraudloom.errors import SealError
from fraudloom.evidence import evidence_rows, write_evidence
from fraudloom.memory import release_memory
from fraudloom.pass_a import PassA
from fraudloom.pass_b import PassB, load_realised
from fraudloom.publish import fsync_folder, make_folder, move_into_place, write_json
from fraudloom.scratch import remove_work
from fraudloom.spec import STATES, WEAVE
from fraudloom.tables import PartWriter

STORY = {
    "S0": "The gate: re-hash what is sealed upstream, take the inventory.",
    "S1": "Attach every arrival to party, account, instrument, device and address; group arrivals into sessions.",
    "S2": "Make flows and their events; one causal issuer decides.",
    "S3": "Overlay fraud and abuse campaigns by plan, census and quota.",
    "S4": "Derive ground truth, the bank's view, label history and cases.",
    "S5": "Prove the whole result and seal it.",
}


#: Columns of a run-report row that say for what it holds.
SCOPE = ("manifest_fingerprint", "parameter_hash", "seed", "scenarios")


def tell_story(engine: Engine, state: str, inputs: str) -> None:
    """Print the header of a state and log its start."""
    outputs = ", ".join(engine.datasets(state)) if state in WEAVE else ""
    facts = [("gated", inputs)] + ([("writes", outputs)] if outputs else [])
    engine.progress.story(state, STORY[state], facts)
    engine.log.event(f"6B.{state}.START")


def demand_pass(engine: Engine, state: str) -> None:
    """No PASS, no read: all states before `state` must have a PASS row."""
    axes = engine.spec.axes.as_json()
    for before in STATES[: STATES.index(state)]:
        for row in engine.report.of(before):
            if row["status"] == "PASS" and any(row[k] != axes[k] for k in SCOPE):
                raise SealError(
                    state,
                    "GATE_NOT_PASSED",
                    what=f"a PASS row of {before} is for another scope",
                    found={k: row[k] for k in SCOPE},
                    expected={k: axes[k] for k in SCOPE},
                    where=engine.report.path,
                    action=f"run from {before} on",
                )
        if not engine.report.passed(before):
            raise SealError(
                state,
                "GATE_NOT_PASSED",
                what=f"{state} reads what {before} published, but {before} has no PASS row of every scenario",
                where=engine.report.path,
                action=f"run from {before} on",
            )


def weave_states(engine: Engine, wanted: Sequence[str], forced: bool) -> None:
    """Weave and publish the wanted states of S1 to S4 that have not passed (`forced`: all wanted ones again)."""
    todo = [s for s in WEAVE if s in wanted and (forced or not engine.report.passed(s))]
    reuse_published(engine, [s for s in WEAVE if s not in todo and engine.report.passed(s)])
    if not todo:
        publish_evidence(engine)  # a crash may have come between the last PASS row and the evidence
        return
    demand_pass(engine, todo[0])
    compile_plans(engine)
    if forced:
        engine.report.drop(todo)
    groups = [todo] if engine.spec.options.mode == "fused" else [[s] for s in todo]
    for group in groups:
        for state in group:
            tell_story(engine, state, _inputs(state))
        for sc in engine.scenarios:
            engine.weaving = sc.name
            _sweep(engine, sc, group, forced)
        engine.weaving = None
        for state in group:
            publish_state(engine, state)
            engine.log.event(f"6B.{state}.END", **{"rows": engine.report.counts(state)})
    publish_evidence(engine)
    for sc in engine.scenarios:
        if engine.report.passed("S4"):
            sc.scratch.free()


def _inputs(state: str) -> str:
    return {
        "S1": "sealed arrivals (5B) and entities (6A)",
        "S2": "S1 arrivals and sessions",
        "S3": "S2 flows and events, census of arrivals",
        "S4": "S3 flows, events and catalogue",
    }[state]


def reuse_published(engine: Engine, states: Sequence[str]) -> None:
    """Verify the parts of states that have passed; SealError names a published part that changed."""
    for state in states:
        for sc in engine.scenarios:
            for part in range(sc.parts):
                if engine.reusable(sc.name, state, part) is None:
                    raise SealError(
                        state,
                        "PUBLISHED_PART_CHANGED",
                        what=f"part {part} of {state} ({sc.name}) is not what its PASS row names",
                        where=engine.published_path(engine.part_datasets(state)[0], sc.name, part).parent,
                        action="restore the file, or start a new run with --fresh",
                    )


def _sweep(engine: Engine, sc: Scenario, group: Sequence[str], forced: bool) -> None:
    """Weave one group of states of one scenario: the scatter if it is needed, then the parts that are not done."""
    sweep = PassB(engine, sc, group)
    todo = [p for p in range(sc.parts) if forced or any(engine.reusable(sc.name, s, p) is None for s in group)]
    catalogue = "S3" in group and (forced or engine.single_record(sc.name) is None)
    if sc.plan2 is None and ((todo and sweep.needs_census) or catalogue):
        first = PassA(engine, sc, todo, scatter=bool(todo) and sweep.needs_scatter)
        first.run()
        if "S1" in group and todo:
            rows = [r for u in sc.units for r in u["evidence"]]
            write_json(engine.work / "records" / sc.name / "S1" / "units.json", {"evidence": rows})
    elif todo and sweep.needs_scatter and not all(u["columns"] or not u["last"] for u in sc.units):
        PassA(engine, sc, todo, scatter=True).run()
    release_memory()
    sweep.run(todo)
    release_memory()
    if "S3" in group and (catalogue or todo):
        write_catalogue(engine, sc)


def write_catalogue(engine: Engine, sc: Scenario) -> None:
    """Write the campaign catalogue of a scenario, after its last part."""
    from fraudloom.states import s3

    with engine.meter.of("S3"):
        columns = s3.catalogue(sc.plan2, load_realised(engine, sc))
        folder = engine.staged_folder(sc.name, "S3", None)
        fresh = folder.with_name(".single.new")
        remove_work(fresh, engine.work)
        make_folder(fresh)
        ds = engine.contracts.dataset(CATALOGUE)
        writer = PartWriter(fresh / f"{CATALOGUE}.parquet", ds, engine.profile, engine.footer(sc.name))
        writer.write_group(columns)
        r = writer.close()
        remove_work(folder, engine.work)
        fresh.rename(folder)
        fsync_folder(folder.parent)
        facts = {
            "rows": r.rows,
            "bytes": r.bytes,
            "content_digest": r.content_digest,
            "file_digest": r.file_digest,
        }
        plan = sc.plans["S3"]
        evidence = getattr(plan, "evidence", None)
        rows = [] if evidence is None else evidence_rows("S3", plan.decisions, evidence, "plan", 0)
        notes = [note for note in getattr(sc.plan2, "notes", ()) if note not in engine.notes.get("S3", ())]
        record = {"files": {CATALOGUE: facts}, "evidence": rows, "notes": notes}
        write_json(engine.single_path(sc.name), record)


def _pairs(engine: Engine, state: str) -> list[tuple[Path, Path]]:
    pairs = []
    for sc in engine.scenarios:
        for part in range(sc.parts):
            for dataset in engine.part_datasets(state):
                source = engine.staged_folder(sc.name, state, part) / f"{dataset}.parquet"
                pairs.append((source, engine.published_path(dataset, sc.name, part)))
        if state == "S3":
            source = engine.staged_folder(sc.name, state, None) / f"{CATALOGUE}.parquet"
            pairs.append((source, engine.published_path(CATALOGUE, sc.name)))
    return [(s, t) for s, t in pairs if s.exists()]


def publish_state(engine: Engine, state: str) -> None:
    """Move a state's parts into place and write its PASS rows, one per scenario, at once."""
    demand_pass(engine, state)
    with engine.meter.of(state):
        engine.sync_wait()
        move_into_place(_pairs(engine, state), engine.work / "intents" / f"{state}.json")
        for sc in engine.scenarios:
            remove_work(engine.work / "staging" / sc.name / state, engine.work)
        engine.report.put(*(pass_row(engine, state, sc.name) for sc in engine.scenarios))
    faults.point(f"published.{state}")


def pass_row(engine: Engine, state: str, scenario: str | None = None) -> dict[str, Any]:
    """A PASS row of the run report: of a scenario for S1 to S4, of the whole run for S0 and S5."""
    notes = list(engine.notes.get(state, ()))
    if scenario is None:
        return _report_row(engine, state, "PASS", None) | {"notes": notes}
    if state == "S3":
        notes += (engine.single_record(scenario) or {}).get("notes", [])
    found = summaries(engine, [state], scenario)
    return _report_row(engine, state, "PASS", scenario) | {
        "counts": {d: s["rows"] for d, s in found.items()},
        "datasets": {d: s["content_digest"] for d, s in found.items()},
        "notes": notes,
    }


def fail_row(engine: Engine, state: str, code: str, message: str) -> dict[str, Any]:
    """The FAIL row of a state, of the scenario at work if there is one."""
    row = _report_row(engine, state, "FAIL", engine.weaving)
    return row | {"notes": list(engine.notes.get(state, ())), "error_code": code, "error_message": message}


def _report_row(engine: Engine, state: str, status: str, scenario: str | None) -> dict[str, Any]:
    axes = engine.spec.axes
    return {
        "state": state,
        "scenario_id": scenario,
        "status": status,
        "seed": axes.seed,
        "manifest_fingerprint": axes.manifest_fingerprint,
        "parameter_hash": axes.parameter_hash or None,
        "scenarios": list(axes.scenarios),
        "counts": {},
        "datasets": {},
        "notes": [],
        "error_code": None,
        "error_message": None,
    }


def retract(engine: Engine, state: str) -> None:
    """Take back what `state` and later ones published: files return to staging, so that the work is not lost."""
    for later in WEAVE[max(0, STATES.index(state) - 1) :]:
        for sc in engine.scenarios:
            jobs = [
                (engine.published_path(d, sc.name, p), engine.staged_folder(sc.name, later, p) / f"{d}.parquet")
                for p in range(sc.parts)
                for d in engine.part_datasets(later)
            ]
            if later == "S3":
                jobs.append(
                    (
                        engine.published_path(CATALOGUE, sc.name),
                        engine.staged_folder(sc.name, later, None) / f"{CATALOGUE}.parquet",
                    )
                )
            for source, target in jobs:
                if source.exists():
                    make_folder(target.parent)
                    source.replace(target)


def evidence_of(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """All evidence rows of the states that have passed, by scenario."""
    found: dict[str, list[dict[str, Any]]] = {}
    for sc in engine.scenarios:
        rows = found.setdefault(sc.name, [])
        for state in WEAVE:
            if not engine.report.passed(state):
                continue
            for record in engine.records(sc.name, state, sc.parts):
                rows += record["evidence"]
            if state == "S1":
                units = engine.work / "records" / sc.name / "S1" / "units.json"
                rows += json.loads(units.read_text("utf-8"))["evidence"]
            if state == "S3":
                rows += (engine.single_record(sc.name) or {"evidence": []})["evidence"]
    return found


def publish_evidence(engine: Engine) -> None:
    """Write the RNG evidence and the trace log of what has passed."""
    write_evidence(engine.spec.run_root, engine.contracts, engine.spec.axes, evidence_of(engine))


def journal_facts(engine: Engine) -> dict[str, list[tuple[str, int, dict[str, Any]]]]:
    """Facts of all parts of all weaving states, by dataset."""
    return {d: f for s in WEAVE for d, f in part_facts(engine, s).items()}
