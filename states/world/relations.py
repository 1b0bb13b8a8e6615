"""Lasting relations: trips, regular customers, payees and fraud roles (bundle 6A)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraudloom.states.world.merchants import Merchants
from fraudloom.states.world.parties import Accounts, Parties
from fraudloom.states.world.spec import F64, FAMILIES, I64, Context, pick
from fraudloom.tables import Columns, empty_columns

MAX_TRIPS = 24
PURPOSES = ("RENT", "BILL", "P2P", "OWN_ACCOUNT", "P2P", "BILL", "MERCHANT", "P2P", "BILL")
BUSINESS_PURPOSES = ("SALARY", "BILL", "MERCHANT", "SALARY", "RENT", "MERCHANT", "SALARY", "BILL", "MERCHANT")


def build_trips(ctx: Context, parties: Parties, cities: Columns) -> Columns:
    """trips_6A: a Poisson number per party, one in each equal slice of the horizon that is long enough."""
    law, draws, days = ctx.policy["relations"], ctx.draws, ctx.spec.days
    ds = ctx.contracts.dataset("trips_6A")
    n, places = len(parties.kind), len(cities["city_id"])
    cap = min(MAX_TRIPS, max(days // 6, 1))
    mean = float(law["trips_per_90d"]) * days / 90.0
    count = draws.poisson("trips", "COUNT", n, min(mean, 700.0), cap)
    lo, hi = (int(x) for x in law["trip_days"])
    party = np.repeat(np.arange(n, dtype=np.int64), count)
    if places < 2 or days < lo + 2 or not len(party):
        return empty_columns(ds)
    rank = np.arange(len(party)) - (np.cumsum(count) - count)[party]
    at = party * MAX_TRIPS + rank
    total = count[party]
    start = rank * days // total
    room = (rank + 1) * days // total - start
    extra = draws.geometric("trips", "LENGTH", n * MAX_TRIPS, float(law["trip_stop"]), hi - lo + 1)[at] - 1
    length = np.minimum(lo + extra, room - 1)
    shift = (draws.uniforms_at("trips", "DAY", at) * np.maximum(room - length, 1)).astype(np.int64)
    keep = length >= lo
    city = _destinations(ctx, parties.city[party], cities, at, float(law["trip_abroad"]))
    cols = empty_columns(ds, int(keep.sum()))
    cols["party_id"] = party[keep] + 1
    cols["from_day"] = (start + shift)[keep].astype(np.int32)
    cols["to_day"] = (start + shift + length - 1)[keep].astype(np.int32)
    cols["city_id"] = city[keep] + 1
    return cols


def _destinations(ctx: Context, home: I64, cities: Columns, at: I64, abroad: float) -> I64:
    """A city other than the home city, by residents: abroad or in the country; the other kind where one is empty."""
    u = ctx.draws.uniforms_at("trips", "ABROAD", at)
    v = ctx.draws.uniforms_at("trips", "CITY", at)
    country, weight = cities["country_iso"].astype(np.int64), cities["population_weight"]
    out = np.zeros(len(home), np.int64)
    for c in range(len(country)):
        mine = np.flatnonzero(home == c)
        if not len(mine):
            continue
        others = np.arange(len(country)) != c
        near, far = np.flatnonzero(others & (country == country[c])), np.flatnonzero(country != country[c])
        go = u[mine] < abroad if len(near) and len(far) else np.full(len(mine), bool(len(far)))
        for group, who in ((far, mine[go]), (near, mine[~go])):
            if len(who):
                out[who] = group[pick(weight[group], v[who])]
    return out


def visitors(trips: Columns) -> tuple[I64, I64, I64]:
    """(city row, day, party row) of every full day away, sorted; the first and last day of a trip are travel."""
    length = (trips["to_day"] - trips["from_day"] - 1).astype(np.int64)
    row = np.repeat(np.arange(len(length), dtype=np.int64), length)
    day = trips["from_day"][row] + 1 + np.arange(len(row)) - (np.cumsum(length) - length)[row]
    city, party = trips["city_id"][row] - 1, trips["party_id"][row] - 1
    order = np.lexsort((party, day, city))
    return city[order], day[order].astype(np.int64), party[order]


@dataclass(frozen=True)
class Markets:
    """Where payers of a family can spend, as windows over merchants sorted by place.

    outlet_*: by city, for visits at an outlet; online_*: by country, `home` for payers of the country, `cross` (weight
    to the power of 1.5) for all others. Cumulative weights run over the whole array.
    """

    outlet_ptr: I64
    outlet_merchant: I64
    outlet_cum: F64
    country_ptr: I64
    online_merchant: I64
    home_cum: F64
    cross_cum: F64


def build_markets(ctx: Context, merchants: Merchants, family: int, cities: int) -> Markets:
    """Windows of one family."""
    weight = merchants.table["planned_weight"]
    here = np.flatnonzero(merchants.family[merchants.outlet_merchant] == family)
    order = here[np.lexsort((merchants.outlet_merchant[here], merchants.outlet_city[here]))]
    outlet_ptr = np.searchsorted(merchants.outlet_city[order], np.arange(cities + 1)).astype(np.int64)
    mine = np.flatnonzero(merchants.family == family)
    country = merchants.table["country_iso"].astype(np.int64)
    online = mine[np.lexsort((mine, country[mine]))]
    n = len(ctx.contracts.enum("country_iso"))
    country_ptr = np.searchsorted(country[online], np.arange(n + 1)).astype(np.int64)
    w = weight[online]
    return Markets(
        outlet_ptr,
        merchants.outlet_merchant[order],
        np.cumsum(merchants.outlet_weight[order]),
        country_ptr,
        online,
        np.cumsum(w),
        np.cumsum(w * np.sqrt(w)),
    )


def _demand(market: Markets, law: dict[str, float], city: int, country: int) -> tuple[I64, F64]:
    """(merchant rows, share of the city's arrivals of the family that each is planned to get)."""
    lo, hi = int(market.outlet_ptr[city]), int(market.outlet_ptr[city + 1])
    local = np.diff(market.outlet_cum[lo:hi], prepend=market.outlet_cum[lo - 1] if lo else 0.0)
    at_outlet = float(law.get("p_outlet", 0.0)) if hi > lo else 0.0
    parts = (
        [(market.outlet_merchant[lo:hi], local / max(float(np.cumsum(local)[-1]), 1e-300) * at_outlet)]
        if hi > lo
        else []
    )
    if at_outlet < 1.0:
        a, b = int(market.country_ptr[country]), int(market.country_ptr[country + 1])
        home, cross = np.diff(market.home_cum, prepend=0.0), np.diff(market.cross_cum, prepend=0.0)
        home[:a], home[b:], cross[a:b] = 0.0, 0.0, 0.0
        total_home, total_cross = float(np.cumsum(home)[-1]), float(np.cumsum(cross)[-1])
        p_home = 0.0 if total_home <= 0 else 1.0 if total_cross <= 0 else float(law["p_home"])
        share = p_home * home / max(total_home, 1e-300) + (1.0 - p_home) * cross / max(total_cross, 1e-300)
        parts.append((market.online_merchant, share * (1.0 - at_outlet)))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def build_regulars(ctx: Context, parties: Parties, merchants: Merchants, cities: Columns, arrivals: int) -> Columns:
    """regulars_6A: per (merchant, city) as many regulars as its planned visits keep busy, drawn by activity.

    The count is the expectation rounded by a draw; members stand at equal steps of the city's cumulative activity from
    a drawn start, so heavy payers are regulars of more merchants; one met twice weighs twice.
    """
    policy, law = ctx.policy, ctx.policy["relations"]
    ds, n_merchants = ctx.contracts.dataset("regulars_6A"), len(merchants.family)
    shares = policy["scenarios"][ctx.spec.scenarios[0]]["shares"]
    activity = np.cumsum(parties.table["activity_weight"])
    bounds = np.searchsorted(parties.city, np.arange(len(cities["city_id"]) + 1))
    total = float(activity[-1])
    factor = float(law["regular_share"]) / float(law["visits_per_regular_90d"]) * 90.0 / ctx.spec.days
    found: list[tuple[I64, I64, I64]] = []
    for f, name in enumerate(FAMILIES):
        channel = policy["channels"][name]
        market = build_markets(ctx, merchants, f, len(bounds) - 1)
        visits = arrivals * float(shares[name]) * float(channel["visit_p"]) * (1.0 - float(channel["p_trip"]))
        for c in range(len(bounds) - 1):
            lo, hi = int(bounds[c]), int(bounds[c + 1])
            if hi == lo:
                continue
            base = float(activity[lo - 1]) if lo else 0.0
            mass = float(activity[hi - 1]) - base
            who, share = _demand(market, channel, c, int(cities["country_iso"][c]))
            expected = visits * (mass / total) * share * factor
            use = np.flatnonzero(expected >= float(law["regular_floor"]))
            counter = (c * 2 * n_merchants + np.arange(len(who)))[use]
            count = np.floor(expected[use] + ctx.draws.uniforms_at("regulars", f"COUNT/{name}", counter)).astype(
                np.int64
            )
            begin = ctx.draws.uniforms_at("regulars", f"START/{name}", counter)
            pair = np.repeat(np.arange(len(use)), count)
            step = np.arange(len(pair)) - (np.cumsum(count) - count)[pair]
            spot = base + (step + begin[pair]) / count[pair] * mass
            party = np.clip(np.searchsorted(activity, spot, side="right"), lo, hi - 1)
            found.append((who[use][pair], np.full(len(pair), c, np.int64), party.astype(np.int64)))
    merchant, city, party = (np.concatenate([x[i] for x in found]) for i in range(3))
    order = np.lexsort((party, city, merchant))
    merchant, city, party = merchant[order], city[order], party[order]
    new = np.ones(len(party), np.bool_)
    new[1:] = (merchant[1:] != merchant[:-1]) | (city[1:] != city[:-1]) | (party[1:] != party[:-1])
    at = np.flatnonzero(new)
    times = np.diff(np.concatenate([at, [len(party)]]))
    spread = {"sigma": law["regular_weight_sigma"], "lo": 0.1, "hi": 10.0}
    cols = empty_columns(ds, len(at))
    cols["merchant_id"], cols["home_city_id"], cols["party_id"] = merchant[at] + 1, city[at] + 1, party[at] + 1
    cols["weight"] = times * ctx.draws.lognormal("regulars", "WEIGHT", len(at), spread)
    return cols


def build_payees(ctx: Context, parties: Parties, accounts: Accounts) -> Columns:
    """payees_6A: who each party pays; neighbours' current accounts, own savings, or handles outside the world."""
    law, draws, n = ctx.policy["relations"], ctx.draws, len(parties.kind)
    lo, hi = (int(x) for x in law["payees"])
    count = lo + (draws.uniforms("payees", "COUNT", n) * (hi - lo + 1)).astype(np.int64)
    party = np.repeat(np.arange(n, dtype=np.int64), count)
    rank = np.arange(len(party)) - (np.cumsum(count) - count)[party]
    u, v = draws.uniforms("payees", "INTERNAL", len(party)), draws.uniforms("payees", "WHO", len(party))
    tables = [[ctx.code("payment_purpose", p) for p in row] for row in (PURPOSES, BUSINESS_PURPOSES)]
    business = (parties.kind[party] == 1).astype(np.int64)
    purpose = np.asarray(tables, np.int8)[business, rank % len(PURPOSES)]
    own = purpose == ctx.code("payment_purpose", "OWN_ACCOUNT")
    savings = np.zeros(n, np.int64)
    saved = np.flatnonzero(accounts.product == 2)[::-1]
    savings[accounts.table["owner_party_id"][saved] - 1] = accounts.table["account_id"][saved]
    bounds = np.searchsorted(parties.city, np.arange(int(parties.city.max(initial=0)) + 2))
    lo_p, hi_p = bounds[parties.city[party]], bounds[parties.city[party] + 1]
    other = lo_p + (v * (hi_p - lo_p)).astype(np.int64)
    bill = (purpose == ctx.code("payment_purpose", "BILL")) | (purpose == ctx.code("payment_purpose", "RENT"))
    inside = ~own & ~bill & (other != party) & (u < float(law["payee_internal"]))
    own_here = own & (savings[party] > 0)
    purpose[own & ~own_here] = ctx.code("payment_purpose", "P2P")
    n_accounts = len(accounts.product)
    handles = max(16, int(n * float(law["external_handles_per_party"])))
    handle = (v * handles).astype(np.int64)
    account = np.where(inside, accounts.first_account[other] + 1, n_accounts + 1 + handle)
    account = np.where(own_here, savings[party], account)
    known = account <= n_accounts
    row = np.where(known, account - 1, 0)
    country = parties.table["country_iso"]
    cols = empty_columns(ctx.contracts.dataset("payees_6A"), len(party))
    cols["party_id"], cols["payee_rank"], cols["payee_account_id"] = party + 1, rank.astype(np.int16), account
    kinds = (ctx.code("payee_kind", "INTERNAL"), ctx.code("payee_kind", "EXTERNAL"))
    cols["payee_kind"] = np.where(known, kinds[0], kinds[1]).astype(np.int8)
    bank = np.where(known, accounts.table["issuer_id"][row], 1000 + handle % int(law["external_banks"]))
    cols["payee_bank_id"] = bank.astype(np.int32)
    cols["payee_country"] = np.where(known, accounts.table["country_iso"][row], country[party]).astype(np.int8)
    cols["purpose"] = purpose
    return cols


def _take(score: F64, free: npt.NDArray[np.bool_], share: float, least: int) -> I64:
    """Free rows with the smallest scores: a share of the table, at least `least` in a table ten times that."""
    n = len(score)
    count = round(share * n)
    if n >= 10 * least:
        count = max(count, least)
    rows = np.flatnonzero(free)
    return rows[np.argsort(score[rows], kind="stable")[: min(count, len(rows))]]


def _tiers(ctx: Context, role: npt.NDArray[np.int8], table: str, harmless: int) -> npt.NDArray[np.int8]:
    """Tier by role: clean rows LOW or STANDARD with some ELEVATED; others ELEVATED or HIGH."""
    u = ctx.draws.uniforms("roles", f"TIER/{table}", len(role))
    clean = np.where(u < 0.45, 0, np.where(u < 0.95, 1, np.where(u < 0.995, 2, 3)))
    risky = np.where(u < 0.1, 1, np.where(u < 0.55, 2, 3))
    return np.where(role <= harmless, clean, risky).astype(np.int8)


def build_roles(
    ctx: Context,
    parties: Parties,
    accounts: Accounts,
    merchants: Merchants,
    devices: Columns,
    ips: Columns,
    second: I64,
) -> dict[str, Columns]:
    """The five role tables of 6A: smallest draws take each role, in the order of the policy."""
    law, draws = ctx.policy["roles"], ctx.draws
    party = np.zeros(len(parties.kind), np.int8)
    score = draws.uniforms("roles", "PARTY", len(party))
    for name, share in law["party"].items():
        chosen = _take(score, (party == 0) & (parties.kind != 2), float(share), int(law["party_min"][name]))
        party[chosen] = ctx.code("fraud_role_party", name)
    account = np.zeros(len(accounts.product), np.int8)
    mule = party[accounts.table["owner_party_id"] - 1] == ctx.code("fraud_role_party", "MULE")
    account[mule & (accounts.product <= 1)] = ctx.code("fraud_role_account", "MULE_ACCOUNT")
    score = draws.uniforms("roles", "ACCOUNT", len(account))
    for name, share in law["account"].items():
        chosen = _take(score, (account == 0) & (accounts.product <= 2), float(share), 1)
        account[chosen] = ctx.code("fraud_role_account", name)
    hints = [ctx.code("fraud_role_merchant", r[5]) for r in ctx.policy["mccs"]]
    merchant = np.asarray(hints, np.int8)[merchants.mcc_row]
    busy = (
        (merchants.expected >= float(law["collusive_expected_min"])) & (merchants.family != 3) & (merchants.family != 2)
    )
    busy &= merchants.expected <= max(float(np.cumsum(merchants.expected)[-1]) * 0.01, 40.0)
    score = draws.uniforms("roles", "MERCHANT", len(merchant))
    chosen = _take(score, busy, float(law["merchant_collusive"]), int(law["merchant_collusive_min"]))
    merchant[chosen] = ctx.code("fraud_role_merchant", "COLLUSIVE")
    u = draws.uniforms("roles", "DEVICE", len(devices["device_id"]))
    origin = devices["device_origin"]
    device = np.zeros(len(origin), np.int8)
    device[np.flatnonzero(second >= 0)] = ctx.code("fraud_role_device", "REUSED_DEVICE")
    owned, unowned = ctx.code("device_origin", "OWNED"), ctx.code("device_origin", "UNOWNED")
    risky = (origin == unowned) & (u < float(law["device_high_risk_unowned"]))
    risky |= (origin == owned) & (u < float(law["device_high_risk_owned"]))
    device[risky] = ctx.code("fraud_role_device", "HIGH_RISK_DEVICE")
    group = ips["ip_group"]
    u = draws.uniforms("roles", "IP", len(group))
    shared = [ctx.code("ip_group", g) for g in ("MOBILE_CARRIER", "PUBLIC_SHARED")]
    pool = np.isin(group, [ctx.code("ip_group", g) for g in ("HOSTING_DATACENTRE", "ANONYMIZER_PROXY")])
    ip = np.where(np.isin(group, shared), ctx.code("fraud_role_ip", "SHARED_IP"), 0).astype(np.int8)
    ip[u < np.where(pool, float(law["ip_high_risk_pool"]), float(law["ip_high_risk_other"]))] = ctx.code(
        "fraud_role_ip", "HIGH_RISK_IP"
    )
    out: dict[str, Columns] = {}
    rows = (
        ("party", party, 0),
        ("account", account, 0),
        ("merchant", merchant, 0),
        ("device", device, 0),
        ("ip", ip, 1),
    )
    for name, role, harmless in rows:
        out[f"s5_{name}_fraud_roles_6A"] = {
            f"{name}_id": np.arange(1, len(role) + 1, dtype=np.int64),
            f"fraud_role_{name}": role,
            "risk_tier": _tiers(ctx, role, name, harmless),
        }
    return out
