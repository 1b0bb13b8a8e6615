"""Cases: grouping on crafted gaps, reopening, caps, the state machine; and proofs that catch what breaks."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fraudloom.errors import FraudloomError
from fraudloom.kernels.cases import CaseLimits, group_cases
from fraudloom.states.s4 import S4Frame, S4Plan, prove, weave
from fraudloom.states.s4.cases import FOLLOWS
from s4 import crafted as c


def cut(gaps: list[int], cap: int = 150) -> tuple[list[int], list[int], list[bool]]:
    """Case, rank and mark of members of one key with the given gaps (seconds) between them."""
    anchor = np.cumsum(np.array([0, *gaps], np.int64)) * c.SECOND + c.START
    n = len(anchor)
    case, rank, mark = np.zeros(n, np.int64), np.zeros(n, np.int16), np.zeros(n, np.bool_)
    limits = CaseLimits(259_200 * c.SECOND, 604_800 * c.SECOND, cap)
    group_cases(np.zeros(n, np.int8), np.full(n, 5, np.int64), anchor, limits, case, rank, mark)
    return case.tolist(), rank.tolist(), mark.tolist()


def test_gaps_cut_cases() -> None:
    """Up to three days the same case, longer a new one, beyond a week a reopened one; bounds belong below."""
    case, rank, mark = cut([259_200, 259_201, 604_800, 604_801, 0])
    assert case == [0, 0, 1, 2, 3, 3]
    assert rank == [0, 1, 0, 0, 0, 1]
    assert mark == [False, False, False, False, True, False]


def test_a_full_case_is_followed_by_a_new_one() -> None:
    """At most `max_flows` flows a case; the next one is new and not a reopening."""
    case, rank, mark = cut([1] * 6, cap=3)
    assert case == [0, 0, 0, 1, 1, 1, 2]
    assert rank == [0, 1, 2, 0, 1, 2, 0]
    assert not any(mark)


def test_keys_keep_apart() -> None:
    """Another key, or another type of key with the same id, is another case."""
    n = 4
    case, rank, mark = np.zeros(n, np.int64), np.zeros(n, np.int16), np.zeros(n, np.bool_)
    limits = CaseLimits(10, 20, 9)
    keys = np.array([5, 6, 5, 5], np.int64)
    group_cases(np.array([0, 0, 1, 1], np.int8), keys, np.array([1, 1, 1, 2], np.int64), limits, case, rank, mark)
    assert case.tolist() == [0, 1, 2, 2]


def woven(n: int = 4_000, seed: int = 5) -> tuple[S4Plan, Any, S4Frame, Any]:
    """Plan, frame, output and evidence of a crafted shard in which everything occurs."""
    plan = c.plan()
    frame = c.frame(c.mixed_flows(n, seed))
    evidence = plan.decisions.new_evidence()
    return plan, frame, weave(plan, None, frame, evidence), evidence


def test_state_machine() -> None:
    """Every flow's steps follow the table, CASE_OPENED is first, CASE_CLOSED last; every kind of event occurs."""
    _, _, out, _ = woven()
    labels = c.CONTRACTS.enum("case_event_type")
    paths: dict[tuple[int, int], list[str]] = {}
    cases: dict[int, list[str]] = {}
    for case, flow, kind in zip(out.cases["case_id"], out.cases["flow_id"], out.cases["case_event_type"], strict=True):
        cases.setdefault(int(case), []).append(labels[kind])
        if labels[kind] not in ("CASE_OPENED", "CASE_REOPENED", "CASE_CLOSED"):
            paths.setdefault((int(case), int(flow)), [""]).append(labels[kind])
    for path in paths.values():
        assert len(set(path)) == len(path)
        assert all(b in FOLLOWS[a] for a, b in pairwise(path)), path
    for events in cases.values():
        assert events[0] == "CASE_OPENED"
        assert events[-1] == "CASE_CLOSED"
        assert "CASE_REOPENED" not in events[2:]
        assert sum(e in ("CASE_OPENED", "CASE_CLOSED") for e in events) == 2
    assert {e for events in cases.values() for e in events} == set(labels)


def test_gaps_inside_cases() -> None:
    """No gap is negative, at most 5 % are zero, and no single value is common (T8, T9, T10)."""
    _, _, out, _ = woven()
    inner = out.cases["case_event_seq"][1:] > 0
    gaps = np.diff(out.cases["ts_utc"])[inner]
    assert (gaps >= 0).all()
    assert (gaps == 0).mean() <= 0.05
    assert np.unique(gaps, return_counts=True)[1].max() / len(gaps) <= 0.05


