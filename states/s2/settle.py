"""Times and settlement of decided flows, and their events (sections 6 to 8 of contracts/laws/s2.md)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import events as ke
from fraudloom.kernels import settle as ks
from fraudloom.kernels.payment_codes import CARD_CREDIT, RC_00
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s2.plan import S2Plan
from fraudloom.states.s2.tables import Array, own, own_columns
from fraudloom.states.taken import taken
from fraudloom.tables import Columns

_AUTH = {
    "ordinal": "_ordinal",
    "ts": "ts_utc",
    "channel": "channel_group",
    "flow_type": "flow_type",
    "first": "first_response_code",
    "step": "step_up_result",
    "latency_ms": "issuer_latency_ms",
}
_EVENT = {
    **{k: _AUTH[k] for k in ("ordinal", "ts")},
    "sent": "auth_sent_utc",
    "response_ts": "response_ts_utc",
    "clear_ts": "clear_ts_utc",
    "refund_ts": "refund_ts_utc",
    "reversal_ts": "reversal_ts_utc",
    "amount": "amount_minor",
    "cleared": "cleared_minor",
    "refunded": "refunded_minor",
    "reversed": "reversed_minor",
    **{k: _AUTH[k] for k in ("flow_type", "first", "step", "channel")},
    "response": "response_code",
    "attempts": "attempts",
    "trace": "branch_trace",
}
_SETTLED = (
    *("clear_ts_utc", "refund_ts_utc", "reversal_ts_utc", "cleared_minor", "refunded_minor", "reversed_minor"),
    *("flow_outcome", "payment_state", "branch_trace"),
)


def settle(plan: S2Plan, world: Any, flows: Columns, rows: Array, evidence: EvidenceArray) -> None:
    """Recompute times and settlement of the given rows (int64[m]) from their decided columns, in place.

    Writes auth_sent_utc, response_ts_utc, the clearing, refund and reversal columns, the returned and reversed outcomes
    (flow_outcome, payment_state) and their bits of branch_trace. Draws AUTH_TIME, BRANCH_DECISION, SETTLEMENT_TIME and
    SETTLED_AMOUNT for every given row; a pack without settlement draws AUTH_TIME only and leaves the rest null.
    """
    rows = np.asarray(rows, np.int64)
    own_columns(flows)
    auth = ks.AuthColumns(**{k: flows[v] for k, v in _AUTH.items()})
    sent, answered = flows["auth_sent_utc"], flows["response_ts_utc"]
    ks.time_auth(rows, auth, plan.auth, plan.keys, evidence, sent, answered, flows["branch_trace"])
    if not plan.settlement:
        return
    columns = ks.SettleColumns(
        ordinal=flows["_ordinal"],
        response_ts=answered,
        amount=flows["amount_minor"],
        merchant=flows["merchant_id"],
        series=flows["series_key"],
        channel=flows["channel_group"],
        currency=flows["currency"],
        country=flows["merchant_country"],
        pinned=flows["is_pinned"],
        alerted=flows["alerted"],
        settled=(flows["response_code"] == RC_00) & (flows["flow_type"] != CARD_CREDIT),
    )
    out = ks.Settled(*(flows[name] for name in _SETTLED))
    ks.settle_flows(rows, columns, plan.settle, plan.currency, plan.amount, plan.keys, evidence, out)


def build_events(plan: S2Plan, flows: Columns, evidence: EvidenceArray) -> Columns:
    """Events of the given flows (any rows, in any order), from their columns alone: the same flow, the same events.

    Returns the columns of s2_event_stream_baseline_6B and `_flow_row` (int64, row in `flows`), in (ts_utc, flow_id,
    event_seq) order. Draws EVENT_SPLIT for every given row (none in a pack without settlement).
    """
    f = ke.FlowColumns(**{k: own(flows[v]) for k, v in _EVENT.items()})
    n = len(f.ts)
    start = np.zeros(n + 1, np.int64)
    ke.count_events(f, not plan.settlement, start)
    m = int(start[-1])
    types = (np.int64, np.int32, np.int8, np.int64, np.int64, np.int8, np.int8)
    e = ke.EventColumns(*(np.empty(m, t) for t in types))
    if plan.settlement:
        ke.build_events(f, plan.split, start, plan.keys, evidence, e)
    else:
        ke.build_auth_events(f, start, e)
    order, work = np.empty((2, m), np.int64)
    ids = taken(flows["flow_id"], e.flow)
    ke.time_order(e.ts, ids, e.seq, work, order)
    flow, minor = taken(e.flow, order), taken(e.amount, order)
    return {
        "flow_id": taken(ids, order),
        "event_seq": taken(e.seq, order),
        "event_type": taken(e.kind, order),
        "ts_utc": taken(e.ts, order),
        "amount": minor / taken(plan.currency.minor[flows["currency"]], flow),
        "amount_minor": minor,
        "response_code": taken(e.code, order),
        "attempt": taken(e.attempt, order),
        "_flow_row": flow,
    }
