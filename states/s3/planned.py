"""What the planned overlay adds to the census of busy merchants and addresses: contracts/laws/s3.md, section 4.

The plan fixes how many flows a campaign makes, in which window, at which merchant and from which addresses; it draws
none of them. So the census gains the plan's even schedule, the same whatever shards, workers or victims there are.
"""

from __future__ import annotations

import numpy as np

from fraudloom.kernels.census import largest_remainder
from fraudloom.kernels.overlay import ADDRESS_GROUPS, ADDRESS_OWN, CLOCK_CAMPAIGN
from fraudloom.states.s3.policy import CHAIN, NEW, Array
from fraudloom.states.s3.quotas import Plan2

Busy = dict[str, Array]
Stamped = tuple[Array, Array]


def schedule(p2: Plan2, c: int) -> Array:
    """Instants at which a campaign's flows are planned, int64[planned] (us): even steps from its start, of its clock's
    gap where that is shorter."""
    clocks, kind = p2.clocks, p2.plan.campaigns.row[c]
    count = int(p2.planned[c])
    step = (int(clocks.end[c]) - int(clocks.start[c]) - 1) // max(count, 1)
    if clocks.kind[kind] == CLOCK_CAMPAIGN:
        step = min(int(clocks.step[kind]), step)
    instants: Array = int(clocks.start[c]) + np.arange(count, dtype=np.int64) * step
    return instants


def dealt_addresses(p2: Plan2, c: int, ts: Array) -> Stamped:
    """Addresses that a campaign is planned to use, and instants, int64[m] each: its flows are split over its windows of
    groups by largest remainder, and each address's spread evenly over the schedule. Own ones are the victims'."""
    plan, kind = p2.plan, p2.plan.campaigns.row[c]
    laws, pools = plan.laws, plan.pools
    spread, own, cum = int(laws.address_spread[kind]), float(laws.address_own[kind]), laws.groups[kind]
    weight = np.diff(cum, prepend=0.0) / cum[-1] * (1.0 - own) / spread
    count = np.zeros(1 + len(weight) * spread, np.int64)
    largest_remainder(np.int64(len(ts)), np.concatenate([[own], np.repeat(weight, spread)]), count)
    size = np.diff(pools.group_at)
    group, k = np.divmod(np.arange(len(weight) * spread), spread)
    used = np.flatnonzero((count[1:] > 0) & (size[group] > 0))
    group, k, count = group[used], k[used], count[1:][used]
    row = pools.group_at[group] + (int(plan.campaigns.address_at[c]) + k) % size[group]
    before = np.cumsum(count) - count
    rank = np.arange(int(count.sum()), dtype=np.int64) - np.repeat(before, count)
    return np.repeat(pools.addresses[row], count), ts[rank * len(ts) // np.repeat(count, count)]


def planned_places(p2: Plan2) -> tuple[Stamped, Stamped]:
    """Merchants and instants, addresses and instants of the planned overlay: int64 arrays."""
    plan, none = p2.plan, np.zeros(0, np.int64)
    merchants: list[Stamped] = [(none, none)]
    addresses: list[Stamped] = [(none, none)]
    mode = {t.row: t.mode for t in plan.laws.templates}
    for c, kind in enumerate(plan.campaigns.row.tolist()):
        if mode[kind] != NEW or p2.planned[c] == 0:
            continue
        ts = schedule(p2, c)
        fixed = int(plan.campaigns.fixed[c])
        if fixed:
            merchants.append((np.full(len(ts), fixed, np.int64), ts))
        if plan.laws.address[kind] == ADDRESS_GROUPS:
            addresses.append(dealt_addresses(p2, c, ts))
    legs, pools = plan.legs.rows, plan.pools
    owner = pools.tables["s2_account_base_6A"]["owner_party_id"]
    device = pools.first_device[owner[legs.payer - 1] - 1] if len(legs.payer) else none
    address = np.where(device > 0, pools.first_address[device - 1], 0) if len(device) else none
    known = [row for row, m in mode.items() if m == CHAIN and plan.laws.address[row] == ADDRESS_OWN]
    there = (address > 0) & np.isin(plan.campaigns.row[legs.campaign], known)
    addresses.append((address[there], legs.ts[there]))
    first, second = (tuple(np.concatenate(part) for part in zip(*rows, strict=True)) for rows in (merchants, addresses))
    return (first[0], first[1]), (second[0], second[1])


def busy_planned(p2: Plan2, busy: Busy) -> Busy:
    """The census of S3's pass: a copy of the arrivals' counts plus the planned overlay's own."""
    from fraudloom.states import s2

    out = {name: counts.copy() for name, counts in busy.items()}
    s2.busy_add_places(p2.plan.s2, *planned_places(p2), out)
    return out
