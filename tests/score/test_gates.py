"""Every gate fails when what it reads is broken in the published tables, and names the state that must move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudloom.contracts_api import load_contracts
from fraudloom.errors import PolicyError
from fraudloom.policies_api import load_pack
from fraudloom.states.score import compile_plan
from fraudloom.tables import Columns
from score.bench import ARRIVALS as COUNT
from score.bench import SMALL, Scored, gate_pack, gates

pytestmark = pytest.mark.xdist_group("score")

ARRIVALS, SESSIONS = "s1_arrival_entities_6B", "s1_session_index_6B"
BASE, EVENTS = "s2_flow_anchor_baseline_6B", "s2_event_stream_baseline_6B"
FLOWS, TRUTH, BANK = "s3_flow_anchor_with_fraud_6B", "s4_flow_truth_labels_6B", "s4_flow_bank_view_6B"
CASES = "s4_case_timeline_6B"
ENUMS = load_contracts().enums
LEGIT, FRAUD, ABUSE = 0, 1, 2
PATTERN = {name: code for code, name in enumerate(ENUMS["campaign_type"])}
RULE = {name: code for code, name in enumerate(ENUMS["truth_rule"])}


def every(c: Columns, n: int) -> np.ndarray[Any, Any]:
    """Every n-th row, whatever its merchant or amount."""
    rows = np.arange(len(next(iter(c.values()))))
    return rows % n == 0


def put(column: str, value: Any, where: Callable[[Columns], Any] = lambda c: slice(None)) -> Callable[[Columns], None]:
    """Set a column, in some rows or in all; `value` may be a function of the rows."""

    def change(c: Columns) -> None:
        rows = where(c)
        new = value(c) if callable(value) else value
        c[column][rows] = new[rows] if isinstance(new, np.ndarray) else new

    return change


def first(where: Callable[[Columns], Any]) -> Callable[[Columns], Any]:
    """The first row that fits."""
    return lambda c: np.flatnonzero(where(c))[:1]


def tagged(c: Columns) -> Any:
    """Flows of campaigns."""
    return c["campaign_id"] != 0


def of(pattern: str) -> Callable[[Columns], Any]:
    """Flows of one type."""
    return lambda c: c["fraud_pattern_type"] == PATTERN[pattern]


def answered_after(micros: int, n: int = 1) -> Callable[[Columns], None]:
    """Responses of every n-th flow so long after their request, on the rows of the request."""

    def change(c: Columns) -> None:
        request, response = (ENUMS["event_type"].index(x) for x in ("AUTH_REQUEST", "AUTH_RESPONSE"))
        order = np.lexsort((c["event_seq"], c["flow_id"]))
        asked = 0
        for row in order:
            if c["event_type"][row] == request:
                asked = c["ts_utc"][row]
            elif c["event_type"][row] == response and c["flow_id"][row] % n == 0:
                c["ts_utc"][row] = asked + micros

    return change


def hourly(c: Columns) -> None:
    """Events of a case an hour apart."""
    c["ts_utc"][:] = c["ts_utc"][0] + c["case_event_seq"].astype(np.int64) * 3_600_000_000


def back_in_time(c: Columns) -> None:
    """The second event of the first case before its first."""
    c["ts_utc"][1] = c["ts_utc"][0] - 1


def alone(c: Columns) -> None:
    """One device, address, account, instrument and party for all."""
    for name in ("party_id", "account_id", "instrument_id", "device_id", "ip_id"):
        c[name][:] = 1


def three_campaigns(c: Columns) -> None:
    """All campaign flows in the three campaigns with the lowest ids, by their type."""
    rows = np.flatnonzero(tagged(c))
    c["campaign_id"][rows] = 1 + c["fraud_pattern_type"][rows] % 3


def dealt_campaigns(c: Columns) -> None:
    """Campaigns dealt out to campaign flows in turn."""
    rows = np.flatnonzero(tagged(c))
    c["campaign_id"][rows] = 1 + np.arange(len(rows)) % 14


def dealt_zones(c: Columns) -> None:
    """Zones dealt out to campaign flows of each campaign in turn."""
    for campaign in np.unique(c["campaign_id"][tagged(c)]):
        rows = np.flatnonzero(c["campaign_id"] == campaign)
        c["tz"][rows] = np.arange(len(rows)) % 2


def flag(c: Columns) -> None:
    """Bank fraud in every 50th flow."""
    c["is_fraud_bank_view"][:] = every(c, 50)


Edit = tuple[str, Callable[[Columns], None]]
BREAKS: list[tuple[str, str, str, list[Edit]]] = [
    ("T1", "legit_share", "S4", [(TRUTH, put("fraud_label", FRAUD))]),
    ("T2", "fraud_share", "S4", [(TRUTH, put("is_fraud_truth", False))]),
    ("T2", "fraud_share", "S4", [(TRUTH, put("is_fraud_truth", lambda c: every(c, 3)))]),
    ("T3", "clean_legit_share", "S4", [(TRUTH, put("fraud_label", ABUSE, first(lambda c: c["campaign_id"] == 0)))]),
    ("T3", "clean_legit_share", "S4", [(TRUTH, put("fraud_label", FRAUD, first(lambda c: c["campaign_id"] == 0)))]),
    ("T4", "campaign_labelled_share", "S4", [(TRUTH, put("fraud_label", LEGIT, lambda c: tagged(c) & every(c, 5)))]),
    ("T5", "cramers_v", "S4", [(BANK, put("bank_label", lambda c: np.where(every(c, 50), 0, 2)))]),
    ("T5b", "cramers_v", "S4 S3", [(BANK, flag)]),
    ("T6", "cohen_d", "S4", [(FLOWS, put("amount_ref_minor", lambda c: 1000 + (np.arange(len(c["flow_id"])) == 0)))]),
    ("T6b", "ks_distance", "S4 S3", [(BANK, flag)]),
    (
        "T6b",
        "card_testing_median_ratio",
        "S4 S3",
        [(FLOWS, put("amount_ref_minor", 5000, of("CARD_TESTING")))],
    ),
    ("T6b", "ato_median_ratio", "S4 S3", [(FLOWS, put("amount_ref_minor", 100, of("ATO")))]),
    ("T6b", "app_scam_median_ratio", "S4 S3", [(FLOWS, put("amount_ref_minor", 100, of("APP_SCAM")))]),
    ("T7", "rate_spread", "S4", [(BANK, put("is_fraud_bank_view", True))]),
    ("T7b", "rate_ratio", "S4", [(BANK, put("is_fraud_bank_view", True))]),
    ("T8", "negative_gap_share", "S4", [(CASES, back_in_time)]),
    ("T9", "round_gap_share", "S4", [(CASES, hourly)]),
    ("T10", "negative_case_share", "S4", [(CASES, back_in_time)]),
    ("T11", "distinct_amounts", "S2", [(BASE, put("amount_minor", lambda c: 900 + np.arange(len(c["flow_id"])) % 15))]),
    ("T12", "p99_over_p50", "S2", [(BASE, put("amount_minor", lambda c: 900 + np.arange(len(c["flow_id"])) % 90))]),
    ("T13", "top_amounts_share", "S2", [(BASE, put("amount_minor", 900, lambda c: ~every(c, 10)))]),
    ("T14", "median_s", "S2", [(EVENTS, answered_after(9_000_000))]),
    ("T14", "median_s", "S2", [(EVENTS, answered_after(200_000))]),
    ("T15", "p99_s", "S2", [(EVENTS, answered_after(29_000_000))]),
    ("T16", "zero_share", "S2", [(EVENTS, answered_after(0, 3))]),
    ("T17", "campaigns", "S3", [(FLOWS, three_campaigns)]),
    ("T17", "types", "S3", [(FLOWS, put("fraud_pattern_type", PATTERN["ATO"], lambda c: ~of("CNP_FRAUD")(c)))]),
    ("T17", "cramers_v", "S3", [(FLOWS, dealt_campaigns)]),
    ("T18", "cramers_v", "S3 S1", [(FLOWS, dealt_zones)]),
    ("T18", "zones_median", "S3 S1", [(FLOWS, put("tz", lambda c: (c["campaign_id"] % 5).astype(np.int8), tagged))]),
    ("T19", "single_arrival_share", "S1", [(SESSIONS, put("arrival_count", 1))]),
    ("T20", "shared_mean", "S1", [(ARRIVALS, alone)]),
    (
        "T21",
        "branches",
        "S2 S4",
        [(EVENTS, answered_after(0)), (CASES, hourly)],
    ),
    ("T22", "collisions", "S4", [(TRUTH, put("label_rule_id", RULE["RULE_ATO"], first(tagged)))]),
    (
        "T22",
        "collisions",
        "S4",
        [(TRUTH, put("label_rule_id", RULE["RULE_ATO"], lambda c: c["label_rule_id"] == RULE["RULE_CNP_FRAUD"]))],
    ),
]


def test_whole_run_passes_every_gate(whole: Scored) -> None:
    """A gate that did not pass before the tables are broken would prove nothing by failing after."""
    report = whole.score()
    assert report.passed, [(g.gate.id, g.status) for g in report.failures]
    assert not report.routing()
    assert {g.gate.id for g in report.gates} == {*(f"T{k}" for k in range(1, 23)), "T5b", "T6b", "T7b"}
    assert {b[0] for b in BREAKS} == {g.gate.id for g in report.gates}
    assert {(b[0], b[1]) for b in BREAKS} == {(g.gate.id, m.measure.name) for g in report.gates for m in g.measures}
    assert whole.bench.spec.parts > 1


@pytest.mark.parametrize(
    ("gate", "measure", "owners", "edits"), BREAKS, ids=[f"{k}-{b[0]}-{b[1]}" for k, b in enumerate(BREAKS)]
)
def test_broken_tables_fail_their_gate(scored: Scored, gate: str, measure: str, owners: str, edits: list[Edit]) -> None:
    """A gate that still passes when its surface is broken reads something else; a wrong owner sends people astray."""
    for dataset, change in edits:
        scored.edit(dataset, change)
    report = scored.score()
    result = gates(report)[gate]
    assert result.status == "FAIL", result
    assert {m.measure.name: m.status for m in result.measures}[measure] == "FAIL", result
    assert list(result.owners) == owners.split()
    assert all(gate in report.routing()[owner] for owner in owners.split())
    assert not report.passed
    assert (report.verdict == "PASS_HARD_ONLY") == all(g.gate.klass == "stretch" for g in report.failures)


MISSING = [
    (ARRIVALS, {"T20"}),
    (SESSIONS, {"T19"}),
    (BASE, {"T11", "T12", "T13"}),
    (EVENTS, {"T14", "T15", "T16"}),
    (FLOWS, {"T3", "T4", "T5", "T5b", "T6", "T6b", "T7", "T7b", "T17", "T18", "T22"}),
    (TRUTH, {"T1", "T2", "T3", "T4", "T22"}),
    (BANK, {"T5", "T5b", "T6", "T6b", "T7", "T7b"}),
    (CASES, {"T8", "T9", "T10"}),
]


@pytest.mark.parametrize(("dataset", "without"), MISSING, ids=[m[0] for m in MISSING])
def test_missing_part_is_insufficient_evidence(scored: Scored, dataset: str, without: set[str]) -> None:
    """A gate must not pass on the parts that are left when one of its table is gone: no evidence counts as failed."""
    path = scored.bench.path(dataset, 1)
    path.unlink()
    report = scored.score()
    short = {g.gate.id: g for g in report.gates if g.status == "INSUFFICIENT"}
    assert set(short) == without
    assert all(path.name in m.found.note and dataset in m.found.note for g in short.values() for m in g.measures)
    assert not report.passed
    assert set(short) <= {gate for owned in report.routing().values() for gate in owned}


def nothing(c: Columns) -> None:
    """No rows."""
    for name in c:
        c[name] = c[name][:0]


EMPTY = [
    (CASES, nothing, {"T8", "T9", "T10"}),
    (FLOWS, put("campaign_id", 0), {"T4", "T6b", "T17", "T18"}),
    (BANK, put("is_fraud_bank_view", False), {"T5b", "T6", "T6b", "T7b"}),
    (SESSIONS, nothing, {"T19"}),
    (EVENTS, nothing, {"T14", "T15", "T16"}),
    (BASE, nothing, {"T11", "T12", "T13"}),
    (ARRIVALS, nothing, {"T20"}),
]


@pytest.mark.parametrize(("dataset", "change", "without"), EMPTY, ids=[e[0] for e in EMPTY])
def test_undefined_figures_are_insufficient_evidence(
    scored: Scored, dataset: str, change: Callable[[Columns], None], without: set[str]
) -> None:
    """A share of nothing, or an association with one side, is neither a pass nor a crash, and says what is missing."""
    scored.edit(dataset, change)
    report = scored.score()
    short = {g.gate.id: g for g in report.gates if g.status == "INSUFFICIENT"}
    assert set(short) == without
    undefined = [m for g in short.values() for m in g.measures if m.status == "INSUFFICIENT"]
    assert undefined and all(m.found.value is None and m.found.note for m in undefined)


@pytest.mark.parametrize(("dataset", "column"), [(TRUTH, "flow_id"), (BANK, "flow_id")])
def test_labels_out_of_line_are_insufficient_evidence(scored: Scored, dataset: str, column: str) -> None:
    """Labels read beside the wrong flows would make associations out of nothing."""
    scored.edit(dataset, lambda c: c[column].__setitem__(slice(None), np.roll(c[column], 1)))
    result = gates(scored.score())["T3" if dataset == TRUTH else "T5"]
    assert result.status == "INSUFFICIENT"
    assert dataset in result.measures[0].found.note


def test_unsorted_tables_give_the_same_figures(whole: Scored, scored: Scored) -> None:
    """A scorer that believed the order of rows would miss gaps and pair requests with the wrong responses."""
    turn = np.random.default_rng(7)

    def shuffle(c: Columns) -> None:
        order = turn.permutation(len(next(iter(c.values()))))
        for name in c:
            c[name] = c[name][order]

    for dataset in (CASES, EVENTS, ARRIVALS, SESSIONS, BASE):
        scored.edit(dataset, shuffle)
    assert [g.as_json() for g in scored.score().gates] == [g.as_json() for g in whole.score().gates]


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_do_not_show(whole: Scored, workers: int) -> None:
    """A figure that depended on who counted which part could pass on one machine and fail on another."""
    assert whole.both(workers=workers)[0] == whole.both(workers=1)[0]


def test_realism_gates_apply_from_a_size_on(scored: Scored, tmp_path: Path) -> None:
    """Below the policy's size realism gates neither pass nor fail; structure gates always do."""
    pack = gate_pack(tmp_path / "p", {"realism_from_arrivals: 200000": f"realism_from_arrivals: {COUNT + 1}"})
    small = replace(scored, pack=pack)
    structure = {"T1", "T3", "T4", "T8", "T10", "T22"}
    report = small.score()
    assert {g.gate.id for g in report.gates if g.status != "NOT_APPLICABLE"} == structure
    assert report.passed and report.verdict == "PASS_STRUCTURE", "no posture of realism without its gates"
    assert f"{COUNT:,} arrivals" in report.why_not_applicable
    small.edit(SESSIONS, put("arrival_count", 1))
    assert small.score().passed
    small.edit(CASES, back_in_time)
    assert {g.gate.id for g in small.score().failures} == {"T8", "T10"}
    assert small.score().verdict == "FAIL_REALISM"


