"""Every proof of S2 catches what breaks it, by its code."""

import numpy as np
import pytest

from fraudloom.errors import InternalError
from fraudloom.kernels import payment_codes as pc
from fraudloom.states import s2
from s2.crafted import copied


def _first(events, kind):
    return int(np.flatnonzero(events["event_type"] == kind)[0])


def _drop(table, row):
    for name, values in table.items():
        table[name] = np.delete(values, row)


def _shift(table, name, row, by):
    table[name][row] += by


BREAKS = {
    "event lost": ("EVENT_SEQUENCE_INVALID", lambda f: _drop(f.events, _first(f.events, pc.AUTH_REQUEST))),
    "sequence twice": ("EVENT_SEQUENCE_INVALID", lambda f: _shift(f.events, "event_seq", _first(f.events, 1), -1)),
    "event of nobody": ("FLOW_EVENT_MISMATCH", lambda f: _shift(f.events, "flow_id", _first(f.events, 4), 1)),
    "answer moved": ("FLOW_EVENT_TEMPORAL_MISMATCH", lambda f: _shift(f.flows, "response_ts_utc", 3, 1)),
    "clearing moved": ("FLOW_EVENT_TEMPORAL_MISMATCH", lambda f: _shift(f.flows, "clear_ts_utc", _cleared(f), 1)),
    "cleared sum": ("FLOW_EVENT_AMOUNT_MISMATCH", lambda f: _shift(f.flows, "cleared_minor", _cleared(f), 1)),
    "refund sum": ("FLOW_EVENT_AMOUNT_MISMATCH", lambda f: _shift(f.flows, "refunded_minor", 2, 5)),
    "request amount": (
        "FLOW_EVENT_AMOUNT_MISMATCH",
        lambda f: _shift(f.events, "amount_minor", _first(f.events, 0), 1),
    ),
    "major units": ("FLOW_EVENT_AMOUNT_MISMATCH", lambda f: _shift(f.flows, "amount", 5, 0.01)),
    "attempts": ("EVENT_SEQUENCE_INVALID", lambda f: _shift(f.flows, "attempts", _cleared(f), 1)),
    "order of flows": ("FLOW_ANCHOR_SCHEMA_VIOLATION", lambda f: _shift(f.flows, "ts_utc", 0, 10**15)),
    "order of events": ("EVENT_STREAM_SCHEMA_VIOLATION", lambda f: _shift(f.events, "ts_utc", 0, 10**15)),
    "identity": ("FLOW_ANCHOR_SCHEMA_VIOLATION", lambda f: _shift(f.flows, "_ordinal", 4, 1)),
    "link to another flow": ("ARRIVAL_LINKAGE_INVALID", lambda f: _shift(f.links, "flow_id", 7, 1)),
    "link out of place": ("ARRIVAL_LINKAGE_INVALID", lambda f: _shift(f.links, "arrival_seq", 7, 1)),
    "rank": ("ARRIVAL_LINKAGE_INVALID", lambda f: _shift(f.links, "link_rank", _joined(f), 1)),
    "session of a link": ("SESSION_LINKAGE_INVALID", lambda f: _shift(f.links, "session_id", 7, 1)),
    "session of a flow": ("SESSION_LINKAGE_INVALID", lambda f: _shift(f.flows, "session_id", 7, 1)),
    "device": ("ENTITY_CONTEXT_INCONSISTENT", lambda f: _shift(f.flows, "device_id", 7, 1)),
    "category": ("ROUTING_CONTEXT_INCONSISTENT", lambda f: _shift(f.flows, "mcc", 7, 1)),
    "issuer": ("ROUTING_CONTEXT_INCONSISTENT", lambda f: _shift(f.flows, "issuer_id", 7, 1)),
}


def _cleared(frame):
    plain = (frame.flows["cleared_minor"] > 0) & (frame.flows["refunded_minor"] == 0)
    return int(np.flatnonzero(plain & (frame.flows["attempts"] == 1))[0])


def _joined(frame):
    return int(np.flatnonzero(frame.links["link_rank"] > 0)[0])


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_proofs_catch(woven, name):
    """One broken value is refused with the code of its invariant."""
    code, change = BREAKS[name]
    frame = copied(woven.frame)
    change(frame)
    with pytest.raises(InternalError) as caught:
        s2.prove(woven.plan, woven.world, woven.arrivals, woven.sessions, frame)
    assert caught.value.code == f"S2_{code}"


def test_horizon(woven):
    """A whole flow moved beyond the horizon is refused."""
    frame = copied(woven.frame)
    row = len(frame.flows["flow_id"]) - 1
    by = 10**14
    of = frame.events["_flow_row"] == row
    arrivals = {k: v.copy() for k, v in woven.arrivals.items()}
    first = np.flatnonzero(frame.links["flow_id"] == frame.flows["flow_id"][row])
    arrivals["ts_utc"][first] += by
    for name in ("ts_utc", "response_ts_utc", "auth_sent_utc", "clear_ts_utc", "refund_ts_utc", "reversal_ts_utc"):
        if frame.flows[name][row]:
            frame.flows[name][row] += by
    frame.events["ts_utc"][of] += by
    order = np.lexsort((frame.events["event_seq"], frame.events["flow_id"], frame.events["ts_utc"]))
    events = {k: v[order] for k, v in frame.events.items()}
    with pytest.raises(InternalError) as caught:
        s2.prove(woven.plan, woven.world, arrivals, woven.sessions, s2.S2Frame(frame.flows, events, frame.links))
    assert caught.value.code == "S2_EVENT_OUTSIDE_HORIZON"


def test_draws(woven):
    """Draws that the domains do not imply are refused."""
    evidence = woven.evidence.copy()
    evidence[4, 0] += np.uint64(1)
    with pytest.raises(InternalError) as caught:
        s2.prove_draws(woven.plan, len(woven.arrivals["ts_utc"]), woven.frame.flows, evidence)
    assert caught.value.code == "S2_RNG_EVENT_COUNT_MISMATCH"
