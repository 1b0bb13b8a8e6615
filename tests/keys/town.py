"""The upstream world in memory, table by table: what a number of the world policy changes, without publishing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.states.world import WorldSpec, geo
from fraudloom.states.world import arrivals as arr
from fraudloom.states.world.build import build_entities, class_profile
from fraudloom.states.world.publish import shard_count
from fraudloom.states.world.spec import Context, make_context
from fraudloom.tables import Columns, ContentHasher, empty_columns

#: Sections that one table of places repeats whole, and sections that arrivals alone read.
PLACES = {"cities": "cities_1B", "countries": "calendar_3B", "fx": "fx_rates_3A"}
OF_ARRIVALS = {"scenarios", "visits", "demand_classes", "month_start_days"}


class _Changed(Exception):
    """A table has another digest than that of the base."""


@dataclass
class Recorder:
    """Takes tables instead of a folder; digests them, and stops the building at the first that differs from `base`."""

    contracts: Contracts
    base: Mapping[str, str]
    digests: dict[str, str] = field(default_factory=dict)

    def table(self, ctx: Context, dataset: str, cols: Columns) -> None:
        """Digest one table."""
        del ctx
        self.note(dataset, self.digest(dataset, cols))

    def digest(self, dataset: str, cols: Columns) -> str:
        """Content digest of a table."""
        hasher = ContentHasher(self.contracts.dataset(dataset), "full")
        hasher.update(cols)
        return hasher.hexdigest()

    def note(self, name: str, digest: str) -> None:
        """Keep a digest."""
        self.digests[name] = digest
        if self.base and self.base[name] != digest:
            raise _Changed(name)


class TownBuilder:
    """Builds of one small world under policies that differ in single numbers."""

    def __init__(self, contracts: Contracts, spec: WorldSpec, policy: Mapping[str, Any]) -> None:
        self.contracts, self.spec = contracts, spec
        self.ctx = replace(make_context(spec, contracts), policy=policy)
        done = Recorder(contracts, {})
        self.town, _ = build_entities(self.ctx, done)  # type: ignore[arg-type]
        self._arrivals(self.ctx, self.town, done)
        for section in PLACES:
            self._places(self.ctx, section, done)
        self.digests = done.digests

    def first_change(self, policy: Mapping[str, Any], section: str) -> str | None:
        """The first table that a policy with another value in `section` changes.

        What only one table or only the arrivals read is tried there first, the whole world after it.
        """
        ctx, done = replace(self.ctx, policy=policy), Recorder(self.contracts, self.digests)
        try:
            if section in PLACES:
                self._places(ctx, section, done)
            if section in OF_ARRIVALS:
                self._arrivals(ctx, self.town, done)
            town, _ = build_entities(ctx, done)  # type: ignore[arg-type]
            self._arrivals(ctx, town, done)
        except _Changed as e:
            return str(e)
        return None

    @staticmethod
    def _places(ctx: Context, section: str, done: Recorder) -> None:
        """Tables of all cities, countries or currencies (a small world uses the first cities alone)."""
        name = PLACES[section]
        if section == "cities":
            cols = geo.build_cities(ctx, len(ctx.policy["cities"]))
        else:
            year = replace(ctx, spec=replace(ctx.spec, days=366 - geo.TAIL_DAYS))
            cols = geo.build_calendar(year) if section == "countries" else geo.build_fx(ctx)
        done.note(f"{name} (all)", done.digest(name, cols))

    def _arrivals(self, ctx: Context, town: arr.Town, done: Recorder) -> None:
        done.note("world.json (shards)", str(shard_count(ctx, ctx.spec.arrivals)))
        totals = np.zeros(len(town.merchants.family), np.int64)
        for scenario in ctx.spec.scenarios:
            streams = arr.plan_streams(ctx, town, scenario)
            made = [arr.make_block(streams[b.stream], b)[0] for b in arr.plan_blocks(ctx, streams)]
            rows = np.concatenate([np.column_stack([m, np.full((len(m), 1), k)]) for k, m in enumerate(made)])
            totals += np.bincount(rows[:, 1] >> 32, minlength=len(totals))
            digest = done.digest("arrival_events_5B", self._events(ctx, town, rows))
            done.note(f"arrival_events_5B ({scenario})", digest)
        done.table(ctx, "merchant_class_profile_5A", class_profile(ctx, town.merchants, totals))

    @staticmethod
    def _events(ctx: Context, town: arr.Town, rows: np.ndarray[Any, Any]) -> Columns:
        """Arrivals in the order in which blocks made them (visit and series numbers are the block's own)."""
        n = len(rows)
        packed, seen = np.ascontiguousarray(rows[:, :4]), np.zeros(len(town.merchants.family), np.int64)
        made = arr.Sorted(packed, rows[:, 2] >> 32, rows[:, 2] & 0xFFFFFFFF, np.arange(n, dtype=np.int64))
        cols = empty_columns(ctx.contracts.dataset("arrival_events_5B"), n)
        arr.unpack(ctx, arr.arrival_tables(ctx, town), made, 0, 0, seen, cols)
        return cols
