"""S3 of a whole run, recomputed in plain Python from published rows of S1 and S2, world rows, policies and keys."""

import pytest

from naive.plan_s3 import WORLD, Plan
from naive.weave_s1 import rows_of
from naive.weave_s3 import Scripts, catalogue_rows, session_rows, weave_s3
from twins.published import differences

#: What the issuer's decision and the settlement after it write.
DECIDED = {
    *("flow_type", "flow_outcome", "three_ds", "auth_sent_utc", "issuer_latency_ms", "risk_score", "auth_decision"),
    *("first_response_code", "response_code", "responder", "attempts", "step_up_result", "block_state", "alerted"),
    *("response_ts_utc", "clear_ts_utc", "refund_ts_utc", "reversal_ts_utc", "cleared_minor", "refunded_minor"),
    *("reversed_minor", "payment_state", "branch_trace", "origin_type", "mutation_flags"),
}
#: Of them, those that new flows have before the decision.
SCRIPTED = {"origin_type", "mutation_flags"}


@pytest.fixture(scope="module")
def woven(published):
    """The twin's S3: its plan, and flows, redone flow ids, sessions by shard."""
    p = published
    plan = Plan({name: p.world_table(name) for name in WORLD}, p.manifest, p.docs, p.enums, p.seed, p.scenario)
    plan.census(p.groups("s1_arrival_entities_6B"))
    scripts, out = Scripts(plan), []
    sources = p.groups("s2_flow_anchor_baseline_6B"), p.groups("s1_session_index_6B")
    for shard, (flows, sessions) in enumerate(zip(*sources, strict=True)):
        rows, redone, _ = weave_s3(scripts, shard, flows)
        out.append((rows, {f.flow_id for f in redone}, session_rows(rows, rows_of(sessions))))
    return plan, out


def known(flow, name, redone):
    """Whether a value does not depend on a decision made again."""
    again = flow.flow_id in redone or flow.origin_type == "PURE_FRAUD_FLOW"
    return name not in DECIDED or not again or (flow.flow_id not in redone and name in SCRIPTED)


def test_every_flow_is_that_of_the_law(published, woven):
    """Broken: a flow is hit, made, marked or changed otherwise than law, policies and keys say."""
    groups = published.groups("s3_flow_anchor_with_fraud_6B")
    assert len(groups) == published.manifest["shards"]
    for found, (rows, redone, _) in zip(groups, woven[1], strict=True):
        expected = {
            name: [getattr(f, name) if known(f, name, redone) else value for f, value in zip(rows, column, strict=True)]
            for name, column in found.items()
        }
        assert not differences(found, expected)


def test_every_session_is_that_of_the_law(published, woven):
    """Broken: a new flow has no session of its own, or a session of S1 changed."""
    for found, (_, _, sessions) in zip(published.groups("s3_session_index_with_fraud_6B"), woven[1], strict=True):
        assert not differences(found, {name: [s[name] for s in sessions] for name in found})


def test_the_catalogue_is_that_of_the_law(published, woven):
    """Broken: a campaign's window, lanes, merchant, quota or what it reached is not what law and policies say."""
    found = published.table("s3_campaign_catalogue_6B")
    rows = catalogue_rows(woven[0], [f for rows, _, _ in woven[1] for f in rows])
    assert not differences(found, {name: [r[name] for r in rows] for name in found})


def test_evidence_is_that_of_the_law(published, woven):
    """Broken: the trace log counts other draws than the law makes, or of other rows."""
    counted = dict(zip(woven[0].names, woven[0].evidence, strict=True))
    assert published.draws("6B.S3") == {name: made for name, made in counted.items() if made[0]}


def test_the_run_has_every_case(published, woven):
    """Broken: a rule of S3 never acts in the small run, so that nothing above would see a mistake in it."""
    flows = [f for rows, _, _ in woven[1] for f in rows]
    assert {f.fraud_pattern_type for f in flows} == set(published.enums["campaign_type"])
    assert {f.form for f in flows if f.origin_type == "PURE_FRAUD_FLOW"} == {"REMOTE", "PRESENT", "CASH", "TRANSFER"}
    seen = 0
    for f in flows:
        seen |= f.mutation_flags
    assert seen == 4 + 8 + 16 + 32 + 64
    assert {f.report_door for f in flows} == {"NONE", "CUSTOMER", "NETWORK"}
    assert max(f.mule_layer for f in flows) >= 3
    assert any(redone for _, redone, _ in woven[1])
