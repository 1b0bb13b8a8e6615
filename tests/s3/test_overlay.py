"""What the overlay does to a small world on which all fourteen types occur."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fraudloom.contracts_api import load_contracts
from fraudloom.errors import InternalError, PolicyError
from fraudloom.kernels.checks import sum_counters
from fraudloom.kernels.idmap import decode_ids
from fraudloom.states import s3
from fraudloom.states.s3 import planned
from fraudloom.states.s3 import weave as weaving
from fraudloom.states.s3.plan import AGAIN
from fraudloom.states.s3.policy import CHAIN, MAX_CAMPAIGNS, NEW
from fraudloom.tables import to_batch
from s3.crafted import Woven, loud_pack, weave

pytestmark = pytest.mark.xdist_group("s3")
CONTRACTS = load_contracts()
TYPES = CONTRACTS.enum("campaign_type")


def code(label: str) -> int:
    """Code of a campaign type."""
    return TYPES.index(label)


def test_all_types_occur_and_shards_prove(woven: Woven) -> None:
    """Each of the fourteen types has flows, and every shard passes its proofs."""
    seen = set(np.unique(woven.flows()["fraud_pattern_type"]).tolist())
    assert seen == set(range(15)), [TYPES[t] for t in set(range(15)) - seen]
    for arrivals, sessions, frame2, frame3, _ in woven.shards.values():
        s3.prove(woven.plan2, woven.world, arrivals, sessions, frame2, frame3)


def test_tables_fit_the_contract(woven: Woven) -> None:
    """Flows, events, sessions and the catalogue have the contract's columns, types and vocabularies."""
    for *_, frame, _ in woven.shards.values():
        to_batch(CONTRACTS.dataset("s3_flow_anchor_with_fraud_6B"), frame.flows)
        to_batch(CONTRACTS.dataset("s3_event_stream_with_fraud_6B"), frame.events)
        to_batch(CONTRACTS.dataset("s3_session_index_with_fraud_6B"), frame.sessions)
    to_batch(CONTRACTS.dataset("s3_campaign_catalogue_6B"), woven.catalogue())


def test_quotas_are_exact_or_unfilled_is_published(woven: Woven) -> None:
    """A type's quota is share x census, its campaigns split it, and realised + unfilled = planned in each."""
    book, plan = woven.catalogue(), woven.plan
    for t in plan.laws.templates:
        mine = book["campaign_type"] == t.row + 1
        domain = plan.n_arrivals if t.mode == CHAIN else int(woven.census["domain"][t.row])
        assert book["planned_flows"][mine].sum() == np.rint(t.share * domain), t.template_id
    assert np.array_equal(book["realised_flows"] + book["unfilled_flows"], book["planned_flows"])
    assert (book["unfilled_flows"] >= 0).all()
    assert (book["realised_new_flows"] <= book["realised_flows"]).all()
    flows = woven.flows()
    ids, counts = np.unique(flows["campaign_id"][flows["fraud_flag"]], return_counts=True)
    at = np.searchsorted(book["campaign_id"], ids)
    assert np.array_equal(book["realised_flows"][at], counts)
    assert np.array_equal(np.isin(book["campaign_id"], ids), book["realised_flows"] > 0)


def test_quota_of_shards_sums_to_quota_of_campaigns(woven: Woven) -> None:
    """Largest remainders lose nothing, and ranges of ordinals do not meet."""
    p2 = woven.plan2
    modes = {t.row: t.mode for t in woven.plan.laws.templates}
    for c, row in enumerate(woven.plan.campaigns.row):
        if modes[int(row)] != CHAIN and p2.eligible[c].sum():
            assert p2.quota[c].sum() == p2.planned[c]
    base = woven.plan.campaigns.base
    assert (np.diff(np.sort(base)) > p2.planned.max()).all()
    assert (base >= 8 * woven.plan.n_arrivals).all()


def test_an_account_belongs_to_one_campaign(woven: Woven) -> None:
    """No account is hit by two campaigns, mules apart, whose role no other type lists."""
    flows = woven.flows()
    victims = flows["fraud_flag"] & (flows["mule_layer"] <= 1)
    pairs = np.unique(np.stack([flows["account_id"][victims], flows["campaign_id"][victims]], axis=1), axis=0)
    assert len(np.unique(pairs[:, 0])) == len(pairs)


