"""Proofs of S1: a whole shard passes, and each broken row is found under its code."""

import numpy as np
import pytest
from s1.crafted import attach_all, compile_for, crafted_arrivals, crafted_world

from fraudloom.errors import InternalError
from fraudloom.states import s1


@pytest.fixture(scope="module")
def proven():
    """(plan, world, arrivals, sessions) of one shard of a crafted world, proven."""
    world = crafted_world()
    plan = compile_for(world)
    got, evidence = attach_all(plan, world, crafted_arrivals(world))
    for s in range(3):
        part = {k: v[got["_shard"] == s] for k, v in got.items()}
        arrivals, sessions = s1.sessionise(plan, world, part, evidence)
        s1.prove(plan, world, arrivals, sessions)
    return plan, world, arrivals, sessions


def first(mask) -> int:
    """First row where the mask holds."""
    assert mask.any()
    return int(np.argmax(mask))


def other(values, row: int) -> int:
    """A value of the column that differs from the row's."""
    return int(values[values != values[row]][0])


ATTACHED = "ENTITY_ATTACHMENT_INCONSISTENT"


def till(a) -> int:
    """A row at a terminal."""
    return first(a["terminal_id"] > 0)


def plain(a) -> int:
    """A row on the customer's device, not pinned."""
    return first((a["terminal_id"] == 0) & (a["pinned_instrument_id"] == 0) & (a["channel_group"] == 0))


# What is broken, the column, and how: (arrivals, row) -> new value.
BROKEN = [
    ("ENTITY_REFERENCE_INVALID", "party_id", plain, lambda a, r: 10_000),
    ("ENTITY_REFERENCE_INVALID", "device_id", plain, lambda a, r: 0),
    ("ENTITY_REFERENCE_INVALID", "instrument_id", plain, lambda a, r: -1),
    (ATTACHED, "account_id", plain, lambda a, r: a["account_id"][a["party_id"] != a["party_id"][r]][0]),
    (ATTACHED, "instrument_id", plain, lambda a, r: a["instrument_id"][a["account_id"] != a["account_id"][r]].max()),
    (ATTACHED, "instrument_id", plain, lambda a, r: 0),
    (ATTACHED, "instrument_id", plain, lambda a, r: 6 * (a["account_id"][r] - 1) + 6),
    (ATTACHED, "instrument_id", plain, lambda a, r: 6 * (a["account_id"][r] - 1) + 3),
    (ATTACHED, "instrument_kind", plain, lambda a, r: other(a["instrument_kind"], r)),
    (ATTACHED, "ledger_class", plain, lambda a, r: other(a["ledger_class"], r)),
    (ATTACHED, "pinned_instrument_id", plain, lambda a, r: other(a["instrument_id"], r)),
    (ATTACHED, "attach_rule_id", plain, lambda a, r: 0),
    (ATTACHED, "ip_group", plain, lambda a, r: other(a["ip_group"], r)),
    (ATTACHED, "device_id", plain, lambda a, r: a["device_id"][till(a)]),
    (ATTACHED, "ip_id", plain, lambda a, r: other(a["ip_id"], r)),
    (ATTACHED, "terminal_id", till, lambda a, r: other(a["terminal_id"][a["terminal_id"] > 0], 0)),
    (ATTACHED, "ip_id", till, lambda a, r: a["ip_id"][plain(a)]),
    ("ARRIVAL_COVERAGE_MISMATCH", "ts_utc", lambda a: 5, lambda a, r: a["ts_utc"][0] - 1),
    ("SESSION_ID_MISMATCH", "session_id", plain, lambda a, r: other(a["session_id"], r)),
    ("SESSION_ID_MISMATCH", "_session_row", plain, lambda a, r: -1),
]


@pytest.mark.parametrize(
    ("code", "column", "where", "value"), BROKEN, ids=[f"{b[0]}-{b[1]}-{k}" for k, b in enumerate(BROKEN)]
)
def test_broken_arrival_is_found(proven, code, column, where, value) -> None:
    """One wrong value in an arrival is refused under the invariant's code."""
    plan, world, arrivals, sessions = proven
    row = where(arrivals)
    broken = {**arrivals, column: arrivals[column].copy()}
    broken[column][row] = value(arrivals, row)
    with pytest.raises(InternalError, match=f"S1_{code}"):
        s1.prove(plan, world, broken, sessions)


SESSION_COLUMNS = [
    "session_start_utc",
    "session_end_utc",
    "arrival_count",
    "party_id",
    "device_id",
    "account_id",
    "instrument_id",
    "merchant_id",
    "ip_id",
    "session_key_kind",
    "duration_us",
    "gap_min_us",
    "gap_max_us",
    "gap_sum_us",
    "channel_count",
    "merchant_count",
    "channel_group",
]


@pytest.mark.parametrize("column", SESSION_COLUMNS)
def test_broken_aggregate_is_found(proven, column) -> None:
    """Every column of the index recomputes: one wrong value is refused."""
    plan, world, arrivals, sessions = proven
    row = first(sessions["arrival_count"] > 1)
    broken = {**sessions, column: sessions[column].copy()}
    broken[column][row] += 1 if column != "session_key_kind" or not broken[column][row] else -1
    with pytest.raises(InternalError, match="S1_SESSION_AGGREGATE_MISMATCH"):
        s1.prove(plan, world, arrivals, broken)


def test_orphan_and_foreign_rows_are_found(proven) -> None:
    """A session without arrivals, a wrong session id, an arrival of another shard, a missing column."""
    plan, world, arrivals, sessions = proven
    more = {k: np.append(v, v[-1:]) for k, v in sessions.items()}
    with pytest.raises(InternalError, match="S1_SESSION_AGGREGATE_MISMATCH"):
        s1.prove(plan, world, arrivals, more)
    renamed = {**sessions, "session_id": sessions["session_id"] + 1}
    named = {**arrivals, "session_id": renamed["session_id"][arrivals["_session_row"]]}
    with pytest.raises(InternalError, match="S1_SESSION_ID_MISMATCH"):
        s1.prove(plan, world, named, renamed)
    shard = plan.index.shard.copy()
    shard[arrivals["party_id"][3] - 1] += 1
    index = type(plan.index)(**{**vars(plan.index), "shard": shard})
    elsewhere = type(plan)(**{**vars(plan), "index": index})
    with pytest.raises(InternalError, match="S1_SESSION_AXIS_MISMATCH"):
        s1.prove(elsewhere, world, arrivals, sessions)
    short = {k: v for k, v in arrivals.items() if k != "city_id"}
    with pytest.raises(InternalError, match="S1_OUTPUT_SCHEMA_VIOLATION"):
        s1.prove(plan, world, short, sessions)


def test_mixed_keys_and_long_gaps_are_found(proven) -> None:
    """Two sessions merged into one are refused, whether keys differ or the gap is a hard break."""
    plan, world, arrivals, sessions = proven
    row = arrivals["_session_row"].copy()
    row[row == 0] = 1
    merged = {**arrivals, "_session_row": row, "session_id": sessions["session_id"][row]}
    with pytest.raises(InternalError, match="S1_SESSION_AGGREGATE_MISMATCH"):
        s1.prove(plan, world, merged, sessions)
