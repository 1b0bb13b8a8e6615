"""What an imported world's manifest says about itself: which columns the log pins, and how the rest was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.importlog import CODED, NAMED, REQUIRED, ImportMap, LogRows

ARRIVALS = "arrival_events_5B"
#: Columns of the world that a column of the log is pinned to.
TARGETS: Mapping[str, tuple[str, ...]] = {
    "timestamp": (f"{ARRIVALS}.ts_utc",),
    "merchant": ("merchants_1A.merchant_name", f"{ARRIVALS}.merchant_id"),
    "card": ("s3_instrument_base_6A.external_ref", f"{ARRIVALS}.pinned_instrument_id"),
    "amount": (f"{ARRIVALS}.pinned_amount_minor", f"{ARRIVALS}.pinned_is_credit"),
    "mcc": ("merchants_1A.mcc",),
    "channel": (f"{ARRIVALS}.channel_group",),
    "merchant_country": ("merchants_1A.country_iso",),
    "currency": ("merchants_1A.currency",),
    "customer": ("s1_party_base_6A.external_ref", "s3_instrument_base_6A.owner_party_id"),
    "device": ("s4_device_base_6A.external_ref", f"{ARRIVALS}.pinned_device_id"),
    "ip": ("s4_ip_base_6A.external_ref", f"{ARRIVALS}.pinned_ip_id"),
    "zone": (f"{ARRIVALS}.zone_representation",),
    "fraud_label": (f"{ARRIVALS}.pinned_label",),
}
#: What stands where the log says nothing.
OTHERWISE: Mapping[str, str] = {
    "timestamp": "a date without a time is spread over the day by the profile of imports.demand_class",
    "merchant": "",
    "card": "",
    "amount": "",
    "mcc": "the first category that the log gives the merchant, else imports.mcc of the world policy",
    "channel": "the merchant's: that of most of its rows, else ECOM or POS drawn by the policy's shares",
    "merchant_country": "source.country of the map",
    "currency": "source.currency of the map",
    "customer": "the customer of the card's other rows, else one customer per card",
    "device": "a terminal of the outlet or a device of the customer, drawn by S1",
    "ip": "an address of the device, drawn by S1",
    "zone": "source.timezone of the map; at a till abroad, the zone of the outlet's city",
    "fraud_label": "none: truth is what the overlay does",
}
LABEL_MEANING = (
    "The label of a row is its flow's truth (fraud_label, by label_rule_id RULE_PINNED_LABEL): campaigns leave labelled"
    " flows alone, so that no synthetic label contradicts the log's. The bank's view stays synthetic: it never sees it."
)


def given_rows(spec: ImportMap, rows: LogRows, ours: str) -> int:
    """Rows in which the log gives a column."""
    if ours not in spec.columns:
        return 0
    if ours in NAMED:
        return int((rows.named[ours] >= 0).sum())
    if ours in CODED:
        return int((rows.coded[ours] >= 0).sum())
    return int((rows.mcc > 0).sum()) if ours == "mcc" else len(rows)


def provenance(contracts: Contracts, spec: ImportMap, rows: LogRows, tables: Mapping[str, int]) -> dict[str, Any]:
    """Facts of the manifest. `tables`: rows by dataset of the world.

    pinned, made: names, for people; log_columns: per column of the map what it is pinned to, in how many rows, and what
    holds elsewhere; table_columns: per table of the world its pinned and its made columns; labels: rows by label.
    """
    n, dates = len(rows), int(rows.dated.sum())
    known = {ours: given_rows(spec, rows, ours) for ours in TARGETS}
    log_columns = {
        ours: {
            "log_column": spec.columns.get(ours),
            "pinned_rows": known[ours],
            "made_rows": dates if ours == "timestamp" else n - known[ours],
            "pinned_to": list(targets) if ours in spec.columns else [],
            "otherwise": OTHERWISE[ours],
        }
        for ours, targets in TARGETS.items()
    }
    held = {target for ours, targets in TARGETS.items() if ours in spec.columns for target in targets}
    columns = {}
    for name in tables:
        all_of = [c.name for c in contracts.dataset(name).columns]
        pinned = [c for c in all_of if f"{name}.{c}" in held]
        columns[name] = {"pinned": pinned, "made": [c for c in all_of if c not in pinned]}
    partly = [o for o in TARGETS if o not in REQUIRED and 0 < known[o] < n]
    made = [o for o in ("mcc", "channel") if o not in spec.columns]
    made += [f"{o} of {n - known[o]} rows" for o in partly]
    made += ["time of day"] if dates else []
    made += [name for ours, name in (("customer", "party"), ("account", "account")) if ours not in spec.columns]
    made += [name for ours, name in (("device", "device"), ("ip", "address")) if ours not in spec.columns]
    facts: dict[str, Any] = {
        "pinned": [o for o in TARGETS if o in spec.columns],
        "made": made,
        "log_columns": log_columns,
        "table_columns": columns,
    }
    if "fraud_label" in spec.columns:
        labels = contracts.enum("fraud_label")
        count = np.bincount(rows.coded["fraud_label"] + 1, minlength=len(labels) + 1)
        by_label = {label: int(count[k + 1]) for k, label in enumerate(labels)} | {"none": int(count[0])}
        facts["labels"] = {"rows": by_label, "meaning": LABEL_MEANING}
    return facts
