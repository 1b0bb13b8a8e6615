"""Properties of sessions under any policy: brute force over keys and windows, on arrivals that Hypothesis makes."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s1.crafted import DAY_US, START, compile_for, crafted_world, rows, s1_pack

from fraudloom.errors import DataError, PolicyError
from fraudloom.policies_api import check_document, packs_root
from fraudloom.states import s1
from fraudloom.states.s1.plan import cut_rule, gap_channels

SECOND = 1_000_000
POLICY = "sessionisation_policy_6B"
WORLD = crafted_world()
PLAN = compile_for(WORLD)
TILLS = (1, 2)

blocks = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["gap", "tumbling"]),
        "timeout_s": st.integers(60, 3600),
        "hard_break_s": st.integers(3601, 86400),
        "break_on_local_day": st.booleans(),
        "break_on_channel": st.booleans(),
        "max_arrivals": st.sampled_from([1, 2, 3, 1000]),
        "max_duration_s": st.sampled_from([600, 7200, 172800]),
        "max_sessions_per_day": st.just(86400),
    }
)
arrival = st.tuples(
    st.integers(0, 4 * 86400),  # second
    st.integers(0, 4),  # channel
    st.integers(1, 2),  # party
    st.integers(1, 2),  # instrument
    st.integers(1, 2),  # device
    st.integers(-12, 12),  # hours of the zone
)


def policy(**kinds: Any) -> dict:
    """The policy with the given blocks, a hard break only where there are gaps."""
    doc = {k: dict(v) for k, v in kinds.items()}
    for block in doc.values():
        if block["mode"] == "tumbling":
            del block["hard_break_s"]
    return {"policy_id": POLICY, **doc}


def attached(made: list[tuple[int, ...]]) -> dict:
    """Attached arrivals of one shard, in the order made."""
    t = np.array(made, dtype=np.int64).reshape(-1, 6)
    n = len(t)
    ts = START + t[:, 0] * SECOND
    columns = {
        "merchant_id": np.ones(n),
        "arrival_seq": np.arange(1, n + 1),
        "ts_utc": ts,
        "ts_local_primary": ts + t[:, 5] * 3600 * SECOND,
        "channel_group": t[:, 1],
        "party_id": t[:, 2],
        "account_id": np.ones(n),
        "instrument_id": t[:, 3],
        "device_id": t[:, 4],
        "ip_id": np.ones(n),
        "attach_score": np.ones(n),
    }
    out = rows("s1_arrival_entities_6B", **columns)
    out["_ordinal"] = np.arange(n, dtype=np.int64)
    return out


def cut(doc: dict, made: list[tuple[int, ...]]) -> tuple[dict, dict, Any]:
    """(arrivals, sessions, evidence) of a plan under a policy; checks the law of draws on the way."""
    check_document(POLICY, doc, packs_root(), PLAN.contracts)
    plan = replace(PLAN, cut=cut_rule(doc))
    evidence = plan.decisions.new_evidence()
    arrivals, sessions = s1.sessionise(plan, WORLD, attached(made), evidence)
    return arrivals, sessions, evidence


def key_of(a: dict, i: int) -> tuple[int, ...]:
    """The session key of an arrival, spelled out."""
    till = int(a["channel_group"][i]) in TILLS
    return (till, int(a["party_id"][i]), int(a["instrument_id"][i] if till else a["device_id"][i]))


def block_of(doc: dict, a: dict, i: int) -> dict:
    """The block of the policy for an arrival."""
    return doc["PARTY_INSTRUMENT" if int(a["channel_group"][i]) in TILLS else "PARTY_DEVICE"]


@settings(max_examples=150)
@given(blocks, blocks, st.lists(arrival, min_size=1, max_size=40))
def test_limits_hold_and_only_they_cut(card: dict, device: dict, made: list[tuple[int, ...]]) -> None:
    """In any mode: a session has one key and keeps every limit; neighbours of a key are parted for a reason only."""
    doc = policy(PARTY_INSTRUMENT=card, PARTY_DEVICE=device)
    a, s, evidence = cut(doc, made)
    by_key, members = defaultdict(list), defaultdict(list)
    for i in range(len(a["ts_utc"])):
        by_key[key_of(a, i)].append(i)
        members[int(a["_session_row"][i])].append(i)
    assert sorted(members) == list(range(len(s["session_id"])))
    for own in members.values():
        b = block_of(doc, a, own[0])
        assert len({key_of(a, i) for i in own}) == 1 and len(own) <= b["max_arrivals"]
        assert a["ts_utc"][own[-1]] - a["ts_utc"][own[0]] <= b["max_duration_s"] * SECOND
    for own in by_key.values():
        b = block_of(doc, a, own[0])
        for i, j in pairwise(own):
            gap = int(a["ts_utc"][j] - a["ts_utc"][i])
            width = b["timeout_s"] * SECOND
            day = bool(b["break_on_local_day"]) and len({int(a["ts_local_primary"][k]) // DAY_US for k in (i, j)}) == 2
            channel = bool(b["break_on_channel"]) and a["channel_group"][i] != a["channel_group"][j]
            before = members[int(a["_session_row"][i])]
            until = [k for k in before if k <= i]
            full = (
                len(until) >= b["max_arrivals"] or a["ts_utc"][j] - a["ts_utc"][until[0]] > b["max_duration_s"] * SECOND
            )
            if b["mode"] == "tumbling":
                must = may = a["ts_utc"][i] // width != a["ts_utc"][j] // width
            else:
                must, may = gap >= b["hard_break_s"] * SECOND, gap > width
            parted = a["session_id"][i] != a["session_id"][j]
            assert parted or not (day or channel or full or must)
            assert not parted or day or channel or full or may
    channels = np.array([PLAN.contracts.code("channel_group", c) for c in gap_channels(doc)], dtype=np.int64)
    drawn = int(np.isin(a["channel_group"], channels).sum())
    assert evidence[:, 0].tolist() == [0] * 11 + [drawn], "a boundary is drawn for each arrival that is cut at gaps"


@settings(max_examples=80)
@given(st.integers(60, 86400), st.lists(arrival, min_size=1, max_size=40))
def test_tumbling_windows_are_buckets_of_time(width: int, made: list[tuple[int, ...]]) -> None:
    """Without caps the sessions of tumbling windows are exactly the groups of (key, floor(epoch / width))."""
    block = {
        "mode": "tumbling",
        "timeout_s": width,
        "break_on_local_day": False,
        "break_on_channel": False,
        "max_arrivals": 1000,
        "max_duration_s": 172800,
        "max_sessions_per_day": 86400,
        "hard_break_s": 0,
    }
    doc = policy(PARTY_INSTRUMENT=block, PARTY_DEVICE=block)
    a, s, _ = cut(doc, made)
    groups = defaultdict(set)
    for i in range(len(a["ts_utc"])):
        groups[key_of(a, i), int(a["ts_utc"][i]) // (width * SECOND)].add(i)
    found = defaultdict(set)
    for i, session in enumerate(a["session_id"].tolist()):
        found[session].add(i)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, groups.values()))
    assert len(s["session_id"]) == len(groups)


@settings(max_examples=60)
@given(blocks, blocks, st.lists(arrival, min_size=2, max_size=40), st.integers(1, 2))
def test_keys_do_not_meet(card: dict, device: dict, made: list[tuple[int, ...]], gone: int) -> None:
    """Sessions of a party are the same when the other party's arrivals are not there."""
    doc = policy(PARTY_INSTRUMENT=card, PARTY_DEVICE=device)
    a, _, _ = cut(doc, made)
    plan = replace(PLAN, cut=cut_rule(doc))
    full = attached(made)
    keep = full["party_id"] != gone
    rest, _ = s1.sessionise(plan, WORLD, {k: v[keep] for k, v in full.items()}, plan.decisions.new_evidence())
    assert rest["session_id"].tolist() == a["session_id"][a["party_id"] != gone].tolist()


