"""New flows, whole: when, where, by which device, for how much, and what the request shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.kernels import campaigns as kc
from fraudloom.kernels import overlay as ko
from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.amounts import snap_amounts
from fraudloom.kernels.idmap import encode_ids
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s3.policy import FORMS, Array
from fraudloom.states.s3.pools import Pools
from fraudloom.states.s3.quotas import Plan2
from fraudloom.tables import Columns, empty_columns

REMOTE, PRESENT, CASH, TRANSFER = range(len(FORMS))
F_DEVICE, F_ADDRESS, F_ROUTING, F_MERCHANT = 4, 8, 16, 32
EXTERNAL_BANK = 1000


@dataclass(frozen=True)
class Fresh:
    """New flows of a shard: kernel rows, campaign columns, and the episode's first instant (0: to be found)."""

    rows: ko.NewFlows
    party: Array
    account: Array
    instrument: Array
    layer: Array
    payee: Array
    first_ts: Array
    victims: ko.Victims


def encoded(key: np.uint64, ordinals: Array) -> Array:
    """Published ids of ordinals: int64[n]."""
    out = np.empty(len(ordinals), np.int64)
    encode_ids(key, np.asarray(ordinals, np.int64), out)
    return out


def _own(pools: Pools, party: Array, device: Array, address: Array, owned: Array) -> tuple[Array, Array]:
    """A customer's device and address: those of the anchor when they are the customer's, else the first known ones."""
    first = pools.first_device[party - 1]
    mine = np.where(owned | (first == 0), device, first)
    known = pools.first_address[mine - 1] if len(mine) else mine
    return mine, np.where(owned | (known == 0), address, known)


def from_anchors(p2: Plan2, flows: Columns, tagged: kc.Tagged) -> Fresh:
    """New flows of episodes that start from an anchor."""
    pools, plan = p2.plan.pools, p2.plan
    new = tagged.row < 0
    a, c = tagged.anchor[new], tagged.campaign[new]
    origin = pools.tables["s4_device_base_6A"]["device_origin"]
    owned = origin[flows["device_id"][a] - 1] == plan.contracts.code("device_origin", "OWNED")
    party = flows["party_id"][a]
    device, address = _own(pools, party, flows["device_id"][a], flows["ip_id"][a], owned)
    shared = pools.shared_device[party - 1]
    parties = pools.tables["s1_party_base_6A"]
    victims = ko.Victims(
        city=parties["city_id"][party - 1],
        merchant=flows["merchant_id"][a],
        terminal=flows["terminal_id"][a],
        place=flows["city_id"][a],
        rail=flows["channel_group"][a] == pc.BANK_RAIL,
        device=device,
        address=address,
        shared=np.where(shared > 0, shared, device),
        ref=flows["amount_ref_minor"][a].astype(np.float64),
    )
    rows = ko.NewFlows(
        type=plan.campaigns.row[c],
        campaign=c,
        incident=tagged.incident[new],
        ordinal=tagged.ordinal[new],
        rank=tagged.rank[new],
        length=tagged.length[new],
        anchor_ts=flows["ts_utc"][a],
    )
    zero = np.zeros(len(a), np.int64)
    return Fresh(
        rows, party, flows["account_id"][a], flows["instrument_id"][a], zero.astype(np.int8), zero, zero, victims
    )


def from_legs(p2: Plan2, legs: kc.Legs) -> Fresh:
    """New flows of planned chains: the payer acts on an own device."""
    pools, plan = p2.plan.pools, p2.plan
    accounts, parties = pools.tables["s2_account_base_6A"], pools.tables["s1_party_base_6A"]
    party = accounts["owner_party_id"][legs.payer - 1]
    n = len(legs.payer)
    zero = np.zeros(n, np.int64)
    device = pools.first_device[party - 1]
    # A payer without a device acts on the first of all: ids must be whole.
    device = np.where(device > 0, device, 1)
    address = pools.first_address[device - 1] if n else zero
    victims = ko.Victims(
        city=parties["city_id"][party - 1],
        merchant=np.ones(n, np.int64),
        terminal=zero,
        place=pools.tables["merchants_1A"]["city_id"][zero],
        rail=np.zeros(n, np.bool_),
        device=device,
        address=np.where(address > 0, address, 1),
        shared=device,
        ref=legs.amount,
    )
    rows = ko.NewFlows(
        type=plan.campaigns.row[legs.campaign],
        campaign=legs.campaign,
        incident=legs.incident,
        ordinal=legs.ordinal,
        rank=(legs.layer - 1).astype(np.int16),
        length=np.ones(n, np.int16),
        anchor_ts=legs.ts,
    )
    return Fresh(rows, party, legs.payer, zero, legs.layer, legs.payee.copy(), legs.first_ts, victims)