def test_lanes_of_types_are_disjoint(woven: Woven) -> None:
    """Types that share party roles hold disjoint runs of lanes, and campaigns of a type disjoint parts of its run."""
    c = woven.plan.campaigns
    shared = {t.row for t in woven.plan.laws.templates if t.lanes > 0}
    rows = np.flatnonzero(np.isin(c.row, list(shared)))
    order = rows[np.argsort(c.lane_lo[rows], kind="stable")]
    assert (c.lane_lo[order][1:] >= c.lane_hi[order][:-1]).all()
    assert (c.lane_hi > c.lane_lo).all()


def test_removing_a_type_frees_nothing_for_another(root: Path, woven: Woven) -> None:
    """Without the flows of one type, every other campaign tags the same flows under the same ids."""

    def silence(by_type: dict[str, dict], doc: dict) -> None:
        by_type["CNP_FRAUD"]["share"] = 0.0

    other = weave(root, loud_pack(silence))
    mine, theirs = woven.flows(), other.flows()
    keep = mine["fraud_flag"] & (mine["fraud_pattern_type"] != code("CNP_FRAUD"))
    left = np.sort(mine["flow_id"][keep])
    assert np.array_equal(left, np.sort(theirs["flow_id"][theirs["fraud_flag"]]))


def test_flows_lie_in_windows_and_horizon(woven: Woven) -> None:
    """Tagged flows lie in [start, end) of their campaign, and campaigns in the horizon."""
    flows, c = woven.flows(), woven.plan.campaigns
    tagged = np.flatnonzero(flows["fraud_flag"])
    order = np.argsort(c.id)
    row = order[np.searchsorted(c.id[order], flows["campaign_id"][tagged])]
    ts = flows["ts_utc"][tagged]
    assert ((ts >= c.start[row]) & (ts < c.end[row])).all()
    assert (c.start >= woven.world.start_us).all() and (c.end <= woven.world.end_us).all()


def test_untouched_accounts_equal_s2_bit_for_bit(woven: Woven) -> None:
    """Flows of accounts without a tagged flow, and their events, are S2's."""
    for _, _, frame2, frame3, _ in woven.shards.values():
        flows, base = frame3.flows, frame2.flows
        hit = np.unique(flows["account_id"][flows["fraud_flag"]])
        free = ~np.isin(flows["account_id"], hit)
        was = ~np.isin(base["account_id"], hit)
        for name in base:
            assert np.array_equal(flows[name][free], base[name][was]), name
        assert (flows["mutation_flags"][free] == 0).all()
        events, old = free[frame3.events["_flow_row"]], was[frame2.events["_flow_row"]]
        for name in frame2.events:
            if not name.startswith("_"):
                assert np.array_equal(frame3.events[name][events], frame2.events[name][old]), name
        assert not frame3.events["is_fraud_event"][events].any()


