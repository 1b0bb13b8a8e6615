"""Ground truth: rules on full predicates, and the labels of events carried from their flows.

Law: contracts/laws/s4.md. Truth reads what the overlay did and nothing that the bank knows.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.jit import kernel

#: Bits of the state of a flow that `label_events` reads.
FLOW_FRAUD, FLOW_BANK, FLOW_DETECTED, FLOW_CASE, FLOW_REFUND = 1, 2, 4, 8, 16
#: Codes of event_type and truth_event_role that `label_events` uses (checked against the contract by the plan).
EVENT_REQUEST, EVENT_REFUND = 0, 5
ROLE_CONTEXT, ROLE_PRIMARY, ROLE_SUPPORT = 0, 1, 2


class TruthRules(NamedTuple):
    """The rule table, one entry per rule: pattern int8[r] code of campaign_type, or -1 for any; campaign int8[r] and
    anomaly int8[r]: 1 must hold, 0 must not, -1 any."""

    pattern: np.ndarray
    campaign: np.ndarray
    anomaly: np.ndarray


class EventColumns(NamedTuple):
    """Events: flow int64[n] row of the event's flow; kind int8[n] code of event_type; changed bool[n] made or changed
    by the overlay; ts int64[n] microseconds."""

    flow: np.ndarray
    kind: np.ndarray
    changed: np.ndarray
    ts: np.ndarray


class FlowMarks(NamedTuple):
    """Flows as events see them: state uint8[f] of FLOW_* bits; detected, opened, closed int64[f] microseconds (read
    only where the bits FLOW_DETECTED and FLOW_CASE say so)."""

    state: np.ndarray
    detected: np.ndarray
    opened: np.ndarray
    closed: np.ndarray


class EventLabels(NamedTuple):
    """Outputs of `label_events`, one entry per event: fraud, bank, act, detection, case bool[n]; role int8[n]."""

    fraud: np.ndarray
    bank: np.ndarray
    act: np.ndarray
    role: np.ndarray
    detection: np.ndarray
    case: np.ndarray


@kernel
def match_truth_rules(pattern, campaign, mutations, anomaly_mask, rules, out_rule, out_matches):
    """Evaluate every rule on every flow.

    pattern int8[n] code of campaign_type; campaign int64[n] campaign id, 0 for none; mutations int16[n] bit set;
    anomaly_mask int64: bits that make an anomaly; rules TruthRules. out_rule int8[n]: the first matching rule, -1 for
    none; out_matches int8[n]: how many match.
    """
    for i in range(pattern.shape[0]):
        has = 1 if campaign[i] != 0 else 0
        odd = 1 if (np.int64(mutations[i]) & anomaly_mask) != 0 else 0
        first = -1
        matches = 0
        for r in range(rules.pattern.shape[0]):
            if rules.pattern[r] >= 0 and rules.pattern[r] != pattern[i]:
                continue
            if rules.campaign[r] >= 0 and rules.campaign[r] != has:
                continue
            if rules.anomaly[r] >= 0 and rules.anomaly[r] != odd:
                continue
            if first < 0:
                first = r
            matches += 1
        out_rule[i] = first
        out_matches[i] = matches


@kernel
def label_events(events, flows, detection_us, before_us, after_us, out):
    """Carry the labels of flows to their events; nothing is decided here.

    events EventColumns[n]; flows FlowMarks[f]; detection_us, before_us, after_us int64 windows; out EventLabels[n]. The
    primary act of a bad flow is each of its AUTH_REQUESTs, or each REFUND that the overlay inserted (FLOW_REFUND).
    """
    for i in range(events.flow.shape[0]):
        row = events.flow[i]
        state = np.int64(flows.state[row])
        fraud = (state & FLOW_FRAUD) != 0
        role = ROLE_CONTEXT
        if fraud:
            if (state & FLOW_REFUND) != 0:
                primary = events.kind[i] == EVENT_REFUND and events.changed[i]
            else:
                primary = events.kind[i] == EVENT_REQUEST
            role = ROLE_PRIMARY if primary else ROLE_SUPPORT
        detection = False
        if (state & FLOW_DETECTED) != 0:
            gap = events.ts[i] - flows.detected[row]
            detection = -detection_us <= gap <= detection_us
        case = False
        if (state & FLOW_CASE) != 0:
            case = flows.opened[row] - before_us <= events.ts[i] <= flows.closed[row] + after_us
        out.fraud[i] = fraud
        out.bank[i] = (state & FLOW_BANK) != 0
        out.act[i] = role == ROLE_PRIMARY
        out.role[i] = role
        out.detection[i] = detection
        out.case[i] = case
