"""Figures of sessions (S1) and of flows of several arrivals (S2)."""

from __future__ import annotations

import numpy as np

from fraudloom.states.figures.family import ATM, LINKS, POS, Family, Shard, starts
from fraudloom.states.figures.plan import FigurePlan, Values
from fraudloom.states.figures.tally import Shares, Tally, ratio
from fraudloom.states.figures.town import Town
from fraudloom.states.score.surfaces import ARRIVALS, BASE_FLOWS, SESSIONS


def _sizes(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del town, plan, shares
    count = shard[SESSIONS]["arrival_count"]
    tally.add("sessions", len(count))
    tally.add("single_sessions", (count == 1).sum())


def _read_sizes(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    return {"sessions.single": tally.share("single_sessions", "sessions")}


def _flows_of_sessions(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del town, plan, shares
    _, flows = np.unique(shard[BASE_FLOWS]["session_id"], return_counts=True)
    tally.add("sessions_of_flows", len(flows))
    tally.add("multi_flow_sessions", (flows > 1).sum())


def _read_flows_of_sessions(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    return {"sessions.multi_flow": tally.share("multi_flow_sessions", "sessions_of_flows")}


def _keys(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    """Arrivals by key (party and instrument, or party and device) in time order: where sessions end."""
    del town, shares
    a = shard[ARRIVALS]
    present = (a["channel_group"] == POS) | (a["channel_group"] == ATM)
    entity = 2 * np.where(present, a["instrument_id"], a["device_id"]) + present
    order = np.lexsort((entity, a["party_id"]))
    session, ts, kind = a["session_id"][order], a["ts_utc"][order], present[order].astype(np.int64)
    later = ~starts(a["party_id"][order], entity[order])
    stays = np.zeros(len(order), np.bool_)
    stays[1:] = later[1:] & (session[1:] == session[:-1])
    tally.add("session_runs", len(order) - stays.sum())
    tally.add("session_ids", len(np.unique(session[~stays])))
    gap = np.zeros(len(order), np.int64)
    gap[1:] = ts[1:] - ts[:-1]
    timeout, hard = (np.asarray(x, np.int64)[kind] for x in (plan.timeout_us, plan.break_us))
    tally.add("early_breaks", (later & ~stays & (gap <= timeout)).sum())
    tally.add("late_joins", (stays & (gap > hard)).sum())
    between = later & (gap > timeout) & (gap <= hard)
    for k, name in enumerate(("remote", "present")):
        mine = between & (kind == k)
        tally.add(f"{name}_between", mine.sum())
        tally.add(f"{name}_gaps_us", gap[mine].sum())
        tally.add("ramp_breaks", (mine & ~stays).sum())


def _read_keys(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, shares
    wanted = 0.0
    for k, name in enumerate(("remote", "present")):
        span = plan.break_us[k] - plan.timeout_us[k]
        beyond = tally.sum(f"{name}_gaps_us") - tally.sum(f"{name}_between") * plan.timeout_us[k]
        wanted += beyond / span
    return {
        "sessions.mixed": float(tally.sum("session_runs") - tally.sum("session_ids")),
        "sessions.late_joins": tally.total("late_joins"),
        "sessions.early_breaks": ratio(tally.sum("early_breaks"), tally.sum("session_runs")),
        "sessions.ramp": ratio(tally.sum("ramp_breaks"), wanted),
    }


def _merged(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    """Arrivals that joined a flow, beside that flow (whose facts are its first arrival's)."""
    del town, shares
    a, links, flows = shard[ARRIVALS], shard[LINKS], shard[BASE_FLOWS]
    several = np.flatnonzero(flows["arrival_count"] > 1)
    several = several[np.argsort(flows["flow_id"][several])]
    ids = flows["flow_id"][several]
    joined = np.flatnonzero(links["link_rank"] > 0)
    tally.add("joined", len(joined))
    if not len(ids):
        tally.add("joined_wrongly", len(joined))
        return
    wanted = links["flow_id"][joined]
    spot = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    flow = several[spot]
    wait = a["ts_utc"][joined] - flows["ts_utc"][flow]
    right = (ids[spot] == wanted) & (wait >= 0) & (wait <= plan.merge_us)
    for column in ("merchant_id", "instrument_id"):
        right &= a[column][joined] == flows[column][flow]
    tally.add("joined_wrongly", (~right).sum())


def _read_merged(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares
    return {"flows.joined_wrongly": tally.total("joined_wrongly")}


GROUPED = (
    Family("sizes of sessions", {SESSIONS: ("arrival_count",)}, ("sessions.single",), _sizes, _read_sizes),
    Family(
        "flows of sessions",
        {BASE_FLOWS: ("session_id",)},
        ("sessions.multi_flow",),
        _flows_of_sessions,
        _read_flows_of_sessions,
    ),
    Family(
        "keys of sessions",
        {ARRIVALS: ("party_id", "instrument_id", "device_id", "channel_group", "session_id", "ts_utc")},
        ("sessions.mixed", "sessions.late_joins", "sessions.early_breaks", "sessions.ramp"),
        _keys,
        _read_keys,
    ),
    Family(
        "arrivals of flows",
        {
            ARRIVALS: ("merchant_id", "instrument_id", "ts_utc"),
            LINKS: ("flow_id", "link_rank"),
            BASE_FLOWS: ("flow_id", "merchant_id", "instrument_id", "ts_utc", "arrival_count"),
        },
        ("flows.joined_wrongly",),
        _merged,
        _read_merged,
    ),
)
