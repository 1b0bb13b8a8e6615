"""What the planned overlay adds to the issuer's census (contracts/laws/s3.md, section 4)."""

from naive.census import largest_remainder
from naive.plan_s3 import DAY, SECOND, running

HOUR = 3_600_000_000
GROUPS = 5


def schedule(campaign):
    """Instants of a campaign's planned flows."""
    q, clock = campaign.planned, campaign.template["clock"]
    step = (campaign.end - campaign.start - 1) // q
    if clock["kind"] == "CAMPAIGN":
        step = min(int(clock["gap_s"] * SECOND), step)
    return [campaign.start + p * step for p in range(q)]


def dealt(plan, campaign, law):
    """(address, instant) of a campaign that hides in groups of addresses."""
    cum = running([law["groups"].get(g, 0.0) for g in plan.enums["ip_group"][:GROUPS]])
    weights, rows = [law["own_share"]], [None]
    for g in range(GROUPS):
        share = (cum[g] - (cum[g - 1] if g else 0.0)) / cum[-1] * (1.0 - law["own_share"]) / law["spread"]
        pool = plan.addresses[plan.group_at[g] : plan.group_at[g + 1]]
        for k in range(law["spread"]):
            weights.append(share)
            rows.append(pool[(campaign.address_at + k) % len(pool)] if pool else None)
    counts, instants = [0] * len(weights), schedule(campaign)
    largest_remainder(campaign.planned, weights, counts)
    for address, n in zip(rows, counts, strict=True):
        for j in range(n if address else 0):
            yield address, instants[j * campaign.planned // n]


def add_planned(plan, issuer):
    """Add the planned overlay of `plan` to the census of the issuer's plan."""
    p, places = plan.people, issuer.places
    merchants, addresses = [], []
    for c in plan.campaigns:
        if c.template["mode"] == "NEW" and c.planned:
            if c.merchant:
                merchants += [(c.merchant, ts) for ts in schedule(c)]
            law = plan.script[c.type]["address"]
            if law["kind"] == "GROUPS":
                addresses += dealt(plan, c, law)
    for leg in plan.legs:
        own = p.own_address.get(p.own_device.get(p.account[leg.payer].owner_party_id))
        if own and plan.script[leg.campaign.type]["address"]["kind"] == "OWN":
            addresses.append((own, leg.ts))
    for rows, slots, width, counts in (
        (merchants, places.merchant_slot, HOUR, places.merchant_hours),
        (addresses, places.ip_slot, DAY, places.ip_days),
    ):
        for i, ts in rows:
            slot, at = slots[i - 1], (ts - plan.start) // width
            if slot >= 0 and 0 <= at < len(counts[slot]):
                counts[slot][at] += 1
    return len(merchants), len(addresses)
