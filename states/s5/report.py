"""The verdict: one result per check, the report, and the issue table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fraudloom.contracts_api import Contracts
from fraudloom.spec import SPEC_VERSION_6B
from fraudloom.states.s5.corridors import read as read_corridor
from fraudloom.states.s5.findings import Findings, Issue
from fraudloom.states.s5.plan import CORRIDOR_OF, PROVES, S5Plan
from fraudloom.tables import empty_columns, to_batch

ISSUES = "s5_issue_table_6B"
Check = dict[str, Any]


@dataclass(frozen=True)
class S5Result:
    """What S5 publishes: report, issue table (Arrow, in the contract's schema), verdict, checks of the report."""

    report: dict[str, Any]
    issues: pa.Table
    verdict: str
    checks: list[Check]

    @property
    def failed(self) -> list[Check]:
        """Checks that are REQUIRED and failed."""
        return [c for c in self.checks if c["result"] == "FAIL"]


def judge(
    plan: S5Plan, findings: Findings, values: Mapping[str, Mapping[str, float | None]], realism: str
) -> tuple[list[Check], list[Issue]]:
    """One result per check. `realism`: empty when corridors gate, else why they do not."""
    checks, more = [], []
    for check, proves in PROVES.items():
        severity, limit = plan.severity[check], plan.violations_max[check]
        row: Check = {
            "check_id": check,
            "severity": severity,
            "proves": proves,
            "thresholds": {"violations_max": limit},
        }
        if check in CORRIDOR_OF:
            outside, shown = read_corridor(plan, values, check)
            row["metrics"] = {k: round(v, 9) for k, v in shown.items()}
            row["thresholds"] |= {k: list(v) for k, v in plan.corridors[CORRIDOR_OF[check]].items()}
            violations = len(outside)
            if realism or not shown:
                row |= {"result": "NOT_APPLICABLE", "reason": realism or "no figure is published under this profile"}
                checks.append(row)
                continue
            more += [Issue(check, "corridor", message) for message in outside] if violations > limit else []
        else:
            rules = {r: n for (c, r), n in findings.counts.items() if c == check}
            violations = sum(bad for _, bad in rules.values())
            row["metrics"] = {
                "rules": len(rules),
                "facts": sum(rows for rows, _ in rules.values()),
                "violations": violations,
                "violated": {r: bad for r, (_, bad) in sorted(rules.items()) if bad},
            }
            absent = {r: why for (c, r), why in sorted(findings.absent.items()) if c == check}
            if absent:
                row["not_applicable"] = absent
            if not rules:
                row |= {"result": "NOT_APPLICABLE", "reason": "nothing that it reads is published under this profile"}
                checks.append(row)
                continue
        bad_result = {"REQUIRED": "FAIL", "WARN_ONLY": "WARN", "INFO": "WARN"}[severity]
        row["result"] = bad_result if violations > limit else "PASS"
        checks.append(row)
    return checks, more


def verdict_of(plan: S5Plan, checks: Sequence[Check]) -> str:
    """FAIL if a REQUIRED check failed; WARN if the policy lets warnings block and one is there; else PASS."""
    if any(c["result"] == "FAIL" for c in checks):
        return "FAIL"
    warned = any(c["result"] == "WARN" and c["severity"] == "WARN_ONLY" for c in checks)
    return "WARN" if warned and plan.warnings_block else "PASS"


def issue_table(
    contracts: Contracts, plan: S5Plan, checks: Sequence[Check], issues: Sequence[Issue], seed: int
) -> pa.Table:
    """The issue table, sorted by (check_id, issue_id), at most `table_rows_max` rows, in the contract's schema."""
    severity = {c["check_id"]: c["severity"] for c in checks}
    order = {c: i for i, c in enumerate(PROVES)}
    kept = sorted(issues, key=lambda i: order[i.check])[: plan.table_rows_max]
    counts: dict[str, int] = {}
    rows = []
    for issue in kept:
        counts[issue.check] = counts.get(issue.check, 0) + 1
        scope = "flow" if issue.flow_id else "case" if issue.case_id else "scenario" if issue.scenario else "world"
        rows.append((f"{issue.check}-{counts[issue.check]:06d}", scope, issue))
    rows.sort(key=lambda r: (r[2].check, r[0]))
    ds = contracts.dataset(ISSUES)
    cols = empty_columns(ds, len(rows))
    for i, (issue_id, scope, issue) in enumerate(rows):
        cols["check_id"][i], cols["issue_id"][i], cols["scope_type"][i] = issue.check, issue_id, scope
        cols["severity"][i] = contracts.code("severity", severity[issue.check])
        cols["rule"][i], cols["message"][i], cols["metrics"][i] = issue.rule, issue.message, issue.metrics
        cols["seed"][i], cols["scenario_id"][i] = str(seed), issue.scenario
        cols["flow_id"][i], cols["case_id"][i] = issue.flow_id, issue.case_id
        cols["event_seq"][i] = 0 if issue.event_seq is None else issue.event_seq + 1
    return pa.Table.from_batches([to_batch(ds, cols)])


def conclude(
    plan: S5Plan, facts: Mapping[str, Any], receipt: Mapping[str, Any], checks: Sequence[Check], issues: pa.Table
) -> S5Result:
    """Verdict and report: plain data without wall time."""
    verdict = verdict_of(plan, checks)
    results = [c["result"] for c in checks]
    document = {
        **facts,
        "spec_version_6B": SPEC_VERSION_6B,
        "overall_status": verdict,
        "upstream_segments": {
            s: {k: v[k] for k in ("status", "bundle_sha256", "flag_path")}
            for s, v in receipt.get("upstream_segments", {}).items()
        },
        "summary": {r: results.count(r) for r in ("PASS", "WARN", "FAIL", "NOT_APPLICABLE")},
        "issues": issues.num_rows,
        "checks": list(checks),
    }
    return S5Result(_plain(document), issues, verdict, _plain(list(checks)))


def _plain(value: Any) -> Any:
    """A value without NumPy types, for JSON."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