def _join(a: Fresh, b: Fresh) -> Fresh:
    def both(x: Any, y: Any) -> Any:
        return type(x)(*(np.concatenate(pair) for pair in zip(x, y, strict=True)))

    names = ("party", "account", "instrument", "layer", "payee", "first_ts")
    columns = {k: np.concatenate([getattr(a, k), getattr(b, k)]) for k in names}
    return Fresh(rows=both(a.rows, b.rows), victims=both(a.victims, b.victims), **columns)


def weave_new(p2: Plan2, flows: Columns, tagged: kc.Tagged, legs: kc.Legs, evidence: EvidenceArray) -> Columns:
    """Columns of all new flows of a shard, in the order (episodes, legs): those of S3's anchors as far as the request
    goes, and `_ordinal`, `_incident`, `_campaign`, `_first_ts`, `_type`."""
    plan = p2.plan
    fresh = _join(from_anchors(p2, flows, tagged), from_legs(p2, legs))
    n = len(fresh.party)
    streams = kc.Streams(plan.decisions.keys, evidence)
    ts = np.empty(n, np.int64)
    ko.script_times(fresh.rows, p2.clocks, streams, ts)
    placed = ko.Placed(np.empty(n, np.int8), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64))
    ko.script_places(fresh.rows, plan.forms, plan.places, fresh.victims, streams, placed)
    device, address = np.empty(n, np.int64), np.empty(n, np.int64)
    ko.script_identities(fresh.rows, plan.identities, placed, fresh.victims, streams, device, address)
    types = (np.float64, np.float64, np.int8, np.bool_, np.bool_, np.bool_, np.int8, np.int8)
    room: list[Any] = [*(np.empty(n, k) for k in types), fresh.payee, np.empty(n), np.empty(n, np.bool_)]
    shown = ko.Shown(*room)
    ko.script_details(fresh.rows, plan.details, placed, fresh.victims, streams, shown)
    cols = empty_columns(plan.contracts.dataset("s3_flow_anchor_with_fraud_6B"), n)
    _identity(p2, cols, fresh, ts, device, address)
    _place(p2, cols, placed)
    _price(p2, cols, fresh, placed, shown)
    _request(p2, cols, placed, shown, plan.laws.token[fresh.rows.type])
    _payee(p2, cols, shown, placed)
    _provenance(p2, cols, fresh, placed, device, address)
    return cols


def _identity(p2: Plan2, cols: Columns, fresh: Fresh, ts: Array, device: Array, address: Array) -> None:
    keys, rows = p2.plan.keys, fresh.rows
    cols["_ordinal"] = rows.ordinal
    cols["_session_ordinal"] = rows.ordinal.copy()
    cols["_arrival_ordinal"] = rows.ordinal // 8
    cols["_incident"], cols["_campaign"], cols["_type"] = rows.incident, rows.campaign, rows.type
    head = np.flatnonzero(rows.rank == 0)
    first = fresh.first_ts.copy()
    episodes = first == 0
    start = np.zeros(len(ts), np.int64)
    start[head] = head
    first[episodes] = ts[np.maximum.accumulate(start)][episodes]
    cols["_first_ts"] = first
    cols["flow_id"] = encoded(keys["flow"], rows.ordinal)
    cols["session_id"] = encoded(keys["session"], rows.ordinal)
    cols["ts_utc"] = ts
    cols["party_id"], cols["account_id"] = fresh.party, fresh.account
    cols["instrument_id"] = fresh.instrument.copy()
    cols["device_id"], cols["ip_id"] = device, address


