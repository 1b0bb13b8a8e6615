"""Proofs of S1: a whole shard passes, and every check sees the one thing that it guards broken."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from s1.crafted import attach_all, compile_for, crafted_arrivals, crafted_world

from fraudloom.errors import InternalError
from fraudloom.states import s1
from fraudloom.states.s1.checks import PROOFS
from fraudloom.tables import Columns

SHARDS = 3


class Shard:
    """One proven shard of a crafted world, and the unit that scattered it."""

    def __init__(self) -> None:
        self.world = crafted_world()
        self.plan = compile_for(self.world)
        got, self.unit_evidence = attach_all(self.plan, self.world, crafted_arrivals(self.world))
        self.ledger = s1.Ledger(self.plan, SHARDS)
        self.ledger.add(got)
        self.rows = len(got["party_id"])
        for self.shard in range(SHARDS):
            part = {k: v[got["_shard"] == self.shard] for k, v in got.items()}
            self.evidence = self.plan.decisions.new_evidence()
            self.arrivals, self.sessions = s1.sessionise(self.plan, self.world, part, self.evidence)
            s1.prove(self.plan, self.world, self.arrivals, self.sessions)


@pytest.fixture(scope="module")
def proven() -> Shard:
    """The last shard of a crafted world; all are proven."""
    return Shard()


def copied(table: Columns) -> Columns:
    """A table whose columns can be changed."""
    return {k: v.copy() for k, v in table.items()}


def refused(what: str, proof: Callable[[], None]) -> InternalError:
    """The error of a proof, which must be that of the named check, and say all that an error says."""
    with pytest.raises(InternalError) as caught:
        proof()
    e = caught.value
    assert (e.what, e.code) == (what, f"S1_{PROOFS.checks[what].code}")
    assert all((e.state == "S1", e.found, e.expected, e.where, e.action))
    return e


def first(mask: np.ndarray) -> int:
    """First row where the mask holds."""
    assert mask.any()
    return int(np.argmax(mask))


def other(values: np.ndarray, row: int) -> int:
    """A value of the column that differs from the row's."""
    return int(values[values != values[row]][0])


def till(a: Columns) -> int:
    """A row at a terminal."""
    return first(a["terminal_id"] > 0)


def plain(a: Columns) -> int:
    """An ECOM row on the customer's device, not pinned, of no series."""
    return first(unpinned(a) & (a["terminal_id"] == 0) & (a["channel_group"] == 0) & (a["series_key"] == 0))


def unpinned(a: Columns) -> np.ndarray:
    """Rows that are not pinned."""
    return a["pinned_instrument_id"] == 0


def in_wallet(a: Columns) -> int:
    """A row paid with a wallet token on its phone: the party's third device."""
    return first(unpinned(a) & (a["instrument_kind"] == 3) & (a["terminal_id"] == 0))


def late(a: Columns) -> int:
    """A plain row after day 10, when the old card has ended."""
    return first(unpinned(a) & (a["ts_utc"] > a["ts_utc"].min() + 11 * 86_400_000_000) & (a["channel_group"] == 0))


def regular(a: Columns) -> int:
    """A row of a visit whose party is a regular."""
    return first(a["attach_rule_id"] == 3)


def sixth(a: Columns, row: int, place: int) -> int:
    """The instrument at a place (1 to 6) of the row's account: physical, virtual, handle, wallet, old card, spare."""
    return int(6 * (a["account_id"][row] - 1) + place)


def stranger(a: Columns, row: int) -> int:
    """A row of the party that is farthest from the row's."""
    return int(np.argmax(np.abs(a["party_id"] - a["party_id"][row])))


