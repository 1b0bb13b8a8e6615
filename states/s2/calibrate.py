"""Numbers of the issuer that give target shares over genuine flows: thresholds of scores, and the chances of 51.

Declines change what an issuer remembers, and so the scores that follow: the pilot is decided again with each round's
numbers, from a start that does not depend on the pack's frozen ones. A run never does this; it reads frozen numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fraudloom.errors import PolicyError
from fraudloom.kernels import payment_codes as pc
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s2.busy import busy_add, busy_new
from fraudloom.states.s2.decide import Busy, decide
from fraudloom.states.s2.frame import plan_flows
from fraudloom.states.s2.plan import S2Plan
from fraudloom.states.s2.plan_issuer import GROUPS, SETS
from fraudloom.states.s2.tables import Array
from fraudloom.tables import Columns

Doc = Mapping[str, Any]
#: Calibrated columns of thresholds; `again`, the third of four, is a choice of the pack and stays.
LEVELS = {"alert": 0, "decline": 1, "block": 3}
ALERT, DECLINE, BLOCK = LEVELS.values()
#: Scores that a threshold may take (issuer_policy_6B), and what `funds` may be.
LOWEST, HIGHEST = 10, 990
FUNDS_START, FUNDS_LOWEST, FUNDS_HIGHEST, FUNDS_DIGITS = 0.1, 0.0001, 1.0, 4
#: Fewer flows than this cannot place a threshold.
FEW = 2.0


@dataclass(frozen=True)
class Solved:
    """thresholds int64[4, 4] by (set, level) and funds float64[6] by group, as solved; `before` and `achieved`: the
    shares that the frozen and these numbers give on the pilot, and `flows`: their denominators, all by policy path;
    `steady`: whether the last round moved no number by more than its tolerance."""

    thresholds: Array
    funds: Array
    before: dict[str, float]
    achieved: dict[str, float]
    flows: dict[str, int]
    steady: bool

    def numbers(self) -> dict[str, float | int]:
        """Solved numbers by path in issuer_policy_6B."""
        out: dict[str, float | int] = {
            f"thresholds.{s}.{level}": int(self.thresholds[i, k])
            for i, s in enumerate(SETS)
            for level, k in LEVELS.items()
        }
        return out | {f"declines.{g}.funds": float(self.funds[i]) for i, g in enumerate(GROUPS)}


@dataclass(frozen=True)
class Pilot:
    """Flows of the pilot, decided with some numbers, and what counting them needs."""

    plan: S2Plan
    world: Any
    flows: Columns
    busy: Busy

    def decide(self, thresholds: Array, funds: Array) -> None:
        """Decide every flow anew with these numbers."""
        rule = self.plan.decide._replace(thresholds=thresholds, funds=funds)
        evidence: EvidenceArray = self.plan.decisions.new_evidence()
        every = np.ones(len(self.flows["_ordinal"]), np.bool_)
        decide(replace(self.plan, decide=rule), self.world, self.flows, every, None, self.busy, evidence)


def pilot(plan: S2Plan, world: Any, arrivals: Columns, sessions: Columns) -> Pilot:
    """The flows of arrivals that S1 attached and cut into sessions (one shard), not decided yet."""
    busy = busy_new(plan)
    busy_add(plan, arrivals, busy)
    flows, _ = plan_flows(plan, arrivals, sessions, plan.decisions.new_evidence())
    return Pilot(plan, world, flows, busy)


def score_sets(flows: Columns) -> Array:
    """Row of SETS of each flow, int64[n]."""
    rows = np.zeros(1 + max(pc.ECOM, pc.POS, pc.ATM, pc.BANK_RAIL, pc.HYBRID), np.int64)
    rows[[pc.POS, pc.ATM, pc.BANK_RAIL]] = [1, 2, 3]
    out: Array = rows[flows["channel_group"]]
    return out


def decline_groups(flows: Columns) -> Array:
    """Row of GROUPS of each flow, int64[n]."""
    channel, tds = flows["channel_group"], flows["three_ds"]
    secure = np.isin(tds, (pc.TDS_FRICTIONLESS, pc.TDS_CHALLENGED, pc.TDS_ATTEMPTED))
    out = np.where(flows["entry_mode"] == pc.MIT, 2, np.where(secure, 0, 1))
    for code, group in ((pc.POS, 3), (pc.ATM, 4), (pc.BANK_RAIL, 5)):
        out = np.where(channel == code, group, out)
    return out


def threshold(scores: Array, wanted: float, most: int = HIGHEST) -> int:
    """The score in [LOWEST, most] that comes closest to `wanted` flows at or above it; ties to the higher one."""
    counts = np.bincount(np.clip(scores, 0, 999), minlength=1000)
    above = np.cumsum(counts[::-1])[::-1]
    levels = np.arange(LOWEST, most + 1)
    misses = np.abs(above[levels] - wanted)
    return int(levels[len(levels) - 1 - np.argmin(misses[::-1])])


def _shares(p: Pilot, thresholds: Array) -> tuple[dict[str, float], dict[str, int]]:
    """Achieved shares and denominators by policy path, of flows that were decided with these thresholds."""
    f = p.flows
    asked, sets, groups = f["flow_type"] != pc.CARD_CREDIT, score_sets(f), decline_groups(f)
    suspect = asked & (f["response_code"] == pc.RC_59)
    begun = suspect & (f["branch_trace"] & pc.T_BLOCKS > 0)
    achieved, flows = {}, {}
    for i, name in enumerate(SETS):
        mine = asked & (sets == i)
        n = int(mine.sum())
        hits = (f["alerted"], suspect, begun & (f["risk_score"] >= thresholds[i, BLOCK]))
        for level, hit in zip(LEVELS, hits, strict=True):
            achieved[f"thresholds.{name}.{level}"] = float((hit & mine).sum()) / max(1, n)
            flows[f"thresholds.{name}.{level}"] = n
    for i, name in enumerate(GROUPS):
        mine = asked & (groups == i)
        flows[f"declines.{name}.funds"] = int(mine.sum())
        achieved[f"declines.{name}.funds"] = float((mine & (f["first_response_code"] == pc.RC_51)).sum()) / max(
            1, int(mine.sum())
        )
    return achieved, flows


def _next(p: Pilot, doc: Doc, funds: Array, achieved: dict[str, float]) -> tuple[Array, Array]:
    """Numbers that would have given the targets, had they not changed what is remembered."""
    f = p.flows
    asked, sets = f["flow_type"] != pc.CARD_CREDIT, score_sets(f)
    free = asked & (f["block_state"] == pc.BLOCK_NONE) | (f["response_code"] == pc.RC_59)
    out = p.plan.decide.thresholds.copy()
    for i, name in enumerate(SETS):
        mine, want = sets == i, doc["thresholds"][name]
        n = int((asked & mine).sum())
        score = f["risk_score"]
        out[i, DECLINE] = threshold(score[free & mine], want["decline"] * n)
        suspect = free & mine & (score >= out[i, DECLINE])
        good = asked & mine & (f["response_code"] == pc.RC_00) & (score < out[i, DECLINE])
        out[i, ALERT] = threshold(score[good], want["alert"] * n, int(out[i, DECLINE]))
        out[i, BLOCK] = threshold(score[suspect], want["block"] * n)
    asked_for = np.array([doc["funds"][g] / max(achieved[f"declines.{g}.funds"], 1e-9) for g in GROUPS])
    moved = np.clip(funds * np.clip(asked_for, 0.25, 4.0), FUNDS_LOWEST, FUNDS_HIGHEST)
    return out, np.array([round(float(x), FUNDS_DIGITS) for x in moved])


def _demand_flows(doc: Doc, flows: dict[str, int]) -> None:
    for path, n in flows.items():
        section, name, level = path.split(".")
        target = doc["thresholds"][name][level] if section == "thresholds" else doc["funds"][name]
        if target * n < FEW:
            raise PolicyError(
                "CALIBRATE",
                "CALIBRATION_PILOT_TOO_SMALL",
                what=f"the pilot has too few flows for the target of {path}",
                found=f"{n} flows, of which {target * n:.2f} are wanted",
                expected=f"at least {FEW:.0f}",
                where="issuer_calibration_6B",
                action="raise pilot.arrivals, or the target",
            )


def solve(p: Pilot, doc: Doc) -> Solved:
    """Solve the numbers of `doc` (issuer_calibration_6B) on a pilot. PolicyError when it is too small for a target."""
    frozen = p.plan.decide
    p.decide(frozen.thresholds, frozen.funds)
    now, _ = _shares(p, frozen.thresholds)
    thresholds = frozen.thresholds.copy()
    thresholds[:, list(LEVELS.values())] = HIGHEST
    funds = np.full(len(GROUPS), FUNDS_START)
    before = thresholds, funds
    for _ in range(int(doc["rounds"])):
        p.decide(thresholds, funds)
        achieved, flows = _shares(p, thresholds)
        _demand_flows(doc, flows)
        before = thresholds, funds
        thresholds, funds = _next(p, doc, funds, achieved)
    p.decide(thresholds, funds)
    achieved, flows = _shares(p, thresholds)
    limits = doc["tolerance"]
    steady = bool(
        np.all(np.abs(thresholds - before[0]) <= limits["score"])
        and np.all(np.abs(funds / before[1] - 1.0) <= limits["funds"])
    )
    return Solved(thresholds, funds, now, achieved, flows, steady)
