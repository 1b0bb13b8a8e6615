"""What they pay with and from where: devices, addresses and their links (bundle 6A)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraudloom.states.world.merchants import Merchants
from fraudloom.states.world.parties import Accounts, Parties, region_codes
from fraudloom.states.world.spec import DAY_US, I64, Context
from fraudloom.tables import Columns, empty_columns

BODIES = ("phone", "second_phone", "laptop", "desktop", "tablet")
BODY_TYPES = ("MOBILE_PHONE", "MOBILE_PHONE", "LAPTOP", "DESKTOP", "TABLET")
DESCRIPTIONS = {  # ip_type, asn_class, ip_group of each pool, in numbering order
    "home": ("RESIDENTIAL", "CONSUMER_ISP", "RESIDENTIAL"),
    "solo": ("RESIDENTIAL", "CONSUMER_ISP", "RESIDENTIAL"),
    "carrier": ("MOBILE", "MNO", "MOBILE_CARRIER"),
    "public": ("PUBLIC_WIFI", "CONSUMER_ISP", "PUBLIC_SHARED"),
    "hosting": ("DATACENTRE", "HOSTING_PROVIDER", "HOSTING_DATACENTRE"),
    "anonymiser": ("VPN_PROXY", "HOSTING_PROVIDER", "ANONYMIZER_PROXY"),
    "stranger": ("RESIDENTIAL", "CONSUMER_ISP", "RESIDENTIAL"),
    "merchant": ("CORPORATE", "ENTERPRISE", "MERCHANT"),
}


@dataclass(frozen=True)
class Owned:
    """Customer devices in owner order: owner row, body (place in BODIES), second user's party row or -1."""

    owner: I64
    body: I64
    second: I64


@dataclass(frozen=True)
class Pools:
    """Addresses: city row of each address of each pool, and the first id of each pool."""

    city: dict[str, I64]
    first: dict[str, int]
    carrier_ptr: I64
    public_ptr: I64


def build_owned(ctx: Context, parties: Parties) -> Owned:
    """Customer devices, at least one each, and the members of the household who use them too."""
    law, draws, n = ctx.policy["devices"], ctx.draws, len(parties.kind)
    held = np.zeros((n, len(BODIES)), np.bool_)
    held[:, 0] = parties.has_phone
    for place, name in enumerate(BODIES[1:], start=1):
        held[:, place] = draws.uniforms("devices", name.upper(), n) < float(law[name])
    held[:, 1] &= parties.has_phone
    held[:, 2] |= ~held.any(axis=1)
    owner, body = (a.astype(np.int64) for a in np.nonzero(held))
    u = draws.uniforms("devices", "SHARED", len(owner))
    size, first = parties.size[owner], parties.first[owner]
    shared = (body >= 2) & (size > 1) & (u < float(law["shared"]))
    step = 1 + (draws.uniforms("devices", "SECOND_USER", len(owner)) * np.maximum(size - 1, 1)).astype(np.int64)
    second = np.where(shared, first + (owner - first + step) % size, -1)
    return Owned(owner, body, second)


def unowned_count(ctx: Context, owned: int) -> int:
    """Strangers' devices."""
    law = ctx.policy["devices"]
    return max(int(law["unowned_min"]), int(owned * float(law["unowned_per_owned"])))


