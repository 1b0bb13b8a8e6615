"""The bank's view: label map, doors, claims, business hours, delays, collateral and posture."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fraudloom.errors import PolicyError
from fraudloom.kernels.delays import business_array, delay_array
from fraudloom.kernels.signals import FRAUD_ACCEPTED, SERVICE_OPEN
from fraudloom.states.s4 import prove, weave
from fraudloom.states.s4.hours import business_windows
from fraudloom.states.s4.labels import BEARERS, CLAIMS, FINDINGS, bank_label, label_map
from fraudloom.states.s4.plan import LAWS
from fraudloom.tables import Columns
from s4 import crafted as c

LABELS = c.CONTRACTS.enum("bank_label")


def view(flows: Columns, change: Any = None) -> Columns:
    """The proven bank view of crafted flows."""
    plan = c.plan(change)
    evidence = plan.decisions.new_evidence()
    frame = c.frame(flows)
    out = weave(plan, None, frame, evidence)
    prove(plan, None, frame, out, evidence)
    return out.bank


def certain(**values: float) -> Any:
    """A change of bank_view_policy_6B: dotted names (with __ for the dot) to values."""

    def change(docs: dict[str, Any]) -> None:
        for name, value in values.items():
            *path, key = name.split("__")
            at = docs["bank_view_policy_6B"]
            for step in path:
                at = at[step]
            at[key] = value

    return change


NO_NOISE = {"service_dispute__p": 0.0, "collateral__p_mark": 0.0}


def test_label_map_is_total() -> None:
    """All 140 combinations of finding, claim and bearer have a label, and the table is the function."""
    table = label_map()
    assert table.shape == (FINDINGS, CLAIMS, BEARERS)
    assert table.min() >= 0
    assert table.max() < len(LABELS)
    for finding in range(FINDINGS):
        for claim in range(CLAIMS):
            for bearer in range(BEARERS):
                assert table[finding, claim, bearer] == bank_label(finding, claim, bearer)
    count = Counter(LABELS[x] for x in table.ravel())
    assert set(count) == set(LABELS)
    nothing = [bank_label(0, 0, bearer) for bearer in range(BEARERS)]
    assert {LABELS[x] for x in nothing} == {"NO_CASE_OPENED"}
    assert count["NO_CASE_OPENED"] == len(nothing)


def test_label_map_precedence() -> None:
    """Accepted claims beat confirmed alerts, these beat refusals, these beat cleared alerts; service is genuine."""
    assert LABELS[bank_label(2, FRAUD_ACCEPTED, 1)] == "CHARGEBACK_WRITTEN_OFF"
    assert LABELS[bank_label(2, FRAUD_ACCEPTED, 2)] == "BANK_CONFIRMED_FRAUD"
    assert LABELS[bank_label(3, 3, 3)] == "BANK_CONFIRMED_FRAUD"
    assert LABELS[bank_label(2, 3, 3)] == "CUSTOMER_DISPUTE_REJECTED"
    assert LABELS[bank_label(2, 0, 0)] == "BANK_CONFIRMED_LEGIT"
    assert LABELS[bank_label(0, SERVICE_OPEN, 0)] == "BANK_CONFIRMED_LEGIT"
    assert LABELS[bank_label(3, SERVICE_OPEN, 0)] == "BANK_CONFIRMED_FRAUD"


def test_business_hours() -> None:
    """Work runs in windows only: carried over to the next opening, stretched when it began out of hours."""
    opens = np.array([100, 300], np.int64)
    closes = np.array([200, 400], np.int64)
    cases = {
        (100, 10): 110,
        (150, 50): 200,
        (150, 51): 301,
        (199, 102): 401,
        (50, 10): 115,
        (200, 10): 315,
        (250, 100): 450,
        (400, 7): 407,
        (999, 7): 1006,
    }
    ts = np.array([k[0] for k in cases], np.int64)
    d = np.array([k[1] for k in cases], np.int64)
    out = np.zeros(len(cases), np.int64)
    business_array(ts, d, opens, closes, 1.5, out)
    assert out.tolist() == list(cases.values())


def test_windows_are_local_business_hours() -> None:
    """An issuer's windows are 8 to 20 of its country's clock, Monday to Friday, and never overlap."""
    world = c.world()
    opens, closes, window = business_windows(world.tables, c.CONTRACTS, 8, 20)
    assert window[0].tolist() == window[2].tolist()
    assert window[1].tolist() == window[3].tolist()
    for issuer, offset in ((0, 0), (1, -5)):
        lo, hi = window[issuer]
        local = opens[lo:hi] + offset * c.HOUR
        assert ((local % c.DAY) == 8 * c.HOUR).all()
        assert (closes[lo:hi] - opens[lo:hi] == 12 * c.HOUR).all()
        assert ((local // c.DAY + 3) % 7 < 5).all()
        assert (opens[lo + 1 : hi] > closes[lo : hi - 1]).all()


def test_delays_stay_in_their_bounds() -> None:
    """Each law stays inside its bounds without atoms, and its median is that of the policy."""
    plan = c.plan()
    models = c.documents()["delay_models_6B"]["models"]
    u = (np.arange(4001) + 0.5) / 4001
    for k, name in enumerate(LAWS):
        out = np.zeros(len(u), np.int64)
        delay_array(u, np.full(len(u), k), plan.bank.delays, out)
        seconds = out / 1e6
        assert seconds.min() >= models[name]["min_s"] - 1e-6
        assert seconds.max() <= models[name]["max_s"]
        assert len(np.unique(out)) == len(u)
        if models[name]["dist"] == "lognormal":
            assert abs(np.median(seconds) / models[name]["median_s"] - 1.0) < 0.1


def test_alert_is_touched_in_hours() -> None:
    """Alerts that come in hours are touched within the hour at the median; the verdict gives the label."""
    flows = c.blank_flows(600)
    flows["alerted"][:] = True
    plan = c.plan(certain(**NO_NOISE, verdict__confirm={**_confirm(), "NONE": 0.3}))
    out = weave(plan, None, c.frame(flows), plan.decisions.new_evidence())
    label = out.bank["bank_label"]
    assert set(label) == {0, 1}
    assert (out.bank["report_source"] == c.code("report_source", "ALERT")).all()
    kind = np.array(c.CONTRACTS.enum("case_event_type"))[out.cases["case_event_type"]]
    at = dict(
        zip(out.cases["flow_id"][kind == "ANALYST_REVIEW"], out.cases["ts_utc"][kind == "ANALYST_REVIEW"], strict=True)
    )
    touch = np.array([at[f] for f in flows["flow_id"]])
    alert = out.bank["alert_ts_utc"]
    opens, closes = plan.bank.opens, plan.bank.closes
    lo, hi = plan.bank.window[0]
    row = np.searchsorted(closes[lo:hi], alert, side="right") + lo
    inside = opens[row] <= alert
    gap = (touch - alert)[inside & (touch <= closes[row])]
    assert 10 * 60 < np.median(gap) / 1e6 < 60 * 60
    assert (touch[~inside] > opens[row[~inside]]).all()
    assert out.truth["false_positive"].all()


def _confirm() -> dict[str, float]:
    return dict(c.documents()["bank_view_policy_6B"]["verdict"]["confirm"])


def test_blocks() -> None:
    """A suspected-fraud decline is detected at authorisation; verified it is a case, unverified it holds no label."""
    flows = c.blank_flows(400)
    c.decline(flows, np.arange(400))
    c.tag(flows, np.arange(200), "CARD_TESTING")
    bank = view(flows)
    assert (bank["detection_outcome"] == 1).all()
    assert np.array_equal(bank["detection_ts_utc"], flows["response_ts_utc"])
    unverified = bank["label_status"] == c.code("label_status", "BLOCKED_UNVERIFIED")
    assert 0.3 < unverified.mean() < 0.6
    assert (bank["bank_label"][unverified] == 2).all()
    assert (bank["bank_label"][~unverified][:50] == 0).mean() > 0.8
    plain = c.blank_flows(50)
    c.decline(plain, np.arange(50), "51")
    assert (view(plain, certain(**NO_NOISE))["detection_outcome"] == 0).all()
    plain["block_state"].fill(c.code("block_state", "REPORT"))
    assert (view(plain, certain(**NO_NOISE))["detection_outcome"] == 1).all()


def _claims(entry: str, three_ds: str = "NOT_USED", cvm: str = "NONE", channel: str = "ECOM") -> Columns:
    flows = c.blank_flows(300)
    c.tag(flows, np.arange(300), "CNP_FRAUD")
    c.report(flows, np.arange(300), "CUSTOMER", 5 * c.DAY)
    flows["channel_group"].fill(c.code("channel_group", channel))
    flows["entry_mode"].fill(c.code("entry_mode", entry))
    flows["three_ds"].fill(c.code("three_ds", three_ds))
    flows["cvm"].fill(c.code("cvm", cvm))
    return flows


@pytest.mark.parametrize(
    ("entry", "three_ds", "cvm", "right"),
    [
        ("ECOM", "NOT_USED", "NONE", True),
        ("COF", "NOT_APPLICABLE", "NONE", True),
        ("ECOM", "FRICTIONLESS", "NONE", False),
        ("ECOM", "CHALLENGED", "NONE", False),
        ("ECOM", "ATTEMPTED", "NONE", False),
        ("CHIP", "NOT_APPLICABLE", "PIN", False),
        ("CONTACTLESS", "NOT_APPLICABLE", "NO_CVM", False),
        ("MAGSTRIPE_FALLBACK", "NOT_APPLICABLE", "PIN", True),
        ("CHIP", "NOT_APPLICABLE", "SIGNATURE", True),
    ],
)
def test_chargeback_right(entry: str, three_ds: str, cvm: str, right: bool) -> None:
    """Fraud is charged back only where the liability lies with the merchant; else the issuer writes it off."""
    bank = view(_claims(entry, three_ds, cvm))
    charged = bank["chargeback_type"] == c.code("chargeback_type", "UNAUTHORISED")
    accepted = bank["liability_party"] != c.code("liability_party", "CUSTOMER")
    assert np.array_equal(charged, accepted & right)
    if not right:
        assert (bank["bank_label"][accepted] == c.code("bank_label", "CHARGEBACK_WRITTEN_OFF")).all()
        assert (bank["loss_minor"][accepted] == 5_000).all()


def test_chargeback_outcomes() -> None:
    """Outcomes and representments come at the policy's rates; who bears, loss and label follow."""
    bank = view(_claims("ECOM"), certain(claim__refuse=dict.fromkeys(_confirm(), 0.0)))
    result = np.array(c.CONTRACTS.enum("chargeback_outcome"))[bank["chargeback_outcome"]]
    share = Counter(result.tolist())
    assert abs(share["BANK_WIN"] / 300 - 0.78) < 0.1
    assert abs(share["BANK_LOSS"] / 300 - 0.17) < 0.1
    assert abs((bank["representment_ts_utc"] != 0).mean() - 0.35) < 0.12
    delay = (bank["representment_ts_utc"] - bank["chargeback_ts_utc"])[bank["representment_ts_utc"] != 0] / c.DAY
    assert delay.min() >= 20
    assert delay.max() <= 45
    assert (bank["loss_minor"] + bank["recovered_minor"] == 5_000).all()
    written_off = bank["bank_label"] == c.code("bank_label", "CHARGEBACK_WRITTEN_OFF")
    assert np.array_equal(written_off, np.isin(result, ["BANK_LOSS", "PARTIAL"]))
    small = _claims("ECOM")
    small["amount_ref_minor"].fill(100)
    assert (view(small)["chargeback_type"] == 0).all()


