"""Cases of S1: who acts, with what, from where, and sessions.

Every rule has its edges in the data: windows without weight, a city without residents, trips without visitors, parties
without accounts or devices, things out of use, addresses of no weight, ties, and gaps at the limits of the session law.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels.attach import HoldingOut, HoldingPriors, Holdings, PartyOut, People, Rows, Streams
from fraudloom.kernels.attach_device import DeviceOut, DevicePriors, Devices
from fraudloom.kernels.sessions import CutRule, Cuts, IndexOut, Members, Timeline
from fraudloom.perf.cases import Case

Ints = np.ndarray[Any, np.dtype[np.int64]]
FIRST_DAY = 20_454
DAYS = 20
DAY_US = 86_400_000_000
SECOND = 1_000_000
DECISIONS = 12


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _ptr(counts: Any) -> Ints:
    return np.r_[0, np.cumsum(counts)].astype(np.int64)


def _weights(rng: np.random.Generator, n: int) -> Any:
    """Weights of which some are 0."""
    return rng.random(n) * (rng.random(n) < 0.9)


def _streams(seed: int) -> Streams:
    """Keys of twelve decisions; several candidates for a party of a visit, one draw for all else."""
    rng = _rng(seed + 1)
    slots = np.ones(DECISIONS, np.int64)
    slots[0] = 1 + seed % 5
    return Streams(rng.integers(0, 1 << 63, DECISIONS, dtype=np.uint64) * np.uint64(2), slots)


def _evidence() -> Any:
    return np.zeros((DECISIONS, 2), np.uint64)


def _size(rows: int) -> int:
    """Parties, merchants and so on: few enough that rows meet at the same ones."""
    return 3 + rows // 8


def _rows(rows: int, seed: int, instruments: int) -> Rows:
    rng, size = _rng(seed + 2), _size(rows)
    ts = FIRST_DAY * DAY_US + rng.integers(-DAY_US, (DAYS + 1) * DAY_US, rows)
    visit = rng.integers(1, rows + 2, rows)
    pinned = np.where(rng.random(rows) < 0.1, rng.integers(1, instruments + 1, rows), 0) if instruments else 0
    return Rows(
        rng.integers(1, size + 1, rows),
        ts,
        rng.integers(0, 5, rows).astype(np.int8),
        ts + rng.integers(-12, 13, rows) * 3_600 * SECOND,
        visit,
        np.where(rng.random(rows) < 0.2, rng.integers(1, rows + 2, rows), 0),
        rng.integers(1, size + 1, rows),
        rng.integers(1, 5, rows),
        rng.integers(1, 5, rows),
        rng.random(rows) < 0.3,
        np.zeros(rows, np.int64) + pinned,
        np.where(rng.random(rows) < 0.1, rng.integers(1, size + 1, rows), 0),
        np.where(rng.random(rows) < 0.1, rng.integers(1, size + 1, rows), 0),
        int(rng.integers(0, 1 << 40)),
    )


def _people(rows: int, seed: int) -> People:
    """Four cities; groups of a merchant for some of them; trips and visitors by chance."""
    rng, size = _rng(seed + 3), _size(rows)
    stands = rng.random((size, 4)) < 0.5
    regulars = rng.integers(0, 4, int(stands.sum()))
    n = int(regulars.sum())
    residents = np.bincount(np.sort(rng.integers(0, 3, size)), minlength=4)
    trips = rng.integers(0, 3, size)
    place = np.arange(int(trips.sum())) - np.repeat(_ptr(trips)[:-1], trips)  # one in each half of the horizon
    from_day = (place * (DAYS // 2) + rng.integers(0, DAYS // 2 - 3, len(place))).astype(np.int32)
    guests = np.flatnonzero(rng.random(5 * DAYS) < 0.5)
    visitors = rng.integers(0, 4, len(guests))
    m = int(visitors.sum())
    return People(
        _ptr(stands.sum(axis=1)),
        (np.nonzero(stands)[1] + 1).astype(np.int64),
        _ptr(regulars),
        rng.integers(1, size + 1, n),
        np.cumsum(_weights(rng, n)),
        _ptr(residents),
        np.cumsum(_weights(rng, size)),
        _ptr(trips),
        from_day,
        from_day + rng.integers(0, 4, len(from_day)).astype(np.int32),
        (guests // DAYS) * (1 << 20) + guests % DAYS,
        _ptr(visitors),
        rng.integers(1, size + 1, m),
        np.cumsum(_weights(rng, m)),
        FIRST_DAY,
        DAYS,
    )


def _holdings(rows: int, seed: int) -> Holdings:
    """Accounts and instruments by chance, some of another holder, some out of use."""
    rng, size = _rng(seed + 4), _size(rows)
    accounts = _ptr(rng.integers(0, 4, size))
    a = int(accounts[-1])
    instruments = _ptr(rng.integers(0, 4, a))
    n = int(instruments[-1])
    account_of = np.repeat(np.arange(1, a + 1), np.diff(instruments))
    owner = np.repeat(np.arange(1, size + 1), np.diff(accounts))
    starts = FIRST_DAY * DAY_US + rng.integers(-2 * DAY_US, 2 * DAY_US, n)
    spare = rng.random(n) < 0.2
    holder = np.where(rng.random(n) < 0.1, rng.integers(1, size + 1, n), owner[account_of - 1] if n else 0)
    return Holdings(
        rng.integers(0, 3, size).astype(np.int8),
        accounts,
        rng.integers(0, 4, a).astype(np.int8),
        instruments,
        rng.integers(0, 4, n).astype(np.int8),
        np.where(spare, 0, starts),
        np.where(spare, 0, starts + rng.integers(DAY_US, (DAYS + 2) * DAY_US, n)),
        holder.astype(np.int64),
        account_of.astype(np.int64),
    )


def _party(rows: int, seed: int) -> tuple[Any, ...]:
    holdings = _holdings(rows, seed)
    out = PartyOut(np.zeros(rows, np.int64), np.zeros(rows, np.int8), np.zeros(rows))
    arrivals = _rows(rows, seed, len(holdings.holder))
    return arrivals, _people(rows, seed), holdings, 0.55, _streams(seed), _evidence(), out


def _holding(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    holdings = _holdings(rows, seed)
    arrivals = _rows(rows, seed, len(holdings.holder))
    party = rng.integers(0 if seed % 3 == 0 else 1, _size(rows) + 1, rows)
    pinned = np.flatnonzero(arrivals.pinned)
    party[pinned] = holdings.holder[arrivals.pinned[pinned] - 1]
    priors = HoldingPriors(
        0.001 + rng.random((3, 5, 4)),
        _weights(rng, 60).reshape(3, 5, 4),
        rng.random((5, 4)) < 0.8,
        np.arange(5) == 3,
    )
    out = HoldingOut(np.zeros(rows, np.int64), np.zeros(rows, np.int64))
    return arrivals, party, holdings, priors, _streams(seed), _evidence(), out


def _devices(rows: int, seed: int) -> Devices:
    rng, size = _rng(seed + 5), _size(rows)
    n = 3 * size
    links = _ptr(rng.integers(0, 5, size))
    stands = rng.integers(0, 4, size)
    city = rng.integers(1, 5, int(stands.sum()))
    city = city[np.lexsort((city, np.repeat(np.arange(size), stands)))]
    starts = FIRST_DAY * DAY_US + rng.integers(-2 * DAY_US, 2 * DAY_US, n)
    addresses = _ptr(rng.integers(0, 5, n))
    k = int(addresses[-1])
    ips = 5 + size
    return Devices(
        rng.integers(0, 3, size).astype(np.int8),
        links,
        rng.integers(1, n + 1, int(links[-1])),
        rng.integers(0, 2, int(links[-1])).astype(np.int8),
        starts,
        starts + rng.integers(DAY_US, 2 * DAYS * DAY_US, n),
        rng.random(n) < 0.5,
        _ptr(stands),
        city,
        rng.permutation(len(city)) + 1,
        rng.integers(1, n + 1, len(city)),
        rng.integers(1, ips + 1, len(city)),
        addresses,
        rng.integers(1, ips + 1, k),
        rng.integers(0, 3, k).astype(np.int8),
        rng.integers(0, 6, ips).astype(np.int8),
        np.where(rng.random(size) < 0.4, rng.integers(1, n + 1, size), 0),
    )


def _device(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    party = rng.integers(0 if seed % 3 == 0 else 1, _size(rows) + 1, rows)
    group = 0.001 + rng.random((3, 5, 6))
    group[:, :, 5] = 0.0
    priors = DevicePriors(
        rng.random((3, 5)),
        np.array([1.0, 0.5]),
        np.array([0.0, 0.6, 0.9, 0.0, 0.0]),
        rng.random((3, 5)),
        group,
    )
    out = DeviceOut(*(np.zeros(rows, np.int64) for _ in range(3)))
    instrument = rng.integers(0, _size(rows) + 1, rows)
    return _rows(rows, seed, 0), party, instrument, _devices(rows, seed), priors, _streams(seed), _evidence(), out


def _links(rows: int, seed: int) -> tuple[Any, ...]:
    rng, size = _rng(seed), _size(rows)
    ptr = _ptr(rng.integers(0, 5, size))
    targets = rng.integers(1, 9, int(ptr[-1]))
    return ptr, targets, rng.integers(0, size + 1, rows), rng.integers(1, 9, rows), np.zeros(rows, np.bool_)


def _scatter(rows: int, seed: int) -> tuple[Any, ...]:
    shards = 1 + seed % 7
    shard = _rng(seed).integers(0, shards, rows).astype(np.int32)
    return shard, np.zeros(rows, np.int64), np.zeros(shards + 1, np.int64)


def _mix(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    kinds: tuple[Any, ...] = (np.int64, np.int32, np.int8, np.bool_)
    values: Any = rng.integers(-5, 1 << 31, rows).astype(kinds[seed % 4])
    state = rng.integers(0, 1 << 63, rows, dtype=np.uint64) * np.uint64(2)
    return values, np.uint64(rng.integers(0, 1 << 63, dtype=np.uint64) | np.uint64(1)), state


def _sums(rows: int, seed: int) -> tuple[Any, ...]:
    rng, shards = _rng(seed), 1 + seed % 7
    state = rng.integers(0, 1 << 63, rows, dtype=np.uint64) * np.uint64(2)
    return state, rng.integers(0, shards, rows).astype(np.int32), np.full(shards, 7, np.uint64)


def _cut(rows: int, seed: int) -> tuple[Any, ...]:
    """Gaps of whole multiples of the limits among others; few keys; some without an instrument."""
    rng, size = _rng(seed), 1 + rows // 12
    near = rng.choice(np.array([0, 1, 300, 301, 900, 1799, 3600]), rows) * SECOND
    gaps = np.where(rng.random(rows) < 0.5, near, rng.integers(0, 1200 * SECOND, rows))
    ts = FIRST_DAY * DAY_US + np.cumsum(gaps)
    arrivals = Timeline(
        rng.integers(1, size + 1, rows),
        rng.integers(0, 3, rows),
        rng.integers(1, 3, rows),
        rng.integers(0, 5, rows).astype(np.int8),
        ts,
        ts + rng.integers(-1, 2, rows) * 3_600 * SECOND,
        rng.permutation(rows).astype(np.int64) + int(rng.integers(0, 1 << 40)),
    )
    flags = rng.random((3, 2)) < 0.2
    rule = CutRule(
        np.array([300, 900]) * SECOND,
        np.array([3601, 7200]) * SECOND,
        np.array([4000, 43200]) * SECOND,
        rng.integers(1, 9, 2),
        flags[0],
        flags[1],
        flags[2],
    )
    streams = _streams(seed)
    table = np.zeros(1 << int(rows + 1).bit_length(), np.int64)
    out = Cuts(*(np.zeros(rows, np.int64) for _ in range(4)))
    return arrivals, rule, streams.keys, streams.slots, _evidence(), table, out


def _ties(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    starts = np.sort(rng.integers(0, 1 + rows // 2, rows))
    return starts, rng.permutation(rows).astype(np.int64) + 1, np.zeros(rows, np.int64)


def _index(rows: int, seed: int) -> tuple[Any, ...]:
    """Sessions of one arrival and of many; ids in few values, some null; equal counts are common."""
    rng = _rng(seed)
    session = np.sort(rng.integers(0, 1 + rows // 3, rows))
    counts = np.bincount(session)
    counts = counts[counts > 0]
    ids = [rng.integers(low, 5, rows) for low in (1, 1, 0, 1, 0)]
    if rows > 3:
        ids[2][:3] = 0
    columns = Members(np.cumsum(rng.integers(0, 3, rows) * SECOND), *ids, rng.integers(0, 5, rows).astype(np.int8))
    n = len(counts)
    dtypes = [np.int64] * 8 + [np.int8, np.int16, np.int32]
    spread = rng.permutation(rows)
    order = np.concatenate([np.sort(p) for p in np.split(spread, np.cumsum(counts)[:-1])]) if rows else spread
    return columns, _ptr(counts), order.astype(np.int64), IndexOut(*(np.zeros(n, t) for t in dtypes))


def _take(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    return rng.integers(-(2**31), 2**31, rows).astype(np.int32), rng.permutation(rows), np.empty(rows, np.int64)


CASES = (
    Case("attach_party", _party, (5, 6)),
    Case("attach_holding", _holding, (5, 6), returns=True),
    Case("attach_device", _device, (6, 7), returns=True),
    Case("hold_links", _links, (4,), rows=5_000_000),
    Case("scatter_order", _scatter, (1, 2), rows=5_000_000),
    Case("take_rows", _take, (2,), rows=5_000_000),
    Case("mix_columns", _mix, (2,), rows=5_000_000),
    Case("sum_mixed", _sums, (2,), rows=5_000_000),
    Case("cut_sessions", _cut, (4, 6), returns=True),
    Case("order_ties", _ties, (2,), rows=5_000_000),
    Case("index_sessions", _index, (3,)),
)