def build_devices(
    ctx: Context, parties: Parties, owned: Owned, terminals: Columns, merchants: Merchants, cities: Columns
) -> Columns:
    """s4_device_base_6A: owned devices, then terminals, then strangers' devices."""
    law, draws = ctx.policy["devices"], ctx.draws
    a, b, c = len(owned.owner), len(terminals["terminal_id"]), unowned_count(ctx, len(owned.owner))
    n = a + b + c
    cols = empty_columns(ctx.contracts.dataset("s4_device_base_6A"), n)
    cols["device_id"] = np.arange(1, n + 1, dtype=np.int64)
    own, term, free = slice(0, a), slice(a, a + b), slice(a + b, n)
    mac = draws.uniforms("devices", "MACOS", a) < float(law["macos"])
    code = {x: ctx.code("os_family", x) for x in ("ANDROID", "IOS", "WINDOWS", "MACOS", "LINUX")}
    ios = parties.ios[owned.owner]
    mobile = np.where(ios, code["IOS"], code["ANDROID"])
    large = np.where(mac, code["MACOS"], code["WINDOWS"])
    bodies = np.asarray([ctx.code("device_type", t) for t in BODY_TYPES], np.int8)
    cols["device_type"][own] = bodies[owned.body]
    cols["os_family"][own] = np.where((owned.body == 2) | (owned.body == 3), large, mobile)
    cols["device_origin"][own] = ctx.code("device_origin", "OWNED")
    cols["primary_party_id"][own] = owned.owner + 1
    country = np.empty(n, np.int64)
    country[own] = parties.table["country_iso"][owned.owner]
    atm = terminals["terminal_type"] == ctx.code("terminal_type", "ATM")
    machine = (ctx.code("device_type", "ATM"), ctx.code("device_type", "POS_TERMINAL"))
    cols["device_type"][term] = np.where(atm, machine[0], machine[1])
    cols["os_family"][term] = ctx.code("os_family", "EMBEDDED")
    cols["device_origin"][term] = ctx.code("device_origin", "TERMINAL")
    cols["primary_merchant_id"][term] = terminals["merchant_id"]
    country[term] = cities["country_iso"][terminals["city_id"] - 1]
    u = draws.uniforms("devices", "UNOWNED_BODY", c)
    body = np.where(u < 0.5, 0, np.where(u < 0.8, 2, 3))
    cols["device_type"][free] = bodies[body]
    system = np.where(u < 0.38, code["ANDROID"], np.where(u < 0.5, code["IOS"], code["WINDOWS"]))
    cols["os_family"][free] = np.where(u >= 0.93, code["LINUX"], system)
    cols["device_origin"][free] = ctx.code("device_origin", "UNOWNED")
    spot = (draws.uniforms("devices", "UNOWNED_PLACE", c) * len(cities["city_id"])).astype(np.int64)
    country[free] = cities["country_iso"][spot]
    cols["home_country_iso"] = country.astype(np.int8)
    cols["home_region_id"] = region_codes(ctx)[country]
    lo, hi = (int(x) for x in law["age_days"])
    age = lo + (draws.uniforms("devices", "AGE", n) * (hi - lo)).astype(np.int64)
    cols["valid_from"] = ctx.start_us - age * DAY_US
    cols["valid_to"] = np.full(n, ctx.start_us + (ctx.spec.days + 2000) * DAY_US, np.int64)
    u, day = draws.uniforms("devices", "TURNOVER", a), draws.uniforms("devices", "TURNOVER_DAY", a)
    instant = ctx.start_us + (1 + (day * (ctx.spec.days - 1)).astype(np.int64)) * DAY_US
    later = np.diff(owned.owner, prepend=-1) == 0  # an owner's first device is always there
    new = later & (u < float(law["new"]))
    cols["valid_from"][own][new] = instant[new]
    gone = later & (u >= 1.0 - float(law["retired"]))
    cols["valid_to"][own][gone] = instant[gone]
    return cols


def build_pools(ctx: Context, parties: Parties, owned: Owned, cities: Columns, merchants: Merchants) -> Pools:
    """How many addresses of each kind stand in which city, numbered pool after pool."""
    law, draws = ctx.policy["ips"], ctx.draws
    n, places = len(parties.kind), len(cities["city_id"])
    solo = np.flatnonzero(draws.uniforms("ips", "SOLO", n) < float(law["solo_residential"]))
    residents = np.bincount(parties.city, minlength=places)
    phones = np.bincount(parties.city[owned.owner[owned.body <= 1]], minlength=places)
    carrier = np.maximum(1, np.ceil(phones / float(law["phones_per_carrier_nat"]))).astype(np.int64)
    public = np.maximum(1, np.ceil(residents / float(law["parties_per_public"]))).astype(np.int64)
    least = int(law["pool_min"])

    def spread(count: int, decision: str) -> I64:
        return (draws.uniforms("ips", decision, count) * places).astype(np.int64)

    hosting = max(least, int(n * float(law["hosting_per_party"])))
    anonymiser = max(least, int(n * float(law["anonymiser_per_party"])))
    city = {
        "home": parties.city[parties.cohorts["first_party_id"] - 1],
        "solo": parties.city[solo],
        "carrier": np.repeat(np.arange(places, dtype=np.int64), carrier),
        "public": np.repeat(np.arange(places, dtype=np.int64), public),
        "hosting": spread(hosting, "HOSTING_PLACE"),
        "anonymiser": spread(anonymiser, "ANONYMISER_PLACE"),
        "stranger": spread(hosting, "STRANGER_PLACE"),
        "merchant": merchants.outlet_city,
    }
    first, at = {}, 1
    for name, where in city.items():
        first[name] = at
        at += len(where)
    zero = np.zeros(1, np.int64)
    return Pools(city, first, np.concatenate([zero, np.cumsum(carrier)]), np.concatenate([zero, np.cumsum(public)]))


