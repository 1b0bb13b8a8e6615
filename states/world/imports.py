"""A world from a real transaction log: what the log tells is pinned, what it does not is made by the same policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.errors import DataError, PolicyError
from fraudloom.importlog import ImportMap, LogRows, read_log, read_map
from fraudloom.kernels.world_rows import local_times
from fraudloom.policies_api import load_pack
from fraudloom.states.world import arrivals as arr
from fraudloom.states.world import devices as dev
from fraudloom.states.world import geo, merchants, parties, publish, relations
from fraudloom.states.world.build import WorldManifest, class_profile
from fraudloom.states.world.spec import (
    DAY_US,
    FAMILIES,
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
from fraudloom.tables import Columns, PartResult, PartWriter, empty_columns

SCENARIO = "baseline_v1"
#: Days before the first and after the last row, so that no zone's offset leaves the horizon.
MARGIN_DAYS = 1


def _identity(log: Path, map_file: Path, seed: int, wph: str) -> dict[str, Any]:
    return {
        "generator_spec": GENERATOR_SPEC,
        "origin": "imported",
        "log_sha256": publish.digest_file(log),
        "map_sha256": publish.digest_file(map_file),
        "seed": seed,
        "world_policy_sha256": wph,
    }


def _context(
    spec: ImportMap, rows: LogRows, identity: dict[str, Any], policy: Any, contracts: Contracts, wph: str
) -> Context:
    """Horizon from the rows; cities cut to the first one of the log's country and zone."""
    days = np.asarray(rows.wall_us, np.int64) // DAY_US
    first = int(days.min()) - MARGIN_DAYS if len(days) else 20454
    count = int(days.max()) + MARGIN_DAYS + 1 - first if len(days) else 90
    if count > MAX_DAYS:
        raise DataError("WORLD", "IMPORT_HORIZON", what="the log spans too many days", found=count, expected=MAX_DAYS)
    near = [c for c in policy["cities"] if c[1] == spec.country]
    best = next((c for c in near if c[2] == spec.timezone), near[0] if near else None)
    if best is None:
        raise DataError("WORLD", "IMPORT_COUNTRY", what="the policy has no city of the country", found=spec.country)
    city = [best[0], spec.country, spec.timezone, *best[3:]]
    local = {**policy, "cities": [city]}
    start = (date(1970, 1, 1) + timedelta(days=first)).isoformat()
    world = WorldSpec(len(rows.line), int(identity["seed"]), count, start, (SCENARIO,))
    draws = Draws(
        sha256_hex(canonical_json({k: identity[k] for k in ("generator_spec", "log_sha256", "map_sha256")})), world.seed
    )
    return Context(world, local, contracts, sha256_hex(canonical_json(identity)), wph, draws, first)


def _merchants(ctx: Context, spec: ImportMap, names: list[str], row_of: I64, rows: LogRows) -> merchants.Merchants:
    """One merchant per distinct name, in name order; channel and category from the log's first row, else by policy."""
    n, law = len(names), ctx.policy["imports"]
    shares = ctx.policy["scenarios"][SCENARIO]["shares"]
    pair = [float(shares["ECOM"]), float(shares["POS"])]
    family = pick(pair, ctx.draws.uniforms("merchants", "CHANNEL", n))
    first = np.full(n, len(row_of), np.int64)
    np.minimum.at(first, row_of, np.arange(len(row_of)))
    if "channel" in spec.columns:
        family = np.asarray([FAMILIES.index(rows.channel[i]) for i in first], np.int64)
    count = np.bincount(row_of, minlength=n)
    cols = empty_columns(ctx.contracts.dataset("merchants_1A"), n)
    cols["merchant_id"] = np.arange(1, n + 1, dtype=np.int64)
    cols["merchant_name"] = np.asarray(names, dtype=object)
    mcc = [rows.mcc[i] or int(law["mcc"]) for i in first]
    cols["mcc"] = np.asarray(mcc, np.int32)
    known = {int(r[0]): place for place, r in reversed(list(enumerate(ctx.policy["mccs"])))}
    if int(law["mcc"]) not in known:
        raise PolicyError(
            "WORLD",
            "IMPORT_MCC",
            what="imports.mcc is none of the policy's categories",
            found=law["mcc"],
            expected=", ".join(map(str, sorted(known))),
            where="world_policy",
        )
    place = np.asarray([known.get(m, known[int(law["mcc"])]) for m in mcc], np.int64)
    cols["demand_class"] = np.full(n, ctx.code("demand_class", law["demand_class"]), np.int8)
    cols["country_iso"] = np.full(n, ctx.code("country_iso", spec.country), np.int8)
    cols["city_id"] = np.ones(n, np.int64)
    cols["currency"] = np.full(n, ctx.code("currency", spec.currency), np.int8)
    acquirers = int(ctx.policy["acquirers"])
    cols["acquirer_id"] = (1 + ctx.draws.uniforms("merchants", "ACQUIRER", n) * acquirers).astype(np.int32)
    cols["channel_group"] = np.asarray([ctx.code("channel_group", f) for f in FAMILIES], np.int8)[family]
    cols["ending_style"] = np.full(n, ctx.code("ending_style", "BUSINESS"), np.int8)
    cols["amount_level"] = ctx.draws.lognormal("merchants", "AMOUNT", n, ctx.policy["merchant_amounts"])
    cols["planned_weight"] = count / max(int(count.sum()), 1)
    outlets = np.flatnonzero((family == 1) | (family == 2) | (family == 4)).astype(np.int64)
    weight = cols["planned_weight"][outlets]
    return merchants.Merchants(
        cols, family, place, count.astype(np.float64), outlets, np.zeros(len(outlets), np.int64), weight
    )


