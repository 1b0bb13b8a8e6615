"""S2 on a world of 2,000 arrivals: everything occurs, order and evidence hold, and equal inputs give equal rows."""

import numpy as np
import pytest

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.issuer_risk import FEATURES
from fraudloom.states import s2
from fraudloom.tables import to_batch
from s2.crafted import CONTRACTS, code, taken


def test_codes_are_those_of_the_contract():
    """The codes that kernels branch on are positions in the vocabularies."""
    wanted = {
        "channel_group": ("ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID"),
        "flow_type": (
            *("CARD_AUTH_CLEAR", "CARD_AUTH_DECLINE", "CARD_AUTH_STEPUP_CLEAR", "BANK_TRANSFER"),
            *("ATM_WITHDRAWAL", "CARD_CREDIT"),
        ),
        "event_type": (
            *("AUTH_REQUEST", "AUTH_RESPONSE", "STEP_UP_CHALLENGE", "STEP_UP_COMPLETE", "CLEARING", "REFUND"),
            "REVERSAL",
        ),
    }
    for enum, labels in wanted.items():
        for label in labels:
            assert getattr(pc, label) == code(enum, label)
    for label in ("00", "41", "43", "51", "59", "62", "65", "91", "96", "1A", "N7"):
        assert getattr(pc, f"RC_{label}") == code("response_code", label)
    other = {
        "flow_outcome": (
            "AUTH_REVERSED",
            "AUTH_ABANDONED",
            "CASH_DISPENSED",
            "TRANSFER_RETURNED",
            "TRANSFER_RECALLED",
            "CREDIT_POSTED",
        ),
        "entry_mode": ("CHIP", "CONTACTLESS", "KEYED", "COF", "MIT"),
        "auth_decision": ("APPROVE", "DECLINE", "REVIEW", "CHALLENGE"),
        "instrument_kind": ("CARD_PHYSICAL", "CARD_VIRTUAL", "BANK_HANDLE", "WALLET_TOKEN"),
        "instrument_type": ("WALLET_DEVICE_TOKEN",),
        "scheme": ("MASTERCARD",),
        "ip_group": ("PUBLIC_SHARED", "HOSTING_DATACENTRE", "ANONYMIZER_PROXY"),
    }
    for enum, labels in other.items():
        for label in labels:
            assert getattr(pc, label) == code(enum, label)
    prefixed = {
        ("three_ds", "TDS_"): ("NOT_APPLICABLE", "NOT_USED", "FRICTIONLESS", "CHALLENGED", "ATTEMPTED"),
        ("sca_exemption", "EX_"): ("NONE", "LOW_VALUE", "TRA", "RECURRING", "TRUSTED", "OUT_OF_SCOPE"),
        ("check_result", "CHECK_"): ("NOT_PRESENT", "MATCH", "NO_MATCH"),
        ("confirmation_of_payee", "COP_"): ("MATCH", "CLOSE_MATCH", "NO_MATCH", "UNAVAILABLE"),
        ("payment_state", "PAY_"): ("NOT_APPLICABLE", "ACCEPTED", "HELD", "REJECTED", "RETURNED", "RECALLED"),
        ("block_state", "BLOCK_"): ("NONE", "SCORE", "REPORT"),
        ("step_up_result", "STEP_"): ("NONE", "FRICTIONLESS", "PASSED", "ABANDONED"),
        ("ending_style", "STYLE_"): ("ONLINE", "FUEL", "ROUND"),
        ("payment_purpose", "PURPOSE_"): ("NONE", "OWN_ACCOUNT"),
        ("responder", "BY_"): ("ISSUER", "STAND_IN", "NETWORK"),
    }
    for (enum, prefix), labels in prefixed.items():
        for label in labels:
            assert getattr(pc, prefix + label) == code(enum, label)


def test_every_type_occurs(woven):
    """All flow types and all event types occur at 2,000 arrivals, without an import."""
    assert set(woven.frame.flows["flow_type"].tolist()) == set(range(6))
    assert set(woven.frame.events["event_type"].tolist()) == set(range(7))


def test_the_shard_is_proven(woven, woven_auth):
    """Both packs' frames pass all proofs, draws included."""
    for w in (woven, woven_auth):
        s2.prove(w.plan, w.world, w.arrivals, w.sessions, w.frame)
        s2.prove_draws(w.plan, len(w.arrivals["ts_utc"]), w.frame.flows, w.evidence, 0)


def test_rows_fit_the_contract(woven, woven_auth):
    """Columns convert to Arrow under the pack's profile."""
    for w, profile in ((woven, "full"), (woven_auth, "core")):
        for name, columns in (
            ("s2_flow_anchor_baseline_6B", w.frame.flows),
            ("s2_event_stream_baseline_6B", w.frame.events),
        ):
            assert to_batch(CONTRACTS.dataset(name), columns, profile).num_rows == len(columns["flow_id"])