def build_ips(ctx: Context, pools: Pools, cities: Columns) -> Columns:
    """s4_ip_base_6A, pool after pool; public addresses alternate between kinds."""
    where = np.concatenate(list(pools.city.values()))
    cols = empty_columns(ctx.contracts.dataset("s4_ip_base_6A"), len(where))
    cols["ip_id"] = np.arange(1, len(where) + 1, dtype=np.int64)
    for name, (kind, network, group) in DESCRIPTIONS.items():
        at = slice(pools.first[name] - 1, pools.first[name] - 1 + len(pools.city[name]))
        cols["ip_type"][at] = ctx.code("ip_type", kind)
        cols["asn_class"][at] = ctx.code("asn_class", network)
        cols["ip_group"][at] = ctx.code("ip_group", group)
    public = np.arange(len(pools.city["public"]))
    kinds = np.asarray(
        [ctx.code("ip_type", k) for k in ("PUBLIC_WIFI", "CORPORATE", "HOTEL_TRAVEL", "EDUCATION")], np.int8
    )
    nets = np.asarray(
        [ctx.code("asn_class", k) for k in ("CONSUMER_ISP", "ENTERPRISE", "CONSUMER_ISP", "PUBLIC_SECTOR")], np.int8
    )
    at = slice(pools.first["public"] - 1, pools.first["public"] - 1 + len(public))
    cols["ip_type"][at], cols["asn_class"][at] = kinds[public % 4], nets[public % 4]
    cols["country_iso"] = cities["country_iso"][where]
    cols["city_id"] = where + 1
    return cols


def build_device_links(ctx: Context, owned: Owned, terminals: Columns, accounts: Accounts) -> Columns:
    """s4_device_links_6A: owners and second users in (party, device) order, then terminals in merchant order.

    A party's first wallet token is bound to its first phone.
    """
    device = np.arange(1, len(owned.owner) + 1, dtype=np.int64)
    second = np.flatnonzero(owned.second >= 0)
    party = np.concatenate([owned.owner + 1, owned.second[second] + 1])
    devices = np.concatenate([device, device[second]])
    token = np.flatnonzero(accounts.form == 3)
    holder = accounts.instruments["owner_party_id"][token]
    holders, first = np.unique(holder, return_index=True)
    bound = np.zeros(int(party.max(initial=0)) + 1, np.int64)
    bound[holders] = accounts.instruments["instrument_id"][token[first]]
    phone = np.concatenate([owned.body == 0, np.zeros(len(second), np.bool_)])
    instrument = np.where(phone, bound[party], 0)
    order = np.lexsort((devices, party))
    a, n = len(party), len(party) + len(terminals["terminal_id"])
    cols = empty_columns(ctx.contracts.dataset("s4_device_links_6A"), n)
    cols["device_id"] = np.concatenate([devices[order], terminals["device_id"]])
    cols["party_id"][:a] = party[order]
    cols["instrument_id"][:a] = instrument[order]
    account_of = np.concatenate([np.zeros(1, np.int64), accounts.instruments["account_id"]])
    cols["account_id"] = account_of[cols["instrument_id"]]
    cols["merchant_id"][a:] = terminals["merchant_id"]
    roles = [ctx.code("device_link_role", r) for r in ("PRIMARY_OWNER", "SECONDARY_USER", "TERMINAL")]
    user = np.where(np.arange(a) < len(owned.owner), roles[0], roles[1])[order]
    cols["link_role"] = np.concatenate([user, np.full(n - a, roles[2])]).astype(np.int8)
    return cols


