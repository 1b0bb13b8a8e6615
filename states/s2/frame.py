"""The flow frame: what a flow's columns are before the issuer sees it (sections 1 to 4 of contracts/laws/s2.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudloom.kernels import flows as kf
from fraudloom.kernels.amounts import AmountKeys, price_flows, snap_amounts
from fraudloom.kernels.idmap import encode_ids
from fraudloom.kernels.payment_codes import CARD_CREDIT, T_GOODWILL, T_MERGED, TDS_CHALLENGED, TDS_FRICTIONLESS
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s2.plan import S2Plan
from fraudloom.states.s2.tables import Array, own_columns
from fraudloom.tables import Columns, empty_columns

FLOWS = "s2_flow_anchor_baseline_6B"
EVENTS = "s2_event_stream_baseline_6B"
LINKS = "s2_arrival_flow_link_6B"
#: Flow columns that are the first arrival's.
CARRIED = (
    *("merchant_id", "arrival_seq", "party_id", "account_id", "instrument_id", "device_id", "ip_id", "ts_utc"),
    *("session_id", "channel_group", "city_id", "terminal_id", "series_key"),
)


@dataclass(frozen=True)
class S2Frame:
    """Flows in (ts_utc, flow_id) order with `_ordinal`, `_arrival_ordinal`, `_session_ordinal`; events in (ts_utc,
    flow_id, event_seq) order with `_flow_row`; links row-aligned with the arrivals."""

    flows: Columns
    events: Columns
    links: Columns


def time_rows(ts: Array, tie: Array) -> Array:
    """Rows by (ts, tie), int64[n]; the identity when they stand so already (as they nearly do)."""
    n = len(ts)
    if n < 2 or bool(np.all((ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & (tie[1:] > tie[:-1])))):
        return np.arange(n, dtype=np.int64)
    return np.lexsort((tie, ts)).astype(np.int64)


def _group(plan: S2Plan, arrivals: Columns, sessions: int, evidence: EvidenceArray) -> tuple[kf.FlowGroups, int]:
    n = len(arrivals["ts_utc"])
    columns = kf.ArrivalColumns(
        ordinal=arrivals["_ordinal"],
        ts=arrivals["ts_utc"],
        session=arrivals["_session_row"],
        merchant=arrivals["merchant_id"],
        instrument=arrivals["instrument_id"],
        series=arrivals["series_key"],
        channel=arrivals["channel_group"],
        pinned=arrivals["pinned_instrument_id"] > 0,
    )
    groups = kf.FlowGroups(
        flow=np.empty(n, np.int64),
        rank=np.empty(n, np.int16),
        first=np.empty(n, np.int64),
        size=np.empty(n, np.int16),
        goodwill=np.empty(n, np.bool_),
    )
    last = np.full(sessions, -1, np.int64)
    flows = int(kf.assign_flows(columns, plan.group, plan.keys, evidence, last, groups))
    return groups, flows


def instrument_facts(plan: S2Plan, flows: Columns) -> tuple[Array, Array, Array]:
    """(kind, product, scheme) codes of each flow's instrument, int8[n], -1 where there is none."""
    out = []
    held = flows["instrument_id"] > 0
    row = np.where(held, flows["instrument_id"] - 1, 0)
    for name in ("instrument_kind", "instrument_type", "scheme"):
        values = plan.world.instruments[name]
        out.append(np.where(held, values[row], -1).astype(np.int8) if len(values) else np.full(len(row), -1, np.int8))
    return out[0], out[1], out[2]


def derive(plan: S2Plan, flows: Columns) -> None:
    """Set the columns that follow from ids alone: routing, place and currency. For rows whose ids were changed too."""
    w = plan.world
    merchant = flows["merchant_id"] - 1
    held = flows["instrument_id"] > 0
    row = np.where(held, flows["instrument_id"] - 1, 0)
    some = len(w.instruments["bin"]) > 0
    for name in ("mcc", "acquirer_id", "currency"):
        flows[name] = w.merchants[name][merchant]
    flows["merchant_country"] = w.city_country[flows["city_id"] - 1]
    account = w.account_issuer[flows["account_id"] - 1]
    flows["issuer_id"] = np.where(held, w.instruments["issuer_id"][row], account) if some else account
    numbers = np.where(held, w.instruments["bin"][row], 0) if some else np.zeros(len(row))
    flows["bin"] = numbers.astype(np.int32)


def observe(plan: S2Plan, flows: Columns, evidence: EvidenceArray) -> None:
    """Set entry_mode, cvm, three_ds, sca_exemption, cvv_result, avs_result and token_wallet of every row, in place.

    Needs `_ordinal`, ids, channel_group, series_key, amount_ref_minor, merchant_country, issuer_id, purpose and
    is_new_payee. Draws FLOW_OBSERVABLES for every row.
    """
    kind, product, _ = instrument_facts(plan, flows)
    keys = kf.RequestKeys(
        ordinal=flows["_ordinal"],
        series=flows["series_key"],
        amount_ref=flows["amount_ref_minor"],
        channel=flows["channel_group"],
        kind=kind,
        product=product,
        issuer_country=plan.world.issuer_country[flows["issuer_id"] - 1],
        merchant_country=flows["merchant_country"],
        purpose=flows["purpose"],
        new_payee=flows["is_new_payee"],
    )
    names = ("entry_mode", "cvm", "three_ds", "sca_exemption", "cvv_result", "avs_result", "token_wallet")
    out = kf.ObservedColumns(*(np.empty(len(kind), np.int8) for _ in names))
    kf.observe_flows(keys, plan.observe, plan.keys, evidence, out)
    flows.update(dict(zip(names, out, strict=True)))


