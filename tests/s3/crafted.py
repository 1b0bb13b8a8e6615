"""A small world woven up to S3, with shares so large that all fourteen types occur."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import load_contracts
from fraudloom.policies_api import Pack, load_pack
from fraudloom.rng import Streams
from fraudloom.states import s1, s2, s3
from fraudloom.states.world.view import load_world
from fraudloom.tables import Columns, concat, empty_columns, iter_batches

CATALOGUE = "fraud_campaign_catalogue_config_6B"
ARRIVALS = "arrival_events_5B"


@dataclass
class Woven:
    """What a scenario of a world became: plans, and per shard the frames and the evidence of S3."""

    world: Any
    plan: Any
    plan2: Any
    census: dict[str, np.ndarray]
    busy: Any
    shards: dict[int, tuple[Columns, Columns, Any, Any, Any]]

    def flows(self) -> Columns:
        """Flows of all shards."""
        return concat([x[3].flows for x in self.shards.values()])

    def catalogue(self) -> Columns:
        """The catalogue."""
        return s3.catalogue(self.plan2, [x[3].realised for x in self.shards.values()])


def loud_pack(edit: Any = None) -> Pack:
    """The default pack with large shares; `edit(templates by type, catalogue document)` may change more."""
    pack = load_pack("default", load_contracts())
    doc = copy.deepcopy(dict(pack.doc(CATALOGUE)))
    by_type = {t["campaign_type"]: t for t in doc["templates"]}
    for t in by_type.values():
        t["share"] = min(0.2, t["share"] * 4)
    by_type["SYNTHETIC_BUST_OUT"]["share"] = 0.2
    if edit is not None:
        edit(by_type, doc)
    return replace(pack, docs={**pack.docs, CATALOGUE: doc})


@cache
def opened(root: Path) -> Any:
    """A loaded world."""
    return load_world(root, load_contracts())


def weave(root: Path, pack: Pack, order: tuple[int, ...] | None = None, batch: int = 1 << 20) -> Woven:
    """Weave S1 to S3 of a world's first scenario, shards in the given order, arrivals in batches of `batch` rows."""
    contracts, world = load_contracts(), opened(root)
    scenario = world.scenarios[0]
    streams = Streams(world.fingerprint, 42, scenario)
    p1 = s1.compile_plan(pack, world, streams, contracts)
    p2 = s2.compile_plan(pack, world, streams, contracts)
    p3 = s3.compile_plan(pack, world, streams, contracts, p2)
    evidence, busy, census = p1.decisions.new_evidence(), s2.busy_new(p2), s3.census_new(p3)
    parts, first = [], 0
    ds = contracts.dataset(ARRIVALS)
    batches = list(iter_batches(world.arrival_paths(scenario), ds, batch)) or [empty_columns(ds)]
    for rows in batches:
        parts.append(s1.attach(p1, world, rows, first, evidence))
        first += len(rows["merchant_id"])
        s2.busy_add(p2, parts[-1], busy)
        s3.census_add(p3, world, parts[-1], census)
    attached = concat(parts)
    plan2 = s3.plan2(p3, census)
    planned = s3.busy_planned(plan2, busy)
    woven: dict[int, Any] = {}
    for shard in order or range(world.shards):
        mine = attached["_shard"] == shard
        arrivals, sessions = s1.sessionise(p1, world, {k: v[mine] for k, v in attached.items()}, evidence)
        frame2 = s2.weave(p2, world, arrivals, sessions, busy, p2.decisions.new_evidence())
        own = p3.decisions.new_evidence()
        frame3 = s3.overlay(plan2, world, shard, arrivals, sessions, frame2, planned, own)
        woven[shard] = (arrivals, sessions, frame2, frame3, own)
    return Woven(world, p3, plan2, census, busy, dict(sorted(woven.items())))
