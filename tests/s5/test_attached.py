"""S5's look at S1's entities fails when the one thing that a rule guards is broken in a published run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fraudloom.tables import Columns
from s5.bench import Bench, add, applies, failed, make_bench, rules, where

S1 = "s1_arrival_entities_6B"
YEAR_US = 366 * 86_400_000_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A sealed run, never changed."""
    return make_bench(tmp_path_factory.mktemp("s5"), "default", 1200)


def strange_device(cols: Columns) -> None:
    """Give the first row the device of the party that is farthest from its own."""
    cols["device_id"][0] = cols["device_id"][np.argmax(np.abs(cols["party_id"] - cols["party_id"][0]))]


def anyone(c: Columns) -> np.ndarray:
    """Arrivals with an instrument, of no pinned card."""
    return (c["instrument_id"] > 0) & (c["pinned_instrument_id"] == 0)


def at_home(c: Columns) -> np.ndarray:
    """Arrivals with a customer's device."""
    return c["terminal_id"] == 0


BREAKS: list[tuple[str, str, str, Callable[[Columns], None]]] = [
    ("REQ_ENTITY_LINKS", "S1 account belongs to party", S1, add("party_id", 1)),
    ("REQ_ENTITY_LINKS", "S1 instrument belongs to account", S1, add("instrument_id", 7)),
    ("REQ_ENTITY_LINKS", "S1 device is the party's or the terminal's", S1, strange_device),
    ("REQ_ENTITY_LINKS", "S1 address is the device's or the terminal's", S1, add("ip_id", 9)),
    (
        "REQ_ENTITY_LINKS",
        "S1 wallet token on its phone",
        S1,
        where(
            "device_id",
            lambda c: (c["instrument_kind"] == 3) & (c["terminal_id"] == 0),
            lambda c, i: c["device_id"][i] + 1,
        ),
    ),
    (
        "REQ_ENTITY_LINKS",
        "S1 terminal stands at the merchant",
        S1,
        where("merchant_id", lambda c: c["terminal_id"] > 0, lambda c, i: c["merchant_id"][i] + 1),
    ),
    (
        "REQ_ENTITY_LINKS",
        "S1 instrument present off the rails",
        S1,
        where("instrument_id", lambda c: c["channel_group"] == 0, lambda c, i: 0),
    ),
    (
        "REQ_ENTITY_LINKS",
        "S1 terminal at tills and cash machines only",
        S1,
        where("channel_group", lambda c: c["terminal_id"] > 0, lambda c, i: 0),
    ),
    ("REQ_ENTITY_LINKS", "S1 instrument_kind as in 6A", S1, add("instrument_kind", 1)),
    ("REQ_ENTITY_LINKS", "S1 ledger_class as in 6A", S1, where("ledger_class", anyone, lambda c, i: 3)),
    (
        "REQ_ENTITY_LINKS",
        "S1 ip_group as in 6A",
        S1,
        where("ip_group", lambda c: c["terminal_id"] == 0, lambda c, i: 5),
    ),
    (
        "REQ_ENTITY_LINKS",
        "S1 instrument in use",
        S1,
        where("ts_utc", anyone, lambda c, i: c["ts_utc"][i] + 99 * YEAR_US),
    ),
    ("REQ_ENTITY_LINKS", "S1 device in use", S1, where("ts_utc", at_home, lambda c, i: c["ts_utc"][i] + 99 * YEAR_US)),
    ("REQ_ENTITY_LINKS", "S1 entity exists", S1, add("account_id", 1 << 40)),
]


@pytest.mark.parametrize(("check", "rule", "dataset", "change"), BREAKS, ids=[b[1] for b in BREAKS])
def test_broken_entities_fail_their_rule(
    whole: Bench, tmp_path: Path, check: str, rule: str, dataset: str, change: Callable[[Columns], None]
) -> None:
    """One changed arrival fails the rule that guards it, by name."""
    bench = whole.copy(tmp_path)
    part = next(p for p in range(bench.spec.parts) if applies(bench, dataset, change, p))
    bench.rewrite(dataset, change, part)
    result = bench.validate()
    assert check in failed(result) and rule in rules(result, check), rules(result, check)
