"""Verdict, corridors, issues, evidence and streams, on crafted input."""

from dataclasses import replace

import numpy as np
import pytest

from fraudloom.contracts_api import load_contracts
from fraudloom.errors import PolicyError
from fraudloom.policies_api import packs_root, read_yaml
from fraudloom.rng import GAMMA, Streams
from fraudloom.states.s5 import corridors, evidence, report
from fraudloom.states.s5.findings import Findings, Issue
from fraudloom.states.s5.plan import CORRIDOR_OF, PROVES, S5Plan, compile_plan
from fraudloom.states.s5.tally import Tally

DOC = read_yaml(packs_root() / "default" / "segment_validation_policy_6B.yaml")
PLAN = compile_plan(DOC)
CONTRACTS = load_contracts()
MF = "ab" * 32


def judged(
    findings: Findings, plan: S5Plan = PLAN, sums: dict[str, int] | None = None, realism: str = ""
) -> report.S5Result:
    """The result of findings and figures."""
    checks, more = report.judge(plan, findings, corridors.figures(sums or {}, True), realism)
    issues = report.issue_table(CONTRACTS, plan, checks, [*findings.issues, *more], 42)
    return report.conclude(plan, {}, {}, checks, issues)


def everything_good() -> Findings:
    """One good fact per check."""
    findings = Findings(3)
    for check in PROVES:
        findings.one(check, "rule", True)
    return findings


def test_every_check_is_in_the_policy_and_says_what_it_proves() -> None:
    """Policy, list of proofs and severities agree; four checks are corridors."""
    assert set(DOC["checks"]) == set(PROVES) == set(PLAN.severity)
    assert set(CORRIDOR_OF) == {c for c in PROVES if c.startswith("WARN_")}


@pytest.mark.parametrize("check", [c for c in PROVES if c not in CORRIDOR_OF])
def test_required_failure_fails(check: str) -> None:
    """Any REQUIRED check that fails makes the verdict FAIL, and only it."""
    findings = everything_good()
    findings.one(check, "broken", False, "message")
    result = judged(findings, realism="small")
    assert result.verdict == "FAIL"
    assert [c["check_id"] for c in result.failed] == [check]
    assert result.issues.to_pylist()[0]["message"] == "message"


def test_tolerance_and_severity_are_the_policys() -> None:
    """A violation within `violations_max` passes; a check made INFO never fails."""
    findings = everything_good()
    findings.one("REQ_ROW_ORDER", "broken", False)
    tolerant = replace(PLAN, violations_max={**PLAN.violations_max, "REQ_ROW_ORDER": 1})
    assert judged(findings, tolerant, realism="small").verdict == "PASS"
    informed = replace(PLAN, severity={**PLAN.severity, "REQ_ROW_ORDER": "INFO"})
    assert judged(findings, informed, realism="small").verdict == "PASS"
    assert judged(findings, realism="small").verdict == "FAIL"


def figures_inside() -> dict[str, int]:
    """Counters whose ratios lie in every corridor."""
    sums = {"s2_flows": 1000, "s3_flows": 1000, "sessions": 600, "single_sessions": 360, "multi_flow_sessions": 200}
    for channel, declined in (("ECOM", 100), ("POS", 20), ("ATM", 50), ("BANK_RAIL", 10)):
        sums |= {f"flows_{channel}": 1000, f"declined_{channel}": declined}
    sums |= {"cleared": 1000, "refunded": 20, "challenged": 100, "truth_FRAUD": 12, "truth_ABUSE": 13, "flows_new": 20}
    sums |= {"truth_LEGIT": 975, "legit_flagged": 5, "known_FRAUD": 9, "known_ABUSE": 3, "pattern_1": 1, "pattern_2": 1}
    sums |= {"pattern_3": 5, "axis_1": 1, "axis_4": 1, "axis_8": 2, "axis_128": 9, "cases": 10, "case_members": 20}
    sums |= {"case_duration_us": 10 * 864_000_000_000, "cases_charged": 2, "case_gaps": 50, "case_zero_gaps": 1}
    return sums


