"""S2 on one shard: arrivals and sessions to flows, events and links."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s2.decide import Busy, decide
from fraudloom.states.s2.frame import S2Frame, plan_flows, time_rows
from fraudloom.states.s2.plan import S2Plan
from fraudloom.states.s2.settle import build_events, settle
from fraudloom.tables import Columns


def weave(
    plan: S2Plan, world: Any, arrivals: Columns, sessions: Columns, busy: Busy, evidence: EvidenceArray
) -> S2Frame:
    """Flows, events and links of one shard.

    arrivals: of S1, in (ts_utc, merchant_id, arrival_seq) order, with `_ordinal` and `_session_row`; sessions: with
    `_ordinal`; busy: the census of the scenario; evidence: uint64[decisions, 2], added to.
    """
    flows, links = plan_flows(plan, arrivals, sessions, evidence)
    n = len(flows["_ordinal"])
    decide(plan, world, flows, np.ones(n, np.bool_), None, busy, evidence)
    order = time_rows(flows["ts_utc"], flows["flow_id"])
    if not np.array_equal(order, np.arange(n)):
        flows = {name: values[order] for name, values in flows.items()}
    settle(plan, world, flows, np.arange(n, dtype=np.int64), evidence)
    return S2Frame(flows, build_events(plan, flows, evidence), links)