def test_core_profile_is_scored_from_what_is_there(core: Scored) -> None:
    """Columns that the profile lacks are replaced by what the world says, or left out, and both are said."""
    report = core.score()
    results = gates(report)
    unpublished = [
        f"{g}.{m.measure.name}" for g, r in results.items() for m in r.measures if m.status == "NOT_PUBLISHED"
    ]
    assert unpublished == [f"T6b.{x}_median_ratio" for x in ("card_testing", "ato", "app_scam")]
    assert not [g for g, r in results.items() if r.status == "INSUFFICIENT"]
    for gate in ("T3", "T6b", "T17", "T18", "T22"):
        assert any("not published" in m.found.note for m in results[gate].measures), gate


CORE_BREAKS = [
    ("T3", TRUTH, put("fraud_label", ABUSE, lambda c: c["is_fraud_truth"] == 0)),
    ("T11", BASE, put("amount", 9.0)),
    ("T18", FLOWS, put("party_id", 1)),
    ("T22", TRUTH, put("fraud_label", lambda c: 1 + (np.arange(len(c["flow_id"])) % 2), lambda c: c["is_fraud_truth"])),
]


@pytest.mark.parametrize(("gate", "dataset", "change"), CORE_BREAKS, ids=[b[0] for b in CORE_BREAKS])
def test_stand_ins_of_the_core_profile_fail_too(
    core: Scored, tmp_path: Path, gate: str, dataset: str, change: Callable[[Columns], None]
) -> None:
    """A stand-in that cannot fail would let the core profile through."""
    copy = core.copy(tmp_path)
    copy.edit(dataset, change)
    assert gates(copy.score())[gate].failed


