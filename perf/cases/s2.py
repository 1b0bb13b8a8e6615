"""Cases of S2: flows, payees, amounts, requests, the issuer, settlement and events.

Small sets of cards, devices, merchants and sessions, so that histories are long; amounts, instants and shares
at limits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import fmath
from fraudloom.kernels.amounts import AmountKeys, AmountRule, AmountTables, CurrencyTables
from fraudloom.kernels.events import EventColumns, FlowColumns, SplitRule
from fraudloom.kernels.flows import (
    ArrivalColumns,
    FlowGroups,
    GroupRule,
    ObservedColumns,
    ObserveRule,
    PayeeColumns,
    PayeeRule,
    PayeeTables,
    RequestKeys,
)
from fraudloom.kernels.issuer import Blocks, Decided, DecideRule, History, HistoryRule, Requests
from fraudloom.kernels.issuer_risk import FEATURES, Observed, Places
from fraudloom.kernels.settle import AuthColumns, AuthTimes, SettleColumns, Settled, SettleRule
from fraudloom.perf.cases import Case

Array = np.ndarray[Any, Any]
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
START_DAY, DAYS, DECISIONS = 20_454, 20, 12
START = START_DAY * DAY
COUNTRIES, CURRENCIES, PURPOSES = 36, 26, 10
ISSUERS, CITIES = 3, 6


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _keys(seed: int) -> Array:
    return _rng(seed + 1).integers(0, 1 << 63, DECISIONS, dtype=np.uint64) * np.uint64(2)


def _evidence() -> Array:
    return np.zeros((DECISIONS, 2), np.uint64)


def _codes(rng: np.random.Generator, rows: int, choices: int) -> Array:
    return rng.integers(0, choices, rows).astype(np.int8)


def _flags(rng: np.random.Generator, rows: int, share: float = 0.5) -> Array:
    return rng.random(rows) < share


def _some(rng: np.random.Generator, rows: int, top: int, share: float = 0.2) -> Array:
    """Ids, 0 for most."""
    return np.where(_flags(rng, rows, share), rng.integers(1, top + 1, rows), 0)


def _ordinals(rng: np.random.Generator, rows: int) -> Array:
    return (rng.permutation(rows) + int(rng.integers(0, 1 << 36))) * 8


def _size(rows: int) -> int:
    return 3 + rows // 8


def _instants(rng: np.random.Generator, rows: int) -> Array:
    """Bursts of seconds, pauses of hours, equal instants."""
    near = rng.choice(np.array([0, 1, 5, 60]) * SECOND, rows)
    gaps = np.where(_flags(rng, rows, 0.7), near, rng.integers(0, DAYS * DAY // (rows + 1) + 1, rows))
    return START + np.cumsum(gaps)


def _reference(rng: np.random.Generator, rows: int) -> Array:
    limits = rng.choice(np.array([1, 3000, 3001, 5000, 10_000, 15_000, 25_000]), rows)
    return np.where(_flags(rng, rows, 0.3), limits, rng.integers(1, 300_000, rows))


def _assign(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    sessions = 1 + rows // 6
    arrivals = ArrivalColumns(
        _ordinals(rng, rows) // 8,
        _instants(rng, rows),
        rng.integers(0, sessions, rows),
        rng.integers(1, 3, rows),
        rng.integers(0, 2, rows),
        _some(rng, rows, 9, 0.1),
        _codes(rng, rows, 2) * np.int8(4),
        _flags(rng, rows, 0.1),
    )
    rule = GroupRule(np.full(5, 0.8), np.full(5, 0.1), 5 * SECOND if seed % 2 else 1800 * SECOND, 2 + seed % 3)
    out = FlowGroups(
        np.zeros(rows, np.int64),
        np.zeros(rows, np.int16),
        np.zeros(rows, np.int64),
        np.zeros(rows, np.int16),
        np.zeros(rows, np.bool_),
    )
    return arrivals, rule, _keys(seed), _evidence(), np.full(sessions, -1, np.int64), out


def _payees(rows: int, seed: int) -> tuple[Any, ...]:
    rng, parties = _rng(seed), _size(rows)
    counts = rng.integers(0, 5, parties)
    start = np.r_[0, np.cumsum(counts)].astype(np.int64)
    listed = int(start[-1])
    tables = PayeeTables(
        start,
        rng.integers(1, 999, listed),
        rng.integers(1, 99, listed).astype(np.int32),
        _codes(rng, listed, 3),
        _codes(rng, listed, PURPOSES),
        _codes(rng, parties, 3),
        np.cumsum(0.7 ** np.arange(5)),
        1000,
    )
    weights = rng.random(PURPOSES) * _flags(rng, PURPOSES, 0.8)
    weights[3] += 0.1
    rule = PayeeRule(0.4, 0.3, 0.2, 0.1, 0.15, 0.2, 0.1, 60, np.cumsum(weights), _codes(rng, 4, COUNTRIES))
    dtypes = (np.int64, np.int32, np.int8, np.bool_, np.int8, np.int8)
    channel = np.where(_flags(rng, rows, 0.7), 3, rng.integers(0, 5, rows)).astype(np.int8)
    return (
        _ordinals(rng, rows),
        channel,
        rng.integers(1, parties + 1, rows),
        _some(rng, rows, 5),
        tables,
        rule,
        _keys(seed),
        _evidence(),
        PayeeColumns(*(np.zeros(rows, t) for t in dtypes)),
    )


def _countries(rng: np.random.Generator, share: float = 0.6) -> Array:
    return _flags(rng, COUNTRIES, share)


def _observe(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    channel = _codes(rng, rows, 5)
    keys = RequestKeys(
        _ordinals(rng, rows),
        _some(rng, rows, 9),
        _reference(rng, rows),
        channel,
        _kinds(rng, channel),
        rng.choice(np.array([-1, 0, 10, 11]), rows).astype(np.int8),
        _codes(rng, rows, COUNTRIES),
        _codes(rng, rows, COUNTRIES),
        _codes(rng, rows, PURPOSES),
        _flags(rng, rows, 0.3),
    )
    rule = ObserveRule(
        *(0.24, 0.1, 0.45, 0.9, 0.5, 0.3, 0.1, 0.3, 0.3, 0.1, 3000, 25_000, 0.9, 0.2, 0.2),
        *(0.7, 5000, 0.1, 0.1, 0.2, 0.1, 0.4, 3000),
        _countries(rng),
        _countries(rng),
        _countries(rng),
    )
    return keys, rule, _keys(seed), _evidence(), ObservedColumns(*(np.zeros(rows, np.int8) for _ in range(7)))


def _kinds(rng: np.random.Generator, channel: Array) -> Array:
    """Kinds of instruments: handles or none on rails, cards and wallets elsewhere."""
    cards = rng.choice(np.array([0, 0, 1, 3]), len(channel))
    rails = rng.choice(np.array([-1, 2]), len(channel))
    return np.where(channel == 3, rails, cards).astype(np.int8)


def _currencies(rng: np.random.Generator) -> CurrencyTables:
    minor = rng.choice(np.array([1.0, 100.0, 1000.0]), CURRENCIES)
    value = np.where(minor == 1.0, 0.006, rng.choice(np.array([1.0, 0.011, 3.2]), CURRENCIES))
    return CurrencyTables(
        minor,
        value,
        value * 100.0 / minor,
        np.where(minor == 1.0, 100, minor).astype(np.int64),
        np.where(minor == 1.0, 1, minor // 100).astype(np.int64),
        np.where(minor == 1.0, 20, minor // 20).astype(np.int64),
        np.where(minor == 1.0, 1000, 10 * minor).astype(np.int64),
    )


def _amount_rule() -> AmountRule:
    return AmountRule(
        np.array([30.0, 20.0, 0.0, 0.0, 24.0]),
        np.array([1.0, 1.75, 1.4]),
        np.array([0.87, 1.13, 1.0]),
        fmath.ndtr(-3.2),
        fmath.ndtr(3.6),
        np.array([[0.0, 1.0, 0.0]] + [[50.0 * k, 0.8, 0.1 * k] for k in range(1, PURPOSES)]),
        np.cumsum(np.full((5, 3), 0.25), axis=1),
        5,
        82.0,
        0.68,
        5,
        0.38,
        60_000,
        0.1,
        1.0,
    )


def _price(rows: int, seed: int) -> tuple[Any, ...]:
    rng, size = _rng(seed), _size(rows)
    keys = AmountKeys(
        _ordinals(rng, rows),
        _some(rng, rows, 9),
        rng.integers(1, size + 1, rows),
        rng.integers(1, size + 1, rows),
        rng.integers(1, CITIES + 1, rows),
        _some(rng, rows, 99_999, 0.05),
        _codes(rng, rows, 5),
        _codes(rng, rows, CURRENCIES),
        _codes(rng, rows, PURPOSES),
        _flags(rng, rows, 0.1),
    )
    tables = AmountTables(
        rng.random(size) * 2.0 + 0.1,
        _codes(rng, size, 5),
        _codes(rng, size, 3),
        rng.random(size) * 2.0 + 0.1,
        rng.random(CITIES) + 0.5,
    )
    out = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    return keys, tables, _currencies(rng), _amount_rule(), _keys(seed), _evidence(), *out


def _snap(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    x = np.where(_flags(rng, rows), rng.random(rows) * 30_000, rng.integers(0, 300, rows) * 50.0)
    columns = x, _codes(rng, rows, 5), _codes(rng, rows, CURRENCIES), rng.random(rows)
    return *columns, _currencies(rng), _amount_rule(), np.zeros(rows, np.int64), np.zeros(rows, np.int64)


def _local(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    ids = rng.choice(rng.integers(-(2**62), 2**62, 1 + rows // 3), rows)
    size = 4
    while size < 2 * rows:
        size *= 2
    table = np.zeros((size, 2), np.int64)
    table[:, 0] = np.iinfo(np.int64).min
    return ids, table, np.zeros(rows, np.int64)


def _coefficients(rng: np.random.Generator) -> Array:
    coef = rng.random((4, len(FEATURES))) * 1.2
    coef[:, 0] = -4.0
    return coef


def _logits(rows: int, seed: int) -> tuple[Any, ...]:
    rng, size = _rng(seed), _size(rows)
    observed = Observed(
        START + rng.integers(-DAY, (DAYS + 1) * DAY, rows),
        rng.integers(1, size + 1, rows),
        rng.integers(1, size + 1, rows),
        _reference(rng, rows),
        _codes(rng, rows, 5),
        _codes(rng, rows, 8),
        _codes(rng, rows, 5),
        _codes(rng, rows, 5),
        _codes(rng, rows, 3),
        _codes(rng, rows, 3),
        _codes(rng, rows, 2),
        _codes(rng, rows, 2),
        (rng.integers(-1, 3, rows)).astype(np.int8),
        _codes(rng, rows, 5),
        _flags(rng, rows, 0.3),
    )
    places = Places(
        _codes(rng, size, 6),
        _codes(rng, size, 2),
        _flags(rng, size),
        rng.integers(-1, 3, size).astype(np.int32),
        rng.integers(-1, 3, size).astype(np.int32),
        rng.integers(0, 90, (3, 24 * DAYS)).astype(np.int32),
        rng.integers(0, 90, (3, DAYS)).astype(np.int32),
        rng.random(3) * 9,
        40.0,
        START,
    )
    return observed, places, _coefficients(rng), np.zeros(rows)


def _busy(rows: int, seed: int) -> tuple[Any, ...]:
    rng, size = _rng(seed), _size(rows)
    return (
        START + rng.integers(-DAY, (DAYS + 1) * DAY, rows),
        rng.integers(1, size + 1, rows),
        rng.integers(1, size + 1, rows),
        START,
        rng.integers(-1, 3, size).astype(np.int32),
        rng.integers(-1, 3, size).astype(np.int32),
        np.zeros((3, 24 * DAYS), np.int32),
        np.zeros((3, DAYS), np.int32),
    )


def _decide_rule(rng: np.random.Generator, share: float) -> DecideRule:
    """Declines of that share."""
    spans = rng.integers(0, DAYS * DAY, (ISSUERS, 2))
    begin = START + np.sort(spans, axis=1).ravel()
    end = begin + rng.integers(HOUR, 8 * HOUR, len(begin))
    hazards = rng.random((6, 14)) * share / 14
    soft = np.array([0.0, share, 0.0, 0.0, 0.0, 0.0])
    sigma = 0.86
    median = 100.0 + 100.0 * rng.random(ISSUERS)
    edges = [[float(m), *(fmath.ndtr(fmath.log(x / m) / sigma) for x in (25.0, 1e4, 25.0, 25e3))] for m in median]
    return DecideRule(
        _coefficients(rng),
        np.sort(rng.integers(150, 900, (4, 4)), axis=1),
        np.c_[rng.random(5) - 1.5, rng.random((5, 2)), -rng.random(5), rng.random((5, 2))],
        0.3,
        0.66,
        0.25,
        0.05,
        15_000,
        0.8,
        0.35,
        np.array([0.6, 0.3]),
        np.array([0.8, 0.35]),
        rng.random(6),
        soft,
        np.cumsum(hazards, axis=1),
        np.tile(np.array([2, 3, 7, 8, 20, 10, 12, 13, 4, 5, 16, 15, 18, 19], np.int8), (6, 1)),
        0.75,
        np.array([[4.0 * DAY, 0.5, 0.5 * DAY, 20.0 * DAY], [720.0 * SECOND, 0.6, 120.0 * SECOND, 7200.0 * SECOND]]),
        0.45,
        np.array(edges),
        sigma,
        60,
        np.array([10_000, 25_000]),
        np.arange(0, 2 * ISSUERS + 1, 2),
        np.c_[begin, end, end + 3 * HOUR].astype(np.int64),
    )


def _blocks(rng: np.random.Generator, cards: int) -> Blocks:
    """A third of the cards has two blocks, the second some time after the first."""
    counts = np.where(_flags(rng, cards, 0.3), 2, 0)
    hi = np.cumsum(counts)
    n = int(hi[-1])
    begin = START + rng.integers(0, 2 * DAY, n) + np.tile([0, 3 * DAY], n // 2)
    return Blocks(
        begin,
        begin + rng.integers(HOUR, DAY, n),
        rng.integers(2, 4, n).astype(np.int8),
        (hi - counts).astype(np.int64),
        hi.astype(np.int64),
    )


def _decided(rng: np.random.Generator, rows: int, three_ds: Array) -> Decided:
    """Columns as a pass before may have left them."""
    trace = rng.integers(0, 1 << 25, rows).astype(np.int32)
    decided = Decided(*(np.zeros(rows, np.int8) for _ in range(12)), np.zeros(rows, np.bool_), trace, trace)
    response = np.where(_flags(rng, rows, 0.7), 1, rng.choice(np.array([6, 9, 11, 14]), rows))
    return decided._replace(
        score=np.zeros(rows, np.int16),
        response=response.astype(np.int8),
        attempts=rng.integers(1, 3, rows).astype(np.int8),
        three_ds=three_ds,
        latency_ms=np.zeros(rows, np.int32),
    )


def _issuer(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    cards, accounts, devices = 1 + rows // 8, 1 + rows // 10, 1 + rows // 6
    channel = _codes(rng, rows, 5)
    entry = np.where((channel % 4 == 0) & _flags(rng, rows, 0.2), 7, 5).astype(np.int8)
    remote = (channel % 4 == 0) & (entry != 7)
    three_ds = np.where(remote, rng.integers(1, 5, rows), channel % 4 == 0).astype(np.int8)
    device = rng.integers(0, devices, rows)
    unit = rng.random((CITIES, 3)) * 2.0 - 1.0
    unit /= np.sqrt((unit * unit).sum(axis=1))[:, None]
    unit[1] = unit[0] + 1e-4
    requests = Requests(
        rng.random(rows) * 4.0 - 5.0,
        _ordinals(rng, rows),
        _instants(rng, rows),
        rng.integers(1, _size(rows) + 1, rows),
        rng.integers(1, CITIES + 1, rows),
        _reference(rng, rows),
        rng.integers(1, ISSUERS + 1, rows),
        channel,
        entry,
        _codes(rng, rows, 6),
        (_codes(rng, rows, 3) * (channel % 4 == 0)).astype(np.int8),
        _kinds(rng, channel),
        _codes(rng, rows, 3),
        _flags(rng, rows, 0.3) & (channel == 3),
        _flags(rng, rows, 0.05),
        _flags(rng, rows, 0.05),
        rng.integers(0, accounts, rows),
        rng.integers(0, cards, rows),
        device,
        device * 7919 + 1,
        unit,
    )
    funds = 1.0 + rng.integers(0, 300_000, accounts)
    history = History(
        np.zeros((cards, 4)),
        np.zeros((cards, 5), np.int64),
        np.zeros((cards, 4), np.uint64),
        np.c_[0.3 * funds, np.zeros((accounts, 2))],
        np.zeros((accounts, 2), np.int64),
        np.zeros(accounts, np.uint64),
        np.zeros(devices),
        np.zeros(devices, np.int64),
        funds,
    )
    memories = HistoryRule(
        3600.0, 86400.0, 90.0, 21600.0, 950400.0, 5.0, 4.0, 30 * HOUR, 5.0, 24 * HOUR, 60.0, 300.0, 900.0
    )
    redo = np.ones(rows, np.bool_) if seed % 2 else _flags(rng, rows, 0.7)
    rule = _decide_rule(rng, 0.9 if seed % 3 == 0 else 0.2)
    blocks, out = _blocks(rng, cards), _decided(rng, rows, three_ds)
    order = np.arange(rows)
    return order, redo, requests, history, memories, rule, blocks, _keys(seed), _evidence(), out


def _laws() -> Array:
    """Delays: holder, giving up, two retries, reversal, return, refund."""
    seconds = [[32, 0.8, 2, 285], [75, 0.7, 8, 290], [22, 0.8, 5, 115], [110, 0.85, 10, 590], [1080, 1.3, 24, 64_800]]
    longer = [[79_200, 0.7, 3600, 432_000], [561_600, 0.95, 12_960, 6_480_000]]
    laws = np.array(seconds + longer, np.float64)
    laws[:, (0, 2, 3)] *= 1e6
    return laws


def _auth(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    step = _codes(rng, rows, 4)
    trace = (rng.integers(0, 1 << 17, rows) * 1).astype(np.int32)
    trace[step >= 2] &= ~16
    columns = AuthColumns(
        _ordinals(rng, rows),
        _instants(rng, rows),
        _codes(rng, rows, 5),
        _codes(rng, rows, 6),
        rng.choice(np.array([1, 6, 14, 17]), rows).astype(np.int8),
        step,
        rng.integers(25, 25_000, rows).astype(np.int32),
    )
    ends = fmath.ndtr(-3.4), fmath.ndtr(3.4)
    times = AuthTimes(
        np.array([235_000.0, 0.55, *ends]),
        np.array([255_000.0, 0.55, *ends]),
        _laws(),
        3 * SECOND,
        300 * SECOND,
        0.4,
        np.array([10, 25]) * SECOND,
    )
    picked = np.flatnonzero(_flags(rng, rows, 0.9))
    out = np.zeros(rows, np.int64), np.zeros(rows, np.int64), trace
    return picked, columns, times, _keys(seed), _evidence(), *out


def _calendar(rng: np.random.Generator) -> tuple[Array, Array]:
    """Business days before each day, and the day of each; the last one repeats."""
    open_day = _flags(rng, COUNTRIES * 60, 0.7).reshape(COUNTRIES, 60)
    open_day[:, 59] = True
    before = np.cumsum(open_day, axis=1) - open_day
    most = int(open_day.sum(axis=1).max())
    business = np.full((COUNTRIES, most), START_DAY + 59, np.int32)
    for c in range(COUNTRIES):
        days = np.flatnonzero(open_day[c])
        business[c, : len(days)] = START_DAY + days
    return before.astype(np.int32), business


def _settle(rows: int, seed: int) -> tuple[Any, ...]:
    rng, size = _rng(seed), _size(rows)
    credit = _flags(rng, rows, 0.1)
    channel = _codes(rng, rows, 5)
    columns = SettleColumns(
        _ordinals(rng, rows),
        _instants(rng, rows),
        np.where(_flags(rng, rows, 0.1), 1, rng.integers(1, 99_999, rows)),
        rng.integers(1, size + 1, rows),
        _some(rng, rows, 9),
        channel,
        _codes(rng, rows, CURRENCIES),
        _codes(rng, rows, COUNTRIES),
        _flags(rng, rows, 0.1),
        _flags(rng, rows, 0.1) & (channel == 3),
        ~credit & _flags(rng, rows, 0.8),
    )
    day_slot, business = _calendar(rng)
    rule = SettleRule(
        np.array([0.1, 0.1, 0.2, 0.3, 0.1]),
        np.array([0.5, 0.3, 0.0, 0.0, 0.5]),
        0.5,
        0.3,
        0.2,
        0.6,
        np.array([0.2, 0.7]),
        _codes(rng, size, 5),
        _flags(rng, size, 0.3),
        _countries(rng),
        _laws(),
        19 * HOUR,
        22 * HOUR + HOUR // 4,
        4200 * SECOND,
        np.cumsum([0.2, 0.55, 0.19, 0.06]),
        np.array([4, 11]),
        np.array([1, 6]),
        np.array([[0.05, 0.25], [0.45, 0.99], [0.1, 0.9]]),
        START_DAY,
        day_slot,
        business,
    )
    outcome = np.where(credit, 10, np.where(channel == 3, 5, 0)).astype(np.int8)
    trace = rng.integers(0, 1 << 25, rows).astype(np.int32)
    out = Settled(*(np.zeros(rows, np.int64) for _ in range(6)), outcome, np.zeros(rows, np.int8), trace)
    picked = np.flatnonzero(_flags(rng, rows, 0.9))
    return picked, columns, rule, _currencies(rng), _amount_rule(), _keys(seed), _evidence(), out


def _flow_columns(rows: int, seed: int) -> FlowColumns:
    rng = _rng(seed)
    ts = _instants(rng, rows)
    kind = _codes(rng, rows, 6)
    attempts = np.where(kind == 5, 0, rng.integers(1, 3, rows)).astype(np.int8)
    step = np.where(kind == 5, 0, rng.choice(np.array([0, 1, 2, 3]), rows)).astype(np.int8)
    step = np.where((step == 3) & (attempts == 2), 2, step).astype(np.int8)
    trace = rng.integers(0, 1 << 25, rows).astype(np.int32)
    trace[(step == 2) & (attempts == 1)] &= ~8
    outcome = rng.integers(0, 3, rows)
    amount = rng.integers(1, 99_999, rows)
    cleared = np.where((outcome == 1) & (kind != 5), amount, 0)
    trace[cleared <= 1] &= ~1024
    sent = ts + rng.integers(5, 300, rows) * SECOND
    answer = np.where(kind == 5, ts, sent + rng.integers(1, SECOND, rows))
    return FlowColumns(
        _ordinals(rng, rows),
        ts,
        sent,
        answer,
        np.where(cleared > 0, answer + 50 * DAY, 0),
        answer + 60 * DAY,
        answer + HOUR,
        amount,
        cleared,
        np.where((kind == 5) | ((cleared > 0) & _flags(rng, rows)), amount, 0),
        np.where((outcome == 2) & (kind != 5), amount, 0),
        kind,
        _codes(rng, rows, 21),
        _codes(rng, rows, 21),
        step,
        attempts,
        _codes(rng, rows, 5),
        trace,
    )


def _count(rows: int, seed: int) -> tuple[Any, ...]:
    return _flow_columns(rows, seed), seed % 5 == 0, np.zeros(rows + 1, np.int64)


def _events_out(n: int) -> EventColumns:
    dtypes = (np.int64, np.int32, np.int8, np.int64, np.int64, np.int8, np.int8)
    return EventColumns(*(np.zeros(n, t) for t in dtypes))


def _auth_events(rows: int, seed: int) -> tuple[Any, ...]:
    return _flow_columns(rows, seed), np.arange(0, 2 * rows + 1, 2), _events_out(2 * rows)


def _events(rows: int, seed: int) -> tuple[Any, ...]:
    """Rows of each flow as the rules of S2 count them."""
    f = _flow_columns(rows, seed)
    credit, soft, again = f.flow_type == 5, (f.trace & 8) > 0, f.attempts == 2
    asked = np.where(f.step == 2, 2, f.step == 3)
    counts = np.where(again, 4 + 2 * (f.step == 2), 2 + np.where(soft & (f.step == 2), 0, asked))
    counts = counts + (f.reversed > 0) + (f.cleared > 0) + ((f.cleared > 0) & ((f.trace & 1024) > 0))
    counts = np.where(credit, 0, counts) + (f.refunded > 0)
    start = np.r_[0, np.cumsum(counts)].astype(np.int64)
    rule = SplitRule(
        np.array([350_000, 1_500_000]),
        np.array([300_000, 1_200_000]),
        np.array([20_000, 300_000]),
        np.array([0.2, 0.8]),
        np.array([10, 25]) * SECOND,
    )
    return f, rule, start, _keys(seed), _evidence(), _events_out(int(start[-1]))


def _order(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    ts = START + rng.integers(0, 1 + rows // 3, rows) * (DAY if seed % 2 else 1)
    tie = rng.choice(rng.integers(1, 2**63 - 1, 1 + rows // 4), rows)
    work, order = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    return ts, tie, rng.permutation(rows).astype(np.int32), work, order


CASES = (
    Case("assign_flows", _assign, (3, 5), returns=True),
    Case("choose_payees", _payees, (7, 8)),
    Case("observe_flows", _observe, (3, 4)),
    Case("price_flows", _price, (5, 6, 7)),
    Case("snap_amounts", _snap, (6, 7)),
    Case("count_busy", _busy, (6, 7), rows=5_000_000),
    Case("local_ids", _local, (2,), returns=True),
    Case("request_logits", _logits, (3,)),
    Case("issuer_decide", _issuer, (3, 8, 9)),
    Case("time_auth", _auth, (4, 5, 6, 7)),
    Case("settle_flows", _settle, (6, 7)),
    Case("count_events", _count, (2,)),
    Case("build_auth_events", _auth_events, (2,)),
    Case("build_events", _events, (4, 5)),
    Case("time_order", _order, (4,)),
)
