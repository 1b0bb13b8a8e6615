"""Twin of the census of busy merchants and shared addresses."""

from naive.payment_codes import DAY, HOUR


def count_busy(ts, merchant, ip, start_us, merchant_slot, ip_slot, merchant_hours, ip_days):
    """One more in the hour of a watched merchant and in the day of a watched address."""
    for i in range(len(ts)):
        at = int(ts[i]) - start_us
        watched = (
            (int(merchant_slot[int(merchant[i]) - 1]), at // HOUR, merchant_hours),
            (int(ip_slot[int(ip[i]) - 1]), at // DAY, ip_days),
        )
        for slot, place, counts in watched:
            if slot >= 0 and 0 <= place < len(counts[slot]):
                counts[slot][place] += 1