OUTSIDE = [
    ("WARN_BASELINE_REALISM", "declined_ECOM", 900),
    ("WARN_BASELINE_REALISM", "declined_POS", 0),
    ("WARN_BASELINE_REALISM", "declined_ATM", 900),
    ("WARN_BASELINE_REALISM", "declined_BANK_RAIL", 0),
    ("WARN_BASELINE_REALISM", "refunded", 0),
    ("WARN_BASELINE_REALISM", "single_sessions", 600),
    ("WARN_BASELINE_REALISM", "multi_flow_sessions", 1),
    ("WARN_BASELINE_REALISM", "challenged", 0),
    ("WARN_FRAUD_REALISM", "truth_FRAUD", 500),
    ("WARN_FRAUD_REALISM", "truth_ABUSE", 500),
    ("WARN_FRAUD_REALISM", "pattern_3", 0),
    ("WARN_FRAUD_REALISM", "axis_8", 0),
    ("WARN_FRAUD_REALISM", "flows_new", 0),
    ("WARN_BANK_VIEW_REALISM", "legit_flagged", 0),
    ("WARN_BANK_VIEW_REALISM", "known_FRAUD", 0),
    ("WARN_BANK_VIEW_REALISM", "known_ABUSE", 13),
    ("WARN_CASE_REALISM", "case_members", 900),
    ("WARN_CASE_REALISM", "cases", 1000),
    ("WARN_CASE_REALISM", "case_duration_us", 1),
    ("WARN_CASE_REALISM", "cases_charged", 10),
    ("WARN_CASE_REALISM", "case_zero_gaps", 50),
]


@pytest.mark.parametrize(("check", "counter", "value"), OUTSIDE, ids=[f"{o[1]}-{o[2]}" for o in OUTSIDE])
def test_corridor_warns_and_blocks_only_if_the_policy_says(check: str, counter: str, value: int) -> None:
    """A figure outside its corridor is a warning; the verdict stays PASS unless warnings block."""
    assert all(c["result"] == "PASS" for c in judged(everything_good(), sums=figures_inside()).checks)
    sums = figures_inside() | {counter: value}
    result = judged(everything_good(), sums=sums)
    assert check in [c["check_id"] for c in result.checks if c["result"] == "WARN"]
    assert result.verdict == "PASS" and result.issues.num_rows >= 1
    assert judged(everything_good(), replace(PLAN, warnings_block=True), sums).verdict == "WARN"
    small = judged(everything_good(), sums=sums, realism="few arrivals")
    assert {c["result"] for c in small.checks if c["check_id"] in CORRIDOR_OF} == {"NOT_APPLICABLE"}


def test_issues_are_capped_and_numbered() -> None:
    """Every violation is counted; examples are capped per rule, rows of the table by the policy."""
    findings = Findings(3, "s", "part 0")
    findings.rows(
        "REQ_ROW_ORDER", "r", np.ones(50, bool), {"flow_id": np.arange(1, 51), "event_seq": np.zeros(50, int)}
    )
    assert findings.violations("REQ_ROW_ORDER") == 50 and len(findings.issues) == 3
    result = judged(findings, realism="small")
    rows = result.issues.to_pylist()
    assert [r["issue_id"] for r in rows] == [f"REQ_ROW_ORDER-{i:06d}" for i in (1, 2, 3)]
    assert rows[0]["flow_id"] == 1 and rows[0]["event_seq"] == 1 and rows[0]["scope_type"] == "flow"
    assert judged(findings, replace(PLAN, table_rows_max=2), realism="small").issues.num_rows == 2


