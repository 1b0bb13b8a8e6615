"""Figures of settlement and of rails (S2): batches, shipments, reversals, refunds; payees and states."""

from __future__ import annotations

import numpy as np

from fraudloom.states.figures.decisions import asked_of
from fraudloom.states.figures.family import (
    BANK_RAIL,
    ECOM,
    HYBRID,
    LATE,
    POS,
    TWO_SHIPMENTS,
    Family,
    Shard,
    bits,
    starts,
)
from fraudloom.states.figures.plan import FigurePlan, Values
from fraudloom.states.figures.tally import Shares, Tally, ratio
from fraudloom.states.figures.town import DAY_US, PAYEE_BITS, Town, has
from fraudloom.states.score.surfaces import BANK, BASE_FLOWS, FLOWS

MINUTE_US = 60_000_000
#: Lags in business days that batches may have.
LAGS = 4


def _clearing(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del shares
    contracts = town.world.contracts
    f = shard[BASE_FLOWS]
    late_us = town.world.end_us + plan.horizon_days * DAY_US
    for column in ("clear_ts_utc", "refund_ts_utc", "reversal_ts_utc"):
        tally.add("settled_late", (f[column] > late_us).sum())
    back = (f["reversal_ts_utc"] > 0) & (f["clear_ts_utc"] > 0)
    tally.add("reversed_after_clearing", (back & (f["reversal_ts_utc"] >= f["clear_ts_utc"])).sum())
    rows = asked_of(f, contracts)
    rows &= f["channel_group"] != BANK_RAIL
    f = {k: v[rows] for k, v in f.items()}
    channel, trace, cleared = f["channel_group"], f["branch_trace"], f["clear_ts_utc"] > 0
    approved = f["response_code"] == contracts.code("response_code", "00")
    tally.add("approved", approved.sum())
    tally.add("reversed", (approved & (f["reversal_ts_utc"] > 0)).sum())
    tally.add("approved_unsettled", (approved & ~cleared & (f["reversal_ts_utc"] == 0)).sum())
    country, last = f["merchant_country"][cleared], town.business.shape[1] - 1
    day = f["clear_ts_utc"][cleared] // DAY_US - town.first_day
    tally.add("cleared", cleared.sum())
    tally.add("cleared_on_holidays", (~town.business[country, np.clip(day, 0, last)]).sum())
    minute = (f["clear_ts_utc"][cleared] % DAY_US) // MINUTE_US
    tally.bin("batch_minute", minute, 1440)
    # T is the first business day whose cut-off the approval met.
    met = (f["response_ts_utc"][cleared] + DAY_US - plan.cutoff_us) // DAY_US - town.first_day
    lag = town.before[country, np.clip(day, 0, last)] - town.before[country, np.clip(met, 0, last)]
    plain = ~bits(trace[cleared], TWO_SHIPMENTS, LATE)
    tally.add("batched", plain.sum())
    tally.add("off_batch", (plain & ((lag < 0) | (lag >= LAGS))).sum())
    tally.bin("lags", np.clip(lag[plain], 0, LAGS), LAGS + 1)
    tally.add("late", bits(trace, LATE).sum())
    online = cleared & ((channel == ECOM) | (channel == HYBRID))
    tally.add("shipped", online.sum())
    tally.add("shipped_twice", (online & bits(trace, TWO_SHIPMENTS)).sum())
    paid = cleared & (channel == POS)
    fuel = paid & (
        town.of(town.merchant_style, f["merchant_id"], "merchant_id") == contracts.code("ending_style", "FUEL")
    )
    tally.add("paid", paid.sum())
    tally.add("tipped", (paid & (f["cleared_minor"] > f["amount_minor"])).sum())
    tally.add("fuelled", fuel.sum())
    tally.add("fuel_below", (fuel & (f["cleared_minor"] < f["amount_minor"])).sum())


def _read_clearing(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    lags = tally.bins_of("lags", LAGS + 1)
    first, last = (tally.quantile("batch_minute", q, 100) for q in (1, 99))
    out: Values = {f"clearing.T{k}": ratio(int(lags[k]), int(lags.sum())) for k in range(LAGS)}
    return out | {
        "clearing.off_batch": tally.total("off_batch"),
        "clearing.on_holidays": tally.total("cleared_on_holidays"),
        "clearing.batch_h": None if first is None or last is None else (last - first) / 60,
        "clearing.partial": tally.share("shipped_twice", "shipped"),
        "clearing.late": tally.share("late", "cleared"),
        "clearing.tips": tally.share("tipped", "paid"),
        "clearing.fuel": tally.share("fuel_below", "fuelled"),
        "clearing.missing": tally.total("approved_unsettled"),
        "reversals.share": tally.share("reversed", "approved"),
        "reversals.after_clearing": tally.total("reversed_after_clearing"),
        "horizon.settled_late": tally.total("settled_late"),
    }


def _refunds(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan, shares
    contracts = town.world.contracts
    f = shard[BASE_FLOWS]
    channel = f["channel_group"]
    buys = ~f["is_pinned"] & ((channel == ECOM) | (channel == POS) | (channel == HYBRID))
    credit = buys & (f["flow_type"] == contracts.code("flow_type", "CARD_CREDIT"))
    back = buys & ~credit & (f["refund_ts_utc"] > 0)
    business = buys & (town.of(town.party_type, f["party_id"], "party_id") == contracts.code("party_type", "BUSINESS"))
    tally.add("buys", buys.sum())
    tally.add("credits", credit.sum())
    tally.add("refunds", back.sum())
    tally.add("refunds_full", (back & (f["refunded_minor"] == f["cleared_minor"])).sum())
    tally.add("refunds_above", (back & (f["refunded_minor"] > f["cleared_minor"])).sum())
    tally.add("business_buys", business.sum())
    tally.add("business_back", (business & (back | credit)).sum())
    tally.count("refund_min", (f["refund_ts_utc"][back] - f["clear_ts_utc"][back]) // MINUTE_US)


def _read_refunds(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    middle, late = (tally.quantile("refund_min", q, 100) for q in (50, 95))
    return {
        "refunds.share": ratio(tally.sum("refunds") + tally.sum("credits"), tally.sum("buys")),
        "refunds.share_BUSINESS": tally.share("business_back", "business_buys"),
        "refunds.credits": tally.share("credits", "buys"),
        "refunds.full": tally.share("refunds_full", "refunds"),
        "refunds.above_cleared": tally.total("refunds_above"),
        "refunds.p50_days": None if middle is None else middle / 1440,
        "refunds.p95_days": None if late is None else late / 1440,
    }


def _rails(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan, shares
    contracts = town.world.contracts
    f = shard[BASE_FLOWS]
    rail = f["channel_group"] == BANK_RAIL
    named = [f[c] != null for c, null in (("payee_account_id", 0), ("payee_bank_id", 0), ("payee_country", -1))]
    told = [
        f[c] != contracts.code(enum, none)
        for c, enum, none in (
            ("purpose", "payment_purpose", "NONE"),
            ("confirmation_of_payee", "confirmation_of_payee", "NOT_APPLICABLE"),
            ("payment_state", "payment_state", "NOT_APPLICABLE"),
        )
    ]
    tally.add("rails", rail.sum())
    tally.add("rails_incomplete", (rail & ~np.logical_and.reduce([*named, *told])).sum())
    tally.add("payees_elsewhere", (~rail & np.logical_or.reduce([*named, *told, f["is_new_payee"]])).sum())
    tally.bin("states", f["payment_state"][rail], len(contracts.enum("payment_state")))
    tally.bin("name_checks", f["confirmation_of_payee"][rail], len(contracts.enum("confirmation_of_payee")))
    at = np.flatnonzero(rail)
    new = f["is_new_payee"][at]
    tally.add("new_payees", new.sum())
    order = at[np.lexsort((f["payee_account_id"][at], f["party_id"][at]))]
    paid_before = ~starts(f["party_id"][order], f["payee_account_id"][order])
    tally.add("paid_before", paid_before.sum())
    tally.add("new_again", (paid_before & f["is_new_payee"][order]).sum())
    listed = has(town.payees, (f["party_id"][at] << PAYEE_BITS) | f["payee_account_id"][at])
    listed &= f["payee_account_id"][at] < 1 << PAYEE_BITS
    tally.add("listed_but_new", (listed & new).sum())
    tally.add("unlisted", (~listed & ~new & (f["series_key"][at] == 0)).sum())


def _read_rails(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del plan, shares
    contracts = town.world.contracts
    states = tally.bins_of("states", len(contracts.enum("payment_state")))
    checks = tally.bins_of("name_checks", len(contracts.enum("confirmation_of_payee")))
    n = tally.sum("rails")
    seen = [int(states[contracts.code("payment_state", s)]) for s in ("ACCEPTED", "HELD", "REJECTED", "RETURNED")]
    return {
        "rails.incomplete": tally.total("rails_incomplete"),
        "rails.payees_elsewhere": tally.total("payees_elsewhere"),
        "rails.states": float(sum(1 for x in seen if x)) if n else None,
        "rails.accepted": ratio(seen[0], n),
        "rails.name_checks": float(np.count_nonzero(checks[1:])) if n else None,
        "rails.new_payee": tally.share("new_payees", "rails"),
        "rails.paid_before": tally.share("paid_before", "rails"),
        "rails.new_again": tally.total("new_again"),
        "rails.new_but_listed": tally.total("listed_but_new"),
        "rails.unlisted": tally.total("unlisted"),
    }


def _chargebacks(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan, shares
    rail = shard[FLOWS]["channel_group"] == BANK_RAIL
    charged = shard[BANK]["chargeback_type"] != town.world.contracts.code("chargeback_type", "NONE")
    if len(rail) == len(charged):
        tally.add("rail_chargebacks", (rail & charged).sum())
    else:
        tally.add("rail_chargebacks", max(len(rail), len(charged)))


def _read_chargebacks(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    return {"rails.chargebacks": tally.total("rail_chargebacks")}


_BASE = ("flow_type", "is_pinned", "channel_group", "refund_ts_utc", "clear_ts_utc", "cleared_minor")
SETTLED = (
    Family(
        "clearing",
        {
            BASE_FLOWS: (
                *_BASE,
                "merchant_id",
                "merchant_country",
                "branch_trace",
                "response_code",
                "response_ts_utc",
                "reversal_ts_utc",
                "amount_minor",
            ),
        },
        (
            *(f"clearing.T{k}" for k in range(LAGS)),
            "clearing.off_batch",
            "clearing.on_holidays",
            "clearing.batch_h",
            "clearing.partial",
            "clearing.late",
            "clearing.tips",
            "clearing.fuel",
            "clearing.missing",
            "reversals.share",
            "reversals.after_clearing",
            "horizon.settled_late",
        ),
        _clearing,
        _read_clearing,
    ),
    Family(
        "refunds",
        {BASE_FLOWS: (*_BASE, "party_id", "refunded_minor")},
        (
            "refunds.share",
            "refunds.share_BUSINESS",
            "refunds.credits",
            "refunds.full",
            "refunds.above_cleared",
            "refunds.p50_days",
            "refunds.p95_days",
        ),
        _refunds,
        _read_refunds,
    ),
    Family(
        "rails",
        {
            BASE_FLOWS: (
                "channel_group",
                "party_id",
                "series_key",
                "is_pinned",
                "payee_account_id",
                "payee_bank_id",
                "payee_country",
                "is_new_payee",
                "purpose",
                "confirmation_of_payee",
                "payment_state",
            ),
        },
        (
            "rails.incomplete",
            "rails.payees_elsewhere",
            "rails.states",
            "rails.accepted",
            "rails.name_checks",
            "rails.new_payee",
            "rails.paid_before",
            "rails.new_again",
            "rails.new_but_listed",
            "rails.unlisted",
        ),
        _rails,
        _read_rails,
    ),
    Family(
        "chargebacks",
        {FLOWS: ("channel_group",), BANK: ("chargeback_type",)},
        ("rails.chargebacks",),
        _chargebacks,
        _read_chargebacks,
    ),
)
