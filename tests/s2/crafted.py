"""What the tests of S2 share: a woven world, copies of its frame, and flows made by hand from its rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import load_contracts
from fraudloom.states import s2
from fraudloom.states.s2 import S2Frame, S2Plan
from fraudloom.tables import Columns

CONTRACTS = load_contracts()
HOUR = 3_600_000_000


@dataclass(frozen=True)
class Woven:
    """A world as one shard: plan, census, what S1 and S2 made of it, and S2's evidence."""

    world: Any
    plan: S2Plan
    busy: dict[str, Any]
    arrivals: Columns
    sessions: Columns
    frame: S2Frame
    evidence: Any


def code(enum: str, label: str) -> int:
    """Code of a label."""
    return CONTRACTS.code(enum, label)


def copied(frame: S2Frame) -> S2Frame:
    """A frame whose columns can be changed."""
    parts = ({k: v.copy() for k, v in t.items()} for t in (frame.flows, frame.events, frame.links))
    return S2Frame(*parts)


def taken(flows: Columns, rows: Any) -> Columns:
    """Copies of the given rows."""
    return {k: v[rows].copy() for k, v in flows.items()}


def spree(woven: Woven, channel: str, n: int, gap_us: int, **columns: Any) -> Columns:
    """n flows of one card, cloned from the channel's first plain flow, `gap_us` apart and late in the horizon.

    `columns`: values (or arrays) that replace those of the clone. Ordinals and ids are new.
    """
    flows = woven.frame.flows
    plain = (flows["channel_group"] == code("channel_group", channel)) & (flows["instrument_id"] > 0)
    plain &= (flows["flow_type"] != code("flow_type", "CARD_CREDIT")) & (flows["series_key"] == 0)
    row = int(np.flatnonzero(plain)[0])
    out = taken(flows, np.full(n, row))
    out["ts_utc"] = woven.world.end_us - 200 * HOUR + np.arange(n, dtype=np.int64) * gap_us
    out["_ordinal"] = 80_000_000 + np.arange(n, dtype=np.int64)
    out["flow_id"] = np.arange(1, n + 1, dtype=np.int64)
    for name, value in columns.items():
        out[name] = np.broadcast_to(np.asarray(value, out[name].dtype), n).copy()
    return out


def decided(woven: Woven, flows: Columns, blocks: Any = None, redo: Any = None) -> Columns:
    """The flows after the issuer, settled."""
    n = len(flows["_ordinal"])
    evidence = woven.plan.decisions.new_evidence()
    mask = np.ones(n, np.bool_) if redo is None else redo
    s2.decide(woven.plan, woven.world, flows, mask, blocks, woven.busy, evidence)
    s2.settle(woven.plan, woven.world, flows, np.arange(n), evidence)
    return flows


def kinds(woven: Woven, flows: Columns, row: int) -> list[str]:
    """Event types of one flow in order."""
    events = s2.build_events(woven.plan, taken(flows, [row]), woven.plan.decisions.new_evidence())
    return [CONTRACTS.enum("event_type")[k] for k in events["event_type"]]
