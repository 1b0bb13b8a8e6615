"""What campaigns choose from: arrays made of world tables, and pools of merchants by type and form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.overlay import Places
from fraudloom.states.s3.policy import FORMS, GROUPS, Array, Laws, Template, running
from fraudloom.tables import Columns

RISKY_ROLES = ("HIGH_RISK_MCC", "MSB", "COLLUSIVE")


@dataclass(frozen=True)
class Pools:
    """World tables as arrays. Ids are 1-based, 0 stands for none; rows are id - 1.

    `remote`, `present`, `rail`: what merchants can do; `listed`, `by_city`, `far*`: terminals by kind and city (see
    overlay.Places); `strangers`: unowned devices; `addresses`, `group_at`: customer addresses by group; `first_device`
    by party, `first_address` by device; `shared_device` by party: that of the household's first member; `handle` by
    account; `mules`: deposit accounts of mules; `outside`: id below new external handles.
    """

    tables: Any
    remote: Array
    present: Array
    rail: Array
    of_merchant: Array
    by_city: Array
    listed: Array
    far: Array
    far_city: Array
    far_cum: Array
    strangers: Array
    addresses: Array
    group_at: Array
    first_device: Array
    first_address: Array
    shared_device: Array
    handle: Array
    mules: Array
    outside: int


def table(world: Any, name: str) -> Columns:
    """Columns of one world table."""
    columns: Columns = world.tables[name]
    return columns


def firsts(owner: Array, value: Array, n: int) -> Array:
    """First value of each owner 1..n in rows sorted by owner, 0 for none: int64[n]."""
    out = np.zeros(n, np.int64)
    at = np.searchsorted(owner, np.arange(1, n + 1))
    inside = at < len(owner)
    found = np.zeros(n, np.bool_)
    found[inside] = owner[at[inside]] == np.flatnonzero(inside) + 1
    out[found] = value[at[found]]
    return out


def _terminals(world: Any, atm: int) -> tuple[Array, Array, Array, Array, Array]:
    """(by_city, listed, far, far_city, far_cum) of overlay.Places."""
    terminals, cities = table(world, "terminals_2B"), table(world, "cities_1B")
    n = len(cities["city_id"])
    kind = (terminals["terminal_type"] == atm).astype(np.int64)
    # Merchants that sell in both ways are remote to the issuer: their tills are left to genuine customers.
    channel = table(world, "merchants_1A")["channel_group"][terminals["merchant_id"] - 1]
    order = np.lexsort((terminals["terminal_id"], terminals["city_id"], kind))
    order = order[channel[order] != pc.HYBRID]
    cell = kind[order] * n + terminals["city_id"][order] - 1
    ends = np.searchsorted(cell, np.arange(2 * n + 1)).astype(np.int64)
    by_city = np.stack([ends[: n + 1], ends[n : 2 * n + 1]])
    has = np.diff(ends).reshape(2, n) > 0
    city = np.concatenate([np.flatnonzero(h) + 1 for h in has]).astype(np.int64)
    far = np.array([0, int(has[0].sum()), len(city)], np.int64)
    cum = running(cities["population_weight"][city - 1]) if len(city) else np.zeros(0)
    return by_city, terminals["terminal_id"][order].astype(np.int64), far, city, cum


def _customers(world: Any, contracts: Contracts) -> dict[str, Array]:
    """Own and shared devices and addresses, bank handles."""
    parties, accounts = table(world, "s1_party_base_6A"), table(world, "s2_account_base_6A")
    links, ips = table(world, "s4_device_links_6A"), table(world, "s4_ip_links_6A")
    instruments, cohorts = table(world, "s3_instrument_base_6A"), table(world, "cohorts_6A")
    n = int(np.count_nonzero(links["party_id"]))
    first = firsts(links["party_id"][:n], links["device_id"][:n], len(parties["party_id"]))
    head = cohorts["first_party_id"][parties["cohort_id"] - 1] - 1
    shared = first[head] if len(first) else first
    held = instruments["instrument_kind"] == contracts.code("instrument_kind", "BANK_HANDLE")
    return {
        "first_device": first,
        "shared_device": np.where(shared > 0, shared, first),
        "first_address": firsts(ips["device_id"], ips["ip_id"], len(table(world, "s4_device_base_6A")["device_id"])),
        "handle": firsts(
            instruments["account_id"][held], instruments["instrument_id"][held], len(accounts["account_id"])
        ),
    }


def build_pools(world: Any, contracts: Contracts) -> Pools:
    """Arrays of a loaded world; they do not depend on policies."""
    code = contracts.code
    merchants = table(world, "merchants_1A")
    terminals = table(world, "terminals_2B")
    devices, addresses = table(world, "s4_device_base_6A"), table(world, "s4_ip_base_6A")
    accounts, payees = table(world, "s2_account_base_6A"), table(world, "payees_6A")
    of_merchant = np.searchsorted(
        terminals["merchant_id"], np.arange(1, len(merchants["merchant_id"]) + 2), side="left"
    ).astype(np.int64)
    channel = merchants["channel_group"]
    by_city, listed, far, far_city, far_cum = _terminals(world, code("terminal_type", "ATM"))
    usable = np.flatnonzero(addresses["ip_group"] < len(GROUPS))
    order = usable[np.argsort(addresses["ip_group"][usable], kind="stable")]
    roles = table(world, "s5_party_fraud_roles_6A")["fraud_role_party"]
    deposit = accounts["ledger_class"] == code("ledger_class", "DEPOSIT")
    mule = deposit & (roles[accounts["owner_party_id"] - 1] == code("fraud_role_party", "MULE"))
    return Pools(
        tables=world.tables,
        remote=(channel == pc.ECOM) | (channel == pc.HYBRID),
        present=(channel == pc.POS) & (np.diff(of_merchant) > 0),
        rail=channel == pc.BANK_RAIL,
        of_merchant=of_merchant,
        by_city=by_city,
        listed=listed,
        far=far,
        far_city=far_city,
        far_cum=far_cum,
        strangers=devices["device_id"][devices["device_origin"] == code("device_origin", "UNOWNED")].astype(np.int64),
        addresses=addresses["ip_id"][order].astype(np.int64),
        group_at=np.searchsorted(addresses["ip_group"][order], np.arange(len(GROUPS) + 1)).astype(np.int64),
        mules=accounts["account_id"][mule].astype(np.int64),
        outside=max(len(accounts["account_id"]), int(payees["payee_account_id"].max(initial=0))),
        **_customers(world, contracts),
    )


def _capable(pools: Pools, form: int) -> Array:
    """Merchants that can act in a form; all of them for transfers in a world without rails."""
    if form == FORMS.index("REMOTE"):
        return pools.remote
    if form == FORMS.index("PRESENT"):
        return pools.present
    if form == FORMS.index("TRANSFER"):
        return pools.rail if pools.rail.any() else np.ones(len(pools.rail), np.bool_)
    return np.zeros(len(pools.rail), np.bool_)


def merchant_weights(template: Template, pools: Pools, contracts: Contracts) -> Array:
    """Weight of each merchant for a type: planned volume, times risk_factor for risky roles, 0 outside its classes."""
    merchants = pools.tables["merchants_1A"]
    weight = np.asarray(merchants["planned_weight"], np.float64).copy()
    doc = template.script.get("merchant", {})
    roles = pools.tables["s5_merchant_fraud_roles_6A"]["fraud_role_merchant"]
    if "risk_factor" in doc:
        risky = np.isin(roles, [contracts.code("fraud_role_merchant", r) for r in RISKY_ROLES])
        weight[risky] *= float(doc["risk_factor"])
        classes = [contracts.code("demand_class", c) for c in doc["classes"]]
        inside = np.isin(merchants["demand_class"], classes)
        if inside.any():
            weight[~inside] = 0.0
    if doc.get("choice") == "COLLUSIVE":
        collusive = roles == contracts.code("fraud_role_merchant", "COLLUSIVE")
        if collusive.any():
            weight[~collusive] = 0.0
    return weight


def fixed_pool(template: Template, laws: Laws, pools: Pools, contracts: Contracts) -> tuple[Array, Array]:
    """Merchants (ids) and cumulative weights from which a type's campaigns take their own; empty when none is fixed."""
    doc = template.script.get("merchant", {})
    if doc.get("choice") not in ("FIXED", "COLLUSIVE"):
        return np.zeros(0, np.int64), np.zeros(0)
    able = _capable(pools, int(laws.form_first[template.row]))
    if laws.form_second[template.row] >= 0:
        able = able | _capable(pools, int(laws.form_second[template.row]))
    weight = np.where(able, merchant_weights(template, pools, contracts), 0.0)
    chosen = np.flatnonzero(weight > 0.0)
    return (chosen + 1).astype(np.int64), running(weight[chosen]) if len(chosen) else np.zeros(0)


