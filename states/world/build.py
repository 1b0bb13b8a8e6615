"""Building a world: entities, arrivals, seals."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.policies_api import load_pack
from fraudloom.states.world import arrivals as arr
from fraudloom.states.world import devices as dev
from fraudloom.states.world import geo, merchants, parties, publish, relations
from fraudloom.states.world.spec import FAMILIES, I64, Context, Doc, WorldSpec, make_context, spec_document
from fraudloom.tables import Columns, PartResult, empty_columns

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class WorldManifest:
    """A published world: its folder and the content of its `world.json`."""

    root: Path
    document: Doc

    @property
    def fingerprint(self) -> str:
        """manifest_fingerprint."""
        return str(self.document["manifest_fingerprint"])

    @property
    def arrivals(self) -> dict[str, int]:
        """Arrivals by scenario."""
        return {str(k): int(v) for k, v in self.document["arrivals"].items()}


def silent(stage: str, done: int, total: int) -> None:
    """Progress that goes nowhere."""


def build_entities(ctx: Context, done: publish.Published) -> tuple[arr.Town, dict[str, Any]]:
    """Build and write every table but the arrivals and the class profile."""
    n = ctx.spec.arrivals
    people = parties.party_count(ctx, n)
    cities = geo.build_cities(ctx, geo.city_count(ctx, people))
    offsets, calendar = geo.build_zone_offsets(ctx), geo.build_calendar(ctx)
    shops = merchants.build_merchants(ctx, cities, n)
    issuers = parties.build_issuers(ctx, cities, people)
    folk = parties.build_parties(ctx, cities, people)
    accounts = parties.build_accounts(ctx, folk, issuers)
    owned = dev.build_owned(ctx, folk)
    pools = dev.build_pools(ctx, folk, owned, cities, shops)
    terminals = merchants.build_terminals(ctx, shops, n, len(owned.owner) + 1, pools.first["merchant"])
    devices = dev.build_devices(ctx, folk, owned, terminals, shops, cities)
    ips = dev.build_ips(ctx, pools, cities)
    trips = relations.build_trips(ctx, folk, cities)
    for name, cols in (
        ("merchants_1A", shops.table),
        ("cities_1B", cities),
        ("zone_offsets_2A", offsets),
        ("terminals_2B", terminals),
        ("fx_rates_3A", geo.build_fx(ctx)),
        ("calendar_3B", calendar),
        ("issuers_6A", issuers),
        ("cohorts_6A", folk.cohorts),
        ("s1_party_base_6A", folk.table),
        ("s2_account_base_6A", accounts.table),
        ("s3_instrument_base_6A", accounts.instruments),
        ("s3_account_instrument_links_6A", parties.account_instrument_links(accounts.instruments)),
        ("s4_device_base_6A", devices),
        ("s4_ip_base_6A", ips),
        ("s4_device_links_6A", dev.build_device_links(ctx, owned, terminals, accounts)),
        ("s4_ip_links_6A", dev.build_ip_links(ctx, folk, owned, pools, terminals, devices)),
        ("regulars_6A", relations.build_regulars(ctx, folk, shops, cities, n)),
        ("trips_6A", trips),
        ("payees_6A", relations.build_payees(ctx, folk, accounts)),
    ):
        done.table(ctx, name, cols)
    for name, cols in relations.build_roles(ctx, folk, accounts, shops, devices, ips, owned.second).items():
        done.table(ctx, name, cols)
    return arr.Town(cities, offsets, calendar, folk, shops, trips), {"parties": people}


def class_profile(ctx: Context, shops: merchants.Merchants, totals: I64) -> Columns:
    """merchant_class_profile_5A: planned weekly volume, its ratio to the class mean, realised arrivals."""
    cols = empty_columns(ctx.contracts.dataset("merchant_class_profile_5A"), len(shops.family))
    kind = shops.table["demand_class"]
    weekly = shops.expected * 7.0 / ctx.spec.days
    count = np.bincount(kind, minlength=len(ctx.contracts.enum("demand_class")))
    mass = np.bincount(kind, weights=weekly, minlength=len(count))
    mean = (mass / np.maximum(count, 1))[kind]
    cols["merchant_id"] = shops.table["merchant_id"]
    cols["primary_demand_class"] = kind
    cols["weekly_volume_total_expected"] = weekly
    cols["scale_factor_total"] = np.where(mean > 0, weekly / np.where(mean > 0, mean, 1.0), 0.0)
    cols["arrivals_total"] = totals
    return cols


def _arrivals(
    ctx: Context, town: arr.Town, root: Path, scenario: str, pool: ThreadPoolExecutor, progress: Progress
) -> tuple[dict[str, PartResult], I64, dict[str, int]]:
    scratch = root / f"scratch-{scenario}"
    scratch.mkdir()
    streams = arr.plan_streams(ctx, town, scenario)
    blocks = arr.plan_blocks(ctx, streams)
    buckets = arr.plan_buckets(ctx, town.merchants.expected)
    scattered = arr.scatter(ctx, streams, blocks, buckets, scratch, pool, progress)
    results, totals = arr.write_parts(ctx, town, scattered, buckets, root, scenario, pool, progress)
    scattered.path.unlink()
    scratch.rmdir()
    by_channel: dict[str, int] = {}
    for stream in streams:
        label = FAMILIES[stream.family]
        by_channel[label] = by_channel.get(label, 0) + stream.quota
    return results, totals, by_channel


def build_world(
    spec: WorldSpec,
    out: Path,
    workers: int = 1,
    progress: Progress | None = None,
    contracts: Contracts | None = None,
) -> WorldManifest:
    """Build and seal a world under `out`, or find that it is already there.

    Content depends on `spec` alone, not on `workers`. `progress(stage, done, total)` is called from this thread.
    ConflictError when `out` holds anything else; nothing appears under `out` before the world is whole.
    """
    contracts = contracts or load_contracts()
    ctx = make_context(spec, contracts)
    document = spec_document(spec, ctx.wph)
    found = publish.existing(out, ctx.mf, document)
    if found is not None:
        return WorldManifest(out, found)
    tell = progress or silent
    root = publish.open_partial(out, ctx.mf)
    try:
        source = load_pack(spec.policy, contracts).sources["world_policy"]
        (root / publish.POLICY_FILE).write_bytes(source.read_bytes())
        tell("entities", 0, 1)
        with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
            # The tables are written while the first arrivals are made: else one core would wait for the other.
            done = publish.Published(root, pool=pool if workers > 1 else None)
            town, facts = build_entities(ctx, done)
            tell("entities", 1, 1)
            channels, totals = {}, np.zeros(len(town.merchants.family), np.int64)
            for scenario in spec.scenarios:
                results, seen, channels[scenario] = _arrivals(ctx, town, root, scenario, pool, tell)
                done.settle()
                done.add("arrival_events_5B", results)
                totals += seen
            done.settle()
            done.pool = None
        done.table(ctx, "merchant_class_profile_5A", class_profile(ctx, town.merchants, totals))
        facts |= {
            "origin": "built",
            "arrivals": {s: spec.arrivals for s in spec.scenarios},
            "arrivals_by_channel": channels,
            "shards": publish.shard_count(ctx, spec.arrivals),
            "pinned": [],
            "made": ["everything"],
        }
        manifest = publish.write_manifest(ctx, done, document, facts)
        publish.move_into_place(root, out)
    except OSError as e:
        publish.drop_partial(root)
        raise publish.disk_fault(e, out) from None
    except BaseException:
        publish.drop_partial(root)
        raise
    return WorldManifest(out, manifest)