# Check: (column, the row, its new value).
ROWS: dict[str, tuple] = {
    "the account is not the party's": ("account_id", plain, lambda a, r: a["account_id"][stranger(a, r)]),
    "the instrument is not of the account": ("instrument_id", plain, lambda a, r: sixth(a, stranger(a, r), 1)),
    "the instrument is a spare or a successor": ("instrument_id", plain, lambda a, r: sixth(a, r, 6)),
    "the instrument is not in use at the instant": ("instrument_id", late, lambda a, r: sixth(a, r, 5)),
    "the party does not use the device": ("device_id", plain, lambda a, r: a["device_id"][till(a)]),
    "the device does not use the address": ("ip_id", plain, lambda a, r: other(a["ip_id"], r)),
    "a wallet token is not paid with its phone": ("device_id", in_wallet, lambda a, r: a["device_id"][r] - 2),
    "the terminal is not the merchant's": (
        "terminal_id",
        till,
        lambda a, r: a["terminal_id"][(a["terminal_id"] > 0) & (a["merchant_id"] != a["merchant_id"][r])][0],
    ),
    "the device is not the terminal's": ("device_id", till, lambda a, r: a["device_id"][plain(a)]),
    "the address is not the terminal's": ("ip_id", till, lambda a, r: a["ip_id"][plain(a)]),
    "a terminal is used off tills and cash machines": ("terminal_id", plain, lambda a, r: a["terminal_id"][till(a)]),
    "instrument_kind differs from 6A": ("instrument_kind", plain, lambda a, r: other(a["instrument_kind"], r)),
    "ledger_class differs from 6A": ("ledger_class", plain, lambda a, r: other(a["ledger_class"], r)),
    "ip_group differs from 6A": ("ip_group", plain, lambda a, r: other(a["ip_group"], r)),
    "a pinned row is not on its own card": (
        "pinned_instrument_id",
        lambda a: first(~unpinned(a)),
        lambda a, r: a["pinned_instrument_id"][r] % 6 + 1,
    ),
    "attach_rule_id does not fit the arrival": ("attach_rule_id", plain, lambda a, r: 0),
    "attach_score is not that of its rule": ("attach_score", regular, lambda a, r: 0.3),
    "attach_rng_family is not the attachment's": (
        "attach_rng_family",
        plain,
        lambda a, r: a["attach_rng_family"][r] + 1,
    ),
    "the channel requires an instrument": ("instrument_id", plain, lambda a, r: 0),
    "the channel does not take such an instrument": ("instrument_id", plain, lambda a, r: sixth(a, r, 3)),
    "an arrival occurs twice or out of order": ("ts_utc", lambda a: 5, lambda a, r: a["ts_utc"][r] - 5 * 10**10),
    "an arrival has no session": ("_session_row", plain, lambda a, r: -1),
    "an arrival names another session": ("session_id", plain, lambda a, r: other(a["session_id"], r)),
}


@pytest.mark.parametrize("what", ROWS)
def test_broken_arrival_is_found(proven: Shard, what: str) -> None:
    """One wrong value in an arrival is refused by the check that guards it, which names the arrival."""
    column, where, value = ROWS[what]
    broken = copied(proven.arrivals)
    row = where(broken)
    broken[column][row] = value(broken, row)
    error = refused(what, lambda: s1.prove(proven.plan, proven.world, broken, proven.sessions))
    if what != "an arrival occurs twice or out of order":
        assert f"arrival_seq {broken['arrival_seq'][row]} (row {row} " in str(error.where)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("party_id", v) for v in (0, 10_000)),
        *(("account_id", v) for v in (0, 10_000)),
        *(("instrument_id", v) for v in (-1, 10_000)),
        *(("device_id", v) for v in (0, 10_000)),
        *(("ip_id", v) for v in (0, 10_000)),
        *(("terminal_id", v) for v in (-1, 10_000)),
        *(("merchant_id", v) for v in (0, 10_000)),
    ],
)
def test_foreign_id_is_found(proven: Shard, column: str, value: int) -> None:
    """An id that the world lacks is refused in every column, and the column is named."""
    broken = copied(proven.arrivals)
    broken[column][7] = value
    what = "an id is not one of the world's"
    error = refused(what, lambda: s1.prove(proven.plan, proven.world, broken, proven.sessions))
    assert f"{column} {value}" in str(error.found)


SESSION_COLUMNS = [
    *("session_start_utc", "session_end_utc", "party_id", "device_id", "account_id", "instrument_id", "merchant_id"),
    *("ip_id", "session_key_kind", "duration_us", "gap_min_us", "gap_max_us", "gap_sum_us", "channel_count"),
    *("merchant_count", "channel_group"),
]


@pytest.mark.parametrize("column", SESSION_COLUMNS)
def test_broken_aggregate_is_found(proven: Shard, column: str) -> None:
    """Every column of the index recomputes: one wrong value is refused, and the column is named."""
    row = first(proven.sessions["arrival_count"] > 1)
    broken = copied(proven.sessions)
    broken[column][row] += 1 if column != "session_key_kind" or not broken[column][row] else -1
    what = "a column of the index does not recompute from the members"
    error = refused(what, lambda: s1.prove(proven.plan, proven.world, proven.arrivals, broken))
    assert str(error.found).startswith(f"{column} ")
    assert f"session_id {broken['session_id'][row]}" in str(error.where)


