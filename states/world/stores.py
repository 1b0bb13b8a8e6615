"""Where a log's rows were spent: merchants with their category, country and currency, cities, channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import DataError, PolicyError
from fraudloom.importlog import ImportMap, LogRows
from fraudloom.states.world import merchants
from fraudloom.states.world.logged import ranked
from fraudloom.states.world.spec import FAMILIES, I64, Context, pick
from fraudloom.tables import empty_columns

SCENARIO = "baseline_v1"
POS, ATM, BANK_RAIL, HYBRID = (FAMILIES.index(f) for f in ("POS", "ATM", "BANK_RAIL", "HYBRID"))


@dataclass(frozen=True)
class Places:
    """Where and in what the rows were spent. country, currency, zone: codes of each row, the map's where the log gives
    none (zone: of a time without an offset); cities: policy rows, the payers' first; city: row of each row's outlet."""

    country: I64
    currency: I64
    zone: I64
    cities: list[Any]
    city: I64


@dataclass(frozen=True)
class Stores:
    """merchants_1A with what builders need; `row`: merchant of each row; `city`: of each merchant; `channel`: code of
    each row."""

    shops: merchants.Merchants
    row: I64
    city: I64
    channel: I64


def _city(ctx_policy: Any, country: str, zone: str | None) -> list[Any]:
    """The policy's first city of a country, of those in the zone if there are any."""
    near = [c for c in ctx_policy["cities"] if c[1] == country]
    best = next((c for c in near if c[2] == zone), near[0] if near else None)
    if best is None:
        raise DataError(
            "WORLD",
            "IMPORT_COUNTRY",
            what="the policy has no city of the country",
            found=country,
            action="give the country cities in the world policy (--policy), or correct it in the map",
        )
    return list(best)


def read_places(spec: ImportMap, rows: LogRows, policy: Any, contracts: Contracts) -> Places:
    """Country, currency, zone and outlet's city of every row; DataError for a country without a city in the policy."""
    names = contracts.enum("country_iso")
    home = names.index(spec.country)

    def given(column: str, default: int) -> I64:
        codes = rows.coded[column].astype(np.int64)
        return np.where(codes >= 0, codes, default)

    country = given("merchant_country", home)
    cities = [_city(policy, spec.country, spec.timezone)]
    cities[0][2] = spec.timezone
    row_of = np.zeros(len(names), np.int64)
    for code in np.unique(country[country != home]):
        row_of[code] = len(cities)
        cities.append(_city(policy, names[code], None))
    own = contracts.enum("tzid").index(spec.timezone)
    zone = given("zone", own) if spec.row_zone else np.full(len(rows), own, np.int64)
    currency = given("currency", contracts.enum("currency").index(spec.currency))
    return Places(country, currency, zone, cities, row_of[country])


def _categories(rows: LogRows, name: I64, names: int, default: int) -> I64:
    """Category of each row: its own, else the first that the log gives its merchant, else the policy's."""
    own = rows.mcc.astype(np.int64)
    first = np.zeros(names, np.int64)
    known = np.flatnonzero(own > 0)[::-1]
    first[name[known]] = own[known]
    own = np.where(own > 0, own, first[name])
    return np.where(own > 0, own, default)


def _families(ctx: Context, rows: LogRows, row_of: I64, count: int) -> I64:
    """Channel family of each merchant: that of most of its rows (HYBRID when both ECOM and POS), else by policy."""
    shares = ctx.policy["scenarios"][SCENARIO]["shares"]
    pair = [float(shares["ECOM"]), float(shares["POS"])]
    family = pick(pair, ctx.draws.uniforms("merchants", "CHANNEL", count))
    known = rows.coded["channel"] >= 0
    keys = row_of[known] * len(FAMILIES) + rows.coded["channel"][known]
    seen = np.bincount(keys, minlength=count * len(FAMILIES)).reshape(count, len(FAMILIES))
    family = np.where(seen.any(axis=1), np.argmax(seen, axis=1), family)
    family[(seen[:, 0] > 0) & (seen[:, POS] > 0)] = HYBRID
    return family.astype(np.int64)


def build_stores(ctx: Context, rows: LogRows, places: Places) -> Stores:
    """One merchant per distinct name, category, country and currency, in that order."""
    law = ctx.policy["imports"]
    names, name = ranked(rows.names["merchant"], rows.named["merchant"])
    mcc = _categories(rows, name, len(names), int(law["mcc"]))
    key = ((name * 10_000 + mcc) * 64 + places.country) * 64 + places.currency
    _, first, row_of = np.unique(key, return_index=True, return_inverse=True)
    n, row_of = len(first), row_of.astype(np.int64)
    family = _families(ctx, rows, row_of, n)
    count = np.bincount(row_of, minlength=n)
    cols = empty_columns(ctx.contracts.dataset("merchants_1A"), n)
    cols["merchant_id"] = np.arange(1, n + 1, dtype=np.int64)
    cols["merchant_name"] = np.asarray([names[k] for k in name[first]], dtype=object)
    cols["mcc"] = mcc[first].astype(np.int32)
    known = {int(r[0]): place for place, r in reversed(list(enumerate(ctx.policy["mccs"])))}
    if int(law["mcc"]) not in known:
        raise PolicyError(
            "WORLD",
            "IMPORT_MCC",
            what="imports.mcc is none of the policy's categories",
            found=law["mcc"],
            expected=", ".join(map(str, sorted(known))),
            where="world_policy",
            action="correct the policy; `fraudloom policies check` names file and key",
        )
    place = np.asarray([known.get(int(m), known[int(law["mcc"])]) for m in cols["mcc"]], np.int64)
    cols["demand_class"] = np.full(n, ctx.code("demand_class", law["demand_class"]), np.int8)
    cols["country_iso"] = places.country[first].astype(np.int8)
    cols["city_id"] = places.city[first] + 1
    cols["currency"] = places.currency[first].astype(np.int8)
    acquirers = int(ctx.policy["acquirers"])
    cols["acquirer_id"] = (1 + ctx.draws.uniforms("merchants", "ACQUIRER", n) * acquirers).astype(np.int32)
    cols["channel_group"] = np.asarray([ctx.code("channel_group", f) for f in FAMILIES], np.int8)[family]
    cols["ending_style"] = np.full(n, ctx.code("ending_style", "BUSINESS"), np.int8)
    cols["amount_level"] = ctx.draws.lognormal("merchants", "AMOUNT", n, ctx.policy["merchant_amounts"])
    cols["planned_weight"] = count / max(int(count.sum()), 1)
    outlets = np.flatnonzero((family == POS) | (family == ATM) | (family == HYBRID)).astype(np.int64)
    city, weight = places.city[first], cols["planned_weight"]
    shops = merchants.Merchants(cols, family, place, count.astype(np.float64), outlets, city[outlets], weight[outlets])
    own = rows.coded["channel"].astype(np.int64)
    return Stores(shops, row_of, city, np.where(own >= 0, own, family[row_of]))
