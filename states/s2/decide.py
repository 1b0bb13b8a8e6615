"""The issuer over a shard: history from every flow, decisions for the rows asked for (contracts/laws/s2.md, 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.kernels import issuer as ki
from fraudloom.kernels import issuer_risk as kr
from fraudloom.kernels.payment_codes import CARD_CREDIT
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s2.frame import instrument_facts, time_rows
from fraudloom.states.s2.plan import S2Plan
from fraudloom.states.s2.tables import Array, own_columns
from fraudloom.tables import Columns

Busy = dict[str, Array]
#: Columns that `issuer_decide` writes, in the order of `kernels.issuer.Decided`.
DECIDED = (
    *("risk_score", "auth_decision", "first_response_code", "response_code", "responder", "attempts"),
    *("step_up_result", "block_state", "three_ds", "flow_type", "flow_outcome", "payment_state", "alerted"),
    *("issuer_latency_ms", "branch_trace"),
)


@dataclass(frozen=True)
class BlockList:
    """Blocks that begin outside the issuer's own decisions (a customer's report, an analyst), sorted by instrument_id,
    then from_ts: int64[b] instrument_id, from_ts, until_ts (us; in force from <= ts < until); int8[b] kind, a code of
    block_state. REPORT answers 41 or 43, every other kind 62."""

    instrument_id: Array
    from_ts: Array
    until_ts: Array
    kind: Array


def no_blocks() -> BlockList:
    """An empty list."""
    none = np.zeros(0, np.int64)
    return BlockList(none, none.copy(), none.copy(), np.zeros(0, np.int8))


def _local(ids: Array) -> tuple[Array, int]:
    n = len(ids)
    table = np.empty((1 << max(1, (2 * n).bit_length()), 2), np.int64)
    table[:, 0] = kr.EMPTY
    out = np.empty(n, np.int64)
    return out, int(kr.local_ids(ids, table, out))


def _history(plan: S2Plan, flows: Columns, account: Array, counts: tuple[int, int, int]) -> ki.History:
    accounts, cards, devices = counts
    funds = np.ones(accounts, np.float64)
    funds[account] = plan.world.funds[flows["account_id"] - 1]
    spent = np.zeros((accounts, 3))
    spent[:, ki.AF_SPENT] = plan.initial_spend * funds
    return ki.History(
        card_f=np.zeros((cards, 4)),
        card_i=np.zeros((cards, 5), np.int64),
        seen=np.zeros((cards, 4), np.uint64),
        account_f=spent,
        account_i=np.zeros((accounts, 2), np.int64),
        devices=np.zeros(accounts, np.uint64),
        device_f=np.zeros(devices),
        device_i=np.zeros(devices, np.int64),
        funds=funds,
    )


def _observed(plan: S2Plan, flows: Columns, issuer_country: Array) -> kr.Observed:
    return kr.Observed(
        ts=flows["ts_utc"],
        merchant=flows["merchant_id"],
        ip=flows["ip_id"],
        amount_ref=flows["amount_ref_minor"],
        channel=flows["channel_group"],
        entry=flows["entry_mode"],
        cvm=flows["cvm"],
        three_ds=flows["three_ds"],
        cvv=flows["cvv_result"],
        avs=flows["avs_result"],
        issuer_country=issuer_country,
        merchant_country=flows["merchant_country"],
        payee_country=flows["payee_country"],
        name_check=flows["confirmation_of_payee"],
        new_payee=flows["is_new_payee"],
    )


def _places(plan: S2Plan, busy: Busy) -> kr.Places:
    return kr.Places(
        ip_group=plan.world.ip_group,
        ip_country=plan.world.ip_country,
        risky=plan.risky,
        merchant_slot=plan.merchant_slot,
        ip_slot=plan.ip_slot,
        merchant_hours=busy["merchant_hours"],
        ip_days=busy["ip_days"],
        usual=plan.usual,
        per_day=plan.per_day,
        start_us=plan.world.start_us,
    )


def _requests(plan: S2Plan, flows: Columns, busy: Busy, local: tuple[Array, Array, Array]) -> ki.Requests:
    kind, _, scheme = instrument_facts(plan, flows)
    logit = np.empty(len(kind), np.float64)
    issuer_country = plan.world.issuer_country[flows["issuer_id"] - 1]
    kr.request_logits(_observed(plan, flows, issuer_country), _places(plan, busy), plan.decide.coef, logit)
    return ki.Requests(
        logit=logit,
        ordinal=flows["_ordinal"],
        ts=flows["ts_utc"],
        merchant=flows["merchant_id"],
        city=flows["city_id"],
        amount_ref=flows["amount_ref_minor"],
        issuer=flows["issuer_id"],
        channel=flows["channel_group"],
        entry=flows["entry_mode"],
        exemption=flows["sca_exemption"],
        cvv=flows["cvv_result"],
        kind=kind,
        scheme=scheme,
        new_payee=flows["is_new_payee"],
        pinned=flows["is_pinned"],
        credit=flows["flow_type"] == CARD_CREDIT,
        account=local[0],
        card=local[1],
        device=local[2],
        device_id=flows["device_id"],
        unit=plan.world.unit,
    )


def _blocks(blocks: BlockList, flows: Columns, card: Array, cards: int) -> ki.Blocks:
    instrument = np.zeros(cards, np.int64)
    instrument[card] = flows["instrument_id"]
    lo = np.searchsorted(blocks.instrument_id, instrument, side="left").astype(np.int64)
    hi = np.searchsorted(blocks.instrument_id, instrument, side="right").astype(np.int64)
    return ki.Blocks(blocks.from_ts, blocks.until_ts, blocks.kind, lo, hi)


def decide(
    plan: S2Plan,
    world: Any,
    flows: Columns,
    redo: Array,
    blocks: BlockList | None,
    busy: Busy,
    evidence: EvidenceArray,
) -> None:
    """Run `issuer_decide` over all flows of a shard in (ts_utc, `_ordinal`) order; write the rows of `redo`, in place.

    flows: every flow of the shard, any row order, with every column of s2_flow_anchor_baseline_6B (or more) and
    `_ordinal`; flow_type must say CARD_CREDIT for credits, anything else is overwritten. redo: bool[n]; other rows keep
    their columns and feed the history. Writes `DECIDED`; three_ds only between FRICTIONLESS and CHALLENGED. busy: the
    census. evidence: rows of `plan.decisions`; one ISSUER_DECIDE event per row of redo.
    """
    if not len(flows["_ordinal"]):
        return
    own_columns(flows)
    account, accounts = _local(flows["account_id"])
    card, cards = _local(np.where(flows["instrument_id"] > 0, flows["instrument_id"], -flows["account_id"]))
    device, devices = _local(flows["device_id"])
    ki.issuer_decide(
        time_rows(flows["ts_utc"], flows["_ordinal"]),
        np.asarray(redo, np.bool_),
        _requests(plan, flows, busy, (account, card, device)),
        _history(plan, flows, account, (accounts, cards, devices)),
        plan.history,
        plan.decide,
        _blocks(blocks or no_blocks(), flows, card, cards),
        plan.keys,
        evidence,
        ki.Decided(*(flows[name] for name in DECIDED)),
    )