def test_empty_shard(woven):
    """No arrivals: no flows, no events, no links, and the proofs hold."""
    arrivals, sessions = taken(woven.arrivals, slice(0, 0)), taken(woven.sessions, slice(0, 0))
    evidence = woven.plan.decisions.new_evidence()
    frame = s2.weave(woven.plan, woven.world, arrivals, sessions, woven.busy, evidence)
    s2.prove(woven.plan, woven.world, arrivals, sessions, frame)
    assert len(frame.flows["flow_id"]) == len(frame.events["flow_id"]) == 0
    assert not evidence.any()


def test_events_follow_from_flow_columns(woven):
    """Any subset of flows, in any order, gives the same events as the whole."""
    rows = np.arange(len(woven.frame.flows["flow_id"]))[::-3]
    part = s2.build_events(woven.plan, taken(woven.frame.flows, rows), woven.plan.decisions.new_evidence())
    whole = woven.frame.events
    keep = np.isin(whole["flow_id"], woven.frame.flows["flow_id"][rows])
    for name in ("flow_id", "event_seq", "event_type", "ts_utc", "amount_minor", "response_code", "attempt"):
        assert np.array_equal(part[name], whole[name][keep]), name


def test_a_second_pass_changes_nothing(woven):
    """Deciding and settling all flows again, or none, leaves every column as it was."""
    for redo in (True, False):
        flows = taken(woven.frame.flows, slice(None))
        n = len(flows["flow_id"])
        evidence = woven.plan.decisions.new_evidence()
        s2.decide(woven.plan, woven.world, flows, np.full(n, redo), None, woven.busy, evidence)
        s2.settle(woven.plan, woven.world, flows, np.arange(n), evidence)
        for name, values in flows.items():
            assert np.array_equal(values, woven.frame.flows[name]), name
        assert evidence[6, 0] == (10 * n if redo else 0)


def test_some_rows_again(woven):
    """Redoing every third flow, with history from all, gives the decisions of the whole pass."""
    flows = taken(woven.frame.flows, slice(None))
    redo = np.arange(len(flows["flow_id"])) % 3 == 0
    for name in s2.DECIDED:
        if name not in ("flow_type", "three_ds", "branch_trace"):
            flows[name][redo] = 0
    s2.decide(woven.plan, woven.world, flows, redo, None, woven.busy, woven.plan.decisions.new_evidence())
    for name in ("risk_score", "auth_decision", "response_code", "block_state", "alerted", "step_up_result"):
        assert np.array_equal(flows[name], woven.frame.flows[name]), name


def test_two_event_pack(woven, woven_auth):
    """Two events a flow, no settlement, and the same decisions and answers as the default pack."""
    flows, events = woven_auth.frame.flows, woven_auth.frame.events
    assert len(events["flow_id"]) == 2 * len(flows["flow_id"])
    assert set(events["event_type"].tolist()) == {pc.AUTH_REQUEST, pc.AUTH_RESPONSE}
    for name in ("clear_ts_utc", "refund_ts_utc", "reversal_ts_utc", "cleared_minor", "refunded_minor"):
        assert not flows[name].any()
    for name in ("amount_minor", "response_code", "risk_score", "response_ts_utc"):
        assert np.array_equal(flows[name], woven.frame.flows[name]), name


def test_census_commutes(woven):
    """Any split of the arrivals gives the census of the whole."""
    merged = s2.busy_new(woven.plan)
    for part in (slice(1500, None), slice(0, 700), slice(700, 1500)):
        one = s2.busy_new(woven.plan)
        s2.busy_add(woven.plan, taken(woven.arrivals, part), one)
        s2.busy_merge(merged, one)
    for name, counts in merged.items():
        assert np.array_equal(counts, woven.busy[name])
    assert merged["merchant_hours"].sum() > 0


def test_merged_flows(woven):
    """A flow of several arrivals keeps to one session, merchant, card and half an hour."""
    flows, links, arrivals = woven.frame.flows, woven.frame.links, woven.arrivals
    more = np.flatnonzero(links["link_rank"] > 0)
    assert len(more) > 20
    order = np.argsort(flows["flow_id"])
    row = order[np.searchsorted(flows["flow_id"][order], links["flow_id"][more])]
    assert (arrivals["ts_utc"][more] - flows["ts_utc"][row] <= 30 * 60_000_000).all()
    for name in ("merchant_id", "instrument_id", "session_id", "channel_group"):
        assert np.array_equal(arrivals[name][more], flows[name][row]), name


def test_series_keep_their_amount(woven):
    """The flows of one subscription ask for one amount."""
    flows = woven.frame.flows
    held = flows["series_key"] > 0
    keys, first = np.unique(flows["series_key"][held], return_index=True)
    amounts = flows["amount_minor"][held]
    assert np.array_equal(amounts, amounts[first][np.searchsorted(keys, flows["series_key"][held])])


@pytest.mark.parametrize("listed", sorted({"NOT_PRESENT", "PRESENT", "CASH", "RAIL"}))
def test_features_are_known(listed):
    """Every coefficient of the policy is a feature of the kernel."""
    from fraudloom.policies_api import packs_root, read_yaml

    law = read_yaml(packs_root() / "default" / "issuer_policy_6B.yaml")["risk"][listed]
    assert set(law) <= set(FEATURES)
