"""A world from a real transaction log: what the log tells is pinned, what it does not is made by the same policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.errors import DataError
from fraudloom.importlog import LogRows, read_log, read_map
from fraudloom.kernels.world_rows import local_times
from fraudloom.policies_api import load_pack
from fraudloom.states.world import arrivals as arr
from fraudloom.states.world import devices as dev
from fraudloom.states.world import geo, logged, merchants, parties, publish, relations
from fraudloom.states.world.build import WorldManifest, class_profile
from fraudloom.states.world.pinned import provenance
from fraudloom.states.world.spec import (
    DAY_US,
    GENERATOR_SPEC,
    I64,
    MAX_DAYS,
    Context,
    Draws,
    WorldSpec,
    canonical_json,
    pick,
    read_policy,
    sha256_hex,
)
from fraudloom.states.world.stores import ATM, BANK_RAIL, POS, SCENARIO, Places, Stores, build_stores, read_places
from fraudloom.tables import Columns, PartResult, PartWriter, empty_columns

#: Number of the laws of importing; a change of any output for the same log and map raises it.
IMPORT_SPEC = 3
#: Days before the first and after the last row, so that no zone's offset leaves the horizon.
MARGIN_DAYS = 1


@dataclass(frozen=True)
class Cast:
    """All that arrivals are written from: the town, instants and the ids that rows are pinned to (0 for none)."""

    town: arr.Town
    stores: Stores
    places: Places
    ts: I64
    instrument: I64
    device: I64
    ip: I64


def _identity(log: Path, map_file: Path, seed: int, wph: str) -> dict[str, Any]:
    return {
        "generator_spec": GENERATOR_SPEC,
        "import_spec": IMPORT_SPEC,
        "origin": "imported",
        "log_sha256": publish.digest_file(log),
        "map_sha256": publish.digest_file(map_file),
        "seed": seed,
        "world_policy_sha256": wph,
    }


def _context(
    places: Places, rows: LogRows, identity: dict[str, Any], policy: Any, contracts: Contracts, wph: str
) -> Context:
    """Horizon from the rows; cities cut to the payers' and those of the merchants' countries."""
    days = rows.wall_us // DAY_US
    first = int(days.min()) - MARGIN_DAYS if len(days) else 20454
    count = int(days.max()) + MARGIN_DAYS + 1 - first if len(days) else 90
    if count > MAX_DAYS:
        raise DataError(
            "WORLD",
            "IMPORT_HORIZON",
            what="the log spans too many days",
            found=count,
            expected=MAX_DAYS,
            action="import a shorter span of the log",
        )
    local = {**policy, "cities": places.cities}
    start = (date(1970, 1, 1) + timedelta(days=first)).isoformat()
    world = WorldSpec(len(rows), int(identity["seed"]), count, start, (SCENARIO,))
    draws = Draws(
        sha256_hex(canonical_json({k: identity[k] for k in ("generator_spec", "log_sha256", "map_sha256")})), world.seed
    )
    return Context(world, local, contracts, sha256_hex(canonical_json(identity)), wph, draws, first)


def _regulars(ctx: Context, merchant: I64, party: I64) -> Columns:
    """Every (merchant, holder) of the log, weighted by its rows."""
    pairs, times = np.unique(merchant * (np.int64(1) << 32) + party, return_counts=True)
    cols = empty_columns(ctx.contracts.dataset("regulars_6A"), len(pairs))
    cols["merchant_id"], cols["party_id"] = (pairs >> 32) + 1, (pairs & 0xFFFFFFFF) + 1
    cols["home_city_id"] = np.ones(len(pairs), np.int64)
    cols["weight"] = times.astype(np.float64)
    return cols


def _instants(ctx: Context, rows: LogRows, offsets: Columns, zones: I64) -> I64:
    """UTC instants. A date without a time is spread over the day by the policy's class, one draw per row."""
    wall, day = rows.wall_us, rows.wall_us // DAY_US
    law = ctx.policy["demand_classes"][ctx.policy["imports"]["demand_class"]]
    weekend = np.isin((day + 3) % 7, ctx.policy["countries"][ctx.policy["cities"][0][1]]["weekend"])
    u = ctx.draws.uniforms("arrivals", "HOUR", len(wall))
    minute = (ctx.draws.uniforms("arrivals", "MINUTE", len(wall)) * 3_600_000_000).astype(np.int64)
    hour = np.where(weekend, pick(law["hours_weekend"], u), pick(law["hours_weekday"], u))
    wall = np.where(rows.dated, day * DAY_US + hour * 3_600_000_000 + minute, wall)
    ptr, frm, off = geo.zone_arrays(offsets, len(ctx.contracts.enum("tzid")))
    east = np.empty(len(wall), np.int64)
    guess = wall
    for _ in range(2):
        local_times(guess, zones, ptr, frm, off, east)
        guess = wall - (east - guess)
    return np.where(rows.utc, rows.wall_us, guess)


