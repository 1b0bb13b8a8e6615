"""Figures of a world's tables: every row of each, one table after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.kernels.fmath import exp, log
from fraudloom.states.world.figure_rows import Values, columns, ratio
from fraudloom.states.world.spec import F64, FAMILIES, I64
from fraudloom.states.world.verify import REFERENCES
from fraudloom.states.world.view import ARRIVALS, World


def _logs(values: F64) -> F64:
    return np.fromiter((float(log(float(x))) for x in values), np.float64, len(values))


def zipf_exponent(weights: F64) -> float | None:
    """Least squares of log weight on log rank over all ranks, sign changed; None below three weights."""
    w = np.sort(weights[weights > 0])[::-1]
    if len(w) < 3:
        return None
    x, y = _logs(np.arange(1.0, len(w) + 1.0)), _logs(w)
    dx = x - x.mean()
    return -float((dx * (y - y.mean())).sum()) / float((dx * dx).sum())


def gini(values: F64) -> float | None:
    """Gini coefficient."""
    s = np.sort(values)
    n, mass = len(s), float(values.sum())
    return float(((2.0 * np.arange(1, n + 1) - n - 1) * s).sum()) / (n * mass) if mass > 0 else None


def duplicate_keys(world: World) -> int:
    """Rows of tables whose key stands in an earlier row."""
    count = 0
    for name in world.tables:
        keys = list(columns(world, name, world.contracts.dataset(name).key).values())
        order = np.lexsort(keys)
        same = np.ones(max(len(order) - 1, 0), np.bool_)
        for key in keys:
            same &= key[order][1:] == key[order][:-1]
        count += int(np.count_nonzero(same))
    return count


def orphan_links(world: World) -> int:
    """References of tables to rows that are not there; nulls of nullable columns do not count."""
    count = 0
    for name, column, target in REFERENCES:
        if name == ARRIVALS or name not in world.tables:
            continue
        values = columns(world, name, (column,))[column]
        least = 0 if world.contracts.dataset(name).column(column).nullable else 1
        count += int(np.count_nonzero((values < least) | (values > world.manifest["rows"][target])))
    return count


def _sizes(world: World, laws: Mapping[str, Any]) -> Values:
    """Merchants, parties and issuers against the arrivals."""
    n = world.n_arrivals(world.scenarios[0])
    rows = world.manifest["rows"]
    grown = float(laws["merchants_scale"]) * float(exp(float(laws["merchants_exponent"]) * float(log(max(n, 1.0)))))
    people = n * 90.0 / (float(laws["arrivals_per_party_90d"]) * world.days)
    return {
        "sizes.merchants": ratio(rows["merchants_1A"], grown),
        "sizes.parties": ratio(rows["s1_party_base_6A"], people),
        "sizes.issuers": float(rows["issuers_6A"]),
    }


def _merchants(world: World) -> Values:
    """Exponents of planned weights: of all merchants, and of each family.

    Weights of a built world are shares of the family's arrivals, those of an imported one of all rows.
    """
    arrivals_of = world.manifest.get("arrivals_by_channel", {}).get(world.scenarios[0])
    m = columns(world, "merchants_1A", ("channel_group", "planned_weight"))
    planned = m["planned_weight"].copy()
    out: Values = {}
    for name in FAMILIES:
        mine = m["channel_group"] == world.contracts.code("channel_group", name)
        out[f"merchants.zipf_{name}"] = zipf_exponent(m["planned_weight"][mine])
        if arrivals_of is not None:
            planned[mine] *= arrivals_of.get(name, 0)
    out["merchants.zipf"] = zipf_exponent(planned)
    return out


def _parties(world: World) -> Values:
    """Households, and the arrivals in 90 days that each party is planned to have, of those that are planned any."""
    weight = columns(world, "s1_party_base_6A", ("activity_weight",))["activity_weight"]
    size = columns(world, "cohorts_6A", ("party_count",))["party_count"]
    out: Values = {
        "households.largest": float(size.max(initial=0)),
        "households.mean": ratio(int(size.sum()), len(size)),
        "households.alone": ratio(int(np.count_nonzero(size == 1)), len(size)),
        "parties.gini": gini(weight),
    }
    mass = float(weight.sum())
    n = world.n_arrivals(world.scenarios[0]) * 90.0 / world.days
    if mass <= 0 or not n:
        return out | dict.fromkeys(("parties.p50", "parties.p90", "parties.p99", "parties.few"))
    mean = np.sort(weight) * (n / mass)
    none = np.fromiter((float(exp(-min(x, 700.0))) for x in mean), np.float64, len(mean))
    active = 1.0 - none  # Poisson: chance of any arrival
    run = np.cumsum(active)
    for q in (50, 90, 99):
        at = int(np.searchsorted(run, run[-1] * (q / 100.0)))
        out[f"parties.p{q}"] = float(mean[min(at, len(mean) - 1)])
    few, term = np.zeros(len(mean)), none
    for k in range(1, 6):
        term = term * mean / k
        few += term
    return out | {"parties.few": ratio(float(few.sum()), float(run[-1]))}


def _sharing(world: World) -> Values:
    """Devices of several parties, homes of several devices, accounts of several instruments."""
    code = world.contracts.code
    links = columns(world, "s4_device_links_6A", ("device_id", "party_id"))
    users = np.bincount(links["device_id"][links["party_id"] > 0])
    group = columns(world, "s4_ip_base_6A", ("ip_group",))["ip_group"]
    seen = np.bincount(columns(world, "s4_ip_links_6A", ("ip_id",))["ip_id"], minlength=len(group) + 1)[1:]
    seen = seen[group == code("ip_group", "RESIDENTIAL")]
    instruments = columns(world, "s3_instrument_base_6A", ("account_id", "instrument_status"))
    active = instruments["instrument_status"] == code("instrument_status", "ACTIVE")
    held = np.bincount(instruments["account_id"][active])
    return {
        name: ratio(int(np.count_nonzero(count > 1)), int(np.count_nonzero(count)))
        for name, count in (("sharing.devices", users), ("sharing.residential", seen), ("sharing.accounts", held))
    }


def _uncovered(owner: I64, start: I64, end: I64, lo: int, hi: int) -> int:
    """Owners of rows [start, end), rows sorted by owner and time, with an instant of [lo, hi) in none of them."""
    if not len(owner):
        return 0
    first = np.concatenate([[True], owner[1:] != owner[:-1]])
    last = np.concatenate([first[1:], [True]])
    bad = (first & (start > lo)) | (last & (end < hi))
    bad[1:] |= ~first[1:] & (start[1:] > end[:-1])
    return len(np.unique(owner[bad]))


def _validity(world: World) -> Values:
    """Cards that end and devices that come or go within the horizon, per 90 days; who would be left without."""
    code, lo, hi = world.contracts.code, world.start_us, world.end_us
    span = ("valid_from", "valid_to")
    cards = columns(world, "s3_instrument_base_6A", ("account_id", "instrument_kind", "instrument_status", *span))
    devices = columns(world, "s4_device_base_6A", ("primary_party_id", "device_origin", *span))
    mine = cards["instrument_status"] == code("instrument_status", "ACTIVE")
    mine &= cards["instrument_kind"] == code("instrument_kind", "CARD_PHYSICAL")
    account, start, end = (cards[k][mine] for k in ("account_id", "valid_from", "valid_to"))
    held = (start <= lo) & (end > lo)
    own = devices["device_origin"] == code("device_origin", "OWNED")
    party, since, until = (devices[k][own] for k in ("primary_party_id", "valid_from", "valid_to"))
    whole = (since <= lo) & (until >= hi)
    per_90 = 90.0 / world.days
    ending, turned = ratio(int((end[held] < hi).sum()), int(held.sum())), ratio(int((~whole).sum()), len(whole))
    return {
        "instruments.ending": None if ending is None else ending * per_90,
        "instruments.uncovered": float(_uncovered(account, start, end, lo, hi)),
        "devices.turnover": None if turned is None else turned * per_90,
        "devices.uncovered": float(len(np.setdiff1d(party, party[whole]))),
    }


def _trips(world: World) -> Values:
    """Trips per party in 90 days, shares abroad, and trips that cannot be."""
    t = columns(world, "trips_6A", ("party_id", "from_day", "to_day", "city_id"))
    country = world.tables["cities_1B"]["country_iso"]
    lives = columns(world, "s1_party_base_6A", ("city_id",))["city_id"]
    home = lives[t["party_id"] - 1]
    same: npt.NDArray[np.bool_] = t["party_id"][1:] == t["party_id"][:-1]
    overlaps = same & (t["from_day"][1:] <= t["to_day"][:-1])
    return {
        "trips.per_party": ratio(len(home) * 90.0 / world.days, len(lives)),
        "trips.abroad": ratio(int(np.count_nonzero(country[t["city_id"] - 1] != country[home - 1])), len(home)),
        "trips.overlaps": float(np.count_nonzero(overlaps)),
        "trips.at_home": float(np.count_nonzero(t["city_id"] == home)),
    }


def table_figures(world: World, laws: Mapping[str, Any]) -> Values:
    """Every figure of the tables by name; laws: the laws of size that merchants and parties are measured against."""
    out: Values = {
        "keys.duplicates": float(duplicate_keys(world)),
        "links.orphans": float(orphan_links(world)),
    }
    for part in (_merchants, _parties, _sharing, _validity, _trips):
        out |= part(world)
    return out | _sizes(world, laws)
