"""Figures of requested amounts (S2): levels and tails by class, price points, endings, cash, series."""

from __future__ import annotations

import numpy as np

from fraudloom.states.figures.decisions import asked_of
from fraudloom.states.figures.family import ATM, BANK_RAIL, ECOM, HYBRID, POS, Family, Shard, starts
from fraudloom.states.figures.plan import FigurePlan, Values
from fraudloom.states.figures.tally import Shares, Tally, ratio
from fraudloom.states.figures.town import Town
from fraudloom.states.score.stats import quantile, top_share
from fraudloom.states.score.surfaces import BASE_FLOWS
from fraudloom.states.score.tally import Counts

REF_SHIFT, PRICE_SHIFT = 48, 44
CLASSES = ("RETAIL_POS", "RETAIL_ECOM", "BUSINESS")
TOP = 8
ENDINGS = ("99", "95", "00")
ENDED = ("ECOM", "POS", "POS_basket", "BUSINESS", "party_BUSINESS")
PURPOSES = ("SALARY", "RENT", "BILL", "P2P", "OWN_ACCOUNT", "MERCHANT")


def _amounts(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan, shares
    contracts = town.world.contracts
    f = shard[BASE_FLOWS]
    rows = asked_of(f, contracts)
    f = {k: v[rows] for k, v in f.items()}
    channel, minor, currency = f["channel_group"], f["amount_minor"], f["currency"].astype(np.int64)
    holder = town.of(town.party_type, f["party_id"], "party_id")
    style = town.of(town.merchant_style, f["merchant_id"], "merchant_id")
    retail, business = (holder == contracts.code("party_type", x) for x in ("RETAIL", "BUSINESS"))
    buys = (channel == ECOM) | (channel == POS) | (channel == HYBRID)
    for k, mine in enumerate((retail & (channel == POS), retail & (channel == ECOM), business & buys)):
        tally.count("refs", (k << REF_SHIFT) + f["amount_ref_minor"][mine])
    tally.count("prices", (currency[buys] << PRICE_SHIFT) + minor[buys])
    # Endings in currencies of two decimals.
    ending = np.full(len(minor), len(ENDINGS))
    for k, text in enumerate(ENDINGS):
        ending[minor % 100 == int(text)] = k
    cents = buys & (town.decimals[currency] == 2)
    basket, invoices = (style == contracts.code("ending_style", x) for x in ("BASKET", "BUSINESS"))
    groups = (channel == ECOM, channel == POS, (channel == POS) & basket, invoices, business)
    for k, mine in enumerate(groups):
        which = cents & mine
        tally.bin("endings", k * 4 + ending[which], 4 * len(ENDED))
    cash = channel == ATM
    whole = np.array([10 ** int(d) for d in town.decimals])[currency]
    tally.add("cash", cash.sum())
    tally.add("cash_in_coins", (cash & (minor % whole != 0)).sum())
    tally.bin("purposes", f["purpose"][channel == BANK_RAIL], len(contracts.enum("payment_purpose")))
    tally.bin("decimals", town.decimals[currency], 8)


def _read_amounts(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del shares
    contracts = town.world.contracts
    out: Values = {}
    for k, name in enumerate(CLASSES):
        part = _part(tally.multiset("refs"), k, REF_SHIFT)
        low, middle, high = (quantile(part, q, 100) for q in (50, 90, 99))
        out[f"amounts.{name}_p50"] = None if low is None else low / 100
        out[f"amounts.{name}_p99_over_p50"] = ratio(high, low)
        if name == "RETAIL_POS":
            out[f"amounts.{name}_mean"] = ratio(int((part.values * part.counts).sum()), 100 * part.total)
        if name == "BUSINESS":
            out[f"amounts.{name}_p90_over_p50"] = ratio(middle, low)
    prices = tally.multiset("prices")
    own = [_part(prices, k, PRICE_SHIFT) for k in range(len(contracts.enum("currency")))]
    tops = [top_share(p, TOP) or 0.0 for p in own if p.total >= plan.currency_flows_min]
    out["prices.top8_least"] = min(tops, default=None)
    out["prices.top8_most"] = max(tops, default=None)
    table = tally.bins_of("endings", 4 * len(ENDED)).reshape(len(ENDED), 4)
    share = [[ratio(int(x), int(row.sum())) for x in row] for row in table]
    for k, name in enumerate(ENDED[:3]):
        out[f"endings.{name}"] = ratio(int(table[k, :3].sum()), int(table[k].sum()))
    for k, name in enumerate(ENDED[3:], 3):
        out[f"endings.{name}_00"], out[f"endings.{name}_99"] = share[k][2], share[k][0]
    purposes = tally.bins_of("purposes", len(contracts.enum("payment_purpose")))
    seen = sum(1 for p in PURPOSES if purposes[contracts.code("payment_purpose", p)])
    return out | {
        "cash.in_coins": tally.total("cash_in_coins"),
        "rails.purposes": float(seen) if purposes.sum() else None,
        "prices.decimals": float(np.count_nonzero(tally.bins_of("decimals", 8))) if tally.sum("cash") else None,
    }


def _part(packed: Counts, key: int, shift: int) -> Counts:
    """Members `key << shift | value` of a packed multiset, as values."""
    found = packed.between(key << shift, (key + 1) << shift)
    out = Counts()
    out.values, out.counts = found.values - (key << shift), found.counts
    return out


def _series(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del town, plan, shares
    f = shard[BASE_FLOWS]
    mine = np.flatnonzero((f["series_key"] != 0) & ~f["is_pinned"])
    order = mine[np.argsort(f["series_key"][mine], kind="stable")]
    key, amount = f["series_key"][order], f["amount_minor"][order]
    later = ~starts(key)
    tally.add("series_steps", later.sum())
    tally.add("series_changes", (later[1:] & (amount[1:] != amount[:-1])).sum())


def _read_series(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    return {"prices.series_changes": tally.total("series_changes")}


AMOUNTS = (
    Family(
        "amounts",
        {
            BASE_FLOWS: (
                "flow_type",
                "is_pinned",
                "channel_group",
                "amount_minor",
                "currency",
                "amount_ref_minor",
                "party_id",
                "merchant_id",
                "purpose",
            ),
        },
        (
            "amounts.RETAIL_POS_p50",
            "amounts.RETAIL_POS_mean",
            "amounts.RETAIL_POS_p99_over_p50",
            "amounts.RETAIL_ECOM_p50",
            "amounts.RETAIL_ECOM_p99_over_p50",
            "amounts.BUSINESS_p50",
            "amounts.BUSINESS_p90_over_p50",
            "amounts.BUSINESS_p99_over_p50",
            "prices.top8_least",
            "prices.top8_most",
            "prices.decimals",
            "endings.ECOM",
            "endings.POS",
            "endings.POS_basket",
            "endings.BUSINESS_00",
            "endings.BUSINESS_99",
            "endings.party_BUSINESS_00",
            "endings.party_BUSINESS_99",
            "cash.in_coins",
            "rails.purposes",
        ),
        _amounts,
        _read_amounts,
    ),
    Family(
        "series",
        {BASE_FLOWS: ("series_key", "is_pinned", "amount_minor")},
        ("prices.series_changes",),
        _series,
        _read_series,
    ),
)