def count_wrong(shard: Shard) -> None:
    """One member more than there is."""
    broken = copied(shard.sessions)
    broken["arrival_count"][0] += 1
    s1.prove(shard.plan, shard.world, shard.arrivals, broken)


def orphan(shard: Shard) -> None:
    """A session without arrivals at the end of the index."""
    more = {k: np.append(v, v[-1:]) for k, v in shard.sessions.items()}
    s1.prove(shard.plan, shard.world, shard.arrivals, more)


def renamed(shard: Shard) -> None:
    """Session ids one higher, in both tables."""
    sessions = {**shard.sessions, "session_id": shard.sessions["session_id"] + 1}
    arrivals = {**shard.arrivals, "session_id": sessions["session_id"][shard.arrivals["_session_row"]]}
    s1.prove(shard.plan, shard.world, arrivals, sessions)


def swapped(shard: Shard) -> None:
    """The first two sessions in the other order, and arrivals that follow them."""
    sessions = copied(shard.sessions)
    for values in sessions.values():
        values[[0, 1]] = values[[1, 0]]
    row = shard.arrivals["_session_row"]
    s1.prove(shard.plan, shard.world, {**shard.arrivals, "_session_row": np.where(row < 2, 1 - row, row)}, sessions)


def merged(shard: Shard) -> None:
    """The first session's arrivals in the second one, which is of another key; the first stays behind with one."""
    a, s = shard.arrivals, copied(shard.sessions)
    big = first(s["arrival_count"] > 1)
    row = a["_session_row"].copy()
    row[np.flatnonzero(row == big)[-1]] = big + 1
    s["arrival_count"][big] -= 1
    s["arrival_count"][big + 1] += 1
    s1.prove(shard.plan, shard.world, {**a, "_session_row": row, "session_id": s["session_id"][row]}, s)


def foreign_holder(shard: Shard) -> None:
    """A world in which a card of the party's account is held by somebody else."""
    index = shard.plan.index
    holder = index.holdings.holder.copy()
    row = plain(shard.arrivals)
    holder[shard.arrivals["instrument_id"][row] - 1] += 1
    plan = replace(shard.plan, index=replace(index, holdings=index.holdings._replace(holder=holder)))
    s1.prove(plan, shard.world, shard.arrivals, shard.sessions)


def old_device(shard: Shard) -> None:
    """A world in which a device went out of use before."""
    index = shard.plan.index
    until = index.devices.device_to.copy()
    until[shard.arrivals["device_id"][plain(shard.arrivals)] - 1] = 0
    plan = replace(shard.plan, index=replace(index, devices=index.devices._replace(device_to=until)))
    s1.prove(plan, shard.world, shard.arrivals, shard.sessions)


def elsewhere(shard: Shard) -> None:
    """A world in which one party's household belongs to another shard."""
    index = shard.plan.index
    shards = index.shard.copy()
    shards[shard.arrivals["party_id"][3] - 1] += 1
    plan = replace(shard.plan, index=replace(index, shard=shards))
    s1.prove(plan, shard.world, shard.arrivals, shard.sessions)


def narrow(shard: Shard) -> None:
    """A table without one of its columns."""
    short = {k: v for k, v in shard.arrivals.items() if k != "city_id"}
    s1.prove(shard.plan, shard.world, short, shard.sessions)


def scattered(shard: Shard, arrivals: Columns, evidence: np.ndarray | None = None) -> None:
    """The proof of what came over the scatter."""
    carried = s1.recorded_sum([{"carried": shard.ledger.record()}], shard.shard)
    n = len(shard.arrivals["ts_utc"])
    made = shard.evidence if evidence is None else evidence
    s1.prove_scattered(shard.plan, arrivals, shard.shard, n, carried, made)


def lost(shard: Shard) -> None:
    """One arrival less in the shard than was scattered to it."""
    scattered(shard, {k: v[1:] for k, v in shard.arrivals.items()})


def changed(shard: Shard) -> None:
    """One upstream value of one arrival changed."""
    broken = copied(shard.arrivals)
    broken["bucket_index"][11] += 1
    scattered(shard, broken)


def missed(shard: Shard) -> None:
    """A unit that read one arrival more than it attached."""
    s1.prove_unit(shard.plan, shard.ledger, shard.rows + 1, shard.unit_evidence, 0)