def test_redo_by_household_equals_redo_of_the_shard(root: Path, woven: Woven, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deciding the households that fraud met gives the same bits as deciding over the whole shard."""
    monkeypatch.setattr(weaving, "household_rows", lambda p2, flows, redo: np.arange(len(redo)))
    whole = weave(root, loud_pack())
    for shard, (*_, frame, _) in woven.shards.items():
        for name, values in frame.flows.items():
            assert np.array_equal(values, whole.shards[shard][3].flows[name]), name


def test_mule_chains_are_linked(woven: Woven) -> None:
    """Each leg's payer is the payee before; layers count up; 70 to 97 % pass on within 5 minutes to 48 hours."""
    flows = woven.flows()
    legs = np.flatnonzero(flows["mule_layer"] > 0)
    assert (flows["fraud_pattern_type"][legs] == code("MULE_ACTIVITY")).all()
    order = legs[np.lexsort((flows["mule_layer"][legs], flows["incident_id"][legs]))]
    same = flows["incident_id"][order][1:] == flows["incident_id"][order][:-1]
    a, b = order[:-1][same], order[1:][same]
    assert same.any()
    assert np.array_equal(flows["mule_layer"][b], flows["mule_layer"][a] + 1)
    assert np.array_equal(flows["payee_account_id"][a], flows["account_id"][b])
    gap = (flows["ts_utc"][b] - flows["ts_utc"][a]) / 1e6
    assert gap.min() >= 300 and gap.max() <= 172800
    share = flows["amount_ref_minor"][b] / flows["amount_ref_minor"][a]
    # Amounts end in whole units in their own currency, so the law holds up to that rounding.
    assert share.min() > 0.6 and share.max() < 1.1
    assert 0.7 < np.median(share) < 0.97
    rows = woven.plan.legs.rows
    assert (rows.layer <= 4).all() and (np.bincount(rows.layer)[1:] > 0).sum() >= 2


def test_planned_chains_pass_on_their_share(woven: Woven) -> None:
    """Before rounding, each later leg is within the policy's bounds of the one before."""
    rows = woven.plan.legs.rows
    order = np.lexsort((rows.layer, rows.incident))
    a, b = order[:-1], order[1:]
    same = rows.incident[a] == rows.incident[b]
    ratio = rows.amount[b][same] / rows.amount[a][same]
    assert (ratio >= 0.70 - 1e-12).all() and (ratio <= 0.97 + 1e-12).all()
    assert np.array_equal(rows.payee[a][same], rows.payer[b][same])


def test_refunds_are_really_inserted(woven: Woven) -> None:
    """REFUND_ABUSE flows have a REFUND event that S2 had not, later than their clearing and not above it."""
    found = 0
    for _, _, frame2, frame3, _ in woven.shards.values():
        flows, events = frame3.flows, frame3.events
        rows = np.flatnonzero(flows["fraud_pattern_type"] == code("REFUND_ABUSE"))
        found += len(rows)
        base = np.isin(frame2.flows["flow_id"], flows["flow_id"][rows])
        assert (frame2.flows["refunded_minor"][base] == 0).all()
        assert (flows["refunded_minor"][rows] > 0).all()
        assert (flows["refunded_minor"][rows] <= flows["cleared_minor"][rows]).all()
        assert (flows["refund_ts_utc"][rows] > flows["clear_ts_utc"][rows]).all()
        assert (flows["mutation_flags"][rows] & 64 > 0).all()
        refund = events["event_type"] == CONTRACTS.code("event_type", "REFUND")
        mine = refund & np.isin(events["_flow_row"], rows)
        assert mine.sum() == len(rows)
        assert events["is_fraud_event"][mine].all() and (events["origin_event_seq"][mine] == 0).all()
    assert found


def test_friendly_fraud_changes_nothing_visible(woven: Woven) -> None:
    """FRIENDLY flows are genuine purchases that will be disputed: equal to S2, planned_dispute set, all reported."""
    found = 0
    for _, _, frame2, frame3, _ in woven.shards.values():
        flows = frame3.flows
        rows = flows["fraud_pattern_type"] == code("FRIENDLY_FRAUD")
        found += int(rows.sum())
        base = np.isin(frame2.flows["flow_id"], flows["flow_id"][rows])
        for name in frame2.flows:
            assert np.array_equal(flows[name][rows], frame2.flows[name][base]), name
        assert np.array_equal(flows["planned_dispute"], rows)
        assert (flows["report_ts_utc"][rows] > flows["ts_utc"][rows]).all()
    assert found


def test_new_flows_are_whole(woven: Woven) -> None:
    """New flows have a session, a device, an address, a merchant, an amount and a decision of their own."""
    for *_, frame, _ in woven.shards.values():
        flows = frame.flows
        new = flows["origin_type"] == CONTRACTS.code("origin_type", "PURE_FRAUD_FLOW")
        for name in ("device_id", "ip_id", "merchant_id", "city_id", "issuer_id", "amount_minor", "response_ts_utc"):
            assert (flows[name][new] > 0).all(), name
        at = np.searchsorted(np.sort(frame.sessions["session_id"]), flows["session_id"])
        assert np.array_equal(np.sort(frame.sessions["session_id"])[at], flows["session_id"])
        assert (flows["response_code"][new] > 0).all()
        assert (flows["amount_ref_minor"][new] > 0).all()
        tested = flows["fraud_pattern_type"] == code("CARD_TESTING")
        if tested.any():
            assert np.median(flows["amount_ref_minor"][tested]) < 500
        scam = flows["fraud_pattern_type"] == code("APP_SCAM")
        assert (flows["payee_account_id"][scam] > 0).all() and flows["is_new_payee"][scam].any() == scam.any()


def test_incidents_are_ranked_in_time(woven: Woven) -> None:
    """Ranks of an incident run from 0 without gaps and in time order."""
    flows = woven.flows()
    rows = np.flatnonzero(flows["fraud_flag"])
    order = rows[np.lexsort((flows["incident_rank"][rows], flows["incident_id"][rows]))]
    head = np.ones(len(order), np.bool_)
    head[1:] = flows["incident_id"][order][1:] != flows["incident_id"][order][:-1]
    rank = flows["incident_rank"][order]
    assert (rank[head] == 0).all()
    assert (rank[~head] == rank[np.flatnonzero(~head) - 1] + 1).all()
    assert (flows["ts_utc"][order][~head] >= flows["ts_utc"][order][np.flatnonzero(~head) - 1]).all()


def test_slots_and_ordinals(woven: Woven) -> None:
    """A campaign's slot is its type's row x 64 + instance; ids decode to slots."""
    c = woven.plan.campaigns
    assert np.array_equal(c.slot, c.row.astype(np.int64) * MAX_CAMPAIGNS + c.instance)
    back = np.empty(len(c.id), np.int64)
    decode_ids(woven.plan.keys["campaign"], c.id, back)
    assert np.array_equal(back, c.slot)
    assert {t.mode for t in woven.plan.laws.templates} == {NEW, 1, 2, CHAIN}


@pytest.mark.parametrize("batch", [997, 1 << 20])
def test_neither_shard_order_nor_batches_show(root: Path, woven: Woven, batch: int) -> None:
    """Shards woven in another order, from other batches, give the same bits and evidence."""
    again = weave(root, loud_pack(), order=(2, 0, 3, 1), batch=batch)
    for k, v in woven.census.items():
        assert np.array_equal(v, again.census[k])
    for shard, (_, _, _, frame, evidence) in woven.shards.items():
        other = again.shards[shard]
        for table in ("flows", "events", "sessions"):
            for name, values in getattr(frame, table).items():
                assert np.array_equal(values, getattr(other[3], table)[name]), (table, name)
        assert np.array_equal(evidence, other[4])
    assert np.array_equal(woven.plan.evidence, again.plan.evidence)


def test_draws_follow_from_published_rows(woven: Woven) -> None:
    """Each decision's draws are the rows of its domain times its slots."""
    flows, book = woven.flows(), woven.catalogue()
    base = sum(len(x[2].flows["flow_id"]) for x in woven.shards.values())
    total = sum(x[4] for x in woven.shards.values()) + woven.plan.evidence
    new = flows["origin_type"] == CONTRACTS.code("origin_type", "PURE_FRAUD_FLOW")
    mule = flows["fraud_pattern_type"] == code("MULE_ACTIVITY")
    first = flows["fraud_flag"] & (flows["incident_rank"] == 0)
    again = flows["is_redecided"].sum()
    built = flows["origin_type"] != CONTRACTS.code("origin_type", "BASELINE_FLOW")
    rows = {
        "ACTIVATE_TEMPLATE": (book["instance_index"] == 0).sum(),
        "SCHEDULE_CAMPAIGN": len(book["slot"]),
        "CHAIN_LENGTH": (mule & first).sum(),
        "CHAIN_LEG": mule.sum(),
        "SELECT_TARGET": base,
        "EPISODE_LENGTH": (first & ~mule).sum(),
        "APPLY_MUTATION_PARAM": new.sum(),
        "SELECT_ROUTING_ANOMALY": new.sum(),
        "SELECT_SWAP_CANDIDATE": new.sum(),
        "INSERT_REFUND": (flows["fraud_pattern_type"] == code("REFUND_ABUSE")).sum(),
        "REPORT_INCIDENT": flows["fraud_flag"].sum(),
        "REPORT_FLOW": flows["fraud_flag"].sum(),
        **dict.fromkeys(AGAIN, again),
        "EVENT_SPLIT": built.sum(),
    }
    assert new.sum() < built.sum() < again < len(new)
    assert set(rows) == set(woven.plan.decisions.names)
    for d, item in enumerate(woven.plan.decisions.items):
        assert int(total[d, 0]) == int(rows[item.decision]) * item.slots, item.decision


def test_second_decisions_are_at_the_loci_of_their_flows(woven: Woven) -> None:
    """Broken: a draw of S2's functions for S3 is counted at another flow's locus, or of another shard."""
    for *_, frame, evidence in woven.shards.values():
        flows = frame.flows
        built = flows["origin_type"] != CONTRACTS.code("origin_type", "BASELINE_FLOW")
        for d, item in enumerate(woven.plan.decisions.items):
            if item.decision in AGAIN:
                mine = built if item.decision == "EVENT_SPLIT" else flows["is_redecided"]
                sums = np.zeros(1, np.uint64)
                sum_counters(flows["_ordinal"][mine], item.slots, sums)
                assert evidence[d, 1] == sums[0], item.decision


def test_draws_that_no_policy_lists_are_refused(woven: Woven) -> None:
    """Broken: S2 could draw for S3 what is accounted nowhere."""
    replay, own = woven.plan.s2.decisions.new_evidence(), woven.plan.decisions.new_evidence()
    replay[woven.plan.s2.decisions.index("AMOUNT"), 0] = 3
    with pytest.raises(InternalError, match="AMOUNT") as caught:
        weaving.account_again(woven.plan2, replay, own)
    assert caught.value.code == "S3_DRAWS_UNACCOUNTED" and not own.any()


@pytest.mark.parametrize(("key", "value"), [("slots", 9), ("family", "rng_event_flow_shape")])
def test_second_decisions_must_be_those_of_s2(root: Path, key: str, value: object) -> None:
    """Broken: S3 could account draws of S2's streams under another stream's name, or with another stride."""
    pack = loud_pack()
    doc = copy.deepcopy(dict(pack.doc("fraud_rng_policy_6B")))
    next(d for d in doc["decisions"] if d["decision"] == "ISSUER_DECIDE")[key] = value
    with pytest.raises(PolicyError, match="other families or slots"):
        weave(root, replace(pack, docs={**pack.docs, "fraud_rng_policy_6B": doc}))


def test_the_plan_joins_the_census(woven: Woven) -> None:
    """Broken: S3's issuer does not see what campaigns plan at watched merchants, or S2's census is changed by it."""
    p2, plan = woven.plan2, woven.plan
    before = {k: v.copy() for k, v in woven.busy.items()}
    after = s3.busy_planned(p2, woven.busy)
    assert all(np.array_equal(before[k], woven.busy[k]) for k in before)
    more = {k: after[k].astype(np.int64) - before[k] for k in before}
    assert all((v >= 0).all() and v.any() for v in more.values())
    new = [t.row for t in plan.laws.templates if t.mode == NEW]
    c = plan.campaigns
    slot = np.where(c.fixed > 0, plan.s2.merchant_slot[c.fixed - 1], -1)
    mine = np.isin(c.row, new) & (slot >= 0)
    assert np.array_equal(
        more["merchant_hours"].sum(axis=1), np.bincount(slot[mine], p2.planned[mine], len(before["merchant_hours"]))
    )
    for k in np.flatnonzero(mine & (p2.planned > 1)):
        hours = np.flatnonzero(more["merchant_hours"][slot[k]])
        first, last = ((x - plan.start_us) // 3_600_000_000 for x in (c.start[k], c.end[k]))
        assert first in hours and ((hours >= first) & (hours <= last)).any()


def test_addresses_are_dealt_by_the_plan(woven: Woven) -> None:
    """Broken: a campaign's planned addresses are not those of its windows, or not as many as its flows."""
    p2, plan = woven.plan2, woven.plan
    c, pools, laws, seen = plan.campaigns, plan.pools, plan.laws, 0
    for k in np.flatnonzero((laws.address[c.row] == 1) & (p2.planned > 20)):
        ts = planned.schedule(p2, int(k))
        assert len(ts) == p2.planned[k] and ts[0] == c.start[k] and ts[-1] < c.end[k] and (np.diff(ts) >= 0).all()
        address, when = planned.dealt_addresses(p2, int(k), ts)
        own = laws.address_own[c.row[k]] * len(ts)
        assert len(ts) - own - 1 <= len(address) <= len(ts) - own + 1 and np.isin(when, ts).all()
        spread, used = laws.address_spread[c.row[k]], np.unique(address)
        for g in range(5):
            window = pools.addresses[pools.group_at[g] : pools.group_at[g + 1]]
            inside = np.isin(used, window).sum()
            share = laws.groups[c.row[k], g] > (laws.groups[c.row[k], g - 1] if g else 0.0)
            assert inside <= min(spread, len(window)) and (share or not inside)
        seen += 1
    assert seen
