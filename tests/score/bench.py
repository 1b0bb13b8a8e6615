"""A small sealed run, a pack whose gates it passes, and copies of it to break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from s5.bench import Bench, make_bench

from fraudloom.policies_api import packs_root
from fraudloom.receipts import RunFolder
from fraudloom.scoring import score_run
from fraudloom.states.score import GateResult, Report
from fraudloom.tables import Columns

ARRIVALS = 12_000
#: What a run of a few thousand arrivals can pass: every gate reads it; small currencies count, small classes do not.
SMALL = {
    "realism_from_arrivals: 200000": "realism_from_arrivals: 0",
    "currency_flows_min: 1000": "currency_flows_min: 300",
    "class_share_min: 0.01 ": "class_share_min: 0.02 ",
    "rate_spread: {b: {min: 0.03}": "rate_spread: {b: {min: 0.015}",
}
Change = Callable[[Columns], None]


def gate_pack(folder: Path, edits: Mapping[str, str]) -> Path:
    """A copy of the default pack with other gates."""
    shutil.copytree(packs_root() / "default", folder)
    path = folder / "realism_gates_6B.yaml"
    text = path.read_text("utf-8")
    for old, new in edits.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return folder


@dataclass(frozen=True)
class Scored:
    """A run to score: the bench that holds it, and the pack whose gates count."""

    bench: Bench
    pack: Path

    @property
    def run(self) -> RunFolder:
        """The run's folder with its receipt."""
        receipt = json.loads((self.bench.root / "run_receipt.json").read_text("utf-8"))
        return RunFolder(self.bench.root, receipt)

    def copy(self, folder: Path) -> Scored:
        """The same run in another folder; the world stays where it is."""
        root = folder / "run"
        shutil.copytree(self.bench.root, root, ignore=shutil.ignore_patterns(".work"))
        return replace(self, bench=replace(self.bench, root=root))

    def edit(self, dataset: str, change: Change) -> None:
        """Change every part of a dataset, with the contracts' writer."""
        single = self.bench.contracts.dataset(dataset).part == "single"
        for part in range(1 if single else self.bench.spec.parts):
            self.bench.rewrite(dataset, change, part, journal=False)

    def score(self, **options: Any) -> Report:
        """The report on the run as it now is."""
        return self.both(**options)[1]

    def both(self, **options: Any) -> tuple[dict[str, Any], Report]:
        """Plain data and report."""
        options = {"policies": str(self.pack), "world": self.bench.world_root, "workers": 1} | options
        return score_run(self.run, self.bench.contracts, **options)


def gates(report: Report) -> dict[str, GateResult]:
    """Results by gate."""
    return {g.gate.id: g for g in report.gates}


def found(report: Report) -> dict[str, float | None]:
    """Figures by gate and measure."""
    return {f"{g.gate.id}.{m.measure.name}": m.found.value for g in report.gates for m in g.measures}


def make_scored(folder: Path, policies: str = "default", arrivals: int = ARRIVALS) -> Scored:
    """Weave and seal a run of a few thousand arrivals."""
    return Scored(make_bench(folder, policies, arrivals), gate_pack(folder / "gates", SMALL))
