"""The issuer's policy as arrays: features, thresholds, hazards, outages and the watched entities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.kernels.fmath import log, ndtr
from fraudloom.kernels.issuer import DecideRule, HistoryRule
from fraudloom.kernels.issuer_risk import FEATURES
from fraudloom.kernels.streams import uniform
from fraudloom.rng import Streams
from fraudloom.states.s2.tables import DAY_US, Array, WorldTables

Doc = Mapping[str, Any]
SETS = ("NOT_PRESENT", "PRESENT", "CASH", "RAIL")
GROUPS = ("AUTHENTICATED", "NOT_AUTHENTICATED", "MERCHANT_INITIATED", "PRESENT", "CASH", "RAIL")
CODES = ("05", "14", "54", "55", "N7", "61", "65", "75", "41", "43", "04", "96", "R0", "R1")
STEP_TERMS = ("intercept", "large", "risk", "exempt", "regulated", "new_payee")
FAMILY = "rng_event_issuer_decision"
#: Groups of addresses that many customers share, hence watched.
SHARED_GROUPS = ("MOBILE_CARRIER", "PUBLIC_SHARED", "HOSTING_DATACENTRE", "ANONYMIZER_PROXY")
#: Counters of one issuer's outages in the stream ISSUER_OUTAGE.
OUTAGE_STRIDE = 1 << 16
MAX_OUTAGES = 30_000


def history_rule(doc: Doc) -> HistoryRule:
    """Memories and speeds of the issuer."""
    h = doc["history"]
    return HistoryRule(
        hour_s=float(h["hour_s"]),
        day_s=float(h["day_s"]),
        burst_s=float(h["burst_s"]),
        decline_s=float(h["decline_s"]),
        spend_s=float(h["spend_days"]) * 86400.0,
        mean_flows=float(h["mean_flows"]),
        trust=float(h["trust"]),
        short_us=int(float(h["short_of_funds_h"]) * 3.6e9),
        short_factor=float(h["short_of_funds_factor"]),
        strikes_us=int(float(h["strikes_h"]) * 3.6e9),
        travel_km=float(h["travel"]["km"]),
        slow_kmh=float(h["travel"]["slow_kmh"]),
        fast_kmh=float(h["travel"]["fast_kmh"]),
    )


def _step(doc: Doc, contracts: Contracts) -> Array:
    table = np.zeros((len(contracts.enum("channel_group")), len(STEP_TERMS)))
    for channel in ("ECOM", "HYBRID", "BANK_RAIL"):
        law = doc["step_up"][channel]
        table[contracts.code("channel_group", channel)] = [float(law.get(k, 0.0)) for k in STEP_TERMS]
    return table


def block_laws(doc: Doc) -> Array:
    """Truncated lognormals in microseconds, float64[3, 4]: score blocks of cards, new cards by post, virtual ones."""
    b = doc["blocks"]
    rows = ((b["hold_h"], 3.6e9), (b["reissue_days"], 8.64e10), (b["reissue_virtual_min"], 6e7))
    return np.array(
        [[law["median"] * unit, law["sigma"], law["lo"] * unit, law["hi"] * unit] for law, unit in rows], np.float64
    )


def _latency(timing: Doc, streams: Streams, issuers: int) -> Array:
    """Per issuer: median (ms), and the normal CDF of log(bound / median) / sigma at lo, timer, lo, cash timer."""
    law = timing["issuer"]["latency_ms"]
    key = streams.key(FAMILY, "ISSUER_LATENCY")
    sigma = float(law["sigma"])
    bounds = [float(law["lo"]), float(timing["issuer"]["timer_s"]) * 1000.0]
    bounds += [float(law["lo"]), float(timing["issuer"]["timer_cash_s"]) * 1000.0]
    out = np.zeros((issuers, 5))
    for k in range(issuers):
        u = float(uniform(key, k))
        out[k, 0] = float(law["median"]) * (1.0 + float(timing["issuer"]["spread"]) * (2.0 * u - 1.0))
        out[k, 1:] = [float(ndtr(log(b / out[k, 0]) / sigma)) for b in bounds]
    return out


def outages(doc: Doc, streams: Streams, w: WorldTables) -> tuple[Array, Array]:
    """(start int64[issuers + 1], rows int64[m, 3]: from, to, end of the trouble after it), microseconds."""
    law = doc["outages"]
    key = streams.key(FAMILY, "ISSUER_OUTAGE")
    lo, hi = int(law["per_90_days"]["lo"]), int(law["per_90_days"]["hi"])
    start, rows = [0], []
    for k in range(len(w.issuer_country)):
        base = k * OUTAGE_STRIDE
        count = lo + int(float(uniform(key, base)) * (hi - lo + 1))
        count = min(MAX_OUTAGES, round(count * w.days / 90.0))
        for j in range(count):
            at = w.start_us + int(float(uniform(key, base + 1 + 2 * j)) * w.days * DAY_US)
            u = float(uniform(key, base + 2 + 2 * j))
            minutes = float(law["minutes"]["lo"]) + u * (float(law["minutes"]["hi"]) - float(law["minutes"]["lo"]))
            length = int(minutes * 6e7)
            rows.append([at, at + length, at + length + int(length * float(law["after_factor"]))])
        start.append(len(rows))
    return np.array(start, np.int64), np.array(rows, np.int64).reshape(-1, 3)


def decide_rule(doc: Doc, timing: Doc, contracts: Contracts, streams: Streams, w: WorldTables) -> DecideRule:
    """Arrays of `issuer_decide`. A feature that a set does not list has coefficient 0, a code probability 0."""
    coef = np.array([[float(doc["risk"][s].get(f, 0.0)) for f in FEATURES] for s in SETS])
    levels = [[int(doc["thresholds"][s][k]) for k in ("alert", "decline", "again", "block")] for s in SETS]
    hazards = np.array([[float(doc["declines"][g].get(c, 0.0)) for c in CODES] for g in GROUPS])
    codes = np.array([contracts.code("response_code", c) for c in CODES], np.int8)
    retries, out = doc["retries"], doc["outages"]
    start, rows = outages(doc, streams, w)
    return DecideRule(
        coef=coef,
        thresholds=np.array(levels, np.int64),
        step=_step(doc, contracts),
        abandoned=float(doc["step_up"]["abandoned"]),
        soft_retry=float(doc["step_up"]["soft_retry"]),
        after_share=float(out["after_share"]),
        timeout=float(out["timeout"]),
        floor_ref=int(out["floor_ref"]),
        approve=float(out["approve"]),
        outside=float(out["outside_floor"]),
        retry_share=np.array([float(retries[k]["share"]) for k in ("unavailable", "funds")]),
        retry_success=np.array([float(retries[k]["success"]) for k in ("unavailable", "funds")]),
        funds=np.array([float(doc["declines"][g]["funds"]) for g in GROUPS]),
        soft=np.array([float(doc["declines"][g].get("soft", 0.0)) for g in GROUPS]),
        hazard_cum=np.cumsum(hazards, axis=1),
        hazard_code=np.tile(codes, (len(GROUPS), 1)),
        check_failed=float(doc["check_failed_decline"]),
        hold=block_laws(doc)[[0, 2]],
        lost_share=float(doc["blocks"]["lost_share"]),
        latency=_latency(timing, streams, len(w.issuer_country)),
        latency_sigma=float(timing["issuer"]["latency_ms"]["sigma"]),
        stand_in_ms=int(timing["issuer"]["stand_in_ms"]),
        timer_ms=np.array([int(float(timing["issuer"][k]) * 1000.0) for k in ("timer_s", "timer_cash_s")], np.int64),
        outage_start=start,
        outage=rows,
    )


def usual_census(doc: Doc, contracts: Contracts, w: WorldTables) -> tuple[Array, Array, Array]:
    """(merchant_slot int32[merchants], ip_slot int32[ips], usual float64[slots]).

    Merchants: the most arrivals first, ties to the lower id, those with none left out. Addresses: of shared groups,
    by id.
    """
    totals = w.arrivals_total
    order = np.argsort(-totals, kind="stable")[: int(doc["merchants"])]
    order = order[totals[order] > 0]
    merchant_slot = np.full(len(totals), -1, np.int32)
    merchant_slot[order] = np.arange(len(order), dtype=np.int32)
    shared = np.isin(w.ip_group, [contracts.code("ip_group", g) for g in SHARED_GROUPS])
    watched = np.flatnonzero(shared)[: int(doc["addresses"])]
    ip_slot = np.full(len(w.ip_group), -1, np.int32)
    ip_slot[watched] = np.arange(len(watched), dtype=np.int32)
    return merchant_slot, ip_slot, totals[order] / (w.days * 24.0)
