"""A run on an imported log: its own labels count as they stand, and realism gates leave it alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fraudloom.contracts_api import load_contracts
from fraudloom.receipts import find_runs
from fraudloom.run import run_world
from fraudloom.scoring import score_run
from fraudloom.spec import RunOptions
from fraudloom.states.score import Report
from fraudloom.states.world import import_world
from fraudloom.tables import PartWriter, read_table
from score.bench import gates

pytestmark = pytest.mark.xdist_group("score-import")

TRUTH = "s4_flow_truth_labels_6B"
LABELS = ("0", "1", "ABUSE", "", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 400 rows with labels on three rows of five, as a world."""
    folder = tmp_path_factory.mktemp("import")
    rows = [f"2024-03-{1 + i % 28:02d},Shop {i % 9},{4000 + i % 20},{1000 + i},{LABELS[i % 5]}" for i in range(400)]
    (folder / "log.csv").write_text("\n".join(["at,shop,pan,value,bad", *rows]) + "\n", "utf-8")
    columns = {"timestamp": "at", "merchant": "shop", "card": "pan", "amount": "value", "fraud_label": "bad"}
    source = {"format": "csv", "timezone": "Europe/London", "currency": "GBP", "country": "GB"}
    amount = {"unit": "minor", "credit_sign": "negative"}
    (folder / "map.yaml").write_text(yaml.safe_dump({"source": source, "columns": columns, "amount": amount}), "utf-8")
    import_world(folder / "log.csv", folder / "map.yaml", folder / "world")
    return folder / "world"


def weave(world: Path, runs: Path, policies: str) -> Path:
    """A run on the log."""
    done = run_world(RunOptions(world=world, runs_root=runs, policies=policies, workers=1, quiet=True))
    return Path(str(done.values["run_root"]))


def report(root: Path) -> Report:
    """Its score."""
    run = next(r for r in find_runs(root.parent) if r.root == root)
    return score_run(run, load_contracts(), workers=1)[1]


def relabel(root: Path, profile: str, change: Any) -> None:
    """Change the truth of the run's only part."""
    ds = load_contracts().dataset(TRUTH)
    path = next((root / "data/layer3/6B" / TRUTH).rglob("*.parquet"))
    names = {c.name for c in ds.columns_for(profile)}
    rows = {k: v for k, v in read_table([path], ds, tuple(names)).items() if k in names}
    change(rows)
    writer = PartWriter(path, ds, profile)
    writer.write_group(rows)
    writer.close()


@pytest.mark.parametrize(("policies", "profile"), [("default", "full"), ("two-event", "core")])
def test_labels_of_a_log_count_as_they_stand(world: Path, tmp_path: Path, policies: str, profile: str) -> None:
    """Fraud that the log itself names is no error of truth; another label on such a row is."""
    root = weave(world, tmp_path, policies)
    before = gates(report(root))
    assert before["T3"].status == "PASS_BPLUS" and before["T22"].status == "PASS_BPLUS"
    assert "of " in before["T3"].measures[0].found.note
    assert report(root).verdict == "PASS_STRUCTURE"
    assert {g.status for g in before.values() if not g.gate.structure} == {"NOT_APPLICABLE"}

    def acquit(rows: dict[str, np.ndarray[Any, Any]]) -> None:
        bad = np.flatnonzero(rows["fraud_label"] != 0)
        assert len(bad) > 100
        rows["fraud_label"][bad] = 0

    relabel(root, profile, acquit)
    assert gates(report(root))["T3"].status == "FAIL"
