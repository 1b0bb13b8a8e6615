"""Small worlds made by hand for S1 tests: every rule of attachment has a place where it applies."""

from functools import cache
from pathlib import Path

import numpy as np

from fraudloom.contracts_api import load_contracts
from fraudloom.policies_api import Pack, check_document, packs_root, read_yaml
from fraudloom.rng import Streams
from fraudloom.states import s1
from fraudloom.states.world.view import World
from fraudloom.tables import empty_columns

CONTRACTS = load_contracts()
DAY_US = 86_400_000_000
START = 20_454 * DAY_US  # 2026-01-01
FOREVER = START + 1000 * DAY_US
WORLD = "ab" * 32
POLICIES = (
    "attachment_policy_6B",
    "behaviour_prior_pack_6B",
    "rng_policy_6B",
    "rng_profile_layer3",
    "sessionisation_policy_6B",
)


def made_world(tables: dict, shards: int = 3, days: int = 20) -> World:
    """A loaded world of the given tables, without files."""
    manifest = {
        "shards": shards,
        "cohort_key": "0123456789abcdef",
        "horizon": {"start_us": START, "end_us": START + days * DAY_US, "start_day": START // DAY_US, "days": days},
        "manifest_fingerprint": WORLD,
        "scenarios": ["baseline_v1"],
    }
    return World(Path("nowhere"), CONTRACTS, manifest, tables, {})


def rows(dataset_id: str, **columns) -> dict:
    """Columns of a dataset: given ones as lists (labels or values), the others null."""
    ds = CONTRACTS.dataset(dataset_id)
    n = len(next(iter(columns.values())))
    out = empty_columns(ds, n)
    for name, values in columns.items():
        column = ds.column(name)
        if column.enum and n and isinstance(values[0], str):
            out[name] = np.array([CONTRACTS.code(column.enum, v) for v in values], dtype=np.int8)
        else:
            out[name] = np.array(values, dtype=column.memory_dtype)
    return out


def crafted_world(parties: int = 40, merchants: int = 12, cities: int = 3, seed: int = 0) -> World:
    """A world of a few parties: three own devices (the third holds the wallet), a neighbour's, four accounts, all kinds
    of instruments."""
    rng = np.random.default_rng(seed)
    city = np.sort(rng.integers(1, cities, parties))  # the last city has no residents
    tables = {
        "merchants_1A": rows("merchants_1A", merchant_id=np.arange(1, merchants + 1)),
        "cities_1B": rows("cities_1B", city_id=np.arange(1, cities + 1)),
        "s1_party_base_6A": rows(
            "s1_party_base_6A",
            party_id=np.arange(1, parties + 1),
            party_type=rng.integers(0, 3, parties),
            city_id=city,
            cohort_id=np.arange(1, parties + 1),
            activity_weight=rng.uniform(0.1, 3.0, parties),
        ),
    }
    # Accounts: one of each ledger per party. Instruments: physical, virtual, handle, wallet, an old
    # physical card that ends on day 10, and a spare.
    accounts = 4 * parties
    owner = np.repeat(np.arange(1, parties + 1), 4)
    tables["s2_account_base_6A"] = rows(
        "s2_account_base_6A",
        account_id=np.arange(1, accounts + 1),
        owner_party_id=owner,
        ledger_class=np.tile([0, 1, 2, 3], parties),
    )
    kinds = [0, 1, 2, 3, 0, 1]
    n = accounts * len(kinds)
    account = np.repeat(np.arange(1, accounts + 1), len(kinds))
    old = np.tile([0, 0, 0, 0, 1, 0], accounts) > 0
    tables["s3_instrument_base_6A"] = rows(
        "s3_instrument_base_6A",
        instrument_id=np.arange(1, n + 1),
        account_id=account,
        owner_party_id=owner[account - 1],
        instrument_kind=np.tile(kinds, accounts),
        instrument_status=np.tile([0, 0, 0, 0, 0, 1], accounts),
        valid_from=np.full(n, START - DAY_US),
        valid_to=np.where(old, START + 10 * DAY_US, FOREVER),
    )
    _devices(tables, parties, merchants, rng)
    _places(tables, parties, merchants, cities, city, rng)
    return made_world(tables)


def _devices(tables: dict, parties: int, merchants: int, rng: np.random.Generator) -> None:
    """Two phones and a laptop per party, terminals of the first half of the merchants in city 1, addresses of both."""
    own = 3 * parties
    terminals = 2 * (merchants // 2)
    n = own + terminals
    merchant = np.repeat(np.arange(1, merchants // 2 + 1), 2)
    tables["terminals_2B"] = rows(
        "terminals_2B",
        terminal_id=np.arange(1, terminals + 1),
        merchant_id=merchant,
        city_id=np.tile([2, 1], merchants // 2),
        device_id=own + np.arange(1, terminals + 1),
        ip_id=own * 3 + np.arange(1, terminals + 1),
    )
    tables["s4_device_base_6A"] = rows(
        "s4_device_base_6A",
        device_id=np.arange(1, n + 1),
        device_type=np.r_[np.tile([0, 1, 0], parties), np.full(terminals, 9)],
        device_origin=np.r_[np.zeros(own), np.ones(terminals)],
        primary_party_id=np.r_[np.repeat(np.arange(1, parties + 1), 3), np.zeros(terminals)],
        primary_merchant_id=np.r_[np.zeros(own), merchant],
        valid_from=np.full(n, START - DAY_US),
        valid_to=np.full(n, FOREVER),
    )
    party = np.repeat(np.arange(1, parties + 1), 4)
    device = (3 * (party - 1)) + np.tile([1, 2, 3, 4], parties)  # the fourth is the neighbour's first phone
    device[device > own] = 1
    order = np.lexsort((device, party))
    role = np.tile([0, 0, 0, 1], parties)
    # The wallet is on the second phone; its link names the token of the first account.
    token = np.where(device == 3 * party, 24 * (party - 1) + 4, 0)
    tables["s4_device_links_6A"] = rows(
        "s4_device_links_6A",
        device_id=np.r_[device[order], own + np.arange(1, terminals + 1)],
        party_id=np.r_[party[order], np.zeros(terminals)],
        instrument_id=np.r_[token[order], np.zeros(terminals)],
        merchant_id=np.r_[np.zeros(len(party)), merchant],
        link_role=np.r_[role[order], np.full(terminals, 2)],
    )
    ips = own * 3 + terminals
    tables["s4_ip_base_6A"] = rows(
        "s4_ip_base_6A", ip_id=np.arange(1, ips + 1), ip_group=np.r_[rng.integers(0, 5, own * 3), np.full(terminals, 5)]
    )
    tables["s4_ip_links_6A"] = rows(
        "s4_ip_links_6A",
        ip_id=np.arange(1, ips + 1),
        device_id=np.r_[np.repeat(np.arange(1, own + 1), 3), own + np.arange(1, terminals + 1)],
        link_role=np.r_[np.tile([0, 0, 1], own), np.full(terminals, 2)],
    )


def _places(
    tables: dict, parties: int, merchants: int, cities: int, city: np.ndarray, rng: np.random.Generator
) -> None:
    """Regulars of the odd merchants, and a trip of every fourth party on days 3 to 6."""
    keys = sorted(
        (m, int(city[p - 1]), p)
        for m in range(1, merchants + 1, 2)
        for p in rng.choice(np.arange(1, parties + 1), max(parties // 5, 1), replace=False)
    )
    tables["regulars_6A"] = rows(
        "regulars_6A",
        merchant_id=[k[0] for k in keys],
        home_city_id=[k[1] for k in keys],
        party_id=[k[2] for k in keys],
        weight=rng.uniform(0.2, 2.0, len(keys)),
    )
    travellers = np.arange(1, parties + 1, 4)
    tables["trips_6A"] = rows(
        "trips_6A",
        party_id=travellers,
        from_day=np.full(len(travellers), 3),
        to_day=np.full(len(travellers), 6),
        city_id=city[travellers - 1] % cities + 1,
    )


def crafted_arrivals(world: World, n: int = 2000, seed: int = 1) -> dict:
    """Arrivals in (merchant_id, arrival_seq) order: visits of one to four arrivals, series, trips and pinned rows."""
    rng = np.random.default_rng(seed)
    merchants = len(world.tables["merchants_1A"]["merchant_id"])
    cities = len(world.tables["cities_1B"]["city_id"])
    instruments = len(world.tables["s3_instrument_base_6A"]["instrument_id"])
    visit = np.sort(rng.integers(1, max(n // 2, 2), n))
    start = START + rng.integers(0, 20 * DAY_US, n + 2)
    ts = start[visit] + rng.integers(0, 3_600_000_000, n)
    anchor = rng.integers(1, merchants + 1, n + 2)[visit]
    merchant = np.where(rng.uniform(size=n) < 0.7, anchor, rng.integers(1, merchants + 1, n))
    home = rng.integers(1, cities + 1, n + 2)[visit]
    trip = rng.uniform(size=n + 2)[visit] < 0.2
    series = np.where(rng.uniform(size=n + 2)[visit] < 0.1, visit, 0)
    pinned = np.where(rng.uniform(size=n) < 0.05, rng.integers(1, instruments + 1, n), 0)
    order = np.lexsort((np.arange(n), ts, merchant))
    merchant, ts = merchant[order], ts[order]
    first = np.searchsorted(merchant, merchant)
    return rows(
        "arrival_events_5B",
        merchant_id=merchant,
        arrival_seq=np.arange(n) - first + 1,
        ts_utc=ts,
        channel_group=rng.integers(0, 5, n + 2)[visit][order],
        zone_representation=np.zeros(n),
        ts_local_primary=ts + 3_600_000_000,
        bucket_index=(ts - START) // 3_600_000_000,
        visit_key=visit[order],
        series_key=series[order],
        visit_merchant_id=anchor[order],
        home_city_id=home[order],
        city_id=home[order],
        trip=trip[order],
        pinned_instrument_id=pinned[order],
        site_id=home[order],
    )


@cache
def s1_pack(name: str = "default") -> Pack:
    """The policies of S1 in a shipped pack, checked; the pack's other policies are not read."""
    docs = {}
    for policy_id in POLICIES:
        path = packs_root() / name / f"{policy_id}.yaml"
        docs[policy_id] = read_yaml(path)
        check_document(policy_id, docs[policy_id], path, CONTRACTS)
    return Pack(name, "full", docs, {}, "", "")


def compile_for(world: World, seed: int = 42, pack=None) -> s1.S1Plan:
    """The default pack's plan for a world."""
    return s1.compile_plan(pack or s1_pack(), world, Streams(WORLD, seed, "baseline_v1"), CONTRACTS)


def attach_all(plan, world, arrivals: dict, batch: int = 1 << 30) -> tuple[dict, np.ndarray]:
    """Attached arrivals in batches, and the evidence."""
    evidence = plan.decisions.new_evidence()
    n = len(arrivals["merchant_id"])
    parts = []
    for lo in range(0, max(n, 1), batch):
        piece = {k: v[lo : lo + batch] for k, v in arrivals.items()}
        parts.append(s1.attach(plan, world, piece, lo, evidence))
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}, evidence
