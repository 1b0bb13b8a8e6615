"""The issuer on crafted flows: what history does to scores and decisions, blocks, retries, challenges."""

from dataclasses import replace

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.issuer_risk import FEATURES
from fraudloom.states.s2 import BlockList
from s2.crafted import HOUR, decided, kinds, spree, taken

SECOND = 1_000_000


def quiet(woven, **rule):
    """The plan without noise, hazards, challenges, outages and lack of funds, but for the given changes."""
    plan = woven.plan
    coef = plan.decide.coef.copy()
    coef[:, FEATURES.index("noise")] = 0.0
    base = {
        "coef": coef,
        "funds": np.zeros(6),
        "soft": np.zeros(6),
        "hazard_cum": np.zeros_like(plan.decide.hazard_cum),
        "check_failed": 0.0,
        "timeout": 0.0,
        "outage": plan.decide.outage * 0,
        "step": np.full_like(plan.decide.step, -50.0),
    }
    return replace(woven, plan=replace(plan, decide=plan.decide._replace(**{**base, **rule})))


def test_velocity_raises_the_score(woven):
    """Attempts seconds apart score higher and higher; hours apart they do not."""
    fast = decided(quiet(woven), spree(woven, "ECOM", 12, 5 * SECOND, amount_ref_minor=2000))
    slow = decided(quiet(woven), spree(woven, "ECOM", 12, 40 * HOUR, amount_ref_minor=2000))
    assert fast["risk_score"][5] > fast["risk_score"][1] + 5
    assert fast["risk_score"][5] > slow["risk_score"][5]


