"""S4 on one shard: truth as the overlay did it, the bank's view of it, labels of events, cases."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.errors import InternalError
from fraudloom.kernels.payment_codes import CARD_CREDIT
from fraudloom.kernels.truth import (
    FLOW_BANK,
    FLOW_CASE,
    FLOW_DETECTED,
    FLOW_FRAUD,
    FLOW_REFUND,
    EventColumns,
    EventLabels,
    FlowMarks,
    label_events,
    match_truth_rules,
)
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s4.bank import bank_columns, history_columns, screen, suspected, work
from fraudloom.states.s4.cases import build, no_cases
from fraudloom.states.s4.frame import Array, Rows, S4Frame, event_rows, flow_ordinals, writable
from fraudloom.states.s4.plan import S4Plan
from fraudloom.tables import Columns, empty_columns

REFUND_INSERTED = 64


def match_rules(plan: S4Plan, flows: Rows) -> Array:
    """int8 rule (place in the table) of every flow; a flow that no rule or more than one matches fails the state."""
    n = len(flows["flow_id"])
    rule, matches = np.empty(n, np.int8), np.empty(n, np.int8)
    match_truth_rules(
        writable(flows["fraud_pattern_type"]),
        writable(flows["campaign_id"]),
        writable(flows["mutation_flags"]),
        plan.truth.anomaly_mask,
        plan.truth.rules,
        rule,
        matches,
    )
    bad = matches != 1
    if bad.any():
        row = int(np.argmax(bad))
        many = int(matches[row]) > 1
        pattern = plan.contracts.enum("campaign_type")[int(flows["fraud_pattern_type"][row])]
        raise InternalError(
            "S4",
            "S4_TRUTH_CONSISTENCY_FAILED",
            what="more than one truth rule matches a flow" if many else "no truth rule matches a flow",
            found=f"{int(bad.sum())} flows; the first: {int(matches[row])} rules for pattern {pattern}, campaign "
            f"{int(flows['campaign_id'][row])}, mutation_flags {int(flows['mutation_flags'][row])}",
            expected="exactly one rule per flow",
            where=f"flow_id {int(flows['flow_id'][row])}",
            action="make the rules of truth_labelling_policy_6B disjoint and complete",
        )
    return rule


def pinned_rows(flows: Rows) -> Array:
    """bool[n]: flows whose truth is the label of an imported log; the overlay never tags one."""
    bad = (flows["pinned_label"] >= 0) & (flows["campaign_id"] != 0)
    if bad.any():
        row = int(np.argmax(bad))
        raise InternalError(
            "S4",
            "S4_TRUTH_CONSISTENCY_FAILED",
            what="a campaign tagged a flow that the log labels",
            found=f"{int(bad.sum())} flows; the first in campaign {int(flows['campaign_id'][row])}",
            expected="labelled flows are left alone",
            where=f"flow_id {int(flows['flow_id'][row])}",
        )
    return flows["pinned_label"] >= 0


def truth_columns(plan: S4Plan, flows: Rows, rule: Array) -> Columns:
    """s4_flow_truth_labels_6B; never_reported and false_positive are written once the bank's view is there."""
    pinned = pinned_rows(flows)
    code = plan.contracts.code
    label = np.where(pinned, flows["pinned_label"], plan.truth.label[rule]).astype(np.int8)

    def ruled(values: Array, enum: str, own: str) -> Array:
        return np.where(pinned, code(enum, own), values[rule]).astype(np.int8)

    return {
        "flow_id": flows["flow_id"],
        "is_fraud_truth": label != 0,
        "fraud_label": label,
        "truth_subtype": ruled(plan.truth.subtype, "campaign_type", "NONE"),
        "fraud_class": ruled(plan.truth.kind, "fraud_class", "NONE"),
        "pattern_source": ruled(plan.truth.source, "pattern_source", "IMPORTED"),
        "label_rule_id": ruled(plan.truth.rule_id, "truth_rule", "RULE_PINNED_LABEL"),
        "campaign_id": flows["campaign_id"],
        "incident_id": flows["incident_id"],
        "never_reported": np.zeros(len(rule), dtype=np.bool_),
        "false_positive": np.zeros(len(rule), dtype=np.bool_),
    }


def event_columns(plan: S4Plan, flows: Rows, events: Rows, truth: Columns, bank: Columns) -> Columns:
    """s4_event_labels_6B, row by row with the events."""
    # A labelled credit that is posted has no request: its bad act is the refund, which the overlay did not insert.
    credit = (flows["pinned_label"] > 0) & (flows["flow_type"] == CARD_CREDIT) & (flows["refunded_minor"] > 0)
    row = event_rows(flows, events)
    state = truth["is_fraud_truth"] * np.uint8(FLOW_FRAUD)
    for flag, bit in (
        (bank["is_fraud_bank_view"], FLOW_BANK),
        (bank["detection_ts_utc"] != 0, FLOW_DETECTED),
        (bank["case_id"] != 0, FLOW_CASE),
        ((flows["mutation_flags"] & REFUND_INSERTED) != 0, FLOW_REFUND),
        (credit, FLOW_REFUND),
    ):
        state |= flag * np.uint8(bit)
    n = len(events["flow_id"])
    out = EventLabels(*(np.empty(n, dtype=np.int8 if name == "role" else np.bool_) for name in EventLabels._fields))
    label_events(
        EventColumns(
            row,
            writable(events["event_type"]),
            writable(events["is_fraud_event"] | credit[row]),
            writable(events["ts_utc"]),
        ),
        FlowMarks(state, bank["detection_ts_utc"], bank["case_open_ts_utc"], bank["case_close_ts_utc"]),
        plan.detection_us,
        plan.before_us,
        plan.after_us,
        out,
    )
    return {
        "flow_id": events["flow_id"],
        "event_seq": events["event_seq"],
        "is_fraud_truth": out.fraud,
        "is_fraud_bank_view": out.bank,
        "is_fraud_event_truth": out.act,
        "truth_event_role": out.role,
        "is_detection_action": out.detection,
        "is_case_event": out.case,
    }


def weave(plan: S4Plan, world: Any, frame: Any, evidence: EvidenceArray) -> S4Frame:
    """Label one shard.

    `frame.flows` and `frame.events`: columns of s3_flow_anchor_with_fraud_6B and s3_event_stream_with_fraud_6B (with
    `_ordinal` and `_flow_row`, or published columns alone); `world` is not read again; evidence uint64[10, 2] grows.
    """
    flows, events = frame.flows, frame.events
    rule = match_rules(plan, flows)
    truth = truth_columns(plan, flows, rule)
    ordinal = flow_ordinals(flows, plan.streams)
    signals = screen(plan, flows, ordinal, evidence)
    worked = work(plan, flows, ordinal, truth["fraud_class"], signals, evidence)
    bank = bank_columns(plan, flows, worked)
    if plan.cases:
        cases, links = build(plan, flows, worked, bank, evidence)
    else:
        cases, links = no_cases(plan, bank)
    bad = truth["is_fraud_truth"]
    truth["never_reported"] = bad & (bank["detection_ts_utc"] == 0)
    truth["false_positive"] = ~bad & (suspected(plan, flows, signals) | bank["is_fraud_bank_view"])
    labels = event_columns(plan, flows, events, truth, bank)
    if plan.history:
        history = history_columns(plan, flows, worked)
    else:
        history = empty_columns(plan.contracts.dataset("s4_label_history_6B"))
    return S4Frame(truth, bank, labels, history, cases, links)
