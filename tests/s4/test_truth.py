"""Truth rules (T22), and labels of events."""

import numpy as np
import pytest

from fraudloom.errors import FraudloomError, PolicyError
from fraudloom.states.s4.weave import match_rules, weave
from s4 import crafted as c


def test_every_pattern_matches_its_rule() -> None:
    """Each campaign type gives its own rule, label, subtype and class; a quiet or redone flow is LEGIT."""
    patterns = c.CONTRACTS.enum("campaign_type")
    flows = c.blank_flows(len(patterns) + 2)
    for k, pattern in enumerate(patterns[1:], 1):
        c.tag(flows, k, pattern)
    flows["mutation_flags"][len(patterns)] = 128
    flows["mutation_flags"][len(patterns) + 1] = 129
    plan = c.plan()
    truth = weave(plan, None, c.frame(flows), plan.decisions.new_evidence()).truth
    rules = [c.CONTRACTS.enum("truth_rule")[r] for r in truth["label_rule_id"]]
    want = ["RULE_NONE_NO_OVERLAY", *(f"RULE_{p}" for p in patterns[1:]), "RULE_NONE_NO_OVERLAY"]
    assert rules == [*want, "RULE_OVERLAY_ANOMALY_NO_CAMPAIGN"]
    assert truth["truth_subtype"][: len(patterns)].tolist() == list(range(len(patterns)))
    abuse = {"FRIENDLY_FRAUD", "REFUND_ABUSE", "PROMO_FRAUD", "BONUS_ABUSE", "MULE_ACTIVITY"}
    labels = [c.CONTRACTS.enum("fraud_label")[x] for x in truth["fraud_label"][: len(patterns)]]
    assert labels == ["LEGIT", *("ABUSE" if p in abuse else "FRAUD" for p in patterns[1:])]


def test_two_rules_collide() -> None:
    """A rule that keys on less than the full predicate collides with another, and the state fails naming the flow."""

    def loosen(docs: dict) -> None:  # type: ignore[type-arg]
        docs["truth_labelling_policy_6B"]["rules"][1]["when"]["anomaly"] = "ANY"

    with pytest.raises(FraudloomError, match="S4_TRUTH_CONSISTENCY_FAILED: more than one truth rule"):
        match_rules(c.plan(loosen), c.blank_flows(3))


def test_no_rule_matches() -> None:
    """A pattern without a campaign, and a campaign without a pattern, match nothing and fail the state."""
    for pattern, campaign in (("ATO", 0), ("NONE", 9)):
        flows = c.blank_flows(3)
        flows["fraud_pattern_type"][1] = c.code("campaign_type", pattern)
        flows["campaign_id"][1] = campaign
        with pytest.raises(FraudloomError, match="S4_TRUTH_CONSISTENCY_FAILED: no truth rule"):
            match_rules(c.plan(), flows)


def test_the_shipped_rules_are_disjoint_and_complete() -> None:
    """Over pattern x campaign x anomaly: exactly one rule, wherever a campaign and a pattern go together."""
    flows = c.blank_flows(3)
    plan = c.plan()
    for k in range(len(c.CONTRACTS.enum("campaign_type"))):
        for flags in (0, 1, 64, 127, 128, 255):
            flows["fraud_pattern_type"].fill(k)
            flows["campaign_id"].fill(7 if k else 0)
            flows["mutation_flags"].fill(flags)
            assert (match_rules(plan, flows) >= 0).all()


def test_a_rule_listed_twice_is_refused() -> None:
    """Two entries of one rule id are a policy error, as are unknown names."""

    def twice(docs: dict) -> None:  # type: ignore[type-arg]
        rules = docs["truth_labelling_policy_6B"]["rules"]
        rules.append(dict(rules[3]))

    def unknown(docs: dict) -> None:  # type: ignore[type-arg]
        docs["truth_labelling_policy_6B"]["rules"][3]["when"]["pattern"] = "PHISHING"

    for change in (twice, unknown):
        with pytest.raises(PolicyError, match="S4_LABEL_POLICY_INVALID"):
            c.plan(change)


def test_truth_never_reads_the_bank() -> None:
    """Alerts, blocks and reports move the bank's view, not one label of truth."""
    flows = c.mixed_flows(400)
    plan = c.plan()
    before = weave(plan, None, c.frame(flows), plan.decisions.new_evidence()).truth
    quiet = {k: v.copy() for k, v in flows.items()}
    quiet["alerted"][:] = False
    quiet["report_ts_utc"][:] = 0
    quiet["report_door"][:] = 0
    quiet["block_state"][:] = 0
    after = weave(plan, None, c.frame(quiet), plan.decisions.new_evidence()).truth
    for name in ("fraud_label", "truth_subtype", "fraud_class", "label_rule_id", "is_fraud_truth", "pattern_source"):
        assert np.array_equal(before[name], after[name])


def test_event_roles() -> None:
    """LEGIT flows give context, bad flows one act per request, refund abuse the inserted refund; the rest supports."""
    flows = c.blank_flows(3)
    c.tag(flows, 1, "CNP_FRAUD")
    c.tag(flows, 2, "REFUND_ABUSE")
    flows["mutation_flags"][2] = 64
    flows["refund_ts_utc"][2] = flows["clear_ts_utc"][2] + c.DAY
    plan = c.plan()
    frame = c.frame(flows)
    labels = weave(plan, None, frame, plan.decisions.new_evidence()).event_labels
    kind = np.array(c.CONTRACTS.enum("event_type"))[frame.events["event_type"]]
    role = np.array(c.CONTRACTS.enum("truth_event_role"))[labels["truth_event_role"]]
    row = frame.events["_flow_row"]
    assert set(role[row == 0]) == {"LEGIT_CONTEXT"}
    assert dict(zip(kind[row == 1], role[row == 1], strict=True)) == {
        "AUTH_REQUEST": "PRIMARY_FRAUD_ACTION",
        "AUTH_RESPONSE": "SUPPORTING_EVENT",
        "CLEARING": "SUPPORTING_EVENT",
    }
    assert kind[(row == 2) & (role == "PRIMARY_FRAUD_ACTION")].tolist() == ["REFUND"]
    assert np.array_equal(labels["is_fraud_event_truth"], role == "PRIMARY_FRAUD_ACTION")