def _draw_in(ptr: I64, city: I64, u: npt.NDArray[np.float64]) -> I64:
    """Places drawn uniformly in each row's window of a pool."""
    return ptr[city] + (u * (ptr[city + 1] - ptr[city])).astype(np.int64)


def build_ip_links(
    ctx: Context, parties: Parties, owned: Owned, pools: Pools, terminals: Columns, devices: Columns
) -> Columns:
    """s4_ip_links_6A in (device, address) order: homes, carriers, public places, anonymisers, outlets, strangers."""
    law, draws, n = ctx.policy["ips"], ctx.draws, len(owned.owner)
    city, device = parties.city[owned.owner], np.arange(1, n + 1, dtype=np.int64)
    typical, recent = (ctx.code("ip_link_role", r) for r in ("TYPICAL_DEVICE_IP", "RECENT_LOGIN_IP"))
    parts: list[tuple[I64, I64, int]] = [
        (device, pools.first["home"] + parties.table["cohort_id"][owned.owner] - 1, typical)
    ]
    alone = draws.uniforms("ips", "SOLO", len(parties.kind)) < float(law["solo_residential"])
    rank = np.cumsum(alone) - 1
    mine = alone[owned.owner] & (owned.body == 0)
    parts.append((device[mine], pools.first["solo"] + rank[owned.owner[mine]], typical))
    phone = owned.body <= 1
    spot = _draw_in(pools.carrier_ptr, city, draws.uniforms("ips", "CARRIER", n))
    parts.append((device[phone], (pools.first["carrier"] + spot)[phone], typical))
    out = draws.uniforms("ips", "PUBLIC_USE", n) < float(law["public_use"])
    spot = _draw_in(pools.public_ptr, city, draws.uniforms("ips", "PUBLIC", n))
    parts.append((device[out], (pools.first["public"] + spot)[out], recent))
    for name, chance in (("anonymiser", "anonymiser_use"), ("hosting", "hosting_use")):
        use = draws.uniforms("ips", f"{name.upper()}_USE", n) < float(law[chance])
        spot = (draws.uniforms("ips", name.upper(), n) * len(pools.city[name])).astype(np.int64)
        parts.append((device[use], (pools.first[name] + spot)[use], recent))
    outlet = ctx.code("ip_link_role", "MERCHANT_IP")
    parts.append((terminals["device_id"], terminals["ip_id"], outlet))
    first_free = n + len(terminals["terminal_id"])
    free = devices["device_id"][first_free:]
    u = draws.uniforms("ips", "STRANGER", len(free))
    chosen = np.zeros(len(free), np.int64)
    bounds = (0.0, 0.45, 0.8, 1.0)
    for k, name in enumerate(("stranger", "anonymiser", "hosting")):
        here = (u >= bounds[k]) & (u < bounds[k + 1])
        part = (u[here] - bounds[k]) / (bounds[k + 1] - bounds[k])
        size = len(pools.city[name])
        chosen[here] = pools.first[name] + np.minimum((part * size).astype(np.int64), size - 1)
    parts.append((free, chosen, recent))
    all_device = np.concatenate([p[0] for p in parts])
    all_ip = np.concatenate([p[1] for p in parts])
    role = np.concatenate([np.full(len(p[0]), p[2], np.int8) for p in parts])
    order = np.lexsort((all_ip, all_device))
    cols = empty_columns(ctx.contracts.dataset("s4_ip_links_6A"), len(order))
    cols["ip_id"], cols["device_id"], cols["link_role"] = all_ip[order], all_device[order], role[order]
    cols["party_id"] = devices["primary_party_id"][cols["device_id"] - 1]
    cols["merchant_id"] = devices["primary_merchant_id"][cols["device_id"] - 1]
    return cols
