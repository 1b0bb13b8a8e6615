"""Mule chains: scripted by the plan, each leg woven in its payer's shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fraudloom.kernels import campaigns as kc
from fraudloom.kernels.census import largest_remainder
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s3.policy import CHAIN, Array, Laws, Template
from fraudloom.states.s3.pools import Pools, table


class Legs:
    """All legs in (shard, ordinal) order: `rows` (kernel's Legs), windows `ptr` int64[shards + 1], and by campaign the
    legs `planned` and those that had no payer (`missing`)."""

    def __init__(self, rows: kc.Legs, ptr: Array, planned: Array, missing: Array) -> None:
        self.rows, self.ptr, self.planned, self.missing = rows, ptr, planned, missing

    def of_shard(self, shard: int) -> kc.Legs:
        """Legs whose payer lives in a shard."""
        window = slice(int(self.ptr[shard]), int(self.ptr[shard + 1]))
        return kc.Legs(*(a[window] for a in self.rows))


def empty_legs(n: int) -> kc.Legs:
    """Room for n legs."""
    kinds = (np.int32, np.int64, np.int64, np.int64, np.int64, np.int8, np.int64, np.int64, np.float64)
    return kc.Legs(*(np.zeros(n, k) for k in kinds))


def chain_numbers(t: Template, laws: Laws, start: int, end: int) -> kc.Chains:
    """Numbers of a chain template for the kernel."""
    numbers: list[Any] = [float(x) for x in laws.amount[t.row]]
    numbers += [float(t.clock["pass_lo"]), float(t.clock["pass_hi"])]
    numbers += [float(x) for x in laws.gap[t.row]]
    numbers += [int(t.clock["legs_lo"]), int(t.clock["legs_hi"]), start, end]
    return kc.Chains(*numbers)


def plan_chains(
    laws: Laws, pools: Pools, campaigns: Any, domain: Any, keys: Array, evidence: EvidenceArray, facts: Sequence[int],
    world: Any,
) -> Legs:  # fmt: skip
    """Script all chains of a scenario. `facts`: (arrivals, start, end of the horizon, most legs)."""
    n_arrivals, start, end, most = facts
    count = len(campaigns.row)
    planned, missing = np.zeros(count, np.int64), np.zeros(count, np.int64)
    parts: list[kc.Legs] = []
    for t in laws.templates:
        mine = np.flatnonzero(campaigns.row == t.row)
        if t.mode != CHAIN or not len(mine):
            continue
        quota = np.zeros(len(mine), np.int64)
        legs_wanted = min(np.int64(np.rint(t.share * n_arrivals)), np.int64(most))
        largest_remainder(legs_wanted, campaigns.size[mine], quota)
        planned[mine] = quota
        fits = (domain.account_bits >> t.row) & 1 == 1
        for k, c in enumerate(mine):
            victims = np.flatnonzero(fits & (domain.campaign_of == c)).astype(np.int64) + 1
            mules = np.ascontiguousarray(pools.mules[k :: len(mine)])
            if not (len(victims) and len(mules) and quota[k]):
                missing[c] = quota[k]
                continue
            legs = empty_legs(int(quota[k]))
            streams = kc.Streams(keys, evidence)
            numbers = chain_numbers(t, laws, start, end)
            kc.mule_chains(np.int32(c), quota[k], campaigns.base[c], (victims, mules), numbers, streams, legs)
            parts.append(legs)
    whole = kc.Legs(*(np.concatenate(columns) for columns in zip(empty_legs(0), *parts, strict=True)))
    owner = table(world, "s2_account_base_6A")["owner_party_id"]
    shard = world.party_shard[owner[whole.payer - 1] - 1] if len(whole.payer) else np.zeros(0, np.int64)
    order = np.lexsort((whole.ordinal, shard))
    ptr = np.searchsorted(shard[order], np.arange(int(world.shards) + 1)).astype(np.int64)
    return Legs(kc.Legs(*(a[order] for a in whole)), ptr, planned, missing)