def test_rails_have_no_chargeback() -> None:
    """A reported transfer is reimbursed or refused; a recall brings part of it back; a returned one costs nothing."""
    flows = _claims("NONE", channel="BANK_RAIL")
    c.tag(flows, np.arange(300), "APP_SCAM")
    flows["clear_ts_utc"][:] = 0
    flows["cleared_minor"][:] = 0
    flows["flow_outcome"][:200] = c.code("flow_outcome", "TRANSFER_COMPLETED")
    flows["flow_outcome"][200:] = c.code("flow_outcome", "TRANSFER_RETURNED")
    bank = view(flows)
    assert (bank["chargeback_type"] == 0).all()
    refused = bank["liability_party"] == c.code("liability_party", "CUSTOMER")
    assert 0.2 < refused.mean() < 0.5
    assert (bank["bank_label"][refused] == c.code("bank_label", "CUSTOMER_DISPUTE_REJECTED")).all()
    paid = ~refused & (np.arange(300) < 200)
    assert (bank["loss_minor"] + bank["recovered_minor"])[paid].tolist() == [5_000] * int(paid.sum())
    assert 0.1 < (bank["recovered_minor"][paid] > 0).mean() < 0.5
    assert (bank["loss_minor"][200:] == 0).all()


def test_a_report_of_a_declined_flow_is_no_claim() -> None:
    """Where no money moved, a report confirms fraud at once, without claim, chargeback or loss."""
    flows = _claims("ECOM")
    c.decline(flows, np.arange(300), "14")
    bank = view(flows)
    assert (bank["bank_label"] == 0).all()
    assert (bank["dispute_reason"] == 0).all()
    assert np.array_equal(bank["detection_ts_utc"], flows["report_ts_utc"])