def _unpack(ctx: Context, cast: Cast, rows: LogRows, at: I64, seq: I64) -> Columns:
    """Arrival columns of the log's rows `at` (places in the log); seq: arrival_seq of each."""
    n, merchant, channel = len(at), cast.stores.row[at], cast.stores.channel[at]
    cities = cast.town.cities
    home = int(cities["country_iso"][0])
    cols = empty_columns(ctx.contracts.dataset("arrival_events_5B"), n)
    cols["merchant_id"], cols["visit_merchant_id"], cols["arrival_seq"] = merchant + 1, merchant + 1, seq
    cols["ts_utc"] = cast.ts[at]
    cols["channel_group"] = channel.astype(np.int8)
    # A till abroad has the payer before it: a trip, and the zone of that place unless the log names one.
    cols["trip"] = ((channel == POS) | (channel == ATM)) & (cast.places.country[at] != home)
    city = cast.stores.city[merchant]
    cols["city_id"], cols["home_city_id"] = city + 1, np.where(cols["trip"], city + 1, 1)
    named = rows.coded["zone"][at]
    cols["zone_representation"] = np.where(named >= 0, named, cities["tzid"][cols["home_city_id"] - 1]).astype(np.int8)
    ptr, frm, off = geo.zone_arrays(cast.town.offsets, len(ctx.contracts.enum("tzid")))
    local_times(cols["ts_utc"], cols["zone_representation"].astype(np.int64), ptr, frm, off, cols["ts_local_primary"])
    cols["bucket_index"] = ((cols["ts_utc"] - ctx.start_us) // 3_600_000_000).astype(np.int32)
    virtual = (channel == 0) | (channel == BANK_RAIL)
    cols["is_virtual"], cols["site_id"] = virtual, np.where(virtual, 0, city + 1)
    acquirer = cast.stores.shops.table["acquirer_id"][merchant]
    cols["edge_id"] = np.where(virtual, acquirer, 0).astype(np.int64)
    cols["visit_key"] = at + 1
    cols["pinned_instrument_id"] = cast.instrument[at]
    cols["pinned_device_id"], cols["pinned_ip_id"] = cast.device[at], cast.ip[at]
    cols["pinned_amount_minor"], cols["pinned_is_credit"] = rows.amount_minor[at], rows.credit[at]
    cols["pinned_label"] = rows.coded["fraud_label"][at]
    return cols


def _arrivals(ctx: Context, cast: Cast, rows: LogRows, root: Path) -> dict[str, PartResult]:
    """One visit per row, in (merchant, time, log order), a row group at a time."""
    ds = ctx.contracts.dataset("arrival_events_5B")
    order = np.lexsort((cast.ts, cast.stores.row)).astype(np.int64)
    merchant = cast.stores.row[order]
    n, first = len(order), np.searchsorted(merchant, merchant, side="left")
    seq = np.arange(n, dtype=np.int64) - first + 1
    sizes = ctx.policy["sizes"]
    part, group = int(sizes["part_rows"]), int(sizes["group_rows"])
    out: dict[str, PartResult] = {}
    for k in range(max(1, -(-n // part))):
        name = ds.path_for(**ctx.tokens(scenario=SCENARIO, part=k))
        writer = PartWriter(root / name, ds, metadata=arr.footer(ctx, SCENARIO))
        end = min(n, (k + 1) * part)
        for at in range(k * part, max(end, k * part + 1), group):
            here = slice(at, min(at + group, end))
            writer.write_group(_unpack(ctx, cast, rows, order[here], seq[here]))
        out[name] = writer.close()
    return out


def _town(
    ctx: Context, rows: LogRows, places: Places, who: logged.Cast, done: publish.Published
) -> tuple[Cast, dict[str, Any]]:
    """Write everything but arrivals and profile; returns what arrivals are written from, and facts of the manifest."""
    cities = geo.build_cities(ctx, len(places.cities))
    home = {k: v[:1] for k, v in cities.items()}
    offsets, calendar = geo.build_zone_offsets(ctx), geo.build_calendar(ctx)
    stores = build_stores(ctx, rows, places)
    shops, people = stores.shops, max(len(who.customer), 1)
    issuers = parties.build_issuers(ctx, home, people)
    folk = logged.settle_households(parties.build_parties(ctx, home, people), who)
    card_names, _ = logged.ranked(rows.names["card"], rows.named["card"])
    logged.check_sizes(who, folk, card_names, int(ctx.policy["sizes"]["shard_target_arrivals"]))
    folk.table["activity_weight"] = np.maximum(np.bincount(who.party, minlength=people), 1).astype(np.float64)
    folk.table["external_ref"][: len(who.customer)] = np.asarray(who.customer, dtype=object)
    accounts, card = logged.seat_cards(ctx, parties.build_accounts(ctx, folk, issuers), who, card_names)
    logged.use_throughout(ctx, accounts.instruments, card)
    seats = logged.seat_devices(ctx, dev.build_owned(ctx, folk), who)
    pools = dev.build_pools(ctx, folk, seats.owned, cities, shops)
    terminals = merchants.build_terminals(ctx, shops, len(rows), len(seats.owned.owner) + 1, pools.first["merchant"])
    devices = dev.build_devices(ctx, folk, seats.owned, terminals, shops, cities)
    logged.use_throughout(ctx, devices, seats.device)
    devices["external_ref"][seats.device - 1] = np.asarray(who.device_name, dtype=object)
    ips, ip = logged.seat_addresses(ctx, dev.build_ips(ctx, pools, cities), who, folk.table["cohort_id"])
    users = logged.link_users(ctx, dev.build_device_links(ctx, seats.owned, terminals, accounts), seats)
    addresses = dev.build_ip_links(ctx, folk, seats.owned, pools, terminals, devices)
    trips = empty_columns(ctx.contracts.dataset("trips_6A"))
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
        ("s4_device_links_6A", users),
        ("s4_ip_links_6A", logged.link_addresses(ctx, addresses, devices, users, who, seats.device, ip)),
        ("regulars_6A", _regulars(ctx, stores.row, who.party)),
        ("trips_6A", trips),
        ("payees_6A", relations.build_payees(ctx, folk, accounts)),
    ):
        done.table(ctx, name, cols)
    for name, cols in relations.build_roles(ctx, folk, accounts, shops, devices, ips, seats.owned.second).items():
        done.table(ctx, name, cols)
    zero = np.zeros(1, np.int64)
    cast = Cast(
        arr.Town(cities, offsets, calendar, folk, shops, trips),
        stores,
        places,
        _instants(ctx, rows, offsets, places.zone),
        card[who.card],
        np.concatenate([seats.device, zero])[who.device],
        np.concatenate([ip, zero])[who.ip],
    )
    facts = {"parties": people, "cards": len(card), "merchants": len(shops.family)}
    return cast, facts


def import_world(
    log: Path,
    map_file: Path,
    out: Path,
    max_bad_rows: int = 0,
    workers: int = 1,
    seed: int = 42,
    policy: str | Path = "world",
    progress: Callable[[str, int, int], None] | None = None,
    contracts: Contracts | None = None,
) -> WorldManifest:
    """Make and seal a world from a transaction log (CSV, gzipped or not, or Parquet) and its map.

    Every usable row is one visit of one arrival, pinned to all that the map names. DataError when the map names an
    absent column, more than `max_bad_rows` rows are unusable, or a household has more rows than a shard can take
    (nothing is written); ConflictError when `out` holds anything else. `workers` is accepted for symmetry; content
    never depends on it.
    """
    contracts = contracts or load_contracts()
    doc, wph = read_policy(policy, contracts)
    spec = read_map(map_file, contracts, {c: int(v["decimals"]) for c, v in doc["fx"].items()})
    rows = read_log(log, spec, max_bad_rows, contracts)
    if progress:
        progress("rows read", len(rows), len(rows) + rows.bad_rows)
    identity = _identity(log, map_file, seed, wph)
    places = read_places(spec, rows, doc, contracts)
    ctx = _context(places, rows, identity, doc, contracts, wph)
    ctx = replace(ctx, spec=replace(ctx.spec, policy=policy))
    found = publish.existing(out, ctx.mf, identity)
    if found is not None:
        return WorldManifest(out, found)
    root = publish.open_partial(out, ctx.mf)
    try:
        done = publish.Published(root)
        source = load_pack(policy, contracts).sources["world_policy"]
        (root / publish.POLICY_FILE).write_bytes(source.read_bytes())
        cast, facts = _town(ctx, rows, places, logged.cast_rows(rows), done)
        done.add("arrival_events_5B", _arrivals(ctx, cast, rows, root))
        totals = np.bincount(cast.stores.row, minlength=len(cast.stores.city))
        done.table(ctx, "merchant_class_profile_5A", class_profile(ctx, cast.town.merchants, totals))
        facts |= {
            "origin": "imported",
            "arrivals": {SCENARIO: len(rows)},
            "shards": publish.shard_count(ctx, len(rows)),
            **provenance(contracts, spec, rows, done.rows()),
            "unusable_rows": [{"line": line, "reason": reason} for line, reason in rows.bad],
            "currency": spec.currency,
            "country": spec.country,
            "timezone": spec.timezone,
        }
        manifest = publish.write_manifest(ctx, done, identity, facts)
        publish.move_into_place(root, out)
    except OSError as e:
        publish.drop_partial(root)
        raise publish.disk_fault(e, out) from None
    except BaseException:
        publish.drop_partial(root)
        raise
    return WorldManifest(out, manifest)
