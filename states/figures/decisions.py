"""Figures of the issuer's decision (S2's flows): declines, codes, retries, latency, stand-in, step-up, alerts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fraudloom.contracts_api import Contracts
from fraudloom.kernels.fmath import log
from fraudloom.states.figures.family import (
    ATM,
    BANK_RAIL,
    ECOM,
    HYBRID,
    POS,
    RETRIED,
    SOFT,
    STAND_IN,
    Family,
    Shard,
    bits,
)
from fraudloom.states.figures.plan import FigurePlan, Values
from fraudloom.states.figures.tally import BIN_MIN, Shares, Tally, clock_bins, ratio
from fraudloom.states.figures.town import DAY_US, Town
from fraudloom.states.score.surfaces import BASE_FLOWS
from fraudloom.tables import Columns

#: Kinds of requests: with 3-D Secure, without, merchant-initiated, at a terminal, for cash, on rails.
KINDS = ("ECOM_3DS", "ECOM_plain", "HYBRID_3DS", "HYBRID_plain", "MIT", "POS", "ATM", "RAIL")
#: Code lists of the realism page. "soft" stands for 1A and 65 that ask for authentication.
CODES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "CNP": {
        "51": ("51",),
        "05": ("05",),
        "card_data": ("N7", "54", "14"),
        "soft": ("soft",),
        "59": ("59",),
        "limits": ("61", "65"),
        "outage": ("91", "96"),
        "lost": ("41", "43", "04"),
        "revoked": ("R0", "R1"),
    },
    "POS": {
        "51": ("51",),
        "55": ("55",),
        "05": ("05",),
        "limits": ("61", "65"),
        "54": ("54",),
        "outage": ("91", "96"),
        "59": ("59",),
        "lost": ("41", "43"),
    },
    "ATM": {
        "51": ("51",),
        "55": ("55",),
        "61": ("61",),
        "05": ("05",),
        "outage": ("91", "96"),
        "75": ("75",),
        "lost": ("41", "43"),
    },
}
KINDS_OF = {"CNP": (0, 1, 2, 3, 4), "POS": (5,), "ATM": (6,)}
RETRIED_CODES = ("outage", "outage_all", "funds", "funds_all")
#: Groups of codes of which second requests leave fewer: shares of final declines stand beside those of first answers.
LEFT = {"CNP": ("soft", "outage"), "POS": ("outage",), "ATM": ("outage",)}
LATEST_MS = 30_000
STEPPED = ("ECOM", "HYBRID", "BANK_RAIL")


def asked_of(flows: Columns, contracts: Contracts) -> npt.NDArray[np.bool_]:
    """Flows that the issuer decided: no credits, and nothing that an imported log pins."""
    out: npt.NDArray[np.bool_] = flows["flow_type"] != contracts.code("flow_type", "CARD_CREDIT")
    return out & ~flows["is_pinned"]


def kind_of(flows: Columns, contracts: Contracts) -> npt.NDArray[np.int64]:
    """Place in `KINDS` of each flow."""
    secured = np.isin(
        flows["three_ds"], [contracts.code("three_ds", x) for x in ("FRICTIONLESS", "CHALLENGED", "ATTEMPTED")]
    )
    channel = flows["channel_group"]
    out = np.where(channel == HYBRID, 2, 0) + ~secured
    out[flows["entry_mode"] == contracts.code("entry_mode", "MIT")] = 4
    for code, kind in ((POS, 5), (ATM, 6), (BANK_RAIL, 7)):
        out[channel == code] = kind
    return out.astype(np.int64)


def _answers(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan, shares
    contracts = town.world.contracts
    codes = len(contracts.enum("response_code"))
    f = shard[BASE_FLOWS]
    rows = asked_of(f, contracts)
    f = {k: v[rows] for k, v in f.items()}
    kind, trace = kind_of(f, contracts), f["branch_trace"]
    declined = f["auth_decision"] == contracts.code("auth_decision", "DECLINE")
    tally.bin("asked", kind, len(KINDS))
    tally.bin("declined", kind[declined], len(KINDS))
    ok = contracts.code("response_code", "00")
    soft = bits(trace, SOFT)
    abandoned = f["step_up_result"] == contracts.code("step_up_result", "ABANDONED")
    # What the first answer said; a challenge that nobody finishes is no answer of the issuer.
    first = np.where(soft, codes, f["first_response_code"])
    bad = (f["first_response_code"] != ok) & (soft | ~abandoned)
    tally.bin("first_codes", (kind * (codes + 1) + first)[bad], len(KINDS) * (codes + 1))
    last = np.where(soft & (f["attempts"] == 1), codes, f["response_code"])
    tally.bin("last_codes", (kind * (codes + 1) + last)[declined], len(KINDS) * (codes + 1))
    code = {x: contracts.code("response_code", x) for x in ("59", "62", "51", "91", "96", "14", "41", "43", "54", "R0")}
    tally.add("decided", len(kind))
    tally.add("suspected", (f["response_code"] == code["59"]).sum())
    tally.add("blocked", (f["response_code"] == code["62"]).sum())
    tally.add("alerted", f["alerted"].sum())
    again = bits(trace, RETRIED)
    hurt = np.isin(f["first_response_code"], [code["91"], code["96"]])
    short = f["first_response_code"] == code["51"]
    # Who has just authenticated does not try again, nor does a merchant for a subscription that lacks funds.
    fresh = f["step_up_result"] == contracts.code("step_up_result", "PASSED")
    final = np.isin(f["first_response_code"], [code[x] for x in ("14", "41", "43", "54", "R0")])
    free = {"outage": hurt & ~fresh, "funds": short & ~fresh & (kind != KINDS.index("MIT"))}
    for name, which in (*free.items(), ("outage_all", hurt), ("funds_all", short), ("final", final)):
        tally.add(f"first_{name}", which.sum())
        tally.add(f"again_{name}", (which & (again | (f["attempts"] > 1))).sum())


def _shares_of_codes(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64], labels: tuple[str, ...]) -> Values:
    """Shares of the listed groups, and of all other codes, from int64[kinds, codes] counts of answers."""
    names = (*labels, "soft")
    out: Values = {}
    for family, groups in CODES.items():
        rows = list(KINDS_OF[family])
        for prefix, counts in (("codes", first[rows].sum(axis=0)), ("last_codes", last[rows].sum(axis=0))):
            n = int(counts.sum())
            found = {g: int(sum(counts[names.index(c)] for c in codes)) for g, codes in groups.items()}
            out |= {f"{prefix}.{family}_{g}": ratio(x, n) for g, x in found.items()}
            out[f"{prefix}.{family}_other"] = ratio(n - sum(found.values()), n)
    return out


def _read_answers(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    del plan, shares
    labels = town.world.contracts.enum("response_code")
    asked, declined = tally.bins_of("asked", len(KINDS)), tally.bins_of("declined", len(KINDS))
    size = len(KINDS) * (len(labels) + 1)
    out: Values = {f"declines.{k}": ratio(int(declined[i]), int(asked[i])) for i, k in enumerate(KINDS)}
    first, last = (tally.bins_of(name, size).reshape(len(KINDS), -1) for name in ("first_codes", "last_codes"))
    out |= _shares_of_codes(first, last, labels)
    return out | {
        **{f"retries.{x}": tally.share(f"again_{x}", f"first_{x}") for x in RETRIED_CODES},
        "retries.never": tally.total("again_final"),
        "genuine.suspected": tally.share("suspected", "decided"),
        "genuine.suspected_or_blocked": ratio(tally.sum("suspected") + tally.sum("blocked"), tally.sum("decided")),
        "genuine.alerted": tally.share("alerted", "decided"),
    }


CODE_FIGURES = (
    *(f"codes.{family}_{group}" for family, groups in CODES.items() for group in (*groups, "other")),
    *(f"last_codes.{family}_{group}" for family, groups in LEFT.items() for group in groups),
)


# --- latency, stand-in, step-up -------------------------------------------------------------------------------------


def _times(shard: Shard, town: Town, plan: FigurePlan, tally: Tally, shares: Shares) -> None:
    del plan
    contracts = town.world.contracts
    f = shard[BASE_FLOWS]
    rows = asked_of(f, contracts)
    f = {k: v[rows] for k, v in f.items()}
    result = {x: contracts.code("step_up_result", x) for x in ("PASSED", "ABANDONED")}
    trace, channel = f["branch_trace"], f["channel_group"]
    stood_in = bits(trace, STAND_IN)
    abandoned = f["step_up_result"] == result["ABANDONED"]
    tally.add("authorised", len(trace))
    tally.add("stood_in", stood_in.sum())
    own = ~stood_in & (~abandoned | bits(trace, SOFT))
    tally.bin("latency_ms", np.clip(f["issuer_latency_ms"][own], 0, LATEST_MS), LATEST_MS + 1)
    timer = np.where(channel == ATM, 25_000, 10_000)
    tally.add("beyond_timer", (f["issuer_latency_ms"] > timer).sum())
    stepped = abandoned | (f["step_up_result"] == result["PASSED"])
    tally.bin("requests", channel, 5)
    tally.bin("stepped", channel[stepped], 5)
    tally.add("step_ups", stepped.sum())
    tally.add("abandoned", (stepped & abandoned).sum())
    plain = stepped & ~abandoned & ~bits(trace, SOFT, RETRIED)
    tally.count("step_up_ms", (f["auth_sent_utc"][plain] - f["ts_utc"][plain]) // 1000)
    _clock(f, stood_in, town, tally, shares)


def _clock(f: Columns, stood_in: npt.NDArray[np.bool_], town: Town, tally: Tally, shares: Shares) -> None:
    """Answers that asked for the issuer's own voice, by issuer and five minutes; and by issuer and day."""
    contracts, days = town.world.contracts, town.world.days
    unasked = [contracts.code("response_code", x) for x in ("59", "62", "1A")]
    heard = stood_in | ~(
        np.isin(f["first_response_code"], unasked) | (f["block_state"] != contracts.code("block_state", "NONE"))
    )
    bins = clock_bins(days)
    at = np.clip((f["ts_utc"] - town.world.start_us) // (BIN_MIN * 60_000_000), 0, bins - 1)
    place = (f["issuer_id"] - 1) * bins + at
    asked = np.bincount(place[heard], minlength=len(shares.asked))
    covered = np.bincount(place[heard & stood_in], minlength=len(shares.covered))
    with shares.lock:
        shares.asked += asked
        shares.covered += covered
    cell = (f["issuer_id"] - 1) * days + np.clip((f["ts_utc"] - town.world.start_us) // DAY_US, 0, days - 1)
    tally.bin("stood_in_days", cell[stood_in], town.issuers * days)


def _outages(plan: FigurePlan, town: Town, shares: Shares) -> Values:
    """Outages that rows show: spells in which the network answers everything, of issuers busy enough to show them."""
    hours = town.world.days * 24
    found, longest = [], []
    for issuer in range(town.issuers):
        bins = clock_bins(town.world.days)
        asked, covered = (x[issuer * bins : (issuer + 1) * bins] for x in (shares.asked, shares.covered))
        if asked.sum() < plan.issuer_hourly_min * hours:
            continue
        spell = np.cumsum(asked > covered)  # one number for all bins since the issuer last spoke
        silent = asked == covered
        answers = np.bincount(spell[silent], weights=covered[silent]).astype(np.int64)
        told = np.flatnonzero(answers >= plan.outage_answers_min)
        found.append(len(told))
        with_answers = silent & (covered > 0)
        for k in told.tolist():
            at = np.flatnonzero(with_answers & (spell == k))
            longest.append(int(at[-1] - at[0] + 1) * BIN_MIN)
    return {
        "outages.per_issuer": ratio(sum(found) * 90, len(found) * town.world.days),
        "outages.most": float(max(found)) if found else None,
        "outages.longest_min": float(max(longest)) if longest else None,
    }


def _read_times(tally: Tally, town: Town, plan: FigurePlan, shares: Shares) -> Values:
    asked, stepped = tally.bins_of("requests", 5), tally.bins_of("stepped", 5)
    cells = np.sort(tally.bins_of("stood_in_days", 1))[::-1]
    busiest = cells[: max(1, int(len(cells) * plan.busy_cells_share))]
    out: Values = {
        "latency.p50_ms": _maybe(tally.quantile("latency_ms", 1, 2)),
        "latency.p99_ms": _maybe(tally.quantile("latency_ms", 99, 100)),
        "latency.beyond_timer": tally.total("beyond_timer"),
        "stand_in.share": tally.share("stood_in", "authorised"),
        "stand_in.concentrated": ratio(int(busiest.sum()), int(cells.sum())),
        "step_up.abandoned": tally.share("abandoned", "step_ups"),
    }
    for name, code in (("ECOM", ECOM), ("HYBRID", HYBRID), ("BANK_RAIL", BANK_RAIL)):
        out[f"step_up.{name}"] = ratio(int(stepped[code]), int(asked[code]))
    low, middle, high = (tally.quantile("step_up_ms", *q) for q in ((1586553, 10**7), (1, 2), (8413447, 10**7)))
    out["step_up.median_s"] = None if middle is None else middle / 1000
    wide = low is not None and high is not None and low > 3000
    out["step_up.sigma"] = 0.5 * float(log((high - 3000) / (low - 3000))) if wide and high and low else None
    return out | _outages(plan, town, shares)


def _maybe(x: int | None) -> float | None:
    return None if x is None else float(x)


_REQUEST = ("flow_type", "is_pinned", "channel_group", "branch_trace", "step_up_result", "first_response_code")
DECIDED = (
    Family(
        "answers",
        {
            BASE_FLOWS: (
                *_REQUEST,
                "entry_mode",
                "three_ds",
                "auth_decision",
                "response_code",
                "attempts",
                "alerted",
            ),
        },
        (
            *(f"declines.{k}" for k in KINDS),
            *CODE_FIGURES,
            *(f"retries.{x}" for x in RETRIED_CODES),
            "retries.never",
            "genuine.suspected",
            "genuine.suspected_or_blocked",
            "genuine.alerted",
        ),
        _answers,
        _read_answers,
    ),
    Family(
        "times",
        {BASE_FLOWS: (*_REQUEST, "issuer_id", "issuer_latency_ms", "block_state", "ts_utc", "auth_sent_utc")},
        (
            "latency.p50_ms",
            "latency.p99_ms",
            "latency.beyond_timer",
            "stand_in.share",
            "stand_in.concentrated",
            "outages.per_issuer",
            "outages.most",
            "outages.longest_min",
            *(f"step_up.{c}" for c in STEPPED),
            "step_up.abandoned",
            "step_up.median_s",
            "step_up.sigma",
        ),
        _times,
        _read_times,
    ),
)