def _regulars(ctx: Context, merchant: I64, party: I64) -> Columns:
    """Every (merchant, holder) of the log, weighted by its rows."""
    pairs, times = np.unique(merchant * (np.int64(1) << 32) + party, return_counts=True)
    cols = empty_columns(ctx.contracts.dataset("regulars_6A"), len(pairs))
    cols["merchant_id"], cols["party_id"] = (pairs >> 32) + 1, (pairs & 0xFFFFFFFF) + 1
    cols["home_city_id"] = np.ones(len(pairs), np.int64)
    cols["weight"] = times.astype(np.float64)
    return cols


def _instants(ctx: Context, rows: LogRows, offsets: Columns, zone: int) -> I64:
    """UTC instants. A date without a time is spread over the day by the policy's class, one draw per row."""
    wall = np.asarray(rows.wall_us, np.int64)
    dated, in_utc = np.asarray(rows.dated, np.bool_), np.asarray(rows.utc, np.bool_)
    day = wall // DAY_US
    law = ctx.policy["demand_classes"][ctx.policy["imports"]["demand_class"]]
    weekend = np.isin((day + 3) % 7, ctx.policy["countries"][ctx.policy["cities"][0][1]]["weekend"])
    u = ctx.draws.uniforms("arrivals", "HOUR", len(wall))
    minute = (ctx.draws.uniforms("arrivals", "MINUTE", len(wall)) * 3_600_000_000).astype(np.int64)
    hour = np.where(weekend, pick(law["hours_weekend"], u), pick(law["hours_weekday"], u))
    wall = np.where(dated, day * DAY_US + hour * 3_600_000_000 + minute, wall)
    ptr, frm, off = geo.zone_arrays(offsets, len(ctx.contracts.enum("tzid")))
    zones, east = np.full(len(wall), zone, np.int64), np.empty(len(wall), np.int64)
    guess = wall
    for _ in range(2):
        local_times(guess, zones, ptr, frm, off, east)
        guess = wall - (east - guess)
    return np.where(in_utc, wall, guess)