def choose_payees(plan: S2Plan, flows: Columns, evidence: EvidenceArray) -> None:
    """Set the payee columns of every row, in place (nulls off BANK_RAIL). Draws PAYEE or
    PAYEE_SERIES for rows of BANK_RAIL."""
    n = len(flows["_ordinal"])
    types = (np.int64, np.int32, np.int8, np.bool_, np.int8, np.int8)
    out = kf.PayeeColumns(*(np.empty(n, t) for t in types))
    columns = (flows["_ordinal"], flows["channel_group"], flows["party_id"], flows["series_key"])
    kf.choose_payees(*columns, plan.payee_tables, plan.payee, plan.keys, evidence, out)
    names = ("payee_account_id", "payee_bank_id", "payee_country", "is_new_payee", "purpose", "confirmation_of_payee")
    flows.update(dict(zip(names, out, strict=True)))


def set_amounts(plan: S2Plan, flows: Columns, minor: Array, ref: Array) -> None:
    """Set amount_minor, amount_ref_minor and amount (major units: minor over the currency's minor units)."""
    flows["amount_minor"], flows["amount_ref_minor"] = minor, ref
    flows["amount"] = minor / plan.currency.minor[flows["currency"]]


def price(plan: S2Plan, flows: Columns, pinned: Array, goodwill: Array, evidence: EvidenceArray) -> None:
    """Set the amounts of every row (law, section 3). pinned: int64[n] minor units (0 none); goodwill: bool[n]."""
    keys = AmountKeys(
        ordinal=flows["_ordinal"],
        series=flows["series_key"],
        merchant=flows["merchant_id"],
        party=flows["party_id"],
        city=flows["city_id"],
        pinned=pinned,
        channel=flows["channel_group"],
        currency=flows["currency"],
        purpose=flows["purpose"],
        goodwill=goodwill,
    )
    minor, ref = np.empty((2, len(pinned)), np.int64)
    price_flows(keys, plan.amount_tables, plan.currency, plan.amount, plan.keys, evidence, minor, ref)
    set_amounts(plan, flows, minor, ref)


def ending_amounts(plan: S2Plan, merchant: Array, currency: Array, minor: Array, u: Array) -> tuple[Array, Array]:
    """Wanted amounts put through each merchant's ending law: (minor, reference minor) int64[n].

    merchant: int64[n] ids; currency: int8[n]; minor: float64[n] wanted minor units; u: float64[n] in (0, 1).
    """
    out, ref = np.empty((2, len(merchant)), np.int64)
    style = plan.amount_tables.style[merchant - 1]
    snap_amounts(minor, style, currency, u, plan.currency, plan.amount, out, ref)
    return out, ref


def plan_flows(plan: S2Plan, arrivals: Columns, sessions: Columns, evidence: EvidenceArray) -> tuple[Columns, Columns]:
    """(flows in (ts, ordinal) order, links): every column up to what the request shows; the issuer's are still null.

    Rows stand in the order of their first arrival; `_ordinal`, `_arrival_ordinal` and `_session_ordinal` are set.
    """
    arrivals = dict(arrivals)
    own_columns(arrivals)
    groups, m = _group(plan, arrivals, len(sessions["session_id"]), evidence)
    first = groups.first[:m]
    flows = empty_columns(plan.contracts.dataset(FLOWS), m)
    for name in CARRIED:
        flows[name] = arrivals[name][first]
    flows["tz"] = arrivals["zone_representation"][first]
    flows["arrival_count"] = groups.size[:m].copy()
    flows["is_pinned"] = arrivals["pinned_instrument_id"][first] > 0
    flows["pinned_label"] = arrivals["pinned_label"][first]
    flows["_arrival_ordinal"] = arrivals["_ordinal"][first]
    flows["_ordinal"] = flows["_arrival_ordinal"] * 8
    flows["_session_ordinal"] = sessions["_ordinal"][arrivals["_session_row"][first]]
    encode_ids(plan.id_key, flows["_ordinal"], flows["flow_id"])
    goodwill = groups.goodwill[:m]
    credit = goodwill | (arrivals["pinned_is_credit"][first] & flows["is_pinned"])
    flows["flow_type"] = np.where(credit, CARD_CREDIT, 0).astype(np.int8)
    merged = flows["arrival_count"] > 1
    flows["branch_trace"] = (merged * T_MERGED + goodwill * T_GOODWILL).astype(np.int32)
    derive(plan, flows)
    choose_payees(plan, flows, evidence)
    price(plan, flows, np.where(flows["is_pinned"], arrivals["pinned_amount_minor"][first], 0), goodwill, evidence)
    observe(plan, flows, evidence)
    links = {
        "merchant_id": arrivals["merchant_id"],
        "arrival_seq": arrivals["arrival_seq"],
        "flow_id": flows["flow_id"][groups.flow],
        "session_id": arrivals["session_id"],
        "link_rank": groups.rank,
    }
    return flows, links


def requested_three_ds(flows: Columns) -> Array:
    """three_ds as the request carried it: a challenge is the issuer's answer to a frictionless request. int8[n]."""
    tds = flows["three_ds"]
    return np.where(tds == TDS_CHALLENGED, TDS_FRICTIONLESS, tds).astype(np.int8)