SHUT = [
    ("{legit_share: {b: {above: 0.0}}}", "{legit_share: {b: {above: 0.5, below: 0.5}}}"),
    ("b_plus: {min: 0.5, max: 5.0}", "b_plus: {min: 0.5, max: 0.4}"),
]


@pytest.mark.parametrize(("old", "new"), SHUT)
def test_gate_that_nothing_can_pass_is_refused(tmp_path: Path, old: str, new: str) -> None:
    """A policy with bounds the wrong way round would fail every run without saying why."""
    pack = load_pack(gate_pack(tmp_path / "p", {old: new}), load_contracts())
    with pytest.raises(PolicyError, match="SCORE_GATES_INVALID"):
        compile_plan(pack.doc("realism_gates_6B"))


def test_rare_fraud_has_thresholds_of_its_own(whole: Scored, tmp_path: Path) -> None:
    """A pack of real-life prevalence sets a target for T2, lower associations, and reads T7 as a ratio."""
    edits = {
        "fraud_share: {b: {min: 0.02, max: 0.30}}": "fraud_share: {b: {min: 0.00152, max: 0.00168}}",
        "cramers_v: {b: {min: 0.05}, b_plus: {min: 0.08}": "cramers_v: {b: {min: 0.02}, b_plus: {min: 0.025}",
        "rate_spread: {b: {min: 0.015}, b_plus: {min: 0.05}}": "rate_ratio: {b: {min: 2.0}, b_plus: {min: 3.0}}",
    }
    first_pack = gate_pack(tmp_path / "first", SMALL)
    text = (first_pack / "realism_gates_6B.yaml").read_text("utf-8")
    for old, new in edits.items():
        assert old in text, old
        text = text.replace(old, new)
    (first_pack / "realism_gates_6B.yaml").write_text(text, "utf-8")
    results = gates(replace(whole, pack=first_pack).score())
    assert results["T2"].status == "FAIL"
    assert results["T5"].status == "PASS_BPLUS"
    assert [m.measure.name for m in results["T7"].measures] == ["rate_ratio"]
    assert results["T7"].measures[0].found.value == results["T7b"].measures[0].found.value
