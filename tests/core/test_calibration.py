"""Frozen numbers of the issuer come from the pilot: solved from any start, written in place, checked by the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fraudloom.calibration import POLICY, TARGETS, Calibration, calibrate, replaced, write
from fraudloom.cli import app
from fraudloom.contracts_api import load_contracts
from fraudloom.errors import PolicyError
from fraudloom.policies_api import load_pack, packs_root

pytestmark = pytest.mark.xdist_group("calibration")
CONTRACTS = load_contracts()
SHIPPED = packs_root() / "default" / f"{POLICY}.yaml"
PILOT = {"arrivals": 6000, "days": 90, "world_seed": 3, "seed": 4}
SHARES = {"alert": 0.03, "decline": 0.04, "block": 0.012}
SETS = ("NOT_PRESENT", "PRESENT", "CASH", "RAIL")
FUNDS = {"AUTHENTICATED": 0.05, "NOT_AUTHENTICATED": 0.08, "MERCHANT_INITIATED": 0.1, "PRESENT": 0.02}


def targets(**pilot: int) -> dict[str, Any]:
    """Targets that a pilot of some thousand arrivals can show."""
    return {
        "policy_id": TARGETS,
        "pilot": {**PILOT, **pilot},
        "rounds": 8,
        "tolerance": {"score": 2, "funds": 0.01},
        "thresholds": {name: dict(SHARES) for name in SETS},
        "funds": {**FUNDS, "CASH": 0.06, "RAIL": 0.04},
    }


def pack_in(folder: Path, policy: str, doc: dict[str, Any]) -> Path:
    """A pack over the default one, with its own issuer and targets."""
    folder.mkdir()
    (folder / f"{POLICY}.yaml").write_text(policy, "utf-8")
    (folder / f"{TARGETS}.yaml").write_text(yaml.safe_dump(doc), "utf-8")
    head = f"name: {folder.name}\nprofile: full\nextends: default\ndescription: calibrated on a tiny pilot\n"
    (folder / "pack.yaml").write_text(head, "utf-8")
    return folder


def of(folder: Path) -> Calibration:
    """Calibration of a pack."""
    return calibrate(load_pack(folder, CONTRACTS), CONTRACTS, folder / "scratch")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Calibration]:
    """The shipped numbers in a pack with a tiny pilot, and what that pilot says."""
    folder = pack_in(tmp_path_factory.mktemp("calibration") / "first", SHIPPED.read_text("utf-8"), targets())
    return folder, of(folder)


def test_solved_numbers_give_the_targets(first: tuple[Path, Calibration]) -> None:
    """The numbers would be solved for something else than what a run then shows."""
    _, found = first
    assert len(found.numbers) == 4 * 3 + 6
    for n in found.numbers:
        room = max(3.0 / n.flows, 0.12 * n.target)
        assert abs(n.achieved - n.target) <= room, n
    assert max(abs(n.before - n.target) / n.target for n in found.numbers) > 0.3


def test_written_numbers_hold_and_a_moved_one_is_brought_back(first: tuple[Path, Calibration], tmp_path: Path) -> None:
    """The frozen numbers would depend on those before them, or a moved one would stay unseen."""
    folder, found = first
    out = tmp_path / "issuer.yaml"
    write(load_pack(folder, CONTRACTS), found, CONTRACTS, out)
    text = out.read_text("utf-8")
    held = of(pack_in(tmp_path / "held", text, targets()))
    assert held.holds and not found.holds
    path = "thresholds.PRESENT.decline"
    (number,) = (n.solved for n in found.numbers if n.path == path)
    moved_text = replaced(text, {path: number + 60})
    moved = of(pack_in(tmp_path / "moved", moved_text, targets()))
    assert [n.path for n in moved.numbers if not n.within] == [path]
    back = tmp_path / "back.yaml"
    write(load_pack(tmp_path / "moved", CONTRACTS), moved, CONTRACTS, back)
    assert back.read_bytes() == out.read_bytes()


def test_writing_changes_numbers_alone() -> None:
    """Comments, order or layout of the policy would be lost."""
    text = SHIPPED.read_text("utf-8")
    changed = replaced(text, {"thresholds.CASH.block": 701, "declines.RAIL.funds": 0.0777})
    pairs = [(a, b) for a, b in zip(text.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert len(pairs) == 2
    doc = yaml.safe_load(changed)
    assert doc["thresholds"]["CASH"]["block"] == 701 and doc["declines"]["RAIL"]["funds"] == 0.0777
    assert replaced(changed, {p: v for p, v in (("thresholds.CASH.block", 1),)}).count("#") == text.count("#")
    with pytest.raises(PolicyError, match="CALIBRATION_KEY_MISSING"):
        replaced(text, {"thresholds.CASH.unheard": 1})


def test_a_pilot_too_small_for_a_target_is_refused(tmp_path: Path) -> None:
    """A threshold would be placed by no flow at all."""
    with pytest.raises(PolicyError, match="CALIBRATION_PILOT_TOO_SMALL") as e:
        of(pack_in(tmp_path / "small", SHIPPED.read_text("utf-8"), targets(arrivals=1000)))
    assert "issuer_calibration_6B" in str(e.value)


def test_the_command_says_and_exits(first: tuple[Path, Calibration], tmp_path: Path) -> None:
    """`--check` would exit 0 for numbers that are off, or write without being asked."""
    folder, _ = first
    before = (folder / f"{POLICY}.yaml").read_bytes()
    run = CliRunner()
    checked = run.invoke(app, ["policies", "calibrate", str(folder), "--check"])
    assert checked.exit_code == 1
    assert "frozen numbers are off" in checked.stdout
    out = tmp_path / "new.yaml"
    done = run.invoke(app, ["policies", "calibrate", str(folder), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.stdout
    assert '"holds": false' in done.stdout
    assert yaml.safe_load(out.read_text("utf-8"))["version"] == 1
    assert (folder / f"{POLICY}.yaml").read_bytes() == before
    kept = pack_in(tmp_path / "kept", out.read_text("utf-8"), targets())
    assert run.invoke(app, ["policies", "calibrate", str(kept), "--check"]).exit_code == 0


@pytest.mark.long
@pytest.mark.parametrize("name", ["default", "two-event"])
def test_shipped_numbers_are_the_pilots(tmp_path: Path, name: str) -> None:
    """A shipped pack would hold numbers that its pilot no longer gives."""
    found = calibrate(load_pack(name, CONTRACTS), CONTRACTS, tmp_path)
    assert found.holds, [n for n in found.numbers if not n.within]
