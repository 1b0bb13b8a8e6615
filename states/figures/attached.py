"""Figures of arrivals with their entities (S1): activity, merchants, devices, sharing, borders, clock, speed."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fraudloom.states.figures.family import ATM, ECOM, POS, Family, Shard, ranks, starts
from fraudloom.states.figures.plan import FigurePlan, Values
from fraudloom.states.figures.tally import Shares, Tally, ratio
from fraudloom.states.figures.town import CITY_BITS, Town, has
from fraudloom.states.score.stats import quantile
from fraudloom.states.score.surfaces import ARRIVALS
from fraudloom.states.score.tally import Counts

EARTH_KM = 6371.0
HOUR_US = 3_600_000_000
TOP = 3
#: A party with fewer arrivals has no favourites: three merchants are then half of its arrivals or more by themselves.
FEW = 5
CHANNELS = ("ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID")
PAIR_BITS = 32


def _activity(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan, shares
    a = shard[ARRIVALS]
    town.of(town.party_type, a["party_id"], "party_id")
    tally.bin("party", a["party_id"], len(town.party_type))
    width = int(a["merchant_id"].max(initial=0)) + 1
    pairs, n = np.unique(a["party_id"] * width + a["merchant_id"], return_counts=True)
    who = pairs // width
    order = np.lexsort((-n, who))
    who, n = who[order], n[order]
    first = starts(who)
    run = np.cumsum(first) - 1
    total = np.bincount(run, weights=n).astype(np.int64)
    top = np.bincount(run, weights=n * (ranks(first) < TOP)).astype(np.int64)
    tally.add("parties_of_shards", len(total))
    tally.count("favourites", (total << PAIR_BITS) | top)


def gini(sizes: Counts) -> float | None:
    """Gini coefficient of a multiset of positive integers, exact until the division."""
    below, twice, mass = 0, 0, 0
    for value, count in zip(sizes.values.tolist(), sizes.counts.tolist(), strict=True):
        # Sum over members of (2 rank - n - 1) value: ranks of a tie are consecutive.
        twice += value * (2 * count * below + count * (count + 1))
        below, mass = below + count, mass + value * count
    return ratio(twice - (below + 1) * mass, below * mass)


def _read_activity(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del plan, shares
    per_party, days = tally.bins_of("party", 1), town.world.days
    sizes = Counts()
    sizes.add(per_party[per_party > 0])
    many = tally.multiset("favourites")
    total, top = many.values >> PAIR_BITS, many.values & ((1 << PAIR_BITS) - 1)
    enough = total > FEW
    told = sizes.values * 90 <= FEW * days
    out: Values = {
        "parties.split": float(tally.sum("parties_of_shards") - sizes.total),
        "parties.few": ratio(int(sizes.counts[told].sum()), sizes.total),
        "parties.gini": gini(sizes),
        "merchants.top3": ratio(
            math.fsum((top[enough] / total[enough] * many.counts[enough]).tolist()), int(many.counts[enough].sum())
        ),
        "merchants.top3_pooled": ratio(int((top * many.counts).sum()), int((total * many.counts).sum())),
    }
    for q in (50, 90, 99):
        value = quantile(sizes, q, 100)
        out[f"parties.p{q}"] = None if value is None else value * 90 / days
    return out


def _devices(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del town, plan, shares
    a = shard[ARRIVALS]
    online = np.flatnonzero(a["channel_group"] == ECOM)
    order = np.argsort(a["party_id"][online], kind="stable")
    party, device = a["party_id"][online][order], a["device_id"][online][order]
    later = ~starts(party)
    tally.add("online_steps", later.sum())
    tally.add("online_same", (later[1:] & (device[1:] == device[:-1])).sum())
    width = int(device.max(initial=0)) + 1
    pairs, n = np.unique(party * width + device, return_counts=True)
    own = np.flatnonzero(starts(pairs // width))
    tally.add("online", len(online))
    tally.add("online_main", np.maximum.reduceat(n, own).sum() if len(own) else 0)


def _read_devices(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    return {
        "devices.same_as_before": tally.share("online_same", "online_steps"),
        "devices.main": tally.share("online_main", "online"),
    }


def _sharing(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan, tally
    a = shard[ARRIVALS]
    owned = town.of(town.device_owned, a["device_id"], "device_id")
    homes = town.of(town.ip_residential, a["ip_id"], "ip_id")
    paid = a["instrument_id"] != 0
    with shares.lock:
        shares.devices.add(a["device_id"][owned], a["party_id"][owned])
        shares.addresses.add(a["ip_id"][homes], a["device_id"][homes])
        shares.accounts.add(a["account_id"][paid], a["instrument_id"][paid])


def _read_sharing(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del tally, town, plan
    return {
        "sharing.devices": ratio(*shares.devices.figures()),
        "sharing.residential": ratio(*shares.addresses.figures()),
        "sharing.accounts": ratio(*shares.accounts.figures()),
    }


def _places(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del shares
    a = shard[ARRIVALS]
    channel, city = a["channel_group"], a["city_id"]
    away = town.of(town.city_country, city, "city_id") != town.of(town.party_country, a["party_id"], "party_id")
    tally.bin("channels", channel, len(CHANNELS))
    tally.bin("abroad", channel[away], len(CHANNELS))
    tally.add("night", (a["ts_local_primary"] // HOUR_US % 24 < 5).sum())
    present = np.flatnonzero((channel == POS) | (channel == ATM))
    for name, column in (("card", "instrument_id"), ("party", "party_id")):
        ids = a[column][present]
        order = present[np.argsort(ids, kind="stable")]
        same = np.flatnonzero(~starts(a[column][order]))
        before, after = order[same - 1], order[same]
        moved = city[before] != city[after]
        tally.add(f"{name}_pairs", len(same))
        tally.add(f"{name}_fast", _too_fast(a["ts_utc"], city, before[moved], after[moved], town, plan).sum())


def _too_fast(
    ts: npt.NDArray[np.int64],
    city: npt.NDArray[np.int64],
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    town: Town,
    plan: FigurePlan,
) -> npt.NDArray[np.bool_]:
    """Pairs of rows whose cities lie farther apart, along the chord, than the speed allows."""
    step = town.unit[city[after]] - town.unit[city[before]]
    km = EARTH_KM * np.sqrt((step * step).sum(axis=1))
    out: npt.NDArray[np.bool_] = km * HOUR_US > plan.speed_kmh * (ts[after] - ts[before])
    return out


def _read_places(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    rows, abroad = tally.bins_of("channels", len(CHANNELS)), tally.bins_of("abroad", len(CHANNELS))
    n = int(rows.sum())
    out: Values = {f"channels.{name}": ratio(int(rows[k]), n) for k, name in enumerate(CHANNELS)}
    for k in (POS, ECOM):
        out[f"borders.home_{CHANNELS[k]}"] = ratio(int(rows[k] - abroad[k]), int(rows[k]))
    return out | {
        "borders.cross": ratio(int(abroad.sum()), n),
        "clock.night": ratio(tally.sum("night"), n),
        "speed.card": tally.share("card_fast", "card_pairs"),
        "speed.party": tally.share("party_fast", "party_pairs"),
    }


def _regulars(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan, shares
    a = shard[ARRIVALS]
    enum = town.world.contracts.code
    first = (a["visit_rank"] == 0) & (a["series_key"] == 0) & ~a["trip"]
    told = has(town.regulars, (a["visit_merchant_id"][first] << CITY_BITS) | a["home_city_id"][first])
    tally.add("visits_with_regulars", told.sum())
    mine = a["attach_rule_id"][first][told]
    tally.add("visits_of_regulars", (mine == enum("attach_rule", "VISIT_REGULAR")).sum())


def _read_regulars(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    return {"merchants.regulars": tally.share("visits_of_regulars", "visits_with_regulars")}


ATTACHED = (
    Family(
        "activity",
        {ARRIVALS: ("party_id", "merchant_id")},
        (
            "parties.split",
            "parties.p50",
            "parties.p90",
            "parties.p99",
            "parties.few",
            "parties.gini",
            "merchants.top3",
            "merchants.top3_pooled",
        ),
        _activity,
        _read_activity,
    ),
    Family(
        "regulars",
        {
            ARRIVALS: (
                "visit_rank",
                "series_key",
                "trip",
                "visit_merchant_id",
                "home_city_id",
                "attach_rule_id",
            ),
        },
        ("merchants.regulars",),
        _regulars,
        _read_regulars,
    ),
    Family(
        "devices",
        {ARRIVALS: ("party_id", "device_id", "channel_group")},
        ("devices.same_as_before", "devices.main"),
        _devices,
        _read_devices,
    ),
    Family(
        "sharing",
        {ARRIVALS: ("party_id", "account_id", "instrument_id", "device_id", "ip_id")},
        ("sharing.devices", "sharing.residential", "sharing.accounts"),
        _sharing,
        _read_sharing,
    ),
    Family(
        "places",
        {ARRIVALS: ("party_id", "instrument_id", "ts_utc", "ts_local_primary", "channel_group", "city_id")},
        (
            *(f"channels.{name}" for name in CHANNELS),
            "borders.home_POS",
            "borders.home_ECOM",
            "borders.cross",
            "clock.night",
            "speed.card",
            "speed.party",
        ),
        _places,
        _read_places,
    ),
)