def test_check_without_a_readable_rule_is_not_applicable() -> None:
    """A check that could read nothing says so and does not fail."""
    findings = Findings(3)
    findings.skip("REQ_ROW_ORDER", "r", "not published")
    row = next(c for c in judged(findings, realism="small").checks if c["check_id"] == "REQ_ROW_ORDER")
    assert row["result"] == "NOT_APPLICABLE" and row["not_applicable"] == {"r": "not published"}


def test_bad_policies_are_refused() -> None:
    """An empty corridor and an unknown or missing check are VALIDATION_POLICY_INVALID."""
    corridor = {**DOC["corridors"], "bank": {**DOC["corridors"]["bank"], "legit_flagged": [0.5, 0.1]}}
    for doc in ({**DOC, "corridors": corridor}, {**DOC, "checks": dict(list(DOC["checks"].items())[1:])}):
        with pytest.raises(PolicyError, match="S5_VALIDATION_POLICY_INVALID"):
            compile_plan(doc)


class Close(Streams):
    """Streams whose keys lie `step` outputs apart."""

    step = 5

    def key(self, family: str, decision: str) -> np.uint64:
        """Key number of the decision's name, a few steps after the last one's."""
        return np.uint64((int(decision) * self.step * GAMMA) % 2**64)


@pytest.mark.parametrize(("top", "apart"), [(4, True), (5, False)])
def test_overlapping_streams_fail(top: int, apart: bool) -> None:
    """Two streams that share one output fail REQ_STREAMS_DISJOINT; two that touch do not."""
    findings = Findings(3)
    tops = {"s": {("S1", "f", "1"): top, ("S1", "f", "2"): 3}}
    evidence.check_disjoint(findings, {"s": Close(MF, 1, "s")}, tops)
    assert (findings.violations("REQ_STREAMS_DISJOINT") == 0) == apart


def test_loci_replay_in_plain_python() -> None:
    """Kernel and plain Python agree on any locus; a wrong kernel value would be named."""
    findings = Findings(3)
    tally = Tally(findings, 0)
    tally.loci = {("S1", "rng_event_entity_attach", "ATTACH_PARTY"): [0, 1, 2**40]}
    evidence.replay(findings, Streams(MF, 42, "baseline_v1"), tally, 3)
    assert findings.counts[("REQ_RNG_BUDGETS", "locus replays")] == [3, 0]


def test_evidence_is_compared_per_shard() -> None:
    """Two shards whose errors cancel in total are still told apart."""
    findings = Findings(9)
    tally = Tally(findings, 0)
    d = evidence.Expected("S2", "f", "D", "s2_flow_anchor_baseline_6B", (), "flow", 1)
    tally.budgets = {("S2", "f", "D", 0): (2, 2, 5), ("S2", "f", "D", 1): (3, 3, 6)}
    rows = [
        {
            "module": "6B.S2",
            "family": "f",
            "decision": "D",
            "scope": "shard",
            "index": i,
            "events": e,
            "draws": e,
            "checksum": c,
        }
        for i, e, c in ((0, 3, "6"), (1, 2, "5"))
    ]
    evidence.compare(findings, tally, [d], rows, "full")
    assert findings.counts[("REQ_RNG_BUDGETS", "checksum")] == [1, 0]
    assert findings.counts[("REQ_RNG_BUDGETS", "per shard")] == [1, 1]


def test_merging_parts_is_order_free() -> None:
    """Counts of merged findings do not depend on the grouping of parts."""
    parts = [Findings(2) for _ in range(3)]
    for i, part in enumerate(parts):
        part.rows("REQ_SCHEMA", "r", np.arange(4) < i)
    left, right = Findings(2), Findings(2)
    for part in parts:
        left.merge(part)
    tail = Findings(2)
    tail.merge(parts[1])
    tail.merge(parts[2])
    right.merge(parts[0])
    right.merge(tail)
    assert left.counts == right.counts == {("REQ_SCHEMA", "r"): [12, 3]}
    assert left.issues == right.issues
    assert isinstance(left.issues[0], Issue)
