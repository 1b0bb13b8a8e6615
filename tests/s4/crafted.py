"""Crafted worlds, policies and frames for the tests of S4: every branch of the bank occurs, without a built world."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.kernels.idmap import encode_ids
from fraudloom.policies_api import packs_root, read_yaml
from fraudloom.rng import Streams
from fraudloom.states.s4 import S4Plan, compile_plan
from fraudloom.tables import Columns, empty_columns

DAY = 86_400_000_000
HOUR = 3_600_000_000
SECOND = 1_000_000
START_DAY = 20_454  # 2026-01-01
START = START_DAY * DAY
DAYS = 90
END = START + DAYS * DAY
PARTIES, MERCHANTS, ISSUERS = 400, 60, 4
POLICIES = (
    "truth_labelling_policy_6B",
    "bank_view_policy_6B",
    "delay_models_6B",
    "case_policy_6B",
    "label_rng_policy_6B",
)
CONTRACTS: Contracts = load_contracts()
STREAMS = Streams("ab" * 32, 42, "baseline_v1")
FIRST_PARTY = ("SYNTHETIC_BUST_OUT", "FRIENDLY_FRAUD", "REFUND_ABUSE", "PROMO_FRAUD", "BONUS_ABUSE")
CLASS_OF = {
    "NONE": "NONE",
    "APP_SCAM": "AUTHORISED_SCAM",
    "MERCHANT_COLLUSION": "MERCHANT",
    "MULE_ACTIVITY": "MULE",
    **dict.fromkeys(FIRST_PARTY, "FIRST_PARTY"),
}


def code(enum: str, label: str) -> int:
    """Code of a label."""
    return CONTRACTS.code(enum, label)


def documents() -> dict[str, Any]:
    """Plain data of the five policies as shipped, fresh."""
    return {p: copy.deepcopy(read_yaml(Path(packs_root()) / "default" / f"{p}.yaml")) for p in POLICIES}


def pack(docs: Mapping[str, Any]) -> Any:
    """What `compile_plan` needs of a pack."""
    return SimpleNamespace(docs=docs, doc=lambda policy_id: docs[policy_id])


def world() -> Any:
    """Tables that S4 reads: two countries with a zone each, weekends off, four issuers."""
    gb, us = code("country_iso", "GB"), code("country_iso", "US")
    days = np.arange(START_DAY, START_DAY + DAYS + 240, dtype=np.int32)
    weekday = ((days + 3) % 7).astype(np.int8)
    calendar = {
        "country_iso": np.repeat(np.array([gb, us], np.int8), len(days)),
        "day": np.tile(days, 2),
        "is_business_day": np.tile(weekday < 5, 2),
    }
    zones = ("Europe/London", "America/New_York", "UTC")
    offsets = {
        "tzid": np.array([code("tzid", z) for z in zones], np.int8),
        "from_utc": np.full(3, START - 2 * DAY, np.int64),
        "offset_s": np.array([0, -18_000, 0], np.int32),
    }
    cities = {
        "city_id": np.array([1, 2], np.int64),
        "country_iso": np.array([gb, us], np.int8),
        "tzid": offsets["tzid"][:2],
        "population_weight": np.array([0.5, 0.5]),
    }
    demand = np.arange(MERCHANTS) % len(CONTRACTS.enum("demand_class"))
    tables = {
        "calendar_3B": calendar,
        "zone_offsets_2A": offsets,
        "cities_1B": cities,
        "issuers_6A": {"country_iso": np.array([gb, us, gb, us], np.int8)},
        "s5_party_fraud_roles_6A": {"fraud_role_party": (np.arange(PARTIES) % 5).astype(np.int8)},
        "merchant_class_profile_5A": {"primary_demand_class": demand.astype(np.int8)},
    }
    return SimpleNamespace(tables=tables, end_us=END)


def plan(change: Callable[[dict[str, Any]], None] | None = None) -> S4Plan:
    """The shipped policies, changed in place by `change`, compiled on the crafted world."""
    docs = documents()
    if change is not None:
        change(docs)
    return compile_plan(pack(docs), world(), STREAMS, CONTRACTS)


def blank_flows(n: int) -> Columns:
    """n genuine, approved, cleared card payments at a chip terminal, an hour apart, each of its own instrument."""
    flows = empty_columns(CONTRACTS.dataset("s3_flow_anchor_with_fraud_6B"), n)
    for c in CONTRACTS.dataset("s3_flow_anchor_with_fraud_6B").columns:
        if c.enum and not c.nullable:
            flows[c.name] = np.zeros(n, np.int8)
    ordinal = np.arange(n, dtype=np.int64) * 8
    ids = np.empty(n, np.int64)
    encode_ids(STREAMS.key("identity", "flow"), ordinal, ids)
    flows["_ordinal"], flows["flow_id"] = ordinal, ids
    flows["ts_utc"] = START + np.arange(n, dtype=np.int64) * HOUR
    flows["response_ts_utc"] = flows["ts_utc"] + SECOND
    flows["clear_ts_utc"] = flows["ts_utc"] + 2 * DAY
    for name in ("merchant_id", "party_id", "issuer_id"):
        flows[name] = np.ones(n, np.int64)
    flows["account_id"] = np.arange(1, n + 1, dtype=np.int64)
    flows["instrument_id"] = np.arange(1, n + 1, dtype=np.int64)
    flows["flow_type"].fill(code("flow_type", "CARD_AUTH_CLEAR"))
    flows["flow_outcome"].fill(code("flow_outcome", "AUTH_SETTLED"))
    flows["channel_group"].fill(code("channel_group", "POS"))
    flows["entry_mode"].fill(code("entry_mode", "CHIP"))
    flows["response_code"].fill(code("response_code", "00"))
    for name in ("amount_minor", "amount_ref_minor", "cleared_minor"):
        flows[name] = np.full(n, 5_000, np.int64)
    flows["origin_flow_id"] = ids.copy()
    return flows


def tag(flows: Columns, rows: Any, pattern: str) -> None:
    """Make rows part of a campaign of a pattern."""
    flows["fraud_flag"][rows] = True
    flows["campaign_id"][rows] = 77
    flows["incident_id"][rows] = 78
    flows["fraud_pattern_type"][rows] = code("campaign_type", pattern)
    flows["fraud_class"][rows] = code("fraud_class", CLASS_OF.get(pattern, "THIRD_PARTY"))


def report(flows: Columns, rows: Any, door: str, after: int) -> None:
    """Let rows be reported to the bank through a door, so long after the flow."""
    flows["report_ts_utc"][rows] = flows["ts_utc"][rows] + after
    flows["report_door"][rows] = code("report_source", door)


def decline(flows: Columns, rows: Any, response: str = "59") -> None:
    """Decline rows: nothing is cleared."""
    flows["auth_decision"][rows] = code("auth_decision", "DECLINE")
    flows["response_code"][rows] = code("response_code", response)
    flows["flow_outcome"][rows] = code("flow_outcome", "AUTH_DECLINED")
    flows["clear_ts_utc"][rows] = 0
    flows["cleared_minor"][rows] = 0


def events_of(flows: Columns) -> Columns:
    """AUTH_REQUEST, AUTH_RESPONSE, CLEARING and REFUND events of flows, sorted as published."""
    parts = []
    spec = (
        ("AUTH_REQUEST", "ts_utc", 0),
        ("AUTH_RESPONSE", "response_ts_utc", 1),
        ("CLEARING", "clear_ts_utc", 2),
        ("REFUND", "refund_ts_utc", 3),
    )
    for kind, column, place in spec:
        rows = np.flatnonzero(flows[column] != 0)
        parts.append((rows, np.full(len(rows), code("event_type", kind), np.int8), flows[column][rows], place))
    row = np.concatenate([p[0] for p in parts])
    kind = np.concatenate([p[1] for p in parts])
    ts = np.concatenate([p[2] for p in parts])
    order = np.lexsort((np.concatenate([np.full(len(p[0]), p[3]) for p in parts]), row))
    row, kind, ts = row[order], kind[order], ts[order]
    start = np.searchsorted(row, row)
    inserted = (kind == code("event_type", "REFUND")) & ((flows["mutation_flags"][row] & 64) != 0)
    order = np.lexsort((np.arange(len(row)), flows["flow_id"][row], ts))
    return {
        "flow_id": flows["flow_id"][row][order],
        "event_seq": (np.arange(len(row)) - start).astype(np.int32)[order],
        "event_type": kind[order],
        "ts_utc": ts[order],
        "is_fraud_event": (flows["fraud_flag"][row] | inserted)[order],
        "_flow_row": row[order].astype(np.int64),
    }


def frame(flows: Columns) -> Any:
    """What S3 hands on, as far as S4 reads it."""
    return SimpleNamespace(flows=flows, events=events_of(flows))


def mixed_flows(n: int, seed: int = 1, plain: float = 0.0) -> Columns:
    """n flows of every kind: channels, entry modes, declines, blocks, alerts, holds, campaigns of all patterns.

    `plain`: share of flows that are left genuine and quiet.
    """
    rng = np.random.default_rng(seed)
    flows = blank_flows(n)
    flows["ts_utc"] = np.sort(START + rng.integers(0, DAYS * DAY, n))
    flows["response_ts_utc"] = flows["ts_utc"] + rng.integers(200_000, 40 * SECOND, n)
    flows["clear_ts_utc"] = flows["ts_utc"] + rng.integers(HOUR, 4 * DAY, n)
    flows["merchant_id"] = rng.integers(1, MERCHANTS + 1, n)
    flows["party_id"] = rng.integers(1, PARTIES + 1, n)
    flows["account_id"] = flows["party_id"] * 2 + rng.integers(0, 2, n) - 1
    flows["instrument_id"] = flows["account_id"] * 2 - rng.integers(0, 2, n)
    flows["issuer_id"] = rng.integers(1, ISSUERS + 1, n)
    flows["amount_minor"] = rng.integers(100, 200_000, n)
    flows["amount_ref_minor"] = flows["amount_minor"].copy()
    flows["cleared_minor"] = flows["amount_minor"].copy()
    flows["channel_group"] = rng.integers(0, 5, n).astype(np.int8)
    flows["entry_mode"] = rng.integers(1, len(CONTRACTS.enum("entry_mode")), n).astype(np.int8)
    flows["cvm"] = rng.integers(0, len(CONTRACTS.enum("cvm")), n).astype(np.int8)
    flows["three_ds"] = rng.integers(0, len(CONTRACTS.enum("three_ds")), n).astype(np.int8)
    flows["series_key"] = np.where(rng.random(n) < 0.2, 5, 0)
    odd = rng.random(n) >= plain
    rail = flows["channel_group"] == code("channel_group", "BANK_RAIL")
    flows["flow_outcome"][rail] = code("flow_outcome", "TRANSFER_COMPLETED")
    flows["clear_ts_utc"][rail] = 0
    flows["cleared_minor"][rail] = 0
    flows["instrument_id"][rail & (rng.random(n) < 0.5)] = 0
    atm = flows["channel_group"] == code("channel_group", "ATM")
    flows["flow_outcome"][atm] = code("flow_outcome", "CASH_DISPENSED")
    u = rng.random(n)
    decline(flows, np.flatnonzero(odd & (u < 0.10)), "51")
    decline(flows, np.flatnonzero(odd & (u < 0.05)))
    flows["block_state"][odd & (u < 0.02)] = code("block_state", "REPORT")
    flows["alerted"] |= odd & (u > 0.93)
    held = rail & odd & (u > 0.85)
    flows["payment_state"][held] = code("payment_state", "HELD")
    flows["flow_outcome"][held] = code("flow_outcome", "TRANSFER_HELD")
    back = rail & odd & (u > 0.75) & ~held
    flows["flow_outcome"][back] = code("flow_outcome", "TRANSFER_RETURNED")
    refunded = odd & (flows["cleared_minor"] > 0) & (rng.random(n) < 0.1)
    flows["refunded_minor"][refunded] = flows["cleared_minor"][refunded] // rng.integers(1, 3, int(refunded.sum()))
    flows["refund_ts_utc"][refunded] = flows["clear_ts_utc"][refunded] + DAY
    patterns = CONTRACTS.enum("campaign_type")
    chosen = rng.integers(1, len(patterns), n)
    bad = odd & (rng.random(n) < 0.4)
    for k, pattern in enumerate(patterns):
        tag(flows, np.flatnonzero(bad & (chosen == k)), pattern)
    mule = flows["fraud_pattern_type"] == code("campaign_type", "MULE_ACTIVITY")
    flows["mule_layer"][mule] = 1
    inserted = (flows["fraud_pattern_type"] == code("campaign_type", "REFUND_ABUSE")) & (flows["refund_ts_utc"] != 0)
    flows["mutation_flags"][inserted] = 64
    told = bad & (rng.random(n) < 0.7)
    late = rng.integers(HOUR, 118 * DAY, n)
    network = told & (rng.random(n) < 0.3)
    report(flows, np.flatnonzero(told & ~network), "CUSTOMER", late[told & ~network])
    report(flows, np.flatnonzero(network), "NETWORK", late[network])
    taken = np.flatnonzero((flows["fraud_pattern_type"] == code("campaign_type", "ATO")) & told)
    for step in (1, 2, 3):  # the next flows of an account that was taken over
        after = taken[taken + step < n] + step
        flows["account_id"][after] = flows["account_id"][after - step]
    return flows