def test_news_raise_the_score(woven):
    """A new device, a new merchant and a larger amount each raise the score of a card with history."""
    plain = spree(woven, "ECOM", 20, 30 * HOUR // 10, amount_ref_minor=2000)
    usual = decided(quiet(woven), taken(plain, slice(None)))["risk_score"][-1]
    for name, value in (
        ("device_id", plain["device_id"][0] + 1),
        ("merchant_id", plain["merchant_id"][0] % 50 + 1),
        ("amount_ref_minor", 90_000),
    ):
        other = taken(plain, slice(None))
        other[name][-1] = value
        assert decided(quiet(woven), other)["risk_score"][-1] > usual, name


def test_travel_raises_the_score(woven):
    """A terminal far away minutes after the last one raises the score; the same a week later does not."""
    unit = woven.plan.world.unit
    far = int(np.argmin(unit @ unit[0])) + 1
    for gap, odd in ((10 * 60 * SECOND, True), (90 * HOUR, False)):
        flows = spree(woven, "POS", 2, gap, city_id=1, cvm=pc.PIN)
        near = decided(quiet(woven), taken(flows, slice(None)))["risk_score"][1]
        flows["city_id"][1] = far
        assert (decided(quiet(woven), flows)["risk_score"][1] > near) == odd


def test_a_suspicion_blocks_the_card(woven):
    """A score above the block threshold is declined 59, later attempts 62 until the cardholder has been reached."""
    low = np.tile(np.array([0, 1, 999, 1], np.int64), (4, 1))
    w = quiet(woven, thresholds=low)
    flows = decided(w, spree(woven, "POS", 8, HOUR // 60, amount_ref_minor=100_000, entry_mode=pc.FALLBACK))
    assert flows["response_code"][0] == pc.RC_59
    assert flows["block_state"][0] == pc.BLOCK_SCORE
    assert flows["branch_trace"][0] & pc.T_BLOCKS
    assert (flows["response_code"][1:] != pc.RC_00).all()
    blocked = flows["response_code"] == pc.RC_62
    assert blocked.any() and (flows["block_state"][blocked] == pc.BLOCK_SCORE).all()
    assert flows["ts_utc"][blocked].max() - flows["ts_utc"][0] <= 72 * HOUR


def test_what_a_block_answers_is_no_news(woven):
    """Attempts on a blocked card would raise its score, so that one suspicion kept a card blocked for weeks."""
    flows = spree(woven, "POS", 8, HOUR // 60, amount_ref_minor=100_000, entry_mode=pc.FALLBACK)
    flows["ts_utc"][-1] += 200 * HOUR // 60
    block = BlockList(
        *(
            np.array([x], t)
            for x, t in zip(
                (flows["instrument_id"][0], flows["ts_utc"][0], flows["ts_utc"][-1], pc.BLOCK_REPORT),
                (np.int64, np.int64, np.int64, np.int8),
                strict=True,
            )
        )
    )
    calm = decided(quiet(woven), taken(flows, slice(-1, None)))
    held = decided(quiet(woven), flows, block)
    assert np.isin(held["response_code"][:-1], (pc.RC_41, pc.RC_43)).all()
    again = decided(quiet(woven), taken(flows, slice(None)))
    assert again["risk_score"][-1] > held["risk_score"][-1]
    assert abs(int(held["risk_score"][-1]) - int(calm["risk_score"][-1])) < abs(
        int(again["risk_score"][-1]) - int(calm["risk_score"][-1])
    )


def test_history_rows_keep_a_block(woven):
    """A row outside the mask that began a block still blocks the rows that are decided again."""
    low = np.tile(np.array([0, 1, 999, 1], np.int64), (4, 1))
    w = quiet(woven, thresholds=low)
    flows = decided(w, spree(woven, "POS", 6, 6 * HOUR))
    again = taken(flows, slice(None))
    redo = np.arange(6) > 0
    for name in ("response_code", "block_state", "auth_decision"):
        again[name][redo] = 0
    again = decided(w, again, redo=redo)
    for name in ("response_code", "block_state", "auth_decision", "risk_score"):
        assert np.array_equal(again[name], flows[name]), name


def test_outside_blocks(woven):
    """A reported card answers 41 or 43 within the block's interval, an analyst's block 62."""
    flows = spree(woven, "ECOM", 10, HOUR)
    card, ts = flows["instrument_id"][0], flows["ts_utc"]
    for kind, answers in ((pc.BLOCK_REPORT, {pc.RC_41, pc.RC_43}), (3, {pc.RC_62})):
        blocks = BlockList(*(np.array([v], np.int64) for v in (card, ts[3], ts[6])), np.array([kind], np.int8))
        got = decided(quiet(woven), taken(flows, slice(None)), blocks)
        assert set(got["response_code"][3:6].tolist()) <= answers
        assert (got["block_state"][3:6] == kind).all()
        assert (got["response_code"][[0, 1, 2, 6, 7, 8, 9]] == pc.RC_00).all()


def test_retries(woven):
    """51 is tried again by policy; a retry shows as a second request and answer of the same flow."""
    w = quiet(woven, funds=np.full(6, 1e9), retry_share=np.ones(2), retry_success=np.array([1.0, 1.0]))
    flows = decided(w, spree(woven, "POS", 30, HOUR, amount_ref_minor=10_000))
    assert (flows["first_response_code"] == pc.RC_51).all()
    assert (flows["attempts"] == 2).all() and (flows["response_code"] == pc.RC_00).all()
    assert kinds(w, flows, 0)[:4] == ["AUTH_REQUEST", "AUTH_RESPONSE", "AUTH_REQUEST", "AUTH_RESPONSE"]
    gap = flows["auth_sent_utc"] - flows["ts_utc"]
    assert (gap > 5 * SECOND).all() and (gap < 600 * SECOND).all()
    never = quiet(woven, funds=np.full(6, 1e9), retry_share=np.zeros(2))
    assert (decided(never, spree(woven, "POS", 5, HOUR))["attempts"] == 1).all()


def test_soft_declines(woven):
    """A soft decline is tried again with a challenge: six events, or an abandoned challenge after the answer."""
    w = quiet(woven, soft=np.ones(6), soft_retry=1.0, abandoned=0.5)
    flows = spree(woven, "ECOM", 40, 20 * HOUR // 10, three_ds=pc.TDS_NOT_USED, entry_mode=pc.ENTRY_ECOM)
    flows = decided(w, flows)
    passed, left = flows["step_up_result"] == pc.STEP_PASSED, flows["step_up_result"] == pc.STEP_ABANDONED
    assert passed.any() and left.any() and (passed | left).all()
    assert set(flows["first_response_code"].tolist()) <= {pc.RC_1A, pc.RC_65}
    assert (flows["flow_type"][passed] == pc.CARD_AUTH_STEPUP_CLEAR).all()
    assert (flows["auth_decision"][left] == pc.CHALLENGE).all()
    assert kinds(w, flows, int(np.flatnonzero(passed)[0]))[:6] == [
        *("AUTH_REQUEST", "AUTH_RESPONSE", "STEP_UP_CHALLENGE", "STEP_UP_COMPLETE", "AUTH_REQUEST", "AUTH_RESPONSE"),
    ]
    assert kinds(w, flows, int(np.flatnonzero(left)[0])) == ["AUTH_REQUEST", "AUTH_RESPONSE", "STEP_UP_CHALLENGE"]


def test_challenges(woven):
    """A challenged request shows challenge and completion before its answer, or ends unanswered by the payer."""
    w = quiet(woven, step=np.full_like(woven.plan.decide.step, 50.0), abandoned=0.4)
    flows = spree(woven, "ECOM", 40, 20 * HOUR // 10, three_ds=pc.TDS_FRICTIONLESS, entry_mode=pc.ENTRY_ECOM)
    flows = decided(w, flows)
    passed = flows["step_up_result"] == pc.STEP_PASSED
    assert passed.any() and (~passed).any()
    assert (flows["three_ds"] == pc.TDS_CHALLENGED).all()
    order = ["AUTH_REQUEST", "STEP_UP_CHALLENGE", "STEP_UP_COMPLETE", "AUTH_RESPONSE"]
    assert kinds(w, flows, int(np.flatnonzero(passed)[0]))[:4] == order
    assert kinds(w, flows, int(np.flatnonzero(~passed)[0])) == order[:2] + order[3:]
    assert (flows["flow_outcome"][~passed] == pc.AUTH_ABANDONED).all()
    waited = flows["response_ts_utc"] - flows["ts_utc"]
    assert (waited > 3 * SECOND).all() and (waited < 310 * SECOND).all()


def test_outages(woven):
    """Within an outage the network answers: small amounts mostly pass, the rest get 91."""
    ends = np.array([[0, 1 << 62, 1 << 62]], np.int64)
    start = np.arange(len(woven.plan.world.issuer_country) + 1, dtype=np.int64)
    w = quiet(woven, outage=np.repeat(ends, len(start) - 1, axis=0), outage_start=start, retry_share=np.zeros(2))
    flows = decided(w, spree(woven, "POS", 60, HOUR, amount_ref_minor=1000))
    approved = flows["response_code"] == pc.RC_00
    assert np.array_equal(flows["responder"], np.where(approved, pc.BY_STAND_IN, pc.BY_NETWORK))
    assert set(flows["response_code"].tolist()) == {pc.RC_00, pc.RC_91}
    assert (flows["response_code"] == pc.RC_00).mean() > 0.7


def test_pinned_flows_pass(woven):
    """A pinned flow is approved, cleared at its own amount, and takes no branch."""
    low = np.tile(np.array([0, 1, 999, 1], np.int64), (4, 1))
    flows = decided(quiet(woven, thresholds=low), spree(woven, "ECOM", 50, HOUR, is_pinned=True))
    assert (flows["response_code"] == pc.RC_00).all() and not flows["alerted"].any()
    assert np.array_equal(flows["cleared_minor"], flows["amount_minor"])
    assert not flows["refunded_minor"].any() and not flows["reversed_minor"].any()


def test_held_transfers(woven):
    """On rails an alert holds the payment, and held payments are never returned."""
    low = np.tile(np.array([0, 999, 999, 999], np.int64), (4, 1))
    flows = decided(quiet(woven, thresholds=low), spree(woven, "BANK_RAIL", 20, HOUR))
    assert (flows["flow_outcome"] == pc.TRANSFER_HELD).all()
    assert (flows["payment_state"] == pc.PAY_HELD).all() and (flows["auth_decision"] == pc.REVIEW).all()
    assert not flows["reversed_minor"].any()