def test_service_disputes_are_genuine() -> None:
    """Genuine customers dispute service, at the class's rate; the label is LEGIT or, refused, rejected, never fraud."""
    flows = c.blank_flows(2_000)
    flows["channel_group"].fill(c.code("channel_group", "ECOM"))
    bank = view(flows, certain(service_dispute__p=0.3, collateral__p_mark=0.0))
    claimed = bank["dispute_ts_utc"] != 0
    assert abs(claimed.mean() - 0.3 * 0.55) < 0.03
    assert not (bank["dispute_reason"] == c.code("dispute_reason", "FRAUD")).any()
    assert not bank["is_fraud_bank_view"].any()
    assert (bank["detection_outcome"] == 0).all()
    assert set(bank["bank_label"][claimed]) == {1, 3}
    assert (bank["dispute_reason"] != c.code("dispute_reason", "CANCELLED_RECURRING")).all()
    flows["series_key"][:] = 4
    bank = view(flows, certain(service_dispute__p=0.3, collateral__p_mark=0.0))
    assert (bank["dispute_reason"] == c.code("dispute_reason", "CANCELLED_RECURRING")).any()


def test_collateral() -> None:
    """Only neighbours on the account, within the window of a known bad flow of a listed pattern, may be marked."""
    flows = c.blank_flows(41)
    flows["account_id"].fill(3)
    c.tag(flows, 20, "ATO")
    c.report(flows, 20, "CUSTOMER", 2 * c.DAY)
    sure = certain(service_dispute__p=0.0, collateral__p_mark=1.0)
    marked = np.flatnonzero(view(flows, sure)["report_source"] == c.code("report_source", "ANALYST"))
    assert marked.tolist() == [16, 17, 18, 19, 21, 22, 23, 24]
    flows["mule_layer"][18] = 2
    assert 18 not in np.flatnonzero(view(flows, sure)["is_fraud_bank_view"])
    unknown = {k: v.copy() for k, v in flows.items()}
    unknown["report_ts_utc"][20] = 0
    unknown["report_door"][20] = 0
    assert not view(unknown, sure)["is_fraud_bank_view"].any()
    flows["account_id"][21] = 4
    assert 21 not in np.flatnonzero(view(flows, sure)["is_fraud_bank_view"])
    c.tag(flows, 20, "CNP_FRAUD")
    assert view(flows, sure)["is_fraud_bank_view"].sum() == 1


