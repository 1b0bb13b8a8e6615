"""Checks of a scenario as a whole: coverage over all parts, keys across parts, the campaign catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.states.s5.context import BUCKET_SHIFT, Context
from fraudloom.states.s5.evidence import CATALOGUE, ShardBudgets
from fraudloom.states.s5.findings import Findings
from fraudloom.states.s5.joins import Array, IdIndex, decode, unsorted
from fraudloom.states.s5.parts import Journal, PartReader, ShardUnreadableError
from fraudloom.states.s5.tally import Tally
from fraudloom.tables import Columns, empty_columns

CAMPAIGN = "REQ_CAMPAIGN_INTEGRITY"


def read_catalogue(
    root: Path,
    axes: dict[str, str],
    tokens: dict[str, object],
    contracts: Contracts,
    profile: str,
    journal: Journal,
    findings: Findings,
) -> Columns:
    """The campaign catalogue, checked like a part; empty when it cannot be read."""
    ds = contracts.dataset(CATALOGUE)
    reader = PartReader(root, [ds], profile, tokens, axes, findings)
    cols = empty_columns(ds, 0, profile)
    try:
        groups = [reader.read(CATALOGUE, g) for g in range(reader.groups())]
        if groups:
            cols = {name: np.concatenate([g[name] for g in groups]) for name in groups[0]}
    except ShardUnreadableError:
        pass
    reader.close(journal, findings.scenario, 0)
    findings.rows("REQ_ROW_ORDER", f"{CATALOGUE} sorted", unsorted(cols, ("campaign_id",)))
    return cols


def check_coverage(ctx: Context, tally: Tally) -> None:
    """Every arrival of the world stands once, with its upstream columns: counts, bits and sums of row hashes."""
    f = tally.findings
    f.place = ctx.scenario
    missing = tally.arrivals - int(np.bitwise_count(tally.bits).sum())
    f.one("REQ_ARRIVAL_COVERAGE", "every arrival of 5B in S1", missing == 0, f"{missing} arrivals of 5B are not in S1")
    rows = tally.sums.get("arrivals", 0)
    f.one("REQ_ARRIVAL_COVERAGE", "as many rows", rows == tally.arrivals, f"S1 has {rows} rows, 5B {tally.arrivals}")
    mine = tally.hashes if len(tally.hashes) else np.zeros_like(ctx.upstream.sums)
    wrong = np.flatnonzero(mine != ctx.upstream.sums)
    base = ctx.upstream.base
    for b in wrong[: f.limit]:
        low, high = int(b) << BUCKET_SHIFT, min(tally.arrivals, (int(b) + 1) << BUCKET_SHIFT)
        first, last = (int(np.searchsorted(base, x, side="right")) - 1 for x in (low, max(low, high - 1)))
        f.one(
            "REQ_ARRIVAL_COVERAGE",
            "upstream columns unchanged",
            False,
            f"arrivals {low}..{high - 1} (merchants {first}..{last}) differ from 5B in one of its columns",
        )
    f.one("REQ_ARRIVAL_COVERAGE", "upstream columns unchanged", not len(wrong))


def _repeats(runs: list[Array]) -> int:
    values = np.sort(np.concatenate(runs)) if runs else np.zeros(0, np.int64)
    return int((values[1:] == values[:-1]).sum())


def check_keys(ctx: Context, tally: Tally) -> None:
    """Ordinals of new flows and of cases are distinct over all parts (baseline ones are, because arrivals are)."""
    f = tally.findings
    for rule, runs in (
        ("new flow once in the scenario", tally.overlay_ordinals),
        ("case once in the scenario", tally.case_ordinals),
    ):
        twice = _repeats(runs)
        f.one("REQ_PK_UNIQUENESS", rule, not twice, f"{twice} ordinals stand in two parts")
    ids = ctx.campaigns["campaign_id"]
    f.one(
        "REQ_PK_UNIQUENESS",
        "campaign once",
        len(np.unique(ids)) == len(ids),
        "a campaign stands twice in the catalogue",
    )
    if "slot" in ctx.campaigns:
        off = decode(ctx.keys["campaign"], ids) != ctx.campaigns["slot"]
        f.rows("REQ_PK_UNIQUENESS", "campaign id decodes to its slot", off, shown={"campaign_id": ids})


def check_catalogue(ctx: Context, tally: Tally, budgets: ShardBudgets) -> None:
    """The catalogue counts what rows are tagged with; quotas, windows and rates add up."""
    f, book = tally.findings, ctx.campaigns
    ids = book["campaign_id"]
    shown = {"campaign_id": ids}
    flows = np.array([tally.campaign_flows.get(int(c), [0, 0])[0] for c in ids], dtype=np.int64)
    new = np.array([tally.campaign_flows.get(int(c), [0, 0])[1] for c in ids], dtype=np.int64)
    total = tally.sums.get("s3_flows", 0)
    rate = flows / total if total else np.zeros(len(ids))
    f.rows(CAMPAIGN, "fraud_rate = tagged flows over all flows", book["fraud_rate"] != rate, shown=shown)
    if "realised_flows" not in book:
        f.skip(CAMPAIGN, "realised counts", "not published under this profile")
        return
    f.rows(CAMPAIGN, "realised_flows = tagged flows", book["realised_flows"] != flows, shown=shown)
    f.rows(CAMPAIGN, "realised_new_flows = tagged new flows", book["realised_new_flows"] != new, shown=shown)
    pairs = np.unique(np.concatenate(tally.incidents), axis=0) if tally.incidents else np.zeros((0, 2), np.int64)
    episodes = np.bincount(IdIndex(ids).rows(pairs[:, 0]) + 1, minlength=len(ids) + 1)[1:]
    f.rows(CAMPAIGN, "realised_incidents = tagged incidents", book["realised_incidents"] != episodes, shown=shown)
    shared = len(pairs) - len(np.unique(pairs[:, 1]))
    f.one(CAMPAIGN, "an incident belongs to one campaign", not shared, f"{shared} incidents stand under two campaigns")
    f.rows(
        CAMPAIGN,
        "unfilled = planned - realised",
        book["unfilled_flows"] != np.maximum(0, book["planned_flows"] - flows),
        shown=shown,
    )
    start, end = book["window_start_utc"], book["window_end_utc"]
    f.rows(CAMPAIGN, "window is not empty", start >= end, shown=shown)
    outside = (start < ctx.horizon.start) | (end > ctx.horizon.settled)
    f.rows("REQ_SCENARIO_OOB", "campaign window inside the horizon", outside, shown=shown)
    f.rows(
        CAMPAIGN, "new flows are numbered above the baseline", book["ordinal_base"] < 8 * ctx.upstream.rows, shown=shown
    )
    budgets.add(tally, ctx.decisions, CATALOGUE, book, -1, ctx.plan.loci_per_decision)
