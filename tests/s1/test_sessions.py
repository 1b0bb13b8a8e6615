"""Sessions on crafted gaps: timeout, ramp, break, switches, caps, ties, aggregates."""

import numpy as np
import pytest
from s1.crafted import CONTRACTS, DAY_US, START, compile_for, crafted_world, rows

from fraudloom.kernels.idmap import encode_id
from fraudloom.kernels.sessions import CutRule, cut_sessions, index_sessions, order_ties
from fraudloom.kernels.streams import uniform
from fraudloom.states import s1

SECOND = 1_000_000
ECOM, POS, ATM, RAIL, HYBRID = range(5)


@pytest.fixture(scope="module")
def world():
    """A crafted world."""
    return crafted_world()


@pytest.fixture(scope="module")
def plan(world):
    """Its plan."""
    return compile_for(world)


def attached(ts, channel=None, party=None, **columns) -> dict:
    """Attached arrivals of one shard with the given columns; all at merchant 1 unless said otherwise."""
    n = len(ts)
    given = {
        "merchant_id": np.ones(n),
        "arrival_seq": np.arange(1, n + 1),
        "ts_utc": START + np.asarray(ts),
        "ts_local_primary": START + np.asarray(ts),
        "channel_group": np.zeros(n) if channel is None else channel,
        "party_id": np.ones(n) if party is None else party,
        "account_id": np.ones(n),
        "instrument_id": np.ones(n),
        "device_id": np.ones(n),
        "ip_id": np.ones(n),
        "attach_score": np.ones(n),
        **columns,
    }
    ordinal = given.pop("_ordinal", np.arange(n))
    out = rows("s1_arrival_entities_6B", **given)
    out["_ordinal"] = np.asarray(ordinal, dtype=np.int64)
    return out


def cut(plan, world, arrivals) -> tuple[list[int], dict, dict]:
    """Number of the session of each arrival (in time order), and both tables."""
    got, sessions = s1.sessionise(plan, world, arrivals, plan.decisions.new_evidence())
    return got["_session_row"].tolist(), got, sessions


def with_rule(plan, **changes):
    """The plan with other numbers for both key kinds."""
    rule = {k: v.copy() for k, v in plan.cut._asdict().items()}
    for name, value in changes.items():
        rule[name][:] = value
    return type(plan)(**{**vars(plan), "cut": CutRule(**rule)})


@pytest.mark.parametrize(("channel", "timeout", "hard"), [(ECOM, 900, 7200), (POS, 1800, 10800), (RAIL, 900, 7200)])
def test_gaps_at_the_edges(plan, world, channel: int, timeout: int, hard: int) -> None:
    """A gap of exactly the timeout never breaks; one of exactly the hard break always does."""
    times = np.array([0, timeout, timeout + hard, timeout + 2 * hard + 1]) * SECOND
    assert cut(plan, world, attached(times, np.full(4, channel)))[0] == [0, 0, 1, 2]


def test_ramp_is_exact(plan, world) -> None:
    """In between, the arrival breaks exactly when its own draw lies below the ramp."""
    gap = 900 * SECOND + np.arange(1, 400) * 15_750_000
    ts = np.stack([np.zeros(399, np.int64), gap], axis=1)
    arrivals = attached(ts.ravel(), party=np.repeat(np.arange(1, 400), 2), device_id=np.repeat(np.arange(1, 400), 2))
    _, got, _ = cut(plan, world, arrivals)
    key = plan.decisions.keys[plan.decisions.index("SESSION_BOUNDARY")]
    by_ordinal = np.argsort(got["_ordinal"])
    session = got["session_id"][by_ordinal].reshape(-1, 2)
    for k in range(399):
        broke = uniform(key, 2 * k + 1) < float(gap[k] - 900 * SECOND) / float((7200 - 900) * SECOND)
        assert (session[k, 0] != session[k, 1]) == broke
    assert 150 < (session[:, 0] != session[:, 1]).sum() < 250


def test_keys_are_party_with_card_or_device(plan, world) -> None:
    """Tills go by the card, the rest by the device; different keys interleave without cutting each other."""
    ts = np.arange(8) * 60 * SECOND
    channel = np.array([POS, ECOM, ATM, HYBRID, POS, RAIL, POS, ECOM])
    card = np.array([1, 1, 1, 1, 2, 0, 1, 9])
    device = np.array([7, 5, 7, 5, 7, 5, 8, 6])
    assert cut(plan, world, attached(ts, channel, instrument_id=card, device_id=device))[0] == [0, 1, 0, 1, 2, 1, 0, 3]


