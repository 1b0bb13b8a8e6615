"""S5: read everything that a run published, check it over all rows, and say whether it may be sealed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.memory import release_memory
from fraudloom.policies_api import Pack
from fraudloom.progress import Progress, Task
from fraudloom.publish import RunReport
from fraudloom.rng import Streams
from fraudloom.shards import part_count, part_shards
from fraudloom.spec import RunSpec, parameter_hash, validation_hash
from fraudloom.states.behaviour import behaviour
from fraudloom.states.decisions import Decisions
from fraudloom.states.s0 import OPTIONAL_INPUTS, recheck, sealed_digest
from fraudloom.states.s1.plan import cut_rule, restrict
from fraudloom.states.s5 import corridors, report, whole
from fraudloom.states.s5 import evidence as ev
from fraudloom.states.s5.context import (
    Codes,
    Context,
    Horizon,
    RunFacts,
    RunView,
    SessionLaw,
    copied_columns,
    identity_keys,
    link_tables,
    scan_upstream,
    wallet_phones,
)
from fraudloom.states.s5.findings import Findings
from fraudloom.states.s5.plan import compile_plan
from fraudloom.states.s5.report import S5Result
from fraudloom.states.s5.scan import scan_part
from fraudloom.states.s5.tally import Tally
from fraudloom.tables import file_sha256

Evidence = Mapping[str, Iterable[Mapping[str, Any]]] | Iterable[Mapping[str, Any]]
STATES = ("S0", "S1", "S2", "S3", "S4")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _by_scenario(rows: Evidence, scenarios: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    if isinstance(rows, Mapping):
        return {s: list(rows.get(s, ())) for s in scenarios}
    found: dict[str, list[Mapping[str, Any]]] = {s: [] for s in scenarios}
    for row in rows:
        scenario = str(row.get("scenario", row.get("scenario_id", scenarios[0])))
        found.setdefault(scenario, []).append(row)
    return found


def _gate_checks(
    findings: Findings,
    run_root: Path,
    world_root: Path,
    contracts: Contracts,
    pack: Pack,
    spec: RunView,
    rehash: bool,
    executor: Executor,
) -> Mapping[str, Any]:
    """Receipt, inventory, policies and the nine upstream gates; returns the receipt."""
    receipt = _json(run_root / contracts.artefact_path("s0_gate_receipt_6B", mf=spec.mf)) or {}
    rows = _json(run_root / contracts.artefact_path("sealed_inputs_6B", mf=spec.mf))
    check = "REQ_SEALED_INPUTS_PRESENT"
    found = findings.one(check, "receipt is there", bool(receipt), "the gate receipt is missing or malformed")
    listed = findings.one(
        check, "inventory is there", isinstance(rows, list), "sealed_inputs_6B is missing or malformed"
    )
    if found:
        for name, want in (("manifest_fingerprint", spec.mf), ("parameter_hash", spec.ph)):
            findings.one(
                check, f"receipt's {name}", receipt.get(name) == want, f"{name} {receipt.get(name)}, run {want}"
            )
    if found and listed:
        digest = sealed_digest(rows)
        stated = receipt.get("sealed_inputs_digest_6B")
        findings.one(check, "inventory digest", digest == stated, f"rows give {digest}, the receipt says {stated}")
        by_key = {str(r.get("manifest_key")): r for r in rows}
        for policy_id, path in sorted(pack.sources.items()):
            sealed = by_key.get(policy_id, {}).get("sha256_hex")
            findings.one(check, "policy as sealed", sealed == file_sha256(path), f"{policy_id} is not what S0 sealed")
        for ds in contracts.datasets.values():
            if not ds.owner.startswith("6B"):
                row = by_key.get(ds.id, {})
                if not row and ds.id in OPTIONAL_INPUTS and behaviour(pack).degrade:
                    continue
                good = row.get("status") in ("REQUIRED", "OPTIONAL") and row.get("read_scope") == "ROW_LEVEL"
                findings.one(check, "required input sealed", good, f"{ds.id} is not sealed for reading")
    findings.one(
        check,
        "parameter_hash follows from policies and contracts",
        spec.ph == parameter_hash(pack, contracts),
        "the policies or contracts at hand are not those of the run",
    )
    if found:
        deep = rehash and receipt.get("verify") == "full"  # the receipt says how deep the run was asked to look
        faults = recheck(world_root, contracts, receipt, rehash=deep, executor=executor)
        for fault in faults:
            findings.one("REQ_UPSTREAM_HASHGATES", "upstream gates hold", False, fault)
        findings.one("REQ_UPSTREAM_HASHGATES", "upstream gates hold", not faults, "; ".join(faults))
    else:
        findings.one("REQ_UPSTREAM_HASHGATES", "upstream gates hold", False, "there is no receipt to compare with")
    return receipt if isinstance(receipt, dict) else {}


def facts_of(spec: RunSpec, world: Any) -> RunFacts:
    """What S5 needs to know, of a run's specification and its world."""
    shards = int(world.shards)
    axes = spec.axes
    return RunFacts(
        axes.seed,
        axes.scenarios,
        axes.manifest_fingerprint,
        axes.parameter_hash,
        spec.profile,
        part_count(shards),
        shards,
    )


