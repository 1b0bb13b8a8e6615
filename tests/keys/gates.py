"""The scorer's judgement on crafted figures and tables, in which every number of the policy of gates decides."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.states import score
from fraudloom.tables import Columns

FLOWS, CASES = "s3_flow_anchor_with_fraud_6B", "s4_case_timeline_6B"
#: Figures, dense on a logarithmic scale, and chi-square probabilities.
SCALE = (0.0, *(10 ** (k / 12) for k in range(-60, 75)))
CHANCES = (1e-12, *(10 ** (k / 4) for k in range(-40, 0)))
#: Gaps between events of a case, in seconds.
GAPS_S = (3600, 86400, 86401)


def weighed(doc: Mapping[str, Any], bench: Any) -> Any:
    """Every gate at every figure, at every chance, at many sizes, built and imported."""
    del bench
    plan = score.compile_plan(doc)

    def told(value: float, p: float, arrivals: int = 1 << 40, imported: bool = False) -> Any:
        found = score.Found(value, p)
        figures = {g.id: {m.name: found for m in g.measures} for g in plan.gates if g.id != "T21"}
        report = score.judge(plan, figures, arrivals, imported)
        return report.verdict, [
            (g.gate.klass, g.status, g.owners, [m.status for m in g.measures]) for g in report.gates
        ]

    return (
        [told(x, 1e-12) for x in SCALE],
        [told(0.5, p) for p in CHANCES],
        [told(0.5, 0.0, int(10 ** (k / 5)), imported) for imported in (False, True) for k in range(50)],
        [_branches(plan, failing) for failing in (0, 1, 2, 3)],
    )


def _branches(plan: Any, failing: int) -> Any:
    """T21 when so many branches fail, by figures that their gates' bounds do not allow."""
    groups = (("T11", "T12"), ("T14", "T15"), ("T8", "T9", "T10"))
    bad = {g for group in groups[:failing] for g in group}
    good = {"T11": 100.0, "T12": 10.0, "T13": 0.1, "T14": 1.0, "T15": 60.0}

    def value(gate: str) -> float | None:
        return None if gate in bad else good.get(gate, 0.0)

    gates = [g for g in plan.gates if g.id != "T21"]
    figures = {g.id: {m.name: score.Found(value(g.id), 0.0) for m in g.measures} for g in gates}
    report = score.judge(plan, figures, 1 << 40, False)
    return next((g.status, g.owners, g.gate.klass) for g in report.gates if g.gate.id == "T21")


def _anomalies(c: Columns) -> None:
    """One anomaly in each of the first flows without campaign, each of another kind."""
    free = np.flatnonzero(c["campaign_id"] == 0)
    c["mutation_flags"][free[:7]] = 1 << np.arange(7)


def _rounded(c: Columns) -> None:
    """Gaps in turn of the round lengths."""
    lengths = np.array(GAPS_S, np.int64)[np.arange(len(c["ts_utc"])) % 3] * 1_000_000
    c["ts_utc"][:] = c["ts_utc"][0] + np.cumsum(lengths)


def _scan(bench: Any, plan: Any) -> Any:
    """Counts over a published run with anomalies and round gaps."""
    if not hasattr(bench, "gates_run"):
        bench.gates_folder = tempfile.TemporaryDirectory()
        bench.gates_run = bench.run.copy(Path(bench.gates_folder.name))
        bench.gates_run.rewrite(FLOWS, _anomalies)
        bench.gates_run.rewrite(CASES, _rounded)
    run = bench.gates_run
    seal = json.loads((run.root / "SEAL.json").read_text("utf-8"))
    surfaces = score.Surfaces.find(run.root, [e["path"] for e in seal["files"]], run.contracts)
    world = score.read_world(run.world_root, run.spec.mf, run.spec.scenarios, run.contracts)
    sharing = score.Sharing(world.devices, world.addresses, world.accounts)
    ctx = score.Context(surfaces, world, plan, sharing)
    total = score.Tally(ctx.sizes)
    for task in score.scan_tasks(surfaces):
        total.merge(score.scan_part((ctx, task)))
    return surfaces, sharing, total


def defined(doc: Mapping[str, Any], bench: Any) -> Any:
    """What is counted as anomaly, class, currency, round gap and top amount: a published run, then crafted counts."""
    plan = score.compile_plan(doc)
    surfaces, sharing, total = _scan(bench, plan)
    crafted = score.Tally(total.sizes)
    classes = total.sizes.classes
    flows = (10 ** (np.arange(classes) * 0.4) * 1000).astype(np.int64)  # ever larger classes, ever lower rates
    crafted.flag_classes[1] = flows // (np.arange(classes) + 2)
    crafted.flag_classes[0] = flows - crafted.flag_classes[1]
    for currency in range(24):  # ever more flows, ever more amounts, ever less alike
        n = int(2 ** (currency * 0.9))
        amounts = (currency << score.AMOUNT_SHIFT) + np.arange(1, currency + 2)
        part = score.Counts()
        part.values, part.counts = amounts, np.arange(1, currency + 2, dtype=np.int64) * n
        crafted.amounts.merge(part)
    many = score.Tally(total.sizes)
    many.amounts.values = np.arange(1, 3001, dtype=np.int64)
    many.amounts.counts = np.arange(1, 3001, dtype=np.int64)[::-1] * 1000
    return [score.measure(score.Evidence(plan, surfaces, tally, sharing)) for tally in (total, crafted, many)]
