"""Figures of a finished run: its published tables and its world against the corridors of a pack."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudloom.contracts_api import Contracts
from fraudloom.pool import Stop, run_all, worker_count
from fraudloom.progress import Progress
from fraudloom.receipts import RunFolder
from fraudloom.scoring import open_reading

if TYPE_CHECKING:
    from fraudloom.states.figures import Outcome

POLICY = "run_figures_6B"
STATE = "FIGURES"


def run_figures(
    run: RunFolder,
    contracts: Contracts,
    *,
    world: Path | None = None,
    policies: str | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], list[Outcome]]:
    """Measure a sealed run over all rows. Returns (plain data of everything, the figures of its scenarios).

    Raises SealError when the run is not sealed or the world is another one, DataError when a published table is not
    there or cannot be decoded, UsageError when the pack of the run is not known, PolicyError when the corridors do not
    fit the figures. Figures whose columns the run's profile does not publish are not applicable.
    """
    from fraudloom.states import figures

    reading = open_reading(run, contracts, world, policies, STATE)
    axes = reading.axes
    plan = figures.compile_plan(reading.pack.doc(POLICY), dict.fromkeys(figures.figure_names()))
    surfaces = figures.find_tables(run.root, reading.files, contracts)
    town = figures.read_town(reading.world_root, str(axes["manifest_fingerprint"]), contracts)
    scenarios = list(axes["scenarios"])
    ctx = figures.Context(surfaces, town, plan, {s: town.shares() for s in scenarios})
    tasks = figures.scan_tasks(surfaces)
    totals, stop = {s: figures.Tally() for s in scenarios}, Stop()
    with (progress or Progress(quiet=True)).task("figures", len(tasks), "parts") as bar:

        def scan(task: tuple[str, int]) -> None:
            stop.check()
            totals[task[0]].merge_locked(figures.scan_part((ctx, task)))
            bar.advance(1)

        with ThreadPoolExecutor(worker_count(workers)) as executor:
            run_all(executor, scan, tasks, stop)
    why_not = {name: why for f in figures.FAMILIES if (why := ctx.why_not(f)) for name in f.figures}
    found = []
    for s in scenarios:
        values = figures.values(ctx.families(), totals[s], town, plan, ctx.shares[s])
        found += figures.judge(plan, values, why_not, s, town.world.n_arrivals(s), town.imported)
    value = {
        **reading.facts(),
        "arrivals": {s: town.world.n_arrivals(s) for s in scenarios},
        "outside": [f"{o.scenario}/{o.name}" for o in found if o.status == "outside"],
        "figures": [o.as_dict() for o in found],
    }
    return value, found
