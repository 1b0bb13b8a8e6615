"""Census of busy merchants by hour and shared addresses by day (section 5.2 of contracts/laws/s2.md)."""

from __future__ import annotations

import numpy as np

from fraudloom.kernels.busy import count_busy
from fraudloom.states.s2.plan import S2Plan
from fraudloom.states.s2.tables import Array, own
from fraudloom.tables import Columns

Busy = dict[str, Array]


def busy_new(plan: S2Plan) -> Busy:
    """Zero counts: merchant_hours int32[watched merchants, hours], ip_days int32[watched addresses, days]."""
    addresses = int(plan.ip_slot.max(initial=-1)) + 1
    return {
        "merchant_hours": np.zeros((len(plan.usual), plan.days * 24), np.int32),
        "ip_days": np.zeros((addresses, plan.days), np.int32),
    }


def busy_add(plan: S2Plan, attached: Columns, busy: Busy) -> None:
    """Add rows that have ts_utc, merchant_id and ip_id: attached arrivals."""
    ts, merchant, ip = (own(attached[name]).astype(np.int64, copy=False) for name in ("ts_utc", "merchant_id", "ip_id"))
    count_busy(
        ts,
        merchant,
        ip,
        plan.world.start_us,
        plan.merchant_slot,
        plan.ip_slot,
        busy["merchant_hours"],
        busy["ip_days"],
    )


def busy_add_places(plan: S2Plan, merchants: tuple[Array, Array], addresses: tuple[Array, Array], busy: Busy) -> None:
    """Add merchants and addresses apart: int64 (ids, instants in us) each. Outside the horizon: not counted."""
    for (ids, ts), slots, width, counts in (
        (merchants, plan.merchant_slot, 3_600_000_000, busy["merchant_hours"]),
        (addresses, plan.ip_slot, 86_400_000_000, busy["ip_days"]),
    ):
        slot, at = slots[ids - 1], (ts - plan.world.start_us) // width
        watched = (slot >= 0) & (at >= 0) & (at < counts.shape[1])
        np.add.at(counts, (slot[watched], at[watched]), np.int32(1))


def busy_merge(into: Busy, other: Busy) -> None:
    """Add another census; sums commute, so any split of the rows gives the same counts."""
    for name, counts in other.items():
        into[name] += counts
