"""Twins of truth and of event labels, written from contracts/laws/s4.md."""

AUTH_REQUEST, REFUND = 0, 5
LEGIT_CONTEXT, PRIMARY_FRAUD_ACTION, SUPPORTING_EVENT = range(3)
BAD, BANK, DETECTED, IN_CASE, INSERTED = 1, 2, 4, 8, 16


def match_truth_rules(pattern, campaign, mutations, anomaly_mask, rules, out_rule, out_matches):
    """The list of matching rules, its first and its length."""
    for i in range(len(pattern)):
        tagged = int(campaign[i]) != 0
        odd = int(mutations[i]) & int(anomaly_mask) != 0
        matching = [
            r
            for r in range(len(rules.pattern))
            if rules.pattern[r] in (-1, pattern[i])
            and rules.campaign[r] in (-1, int(tagged))
            and rules.anomaly[r] in (-1, int(odd))
        ]
        out_rule[i] = matching[0] if matching else -1
        out_matches[i] = len(matching)


def label_events(events, flows, detection_us, before_us, after_us, out):
    """Role by the flow's state and the event's kind; windows with both ends."""
    for i in range(len(events.flow)):
        flow, ts, kind = int(events.flow[i]), int(events.ts[i]), int(events.kind[i])
        state = int(flows.state[flow])
        if not state & BAD:
            role = LEGIT_CONTEXT
        elif state & INSERTED:
            role = PRIMARY_FRAUD_ACTION if kind == REFUND and bool(events.changed[i]) else SUPPORTING_EVENT
        else:
            role = PRIMARY_FRAUD_ACTION if kind == AUTH_REQUEST else SUPPORTING_EVENT
        out.fraud[i] = state & BAD != 0
        out.bank[i] = state & BANK != 0
        out.role[i] = role
        out.act[i] = role == PRIMARY_FRAUD_ACTION
        near = abs(ts - int(flows.detected[flow])) <= detection_us
        out.detection[i] = state & DETECTED != 0 and near
        within = int(flows.opened[flow]) - before_us <= ts <= int(flows.closed[flow]) + after_us
        out.case[i] = state & IN_CASE != 0 and within