def test_posture_raises_alerts() -> None:
    """Flows of mules, associates and organisers are alerted at the policy's rate, planned pass-through legs never."""
    flows = c.blank_flows(500)
    flows["party_id"].fill(1 + c.code("fraud_role_party", "MULE"))
    sure = certain(**NO_NOISE, posture={"MULE": 0.5, "ASSOCIATE": 0.0, "ORGANISER": 0.0})
    assert abs((view(flows, sure)["alert_ts_utc"] != 0).mean() - 0.5 * 0.7) < 0.08
    flows["mule_layer"].fill(1)
    assert not (view(flows, sure)["alert_ts_utc"] != 0).any()
    flows["mule_layer"].fill(0)
    flows["party_id"].fill(1)
    assert not (view(flows, sure)["alert_ts_utc"] != 0).any()


def test_what_lies_behind_the_horizon_is_censored() -> None:
    """A claim whose chargeback is not decided by the horizon stays open: CENSORED, no outcome, no finality."""
    flows = _claims("ECOM")
    flows["ts_utc"] += 89 * c.DAY - (flows["ts_utc"] - c.START)
    flows["response_ts_utc"] = flows["ts_utc"] + c.SECOND
    flows["clear_ts_utc"] = flows["ts_utc"] + c.DAY
    c.report(flows, np.arange(300), "CUSTOMER", 150 * c.DAY)
    bank = view(flows)
    censored = bank["label_status"] == c.code("label_status", "CENSORED")
    assert censored.any()
    assert (bank["chargeback_outcome"][censored] == 0).all()
    assert (bank["label_final_at_utc"][censored] == 0).all()
    assert (bank["bank_label"][censored] == 0).all()
    last = c.plan().last_us
    for name in [n for n in bank if n.endswith("_utc")]:
        assert bank[name].max() <= last