def _place(p2: Plan2, cols: Columns, placed: ko.Placed) -> None:
    """Merchant, place, channel, zone and instrument; then what follows from ids, by the rule of S2."""
    from fraudloom.states import s2

    pools, tables = p2.plan.pools, p2.plan.pools.tables
    merchants, cities, ips = tables["merchants_1A"], tables["cities_1B"], tables["s4_ip_base_6A"]
    m, city = placed.merchant - 1, placed.city - 1
    there = (placed.form == PRESENT) | (placed.form == CASH)
    channel = merchants["channel_group"][m]
    # A form decides the channel where the merchant's own does not: machines, rails, and what is forced on a merchant.
    fits = np.where(
        placed.form == REMOTE,
        (channel == pc.ECOM) | (channel == pc.HYBRID),
        (placed.form == PRESENT) & (channel == pc.POS),
    )
    plain = np.array([pc.ECOM, pc.POS, pc.ATM, pc.BANK_RAIL], np.int8)[placed.form]
    cols["merchant_id"], cols["terminal_id"], cols["city_id"] = placed.merchant, placed.terminal, placed.city
    cols["channel_group"] = np.where(fits, channel, plain).astype(np.int8)
    acting = np.where(there, city, ips["city_id"][cols["ip_id"] - 1] - 1)
    cols["tz"] = cities["tzid"][acting]
    rail = placed.form == TRANSFER
    cols["instrument_id"][rail] = pools.handle[cols["account_id"][rail] - 1]
    s2.derive(p2.plan.s2, cols)


def _price(p2: Plan2, cols: Columns, fresh: Fresh, placed: ko.Placed, shown: ko.Shown) -> None:
    """Amounts through the merchant's ending law; cash in notes and transfers as S2 makes them."""
    from fraudloom.states import s2

    plan = p2.plan
    own = plan.pools.tables["merchants_1A"]["ending_style"][placed.merchant - 1]
    style = np.where(plan.laws.round_ending[fresh.rows.type], pc.STYLE_ROUND, own).astype(np.int8)
    currency = cols["currency"]
    wanted = shown.amount / plan.s2.currency.ref_scale[currency]
    minor, ref = np.empty(len(own), np.int64), np.empty(len(own), np.int64)
    snap_amounts(wanted, style, currency, shown.ending, plan.s2.currency, plan.s2.amount, minor, ref)
    rows = ko.Prices(placed.form, currency, shown.purpose, wanted, shown.ending)
    ko.price_script(rows, plan.s2.currency, plan.s2.amount, minor, ref)
    s2.set_amounts(plan.s2, cols, minor, ref)


def _checked(asked: Array, right: Array) -> Array:
    """check_result codes: NOT_PRESENT unless asked."""
    return np.where(asked, np.where(right, pc.CHECK_MATCH, pc.CHECK_NO_MATCH), pc.CHECK_NOT_PRESENT)


