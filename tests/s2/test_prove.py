"""Every check of S2 sees the one thing that it guards broken, and says so by its code."""

from collections.abc import Callable

import numpy as np
import pytest

from fraudloom.errors import InternalError
from fraudloom.kernels import payment_codes as pc
from fraudloom.states import s2
from fraudloom.states.s2.checks import PROOFS
from fraudloom.tables import Columns
from s2.crafted import Woven, copied

Frame = s2.S2Frame


def refused(what: str, proof: Callable[[], None]) -> InternalError:
    """The error of a proof, which must be that of the named check, and say all that an error says."""
    with pytest.raises(InternalError) as caught:
        proof()
    e = caught.value
    assert (e.what, e.code) == (what, f"S2_{PROOFS.checks[what].code}")
    assert all((e.state == "S2", e.found, e.expected, e.where, e.action))
    return e


def _first(events: Columns, kind: int) -> int:
    return int(np.flatnonzero(events["event_type"] == kind)[0])


def _drop(table: Columns, row: int) -> None:
    for name, values in table.items():
        table[name] = np.delete(values, row)


def _shift(table: Columns, name: str, row: int, by: float) -> None:
    table[name][row] += by


def _cleared(frame: Frame) -> int:
    """A flow that is cleared in full by one clearing, at its first attempt."""
    f = frame.flows
    plain = (f["cleared_minor"] > 0) & (f["refunded_minor"] == 0) & (f["attempts"] == 1)
    return int(np.flatnonzero(plain & (f["step_up_result"] == 0) & (f["branch_trace"] & 1024 == 0))[0])


def _refunded(frame: Frame) -> int:
    """A flow that is cleared and refunded."""
    return int(np.flatnonzero((frame.flows["cleared_minor"] > 0) & (frame.flows["refunded_minor"] > 0))[0])


def _joined(frame: Frame) -> int:
    """A link of a second arrival."""
    return int(np.flatnonzero(frame.links["link_rank"] > 0)[0])


def _event(frame: Frame, flow: int, kind: int) -> int:
    """The flow's first event of a kind."""
    return int(np.flatnonzero((frame.events["_flow_row"] == flow) & (frame.events["event_type"] == kind))[0])


def _lone_flow(f: Frame) -> None:
    """All events of a flow go to the flow before it."""
    row = int(f.events["_flow_row"].max())
    of = f.events["_flow_row"] == row
    for name in f.events:
        f.events[name] = f.events[name][~of]


def _late_request(f: Frame) -> None:
    """The second event of a flow at the time of the first, its rows still in order."""
    flow = _cleared(f)
    request, answer = _event(f, flow, pc.AUTH_REQUEST), _event(f, flow, pc.AUTH_RESPONSE)
    ts = f.events["ts_utc"]
    ts[answer] = ts[request]
    order = np.lexsort((f.events["event_seq"], f.events["flow_id"], ts))
    for name in f.events:
        f.events[name] = f.events[name][order]


def _over_refunded(f: Frame) -> None:
    """A refund of more than was cleared, in anchor and event alike."""
    flow = _refunded(f)
    by = int(f.flows["cleared_minor"][flow])
    f.flows["refunded_minor"][flow] += by
    event = _event(f, flow, pc.REFUND)
    f.events["amount_minor"][event] -= by


def _reversed(f: Frame) -> None:
    """A cleared flow is reversed as well: the clearing's event is repeated as a reversal."""
    flow = _refunded(f)
    event = _event(f, flow, pc.REFUND)
    f.events["event_type"][event] = pc.REVERSAL
    for name in ("ts_utc", "minor"):
        old = "refund_ts_utc" if name == "ts_utc" else "refunded_minor"
        new = "reversal_ts_utc" if name == "ts_utc" else "reversed_minor"
        f.flows[new][flow], f.flows[old][flow] = f.flows[old][flow], 0


