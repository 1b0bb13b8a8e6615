"""Settlement and amounts on crafted flows: reversals, refunds, shipments, tips, endings, notes."""

from dataclasses import replace

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.states import s2
from s2.crafted import HOUR, code, decided, kinds, spree
from s2.test_issuer import quiet


def settled(woven, flows, **rule):
    """Flows approved by a quiet issuer and settled by a changed rule."""
    w = quiet(woven)
    w = replace(w, plan=replace(w.plan, settle=w.plan.settle._replace(**rule)))
    return w, decided(w, flows)


def test_reversals(woven):
    """A reversed purchase is never cleared; its reversal follows the answer within hours."""
    w, flows = settled(woven, spree(woven, "ECOM", 20, HOUR), reversal=np.ones(5))
    assert kinds(w, flows, 0) == ["AUTH_REQUEST", "AUTH_RESPONSE", "REVERSAL"]
    assert (flows["flow_outcome"] == pc.AUTH_REVERSED).all() and not flows["cleared_minor"].any()
    assert np.array_equal(flows["reversed_minor"], flows["amount_minor"])
    assert ((flows["reversal_ts_utc"] - flows["response_ts_utc"]) < 20 * HOUR).all()


def test_settling_again_undoes_a_reversal(woven):
    """Outcomes of an earlier settlement do not stick when the rows are settled by another rule."""
    w, flows = settled(woven, spree(woven, "ATM", 5, HOUR), reversal=np.ones(5))
    calm = replace(w.plan, settle=w.plan.settle._replace(reversal=np.zeros(5)))
    s2.settle(calm, w.world, flows, np.arange(5), calm.decisions.new_evidence())
    assert (flows["flow_outcome"] == pc.CASH_DISPENSED).all() and not flows["reversed_minor"].any()


def test_refunds(woven):
    """Refunds follow the clearing by days and never exceed it; some are full and some partial."""
    rule = {"reversal": np.zeros(5), "refund": np.ones(5), "partial": 0.0}
    w, flows = settled(woven, spree(woven, "ECOM", 60, HOUR, amount_minor=5000), **rule)
    assert kinds(w, flows, 0) == ["AUTH_REQUEST", "AUTH_RESPONSE", "CLEARING", "REFUND"]
    assert (flows["refund_ts_utc"] > flows["clear_ts_utc"] + HOUR).all()
    full = flows["refunded_minor"] == flows["cleared_minor"]
    assert (flows["refunded_minor"] <= flows["cleared_minor"]).all() and full.any() and (~full).any()
    assert np.array_equal((flows["branch_trace"] & pc.T_PARTIAL_REFUND) > 0, ~full)


def test_shipments(woven):
    """Two shipments clear on two days and add up to the amount."""
    w, flows = settled(woven, spree(woven, "ECOM", 10, HOUR, amount_minor=5000), reversal=np.zeros(5), partial=1.0)
    events = s2.build_events(w.plan, flows, w.plan.decisions.new_evidence())
    cleared = events["event_type"] == pc.CLEARING
    assert cleared.sum() == 20
    assert np.array_equal(np.bincount(events["_flow_row"][cleared], events["amount_minor"][cleared]), [5000.0] * 10)
    s2.prove_events(flows, events, True) if (np.diff(flows["ts_utc"]) > 0).all() else None


def test_clearing_on_business_days(woven):
    """Clearing is a batch of a business day of the merchant's country, after the answer."""
    flows = woven.frame.flows
    held = flows["clear_ts_utc"] > 0
    day = flows["clear_ts_utc"][held] // 86_400_000_000
    calendar = woven.world.tables["calendar_3B"]
    columns = (calendar[k] for k in ("country_iso", "day", "is_business_day"))
    works = {(int(c), int(d)) for c, d, b in zip(*columns, strict=True) if b}
    late_night = (flows["clear_ts_utc"][held] % 86_400_000_000) < 12 * HOUR
    days = np.where(late_night, day - 1, day)
    assert all((int(c), int(d)) in works for c, d in zip(flows["merchant_country"][held], days, strict=True))
    assert (flows["clear_ts_utc"][held] > flows["response_ts_utc"][held]).all()


def test_tips_and_fuel(woven):
    """Tips clear above, fuel below the requested amount, at points of sale only."""
    flows = woven.frame.flows
    tip, fuel = ((flows["branch_trace"] & bit) > 0 for bit in (pc.T_TIP, pc.T_FUEL))
    assert tip.any() and fuel.any()
    assert (flows["cleared_minor"][tip] >= flows["amount_minor"][tip]).all()
    assert (flows["cleared_minor"][fuel] <= flows["amount_minor"][fuel]).all()
    assert (flows["channel_group"][tip | fuel] == pc.POS).all()


def test_cash_is_notes(woven):
    """Withdrawals are whole notes of their currency."""
    flows = woven.frame.flows
    cash = flows["channel_group"] == pc.ATM
    note = woven.plan.currency.note[flows["currency"][cash]]
    assert cash.any() and (flows["amount_minor"][cash] % note == 0).all()


def test_notes_and_price_steps(woven):
    """Notes and price steps fit the currencies' value and decimals."""
    table = woven.plan.currency
    for label, note, unit in (("EUR", 1000, 100), ("GBP", 1000, 100), ("JPY", 1000, 100), ("KWD", 2000, 1000)):
        c = code("currency", label)
        assert (table.note[c], table.unit[c]) == (note, unit), label


def test_endings(woven):
    """An online merchant's amounts end in .99, .95 or .00 by the uniform, else they are free."""
    merchant = int(np.flatnonzero(woven.plan.amount_tables.style == 0)[0]) + 1
    euro = code("currency", "EUR")
    cum = woven.plan.amount.endings[0]
    u = np.array([cum[0] / 2, (cum[0] + cum[1]) / 2, (cum[1] + cum[2]) / 2, 1 - 1e-9])
    wanted = np.full(4, 1234.0)
    minor, ref = s2.ending_amounts(woven.plan, np.full(4, merchant), np.full(4, euro, np.int8), wanted, u)
    assert minor.tolist() == [1199, 1195, 1200, 1234]
    assert np.array_equal(minor, ref)


def test_times_rise(woven):
    """Answers come after requests, in bounds; only the payer's part makes them long."""
    flows = woven.frame.flows
    asked = flows["flow_type"] != pc.CARD_CREDIT
    took = (flows["response_ts_utc"] - flows["ts_utc"])[asked]
    assert (took > 0).all() and took.max() < 700 * 1_000_000
    assert (flows["auth_sent_utc"][asked] > flows["ts_utc"][asked]).all()


def test_a_credit_is_one_refund(woven):
    """A credit without a purchase: one REFUND at its own time, no authorisation."""
    flows = woven.frame.flows
    row = int(np.flatnonzero(flows["flow_type"] == pc.CARD_CREDIT)[0])
    assert kinds(woven, flows, row) == ["REFUND"]
    assert flows["refund_ts_utc"][row] == flows["ts_utc"][row]
    assert flows["refunded_minor"][row] == flows["amount_minor"][row]
