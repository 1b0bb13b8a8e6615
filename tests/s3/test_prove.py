"""Each proof of S3 names what breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fraudloom.contracts_api import load_contracts
from fraudloom.errors import InternalError
from fraudloom.states import s3
from s3.crafted import Woven

pytestmark = pytest.mark.xdist_group("s3")
CONTRACTS = load_contracts()
PURE = CONTRACTS.code("origin_type", "PURE_FRAUD_FLOW")
PLAIN = CONTRACTS.code("origin_type", "BASELINE_FLOW")


def first(mask: np.ndarray) -> int:
    """First row of a mask."""
    return int(np.flatnonzero(mask)[0])


def _drop_flow(f: Any) -> None:
    row = first(f.flows["origin_type"] == PLAIN)
    f.flows = {k: np.delete(v, row) for k, v in f.flows.items()}


def _change(column: str, kind: int, by: int = 1) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        f.flows[column][first(f.flows["origin_type"] == kind)] += by

    return change


def _tagged(column: str, value: int) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        f.flows[column][first(f.flows["fraud_flag"])] = value

    return change


def _untagged(column: str, value: int) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        f.flows[column][first(~f.flows["fraud_flag"])] = value

    return change


def _new(column: str, value: int) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        f.flows[column][first(f.flows["origin_type"] == PURE)] = value

    return change


def _terminal(f: Any) -> None:
    rows = np.flatnonzero((f.flows["origin_type"] == PURE) & (f.flows["terminal_id"] > 0))
    at = rows[0]
    other = f.flows["terminal_id"][at]
    f.flows["terminal_id"][at] = other + 1 if other == 1 else other - 1
    f.flows["merchant_id"][at] += 1


def _realised(f: Any) -> None:
    f.realised = {k: v + 1 for k, v in f.realised.items()}


def _lose_event(f: Any) -> None:
    row = first(f.flows["origin_type"][f.events["_flow_row"]] == PLAIN)
    f.events = {k: np.delete(v, row) for k, v in f.events.items()}


def _event(column: str, kind: int, by: int) -> Callable[[Any], None]:
    def change(f: Any) -> None:
        row = first(f.flows["origin_type"][f.events["_flow_row"]] == kind)
        f.events[column][row] += by

    return change


def _mark(f: Any) -> None:
    f.events["is_fraud_event"][first(f.flows["origin_type"][f.events["_flow_row"]] == PLAIN)] = True


def _clearing(f: Any) -> None:
    e = f.events
    row = first((f.flows["origin_type"][e["_flow_row"]] == PURE) & (e["event_type"] == 4))
    e["amount_minor"][row] += 1


def _session(f: Any) -> None:
    f.sessions = {k: v[1:] for k, v in f.sessions.items()}


BREAKS: list[tuple[str, Callable[[Any], None], str]] = [
    ("a lost flow", _drop_flow, "S3_OVERLAY_BASELINE_COVERAGE_MISMATCH"),
    ("a changed amount", _change("amount_minor", PLAIN), "S3_OVERLAY_BASELINE_COVERAGE_MISMATCH"),
    ("an undeclared decision", _change("risk_score", PLAIN), "S3_OVERLAY_BASELINE_COVERAGE_MISMATCH"),
    ("a wrong origin", _change("origin_flow_id", PLAIN), "S3_OVERLAY_BASELINE_COVERAGE_MISMATCH"),
    ("an arrival on a new flow", _new("arrival_seq", 3), "S3_OVERLAY_BASELINE_COVERAGE_MISMATCH"),
    ("a lost session", _session, "S3_OVERLAY_BASELINE_COVERAGE_MISMATCH"),
    ("an unknown campaign", _tagged("campaign_id", 17), "S3_CAMPAIGN_TAGGING_INCONSISTENT"),
    ("a lost incident", _tagged("incident_id", 0), "S3_CAMPAIGN_TAGGING_INCONSISTENT"),
    ("a wrong pattern", _tagged("fraud_pattern_type", 0), "S3_CAMPAIGN_TAGGING_INCONSISTENT"),
    ("a class on a genuine flow", _untagged("fraud_class", 1), "S3_CAMPAIGN_TAGGING_INCONSISTENT"),
    ("a report of a genuine flow", _untagged("report_ts_utc", 5), "S3_CAMPAIGN_TAGGING_INCONSISTENT"),
    ("an event marked", _mark, "S3_CAMPAIGN_TAGGING_INCONSISTENT"),
    ("counts that differ", _realised, "S3_CAMPAIGN_INTENSITY_MISMATCH"),
    ("another party's account", _change("party_id", PURE), "S3_ENTITY_CONTEXT_BROKEN"),
    ("no such device", _new("device_id", 1 << 40), "S3_ENTITY_CONTEXT_BROKEN"),
    ("no amount", _new("amount_minor", 0), "S3_ENTITY_CONTEXT_BROKEN"),
    ("a terminal elsewhere", _terminal, "S3_ROUTING_CONTEXT_INCONSISTENT"),
    ("a lost event", _lose_event, "S3_OVERLAY_FLOW_EVENT_MISMATCH"),
    ("a changed event", _event("amount_minor", PLAIN, 1), "S3_OVERLAY_FLOW_EVENT_MISMATCH"),
    ("an event before its flow", _event("ts_utc", PURE, -10), "S3_OVERLAY_FLOW_EVENT_MISMATCH"),
    ("a gap in event_seq", _event("event_seq", PURE, 90), "S3_OVERLAY_FLOW_EVENT_MISMATCH"),
    ("another clearing", _clearing, "S3_OVERLAY_FLOW_EVENT_MISMATCH"),
]


@pytest.mark.parametrize(("name", "change", "expected"), BREAKS, ids=[b[0] for b in BREAKS])
def test_a_break_is_named(woven: Woven, name: str, change: Callable[[Any], None], expected: str) -> None:
    """A frame with one thing wrong is refused with the code of that invariant."""
    arrivals, sessions, frame2, frame3, _ = woven.shards[1]
    broken = copy.copy(frame3)
    for table in ("flows", "events", "sessions"):
        setattr(broken, table, {k: v.copy() for k, v in getattr(frame3, table).items()})
    change(broken)
    with pytest.raises(InternalError) as error:
        s3.prove(woven.plan2, woven.world, arrivals, sessions, frame2, broken)
    assert error.value.code == expected, str(error.value)


def test_a_flow_outside_its_window_is_named(woven: Woven) -> None:
    """A tagged flow after its campaign's end is refused."""
    plan = woven.plan
    arrivals, sessions, frame2, frame3, _ = woven.shards[0]
    ended = copy.copy(plan.campaigns)
    object.__setattr__(ended, "end", plan.campaigns.start + 1)
    other = copy.copy(plan)
    object.__setattr__(other, "campaigns", ended)
    shifted = copy.copy(woven.plan2)
    object.__setattr__(shifted, "plan", other)
    with pytest.raises(InternalError, match="S3_TEMPORAL_STRUCTURE_IMPLAUSIBLE"):
        s3.prove(shifted, woven.world, arrivals, sessions, frame2, frame3)


def test_an_account_of_another_lane_is_named(woven: Woven) -> None:
    """Accounts that are no campaign's are refused as targets."""
    plan = woven.plan
    arrivals, sessions, frame2, frame3, _ = woven.shards[0]
    other = copy.copy(plan)
    nobody = plan.domain._replace(campaign_of=np.full_like(plan.domain.campaign_of, -1))
    object.__setattr__(other, "domain", nobody)
    shifted = copy.copy(woven.plan2)
    object.__setattr__(shifted, "plan", other)
    with pytest.raises(InternalError, match="S3_TARGET_SELECTION_INCONSISTENT"):
        s3.prove(shifted, woven.world, arrivals, sessions, frame2, frame3)