def build_places(laws: Laws, pools: Pools, contracts: Contracts) -> Places:
    """Pools of merchants by (type, form), and terminals, as `script_places` reads them."""
    lo = np.zeros((laws.types, len(FORMS)), np.int64)
    hi = np.zeros_like(lo)
    ids: list[Array] = []
    weights: list[Array] = []
    at = 0
    for t in laws.templates:
        if "form" not in t.script:
            continue
        own = merchant_weights(t, pools, contracts)
        plain = np.asarray(pools.tables["merchants_1A"]["planned_weight"], np.float64)
        forms = {int(laws.form_first[t.row]), int(laws.form_second[t.row])} - {-1, FORMS.index("CASH")}
        for form in sorted(forms):
            able = _capable(pools, form)
            weight = np.where(able, plain if form == FORMS.index("TRANSFER") else own, 0.0)
            if not (weight > 0.0).any():
                weight = np.where(able, plain, 0.0)
            chosen = np.flatnonzero(weight > 0.0)
            lo[t.row, form], hi[t.row, form] = at, at + len(chosen)
            ids.append((chosen + 1).astype(np.int64))
            weights.append(weight[chosen])
            at += len(chosen)
    terminals = pools.tables["terminals_2B"]
    return Places(
        lo=lo,
        hi=hi,
        merchant=np.concatenate([np.zeros(0, np.int64), *ids]),
        cum=running(np.concatenate([np.zeros(0), *weights])) if at else np.zeros(0),
        of_merchant=pools.of_merchant,
        by_city=pools.by_city,
        listed=pools.listed,
        far=pools.far,
        far_city=pools.far_city,
        far_cum=pools.far_cum,
        city=np.asarray(terminals["city_id"], np.int64),
        owner=np.asarray(terminals["merchant_id"], np.int64),
        home=np.asarray(pools.tables["merchants_1A"]["city_id"], np.int64),
    )
