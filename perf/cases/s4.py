"""Cases of S4: truth, the screen and work of the bank, claims, cases and delays.

Every rule has its edges in the data: combinations of signals, instants before, at and behind opening hours and the
horizon, weights of zero, equal keys, gaps at the limits and full cases.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels.bank import BankFlows, BankOut, BankRules, ScreenFlows, ScreenRules
from fraudloom.kernels.cases import CaseLimits
from fraudloom.kernels.claims import ClaimRules
from fraudloom.kernels.truth import EventColumns, EventLabels, FlowMarks, TruthRules
from fraudloom.perf.cases import Case

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
START = 20_454 * DAY
DECISIONS = 10
LAWS = 16
ISSUERS = 3
SIGNALS = np.array([1, 2, 4, 8, 16, 32, 2 + 4, 2 + 8, 2 + 16, 1 + 4, 1 + 8], np.int8)
PARTIES = MERCHANTS = 30
CLASSES = 10

Array = np.ndarray[Any, np.dtype[Any]]


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _keys(seed: int) -> Array:
    return _rng(seed).integers(0, 1 << 63, DECISIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def _evidence() -> Array:
    return np.zeros((DECISIONS, 2), np.uint64)


def _codes(rng: np.random.Generator, n: int, rows: int) -> Array:
    return rng.integers(0, n, rows).astype(np.int8)


def _delays(seed: int) -> Array:
    """Sixteen laws of all kinds, medians of hours to weeks, so that claims end before and behind the horizon."""
    rng = _rng(seed)
    table = np.zeros((2 * LAWS, 6))
    for law in range(LAWS):
        share = rng.choice([1.0, 1.0, 0.3, 0.7])
        low = float(rng.integers(1, 3_600))
        high = low + float(rng.integers(60, 40 * 86_400))
        for row in (2 * law, 2 * law + 1):
            kind = int(rng.integers(0, 3))
            a = (rng.uniform(low, high), rng.uniform(0.5, 4.0), 0.0)[kind]
            b = (rng.uniform(0.2, 1.5), rng.uniform(low, high), 0.0)[kind]
            table[row] = kind, share, a, b, low, high
    return table


def _windows(rng: np.random.Generator, days: int, opens: int, closes: int) -> tuple[Array, Array]:
    """Opening hours on most of the days."""
    at = START + np.flatnonzero(rng.random(days) < 0.7) * DAY
    return at + opens * HOUR, at + closes * HOUR


def _truth(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    n = int(rng.integers(1, 9))
    rules = TruthRules(*(rng.integers(-1, 2, n).astype(np.int8) for _ in range(3)))
    mutations = np.where(rng.random(rows) < 0.5, 0, rng.integers(0, 256, rows)).astype(np.int16)
    campaign = np.where(rng.random(rows) < 0.5, 0, rng.integers(1, 1 << 62, rows))
    mask = int(rng.integers(0, 256))
    return _codes(rng, 3, rows), campaign, mutations, mask, rules, np.zeros(rows, np.int8), np.zeros(rows, np.int8)


def _events(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    flows = 1 + rows // 3
    marks = START + rng.integers(0, 20, (3, flows)) * SECOND
    state = FlowMarks(rng.integers(0, 32, flows).astype(np.uint8), marks[0], marks[1], np.maximum(marks[1], marks[2]))
    flow, kind = rng.integers(0, flows, rows), _codes(rng, 7, rows)
    ts = START + rng.integers(-10, 30, rows) * SECOND + rng.integers(-1, 2, rows)
    events = EventColumns(flow, kind, rng.random(rows) < 0.5, ts)
    flags = [np.zeros(rows, np.bool_) for _ in range(5)]
    out = EventLabels(*flags[:3], np.zeros(rows, np.int8), *flags[3:])
    return events, state, 3 * SECOND, 2 * SECOND, 4 * SECOND, out


def _screen(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    some = rng.random(rows)
    flows = ScreenFlows(
        np.cumsum(rng.integers(1, 9, rows)),
        np.where(some < 0.4, START + rng.integers(0, DAY, rows), 0),
        np.where(rng.random(rows) < 0.2, 0, rng.integers(1, 10_000, rows)),
        rng.integers(1, PARTIES + 1, rows),
        rng.integers(1, MERCHANTS + 1, rows),
        _codes(rng, 4, rows),
        _codes(rng, 21, rows),
        np.where(rng.random(rows) < 0.8, 0, _codes(rng, 4, rows)).astype(np.int8),
        _codes(rng, 6, rows),
        np.where(some < 0.2, 3, np.where(some < 0.4, 4, _codes(rng, 7, rows))).astype(np.int8),
        _codes(rng, 11, rows),
        _codes(rng, 5, rows),
        np.where(rng.random(rows) < 0.8, 0, 2).astype(np.int8),
        rng.random(rows) < 0.1,
        rng.random(rows) < 0.3,
        _codes(rng, 5, PARTIES),
        _codes(rng, CLASSES, MERCHANTS),
    )
    rules = ScreenRules(
        rng.random(21) < 0.2,
        np.array([0.0, 0.1, 0.3, 0.6, 1.0]),
        rng.uniform(0.5, 2.0, CLASSES),
        rng.uniform(0.2, 3.0, CLASSES),
        rng.random(5),
        rng.random(11) < 0.5,
        1,
        2,
        3,
        4,
        rng.random(),
        rng.random(),
    )
    return flows, rules, _keys(seed + 1), _evidence(), np.zeros(rows, np.int8)


def _collateral(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    sources = int(rng.integers(0, rows + 2))
    accounts = 2 + rows // 4
    owner = np.sort(rng.integers(1, accounts, sources))
    at = START + rng.integers(0, 12, sources) * HOUR
    known = at + rng.integers(0, DAY, sources)
    ts = START + rng.integers(0, 12, rows) * HOUR + rng.integers(-1, 2, rows)
    return rng.integers(1, accounts, rows), ts, owner, at, known, 4 * HOUR, np.zeros(rows, np.int64)


def _work_flows(rows: int, seed: int) -> BankFlows:
    """Flows of every kind; each has a signal, as those that the bank works have."""
    rng = _rng(seed)
    signals = rng.choice(SIGNALS, rows)
    ts = START + rng.integers(0, 60 * DAY, rows)
    response = ts + rng.integers(0, 300 * SECOND, rows)
    moved = np.where(signals & 16, 1, _codes(rng, 4, rows)).astype(np.int8)
    amount = rng.integers(1, 20_000, rows)
    cleared = np.where(moved == 1, amount, 0)
    refunded = np.where(rng.random(rows) < 0.7, 0, rng.integers(0, 20_000, rows))
    told = np.where(signals & 12, ts + rng.integers(0, 150 * DAY, rows), 0)
    known = np.where(signals & 32, ts + rng.integers(-DAY, 5 * DAY, rows), 0)
    return BankFlows(
        np.cumsum(rng.integers(1, 9, rows)),
        ts,
        response,
        np.where(moved == 1, response + rng.integers(0, 5 * DAY, rows), 0),
        told,
        amount,
        rng.integers(1, 3_000, rows),
        cleared,
        refunded,
        rng.integers(1, ISSUERS + 1, rows),
        known,
        signals,
        _codes(rng, 6, rows),
        _codes(rng, CLASSES, rows),
        moved,
        _codes(rng, 8, rows),
        _codes(rng, 5, rows),
        _codes(rng, 5, rows),
        rng.random(rows) < 0.5,
        rng.random(rows) < 0.2,
    )


def _bank_rules(seed: int) -> BankRules:
    """Three issuers: long hours, short hours, and none at all."""
    rng = _rng(seed)
    long, short = _windows(rng, 100, 8, 20), _windows(rng, 100, 11, 13)
    n, m = len(long[0]), len(long[0]) + len(short[0])
    return BankRules(
        _delays(seed + 1),
        np.r_[long[0], short[0]],
        np.r_[long[1], short[1]],
        np.array([[0, n], [n, m], [m, m]], np.int64),
        rng.integers(0, 5, (4, 7, 5)).astype(np.int8),
        rng.random(6),
        rng.uniform(0.3, 3.0, CLASSES),
        rng.uniform(0.3, 3.0, CLASSES),
        0.6,
        0.8,
        1.5,
        30 * DAY,
        START + int(rng.integers(70, 200)) * DAY - 1,
    )


def _claim_rules(seed: int) -> ClaimRules:
    rng = _rng(seed)
    weights = rng.random(14) * (rng.random(14) < 0.8)
    weights[[0, 7]] = 0.0
    weights[[3, 10]] += 0.1
    chances = np.sort(rng.random((3, 2)), axis=1)
    return ClaimRules(
        np.cumsum(weights),
        rng.random(6) * 0.5,
        np.c_[chances, rng.random(3)],
        rng.random(8) < 0.5,
        rng.random(5) < 0.5,
        rng.random(8) < 0.5,
        rng.random(5) < 0.5,
        0.5,
        0.4,
        0.5,
        500,
    )


def _work(rows: int, seed: int) -> tuple[Any, ...]:
    out = BankOut(
        np.zeros((rows, 15), np.int64),
        np.zeros((rows, 9), np.int8),
        np.zeros((rows, 8), np.int64),
        np.zeros((rows, 8), np.int8),
        np.zeros((rows, 8), np.int8),
    )
    rules, claims = _bank_rules(seed + 1), _claim_rules(seed + 3)
    space = np.zeros(13), np.zeros((8, 5), np.int64)
    return _work_flows(rows, seed), rules, claims, _keys(seed + 2), _evidence(), *space, out


def _members(rows: int, seed: int) -> tuple[Any, ...]:
    """Sorted members of few keys, gaps around the limits, and cases of at most four."""
    rng = _rng(seed)
    kind, key = _codes(rng, 3, rows), rng.integers(1, 3 + rows // 10, rows)
    anchor = START + rng.integers(0, 60, rows) * HOUR
    order = np.lexsort((anchor, key, kind))
    limits = CaseLimits(3 * HOUR, 6 * HOUR, 4)
    out = np.zeros(rows, np.int64), np.zeros(rows, np.int16), np.zeros(rows, np.bool_)
    return kind[order], key[order], anchor[order], limits, *out


def _timeline(rows: int, seed: int) -> tuple[Any, ...]:
    """Working arrays of members in which any instant may be missing, and any may be out of order."""
    rng = _rng(seed)
    times = START + rng.integers(0, 40 * DAY, (rows, 15))
    times[rng.random((rows, 15)) < 0.4] = 0
    times[:, 11] = START + rng.integers(0, 40 * DAY, rows)
    source, ordinal = _codes(rng, 6, rows), np.cumsum(rng.integers(1, 9, rows))
    out = np.zeros((rows, 10), np.int64)
    return times, source, ordinal, _delays(seed + 1), START + 35 * DAY, _keys(seed + 2), _evidence(), out


def _closing(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    last = START + rng.integers(0, 40 * DAY, rows)
    ordinal, out = np.cumsum(rng.integers(1, 9, rows)), np.zeros(rows, np.int64)
    return ordinal, last, _delays(seed + 1), START + 35 * DAY, _keys(seed + 2), _evidence(), out


def _delay(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    u = np.clip(rng.random(rows), 2.0**-54, 1.0 - 2.0**-53)
    return u, rng.integers(0, LAWS, rows), _delays(seed + 1), np.zeros(rows, np.int64)


def _business(rows: int, seed: int) -> tuple[Any, ...]:
    """Starts in, between and behind the windows, and on their edges; an empty calendar at times."""
    rng = _rng(seed)
    opens, closes = _windows(rng, int(rng.integers(0, 12)), 8, 20)
    ts = START + rng.integers(-24, 14 * 24, rows) * HOUR + rng.integers(-1, 2, rows)
    d = rng.integers(0, 30, rows) * HOUR + rng.integers(0, 2, rows)
    return ts, d, opens, closes, 1.5, np.zeros(rows, np.int64)


CASES = (
    Case("match_truth_rules", _truth, (5, 6), rows=2_000_000),
    Case("label_events", _events, (5,), rows=2_000_000),
    Case("screen_flows", _screen, (3, 4), rows=2_000_000),
    Case("find_collateral", _collateral, (6,), rows=1_000_000),
    Case("work_flows", _work, (4, 7), rows=100_000),
    Case("group_cases", _members, (4, 5, 6), rows=2_000_000),
    Case("member_events", _timeline, (6, 7), rows=100_000),
    Case("close_cases", _closing, (5, 6), rows=100_000),
    Case("delay_array", _delay, (3,), rows=100_000),
    Case("business_array", _business, (5,), rows=1_000_000),
)
