"""Every check fails when the one thing that it guards is broken in a published run, and passes when nothing is."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fraudloom.states.s5 import evidence
from fraudloom.states.s5.findings import Findings
from fraudloom.states.s5.tally import Tally
from fraudloom.states.s5.validation import published_evidence
from fraudloom.tables import Columns
from s5.bench import SCENARIO, Bench, add, applies, failed, make_bench, rules, where

pytestmark = pytest.mark.xdist_group("s5_breaks")

S1, SESSIONS, LINK = "s1_arrival_entities_6B", "s1_session_index_6B", "s2_arrival_flow_link_6B"
S2, EVENTS2 = "s2_flow_anchor_baseline_6B", "s2_event_stream_baseline_6B"
S3, EVENTS3 = "s3_flow_anchor_with_fraud_6B", "s3_event_stream_with_fraud_6B"
SESSIONS3, BOOK = "s3_session_index_with_fraud_6B", "s3_campaign_catalogue_6B"
TRUTH, BANK, MARKS = "s4_flow_truth_labels_6B", "s4_flow_bank_view_6B", "s4_event_labels_6B"
HISTORY, CASES, MEMBERS = "s4_label_history_6B", "s4_case_timeline_6B", "s4_case_flow_link_6B"
YEAR_US = 366 * 86_400_000_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A sealed run of three parts, never changed."""
    return make_bench(tmp_path_factory.mktemp("s5"), "default")


@pytest.fixture
def bench(whole: Bench, tmp_path: Path) -> Bench:
    """A copy of it to break."""
    return whole.copy(tmp_path)


def swap_rows(cols: Columns) -> None:
    """Exchange the first two rows."""
    for values in cols.values():
        values[[0, 1]] = values[[1, 0]]


def drop_last(cols: Columns) -> None:
    """Leave the last row out."""
    for name in cols:
        cols[name] = cols[name][:-1]


def drop_first(cols: Columns) -> None:
    """Leave the first row out."""
    for name in cols:
        cols[name] = cols[name][1:]


def repeat_key(cols: Columns) -> None:
    """Give the second row the first one's flow."""
    cols["flow_id"][1] = cols["flow_id"][0]


def genuine(c: Columns) -> np.ndarray:
    """Flows without a campaign."""
    return c["campaign_id"] == 0


