"""Cases of S3: census, race, episodes, chains, refunds, reports, scripts of new flows, merging.

Rules have their edges in the data: no campaign, empty pools, quotas of 0 and above the supply, weights of 0,
equal keys, instants at the ends of windows and horizon, laws whose bounds leave no room.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import campaigns as k
from fraudloom.kernels import overlay as o
from fraudloom.kernels.amounts import AmountRule, CurrencyTables
from fraudloom.kernels.census import Domain
from fraudloom.perf.cases import Case

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
START = 20_454 * DAY
END = START + 90 * DAY
DECISIONS, TYPES, CAMPAIGNS, SHARDS = 12, 14, 20, 4
ACCOUNTS = PARTIES = DEVICES = 40
MERCHANTS, CITIES = 30, 6

Array = np.ndarray[Any, np.dtype[Any]]


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _streams(seed: int) -> k.Streams:
    keys = _rng(seed).integers(0, 1 << 63, DECISIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return k.Streams(keys, np.zeros((DECISIONS, 2), np.uint64))


def _codes(rng: np.random.Generator, n: int, rows: int) -> Array:
    return rng.integers(0, n, rows).astype(np.int8)


def _ordinals(rng: np.random.Generator, rows: int) -> Array:
    return 8 * np.cumsum(rng.integers(1, 9, rows))


def _domain(seed: int) -> Domain:
    """Sets of types that often overlap; a third of the accounts without campaign; windows of which some are empty."""
    rng = _rng(seed)
    since = START + rng.integers(0, 60, CAMPAIGNS) * DAY
    bits = [rng.integers(0, 1 << TYPES, n).astype(np.int32) | np.int32(0x1248) for n in (ACCOUNTS, 5, 5)]
    bits[2][0] = 0
    owner = rng.integers(-CAMPAIGNS // 2, CAMPAIGNS, ACCOUNTS)
    return Domain(
        bits[0],
        np.maximum(owner, -1).astype(np.int32),
        bits[1],
        bits[2],
        _codes(rng, TYPES, CAMPAIGNS),
        since,
        since + rng.integers(-5, 60, CAMPAIGNS) * DAY,
    )


def _census(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    domain = _domain(seed + 1)
    ts = np.where(rng.random(rows) < 0.2, rng.choice(domain.anchor_from, rows), START + rng.integers(0, 90 * DAY, rows))
    kind = (_codes(rng, 5, rows) - 1).astype(np.int8)
    shard, skip = rng.integers(0, SHARDS, rows).astype(np.int32), rng.random(rows) < 0.1
    out = np.zeros(TYPES, np.int64), np.zeros((CAMPAIGNS, SHARDS), np.int64)
    return domain, ts, rng.integers(1, ACCOUNTS + 1, rows), _codes(rng, 5, rows), kind, skip, shard, *out


def _remainder(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    weight = np.where(rng.random(rows) < 0.3, 0.0, np.round(rng.random(rows), int(rng.integers(1, 8))))
    return int(rng.integers(0, 1 + 3 * rows)), weight, np.zeros(rows, np.int64)


def _select(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    flows = k.Candidates(
        START + rng.integers(0, 90 * DAY, rows),
        _ordinals(rng, rows),
        rng.integers(1, ACCOUNTS + 1, rows),
        rng.integers(1, PARTIES + 1, rows),
        rng.integers(1, DEVICES + 1, rows),
        _codes(rng, 5, rows),
        (_codes(rng, 5, rows) - 1).astype(np.int8),
        rng.integers(0, 1 << TYPES, rows).astype(np.int32),
    )
    weights = k.Weights(rng.uniform(0.5, 2.5, PARTIES), rng.uniform(0.5, 2.0, DEVICES))
    return flows, _domain(seed + 1), weights, _streams(seed + 2), np.zeros(rows, np.int32), np.zeros(rows)


def _fill(rows: int, seed: int) -> tuple[Any, ...]:
    """Groups of one to nine rows of which some tail remains from the anchor on; quotas of 0 and above the supply."""
    rng = _rng(seed)
    sizes = rng.integers(1, 10, rows)
    members = rng.integers(1, sizes + 1) if rows else sizes
    begin = np.concatenate([[0], np.cumsum(sizes)])
    member_row = rng.permutation(int(begin[-1]))
    member_at = begin[1:] - members
    campaign = np.sort(rng.integers(0, CAMPAIGNS, rows)).astype(np.int32)
    groups = k.Groups(campaign, member_row[member_at], member_at, members, member_row)
    quota = np.where(rng.random(CAMPAIGNS) < 0.2, 0, rng.integers(0, 3 + rows, CAMPAIGNS))
    p = rng.choice([0.2, 0.55, 1.0], CAMPAIGNS)
    base = 10**6 + np.arange(CAMPAIGNS) * 10**5
    episodes = k.Episodes(quota, base, rng.random(CAMPAIGNS) < 0.5, p, rng.integers(1, 15, CAMPAIGNS))
    most = int(quota.sum())
    out = k.Tagged(
        *(
            np.zeros(most, np.int32),
            *np.zeros((4, most), np.int64),
            np.zeros(most, np.int16),
            np.zeros(most, np.int16),
        )
    )
    ordinal = _ordinals(rng, len(member_row))
    return groups, ordinal, episodes, _streams(seed + 1), np.zeros(CAMPAIGNS, np.int64), out


def _refunds(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    response = START + rng.integers(0, 60 * DAY, rows)
    clear = np.where(rng.random(rows) < 0.9, response + rng.integers(0, 9 * DAY, rows), 0)
    law = np.array([0.5, 0.3, 0.9, 5.0 * DAY, 0.8, 2.0 * HOUR, 40.0 * DAY])
    out = np.zeros((2, rows), np.int64)
    cleared = np.where(rng.random(rows) < 0.2, 1, rng.integers(1, 20_000, rows))
    args = _ordinals(rng, rows), response, cleared, clear, law, _streams(seed + 1), START + 66 * DAY
    return *args, out[0], out[1]


def _chains(rows: int, seed: int) -> tuple[Any, ...]:
    """Few accounts, of which some are in both pools; horizons that chains may fill."""
    rng = _rng(seed)
    victims, mules = (np.sort(rng.choice(12, int(rng.integers(1, 9)), replace=False) + 1) for _ in range(2))
    days = int(rng.choice([3, 90]))
    gaps = 9000.0 * SECOND, 1.3, 300.0 * SECOND, 172_800.0 * SECOND
    law = k.Chains(
        48_000.0, 0.8, 6_000.0, 900_000.0, 0.7, 0.97, *gaps, 2, int(rng.integers(2, 6)), START, START + days * DAY
    )
    whole: list[Array] = [np.zeros(rows, np.int64) for _ in range(6)]
    parts: list[Array] = [np.zeros(rows, np.int32), *whole[:4], np.zeros(rows, np.int8), *whole[4:], np.zeros(rows)]
    legs = k.Legs(*parts)
    return 3, rows, 10**6, (victims, mules), law, _streams(seed + 1), legs


def _reports(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    first = START + rng.integers(0, 90 * DAY, rows)
    ts = first + np.where(rng.random(rows) < 0.5, 0, rng.integers(0, 40 * DAY, rows))
    incident = _ordinals(rng, rows)
    flows = k.ReportRows(
        _codes(rng, TYPES, rows), first, ts, incident, incident + rng.integers(0, 8, rows), rng.random(rows) < 0.3
    )
    cards = np.array([[5.0 * DAY, 0.5, 2.0 * DAY, 12.0 * DAY], [30.0 * SECOND, 0.8, 10.0 * SECOND, 600.0 * SECOND]])
    law = (18_000.0 * SECOND, 1.3, 20.0 * DAY, 0.8, 120.0 * DAY, 1.0 * DAY, 1.0, 30.0 * DAY)
    chances = rng.choice([0.0, 0.5, 1.0], TYPES), rng.choice([0.0, 0.4, 1.0], TYPES)
    laws = k.Reports(*law, *chances, END + int(rng.integers(0, 60)) * DAY, cards)
    return flows, laws, _streams(seed + 1), k.Reported(*np.zeros((3, rows), np.int64))


def _new(rows: int, seed: int, chain: bool = False) -> o.NewFlows:
    """Episodes one after the other; each campaign has one type; ordinals follow within an episode."""
    rng = _rng(seed)
    length, rank, episode = (np.zeros(rows, np.int64) for _ in range(3))
    at = number = 0
    while at < rows:
        size = min(int(rng.integers(1, 8)), rows - at)
        length[at : at + size], rank[at : at + size], episode[at : at + size] = size, np.arange(size), number
        at, number = at + size, number + 1
    campaign = rng.integers(0, CAMPAIGNS, number + 1)[episode]
    incident = (10**6 + 50 * np.arange(number + 1))[episode]
    anchor = (START + rng.integers(0, 90 * DAY, number + 1))[episode]
    return o.NewFlows(
        (campaign % TYPES).astype(np.int8),
        campaign.astype(np.int32),
        incident,
        incident + rank,
        rank.astype(np.int16),
        length.astype(np.int16),
        anchor + (rank * HOUR if chain else 0),
    )


def _times(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    new = _new(rows, seed + 1)
    kind = _codes(rng, 3, TYPES)
    delay = np.tile([90_000.0 * SECOND, 1.2, 600.0 * SECOND, 20.0 * DAY], (TYPES, 1))
    gap = np.tile([900.0 * SECOND, 1.4, 20.0 * SECOND, 2.0 * DAY], (TYPES, 1))
    since = np.full(CAMPAIGNS, START) + rng.integers(0, 50, CAMPAIGNS) * DAY
    until = np.where(kind[np.arange(CAMPAIGNS) % TYPES] == 1, since + rng.integers(1, 40, CAMPAIGNS) * DAY, END + DAY)
    planned, stride = rng.integers(0, 90, CAMPAIGNS), rng.integers(1, 60, CAMPAIGNS)
    laws = delay, gap, rng.choice([7.0, 1e9], TYPES) * SECOND, rng.random(TYPES)
    clocks = o.Clocks(kind, *laws, since, until, np.full(CAMPAIGNS, 10**6 - 10), planned, stride)
    return new, clocks, _streams(seed + 2), np.zeros(rows, np.int64)


def _terminals(seed: int) -> tuple[Array, Array, Array, Array]:
    """Rows of the first terminal of each merchant, and by terminal its merchant, city and kind."""
    rng = _rng(seed)
    count = rng.integers(0, 4, MERCHANTS) * (rng.random(MERCHANTS) < 0.7)
    count[0] = 2
    owner = np.repeat(np.arange(1, MERCHANTS + 1), count)
    begin = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return begin, owner, rng.integers(1, CITIES + 1, len(owner)), _codes(rng, 2, len(owner))


def _pools(rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Windows of merchants by type and form, a third of them empty."""
    size = rng.integers(1, 9, (TYPES, 4)) * (rng.random((TYPES, 4)) < 0.7)
    hi = np.cumsum(size).reshape(TYPES, 4)
    total = int(hi[-1, -1])
    return hi - size, hi, rng.integers(1, MERCHANTS + 1, total), np.cumsum(rng.random(total))