def test_quiet_flows_are_presumed_genuine() -> None:
    """A flow of which nothing is heard has no label and no history, and is final 120 days later."""
    flows = c.blank_flows(20)
    plan = c.plan(certain(**NO_NOISE))
    out = weave(plan, None, c.frame(flows), plan.decisions.new_evidence())
    assert (out.bank["bank_label"] == 2).all()
    assert np.array_equal(out.bank["label_available_at_utc"], flows["ts_utc"] + 120 * c.DAY)
    assert np.array_equal(out.bank["label_final_at_utc"], flows["ts_utc"] + 120 * c.DAY)
    assert len(out.history["flow_id"]) == 0
    assert len(out.cases["case_id"]) == 0


def test_history_is_consistent_with_the_view() -> None:
    """Replaying each flow's history gives the bank's view; reports overturn cleared alerts; seq runs from 0."""
    flows = c.mixed_flows(6_000, seed=3)
    plan = c.plan()
    out = weave(plan, None, c.frame(flows), plan.decisions.new_evidence())
    rows: dict[int, list[tuple[int, int, int, bool]]] = {}
    h = out.history
    for flow, seq, at, label, final in zip(
        h["flow_id"], h["label_seq"], h["known_from_utc"], h["bank_label"], h["is_final"], strict=True
    ):
        rows.setdefault(int(flow), []).append((int(seq), int(at), int(label), bool(final)))
    overturned = 0
    for row, flow in enumerate(out.bank["flow_id"]):
        steps = rows.get(int(flow), [])
        assert [s[0] for s in steps] == list(range(len(steps)))
        assert all(a[2] != b[2] and a[1] <= b[1] for a, b in pairwise(steps))
        overturned += any(a[2] == 1 and b[2] in (0, 4) for a, b in pairwise(steps))
        if not steps:
            assert out.bank["bank_label"][row] == 2
            continue
        assert steps[-1][2] == out.bank["bank_label"][row]
        assert steps[-1][1] == out.bank["label_available_at_utc"][row]
        assert steps[-1][3] == (out.bank["label_status"][row] == 1)
    assert overturned > 5


def test_a_missing_key_is_an_error() -> None:
    """Tables by demand class and by truth class are total."""

    def without_class(docs: dict[str, Any]) -> None:
        del docs["bank_view_policy_6B"]["demand_class"]["online_bursty"]

    def without_kind(docs: dict[str, Any]) -> None:
        del docs["bank_view_policy_6B"]["claim"]["refuse"]["MULE"]

    for change in (without_class, without_kind):
        with pytest.raises(PolicyError, match="S4_LABEL_POLICY_INVALID"):
            c.plan(change)


def test_published_columns_are_enough() -> None:
    """Without carried ordinals and rows, from published columns alone, every output is the same."""
    flows = c.mixed_flows(1_500, seed=8)
    plan = c.plan()
    frame = c.frame(flows)
    first = weave(plan, None, frame, plan.decisions.new_evidence())
    bare = c.frame({k: v for k, v in flows.items() if not k.startswith("_")})
    bare.events = {k: v for k, v in frame.events.items() if not k.startswith("_")}
    for columns in (bare.flows, bare.events):
        for v in columns.values():
            v.flags.writeable = False
    second = weave(plan, None, bare, plan.decisions.new_evidence())
    for name in vars(first):
        for column, values in getattr(first, name).items():
            assert np.array_equal(values, getattr(second, name)[column]), (name, column)


def test_outputs_follow_the_contract() -> None:
    """Every dataset has the contract's columns, dtypes and sort order, also on an empty shard."""
    names = {
        "truth": "s4_flow_truth_labels_6B",
        "bank": "s4_flow_bank_view_6B",
        "event_labels": "s4_event_labels_6B",
        "history": "s4_label_history_6B",
        "cases": "s4_case_timeline_6B",
        "case_links": "s4_case_flow_link_6B",
    }
    plan = c.plan()
    for n in (0, 1_000):
        frame = c.frame(c.mixed_flows(n))
        evidence = plan.decisions.new_evidence()
        out = weave(plan, None, frame, evidence)
        prove(plan, None, frame, out, evidence)
        for attribute, dataset in names.items():
            ds, columns = c.CONTRACTS.dataset(dataset), getattr(out, attribute)
            assert list(columns) == [x.name for x in ds.columns]
            for column in ds.columns:
                assert columns[column.name].dtype == column.memory_dtype, (dataset, column.name)
            if ds.sort:
                order = np.lexsort([columns[k] for k in reversed(ds.sort)])
                assert np.array_equal(order, np.arange(len(order)))
