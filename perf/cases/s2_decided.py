"""Cases of S2 from the issuer on: decisions, times, settlement, events.

Few cards and devices, so that histories are long; columns as an earlier pass may have left them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import fmath
from fraudloom.kernels.events import EventColumns, FlowColumns, SplitRule
from fraudloom.kernels.issuer import Blocks, Decided, DecideRule, History, HistoryRule, Requests
from fraudloom.kernels.settle import AuthColumns, AuthTimes, SettleColumns, Settled, SettleRule
from fraudloom.perf.cases import Case
from fraudloom.perf.cases.s2 import (
    CITIES,
    COUNTRIES,
    CURRENCIES,
    DAY,
    DAYS,
    HOUR,
    ISSUERS,
    SECOND,
    START,
    START_DAY,
    Array,
    amount_rule,
    codes,
    coefficients,
    country_set,
    currency_tables,
    flags,
    generator,
    instants,
    keys_of,
    kinds_of,
    no_evidence,
    ordinals,
    references,
    size_of,
    some_ids,
)


def _decide_rule(rng: np.random.Generator, share: float, low: int) -> DecideRule:
    """Declines of that share; thresholds from `low` on."""
    spans = rng.integers(0, DAYS * DAY, (ISSUERS, 2))
    begin = START + np.sort(spans, axis=1).ravel()
    end = begin + rng.integers(HOUR, 8 * HOUR, len(begin))
    hazards = rng.random((6, 14)) * share / 14
    soft = np.array([0.0, share, 0.0, 0.0, 0.0, 0.0])
    sigma = 0.86
    median = 100.0 + 100.0 * rng.random(ISSUERS)
    edges = [[float(m), *(fmath.ndtr(fmath.log(x / m) / sigma) for x in (25.0, 1e4, 25.0, 25e3))] for m in median]
    return DecideRule(
        coefficients(rng),
        np.sort(rng.integers(low, 990, (4, 4)), axis=1),
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
    counts = np.where(flags(rng, cards, 0.3), 2, 0)
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
    response = np.where(flags(rng, rows, 0.7), 1, rng.choice(np.array([6, 9, 11, 14]), rows))
    return decided._replace(
        score=np.zeros(rows, np.int16),
        response=response.astype(np.int8),
        attempts=rng.integers(1, 3, rows).astype(np.int8),
        three_ds=three_ds,
        latency_ms=np.zeros(rows, np.int32),
    )


def _issuer(rows: int, seed: int) -> tuple[Any, ...]:
    rng = generator(seed)
    cards, accounts, devices = 1 + rows // 8, 1 + rows // 10, 1 + rows // 6
    channel = codes(rng, rows, 5)
    entry = np.where((channel % 4 == 0) & flags(rng, rows, 0.2), 7, 5).astype(np.int8)
    remote = (channel % 4 == 0) & (entry != 7)
    three_ds = np.where(remote, rng.integers(1, 5, rows), channel % 4 == 0).astype(np.int8)
    device = rng.integers(0, devices, rows)
    unit = rng.random((CITIES, 3)) * 2.0 - 1.0
    unit /= np.sqrt((unit * unit).sum(axis=1))[:, None]
    unit[1] = unit[0] + 1e-4
    requests = Requests(
        rng.random(rows) * 4.0 - 5.0,
        ordinals(rng, rows),
        instants(rng, rows),
        rng.integers(1, size_of(rows) + 1, rows),
        rng.integers(1, CITIES + 1, rows),
        references(rng, rows),
        rng.integers(1, ISSUERS + 1, rows),
        channel,
        entry,
        codes(rng, rows, 6),
        (codes(rng, rows, 3) * (channel % 4 == 0)).astype(np.int8),
        kinds_of(rng, channel),
        codes(rng, rows, 3),
        flags(rng, rows, 0.3) & (channel == 3),
        flags(rng, rows, 0.05),
        flags(rng, rows, 0.05),
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
    redo = np.ones(rows, np.bool_) if seed % 2 else flags(rng, rows, 0.7)
    rule = _decide_rule(rng, 0.9 if seed % 3 == 0 else 0.2, 150 if seed % 4 == 0 else 800)
    blocks, out = _blocks(rng, cards), _decided(rng, rows, three_ds)
    order = np.arange(rows)
    return order, redo, requests, history, memories, rule, blocks, keys_of(seed), no_evidence(), out


def _laws() -> Array:
    """Delays: holder, giving up, two retries, reversal, return, refund."""
    seconds = [[32, 0.8, 2, 285], [75, 0.7, 8, 290], [22, 0.8, 5, 115], [110, 0.85, 10, 590], [1080, 1.3, 24, 64_800]]
    longer = [[79_200, 0.7, 3600, 432_000], [561_600, 0.95, 12_960, 6_480_000]]
    laws = np.array(seconds + longer, np.float64)
    laws[:, (0, 2, 3)] *= 1e6
    return laws


def _auth(rows: int, seed: int) -> tuple[Any, ...]:
    rng = generator(seed)
    step = codes(rng, rows, 4)
    trace = (rng.integers(0, 1 << 17, rows) * 1).astype(np.int32)
    trace[step >= 2] &= ~16
    columns = AuthColumns(
        ordinals(rng, rows),
        instants(rng, rows),
        codes(rng, rows, 5),
        codes(rng, rows, 6),
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
    picked = np.flatnonzero(flags(rng, rows, 0.9))
    out = np.zeros(rows, np.int64), np.zeros(rows, np.int64), trace
    return picked, columns, times, keys_of(seed), no_evidence(), *out


def _calendar(rng: np.random.Generator) -> tuple[Array, Array]:
    """Business days before each day, and the day of each; the last one repeats."""
    open_day = flags(rng, COUNTRIES * 60, 0.7).reshape(COUNTRIES, 60)
    open_day[:, 59] = True
    before = np.cumsum(open_day, axis=1) - open_day
    most = int(open_day.sum(axis=1).max())
    business = np.full((COUNTRIES, most), START_DAY + 59, np.int32)
    for c in range(COUNTRIES):
        days = np.flatnonzero(open_day[c])
        business[c, : len(days)] = START_DAY + days
    return before.astype(np.int32), business


def _settle(rows: int, seed: int) -> tuple[Any, ...]:
    rng, size = generator(seed), size_of(rows)
    credit = flags(rng, rows, 0.1)
    channel = codes(rng, rows, 5)
    columns = SettleColumns(
        ordinals(rng, rows),
        instants(rng, rows),
        np.where(flags(rng, rows, 0.1), 1, rng.integers(1, 99_999, rows)),
        rng.integers(1, size + 1, rows),
        some_ids(rng, rows, 9),
        channel,
        codes(rng, rows, CURRENCIES),
        codes(rng, rows, COUNTRIES),
        flags(rng, rows, 0.1),
        flags(rng, rows, 0.1) & (channel == 3),
        ~credit & flags(rng, rows, 0.8),
    )
    day_slot, business = _calendar(rng)
    rule = SettleRule(
        np.array([0.1, 0.1, 0.2, 0.3, 0.1]),
        np.array([0.5, 0.3, 0.0, 0.0, 0.5]),
        0.4,
        0.5,
        0.3,
        0.2,
        0.6,
        np.array([0.2, 0.7]),
        codes(rng, size, 5),
        flags(rng, size, 0.3),
        country_set(rng),
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
    picked = np.flatnonzero(flags(rng, rows, 0.9))
    return picked, columns, rule, currency_tables(rng), amount_rule(), keys_of(seed), no_evidence(), out


def _flow_columns(rows: int, seed: int) -> FlowColumns:
    rng = generator(seed)
    ts = instants(rng, rows)
    kind = codes(rng, rows, 6)
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
        ordinals(rng, rows),
        ts,
        sent,
        answer,
        np.where(cleared > 0, answer + 50 * DAY, 0),
        answer + 60 * DAY,
        answer + HOUR,
        amount,
        cleared,
        np.where((kind == 5) | ((cleared > 0) & flags(rng, rows)), amount, 0),
        np.where((outcome == 2) & (kind != 5), amount, 0),
        kind,
        codes(rng, rows, 21),
        codes(rng, rows, 21),
        step,
        attempts,
        codes(rng, rows, 5),
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
    return f, rule, start, keys_of(seed), no_evidence(), _events_out(int(start[-1]))


def _order(rows: int, seed: int) -> tuple[Any, ...]:
    rng = generator(seed)
    ts = START + rng.integers(0, 1 + rows // 3, rows) * (DAY if seed % 2 else 1)
    tie = rng.choice(rng.integers(1, 2**63 - 1, 1 + rows // 4), rows)
    work, order = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    return ts, tie, rng.permutation(rows).astype(np.int32), work, order


CASES = (
    Case("issuer_decide", _issuer, (3, 8, 9)),
    Case("time_auth", _auth, (4, 5, 6, 7)),
    Case("settle_flows", _settle, (6, 7)),
    Case("count_events", _count, (2,)),
    Case("build_auth_events", _auth_events, (2,)),
    Case("build_events", _events, (4, 5)),
    Case("time_order", _order, (4,)),
)