def _places(seed: int) -> o.Places:
    rng = _rng(seed)
    begin, owner, city, kind = _terminals(seed + 1)
    if rng.random() < 0.3:
        kind[:] = 0
    by_city = np.zeros((2, CITIES + 1), np.int64)
    listed: list[int] = []
    far: list[int] = [0]
    far_city: list[int] = []
    for machine in range(2):
        for c in range(1, CITIES + 1):
            by_city[machine, c - 1] = len(listed)
            held = np.flatnonzero((kind == machine) & (city == c)) + 1
            listed += held.tolist()
            far_city += [c] if len(held) else []
        by_city[machine, CITIES] = len(listed)
        far.append(len(far_city))
    return o.Places(
        *_pools(rng),
        begin,
        by_city,
        np.array(listed, np.int64),
        np.array(far, np.int64),
        np.array(far_city, np.int64),
        np.cumsum(rng.uniform(0.1, 1.0, len(far_city))),
        city,
        owner,
        rng.integers(1, CITIES + 1, MERCHANTS),
    )


def _victims(rows: int, seed: int) -> o.Victims:
    rng = _rng(seed)
    _, owner, _, _ = _terminals(seed)
    return o.Victims(
        *(
            rng.integers(1, CITIES + 1, rows),
            rng.integers(1, MERCHANTS + 1, rows),
            np.where(rng.random(rows) < 0.5, 0, rng.integers(1, len(owner) + 1, rows)),
            rng.integers(1, CITIES + 1, rows),
            rng.random(rows) < 0.4,
            *rng.integers(1, DEVICES, (3, rows)),
            np.where(rng.random(rows) < 0.1, 0.0, np.floor(rng.random(rows) * 20_000)),
        )
    )