def _arrivals(
    ctx: Context, town: arr.Town, rows: LogRows, ts: I64, merchant: I64, card: I64, instrument: I64, root: Path
) -> dict[str, PartResult]:
    """One visit per row, in (merchant, time, log order)."""
    ds = ctx.contracts.dataset("arrival_events_5B")
    order = np.lexsort((np.arange(len(ts)), ts, merchant))
    n, sorted_merchant = len(ts), merchant[order]
    family, shop = town.merchants.family[sorted_merchant], town.merchants.table
    cols = empty_columns(ds, n)
    cols["merchant_id"], cols["visit_merchant_id"] = sorted_merchant + 1, sorted_merchant + 1
    first = np.searchsorted(sorted_merchant, sorted_merchant, side="left")
    cols["arrival_seq"] = np.arange(n, dtype=np.int64) - first + 1
    cols["ts_utc"] = ts[order]
    cols["channel_group"] = shop["channel_group"][sorted_merchant]
    zone = town.cities["tzid"][0]
    cols["zone_representation"] = np.full(n, zone, np.int8)
    ptr, frm, off = geo.zone_arrays(town.offsets, len(ctx.contracts.enum("tzid")))
    local_times(cols["ts_utc"], np.full(n, zone, np.int64), ptr, frm, off, cols["ts_local_primary"])
    cols["bucket_index"] = ((cols["ts_utc"] - ctx.start_us) // 3_600_000_000).astype(np.int32)
    virtual = (family == 0) | (family == 3)
    cols["is_virtual"], cols["site_id"] = virtual, np.where(virtual, 0, 1)
    cols["edge_id"] = np.where(virtual, shop["acquirer_id"][sorted_merchant], 0).astype(np.int64)
    cols["visit_key"] = order + 1
    cols["home_city_id"], cols["city_id"] = np.ones(n, np.int64), np.ones(n, np.int64)
    cols["pinned_instrument_id"] = instrument[card[order]]
    cols["pinned_amount_minor"] = np.asarray(rows.amount_minor, np.int64)[order]
    cols["pinned_is_credit"] = np.asarray(rows.credit, np.bool_)[order]
    sizes = ctx.policy["sizes"]
    part, group = int(sizes["part_rows"]), int(sizes["group_rows"])
    out: dict[str, PartResult] = {}
    for k in range(max(1, -(-n // part))):
        name = ds.path_for(**ctx.tokens(scenario=SCENARIO, part=k))
        writer = PartWriter(root / name, ds, metadata=arr.footer(ctx, SCENARIO))
        end = min(n, (k + 1) * part)
        for at in range(k * part, max(end, k * part + 1), group):
            writer.write_group({c: v[at : min(at + group, end)] for c, v in cols.items()})
        out[name] = writer.close()
    return out


def _tables(
    ctx: Context, spec: ImportMap, rows: LogRows, done: publish.Published
) -> tuple[arr.Town, I64, I64, I64, I64, dict[str, Any]]:
    """Everything but arrivals and profile; returns town, instants, merchant and card rows, instrument ids, facts."""
    names, merchant = np.unique(np.asarray(rows.merchant, dtype=str), return_inverse=True)
    refs, card = np.unique(np.asarray(rows.card, dtype=str), return_inverse=True)
    cities, offsets, calendar = geo.build_cities(ctx, 1), geo.build_zone_offsets(ctx), geo.build_calendar(ctx)
    shops = _merchants(ctx, spec, [str(x) for x in names], merchant, rows)
    people = max(len(refs), 1)
    issuers = parties.build_issuers(ctx, cities, people)
    folk = parties.build_parties(ctx, cities, people)
    folk.table["activity_weight"] = np.maximum(np.bincount(card, minlength=people), 1).astype(np.float64)
    accounts = parties.build_accounts(ctx, folk, issuers)
    physical = np.flatnonzero(accounts.form == 0)
    _, at = np.unique(accounts.instruments["owner_party_id"][physical], return_index=True)
    instrument = accounts.instruments["instrument_id"][physical[at]]
    accounts.instruments["external_ref"][instrument[: len(refs)] - 1] = np.asarray([str(r) for r in refs], dtype=object)
    owned = dev.build_owned(ctx, folk)
    pools = dev.build_pools(ctx, folk, owned, cities, shops)
    terminals = merchants.build_terminals(ctx, shops, len(merchant), len(owned.owner) + 1, pools.first["merchant"])
    devices, ips = dev.build_devices(ctx, folk, owned, terminals, shops, cities), dev.build_ips(ctx, pools, cities)
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
        ("s4_device_links_6A", dev.build_device_links(ctx, owned, terminals, accounts)),
        ("s4_ip_links_6A", dev.build_ip_links(ctx, folk, owned, pools, terminals, devices)),
        ("regulars_6A", _regulars(ctx, merchant.astype(np.int64), card.astype(np.int64))),
        ("trips_6A", trips),
        ("payees_6A", relations.build_payees(ctx, folk, accounts)),
    ):
        done.table(ctx, name, cols)
    for name, cols in relations.build_roles(ctx, folk, accounts, shops, devices, ips, owned.second).items():
        done.table(ctx, name, cols)
    town = arr.Town(cities, offsets, calendar, folk, shops, trips)
    ts = _instants(ctx, rows, offsets, int(cities["tzid"][0]))
    facts = {"parties": people, "cards": len(refs), "merchants": len(names)}
    return town, ts, merchant.astype(np.int64), card.astype(np.int64), instrument, facts


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

    Every usable row is one visit of one arrival, pinned to its card, amount and sign. DataError when the map names an
    absent column, or more than `max_bad_rows` rows are unusable (nothing is written); ConflictError when `out` holds
    anything else. `workers` is accepted for symmetry; content never depends on it.
    """
    contracts = contracts or load_contracts()
    doc, wph = read_policy(policy, contracts)
    spec = read_map(map_file, contracts, {c: int(v["decimals"]) for c, v in doc["fx"].items()})
    rows = read_log(log, spec, max_bad_rows, FAMILIES)
    if progress:
        progress("rows read", len(rows.line), len(rows.line) + len(rows.bad))
    identity = _identity(log, map_file, seed, wph)
    ctx = _context(spec, rows, identity, doc, contracts, wph)
    ctx = replace(ctx, spec=replace(ctx.spec, policy=policy))
    found = publish.existing(out, ctx.mf, identity)
    if found is not None:
        return WorldManifest(out, found)
    root = publish.open_partial(out, ctx.mf)
    try:
        done = publish.Published(root)
        source = load_pack(policy, contracts).sources["world_policy"]
        (root / publish.POLICY_FILE).write_bytes(source.read_bytes())
        town, ts, merchant, card, instrument, facts = _tables(ctx, spec, rows, done)
        done.add("arrival_events_5B", _arrivals(ctx, town, rows, ts, merchant, card, instrument, root))
        totals = np.bincount(merchant, minlength=len(town.merchants.family))
        done.table(ctx, "merchant_class_profile_5A", class_profile(ctx, town.merchants, totals))
        pinned = [c for c in ("timestamp", "merchant", "card", "amount", "mcc", "channel") if c in spec.columns]
        made = [c for c in ("mcc", "channel") if c not in spec.columns]
        facts |= {
            "origin": "imported",
            "arrivals": {SCENARIO: len(rows.line)},
            "shards": publish.shard_count(ctx, len(rows.line)),
            "pinned": pinned,
            "made": [*made, *(["time of day"] if any(rows.dated) else []), "party", "account", "device", "address"],
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