def published_evidence(run_root: Path, contracts: Contracts, spec: RunView) -> dict[str, list[Mapping[str, Any]]]:
    """Evidence rows as published, by scenario."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for scenario in spec.scenarios:
        rows = found.setdefault(scenario, [])
        for family in contracts.enum("rng_family"):
            tokens = {"seed": spec.seed, "ph": spec.ph, "mf": spec.mf, "scenario": scenario, "family": family}
            path = run_root / contracts.artefact_path("rng_evidence_6B", **tokens)
            if path.is_file():
                rows += [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return found


def session_law(pack: Pack, streams: Streams) -> SessionLaw:
    """How S1 cuts the sessions of a scenario under a pack."""
    rule, _, _ = restrict(cut_rule(pack.doc("sessionisation_policy_6B")), behaviour(pack))
    decisions = Decisions(pack.doc("rng_policy_6B"), streams)
    return SessionLaw(rule, decisions.keys, decisions.slots)


def _scenario(
    base: dict[str, Any], world: Any, spec: RunView, scenario: str, executor: Executor, task: Task | None
) -> tuple[Context, Tally]:
    contracts, plan, journal = base["contracts"], base["plan"], base["journal"]
    streams = spec.streams(scenario)
    merchants = len(world.tables["merchants_1A"]["merchant_id"])
    upstream = scan_upstream(contracts, list(world.arrival_paths(scenario)), merchants, spec.profile, executor.map)
    findings = Findings(plan.rows_per_rule, scenario, f"{scenario} catalogue")
    axes = {
        "seed": str(spec.seed),
        "parameter_hash": spec.ph,
        "manifest_fingerprint": spec.mf,
        "scenario_id": scenario,
    }
    tokens: dict[str, object] = {"seed": spec.seed, "mf": spec.mf, "ph": spec.ph, "scenario": scenario}
    book = whole.read_catalogue(base["root"], axes, tokens, contracts, spec.profile, journal, findings)
    start, end = int(world.start_us), int(world.end_us)
    ctx = Context(
        root=base["root"],
        contracts=contracts,
        plan=plan,
        profile=spec.profile,
        scenario=scenario,
        seed=spec.seed,
        mf=spec.mf,
        ph=spec.ph,
        keys=identity_keys(streams),
        links=base["links"],
        phones=base["phones"],
        copied=base["copied"],
        scales=base["scales"],
        upstream=upstream,
        sessions=session_law(base["pack"], streams),
        horizon=Horizon(start, end, end + plan.settlement_us),
        code=Codes(contracts.enums),
        decisions=base["decisions"],
        journal=journal,
        campaigns=book,
        first_shard=(*(part_shards(spec.shards, p).start for p in range(spec.parts)), spec.shards),
        redo_us=base["redo_us"],
        labelled="labels" in world.manifest,
    )
    total = Tally(findings, upstream.rows)
    for tally in executor.map(scan_part, [(ctx, p) for p in range(spec.parts)]):
        total.merge(tally)
        if task is not None:
            task.advance(tally.sums.get("arrivals", 0))
    whole.check_coverage(ctx, total)
    whole.check_keys(ctx, total)
    whole.check_catalogue(ctx, total, ev.ShardBudgets(contracts, ctx.keys, spec.profile))
    ev.compare(total.findings, total, base["decisions"], base["evidence"][scenario], spec.profile)
    ev.replay(total.findings, streams, total, plan.loci_per_decision)
    return ctx, total


def validate(
    run_root: Path,
    world: Any,
    contracts: Contracts,
    pack: Pack,
    spec: RunView | RunSpec,
    executor: Executor,
    progress: Progress | None = None,
    *,
    journal: Mapping[tuple[Any, ...], Mapping[str, Any]],
    evidence: Evidence | None = None,
) -> S5Result:
    """Check a run over all rows; reads only, draws nothing, raises nothing for what it finds in the run.

    `world`: the loaded world; `spec`: seed, scenarios, mf, ph, profile, parts, shards, streams(scenario), or a RunSpec.
    `journal`: (dataset, scenario, part) to {rows, bytes, content_digest, ...}; part 0 for the catalogue. `evidence`:
    rows by scenario, or rows that each name theirs; by default those that the run published.
    """
    view = facts_of(spec, world) if isinstance(spec, RunSpec) else spec
    plan = compile_plan(pack.doc("segment_validation_policy_6B"), behaviour(pack))
    findings = Findings(plan.rows_per_rule)
    receipt = _gate_checks(findings, run_root, Path(world.root), contracts, pack, view, plan.rehash_upstream, executor)
    fx = world.tables["fx_rates_3A"]
    scales = np.array([float(10 ** int(d)) for d in fx["decimals"]])
    base: dict[str, Any] = {
        "copied": copied_columns(lambda name, _: world.tables[name]),
        "root": run_root,
        "contracts": contracts,
        "plan": plan,
        "pack": pack,
        "journal": journal,
        "links": link_tables(lambda name, _: world.tables[name]),
        "phones": wallet_phones(lambda name, _: world.tables[name], contracts.code("instrument_kind", "WALLET_TOKEN")),
        "scales": scales,
        "decisions": ev.expected_decisions(pack),
        "redo_us": int(float(pack.doc("fraud_campaign_catalogue_config_6B")["redo_days"]) * 86_400_000_000),
        "evidence": _by_scenario(
            published_evidence(run_root, contracts, view) if evidence is None else evidence, view.scenarios
        ),
    }
    world.forget()  # what the checks look up stands in `base`; the other columns that were read for it go
    release_memory()
    whole_run = _Run(findings)
    arrivals = sum(int(world.n_arrivals(x)) for x in view.scenarios)
    with progress.task("validate", arrivals) if progress is not None else nullcontext() as task:
        for scenario in view.scenarios:
            ctx, total = _scenario(base, world, view, scenario, executor, task)
            whole_run.add(ctx, total)
    ev.check_disjoint(findings, {s: view.streams(s) for s in view.scenarios}, whole_run.tops)
    values = corridors.figures(whole_run.sums, view.profile == "full")
    realism = _realism(plan, world, min(whole_run.arrivals, default=0))
    checks, more = report.judge(plan, findings, values, realism)
    issues = report.issue_table(contracts, plan, checks, [*findings.issues, *more], view.seed)
    facts = {
        "manifest_fingerprint": view.mf,
        "parameter_hash": view.ph,
        "validation_hash": validation_hash(pack, contracts),
        "seed": view.seed,
        "scenarios": list(view.scenarios),
        "profile": view.profile,
        "segment_states": _states(run_root / contracts.artefact_path("run_report_6B", mf=view.mf)),
        "totals": {"rows": dict(sorted(whole_run.rows.items())), "counts": dict(sorted(whole_run.sums.items()))},
    }
    return report.conclude(plan, facts, receipt, checks, issues)


class _Run:
    """Sums over the scenarios of a run."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.sums: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        self.tops: dict[str, Mapping[Any, int]] = {}
        self.arrivals: list[int] = []

    def add(self, ctx: Context, total: Tally) -> None:
        """Add a scenario."""
        self.findings.merge(total.findings)
        for mine, theirs in ((self.sums, total.sums), (self.rows, total.rows)):
            for name, amount in theirs.items():
                mine[name] = mine.get(name, 0) + amount
        self.tops[ctx.scenario] = total.highest
        self.arrivals.append(ctx.upstream.rows)


def _states(path: Path) -> dict[str, str]:
    """Status per state before S5, from the run report."""
    found = RunReport(path)
    return {state: found.status(state) for state in STATES}


def _realism(plan: Any, world: Any, arrivals: int) -> str:
    """Why corridors do not gate, or the empty string."""
    if world.manifest.get("origin") == "imported" and not plan.gate_imports:
        return "an imported log is not held to the corridors"
    if arrivals < plan.arrivals_min:
        return f"{arrivals} arrivals, corridors are read from {plan.arrivals_min} on"
    return ""