def _request(p2: Plan2, cols: Columns, placed: ko.Placed, shown: ko.Shown, token: Array) -> None:
    """Entry mode, verification, 3-D Secure, exemption, checks and token, by the rules that S2 keeps."""
    rule = p2.plan.s2.observe
    remote, present, cash = placed.form == REMOTE, placed.form == PRESENT, placed.form == CASH
    entry = shown.entry.astype(np.int8)
    entry[remote & ~np.isin(entry, (pc.ENTRY_ECOM, pc.COF, pc.KEYED))] = pc.ENTRY_ECOM
    entry[present & ~np.isin(entry, (pc.CHIP, pc.CONTACTLESS, pc.FALLBACK, pc.KEYED))] = pc.CHIP
    entry[cash & ~np.isin(entry, (pc.CHIP, pc.CONTACTLESS, pc.FALLBACK))] = pc.CHIP
    tapped = (entry == pc.CONTACTLESS) & present & ~token
    entry[tapped & (cols["amount_ref_minor"] > rule.contactless_max)] = pc.CHIP
    tapped = (entry == pc.CONTACTLESS) & present & ~token
    entry[placed.form == TRANSFER] = pc.ENTRY_NONE
    cvm = np.full(len(entry), pc.CVM_NONE, np.int8)
    cvm[present & (entry == pc.CHIP)] = pc.PIN
    cvm[present & (entry == pc.FALLBACK)] = pc.SIGNATURE
    cvm[tapped] = pc.NO_CVM
    cvm[present & token] = pc.CVM_DEVICE
    cvm[cash] = pc.PIN
    asked = remote & (entry != pc.KEYED)
    cols["three_ds"][:] = np.where(
        asked, np.where(shown.secure, pc.TDS_FRICTIONLESS, pc.TDS_NOT_USED), pc.TDS_NOT_APPLICABLE
    )
    issuers = p2.plan.pools.tables["issuers_6A"]["country_iso"][cols["issuer_id"] - 1]
    both = rule.sca[issuers] & rule.sca[cols["merchant_country"]]
    exemption = np.where(both, pc.EX_NONE, pc.EX_OUT_OF_SCOPE).astype(np.int8)
    exemption[both & asked & ~shown.secure & (cols["amount_ref_minor"] <= rule.tra_max)] = pc.EX_TRA
    exemption[both & tapped] = pc.EX_LOW_VALUE
    exemption[remote & (entry == pc.KEYED)] = pc.EX_OUT_OF_SCOPE
    typed = remote & (entry != pc.COF)
    cols["cvv_result"][:] = _checked(typed, shown.cvv)
    cols["avs_result"][:] = _checked(typed & rule.address[issuers], shown.avs)
    cols["token_wallet"][:] = np.where(token & (present | cash), pc.DEVICE_TOKEN, pc.TOKEN_NONE)
    cols["entry_mode"], cols["cvm"], cols["sca_exemption"] = entry, cvm, exemption


def _payee(p2: Plan2, cols: Columns, shown: ko.Shown, placed: ko.Placed) -> None:
    tables = p2.plan.pools.tables
    accounts, parties = tables["s2_account_base_6A"], tables["s1_party_base_6A"]
    rail = placed.form == TRANSFER
    inside = rail & (shown.payee > 0) & (shown.payee <= len(accounts["account_id"]))
    at = np.where(inside, shown.payee, 1) - 1
    home = parties["country_iso"][cols["party_id"] - 1]
    bank = EXTERNAL_BANK + (shown.bank * p2.plan.s2.payee.banks).astype(np.int64)
    cols["payee_account_id"] = np.where(rail, shown.payee, 0)
    cols["payee_bank_id"] = np.where(rail, np.where(inside, accounts["issuer_id"][at], bank), 0).astype(np.int32)
    cols["payee_country"] = np.where(rail, np.where(inside, accounts["country_iso"][at], home), -1).astype(np.int8)
    cols["is_new_payee"] = shown.fresh
    cols["purpose"], cols["confirmation_of_payee"] = shown.purpose, shown.check


def _provenance(p2: Plan2, cols: Columns, fresh: Fresh, placed: ko.Placed, device: Array, address: Array) -> None:
    plan, rows, v = p2.plan, fresh.rows, fresh.victims
    code = plan.contracts.code
    there = placed.terminal > 0
    flags = np.zeros(len(device), np.int16)
    token = plan.laws.token[rows.type]
    flags[(device != v.device) & (~there | token)] |= F_DEVICE
    flags[(address != v.address) & (~there | token)] |= F_ADDRESS
    flags[there & (placed.city != v.city)] |= F_ROUTING
    flags[(placed.merchant != v.merchant) & (fresh.layer == 0)] |= F_MERCHANT
    cols["mutation_flags"] = flags
    cols["origin_type"] = np.full(len(device), code("origin_type", "PURE_FRAUD_FLOW"), np.int8)
    cols["mule_layer"] = fresh.layer
    cols["incident_rank"] = rows.rank
    cols["_length"] = rows.length