def test_too_many_sessions_of_a_key_are_refused() -> None:
    """A key above max_sessions_per_day x days is refused with its party, its entity and the key of the policy."""
    made = [(86400 * (k // 2) + 40000 * (k % 2), 0, 1, 1, 2, 0) for k in range(42)]
    doc = {**s1_pack().doc(POLICY)}
    for most, good in ((3, True), (2, False)):
        doc["PARTY_DEVICE"] = {**doc["PARTY_DEVICE"], "max_sessions_per_day": most}
        pack = replace(s1_pack(), docs={**s1_pack().docs, POLICY: doc})
        plan = compile_for(WORLD, pack=pack)
        assert plan.sessions_max.tolist() == [20 * 1000, 20 * most]
        proof = lambda p=plan: s1.sessionise(p, WORLD, attached(made), p.decisions.new_evidence())  # noqa: E731
        if good:
            assert len(proof()[1]["session_id"]) == 42
            continue
        with pytest.raises(DataError) as caught:
            proof()
        e = caught.value
        assert (e.code, e.exit_status) == ("S1_SESSIONS_PER_KEY", 2)
        assert e.found == "session 41 of party_id 1, device_id 2" and "at most 40" in str(e.expected)
        assert "PARTY_DEVICE.max_sessions_per_day" in str(e.where) and e.action


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"mode": "sliding"}, False),
        ({"mode": "tumbling"}, False),
        ({"mode": "tumbling", "hard_break_s": None, "timeout_s": 86400}, True),
        ({"timeout_s": 3601}, False),
        ({"hard_break_s": None}, False),
        ({"mode": None}, False),
        ({"max_sessions_per_day": 0}, False),
    ],
)
def test_policy_is_checked(change: dict, good: bool) -> None:
    """Gaps need a hard break, windows must not have one; every key is there, within its bounds."""
    block = {k: v for k, v in {**s1_pack().doc(POLICY)["PARTY_DEVICE"], **change}.items() if v is not None}
    doc = {**s1_pack().doc(POLICY), "PARTY_DEVICE": block}
    if good:
        check_document(POLICY, doc, packs_root(), PLAN.contracts)
        return
    with pytest.raises(PolicyError):
        check_document(POLICY, doc, packs_root(), PLAN.contracts)
