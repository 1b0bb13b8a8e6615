"""Invariants of S4 on one shard in memory, over all rows (states.md, S4, invariants 1 to 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fraudloom.errors import InternalError
from fraudloom.states.decisions import Decision, EvidenceArray
from fraudloom.states.ordinals import rows_of
from fraudloom.states.s4.cases import FOLLOWS
from fraudloom.states.s4.frame import Array, Rows, S4Frame, event_rows
from fraudloom.states.s4.plan import S4Plan
from fraudloom.tables import Columns

TRUTH, BANK, CASE, COVERAGE = (
    "TRUTH_CONSISTENCY_FAILED",
    "BANK_VIEW_CONSISTENCY_FAILED",
    "CASE_TIMELINE_INCONSISTENT",
    "LABEL_COVERAGE_MISMATCH",
)
#: Draws that one flow, and one case, may consume at most.
FLOW_BUDGET, CASE_BUDGET = 32, 16


def _demand(good: Array, code: str, what: str, rows: Rows, *columns: str) -> None:
    """Raise `code` for the first row that is not good, showing the named columns of it."""
    if bool(good.all()):
        return
    bad = int(np.argmin(good))
    raise InternalError(
        "S4",
        f"S4_{code}",
        what=what,
        found=f"{int((~good).sum())} of {len(good)} rows; the first has "
        + ", ".join(f"{c} {rows[c][bad]}" for c in columns),
        where=f"row {bad} of the shard",
    )


def _same(a: Array, b: Array, what: str) -> None:
    if len(a) != len(b) or not np.array_equal(a, b):
        raise InternalError("S4", f"S4_{COVERAGE}", what=what, found=f"{len(b)} rows", expected=f"{len(a)} rows, equal")


def _coverage(flows: Rows, events: Rows, out: S4Frame) -> None:
    """Invariants 1 and 2."""
    _same(flows["flow_id"], out.truth["flow_id"], "truth labels are not those of the flows, row by row")
    _same(flows["flow_id"], out.bank["flow_id"], "the bank's view is not that of the flows, row by row")
    _same(events["flow_id"], out.event_labels["flow_id"], "event labels are not those of the events, row by row")
    _same(events["event_seq"], out.event_labels["event_seq"], "event labels are not those of the events, row by row")


def _truth(plan: S4Plan, flows: Rows, truth: Columns) -> None:
    """Invariant 3: truth is what the overlay did."""
    tagged, bad = flows["campaign_id"] != 0, truth["fraud_label"] != 0
    shown = ("flow_id", "fraud_label", "truth_subtype", "campaign_id")
    _demand(~tagged | bad, TRUTH, "a flow of a campaign is LEGIT", truth, *shown)
    _demand(truth["is_fraud_truth"] == bad, TRUTH, "is_fraud_truth differs from the label", truth, *shown)
    _demand(
        (truth["campaign_id"] == flows["campaign_id"]) & (truth["incident_id"] == flows["incident_id"]),
        TRUTH,
        "campaign or incident differs from the flow's",
        truth,
        *shown,
    )
    same = (truth["truth_subtype"] == flows["fraud_pattern_type"]) & (truth["fraud_class"] == flows["fraud_class"])
    _demand(~tagged | same, TRUTH, "subtype or class differs from what the overlay did", truth, *shown, "fraud_class")
    odd = (flows["mutation_flags"].astype(np.int64) & plan.truth.anomaly_mask) != 0
    pinned = flows["pinned_label"] >= 0
    _demand(tagged | odd | pinned | ~bad, TRUTH, "a flow that the overlay left alone is not LEGIT", truth, *shown)
    same = truth["fraud_label"] == flows["pinned_label"]
    _demand(~pinned | (same & ~tagged), TRUTH, "truth contradicts the label of the imported log", truth, *shown)


def _view(plan: S4Plan, truth: Columns, bank: Columns) -> None:
    """Invariants 4 and 5: labels follow from detection, cases from labels (no case where they are switched off)."""
    shown = ("flow_id", "bank_label", "detection_ts_utc", "case_open_ts_utc", "label_status")
    fraud = (bank["bank_label"] == 0) | (bank["bank_label"] == 4)
    known = bank["detection_ts_utc"] != 0
    case = bank["case_id"] != 0
    _demand(bank["is_fraud_bank_view"] == fraud, BANK, "is_fraud_bank_view differs from the label", bank, *shown)
    _demand(~fraud | known, BANK, "confirmed fraud without a detection", bank, *shown)
    modelled = truth["is_fraud_truth"] | truth["false_positive"]
    _demand(~fraud | modelled, BANK, "a genuine flow is confirmed fraud and not marked a false positive", bank, *shown)
    _demand((bank["detection_outcome"] != 0) == known, BANK, "detection outcome and instant disagree", bank, *shown)
    missed = truth["is_fraud_truth"] & ~known
    _demand(truth["never_reported"] == missed, BANK, "never_reported is wrong", truth, "flow_id")
    if not plan.cases:
        _demand(~case, BANK, "a case, although cases are switched off", bank, *shown)
        for name in ("case_open_ts_utc", "case_close_ts_utc"):
            _demand(bank[name] == 0, BANK, f"{name}, although cases are switched off", bank, *shown)
        case = bank["bank_label"] != 2
    _demand((bank["bank_label"] == 2) == ~case, BANK, "NO_CASE_OPENED and a case, or neither", bank, *shown)
    for name in ("case_open_ts_utc", "case_close_ts_utc"):
        here = (bank[name] != 0) == case
        _demand(here | (not plan.cases), BANK, f"{name} without a case, or a case without it", bank, *shown)
    heard = case | known
    for name in (
        "dispute_reason",
        "chargeback_type",
        "report_source",
        "liability_party",
        "loss_minor",
        "recovered_minor",
    ):
        _demand((bank[name] == 0) | heard, BANK, f"{name} on a flow of which nothing is known", bank, *shown)
    blocked = bank["label_status"] == 3
    good = ~blocked | ((bank["detection_outcome"] == 1) & ~case)
    _demand(good, BANK, "BLOCKED_UNVERIFIED without a block", bank, *shown)


def _instants(flows: Rows, bank: Columns) -> None:
    """Invariant 6: no instant stands before its cause."""
    names = [n for n in bank if n.endswith("_ts_utc")]
    busy = bank["detection_ts_utc"] != 0
    for name in names:
        busy = busy | (bank[name] != 0)
    rows = np.flatnonzero(busy)
    view = {n: bank[n][rows] for n in ("flow_id", "bank_label", "label_status", "chargeback_type", *names)}
    view |= {n: bank[n][rows] for n in ("dispute_reason", "loss_minor", "recovered_minor")}
    chains = (
        ("detection_ts_utc", "case_open_ts_utc", "case_close_ts_utc"),
        ("alert_ts_utc", "case_open_ts_utc"),
        (
            "dispute_ts_utc",
            "chargeback_ts_utc",
            "representment_ts_utc",
            "pre_arbitration_ts_utc",
            "decision_ts_utc",
            "case_close_ts_utc",
        ),
        ("case_open_ts_utc", "dispute_ts_utc", "decision_ts_utc"),
    )
    for chain in chains:
        before, name = flows["ts_utc"][rows], "ts_utc"
        for column in chain:
            here = view[column] != 0
            _demand(~here | (view[column] >= before), BANK, f"{column} stands before {name}", view, "flow_id", column)
            before, name = np.where(here, view[column], before), column
    claimed, charged = view["dispute_ts_utc"] != 0, view["chargeback_ts_utc"] != 0
    shown = ("flow_id", "dispute_reason", "chargeback_type")
    _demand(claimed == (view["dispute_reason"] != 0), BANK, "a claim without reason or instant", view, *shown)
    _demand(charged == (view["chargeback_type"] != 0), BANK, "a chargeback without type or instant", view, *shown)
    _demand(~charged | claimed, BANK, "a chargeback without a claim", view, *shown)
    good = (view["loss_minor"] >= 0) & (view["recovered_minor"] >= 0)
    _demand(good, BANK, "a negative loss or recovery", view, "flow_id", "loss_minor", "recovered_minor")


def _history(flows: Rows, bank: Columns, history: Columns) -> None:
    """The last row of a flow's history is the bank's view, and nothing stands twice."""
    ids, seq, label = history["flow_id"], history["label_seq"], history["bank_label"]
    shown = ("flow_id", "label_seq", "bank_label", "known_from_utc")
    n = len(ids)
    first = np.ones(n, np.bool_)
    first[1:] = ids[1:] != ids[:-1]
    _demand(np.where(first, seq == 0, np.diff(seq, prepend=-1) == 1), BANK, "label_seq has a gap", history, *shown)
    inner = ~first[1:]
    later = history["known_from_utc"][1:] >= history["known_from_utc"][:-1]
    change = label[1:] != label[:-1]
    good = np.r_[True, ~inner | (later & change)][:n]
    _demand(good, BANK, "a label goes back in time or does not change", history, *shown)
    labelled = np.flatnonzero(bank["bank_label"] != 2)
    last = np.r_[first[1:], True][:n]
    starts = np.flatnonzero(first)
    _same(np.sort(flows["flow_id"][labelled]), ids[starts], "label history is not that of the labelled flows")
    row = labelled[rows_of(flows["flow_id"][labelled], ids[last])]
    ends = {k: v[last] for k, v in history.items()}
    _demand(ends["bank_label"] == bank["bank_label"][row], BANK, "history ends in another label", ends, *shown)
    at = ends["known_from_utc"] == bank["label_available_at_utc"][row]
    _demand(at, BANK, "label_available_at_utc is not when the last label was known", ends, *shown)
    final = bank["label_status"][row] == 1
    _demand(ends["is_final"] == final, BANK, "is_final differs from the status", ends, *shown)
    _demand(last | ~history["is_final"], BANK, "a label that changed is final", history, *shown)


def _events(events: Rows, rows: Array, out: S4Frame, truth: Columns, bank: Columns) -> None:
    """Event labels are carried."""
    labels = out.event_labels
    for name, source in (("is_fraud_truth", truth), ("is_fraud_bank_view", bank)):
        _demand(labels[name] == source[name][rows], TRUTH, f"{name} of an event is not its flow's", labels, "flow_id")
    act = labels["truth_event_role"] == 1
    _demand(act == labels["is_fraud_event_truth"], TRUTH, "role and is_fraud_event_truth disagree", labels, "flow_id")
    context = labels["truth_event_role"] == 0
    good = context == ~labels["is_fraud_truth"]
    _demand(good, TRUTH, "LEGIT_CONTEXT on a bad flow, or another role", labels, "flow_id")
    acts = np.bincount(rows[act], minlength=len(truth["flow_id"])) > 0
    _demand(acts == truth["is_fraud_truth"], TRUTH, "a bad flow has no bad act", truth, "flow_id", "truth_subtype")


def _members(flows: Rows, bank: Columns, links: Columns) -> None:
    """Invariant 7: every involved flow is a member of exactly its case."""
    involved = np.flatnonzero(bank["case_id"] != 0)
    _same(np.sort(flows["flow_id"][involved]), np.sort(links["flow_id"]), "members of cases are not the involved flows")
    row = involved[rows_of(flows["flow_id"][involved], links["flow_id"])]
    own = bank["case_id"][row] == links["case_id"]
    _demand(own, CASE, "a member's case is not the flow's", links, "flow_id", "case_id")
    joined = bank["case_open_ts_utc"][row] == links["joined_ts_utc"]
    _demand(joined, CASE, "a member joined at another instant than the flow's", links, "flow_id", "case_id")


def follow_table(plan: S4Plan) -> Array:
    """bool[kinds + 1, kinds]: may event b follow event a for one flow in one case (row 0: come first)."""
    labels = plan.contracts.enum("case_event_type")
    out = np.zeros((len(labels) + 1, len(labels)), dtype=np.bool_)
    for before, after in FOLLOWS.items():
        for label in after:
            out[labels.index(before) + 1 if before else 0, labels.index(label)] = True
    return out


def _machine(plan: S4Plan, cases: Columns, links: Columns) -> None:
    """Invariant 8: contiguous, in time, opened first, closed last, and each flow on a legal path."""
    shown = ("case_id", "case_event_seq", "case_event_type", "flow_id")
    ids, kind, ts = cases["case_id"], cases["case_event_type"], cases["ts_utc"]
    n = len(ids)
    first, last = np.ones(n, np.bool_), np.ones(n, np.bool_)
    first[1:] = ids[1:] != ids[:-1]
    last[:-1] = first[1:]
    code = plan.contracts.enum("case_event_type").index
    seq = np.where(first, cases["case_event_seq"] == 0, np.diff(cases["case_event_seq"], prepend=-1) == 1)
    _demand(seq, CASE, "case_event_seq is not contiguous from 0", cases, *shown)
    _demand(first | (np.diff(ts, prepend=0) >= 0), CASE, "a case goes back in time", cases, *shown)
    _demand((kind == code("CASE_OPENED")) == first, CASE, "CASE_OPENED is not the first event, once", cases, *shown)
    _demand((kind == code("CASE_CLOSED")) == last, CASE, "CASE_CLOSED is not the last event, once", cases, *shown)
    again = kind == code("CASE_REOPENED")
    _demand(~again | (cases["case_event_seq"] == 1), CASE, "CASE_REOPENED is not the second event", cases, *shown)
    steps = np.flatnonzero(~(first | last | again))
    order = steps[np.lexsort((cases["case_event_seq"][steps], cases["flow_id"][steps], ids[steps]))]
    flow, case = cases["flow_id"][order], ids[order]
    start = np.ones(len(order), np.bool_)
    start[1:] = (flow[1:] != flow[:-1]) | (case[1:] != case[:-1])
    before = np.where(start, 0, np.roll(kind[order], 1).astype(np.int64) + 1)
    legal = follow_table(plan)[before, kind[order]]
    _demand(legal, CASE, "an event may not follow the one before", {k: v[order] for k, v in cases.items()}, *shown)
    seen = np.unique(np.stack([case[start], flow[start]]), axis=1)
    want = np.unique(np.stack([links["case_id"], links["flow_id"]]), axis=1)
    if not np.array_equal(seen, want):
        raise InternalError(
            "S4",
            f"S4_{CASE}",
            what="a member has no event in its case, or an event no member",
            found=f"{seen.shape[1]} flows with events",
            expected=f"{want.shape[1]} members",
        )


def domain_rows(decision: Decision, tables: Mapping[str, Rows], plan: S4Plan) -> int:
    """How many rows of the published tables a decision's domain has."""
    rows = tables[decision.domain]
    ds = plan.contracts.dataset(decision.domain)
    inside = np.ones(len(rows[ds.key[0]]), dtype=np.bool_)
    for name, allowed in decision.where.items():
        column, hit = ds.column(name), np.zeros(len(inside), np.bool_)
        for value in allowed:
            if value == "NOT_NULL":
                hit |= rows[name] != column.null_value
            elif column.enum:
                hit |= rows[name] == plan.contracts.code(column.enum, str(value))
            else:
                hit |= rows[name] == value
        inside &= hit
    return int(inside.sum())