def test_keys_by_channel() -> None:
    """Cards are keyed by instrument, rails by account, a flow without an instrument by its account."""
    _, frame, out, _ = woven()
    row = {int(f): i for i, f in enumerate(frame.flows["flow_id"])}
    rail = c.code("channel_group", "BANK_RAIL")
    for flow, kind, key in zip(out.cases["flow_id"], out.cases["case_key_type"], out.cases["case_key_id"], strict=True):
        i = row[int(flow)]
        name = c.CONTRACTS.enum("case_key_type")[kind]
        assert frame.flows[{"INSTRUMENT": "instrument_id", "ACCOUNT": "account_id"}[name]][i] == key
        assert name == ("ACCOUNT" if frame.flows["channel_group"][i] == rail else "INSTRUMENT")


def test_a_challenge_opens_no_case() -> None:
    """Step-ups, passed or abandoned, are never a case; an alert, a hold, a claim and a network report are."""
    flows = c.blank_flows(60)
    flows["auth_decision"].fill(c.code("auth_decision", "CHALLENGE"))
    flows["step_up_result"].fill(c.code("step_up_result", "ABANDONED"))
    flows["flow_outcome"].fill(c.code("flow_outcome", "AUTH_ABANDONED"))
    flows["cleared_minor"].fill(0)
    flows["clear_ts_utc"].fill(0)
    flows["alerted"][:10] = True
    flows["payment_state"][10:20] = c.code("payment_state", "HELD")
    c.tag(flows, np.arange(20, 30), "MULE_ACTIVITY")
    c.report(flows, np.arange(20, 30), "NETWORK", c.DAY)
    plan = c.plan()
    out = weave(plan, None, c.frame(flows), plan.decisions.new_evidence())
    assert np.array_equal(out.bank["case_id"] != 0, np.arange(60) < 30)


def swap(name: str, column: str, rows: Callable[[S4Frame], Any], value: Any) -> Callable[[S4Frame], None]:
    """A break: write `value` (or a function of the old values) into a column at some rows."""

    def run(out: S4Frame) -> None:
        at = rows(out)
        values = getattr(out, name)[column]
        values[at] = value(values[at]) if callable(value) else value

    return run


def first_fraud(out: S4Frame) -> int:
    """A flow that the bank calls fraud."""
    return int(np.flatnonzero(out.bank["is_fraud_bank_view"])[0])


def quiet(out: S4Frame) -> int:
    """A flow of which the bank knows nothing."""
    return int(np.flatnonzero((out.bank["case_id"] == 0) & (out.bank["detection_ts_utc"] == 0))[0])


def disputed(out: S4Frame) -> int:
    """A flow with a chargeback."""
    return int(np.flatnonzero(out.bank["chargeback_ts_utc"])[0])


def forget(out: S4Frame) -> None:
    """Lose the detection of a flow that the bank calls fraud."""
    row = first_fraud(out)
    out.bank["detection_ts_utc"][row] = out.bank["detection_outcome"][row] = 0


def accuse(out: S4Frame) -> None:
    """Call a LEGIT flow FRAUD in truth."""
    row = int(np.flatnonzero(~out.truth["is_fraud_truth"])[0])
    out.truth["fraud_label"][row] = out.truth["is_fraud_truth"][row] = 1


