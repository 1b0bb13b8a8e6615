"""Merchants, their outlets and terminals (bundles 1A and 2B), and what they are planned to sell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraudloom.kernels.fmath import exp, log
from fraudloom.kernels.world_rows import assign_by_deficit, zipf_weights
from fraudloom.states.world.spec import F64, FAMILIES, I64, Context, largest_remainder, pick
from fraudloom.tables import Columns, empty_columns

#: Ranks whose category is given by deficit; later ones draw it.
HEAD_RANKS = 64


@dataclass(frozen=True)
class Merchants:
    """merchants_1A with what the other builders need; arrays by merchant row.

    family: code of FAMILIES; class, role hints from the MCC table; expected: planned arrivals over the horizon of the
    first scenario; chain: outlets in every city of the country. Outlets are (outlet_merchant row, outlet_city row,
    outlet_weight: share of the family's planned arrivals), sorted by merchant and city.
    """

    table: Columns
    family: I64
    mcc_row: I64
    expected: F64
    outlet_merchant: I64
    outlet_city: I64
    outlet_weight: F64


def merchant_count(ctx: Context, arrivals: int) -> int:
    """scale * arrivals ^ exponent, at least the policy's minimum."""
    sizes = ctx.policy["sizes"]
    grown = float(sizes["merchants_scale"]) * float(exp(float(sizes["merchants_exponent"]) * log(max(arrivals, 1.0))))
    return max(int(sizes["merchants_min"]), int(grown))


def family_weights(law: dict[str, float], n: int) -> F64:
    """Zipf weights of n ranks, sum 1, the exponent solved by bisection so that the first has `top_share`."""
    lo, hi = float(law["exponent_min"]), float(law["exponent_max"])
    w = np.empty(n, np.float64)
    for _ in range(30):
        middle = 0.5 * (lo + hi)
        if 1.0 / float(zipf_weights(middle, w)) < float(law["top_share"]):
            lo = middle
        else:
            hi = middle
    zipf_weights(0.5 * (lo + hi), w)
    w[0] *= float(law["first_factor"])
    out: F64 = w / np.cumsum(w)[-1]
    return out


def _by_deficit(weights: F64, shares: F64) -> I64:
    out = np.empty(len(weights), np.int64)
    assign_by_deficit(weights, shares / np.cumsum(shares)[-1], out)
    return out


def _places(weights: F64, cities: Columns) -> tuple[I64, I64]:
    """(country code, home city row) of one family's merchants in rank order, by deficit, cities within countries."""
    country_of = cities["country_iso"].astype(np.int64)
    population = cities["population_weight"]
    present = np.unique(country_of)
    shares = np.asarray([np.cumsum(population[country_of == c])[-1] for c in present])
    country = present[_by_deficit(weights, shares)]
    city = np.empty(len(weights), np.int64)
    for c in present:
        own = np.flatnonzero(country_of == c)
        mine = np.flatnonzero(country == c)
        city[mine] = own[_by_deficit(weights[mine], population[own])]
    return country, city


def _mccs(ctx: Context, family: int, weights: F64) -> I64:
    """Row of the policy's MCC table for one family's merchants in rank order."""
    table = ctx.policy["mccs"]
    rows = np.asarray([i for i, r in enumerate(table) if r[1] == FAMILIES[family]], np.int64)
    shares: F64 = np.asarray([float(table[i][2]) for i in rows], np.float64)
    u = ctx.draws.uniforms("merchants", f"MCC/{FAMILIES[family]}", len(weights))
    chosen = pick(shares, u)
    head = min(HEAD_RANKS, len(weights))
    chosen[:head] = _by_deficit(weights[:head], shares)
    return rows[chosen]


def build_merchants(ctx: Context, cities: Columns, arrivals: int) -> Merchants:
    """Merchants of all families: Zipf ranks, places, categories; then numbered by a keyed shuffle."""
    policy = ctx.policy
    total = merchant_count(ctx, arrivals)
    counts = largest_remainder(total, [float(policy["channels"][f]["merchant_share"]) for f in FAMILIES])
    counts = np.maximum(counts, 1)
    total = int(counts.sum())
    family = np.repeat(np.arange(len(FAMILIES), dtype=np.int64), counts)
    weight = np.empty(total, np.float64)
    country, city, mcc_row = (np.empty(total, np.int64) for _ in range(3))
    at = 0
    for f, n in enumerate(counts):
        here = slice(at, at + int(n))
        weight[here] = family_weights(policy["channels"][FAMILIES[f]], int(n))
        country[here], city[here] = _places(weight[here], cities)
        mcc_row[here] = _mccs(ctx, f, weight[here])
        at += int(n)
    order = np.argsort(ctx.draws.uniforms("merchants", "NUMBER", total), kind="stable")
    family, country, city, mcc_row = (a[order] for a in (family, country, city, mcc_row))
    weight = weight[order]
    shares = policy["scenarios"][ctx.spec.scenarios[0]]["shares"]
    expected = arrivals * np.asarray([float(shares[f]) for f in FAMILIES])[family] * weight
    table = _table(ctx, family, weight, country, city, mcc_row)
    outlets = _outlets(ctx, cities, family, weight, country, city)
    return Merchants(table, family, mcc_row, expected, *outlets)


def _table(ctx: Context, family: I64, weight: F64, country: I64, city: I64, mcc_row: I64) -> Columns:
    policy, n = ctx.policy, len(family)
    mccs = policy["mccs"]
    cols = empty_columns(ctx.contracts.dataset("merchants_1A"), n)

    def coded(enum: str, place: int) -> npt.NDArray[np.int8]:
        return np.asarray([ctx.code(enum, r[place]) for r in mccs], np.int8)[mcc_row]

    cols["merchant_id"] = np.arange(1, n + 1, dtype=np.int64)
    cols["merchant_name"] = np.asarray([f"M{i:07d}" for i in range(1, n + 1)], dtype=object)
    cols["mcc"] = np.asarray([r[0] for r in mccs], np.int32)[mcc_row]
    cols["demand_class"] = coded("demand_class", 3)
    cols["ending_style"] = coded("ending_style", 4)
    cols["country_iso"] = country.astype(np.int8)
    cols["city_id"] = city + 1
    currencies = [ctx.code("currency", policy["countries"][c]["currency"]) for c in ctx.contracts.enum("country_iso")]
    cols["currency"] = np.asarray(currencies, np.int8)[country]
    acquirers = int(policy["acquirers"])
    cols["acquirer_id"] = (1 + ctx.draws.uniforms("merchants", "ACQUIRER", n) * acquirers).astype(np.int32)
    cols["channel_group"] = np.asarray([ctx.code("channel_group", f) for f in FAMILIES], np.int8)[family]
    own = ctx.draws.lognormal("merchants", "AMOUNT", n, policy["merchant_amounts"])
    cols["amount_level"] = np.asarray([float(r[6]) for r in mccs])[mcc_row] * own
    cols["planned_weight"] = weight
    return cols


def _outlets(ctx: Context, cities: Columns, family: I64, weight: F64, country: I64, city: I64) -> tuple[I64, I64, F64]:
    """Outlets of POS, ATM and HYBRID merchants: one in the home city, or one in each city of the country (chains).

    A city without any outlet of a family gets one of the heaviest merchant of that family in its country (or anywhere).
    """
    population = cities["population_weight"]
    country_of = cities["country_iso"].astype(np.int64)
    physical = np.asarray([f in ("POS", "ATM", "HYBRID") for f in FAMILIES])[family]
    chain = physical & (weight >= float(ctx.policy["visits"]["chain_weight"]))
    single = np.flatnonzero(physical & ~chain)
    parts = [(single, city[single], weight[single])]
    for c in np.unique(country_of):
        own = np.flatnonzero(country_of == c)
        share = population[own] / np.cumsum(population[own])[-1]
        mine = np.flatnonzero(chain & (country == c))
        spread = np.repeat(weight[mine], len(own)) * np.tile(share, len(mine))
        parts.append((np.repeat(mine, len(own)), np.tile(own, len(mine)), spread))
    for f in (1, 2, 4):
        has = np.zeros(len(population), np.bool_)
        for merchant, place, _ in parts:
            has[place[family[merchant] == f]] = True
        for place_row in np.flatnonzero(~has):
            near = np.flatnonzero((family == f) & (country == country_of[place_row]))
            near = near if len(near) else np.flatnonzero(family == f)
            best = near[int(np.argmax(weight[near]))]
            parts.append((np.asarray([best]), np.asarray([place_row]), np.asarray([weight[best] * 0.01])))
    merchant, place, share = (np.concatenate([p[i] for p in parts]) for i in range(3))
    order = np.lexsort((place, merchant))
    return merchant[order].astype(np.int64), place[order].astype(np.int64), share[order].astype(np.float64)


def build_terminals(ctx: Context, merchants: Merchants, arrivals: int, first_device: int, first_ip: int) -> Columns:
    """terminals_2B: enough per outlet for its planned arrivals, in (merchant, city) order.

    Terminal k (0-based) has device `first_device` + k; outlet j has address `first_ip` + j.
    """
    sizes, policy = ctx.policy["sizes"], ctx.policy
    family = merchants.family[merchants.outlet_merchant]
    shares = policy["scenarios"][ctx.spec.scenarios[0]]["shares"]
    volume = np.asarray([float(shares[f]) * float(policy["channels"][f].get("p_outlet", 0.0)) for f in FAMILIES])
    planned = arrivals * volume[family] * merchants.outlet_weight * (90.0 / ctx.spec.days)
    count = np.ceil(planned / float(sizes["arrivals_per_terminal_90d"])).astype(np.int64)
    count = np.clip(count, 1, int(sizes["terminals_max_per_outlet"]))
    outlet = np.repeat(np.arange(len(count), dtype=np.int64), count)
    n = len(outlet)
    cols = empty_columns(ctx.contracts.dataset("terminals_2B"), n)
    cols["terminal_id"] = np.arange(1, n + 1, dtype=np.int64)
    cols["merchant_id"] = merchants.outlet_merchant[outlet] + 1
    cols["city_id"] = merchants.outlet_city[outlet] + 1
    atm = family[outlet] == FAMILIES.index("ATM")
    cols["terminal_type"] = np.where(atm, ctx.code("terminal_type", "ATM"), ctx.code("terminal_type", "POS")).astype(
        np.int8
    )
    cols["device_id"] = first_device + np.arange(n, dtype=np.int64)
    cols["ip_id"] = first_ip + outlet
    return cols