def boundary_drawn_twice(shard: Shard) -> None:
    """One boundary too many."""
    evidence = shard.evidence.copy()
    evidence[shard.plan.decisions.index("SESSION_BOUNDARY"), 0] += np.uint64(1)
    scattered(shard, shard.arrivals, evidence)


# Check: what breaks it.
SHARD = {
    "arrival_count is not the number of members": count_wrong,
    "a session has no arrival": orphan,
    "session_id is not its first arrival's": renamed,
    "sessions are out of order or occur twice": swapped,
    "a session mixes keys": merged,
    "the instrument is not held by the party": foreign_holder,
    "the device is not in use at the instant": old_device,
    "an arrival is of another shard": elsewhere,
    "a column is missing, or has another type or length": narrow,
    "arrivals were lost or added on the way to their shard": lost,
    "an upstream column was changed on the way to the shard": changed,
    "a unit of the scatter attached fewer or more arrivals than it read": missed,
    "draws made are not the draws due": boundary_drawn_twice,
}


@pytest.mark.parametrize("what", SHARD)
def test_broken_shard_is_found(proven: Shard, what: str) -> None:
    """One thing wrong about a shard, its world or its way there is refused by the check that guards it."""
    scattered(proven, proven.arrivals)
    s1.prove_unit(proven.plan, proven.ledger, proven.rows, proven.unit_evidence, 0)
    refused(what, lambda: SHARD[what](proven))


def test_every_carried_column_counts(proven: Shard) -> None:
    """The checksum of what S1 carries notices a change in every column of 5B, and an exchange of two rows' values."""
    assert set(proven.plan.carried) >= {"merchant_id", "ts_utc", "visit_key", "pinned_amount_minor", "_ordinal", "trip"}
    for name in proven.plan.carried:
        broken = copied(proven.arrivals)
        broken[name][4] = not broken[name][4] if broken[name].dtype == np.bool_ else broken[name][4] + 1
        refused("an upstream column was changed on the way to the shard", lambda b=broken: scattered(proven, b))
    broken = copied(proven.arrivals)
    row = first(broken["ts_utc"] != broken["ts_utc"][0])
    broken["ts_utc"][[0, row]] = broken["ts_utc"][[row, 0]]
    refused("an upstream column was changed on the way to the shard", lambda: scattered(proven, broken))


@pytest.mark.parametrize("step", range(11))
def test_every_step_is_counted(proven: Shard, step: int) -> None:
    """A draw too few in any step of the attachment is refused, naming the decision."""
    evidence = proven.unit_evidence.copy()
    evidence[step, 0] -= np.uint64(1)
    proof = lambda: s1.prove_unit(proven.plan, proven.ledger, proven.rows, evidence, 3)  # noqa: E731
    error = refused("draws made are not the draws due", proof)
    assert str(error.where) == f"unit 3, {proven.plan.decisions.names[step]}"


LIMITS = {
    "max_arrivals": ("arrivals", 1),
    "max_duration_s": ("duration_us", 1),
    "hard break": ("break_us", 1),
    "two local days": ("on_day", True),
    "two channels": ("on_channel", True),
    "two windows": ("tumbling", True),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_sessions_beyond_their_policy_are_found(proven: Shard, limit: str) -> None:
    """Sessions that were cut by another policy than the plan's are refused, naming the limit."""
    name, value = LIMITS[limit]
    rule = proven.plan.cut._asdict()
    plan = replace(proven.plan, cut=proven.plan.cut._replace(**{name: np.full_like(rule[name], value)}))
    sessions, arrivals = copied(proven.sessions), copied(proven.arrivals)
    if name == "on_day":
        arrivals["ts_local_primary"] += np.arange(len(arrivals["ts_utc"])) * 86_400_000_000
    what = "a session is longer than its policy lets it be"
    error = refused(what, lambda: s1.prove(plan, proven.world, arrivals, sessions))
    assert limit in str(error.found)


#: Checks that a test of this file breaks.
COVERS = {
    "test_broken_arrival_is_found": set(ROWS),
    "test_broken_shard_is_found": set(SHARD),
    "test_foreign_id_is_found": {"an id is not one of the world's"},
    "test_broken_aggregate_is_found": {"a column of the index does not recompute from the members"},
    "test_sessions_beyond_their_policy_are_found": {"a session is longer than its policy lets it be"},
}