def _draws(plan: S4Plan, flows: Rows, out: S4Frame, evidence: EvidenceArray) -> None:
    """Invariant 9: draws follow from published rows, and stay within the budgets."""
    tables = {
        "s3_flow_anchor_with_fraud_6B": flows,
        "s4_flow_bank_view_6B": out.bank,
        "s4_case_flow_link_6B": out.case_links,
        "s4_case_timeline_6B": out.cases,
    }
    for i, decision in enumerate(plan.decisions.items):
        want = domain_rows(decision, tables, plan) * decision.slots
        if int(evidence[i, 0]) != want:
            raise InternalError(
                "S4",
                "S4_RNG_EVENT_COUNT_MISMATCH",
                what=f"draws of {decision.decision}",
                found=int(evidence[i, 0]),
                expected=want,
            )
    for counter, budget in (("flow", FLOW_BUDGET), ("case", CASE_BUDGET)):
        used = sum(d.slots for d in plan.decisions.items if d.counter == counter)
        if used > budget:
            what = f"slots per {counter}"
            raise InternalError("S4", "S4_RNG_STREAM_MISCONFIGURED", what=what, found=used, expected=budget)


def prove(plan: S4Plan, world: Any, frame: Any, out: S4Frame, evidence: EvidenceArray | None = None) -> None:
    """Raise InternalError, with the code of states.md, for the first invariant that the shard breaks.

    `evidence`: what this shard alone drew; without it draws are not counted. `world` is not read.
    """
    flows, events = frame.flows, frame.events
    _coverage(flows, events, out)
    _truth(plan, flows, out.truth)
    _view(plan, out.truth, out.bank)
    _instants(flows, out.bank)
    if plan.history:
        _history(flows, out.bank, out.history)
    else:
        _demand(np.zeros(len(out.history["flow_id"]), np.bool_), BANK, "a history that is off", out.history, "flow_id")
    _events(events, event_rows(flows, events), out, out.truth, out.bank)
    _members(flows, out.bank, out.case_links)
    _machine(plan, out.cases, out.case_links)
    if evidence is not None:
        _draws(plan, flows, out, evidence)
