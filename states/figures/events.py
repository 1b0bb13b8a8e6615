"""Figures of S2's events: how long an authorisation takes, when it is tried again, in which order events stand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fraudloom.states.figures.family import SOFT, Family, Shard, bits, ranks, starts
from fraudloom.states.figures.plan import FigurePlan, Values
from fraudloom.states.figures.tally import Shares, Tally
from fraudloom.states.figures.town import DAY_US, Town
from fraudloom.states.score.surfaces import BASE_EVENTS, BASE_FLOWS
from fraudloom.tables import Columns

SECOND_US = 1_000_000
#: A soft decline shows as these events, in this order.
SOFT_ORDER = (
    "AUTH_REQUEST",
    "AUTH_RESPONSE",
    "STEP_UP_CHALLENGE",
    "STEP_UP_COMPLETE",
    "AUTH_REQUEST",
    "AUTH_RESPONSE",
)
RETRY_S = {"outage": 120, "funds": 600}


def _authorisation(e: Columns, settled: list[int]) -> Columns:
    """Events of authorisations, by flow and event_seq."""
    keep = ~np.isin(e["event_type"], settled)
    rows = {k: v[keep] for k, v in e.items()}
    order = np.argsort(rows["flow_id"], kind="stable")
    flow, seq = rows["flow_id"][order], rows["event_seq"][order]
    if ((flow[1:] == flow[:-1]) & (seq[1:] <= seq[:-1])).any():
        order = np.lexsort((rows["event_seq"], rows["flow_id"]))
    return {k: v[order] for k, v in rows.items()}


def _events(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del shares
    code = town.world.contracts.code
    all_events = shard[BASE_EVENTS]
    tally.add("events_late", (all_events["ts_utc"] > town.world.end_us + plan.horizon_days * DAY_US).sum())
    tally.add("events", len(all_events["ts_utc"]))
    e = _authorisation(all_events, [code("event_type", x) for x in ("CLEARING", "REFUND", "REVERSAL")])
    kind, ts, flow = e["event_type"], e["ts_utc"], e["flow_id"]
    first = starts(flow)
    run = np.cumsum(first) - 1
    n = int(first.sum())
    challenged = np.bincount(run[kind == code("event_type", "STEP_UP_CHALLENGE")], minlength=n) > 0
    # Each AUTH_RESPONSE and the AUTH_REQUEST that it answers.
    asks = np.isin(kind, [code("event_type", x) for x in ("AUTH_REQUEST", "AUTH_RESPONSE")])
    at = np.flatnonzero(asks)
    is_answer = kind[at] == code("event_type", "AUTH_RESPONSE")
    pair = np.flatnonzero(is_answer[1:] & ~is_answer[:-1] & (run[at][1:] == run[at][:-1]))
    asked, answered = at[pair], at[pair + 1]
    took = (ts[answered] - ts[asked]) // 1000
    tally.count("took_ms", took)
    tally.count("took_plain_ms", took[~challenged[run[answered]]])
    # A second request without a challenge is a retry of the answer before it.
    again = np.flatnonzero(~is_answer[1:] & is_answer[:-1] & (run[at][1:] == run[at][:-1]))
    before, after = at[again], at[again + 1]
    plain = ~challenged[run[after]]
    before, after = before[plain], after[plain]
    wait = ts[after] - ts[before]
    said = e["response_code"][before]
    for name, codes in (("outage", ("91", "96")), ("funds", ("51",))):
        mine = np.isin(said, [code("response_code", x) for x in codes])
        tally.add(f"retried_{name}", mine.sum())
        tally.add(f"retried_late_{name}", (mine & (wait > RETRY_S[name] * SECOND_US)).sum())
    _soft(shard[BASE_FLOWS], e, first, run, town, tally)


def _soft(
    f: Columns,
    e: Columns,
    first: npt.NDArray[np.bool_],
    run: npt.NDArray[np.int64],
    town: Town,
    tally: Tally,
) -> None:
    """Flows whose soft decline was answered by authentication against flows whose events show it."""
    code = town.world.contracts.code
    passed = f["step_up_result"] == code("step_up_result", "PASSED")
    wanted = f["flow_id"][bits(f["branch_trace"], SOFT) & passed]
    length = np.bincount(run, minlength=int(first.sum()))
    place = ranks(first)
    order = np.array([code("event_type", x) for x in SOFT_ORDER])
    fits = e["event_type"] == order[np.minimum(place, len(order) - 1)]
    soft = [code("response_code", x) for x in ("1A", "65")]
    fits &= (place != 1) | np.isin(e["response_code"], soft)
    right = (np.bincount(run, weights=fits) == length) & (length == len(order))
    shown = e["flow_id"][first][right]
    tally.add("soft", len(wanted))
    tally.add("soft_astray", len(np.setxor1d(wanted, shown)))


def _read_events(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del town, plan, shares

    def seconds(name: str, numerator: int, denominator: int) -> float | None:
        found = tally.quantile(name, numerator, denominator)
        return None if found is None else found / 1000

    return {
        "end_to_end.p50_s": seconds("took_ms", 1, 2),
        "end_to_end.p99_s": seconds("took_ms", 99, 100),
        "end_to_end.p99_plain_s": seconds("took_plain_ms", 99, 100),
        "retries.outage_late": tally.total("retried_late_outage"),
        "retries.funds_late": tally.total("retried_late_funds"),
        "step_up.soft_astray": tally.total("soft_astray"),
        "horizon.events_late": tally.total("events_late"),
    }


EVENTS = (
    Family(
        "events",
        {
            BASE_EVENTS: ("flow_id", "event_seq", "event_type", "ts_utc", "response_code"),
            BASE_FLOWS: ("flow_id", "branch_trace", "step_up_result"),
        },
        (
            "end_to_end.p50_s",
            "end_to_end.p99_s",
            "end_to_end.p99_plain_s",
            "retries.outage_late",
            "retries.funds_late",
            "step_up.soft_astray",
            "horizon.events_late",
        ),
        _events,
        _read_events,
    ),
)
