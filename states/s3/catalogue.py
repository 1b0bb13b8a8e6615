"""The catalogue: what was planned and what the shards realised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.states.s3.policy import CHAIN, DISPUTE, REFUND, Array, Template
from fraudloom.states.s3.quotas import Plan2
from fraudloom.tables import Columns, empty_columns

CATALOGUE = "s3_campaign_catalogue_6B"


def target_kind(t: Template, contracts: Contracts) -> int:
    """What a type targets: accounts, flows, chains, or a merchant."""
    if t.mode == CHAIN:
        return contracts.code("target_kind", "CHAIN")
    if t.mode in (DISPUTE, REFUND):
        return contracts.code("target_kind", "FLOW")
    choice = t.script.get("merchant", {}).get("choice")
    return contracts.code("target_kind", "MERCHANT" if choice == "COLLUSIVE" else "ACCOUNT")


def add_realised(realised: Sequence[Mapping[str, Array]], campaigns: int) -> dict[str, Array]:
    """Sum what shards realised."""
    names = ("flows", "new_flows", "incidents")
    out = {k: np.zeros(campaigns, np.int64) for k in names}
    out["all_flows"] = np.zeros(1, np.int64)
    for shard in realised:
        out = {k: total + shard[k] for k, total in out.items()}
    return out


def catalogue(p2: Plan2, realised: Sequence[Mapping[str, Array]]) -> Columns:
    """Rows of s3_campaign_catalogue_6B in campaign_id order; `realised`: what each shard's frame holds."""
    plan, c = p2.plan, p2.plan.campaigns
    n = len(c.row)
    cols = empty_columns(plan.contracts.dataset(CATALOGUE), n)
    sums = add_realised(realised, n)
    templates = {t.row: t for t in plan.laws.templates}
    mine = [templates[int(r)] for r in c.row]
    for k, t in enumerate(mine):
        cols["template_id"][k] = t.template_id
        cols["campaign_label"][k] = f"{t.template_id}#{int(c.instance[k])}"
        cols["fraud_class"][k] = t.fraud_class
        cols["fraud_label"][k] = t.fraud_label
        cols["target_kind"][k] = target_kind(t, plan.contracts)
    cols["campaign_id"] = c.id
    cols["campaign_type"] = (c.row + 1).astype(np.int8)
    cols["instance_index"], cols["slot"] = c.instance, c.slot
    cols["window_start_utc"], cols["window_end_utc"] = c.start, c.end
    cols["lane_lo"], cols["lane_hi"] = c.lane_lo, c.lane_hi
    cols["merchant_id"], cols["ordinal_base"] = c.fixed, c.base
    cols["eligible_arrivals"] = p2.eligible.sum(axis=1).astype(np.int64)
    cols["planned_flows"] = p2.planned
    cols["realised_flows"], cols["realised_new_flows"] = sums["flows"], sums["new_flows"]
    cols["realised_incidents"] = sums["incidents"]
    cols["unfilled_flows"] = p2.planned - sums["flows"]
    cols["fraud_rate"] = sums["flows"] / max(int(sums["all_flows"][0]), 1)
    order = np.argsort(c.id)
    return {k: v[order] for k, v in cols.items()}