BREAKS: list[tuple[str, str, str, Callable[[Columns], None]]] = [
    ("REQ_PK_UNIQUENESS", "S2 flow once", S2, repeat_key),
    ("REQ_PK_UNIQUENESS", "arrival once in its part", S1, lambda c: c["arrival_seq"].__setitem__(slice(None), 1)),
    ("REQ_PK_UNIQUENESS", "session id decodes to its first arrival", SESSIONS, add("session_id", 1)),
    ("REQ_PK_UNIQUENESS", "case id decodes to its first flow", CASES, add("case_id", 1)),
    ("REQ_PK_UNIQUENESS", "campaign id decodes to its slot", BOOK, add("slot", 1)),
    ("REQ_ROW_ORDER", f"{SESSIONS} sorted", SESSIONS, swap_rows),
    ("REQ_ROW_ORDER", f"{EVENTS3} sorted", EVENTS3, swap_rows),
    ("REQ_ROW_ORDER", f"{TRUTH} aligned", TRUTH, swap_rows),
    ("REQ_ROW_ORDER", "link aligned by merchant_id", LINK, add("merchant_id", 1)),
    ("REQ_ARRIVAL_COVERAGE", "upstream columns unchanged", S1, add("bucket_index", 1)),
    ("REQ_ARRIVAL_COVERAGE", "every arrival of 5B in S1", S1, drop_last),
    ("REQ_ARRIVAL_COVERAGE", "arrival exists upstream", S1, add("arrival_seq", 1 << 20)),
    ("REQ_ENTITY_LINKS", "flow carries its arrival's device_id", S2, add("device_id", 1)),
    ("REQ_SESSION_AGGREGATES", "arrival_count", SESSIONS, add("arrival_count", 1)),
    ("REQ_SESSION_AGGREGATES", "gap_max_us", SESSIONS, add("gap_max_us", 5)),
    ("REQ_SESSION_AGGREGATES", "dominant merchant_id", SESSIONS, add("merchant_id", 1)),
    ("REQ_SESSION_AGGREGATES", "merchant_count", SESSIONS, add("merchant_count", 1)),
    ("REQ_SESSION_AGGREGATES", "S3 session equals S1 in duration_us", SESSIONS3, add("duration_us", 1)),
    ("REQ_FLOW_SESSION_LINKS", "link_rank below arrival_count", LINK, add("link_rank", 5)),
    ("REQ_FLOW_SESSION_LINKS", "linked flow exists", LINK, add("flow_id", 1)),
    ("REQ_FLOW_SESSION_LINKS", "arrival_count", S2, add("arrival_count", 1)),
    ("REQ_FLOW_SESSION_LINKS", "flow names its first arrival", S2, add("arrival_seq", 1)),
    (
        "REQ_FLOW_EVENT_PARITY",
        "untouched flow equals S2 in risk_score",
        S3,
        where("risk_score", lambda c: c["mutation_flags"] == 0, lambda c, i: c["risk_score"][i] ^ 1),
    ),
    (
        "REQ_FLOW_EVENT_PARITY",
        "decided again where new flows say so",
        S3,
        where("is_redecided", lambda c: c["is_redecided"] & (c["origin_flow_id"] != 0), lambda c, i: False),
    ),
    (
        "REQ_FLOW_EVENT_PARITY",
        "decided otherwise only where decided again",
        S3,
        where("mutation_flags", lambda c: ~c["is_redecided"] & c["fraud_flag"], lambda c, i: 128),
    ),
    (
        "REQ_RNG_BUDGETS",
        "per shard",
        S3,
        where("is_redecided", lambda c: ~c["is_redecided"], lambda c, i: True),
    ),
    ("REQ_FLOW_EVENT_PARITY", "S2 flow present in S3", S3, drop_last),
    ("REQ_FLOW_EVENT_PARITY", "untouched flow keeps its events", EVENTS3, drop_first),
    ("REQ_FLOW_EVENT_PARITY", "S2 event_seq contiguous", EVENTS2, add("event_seq", 1)),
    (
        "REQ_FLOW_EVENT_PARITY",
        "unchanged event equals S2 in attempt",
        EVENTS3,
        where("attempt", lambda c: ~c["is_fraud_event"], lambda c, i: 9),
    ),
    ("REQ_FLOW_EVENT_PARITY", "origin_flow_id", S3, add("origin_flow_id", 1)),
    (
        "REQ_FLOW_EVENT_PARITY",
        "device_id changes only under its flag",
        S3,
        where(
            "device_id",
            lambda c: (c["origin_flow_id"] != 0) & ((c["mutation_flags"] & 4) == 0),
            lambda c, i: c["device_id"][i] + 1,
        ),
    ),
    ("REQ_ANCHOR_EVENTS", "S2 amount_minor", S2, add("amount_minor", 1)),
    ("REQ_ANCHOR_EVENTS", "S3 cleared_minor", S3, add("cleared_minor", 1)),
    ("REQ_ANCHOR_EVENTS", "S3 response_ts_utc", S3, add("response_ts_utc", 1)),
    (
        "REQ_ANCHOR_EVENTS",
        "S2 event amount in major units",
        EVENTS2,
        lambda c: c["amount"].__setitem__(0, c["amount"][0] + 0.5),
    ),
    ("REQ_CAMPAIGN_INTEGRITY", "realised_flows = tagged flows", BOOK, add("realised_flows", 1)),
    ("REQ_CAMPAIGN_INTEGRITY", "realised_incidents = tagged incidents", BOOK, add("realised_incidents", 1)),
    (
        "REQ_CAMPAIGN_INTEGRITY",
        "fraud_rate = tagged flows over all flows",
        BOOK,
        lambda c: c["fraud_rate"].__setitem__(0, 0.9),
    ),
    (
        "REQ_CAMPAIGN_INTEGRITY",
        "campaign is in the catalogue",
        BOOK,
        where("campaign_id", lambda c: c["realised_flows"] > 0, lambda c, i: c["campaign_id"][i] + 1),
    ),
    (
        "REQ_CAMPAIGN_INTEGRITY",
        "flow inside its campaign's window",
        BOOK,
        where("window_start_utc", lambda c: c["realised_flows"] > 0, lambda c, i: c["window_end_utc"][i] - 1),
    ),
    (
        "REQ_CAMPAIGN_INTEGRITY",
        "new flow's ordinal in its campaign's range",
        BOOK,
        where("ordinal_base", lambda c: c["realised_new_flows"] > 0, lambda c, i: c["ordinal_base"][i] + (1 << 40)),
    ),
    ("REQ_CAMPAIGN_INTEGRITY", "fraud_flag says tagged", S3, where("fraud_flag", genuine, lambda c, i: True)),
    ("REQ_FLOW_LABEL_COVERAGE", f"{TRUTH} has a row per row", TRUTH, drop_last),
    (
        "REQ_FLOW_LABEL_COVERAGE",
        "event's is_fraud_truth as on its flow",
        MARKS,
        lambda c: c["is_fraud_truth"].__setitem__(0, not c["is_fraud_truth"][0]),
    ),
    (
        "REQ_CRITICAL_TRUTH_REALISM",
        "T3 flow without campaign or anomaly is LEGIT",
        TRUTH,
        where("fraud_label", genuine, lambda c, i: 1),
    ),
    (
        "REQ_CRITICAL_TRUTH_REALISM",
        "T4 campaign flow is not LEGIT",
        TRUTH,
        where("fraud_label", lambda c: c["campaign_id"] != 0, lambda c, i: 0),
    ),
    (
        "REQ_CRITICAL_TRUTH_REALISM",
        "T22 rule is that of the pattern",
        TRUTH,
        where("label_rule_id", genuine, lambda c, i: 5),
    ),
    (
        "REQ_BANK_CONSISTENCY",
        "auth_decision as on the flow",
        BANK,
        lambda c: c["auth_decision"].__setitem__(0, 3 - c["auth_decision"][0]),
    ),
    (
        "REQ_BANK_CONSISTENCY",
        "is_fraud_bank_view follows the label",
        BANK,
        where("bank_label", lambda c: c["bank_label"] == 2, lambda c, i: 0),
    ),
    (
        "REQ_BANK_CONSISTENCY",
        "case_close_ts_utc not before case_open_ts_utc",
        BANK,
        where("case_close_ts_utc", lambda c: c["case_id"] != 0, lambda c, i: c["case_open_ts_utc"][i] - 1),
    ),
    ("REQ_BANK_CONSISTENCY", "label_seq contiguous", HISTORY, add("label_seq", 1)),
    (
        "REQ_BANK_CONSISTENCY",
        "bank view holds the last label",
        HISTORY,
        lambda c: c["bank_label"].__setitem__(-1, (c["bank_label"][-1] + 1) % 5),
    ),
    ("REQ_CRITICAL_CASE_TIMELINE", "case_event_seq contiguous", CASES, add("case_event_seq", 1, -1)),
    (
        "REQ_CRITICAL_CASE_TIMELINE",
        "time never decreases in a case (T8, T10)",
        CASES,
        where("ts_utc", lambda c: c["case_event_seq"] == 0, lambda c, i: c["ts_utc"][i + 1] + 1),
    ),
    (
        "REQ_CRITICAL_CASE_TIMELINE",
        "CASE_OPENED once",
        CASES,
        where("case_event_type", lambda c: c["case_event_seq"] == 1, lambda c, i: 0),
    ),
    (
        "REQ_CRITICAL_CASE_TIMELINE",
        "step may follow the flow's step before",
        CASES,
        where("case_event_type", lambda c: c["case_event_type"] == 1, lambda c, i: 4),
    ),
    ("REQ_CRITICAL_CASE_TIMELINE", "flow in a case is a member", MEMBERS, drop_last),
    ("REQ_CRITICAL_CASE_TIMELINE", "member_rank contiguous", MEMBERS, add("member_rank", 1)),
    ("REQ_RNG_BUDGETS", "checksum", S1, lambda c: c["visit_key"].__setitem__(slice(None), 1)),
    (
        "REQ_TIME_MONOTONE",
        "S2 answered after sent",
        S2,
        where("auth_sent_utc", lambda c: c["attempts"] > 0, lambda c, i: c["response_ts_utc"][i] + 1),
    ),
    (
        "REQ_TIME_MONOTONE",
        "S2 events in time order",
        EVENTS2,
        where("ts_utc", lambda c: c["event_seq"] == 0, lambda c, i: c["ts_utc"][i] + YEAR_US // 12),
    ),
    ("REQ_SCENARIO_OOB", "arrival inside the arrival horizon", S1, add("ts_utc", YEAR_US)),
    ("REQ_SCENARIO_OOB", "S3 event inside the settlement horizon", EVENTS3, add("ts_utc", YEAR_US, -1)),
    ("REQ_SCENARIO_OOB", "case event inside the settlement horizon", CASES, add("ts_utc", YEAR_US, -1)),
]


@pytest.mark.parametrize(("check", "rule", "dataset", "change"), BREAKS, ids=[f"{b[0]}-{b[1]}" for b in BREAKS])
def test_broken_rows_fail_their_check(
    bench: Bench, check: str, rule: str, dataset: str, change: Callable[[Columns], None]
) -> None:
    """One changed part fails the check that guards it, by name of the rule, and no digest is needed to see it."""
    parts = 1 if dataset == BOOK else bench.spec.parts
    part = next(p for p in range(parts) if applies(bench, dataset, change, p))
    bench.rewrite(dataset, change, part)
    result = bench.validate()
    assert check in failed(result), failed(result)
    assert rule in rules(result, check), rules(result, check)
    assert "REQ_CONTENT_DIGESTS" not in failed(result)
    assert result.verdict == "FAIL"


def test_whole_run_passes(whole: Bench) -> None:
    """Nothing broken: every check that is read passes, over more than one part, and no issue is listed."""
    result = whole.validate()
    assert result.verdict == "PASS" and not failed(result)
    assert whole.spec.parts > 1
    assert result.issues.num_rows == 0
    assert [c["check_id"] for c in result.checks if c["result"] == "NOT_APPLICABLE"] == [
        "WARN_BASELINE_REALISM",
        "WARN_FRAUD_REALISM",
        "WARN_BANK_VIEW_REALISM",
        "WARN_CASE_REALISM",
    ]
    json.dumps(result.report, allow_nan=False)
    assert result.issues.schema.equals(
        whole.contracts.dataset("s5_issue_table_6B").arrow_schema(), check_metadata=False
    )


def test_changed_content_fails_digests(bench: Bench) -> None:
    """A value that no rule binds is still bound by the part's digest."""
    bench.rewrite(S1, lambda c: c["attach_score"].__setitem__(0, 0.123), journal=False)
    assert failed(bench.validate()) == {"REQ_CONTENT_DIGESTS"}


def test_unjournalled_part_fails_digests(bench: Bench) -> None:
    """A part that the journal does not know is not believed."""
    del bench.journal[(BANK, SCENARIO, 0)]
    assert failed(bench.validate()) == {"REQ_CONTENT_DIGESTS"}


SCHEMAS: list[tuple[str, Callable[[Bench], None]]] = [
    ("schema equals contract", lambda b: b.restyle(S2, lambda t: t.drop_columns(["mcc"]))),
    (
        "schema equals contract",
        lambda b: b.restyle(S1, lambda t: t.set_column(0, "merchant_id", t["merchant_id"].cast(pa.int32()))),
    ),
    ("part opens", lambda b: b.path(EVENTS3).unlink()),
    ("part opens", lambda b: b.path(BANK).write_bytes(b.path(BANK).read_bytes()[:-20])),
    (
        "footer seed",
        lambda b: b.restyle(TRUTH, lambda t: t.replace_schema_metadata({**t.schema.metadata, b"seed": b""})),
    ),
    ("row groups = shards of the part", lambda b: b.restyle(HISTORY, lambda t: t.slice(0, 0))),
]


@pytest.mark.parametrize(("rule", "action"), SCHEMAS, ids=[f"{s[0]}-{i}" for i, s in enumerate(SCHEMAS)])
def test_broken_file_fails_schema(bench: Bench, rule: str, action: Callable[[Bench], None]) -> None:
    """A part of another shape, footer or form fails REQ_SCHEMA, and validation goes on without it."""
    action(bench)
    result = bench.validate()
    if rule == "row groups = shards of the part":
        assert failed(result)
        return
    assert "REQ_SCHEMA" in failed(result)
    assert rule in rules(result, "REQ_SCHEMA"), rules(result, "REQ_SCHEMA")


def test_nulls_in_required_column_fail_schema(bench: Bench) -> None:
    """A null where the contract allows none is named."""

    def change(t: pa.Table) -> pa.Table:
        values = t["merchant_id"].to_pylist()
        values[0] = None
        return t.set_column(0, pa.field("merchant_id", pa.int64()), pa.array(values, pa.int64()))

    bench.restyle(S1, change)
    assert "rows decode" in rules(bench.validate(), "REQ_SCHEMA")


def test_edited_world_fails_hashgates(bench: Bench) -> None:
    """The upstream bundles are verified again."""
    index = sorted(bench.world_root.glob("data/layer1/1B/validation/*/index.json"))[0]
    index.write_bytes(index.read_bytes() + b" ")
    assert failed(bench.validate()) == {"REQ_UPSTREAM_HASHGATES"}
    index.write_bytes(index.read_bytes()[:-1])
    assert not failed(bench.validate())


@pytest.mark.parametrize("key", ["sha256_hex", "read_scope"])
def test_edited_inventory_fails_sealed_inputs(bench: Bench, key: str) -> None:
    """The inventory must have the receipt's digest."""
    path = bench.artefact("sealed_inputs_6B")
    rows = json.loads(path.read_text("utf-8"))
    rows[-1][key] = "0" * 64
    path.write_text(json.dumps(rows), "utf-8")
    assert failed(bench.validate()) == {"REQ_SEALED_INPUTS_PRESENT"}


def test_missing_receipt_fails_both_gates(bench: Bench) -> None:
    """Without the receipt there is nothing to compare the upstream with."""
    bench.artefact("s0_gate_receipt_6B").unlink()
    assert failed(bench.validate()) == {"REQ_SEALED_INPUTS_PRESENT", "REQ_UPSTREAM_HASHGATES"}


@pytest.mark.parametrize(("key", "value"), [("events", 1), ("draws", 3), ("checksum", "0" * 16), ("decision", "NONE")])
def test_edited_evidence_fails_budgets(bench: Bench, key: str, value: object) -> None:
    """Evidence that rows do not imply is named, and so is evidence of a decision that no policy lists."""
    path = bench.artefact("rng_evidence_6B", family="rng_event_amount_draw")
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    lines[0][key] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert failed(bench.validate()) == {"REQ_RNG_BUDGETS"}


AGAIN = [
    ("rng_event_issuer_decision", "ISSUER_DECIDE"),
    ("rng_event_event_timing", "AUTH_TIME"),
    ("rng_event_flow_shape", "BRANCH_DECISION"),
    ("rng_event_event_timing", "SETTLEMENT_TIME"),
    ("rng_event_amount_draw", "SETTLED_AMOUNT"),
    ("rng_event_event_timing", "EVENT_SPLIT"),
]


@pytest.mark.parametrize("change", ["events", "draws", "checksum", "moved", "gone"])
@pytest.mark.parametrize(("family", "decision"), AGAIN, ids=[d for _, d in AGAIN])
def test_edited_evidence_of_second_decisions_fails_budgets(
    whole: Bench, family: str, decision: str, change: str
) -> None:
    """One row of what S3 drew of S2's decisions is changed, moved or left out: S5 names the decision."""
    rows = published_evidence(whole.root, whole.contracts, whole.spec)
    mine = [r for r in rows[SCENARIO] if (r["module"], r["family"], r["decision"]) == ("6B.S3", family, decision)]
    assert len(mine) == whole.spec.shards and sum(r["events"] for r in mine) > 10
    row = mine[-1]
    if change == "gone":
        rows[SCENARIO].remove(row)
    elif change == "moved":
        row["index"], mine[0]["index"] = mine[0]["index"], row["index"]
    elif change == "checksum":
        row["checksum"] = f"{int(row['checksum'], 16) ^ 1:016x}"
    else:
        row[change] += 1
    result = whole.validate(evidence=rows)
    assert failed(result) == {"REQ_RNG_BUDGETS"}
    named = [m for m in result.issues.to_pydict()["message"] if f"S3/{family}/{decision}" in m]
    assert len(named) == result.issues.num_rows > 0


def test_loci_of_second_decisions_are_replayed(whole: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken: what S3 drew of S2's decisions is counted, but no locus of it is drawn again."""
    seen: list[Tally] = []
    plain, replay = evidence._python_uniform, evidence.replay
    monkeypatch.setattr(evidence, "replay", lambda f, s, tally, n: seen.append(tally) or replay(f, s, tally, n))
    assert whole.validate().verdict == "PASS"
    for family, decision in AGAIN:
        stream = ("S3", family, decision)
        for draw, wrong in ((plain, False), (lambda key, i: plain(key, i + 1), True)):
            monkeypatch.setattr(evidence, "_python_uniform", draw)
            findings = Findings(100, SCENARIO, "replay")
            only = Tally(findings, 0, loci={stream: seen[0].loci[stream]})
            replay(findings, whole.spec.streams(SCENARIO), only, 100)
            assert len(only.loci[stream]) > 1
            assert findings.violations("REQ_RNG_BUDGETS") == (len(only.loci[stream]) if wrong else 0)


def test_core_profile_says_what_it_cannot_read(tmp_path: Path) -> None:
    """With the predecessor's columns what can be read passes, and the report names the rules that cannot."""
    bench = make_bench(tmp_path, "two-event", 600)
    result = bench.validate()
    assert result.verdict == "PASS", failed(result)
    silent = {c["check_id"]: c.get("not_applicable", {}) for c in result.checks}
    assert "arrival-flow link" in silent["REQ_FLOW_SESSION_LINKS"]
    bench.rewrite(S2, add("account_id", 1))
    assert {"REQ_ENTITY_LINKS", "REQ_FLOW_EVENT_PARITY"} <= failed(bench.validate())


def test_no_arrivals_pass(tmp_path: Path) -> None:
    """Nothing to prove is proven: an empty world passes, with nothing out of place."""
    bench = make_bench(tmp_path, "default", 0)
    result = bench.validate()
    assert result.verdict == "PASS", (failed(result), result.issues.to_pylist()[:3])
