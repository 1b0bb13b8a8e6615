"""Cases of S2 up to the score of a request: flows, payees, amounts, requests, census.

Small sets of cards, devices, merchants and sessions, so that histories are long; amounts, instants and shares
at limits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import fmath
from fraudloom.kernels.amounts import AmountKeys, AmountRule, AmountTables, CurrencyTables
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
from fraudloom.kernels.issuer_risk import FEATURES, Observed, Places
from fraudloom.perf.cases import Case

Array = np.ndarray[Any, Any]
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
START_DAY, DAYS, DECISIONS = 20_454, 20, 12
START = START_DAY * DAY
COUNTRIES, CURRENCIES, PURPOSES = 36, 26, 10
ISSUERS, CITIES = 3, 6


def generator(seed: int) -> np.random.Generator:
    """The generator of a seed."""
    return np.random.Generator(np.random.PCG64(seed))


def keys_of(seed: int) -> Array:
    """Keys of the twelve decisions."""
    return generator(seed + 1).integers(0, 1 << 63, DECISIONS, dtype=np.uint64) * np.uint64(2)


def no_evidence() -> Array:
    """Evidence of no draws."""
    return np.zeros((DECISIONS, 2), np.uint64)


def codes(rng: np.random.Generator, rows: int, choices: int) -> Array:
    """Codes below a number."""
    return rng.integers(0, choices, rows).astype(np.int8)


def flags(rng: np.random.Generator, rows: int, share: float = 0.5) -> Array:
    """Flags of which a share holds."""
    return rng.random(rows) < share


def some_ids(rng: np.random.Generator, rows: int, top: int, share: float = 0.2) -> Array:
    """Ids, 0 for most."""
    return np.where(flags(rng, rows, share), rng.integers(1, top + 1, rows), 0)


def ordinals(rng: np.random.Generator, rows: int) -> Array:
    """Distinct ordinals of flows, unordered."""
    return (rng.permutation(rows) + int(rng.integers(0, 1 << 36))) * 8


def size_of(rows: int) -> int:
    """Parties, merchants and so on: few enough that rows meet at the same ones."""
    return 3 + rows // 8


def instants(rng: np.random.Generator, rows: int) -> Array:
    """Bursts of seconds, pauses of hours, equal instants."""
    near = rng.choice(np.array([0, 1, 5, 60]) * SECOND, rows)
    gaps = np.where(flags(rng, rows, 0.7), near, rng.integers(0, DAYS * DAY // (rows + 1) + 1, rows))
    return START + np.cumsum(gaps)


def references(rng: np.random.Generator, rows: int) -> Array:
    """Reference amounts, some of them at limits."""
    limits = rng.choice(np.array([1, 3000, 3001, 5000, 10_000, 15_000, 25_000]), rows)
    return np.where(flags(rng, rows, 0.3), limits, rng.integers(1, 300_000, rows))


def _assign(rows: int, seed: int) -> tuple[Any, ...]:
    rng = generator(seed)
    sessions = 1 + rows // 6
    arrivals = ArrivalColumns(
        ordinals(rng, rows) // 8,
        instants(rng, rows),
        rng.integers(0, sessions, rows),
        rng.integers(1, 3, rows),
        rng.integers(0, 2, rows),
        some_ids(rng, rows, 9, 0.1),
        codes(rng, rows, 2) * np.int8(4),
        flags(rng, rows, 0.1),
    )
    rule = GroupRule(np.full(5, 0.8), np.full(5, 0.1), 5 * SECOND if seed % 2 else 1800 * SECOND, 2 + seed % 3)
    out = FlowGroups(
        np.zeros(rows, np.int64),
        np.zeros(rows, np.int16),
        np.zeros(rows, np.int64),
        np.zeros(rows, np.int16),
        np.zeros(rows, np.bool_),
    )
    return arrivals, rule, keys_of(seed), no_evidence(), np.full(sessions, -1, np.int64), out


def _payees(rows: int, seed: int) -> tuple[Any, ...]:
    rng, parties = generator(seed), size_of(rows)
    counts = rng.integers(0, 5, parties)
    start = np.r_[0, np.cumsum(counts)].astype(np.int64)
    listed = int(start[-1])
    tables = PayeeTables(
        start,
        rng.integers(1, 999, listed),
        rng.integers(1, 99, listed).astype(np.int32),
        codes(rng, listed, 3),
        codes(rng, listed, PURPOSES),
        codes(rng, parties, 3),
        np.cumsum(0.7 ** np.arange(5)),
        1000,
    )
    weights = rng.random(PURPOSES) * flags(rng, PURPOSES, 0.8)
    weights[3] += 0.1
    rule = PayeeRule(0.4, 0.3, 0.2, 0.1, 0.15, 0.2, 0.1, 60, np.cumsum(weights), codes(rng, 4, COUNTRIES))
    dtypes = (np.int64, np.int32, np.int8, np.bool_, np.int8, np.int8)
    channel = np.where(flags(rng, rows, 0.7), 3, rng.integers(0, 5, rows)).astype(np.int8)
    return (
        ordinals(rng, rows),
        channel,
        rng.integers(1, parties + 1, rows),
        some_ids(rng, rows, 5),
        tables,
        rule,
        keys_of(seed),
        no_evidence(),
        PayeeColumns(*(np.zeros(rows, t) for t in dtypes)),
    )


def country_set(rng: np.random.Generator, share: float = 0.6) -> Array:
    """Countries by chance."""
    return flags(rng, COUNTRIES, share)


def _observe(rows: int, seed: int) -> tuple[Any, ...]:
    rng = generator(seed)
    channel = codes(rng, rows, 5)
    keys = RequestKeys(
        ordinals(rng, rows),
        some_ids(rng, rows, 9),
        references(rng, rows),
        channel,
        kinds_of(rng, channel),
        rng.choice(np.array([-1, 0, 10, 11]), rows).astype(np.int8),
        codes(rng, rows, COUNTRIES),
        codes(rng, rows, COUNTRIES),
        codes(rng, rows, PURPOSES),
        flags(rng, rows, 0.3),
    )
    rule = ObserveRule(
        *(0.24, 0.1, 0.45, 0.9, 0.5, 0.3, 0.1, 0.3, 0.3, 0.1, 3000, 25_000, 0.9, 0.2, 0.2),
        *(0.7, 5000, 0.1, 0.1, 0.2, 0.1, 0.4, 3000),
        country_set(rng),
        country_set(rng),
        country_set(rng),
    )
    return keys, rule, keys_of(seed), no_evidence(), ObservedColumns(*(np.zeros(rows, np.int8) for _ in range(7)))


def kinds_of(rng: np.random.Generator, channel: Array) -> Array:
    """Kinds of instruments: handles or none on rails, cards and wallets elsewhere."""
    cards = rng.choice(np.array([0, 0, 1, 3]), len(channel))
    rails = rng.choice(np.array([-1, 2]), len(channel))
    return np.where(channel == 3, rails, cards).astype(np.int8)


def currency_tables(rng: np.random.Generator) -> CurrencyTables:
    """Currencies of one, a hundred and a thousand minor units."""
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


def amount_rule() -> AmountRule:
    """A law of amounts of which every ending is common."""
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
    rng, size = generator(seed), size_of(rows)
    keys = AmountKeys(
        ordinals(rng, rows),
        some_ids(rng, rows, 9),
        rng.integers(1, size + 1, rows),
        rng.integers(1, size + 1, rows),
        rng.integers(1, CITIES + 1, rows),
        some_ids(rng, rows, 99_999, 0.05),
        codes(rng, rows, 5),
        codes(rng, rows, CURRENCIES),
        codes(rng, rows, PURPOSES),
        flags(rng, rows, 0.1),
    )
    tables = AmountTables(
        rng.random(size) * 2.0 + 0.1,
        codes(rng, size, 5),
        codes(rng, size, 3),
        rng.random(size) * 2.0 + 0.1,
        rng.random(CITIES) + 0.5,
    )
    out = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    return keys, tables, currency_tables(rng), amount_rule(), keys_of(seed), no_evidence(), *out


def _snap(rows: int, seed: int) -> tuple[Any, ...]:
    rng = generator(seed)
    x = np.where(flags(rng, rows), rng.random(rows) * 30_000, rng.integers(0, 300, rows) * 50.0)
    columns = x, codes(rng, rows, 5), codes(rng, rows, CURRENCIES), rng.random(rows)
    return *columns, currency_tables(rng), amount_rule(), np.zeros(rows, np.int64), np.zeros(rows, np.int64)


def _local(rows: int, seed: int) -> tuple[Any, ...]:
    rng = generator(seed)
    ids = rng.choice(rng.integers(-(2**62), 2**62, 1 + rows // 3), rows)
    size = 4
    while size < 2 * rows:
        size *= 2
    table = np.zeros((size, 2), np.int64)
    table[:, 0] = np.iinfo(np.int64).min
    return ids, table, np.zeros(rows, np.int64)


def coefficients(rng: np.random.Generator) -> Array:
    """Coefficients of four sets."""
    coef = rng.random((4, len(FEATURES))) * 1.2
    coef[:, 0] = -4.0
    return coef


def _logits(rows: int, seed: int) -> tuple[Any, ...]:
    rng, size = generator(seed), size_of(rows)
    observed = Observed(
        START + rng.integers(-DAY, (DAYS + 1) * DAY, rows),
        rng.integers(1, size + 1, rows),
        rng.integers(1, size + 1, rows),
        references(rng, rows),
        codes(rng, rows, 5),
        codes(rng, rows, 8),
        codes(rng, rows, 5),
        codes(rng, rows, 5),
        codes(rng, rows, 3),
        codes(rng, rows, 3),
        codes(rng, rows, 2),
        codes(rng, rows, 2),
        (rng.integers(-1, 3, rows)).astype(np.int8),
        codes(rng, rows, 5),
        flags(rng, rows, 0.3),
    )
    places = Places(
        codes(rng, size, 6),
        codes(rng, size, 2),
        flags(rng, size),
        rng.integers(-1, 3, size).astype(np.int32),
        rng.integers(-1, 3, size).astype(np.int32),
        rng.integers(0, 90, (3, 24 * DAYS)).astype(np.int32),
        rng.integers(0, 90, (3, DAYS)).astype(np.int32),
        rng.random(3) * 9,
        40.0,
        START,
    )
    return observed, places, coefficients(rng), np.zeros(rows)


def _busy(rows: int, seed: int) -> tuple[Any, ...]:
    rng, size = generator(seed), size_of(rows)
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


CASES = (
    Case("assign_flows", _assign, (3, 5), returns=True),
    Case("choose_payees", _payees, (7, 8)),
    Case("observe_flows", _observe, (3, 4)),
    Case("price_flows", _price, (5, 6, 7)),
    Case("snap_amounts", _snap, (6, 7)),
    Case("count_busy", _busy, (6, 7), rows=5_000_000),
    Case("local_ids", _local, (2,), returns=True),
    Case("request_logits", _logits, (3,)),
)