def _nothing(f: Frame) -> None:
    """An amount of 0 in a flow and in its events."""
    flow = int(np.flatnonzero((f.flows["cleared_minor"] == 0) & (f.flows["reversed_minor"] == 0))[0])
    f.flows["amount_minor"][flow] = 0
    f.events["amount_minor"][f.events["_flow_row"] == flow] = 0


def _fewer_flows(f: Frame) -> None:
    """A link of a second arrival says that it is a first one."""
    f.links["link_rank"][_joined(f)] = 0


def _first_event(f: Frame, kind: int, name: str, by: float) -> None:
    _shift(f.events, name, _first(f.events, kind), by)


def _member_elsewhere(f: Frame) -> None:
    """A second arrival is linked to a flow that nobody has."""
    f.links["flow_id"][_joined(f)] ^= 1


def _session_moved(f: Frame, arrivals: Columns) -> None:
    """A second arrival and its link name another session than the flow."""
    row = _joined(f)
    f.links["session_id"][row] += 1
    arrivals["session_id"][row] += 1


def _merchant_moved(f: Frame, arrivals: Columns) -> None:
    """A second arrival and its link name another merchant than the flow."""
    row = _joined(f)
    f.links["merchant_id"][row] += 1
    arrivals["merchant_id"][row] += 1


def _unknown_session(f: Frame, arrivals: Columns, sessions: Columns) -> None:
    """The index calls the first arrival's session something else."""
    sessions["session_id"][arrivals["_session_row"][0]] += 1


def _outside(f: Frame, arrivals: Columns) -> None:
    """The last flow, with its arrivals and events, lies beyond the horizon."""
    row, by = len(f.flows["flow_id"]) - 1, 10**14
    for name in ("ts_utc", "response_ts_utc", "auth_sent_utc", "clear_ts_utc", "refund_ts_utc", "reversal_ts_utc"):
        if f.flows[name][row]:
            f.flows[name][row] += by
    arrivals["ts_utc"][f.links["flow_id"] == f.flows["flow_id"][row]] += by
    f.events["ts_utc"][f.events["_flow_row"] == row] += by
    order = np.lexsort((f.events["event_seq"], f.events["flow_id"], f.events["ts_utc"]))
    for name in f.events:
        f.events[name] = f.events[name][order]


def _very_late(f: Frame) -> None:
    """The last event of all is beyond the settlement horizon, and its flow's anchor with it."""
    row = len(f.events["ts_utc"]) - 1
    ts, flow = f.events["ts_utc"], f.events["_flow_row"][row]
    for name in ("response_ts_utc", "clear_ts_utc", "refund_ts_utc", "reversal_ts_utc"):
        if f.flows[name][flow] == ts[row]:
            f.flows[name][flow] += 10**15
    ts[row] += 10**15


