"""The figures of a run on crafted values and shards, in which every number of the policy of corridors decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fraudloom.states import figures
from fraudloom.states.score import Counts
from fraudloom.tables import Columns

ARRIVALS, LINKS = "s1_arrival_entities_6B", "s2_arrival_flow_link_6B"
FLOWS, EVENTS = "s2_flow_anchor_baseline_6B", "s2_event_stream_baseline_6B"
#: Values, dense on a logarithmic scale, and some below and at nothing.
SCALE = (-0.5, 0.0, *(10 ** (k / 8) for k in range(-40, 52)))
MINUTE, DAY = 60_000_000, 86_400_000_000
FAMILIES = {f.name: f for f in figures.FAMILIES}
Doc = Mapping[str, Any]


def judged_figures(doc: Doc, bench: Any) -> Any:
    """Every figure at many values, and those that a scenario has for itself; some at many sizes; all when imported."""
    del bench
    plan = figures.compile_plan(doc, dict.fromkeys(figures.figure_names()))

    def told(some: Any, values: Any, scenario: str, arrivals: int = 1 << 40, imported: bool = False) -> Any:
        part = replace(plan, corridors={n: plan.corridors[n] for n in some})
        found = [figures.judge(part, dict.fromkeys(some, x), {}, scenario, arrivals, imported) for x in values]
        return [[o.status for o in outcomes] for outcomes in found]

    return (
        told(plan.corridors, SCALE, "baseline_v1"),
        [told(own, SCALE, scenario) for scenario, own in plan.scenarios.items()],
        [told(("channels.ECOM",), [0.5], "baseline_v1", int(10 ** (k / 5))) for k in range(50)],
        told(plan.corridors, [0.5], "baseline_v1", imported=True),
    )


def _blank(dataset: str, rows: int, family: str, bench: Any) -> Columns:
    """Columns of so many rows that a family needs, each at its null."""
    ds = bench.contracts.dataset(dataset)
    return {
        name: np.full(rows, ds.column(name).null_value, ds.column(name).memory_dtype)
        for name in FAMILIES[family].needs[dataset]
    }


def _sessions(bench: Any) -> Mapping[str, Columns]:
    """Arrivals of one key, ever farther apart, two to a session; first at tills, then online."""
    gaps = (10 ** (np.arange(400) / 50) * 1_000_000).astype(np.int64)
    a = _blank(ARRIVALS, 800, "keys of sessions", bench)
    a["ts_utc"][:] = np.concatenate([np.cumsum(gaps)] * 2)
    a["channel_group"][:] = np.repeat([bench.contracts.code("channel_group", c) for c in ("POS", "ECOM")], 400)
    a["session_id"][:] = np.arange(800) // 2 + 1
    return {ARRIVALS: a}


def _joined(bench: Any) -> Mapping[str, Columns]:
    """Arrivals that join one flow a minute after each other."""
    family = "arrivals of flows"
    a, links, flows = (_blank(d, n, family, bench) for d, n in ((ARRIVALS, 1500), (LINKS, 1500), (FLOWS, 1)))
    a["ts_utc"][:] = np.arange(1500) * MINUTE
    links["link_rank"][:] = np.arange(1500)
    flows["arrival_count"][:] = 1500
    return {ARRIVALS: a, LINKS: links, FLOWS: flows}


def _trips(bench: Any) -> Mapping[str, Columns]:
    """Cards that turn up in two cities, ever later."""
    a = _blank(ARRIVALS, 800, "places", bench)
    a["channel_group"][:] = bench.contracts.code("channel_group", "POS")
    a["party_id"][:] = 1
    a["instrument_id"][:] = np.arange(800) // 2 + 1
    a["city_id"][:] = np.where(np.arange(800) % 2, 1, 2)
    a["ts_utc"][1::2] = (10 ** (np.arange(400) / 50) * 10_000).astype(np.int64)
    return {ARRIVALS: a}


def _settled(bench: Any, end_us: int) -> Mapping[str, Columns]:
    """Flows that are approved at every quarter of an hour, clear a day later, and are refunded ever later."""
    f = _blank(FLOWS, 1200, "clearing", bench)
    f["channel_group"][:] = bench.contracts.code("channel_group", "POS")
    f["merchant_id"][:] = 1
    f["merchant_country"][:] = 0
    f["response_code"][:] = bench.contracts.code("response_code", "00")
    f["response_ts_utc"][:] = end_us - 26 * DAY + np.arange(1200) % 96 * 15 * MINUTE
    f["clear_ts_utc"][:] = end_us - 25 * DAY
    f["refund_ts_utc"][:] = end_us + np.arange(1200) * DAY
    return {FLOWS: f}


def _ended(bench: Any, end_us: int) -> Mapping[str, Columns]:
    """Events ever later after the last arrival."""
    e = _blank(EVENTS, 1200, "events", bench)
    e["flow_id"][:] = e["event_seq"][:] = np.arange(1200)
    e["ts_utc"][:] = end_us + np.arange(1200) * DAY
    return {EVENTS: e, FLOWS: _blank(FLOWS, 0, "events", bench)}


def _silent(town: figures.Town) -> figures.Shares:
    """Issuers that are asked ever more often, each with spells of silence that cover ever more requests."""
    shares = town.shares()
    asked, covered = (x.reshape(town.issuers, -1) for x in (shares.asked, shares.covered))
    for k in range(town.issuers):
        asked[k] = 3**k
        for j in range(12):
            asked[k, 40 * j : 40 * j + 2] = covered[k, 40 * j : 40 * j + 2] = 2**j
    return shares


def defined_figures(doc: Doc, bench: Any) -> Any:
    """Figures of crafted shards, clocks and prices, in which each definition decides what counts."""
    if not hasattr(bench, "figure_town"):
        bench.figure_town = figures.read_town(bench.run.world_root, bench.run.spec.mf, bench.contracts)
    town = bench.figure_town
    plan = figures.compile_plan(doc, dict.fromkeys(figures.figure_names()))
    tally, shares, end = figures.Tally(), _silent(town), town.world.end_us
    for family, shard in (
        ("keys of sessions", _sessions(bench)),
        ("arrivals of flows", _joined(bench)),
        ("places", _trips(bench)),
        ("clearing", _settled(bench, end)),
        ("events", _ended(bench, end)),
    ):
        FAMILIES[family].scan(shard, town, plan, tally, shares)
    days = np.arange(town.issuers * town.world.days, dtype=np.int64)
    tally.bins["stood_in_days"] = days * days
    prices = tally.counts.setdefault("prices", Counts())
    for currency in range(24):  # ever more purchases at ever more prices
        part = Counts()
        part.values = (currency << 44) + np.arange(1, currency + 10, dtype=np.int64)
        part.counts = np.full(currency + 9, 1 + int(2 ** (currency * 0.8)), np.int64)
        prices.merge(part)
    return figures.values([f for f in figures.FAMILIES if f.name != "sharing"], tally, town, plan, shares)