def test_day_and_channel_breaks(plan, world) -> None:
    """The switches cut at local midnight and where the channel changes, and only when on."""
    ts = DAY_US + np.array([-120, -60, 60, 120]) * SECOND
    channel = np.array([ECOM, HYBRID, HYBRID, HYBRID])
    arrivals = attached(ts, channel)
    assert cut(plan, world, arrivals)[0] == [0, 0, 0, 0]
    assert cut(with_rule(plan, on_day=True), world, arrivals)[0] == [0, 0, 1, 1]
    assert cut(with_rule(plan, on_channel=True), world, arrivals)[0] == [0, 1, 1, 1]


def test_caps(plan, world) -> None:
    """A full session ends, and one that would last longer than allowed."""
    ts = np.arange(7) * 600 * SECOND
    assert cut(with_rule(plan, arrivals=3), world, attached(ts))[0] == [0, 0, 0, 1, 1, 1, 2]
    assert cut(with_rule(plan, duration_us=1200 * SECOND), world, attached(ts))[0] == [0, 0, 0, 1, 1, 1, 2]


def test_aggregates(plan, world) -> None:
    """Counts, gaps, dominant entities (most arrivals, lowest id of equals, null ignored) and ids of one session."""
    ts = np.array([0, 10, 40, 100]) * SECOND
    arrivals = attached(
        ts,
        np.array([RAIL, ECOM, RAIL, ECOM]),
        merchant_id=np.array([4, 9, 9, 4]),
        account_id=np.array([8, 3, 3, 3]),
        instrument_id=np.array([0, 0, 6, 0]),
        ip_id=np.array([5, 2, 9, 9]),
        _ordinal=[40, 90, 91, 41],
    )
    _, got, sessions = cut(plan, world, arrivals)
    row = {k: v[0].item() for k, v in sessions.items()}
    assert len(sessions["session_id"]) == 1
    assert row["arrival_count"] == 4 and row["duration_us"] == 100 * SECOND
    assert (row["gap_min_us"], row["gap_max_us"], row["gap_sum_us"]) == (10 * SECOND, 60 * SECOND, 100 * SECOND)
    assert (row["merchant_id"], row["account_id"], row["instrument_id"], row["ip_id"]) == (4, 3, 6, 9)
    assert (row["channel_group"], row["channel_count"], row["merchant_count"]) == (ECOM, 2, 2)
    assert row["_ordinal"] == 320 and row["session_id"] == encode_id(plan.id_key, 320)
    assert (got["_session_ordinal"] == 320).all() and (got["session_id"] == row["session_id"]).all()


def test_single_arrival_has_null_gaps(plan, world) -> None:
    """One arrival: gaps are null (0 in memory)."""
    sessions = cut(plan, world, attached(np.array([5])))[2]
    assert [sessions[k][0] for k in ("gap_min_us", "gap_max_us", "gap_sum_us", "duration_us")] == [0, 0, 0, 0]


def test_any_row_order_and_scratch_types(plan, world) -> None:
    """Shuffled rows in scratch types give the same tables as ordered rows in the contract's types."""
    rng = np.random.default_rng(3)
    n = 500
    ts = np.sort(rng.integers(0, DAY_US, n) // (1000 * SECOND) * 1000 * SECOND)
    arrivals = attached(ts, rng.integers(0, 5, n), rng.integers(1, 20, n), device_id=rng.integers(1, 9, n))
    whole = s1.sessionise(plan, world, arrivals, plan.decisions.new_evidence())
    mix = rng.permutation(n)
    scratch = {k: arrivals[k][mix].astype(d) for k, d in s1.SCRATCH_COLUMNS}
    again = s1.sessionise(plan, world, scratch, plan.decisions.new_evidence())
    for one, two in zip(whole, again, strict=True):
        for name, values in one.items():
            if name in two and name not in ("ledger_class", "instrument_kind", "ip_group", "attach_rng_family"):
                assert values.dtype == two[name].dtype and np.array_equal(values, two[name]), name
    start, ids = whole[1]["session_start_utc"], whole[1]["session_id"]
    assert len(np.unique(start)) < len(start), "the case holds sessions that start together"
    assert np.array_equal(np.lexsort((ids, start)), np.arange(len(ids)))


def test_no_arrivals(plan, world) -> None:
    """An empty shard gives empty tables in the contract's types, and is proven."""
    empty = {k: np.empty(0, d) for k, d in s1.SCRATCH_COLUMNS}
    got, sessions = s1.sessionise(plan, world, empty, plan.decisions.new_evidence())
    for dataset_id, table in (("s1_arrival_entities_6B", got), ("s1_session_index_6B", sessions)):
        for column in CONTRACTS.dataset(dataset_id).columns:
            assert table[column.name].dtype == column.memory_dtype and len(table[column.name]) == 0
    s1.prove(plan, world, got, sessions)


def test_kernels_named() -> None:
    """The kernels of this module's claims exist under their names."""
    assert all(callable(k) for k in (cut_sessions, index_sessions, order_ties))
