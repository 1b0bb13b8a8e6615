"""Restricted runs from S0 to the seal: S5 passes what was switched off, and the run report notes what was clamped."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from keys.leaves import override
from s0 import breaking as br
from toy.worlds import small_world

from fraudloom.errors import FraudloomError
from fraudloom.policies_api import packs_root, read_yaml
from fraudloom.run import run_world
from fraudloom.spec import RunOptions
from fraudloom.states.behaviour import POLICY

pytestmark = pytest.mark.xdist_group("behaviour")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of 3,000 arrivals in three shards."""
    return small_world(tmp_path_factory.mktemp("behaviour"), arrivals=3000, shards=3)


class Place:
    """A world, a folder, and runs of packs that differ from the default in their restrictions."""

    def __init__(self, world: Path, folder: Path) -> None:
        self.world, self.folder = world, folder

    def run(self, changes: Mapping[str, Any], base: str = "default", **more: Any) -> Path:
        """Weave and seal; returns the run's folder."""
        doc = read_yaml(packs_root() / "default" / f"{POLICY}.yaml")
        for path, value in changes.items():
            doc = override(doc, path, value)
        pack = self.folder / "pack"
        shutil.rmtree(pack, ignore_errors=True)
        pack.mkdir()
        profile = "full" if base == "default" else "core"
        (pack / "pack.yaml").write_text(
            f"name: restricted\nprofile: {profile}\nextends: {base}\ndescription: restricted\n"
        )
        (pack / f"{POLICY}.yaml").write_text(yaml.safe_dump(doc, sort_keys=False))
        options: dict[str, Any] = {"world": self.world, "policies": str(pack), "runs_root": self.folder / "runs"}
        result = run_world(RunOptions(**options | {"workers": 1, "quiet": True} | more))
        assert result.verdict == "PASS"
        return Path(str(result.values["run_root"]))


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Place:
    """The world, and a folder for runs."""
    return Place(world, tmp_path)


def report(run: Path) -> dict[str, dict[str, Any]]:
    """Rows of the run report by state."""
    path = br.only(run, "data/layer3/6B/run_report/**/*.jsonl")
    return {r["state"]: r for r in map(json.loads, path.read_text().splitlines())}


def rows(run: Path, dataset: str, where: str = "TRUE") -> int:
    """Rows of a dataset that fulfil a condition."""
    files = f"{run}/data/layer3/6B/{dataset}/**/*.parquet"
    found = duckdb.execute(f"SELECT count(*) FROM read_parquet('{files}') WHERE {where}").fetchone()
    return int(found[0]) if found else 0


SWITCHES = (
    *("S1.sessionisation", "S1.stochastic_boundary", "S2.multi_arrival_flows", "S2.refunds", "S2.reversals"),
    *("S2.partial_clearing", "S3.overlay", "S4.label_history", "S4.cases"),
)


@pytest.mark.parametrize("base", ["default", "two-event"])
def test_everything_off_is_sealed(place: Place, base: str) -> None:
    """A run with every switch off passes S4's proofs and S5, draws and budgets too, under both profiles."""
    run = place.run({f"feature_flags.{s}": False for s in SWITCHES}, base)
    assert rows(run, "s1_session_index_6B") == rows(run, "s1_arrival_entities_6B") == 3000
    assert rows(run, "s2_flow_anchor_baseline_6B") == rows(run, "s3_flow_anchor_with_fraud_6B") == 3000
    assert rows(run, "s4_case_timeline_6B") == 0
    assert rows(run, "s4_flow_truth_labels_6B", "is_fraud_truth") == 0
    assert (run / "SEAL.json").is_file()


def test_labels_without_cases_are_sealed(place: Place) -> None:
    """Fraud, labels and claims without cases and history pass S5; the labels are there."""
    run = place.run({"feature_flags.S4.label_history": False, "feature_flags.S4.cases": False})
    assert rows(run, "s4_label_history_6B") == rows(run, "s4_case_flow_link_6B") == 0
    assert rows(run, "s4_flow_bank_view_6B", "bank_label <> 'NO_CASE_OPENED'") > 0
    assert rows(run, "s4_flow_bank_view_6B", "case_id IS NOT NULL OR case_open_ts_utc IS NOT NULL") == 0
    assert rows(run, "s3_flow_anchor_with_fraud_6B", "fraud_flag") > 0


def test_filtered_and_capped_run_is_sealed(place: Place) -> None:
    """Blocked channels and types, and clamped caps: sealed, with the notes in the rows of the states that clamped."""
    run = place.run(
        {
            "scope_filters.block_channels": ["ATM"],
            "scope_filters.block_campaign_types": ["FRIENDLY_FRAUD"],
            "caps.flows_per_session": 2,
            "caps.overlay_share": 0.005,
        }
    )
    assert 0 < rows(run, "s3_flow_anchor_with_fraud_6B", "fraud_flag") <= 0.005 * 3000
    assert rows(run, "s3_flow_anchor_with_fraud_6B", "fraud_flag AND channel_group = 'ATM'") == 0
    assert rows(run, "s1_session_index_6B", "arrival_count > 2") == 0
    found = report(run)
    assert [n.split(":")[0] for n in found["S1"]["notes"]] == ["caps.flows_per_session"]
    assert [n.split(":")[0] for n in found["S3"]["notes"]] == ["caps.overlay_share"]
    assert found["S3"]["scenario_id"] == "baseline_v1"
    assert all(not found[s]["notes"] for s in ("S0", "S2", "S4", "S5"))


def test_cap_that_may_not_be_clamped_fails_the_state(place: Place) -> None:
    """Posture FAIL: exit status 2, a FAIL row of the state whose cap it is, nothing of it published."""
    with pytest.raises(FraudloomError, match="S1_CAP_EXCEEDED") as caught:
        place.run({"caps.flows_per_session": 2, "degrade.cap_hit": "FAIL"}, run_id="r")
    assert caught.value.exit_status == 2
    found = report(place.folder / "runs" / "r")
    assert (found["S1"]["status"], found["S1"]["error_code"]) == ("FAIL", "S1_CAP_EXCEEDED")


def test_optional_input_is_done_without(place: Place) -> None:
    """A world without device roles: refused by default, sealed and noted when the pack lets states degrade."""
    place.world = Path(shutil.copytree(place.world, place.folder / "poor"))
    br.drop_table(place.world, "data/layer3/6A/s5_device_fraud_roles_6A/**/*.parquet")
    with pytest.raises(FraudloomError, match="S0_SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING"):
        place.run({})
    found = report(place.run({"degrade.optional_missing": "DISABLE"}, fresh=True))
    for state in ("S0", "S3"):
        (note,) = found[state]["notes"]
        assert note.startswith("s5_device_fraud_roles_6A is missing")


def test_seed_out_of_scope_is_refused(place: Place) -> None:
    """A run seed that the pack blocks is refused with status 2, and one FAIL row says why."""
    with pytest.raises(FraudloomError, match="SCOPE_MISS") as caught:
        place.run({"scope_filters.block_seeds": [42]}, run_id="r", seed=42)
    assert caught.value.exit_status == 2
    found = report(place.folder / "runs" / "r")
    assert list(found) == ["S0"] and found["S0"]["status"] == "FAIL" and "SCOPE_MISS" in found["S0"]["error_message"]