def _placed(rows: int, seed: int) -> o.Placed:
    rng = _rng(seed)
    return o.Placed(_codes(rng, 4, rows), *np.zeros((3, rows), np.int64))


def _script_places(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    choice, near = _codes(rng, 4, TYPES), np.array([1, 2, 3], np.int8)
    wide = np.array([0, 1, 3], np.int8)
    first = np.where(choice >= 2, 1 + _codes(rng, 2, TYPES), wide[_codes(rng, 3, TYPES)]).astype(np.int8)
    second = np.where(choice >= 2, near[_codes(rng, 3, TYPES)], wide[_codes(rng, 3, TYPES)])
    second = np.where(rng.random(TYPES) < 0.3, -1, second).astype(np.int8)
    fixed = np.where(rng.random(CAMPAIGNS) < 0.3, 0, rng.integers(1, MERCHANTS + 1, CAMPAIGNS))
    begin = _terminals(seed + 3)[0]
    present = np.diff(begin) > 0
    remote = ~present | (rng.random(MERCHANTS) < 0.3)
    forms = o.Forms(first, second, rng.choice([0.0, 0.3, 1.0], TYPES), choice, fixed, remote, present)
    places, victims = _places(seed + 2), _victims(rows, seed + 3)
    for t in range(TYPES):
        tills = slice(places.lo[t, 1], places.hi[t, 1])
        places.merchant[tills] = rng.choice(np.flatnonzero(present) + 1, places.hi[t, 1] - places.lo[t, 1])
    return _new(rows, seed + 1), forms, places, victims, _streams(seed + 4), _placed(rows, seed)


def _identities(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    begin = np.concatenate([[0], np.cumsum(rng.integers(0, 5, 5))]).astype(np.int64)
    strangers = rng.integers(50, 99, int(rng.integers(0, 12)))
    share = rng.choice([0.0, 0.3, 1.0], (2, TYPES))
    groups = np.cumsum(rng.random((TYPES, 5)) * (rng.random((TYPES, 5)) < 0.7), axis=1)
    offsets = rng.integers(0, 40, (2, CAMPAIGNS))
    spread = rng.integers(1, 9, (2, TYPES))
    pools = strangers, rng.integers(1, 999, int(begin[-1])), begin, *rng.integers(1, 99, (2, 10))
    laws = o.Identities(
        *(
            _codes(rng, 3, TYPES),
            _codes(rng, 2, TYPES),
            *share,
            *spread,
            groups,
            rng.random(TYPES) < 0.3,
            *offsets,
            *pools,
        )
    )
    placed = _placed(rows, seed + 2)
    placed.terminal[:] = np.where(rng.random(rows) < 0.5, 0, rng.integers(1, 11, rows))
    out = np.zeros((2, rows), np.int64)
    return _new(rows, seed + 1), laws, placed, _victims(rows, seed + 3), _streams(seed + 4), out[0], out[1]


def _details(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    relative = rng.random(TYPES) < 0.5
    amount = np.where(relative[:, None], [1.9, 0.9, 0.1, 20.0], [64_000.0, 1.0, 4_000.0, 2_500_000.0])
    laws = o.Details(
        *(
            _codes(rng, 8, TYPES),
            (_codes(rng, 9, TYPES) - 1).astype(np.int8),
            *rng.choice([0.0, 0.3, 1.0], (4, TYPES)),
            np.cumsum(rng.random((TYPES, 10)), axis=1),
            np.cumsum(rng.random((TYPES, 5)), axis=1),
            rng.choice([0.0, 0.6, 1.0], TYPES),
            amount,
            relative,
            rng.random(TYPES) < 0.2,
            np.sort(rng.integers(1, 99, int(rng.integers(0, 6)))),
            500,
        )
    )
    payee = np.where(rng.random(rows) < 0.8, 0, rng.integers(1, 99, rows))
    kinds: tuple[Any, ...] = (float, float, np.int8, bool, bool, bool, np.int8, np.int8, np.int64, float, bool)
    out = o.Shown(*(np.zeros(rows, kind) for kind in kinds))
    out.payee[:] = payee
    return _new(rows, seed + 1), laws, _placed(rows, seed + 2), _victims(rows, seed + 3), _streams(seed + 4), out


def _prices(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    flows = o.Prices(
        _codes(rng, 4, rows),
        _codes(rng, 3, rows),
        _codes(rng, 10, rows),
        np.exp(rng.uniform(-3.0, 17.0, rows)),
        np.clip(rng.random(rows), 2.0**-54, 1.0 - 2.0**-53),
    )
    unit = np.array([100, 100, 10_000], np.int64), np.array([1, 1, 1], np.int64), np.array([5, 5, 20], np.int64)
    scale = np.array([100.0, 100.0, 1.0]), np.array([1.0, 1.17, 0.0061]), np.array([1.0, 1.17, 0.61])
    tables = CurrencyTables(*scale, *unit, np.array([1_000, 2_000, 1_000], np.int64))
    transfer = np.column_stack([np.full(10, 100.0), np.ones(10), rng.random(10)])
    rule = AmountRule(
        *(
            np.ones(5),
            np.ones(3),
            np.ones(3),
            0.0,
            1.0,
            transfer,
            np.ones((5, 3)),
            5,
            60.0,
            0.6,
            5,
            0.4,
            50_000,
            0.1,
            0.9,
        )
    )
    return flows, tables, rule, *rng.integers(1, 9_999, (2, rows))


def _run(rng: np.random.Generator, rows: int) -> tuple[Array, Array, Array]:
    """A sorted run with many equal keys."""
    ts, ident = START + rng.integers(0, 2 + rows // 3, rows), rng.integers(1, 4, rows)
    seq = rng.integers(0, 3, rows).astype(np.int32)
    order = np.lexsort((seq, ident, ts))
    return ts[order], ident[order], seq[order]


def _merge(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    split = int(rng.integers(0, rows + 1))
    return *_run(rng, split), *_run(rng, rows - split), np.zeros(rows, np.int64)


def _take(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    values, split = rng.integers(0, 9, rows), int(rng.integers(0, rows + 1))
    return values[:split], values[split:], rng.permutation(rows), np.zeros(rows, np.int64)


def _difference(rows: int, seed: int) -> tuple[Any, ...]:
    """Equal rows behind two permutations, with one value changed at times."""
    rng = _rng(seed)
    order = rng.permutation(rows)
    a = rng.integers(0, 9, rows)
    b = a[order].copy()
    if rows and rng.random() < 0.6:
        b[int(rng.integers(0, rows))] += 1
    return a, order, b, np.arange(rows)


CASES = (
    Case("campaign_census", _census, (7, 8), rows=2_000_000),
    Case("largest_remainder", _remainder, (2,), rows=2_000),
    Case("campaign_select", _select, (3, 4, 5), rows=1_000_000),
    Case("fill_quotas", _fill, (3, 4, 5), returns=True, rows=100_000),
    Case("insert_refunds", _refunds, (5, 7, 8), rows=200_000),
    Case("mule_chains", _chains, (5, 6), rows=200_000),
    Case("report_times", _reports, (2, 3), rows=200_000),
    Case("script_times", _times, (2, 3), rows=200_000),
    Case("script_places", _script_places, (4, 5), rows=200_000),
    Case("script_identities", _identities, (4, 5, 6), rows=200_000),
    Case("script_details", _details, (4, 5), rows=200_000),
    Case("price_script", _prices, (3, 4), rows=1_000_000),
    Case("merge_order", _merge, (6,), rows=2_000_000),
    Case("take_merged", _take, (3,), rows=5_000_000),
    Case("first_difference", _difference, (), returns=True, rows=5_000_000),
)