# Check: changes of a frame (and, with more arguments, of the arrivals and sessions that it came from), each alone.
BREAKS: dict[str, list[Callable[..., object]]] = {
    "a column of the flows is missing, or has another type or length": [
        lambda f: f.flows.pop("mcc"),
        lambda f: f.flows.update(bin=f.flows["bin"].astype(np.int64)),
        lambda f: f.links.pop("link_rank"),
    ],
    "a column of the events is missing, or has another type or length": [
        lambda f: f.events.pop("attempt"),
        lambda f: f.events.update(attempt=f.events["attempt"][:-1]),
    ],
    "a flow_id is not its ordinal's": [lambda f: _shift(f.flows, "_ordinal", 4, 1)],
    "flows are not in (ts_utc, flow_id) order": [lambda f: _shift(f.flows, "ts_utc", 0, 10**15)],
    "events are not in (ts_utc, flow_id, event_seq) order": [lambda f: _shift(f.events, "ts_utc", 0, 10**15)],
    "an event has no flow": [lambda f: f.events["_flow_row"].__setitem__(9, -1)],
    "an event names another flow than its row": [lambda f: _first_event(f, pc.CLEARING, "flow_id", 1)],
    "a flow has no event": [_lone_flow],
    "event_seq is not 0, 1, ... in its flow": [
        lambda f: _drop(f.events, _first(f.events, pc.AUTH_REQUEST)),
        lambda f: _first_event(f, pc.AUTH_RESPONSE, "event_seq", -1),
        lambda f: _first_event(f, pc.AUTH_RESPONSE, "event_seq", 9),
    ],
    "a flow opens with another event": [lambda f: _first_event(f, pc.AUTH_REQUEST, "event_type", 2)],
    "attempts are not the requests made": [lambda f: _shift(f.flows, "attempts", _cleared(f), 1)],
    "times do not rise with event_seq": [_late_request],
    "the first event is not at the flow's time": [lambda f: _shift(f.flows, "ts_utc", _cleared(f), 1)],
    "an anchor is not the time of the last such event": [
        lambda f: _shift(f.flows, "response_ts_utc", 3, 1),
        lambda f: _shift(f.flows, "clear_ts_utc", _cleared(f), 1),
        lambda f: _shift(f.flows, "refund_ts_utc", _refunded(f), 1),
        lambda f: _shift(f.flows, "reversal_ts_utc", _cleared(f), 1),
    ],
    "the request is sent outside its flow's times": [
        lambda f: _shift(f.flows, "auth_sent_utc", _cleared(f), -(10**9)),
        lambda f: _shift(f.flows, "auth_sent_utc", _cleared(f), 10**9),
    ],
    "a response code is not its answer's": [
        lambda f: _shift(f.flows, "response_code", _cleared(f), 1),
        lambda f: _shift(f.flows, "first_response_code", _cleared(f), 1),
        lambda f: _shift(f.events, "response_code", _event(f, _cleared(f), pc.AUTH_RESPONSE), 1),
    ],
    "an amount is not positive": [_nothing],
    "amount is not amount_minor in major units": [lambda f: _shift(f.flows, "amount", 5, 0.01)],
    "an event's amount is not its amount_minor in major units": [lambda f: _shift(f.events, "amount", 5, 0.01)],
    "amount_ref_minor is not the amount in reference currency": [lambda f: _shift(f.flows, "amount_ref_minor", 5, 1)],
    "an anchor is not the sum of its events": [
        lambda f: _shift(f.flows, "cleared_minor", _cleared(f), 1),
        lambda f: _shift(f.flows, "refunded_minor", _refunded(f), 1),
        lambda f: _shift(f.flows, "reversed_minor", 2, 5),
        lambda f: _shift(f.events, "amount_minor", _first(f.events, pc.CLEARING), 1),
    ],
    "an authorisation event has another amount than its flow": [
        lambda f: _first_event(f, pc.AUTH_REQUEST, "amount_minor", 1),
        lambda f: _first_event(f, pc.AUTH_RESPONSE, "amount_minor", 1),
    ],
    "more is refunded than cleared": [_over_refunded],
    "a reversed flow is cleared or refunded": [_reversed],
    "links are not aligned with arrivals": [
        lambda f: _shift(f.links, "arrival_seq", 7, 1),
        lambda f: _shift(f.links, "merchant_id", 7, 1),
        lambda f: _drop(f.links, 7),
    ],
    "flows and first arrivals differ in number": [_fewer_flows],
    "a first arrival belongs to another flow": [
        lambda f: f.links["flow_id"].__setitem__(np.flatnonzero(f.links["link_rank"] == 0)[7], 3)
    ],
    "a column is not the first arrival's": [
        *(
            lambda f, n=n: _shift(f.flows, n, 7, 1)
            for n in ("arrival_seq", "city_id", "series_key", "pinned_label", "tz")
        ),
        lambda f: f.flows["is_pinned"].__setitem__(7, True),
        lambda f: _shift(f.flows, "merchant_id", 7, 1),
    ],
    "arrival_count is not the number of members": [
        lambda f: _shift(f.flows, "arrival_count", 7, 1),
    ],
    "an arrival belongs to no flow": [_member_elsewhere],
    "an arrival is not at its flow's merchant": [_merchant_moved],
    "link_rank is not 0, 1, ... in its flow": [lambda f: _shift(f.links, "link_rank", _joined(f), 1)],
    "a link names another session than its arrival": [lambda f: _shift(f.links, "session_id", 7, 1)],
    "a flow is in another session than its arrivals": [
        lambda f: _shift(f.flows, "session_id", 7, 1),
        _session_moved,
    ],
    "a flow's session is not in the index": [_unknown_session],
    "an entity is not the first arrival's": [
        *(
            lambda f, n=n: _shift(f.flows, n, 7, 1)
            for n in ("party_id", "account_id", "instrument_id", "device_id", "ip_id", "terminal_id", "channel_group")
        )
    ],
    "a routing column does not follow from the flow's ids": [
        *(
            lambda f, n=n: _shift(f.flows, n, 7, 1)
            for n in ("mcc", "acquirer_id", "merchant_country", "issuer_id", "bin")
        )
    ],
    "a flow begins outside the horizon": [_outside],
    "an event lies beyond the settlement horizon": [_very_late],
}


