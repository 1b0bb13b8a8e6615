"""Figures of a small sealed run, as it stands or with one table changed while it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from s5.bench import Bench, make_bench
from score.bench import Scored

from fraudloom.policies_api import packs_root
from fraudloom.states import figures
from fraudloom.states.figures import scan
from fraudloom.tables import Columns

ARRIVALS = 12_000
#: What a run of a few thousand arrivals can show.
SMALL = {
    "arrivals_min: 200000": "arrivals_min: 0",
    "currency_flows_min: 5000": "currency_flows_min: 300",
    "issuer_hourly_min: 20.0": "issuer_hourly_min: 0.01",
    "outage_answers_min: 10": "outage_answers_min: 2",
}
Change = Callable[[Columns], None]


def figure_pack(folder: Path, edits: dict[str, str]) -> Path:
    """A pack that differs from the default in its corridors."""
    folder.mkdir()
    (folder / "pack.yaml").write_text(
        "name: small\nprofile: full\nextends: default\ndescription: small runs\n", "utf-8"
    )
    text = (packs_root() / "default" / "run_figures_6B.yaml").read_text("utf-8")
    for old, new in edits.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "run_figures_6B.yaml").write_text(text, "utf-8")
    return folder


@dataclass(frozen=True)
class Figured(Scored):
    """A run to measure: the bench that holds it, and the pack whose corridors count."""

    @cached_property
    def context(self) -> figures.Context:
        """Everything that scans need, with nothing counted."""
        from fraudloom.policies_api import load_pack

        contracts, spec = self.bench.contracts, self.bench.spec
        seal = json.loads((self.bench.root / "SEAL.json").read_text("utf-8"))
        plan = figures.compile_plan(
            load_pack(self.pack, contracts).doc("run_figures_6B"), dict.fromkeys(figures.figure_names())
        )
        surfaces = figures.find_tables(self.bench.root, [e["path"] for e in seal["files"]], contracts)
        town = figures.read_town(self.bench.world_root, spec.mf, contracts)
        return figures.Context(surfaces, town, plan, {})

    def outcomes(self, backwards: bool = False) -> dict[str, figures.Outcome]:
        """Figures of the run, by name; `backwards`: parts in the reverse order."""
        ctx = self.context
        (scenario,) = self.bench.spec.scenarios
        ctx = replace(ctx, shares={scenario: ctx.town.shares()})
        total = figures.Tally()
        for task in sorted(figures.scan_tasks(ctx.surfaces), reverse=backwards):
            total.merge_locked(figures.scan_part((ctx, task)))
        values = figures.values(ctx.families(), total, ctx.town, ctx.plan, ctx.shares[scenario])
        return {o.name: o for o in figures.judge(ctx.plan, values, {}, scenario, 1 << 40, imported=False)}

    def changed(self, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Change]) -> dict[str, figures.Outcome]:
        """Figures when row groups of some datasets are changed as they are read."""
        true = scan.iter_groups

        def groups(path: Path, ds: Any, columns: Any) -> Iterator[Columns]:
            for rows in true(path, ds):
                own = {k: v.copy() for k, v in rows.items()}
                changes.get(ds.id, dict)(own)
                yield {k: v for k, v in own.items() if k in columns}

        with monkeypatch.context() as m:
            m.setattr(scan, "iter_groups", groups)
            return self.outcomes()


def make_figured(folder: Path, policies: str = "default") -> Figured:
    """Weave and seal a run of a few thousand arrivals."""
    bench: Bench = make_bench(folder, policies, ARRIVALS)
    return Figured(bench, figure_pack(folder / "corridors", SMALL))
