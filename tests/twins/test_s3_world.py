"""S3 of a whole run, recomputed in plain Python from published rows of S1 and S2, world rows, policies and keys."""

import pytest

from naive.plan_s2 import WORLD as ISSUER_WORLD
from naive.plan_s3 import WORLD, Plan
from naive.planned_s3 import add_planned
from naive.redo_s3 import decide_again, issuer_plan
from naive.rows_s3 import catalogue_rows, event_rows, session_rows
from naive.scripts_s3 import Scripts
from naive.weave_s1 import rows_of
from naive.weave_s3 import put_decisions, weave_s3
from twins.published import differences

FLOWS = "s3_flow_anchor_with_fraud_6B"


@pytest.fixture(scope="module")
def woven(published):
    """The twin's S3: its scripts, flows, sessions and events by shard, and the issuer's plan of its second pass."""
    p = published
    world = {name: p.world_table(name) for name in {*WORLD, *ISSUER_WORLD}}
    run, arrivals = (p.manifest, p.docs, p.enums, p.seed, p.scenario), p.groups("s1_arrival_entities_6B")
    plan, issuer = Plan(world, *run), issuer_plan(world, *run, arrivals)
    plan.census(arrivals)
    before = [sum(map(sum, x)) for x in (issuer.places.merchant_hours, issuer.places.ip_days)]
    add_planned(plan, issuer)
    after = [sum(map(sum, x)) for x in (issuer.places.merchant_hours, issuer.places.ip_days)]
    assert all(a > b for a, b in zip(after, before, strict=True)), "nothing planned meets a watched place"
    scripts, out = Scripts(plan), []
    names = "s2_flow_anchor_baseline_6B", "s1_session_index_6B", "s2_event_stream_baseline_6B"
    for shard, (flows, sessions, events) in enumerate(zip(*map(p.groups, names), strict=True)):
        one = weave_s3(scripts, shard, flows)
        put_decisions(one, decide_again(issuer, list(flows), one))
        one.sessions = session_rows(one.rows, rows_of(sessions))
        one.events = event_rows(scripts, one.rows, rows_of(events))
        out.append(one)
    return scripts, out, issuer


def test_every_flow_is_that_of_the_law(published, woven):
    """Broken: a flow is hit, made, marked or changed otherwise than law, policies and keys say."""
    groups = published.groups(FLOWS)
    assert len(groups) == published.manifest["shards"]
    for found, one in zip(groups, woven[1], strict=True):
        assert not differences(found, {name: [getattr(f, name) for f in one.rows] for name in found})


@pytest.mark.parametrize(
    ("dataset", "part"), [("s3_session_index_with_fraud_6B", "sessions"), ("s3_event_stream_with_fraud_6B", "events")]
)
def test_every_session_and_event_is_that_of_the_law(published, woven, dataset, part):
    """Broken: a new flow has no session or events of its own, or rows of flows that the overlay left alone changed."""
    for found, one in zip(published.groups(dataset), woven[1], strict=True):
        assert not differences(found, {name: [r[name] for r in getattr(one, part)] for name in found})


def test_the_catalogue_is_that_of_the_law(published, woven):
    """Broken: a campaign's window, lanes, merchant, quota or what it reached is not what law and policies say."""
    found = published.table("s3_campaign_catalogue_6B")
    rows = catalogue_rows(woven[0].plan, [f for one in woven[1] for f in one.rows])
    assert not differences(found, {name: [r[name] for r in rows] for name in found})


def test_evidence_is_that_of_the_law(published, woven):
    """Broken: the trace log counts other draws than the law makes, or of other rows, or none of the second pass."""
    plan, issuer = woven[0].plan, woven[2]
    counted = dict(zip(plan.names, plan.evidence, strict=True))
    for d, made in zip(issuer.decisions, issuer.evidence, strict=True):
        if made[0]:
            assert counted[d["decision"]] == [0, 0], "drawn twice"
            counted[d["decision"]] = made
    assert {"ISSUER_DECIDE", "AUTH_TIME", "BRANCH_DECISION", "SETTLEMENT_TIME", "EVENT_SPLIT"} < set(counted)
    assert published.draws("6B.S3") == {name: made for name, made in counted.items() if made[0]}


def test_the_run_has_every_case(published, woven):
    """Broken: a rule of S3 never acts in the small run, so that nothing above would see a mistake in it."""
    flows = [f for one in woven[1] for f in one.rows]
    assert {f.fraud_pattern_type for f in flows} == set(published.enums["campaign_type"])
    assert {f.form for one in woven[1] for f in one.new} == {"REMOTE", "PRESENT", "CASH", "TRANSFER"}
    seen = 0
    for f in flows:
        seen |= f.mutation_flags
    assert seen == 4 + 8 + 16 + 32 + 64 + 128
    assert {f.origin_type for f in flows} == set(published.enums["origin_type"])
    assert {f.report_door for f in flows} == {"NONE", "CUSTOMER", "NETWORK"}
    assert max(f.mule_layer for f in flows) >= 3
    assert all(any(getattr(one, part) for one in woven[1]) for part in ("redone", "blocks"))
    assert any(f.is_redecided and f.origin_type == "BASELINE_FLOW" for f in flows)