BREAKS: dict[str, tuple[Callable[[S4Frame], None], str]] = {
    "truth of another flow": (swap("truth", "flow_id", lambda o: 0, 99), "S4_LABEL_COVERAGE_MISMATCH"),
    "bank view of another flow": (swap("bank", "flow_id", lambda o: 0, 99), "S4_LABEL_COVERAGE_MISMATCH"),
    "event label of another event": (swap("event_labels", "event_seq", lambda o: 3, 9), "S4_LABEL_COVERAGE_MISMATCH"),
    "campaign flow LEGIT": (
        swap("truth", "fraud_label", lambda o: np.flatnonzero(o.truth["campaign_id"])[0], 0),
        "S4_TRUTH_CONSISTENCY_FAILED",
    ),
    "quiet flow FRAUD": (
        accuse,
        "S4_TRUTH_CONSISTENCY_FAILED",
    ),
    "subtype": (
        swap("truth", "truth_subtype", lambda o: np.flatnonzero(o.truth["campaign_id"])[0], 0),
        "S4_TRUTH_CONSISTENCY_FAILED",
    ),
    "event role": (swap("event_labels", "truth_event_role", lambda o: 0, 2), "S4_TRUTH_CONSISTENCY_FAILED"),
    "event's bank label": (
        swap("event_labels", "is_fraud_bank_view", lambda o: 0, lambda v: ~v),
        "S4_TRUTH_CONSISTENCY_FAILED",
    ),
    "fraud without detection": (
        forget,
        "S4_BANK_VIEW_CONSISTENCY_FAILED",
    ),
    "boolean differs from label": (
        swap("bank", "is_fraud_bank_view", quiet, True),
        "S4_BANK_VIEW_CONSISTENCY_FAILED",
    ),
    "case without label": (swap("bank", "case_id", quiet, 5), "S4_BANK_VIEW_CONSISTENCY_FAILED"),
    "case time without case": (swap("bank", "case_open_ts_utc", quiet, c.END), "S4_BANK_VIEW_CONSISTENCY_FAILED"),
    "chargeback before claim": (
        lambda o: o.bank["chargeback_ts_utc"].__setitem__(disputed(o), o.bank["dispute_ts_utc"][disputed(o)] - 1),
        "S4_BANK_VIEW_CONSISTENCY_FAILED",
    ),
    "case closed before it opened": (
        swap("bank", "case_close_ts_utc", first_fraud, lambda v: v - 400 * c.DAY),
        "S4_BANK_VIEW_CONSISTENCY_FAILED",
    ),
    "loss on a quiet flow": (swap("bank", "loss_minor", quiet, 7), "S4_BANK_VIEW_CONSISTENCY_FAILED"),
    "negative recovery": (swap("bank", "recovered_minor", disputed, -1), "S4_BANK_VIEW_CONSISTENCY_FAILED"),
    "history ends elsewhere": (
        swap("history", "bank_label", lambda o: len(o.history["flow_id"]) - 1, 2),
        "S4_BANK_VIEW_CONSISTENCY_FAILED",
    ),
    "history gap": (swap("history", "label_seq", lambda o: 0, 1), "S4_BANK_VIEW_CONSISTENCY_FAILED"),
    "label known at another time": (
        swap("bank", "label_available_at_utc", first_fraud, lambda v: v + 1),
        "S4_BANK_VIEW_CONSISTENCY_FAILED",
    ),
    "member of another case": (swap("case_links", "case_id", lambda o: 0, 7), "S4_CASE_TIMELINE_INCONSISTENT"),
    "member lost": (
        lambda o: o.case_links.update({k: v[1:] for k, v in o.case_links.items()}),
        "S4_LABEL_COVERAGE_MISMATCH",
    ),
    "time goes back": (
        swap("cases", "ts_utc", lambda o: int(np.flatnonzero(o.cases["case_event_seq"] == 1)[0]), lambda v: v - c.DAY),
        "S4_CASE_TIMELINE_INCONSISTENT",
    ),
    "seq gap": (
        swap("cases", "case_event_seq", lambda o: int(np.flatnonzero(o.cases["case_event_seq"] == 1)[0]), 2),
        "S4_CASE_TIMELINE_INCONSISTENT",
    ),
    "not opened": (swap("cases", "case_event_type", lambda o: 0, 1), "S4_CASE_TIMELINE_INCONSISTENT"),
    "not closed": (swap("cases", "case_event_type", lambda o: -1, 1), "S4_CASE_TIMELINE_INCONSISTENT"),
    "decision without chargeback": (
        swap("cases", "case_event_type", lambda o: o.cases["case_event_type"] == 3, 4),
        "S4_CASE_TIMELINE_INCONSISTENT",
    ),
}


@pytest.fixture(scope="module")
def shard() -> tuple[S4Plan, Any, S4Frame, Any]:
    """A crafted shard; tests break copies of it."""
    return woven()


@pytest.mark.parametrize("name", BREAKS)
def test_each_proof_catches_its_break(shard: tuple[S4Plan, Any, S4Frame, Any], name: str) -> None:
    """The shard is proven as it is; one break makes the proof fail with the code of the invariant."""
    plan, frame, out, evidence = shard
    prove(plan, None, frame, out, evidence)
    broken = S4Frame(**{k: {n: a.copy() for n, a in v.items()} for k, v in vars(out).items()})
    change, expected = BREAKS[name]
    change(broken)
    with pytest.raises(FraudloomError, match=expected):
        prove(plan, None, frame, broken, evidence)


def test_draws_are_counted(shard: tuple[S4Plan, Any, S4Frame, Any]) -> None:
    """Draws follow from published rows for every decision, all of which occur; one draw too many is found."""
    plan, frame, out, evidence = shard
    assert (evidence[:, 0] > 0).all()
    more = evidence.copy()
    more[3, 0] += np.uint64(1)
    with pytest.raises(FraudloomError, match="S4_RNG_EVENT_COUNT_MISMATCH"):
        prove(plan, None, frame, out, more)
