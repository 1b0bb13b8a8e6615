"""Census of busy merchants by hour and shared addresses by day: sums that commute, so any split of rows agrees."""

import numpy as np

from fraudloom.kernels.jit import kernel


@kernel
def count_busy(ts, merchant, ip, start_us, merchant_slot, ip_slot, merchant_hours, ip_days):
    """Add arrivals to the counts of watched merchants and addresses.

    ts, merchant, ip: int64[n] (ts in us); start_us: int64, first instant of the horizon; merchant_slot, ip_slot:
    int32 by id - 1, -1 when not watched; merchant_hours: int32[slots, hours]; ip_days: int32[slots, days]. A row
    outside the horizon is counted nowhere.
    """
    hours = merchant_hours.shape[1]
    days = ip_days.shape[1]
    for i in range(ts.shape[0]):
        hour = (ts[i] - start_us) // 3_600_000_000
        day = (ts[i] - start_us) // 86_400_000_000
        m = merchant_slot[merchant[i] - 1]
        if m >= 0 and 0 <= hour < hours:
            merchant_hours[m, hour] += np.int32(1)
        a = ip_slot[ip[i] - 1]
        if a >= 0 and 0 <= day < days:
            ip_days[a, day] += np.int32(1)