@pytest.mark.parametrize(("what", "number"), [(w, k) for w, found in BREAKS.items() for k in range(len(found))])
def test_broken_frame_is_found(woven: Woven, what: str, number: int) -> None:
    """One thing wrong about flows, events or links is refused by the check that guards it."""
    change = BREAKS[what][number]
    frame = copied(woven.frame)
    arrivals, sessions = ({k: v.copy() for k, v in t.items()} for t in (woven.arrivals, woven.sessions))
    change(*(frame, arrivals, sessions)[: change.__code__.co_argcount - len(change.__defaults__ or ())])
    refused(what, lambda: s2.prove(woven.plan, woven.world, arrivals, sessions, frame))


@pytest.mark.parametrize("decision", range(12))
def test_broken_draws_are_found(woven: Woven, decision: int) -> None:
    """Draws that the domains do not imply are refused, and the decision is named."""
    evidence = woven.evidence.copy()
    evidence[decision, 0] += np.uint64(1)
    n = len(woven.arrivals["ts_utc"])
    s2.prove_draws(woven.plan, n, woven.frame.flows, woven.evidence, 0)
    what = "draws made are not the draws due"
    error = refused(what, lambda: s2.prove_draws(woven.plan, n, woven.frame.flows, evidence, 0))
    assert str(error.where) == f"shard 0, {woven.plan.decisions.names[decision]}"


AUTH_BREAKS: dict[str, list[Callable[[Frame], object]]] = {
    "a flow has not one answer": [
        lambda f: f.events["event_type"].__setitem__(_first(f.events, pc.AUTH_RESPONSE), pc.AUTH_REQUEST)
    ],
    "a settlement is there in a pack without settlement": [
        *(
            lambda f, n=n: _shift(f.flows, n, 7, 1)
            for n in ("clear_ts_utc", "refund_ts_utc", "reversal_ts_utc", "cleared_minor", "refunded_minor")
        ),
        lambda f: _shift(f.flows, "reversed_minor", 7, 1),
    ],
}


@pytest.mark.parametrize(("what", "number"), [(w, k) for w, found in AUTH_BREAKS.items() for k in range(len(found))])
def test_broken_two_event_frame_is_found(woven_auth: Woven, what: str, number: int) -> None:
    """What a pack of two events a flow must not have is refused there."""
    frame = copied(woven_auth.frame)
    AUTH_BREAKS[what][number](frame)
    w = woven_auth
    s2.prove(w.plan, w.world, w.arrivals, w.sessions, w.frame)
    refused(what, lambda: s2.prove(w.plan, w.world, w.arrivals, w.sessions, frame))


#: Checks that a test of this file breaks.
COVERS = {
    "test_broken_frame_is_found": set(BREAKS),
    "test_broken_two_event_frame_is_found": set(AUTH_BREAKS),
    "test_broken_draws_are_found": {"draws made are not the draws due"},
}
