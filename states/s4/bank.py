"""The bank's view of a shard: screen, work the flows that it hears of, mark neighbours, publish columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudloom.kernels.bank import BankFlows, BankOut, ScreenFlows, find_collateral, screen_flows, work_flows
from fraudloom.kernels.signals import (
    ALERT,
    BLOCK,
    C_BEARER,
    C_DETECTION,
    C_LABEL,
    C_REASON,
    C_RESULT,
    C_SOURCE,
    C_STATUS,
    C_STEPS,
    C_TYPE,
    C_WIDTH,
    CANDIDATE,
    COLLATERAL,
    LABEL_FRAUD,
    LABEL_NONE,
    LABEL_WRITTEN_OFF,
    SLOTS_CHARGEBACK,
    SLOTS_CLAIM,
    STATUS_FINAL,
    STATUS_PROVISIONAL,
    STEPS,
    T_ALERT,
    T_ARBITRATION,
    T_AVAILABLE,
    T_CHARGEBACK,
    T_DECISION,
    T_DETECTION,
    T_DISPUTE,
    T_FINAL,
    T_JOIN,
    T_LOSS,
    T_RECOVERED,
    T_REPRESENTMENT,
    T_WIDTH,
)
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s4.frame import Array, Rows, writable
from fraudloom.states.s4.plan import S4Plan
from fraudloom.tables import Columns

TIME_COLUMNS = {
    "detection_ts_utc": T_DETECTION,
    "alert_ts_utc": T_ALERT,
    "dispute_ts_utc": T_DISPUTE,
    "chargeback_ts_utc": T_CHARGEBACK,
    "representment_ts_utc": T_REPRESENTMENT,
    "pre_arbitration_ts_utc": T_ARBITRATION,
    "decision_ts_utc": T_DECISION,
    "loss_minor": T_LOSS,
    "recovered_minor": T_RECOVERED,
    "case_open_ts_utc": T_JOIN,
    "label_available_at_utc": T_AVAILABLE,
    "label_final_at_utc": T_FINAL,
}
CODE_COLUMNS = {
    "bank_label": C_LABEL,
    "detection_outcome": C_DETECTION,
    "report_source": C_SOURCE,
    "dispute_reason": C_REASON,
    "chargeback_type": C_TYPE,
    "chargeback_outcome": C_RESULT,
    "liability_party": C_BEARER,
    "label_status": C_STATUS,
}


@dataclass(frozen=True)
class Worked:
    """Flows that the bank heard of: row in the shard's flows (ascending), flow ordinal, and the kernel's arrays."""

    rows: Array
    ordinal: Array
    signals: Array
    out: BankOut


def screen(plan: S4Plan, flows: Rows, ordinal: Array, evidence: EvidenceArray) -> Array:
    """int8 signals of every flow."""
    columns = ScreenFlows(
        ordinal=ordinal,
        report_ts=writable(flows["report_ts_utc"]),
        cleared=writable(flows["cleared_minor"]),
        party=writable(flows["party_id"]),
        merchant=writable(flows["merchant_id"]),
        decision=writable(flows["auth_decision"]),
        code=writable(flows["response_code"]),
        block=writable(flows["block_state"]),
        payment=writable(flows["payment_state"]),
        door=writable(flows["report_door"]),
        outcome=writable(flows["flow_outcome"]),
        channel=writable(flows["channel_group"]),
        layer=writable(flows["mule_layer"]),
        alerted=writable(flows["alerted"]),
        tagged=writable(flows["fraud_flag"]),
        party_role=plan.party_role,
        demand=plan.demand,
    )
    out = np.empty(len(ordinal), dtype=np.int8)
    screen_flows(columns, plan.screen, plan.decisions.keys, evidence, out)
    return out


def _out(n: int) -> BankOut:
    return BankOut(
        np.zeros((n, T_WIDTH), np.int64),
        np.zeros((n, C_WIDTH), np.int8),
        np.zeros((n, STEPS), np.int64),
        np.zeros((n, STEPS), np.int8),
        np.zeros((n, STEPS), np.int8),
    )


def _work(
    plan: S4Plan,
    flows: Rows,
    kind: Array,
    rows: Array,
    ordinal: Array,
    signals: Array,
    known: Array,
    evidence: EvidenceArray,
) -> Worked:
    merchant = flows["merchant_id"][rows]
    columns = BankFlows(
        ordinal=ordinal[rows],
        ts=flows["ts_utc"][rows],
        response_ts=flows["response_ts_utc"][rows],
        clear_ts=flows["clear_ts_utc"][rows],
        report_ts=flows["report_ts_utc"][rows],
        amount=flows["amount_minor"][rows],
        amount_ref=flows["amount_ref_minor"][rows],
        cleared=flows["cleared_minor"][rows],
        refunded=flows["refunded_minor"][rows],
        issuer=flows["issuer_id"][rows],
        known_ts=known,
        signals=signals,
        kind=kind[rows],
        demand=plan.demand[merchant - 1],
        moved=money_moved(plan, flows, rows),
        entry=flows["entry_mode"][rows],
        cvm=flows["cvm"][rows],
        three_ds=flows["three_ds"][rows],
        series=flows["series_key"][rows] != 0,
        stopped=stopped(plan, flows, rows),
    )
    out = _out(len(rows))
    scratch = np.empty(SLOTS_CLAIM + SLOTS_CHARGEBACK, dtype=np.float64)
    steps = np.empty((STEPS, 5), dtype=np.int64)
    work_flows(columns, plan.bank, plan.claims, plan.decisions.keys, evidence, scratch, steps, out)
    return Worked(rows, columns.ordinal, signals, out)


def money_moved(plan: S4Plan, flows: Rows, rows: Array) -> Array:
    """int8: 0 no money left the payer, 1 by card and cleared, 2 by rail, 3 by rail and returned."""
    moved = plan.moved[flows["flow_outcome"][rows]]
    return np.where((moved == 1) & (flows["cleared_minor"][rows] <= 0), 0, moved).astype(np.int8)


def _merge(a: Worked, b: Worked) -> Worked:
    if not len(b.rows):
        return a
    order = np.argsort(np.concatenate([a.rows, b.rows]), kind="stable")

    def both(x: Array, y: Array) -> Array:
        return np.concatenate([x, y])[order]

    out = BankOut(*(both(x, y) for x, y in zip(a.out, b.out, strict=True)))
    return Worked(both(a.rows, b.rows), both(a.ordinal, b.ordinal), both(a.signals, b.signals), out)


def work(plan: S4Plan, flows: Rows, ordinal: Array, kind: Array, signals: Array, evidence: EvidenceArray) -> Worked:
    """Work every flow with a signal; then mark neighbours of known bad flows (collateral)."""
    heard = np.flatnonzero((signals != 0) & (signals != CANDIDATE))
    none = np.zeros(len(heard), np.int64)
    known = _work(plan, flows, kind, heard, ordinal, signals[heard], none, evidence)
    pattern = flows["fraud_pattern_type"][heard]
    detected = known.out.times[:, T_DETECTION]
    source = np.flatnonzero(plan.sources[pattern] & (detected != 0))
    if not len(source):
        return known
    account = flows["account_id"][heard[source]]
    order = np.argsort(account, kind="stable")
    candidates = np.flatnonzero(signals == CANDIDATE)
    marks = np.zeros(len(candidates), dtype=np.int64)
    find_collateral(
        flows["account_id"][candidates],
        flows["ts_utc"][candidates],
        account[order],
        flows["ts_utc"][heard[source]][order],
        detected[source][order],
        plan.collateral_us,
        marks,
    )
    hit = marks != 0
    rows = candidates[hit]
    signal = np.full(len(rows), COLLATERAL, dtype=np.int8)
    return _merge(known, _work(plan, flows, kind, rows, ordinal, signal, marks[hit], evidence))


def bank_columns(plan: S4Plan, flows: Rows, worked: Worked) -> Columns:
    """s4_flow_bank_view_6B without case_id and case_close_ts_utc, which the cases write."""
    ds = plan.contracts.dataset("s4_flow_bank_view_6B")
    n = len(flows["flow_id"])
    bank = {c.name: np.zeros(n, dtype=c.memory_dtype) for c in ds.columns}
    bank["flow_id"] = flows["flow_id"]
    bank["auth_decision"] = flows["auth_decision"]
    bank["bank_label"].fill(LABEL_NONE)
    presumed = flows["ts_utc"] + plan.bank.presumed_us
    bank["label_available_at_utc"] = presumed
    late = presumed > plan.last_us
    bank["label_final_at_utc"] = np.where(late, 0, presumed)
    bank["label_status"] = np.where(late, STATUS_PROVISIONAL, STATUS_FINAL).astype(np.int8)
    for name, place in TIME_COLUMNS.items():
        bank[name][worked.rows] = worked.out.times[:, place]
    for name, place in CODE_COLUMNS.items():
        bank[name][worked.rows] = worked.out.codes[:, place]
    label = worked.out.codes[:, C_LABEL]
    bank["is_fraud_bank_view"][worked.rows] = (label == LABEL_FRAUD) | (label == LABEL_WRITTEN_OFF)
    return bank


def history_columns(plan: S4Plan, flows: Rows, worked: Worked) -> Columns:
    """s4_label_history_6B, sorted by (flow_id, label_seq)."""
    order = np.argsort(flows["flow_id"][worked.rows], kind="stable")
    count = worked.out.codes[order, C_STEPS].astype(np.int64)
    member = np.repeat(order, count)
    ends = np.cumsum(count)
    seq = np.arange(len(member)) - np.repeat(ends - count, count)
    last = seq == np.repeat(count, count) - 1
    final = worked.out.codes[member, C_STATUS] == STATUS_FINAL
    return {
        "flow_id": flows["flow_id"][worked.rows[member]],
        "label_seq": seq.astype(np.int16),
        "known_from_utc": worked.out.step_ts[member, seq],
        "bank_label": worked.out.step_label[member, seq],
        "source": worked.out.step_source[member, seq],
        "is_final": last & final,
    }


def stopped(plan: S4Plan, flows: Rows, rows: Array) -> Array:
    """bool: blocked by the holder's own report, and not declined for suspicion."""
    code, state = flows["response_code"][rows], flows["block_state"][rows]
    own = state == plan.contracts.code("block_state", "REPORT")
    return np.asarray(own & ~plan.screen.block_code[code])


def suspected(plan: S4Plan, flows: Rows, signals: Array) -> Array:
    """bool: alerted, or declined as suspected fraud (a card that its holder had stopped is no suspicion)."""
    out = np.asarray((signals & (BLOCK | ALERT)) != 0)
    rows = np.flatnonzero(signals & BLOCK)
    out[rows] = ~stopped(plan, flows, rows)
    return out
