"""Census and plan 2: how many flows each campaign gets in each shard."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np

from fraudloom.kernels.census import campaign_census, largest_remainder
from fraudloom.kernels.overlay import Clocks
from fraudloom.states.behaviour import cap_exceeded
from fraudloom.states.s3.plan import S3Plan, overlay_budget
from fraudloom.states.s3.policy import CHAIN, Array
from fraudloom.tables import Columns

#: Share of a campaign's places that consecutive flows are apart (the golden section spreads them).
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Plan2:
    """Quotas. plan: plan 1; domain: int64[types], census of each type's domain; eligible: int64[campaigns, shards];
    quota, base: int64[campaigns, shards], flows and ordinal of the first new flow; planned: int64[campaigns]."""

    plan: S3Plan
    domain: Array
    eligible: Array
    quota: Array
    base: Array
    planned: Array
    clocks: Clocks
    notes: tuple[str, ...] = ()


def census_new(plan: S3Plan) -> dict[str, Array]:
    """Zero counts: `domain` int64[types], `eligible` int64[campaigns, shards]."""
    return {
        "domain": np.zeros(plan.laws.types, np.int64),
        "eligible": np.zeros((len(plan.campaigns.row), plan.shards), np.int64),
    }


def census_add(plan: S3Plan, world: Any, attached: Columns, census: dict[str, Array]) -> None:
    """Add a batch of attached arrivals. Sums commute, so any split of the arrivals gives equal counts."""
    campaign_census(
        plan.domain,
        attached["ts_utc"],
        attached["account_id"],
        attached["channel_group"],
        attached["instrument_kind"],
        attached["pinned_is_credit"],
        attached["_shard"],
        census["domain"],
        census["eligible"],
    )


def census_merge(census: dict[str, Array], more: dict[str, Array]) -> None:
    """Add other counts."""
    for k, v in more.items():
        census[k] += v


def stride(n: int) -> int:
    """Smallest whole number from the golden section of n on that has no common factor with n; 1 for n < 3."""
    if n < 3:
        return 1
    s = max(int(n * GOLDEN), 1)
    while gcd(s, n) != 1:
        s += 1
    return s


def type_totals(plan: S3Plan, domain: Array) -> tuple[dict[int, np.int64], tuple[str, ...]]:
    """Quota of each type but chains, under the overlay's cap, and notes. DataError when the cap may not be clamped."""
    scheduled = set(plan.campaigns.row.tolist())
    totals = {
        t.row: np.int64(np.rint(t.share * float(domain[t.row])))
        for t in plan.laws.templates
        if t.mode != CHAIN and t.row in scheduled
    }
    budget = overlay_budget(plan.behaviour, plan.n_arrivals)
    if budget is None:
        return totals, plan.notes
    chains = int(plan.legs.planned.sum())
    wanted = sum(int(n) for n in totals.values())
    unclamped = [t.share * plan.n_arrivals for t in plan.laws.templates if t.mode == CHAIN and t.row in scheduled]
    asked = wanted + sum(round(x) for x in unclamped)
    if asked <= budget:
        return totals, plan.notes
    cap = f"{plan.behaviour.overlay_share} of {plan.n_arrivals} arrivals"
    if not plan.behaviour.clamp:
        raise cap_exceeded("S3", "overlay_share", f"{asked} overlay flows planned", f"at most {budget}, {cap}")
    note = f"caps.overlay_share: {asked} overlay flows planned, {budget} allowed ({cap})"
    room = budget - chains
    if wanted > room:
        totals = {row: np.int64(int(n) * room // wanted) for row, n in totals.items()}
    return totals, (*plan.notes, note)


def plan2(plan: S3Plan, census: dict[str, Array]) -> Plan2:
    """Quota of a type = share x census, half to even; split over campaigns and then shards by largest remainder."""
    c = plan.campaigns
    domain, eligible = census["domain"], census["eligible"]
    quota = np.zeros_like(eligible)
    planned = plan.legs.planned.copy()
    totals, notes = type_totals(plan, domain)
    for t in plan.laws.templates:
        mine = np.flatnonzero(c.row == t.row)
        if t.mode == CHAIN or not len(mine):
            continue
        total = totals[t.row]
        split = np.zeros(len(mine), np.int64)
        whole = eligible[mine].sum(axis=1).astype(np.float64)
        largest_remainder(total, whole * c.size[mine], split)
        if not split.sum():
            split[:1] = total
        planned[mine] = split
        for k, campaign in enumerate(mine):
            largest_remainder(split[k], eligible[campaign].astype(np.float64), quota[campaign])
    base = c.base[:, None] + np.cumsum(quota, axis=1) - quota
    laws = plan.laws
    clocks = Clocks(
        kind=laws.clock,
        delay=laws.delay,
        gap=laws.gap,
        step=laws.step,
        jitter=laws.jitter,
        start=c.start,
        end=c.end,
        base=c.base,
        planned=planned,
        stride=np.array([stride(int(n)) for n in planned], np.int64),
    )
    return Plan2(plan, domain, eligible, quota, base.astype(np.int64), planned, clocks, notes)
