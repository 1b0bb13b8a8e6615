"""S5's judgement on crafted findings: a small stand-in for a run, in which every number of the policy decides."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from fraudloom.rng import Streams
from fraudloom.states.s5 import corridors, evidence, report, validation
from fraudloom.states.s5.findings import Findings
from fraudloom.states.s5.plan import CORRIDOR_OF, PROVES, compile_plan
from fraudloom.states.s5.tally import Tally

#: Violations of every check, around what a policy may tolerate.
VIOLATIONS = (0, 1, 2, 3, 10, 100, 1000, 100_000, 10_000_000)
#: Figures at which corridors are read, dense on a logarithmic scale.
SCALE = (0.0, *(10 ** (k / 20) for k in range(-100, 160)))


def _concluded(plan: Any, contracts: Any, violations: int, values: Mapping[str, Mapping[str, float | None]]) -> Any:
    findings = Findings(plan.rows_per_rule)
    for check in PROVES:
        findings.counts[check, "crafted"] = [max(violations, 1), violations]
    checks, issues = report.judge(plan, findings, values, "")
    table = report.issue_table(contracts, plan, checks, issues, 0)
    results = [(c["check_id"], c["severity"], c["result"]) for c in checks]
    return results, report.verdict_of(plan, checks), table.num_rows


def _examples(plan: Any, contracts: Any, calm: Any) -> int:
    """Rows of the issue table when many rows break one rule of every check."""
    findings = Findings(plan.rows_per_rule)
    for check in PROVES:
        findings.some(check, "crafted", 3000, np.arange(3000))
    checks, more = report.judge(plan, findings, calm, "no figures")
    return int(report.issue_table(contracts, plan, checks, [*findings.issues, *more], 0).num_rows)


def _replayed(plan: Any) -> int:
    """Loci drawn again out of a thousand."""
    findings, tally = Findings(1), Tally(Findings(1), 0)
    tally.loci["S1", "family", "DECISION"] = list(range(1000))
    evidence.replay(findings, Streams("0" * 64, 1, "baseline_v1"), tally, plan.loci_per_decision)
    return sum(rows for rows, _ in findings.counts.values())


def judged(doc: Mapping[str, Any], bench: Any) -> Any:
    """What S5 concludes from crafted violations, figures, worlds and loci under a policy."""
    plan = compile_plan(doc)
    calm: dict[str, dict[str, float | None]] = {g: dict.fromkeys(names) for g, names in plan.corridors.items()}
    figures = [{g: dict.fromkeys(names, x) for g, names in plan.corridors.items()} for x in SCALE]
    worlds = [SimpleNamespace(manifest={"origin": origin}) for origin in ("built", "imported")]
    return (
        [_concluded(plan, bench.contracts, n, calm) for n in VIOLATIONS],
        [[corridors.read(plan, values, check)[0] for check in CORRIDOR_OF] for values in figures],
        _concluded(plan, bench.contracts, 0, {g: dict.fromkeys(v, -1.0) for g, v in plan.corridors.items()}),
        _examples(plan, bench.contracts, calm),
        [bool(validation._realism(plan, w, int(10 ** (k / 8)))) for w in worlds for k in range(100)],
        _replayed(plan),
    )
