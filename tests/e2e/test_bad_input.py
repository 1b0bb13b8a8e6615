"""Bad input, seen from outside: one clear error, the documented status, one FAIL row, and nothing published."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from s0.breaking import ARRIVALS, only, repeat_row, rewrite, too_late

from e2e.conftest import Woven, cli
from fraudloom.contracts_api import packaged_root
from fraudloom.policies_api import packs_root

pytestmark = pytest.mark.xdist_group("e2e-2k")
Break = Callable[[Path], object]


def _run(world: Path, runs_root: Path, *words: object, **extra: str) -> tuple[int, str]:
    done = cli("run", "--world", world, "--runs-root", runs_root, "--json", *words, check=False, **extra)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def _rows(runs_root: Path) -> list[dict[str, Any]]:
    reports = sorted(runs_root.glob("*/data/layer3/6B/run_report/**/*.jsonl"))
    return [json.loads(line) for p in reports for line in p.read_text("utf-8").splitlines()]


def _nothing_woven(runs_root: Path) -> bool:
    return not [p for p in runs_root.rglob("*.parquet") if "data/layer3/6B" in p.as_posix()]


def _truncate(root: Path) -> None:
    path = only(root, ARRIVALS)
    path.write_bytes(path.read_bytes()[:-100])


def _corrupt_entities(root: Path) -> None:
    path = only(root, "data/layer3/6A/s1_party_base_6A/**/*.parquet")
    path.write_bytes(b"PAR1" + bytes(200) + b"PAR1")


WORLDS: dict[str, tuple[Break, str]] = {
    "missing-file": (lambda w: only(w, "data/layer1/1A/merchants/**/*.parquet").unlink(), "merchants_1A"),
    "edited-file": (lambda w: only(w, "data/layer1/3A/**/fx_rates_3A.parquet").write_bytes(b"x"), "fx_rates_3A"),
    "missing-flag": (lambda w: only(w, "data/layer2/5B/validation/*/_passed.flag").unlink(), "_passed.flag"),
    "truncated-part": (_truncate, "part-00000"),
    "corrupt-part": (_corrupt_entities, "s1_party_base_6A"),
    "nulls": (lambda w: rewrite(w, lambda c: None, "ts_utc"), "ts_utc"),
    "duplicates": (lambda w: rewrite(w, repeat_row), "part-00000"),
    "outside-horizon": (lambda w: rewrite(w, too_late), "part-00000"),
}


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_bad_worlds(world_2k: Path, tmp_path: Path, name: str) -> None:
    """Broken: a damaged or doctored world is woven from, or the error does not say which file."""
    world = Path(shutil.copytree(world_2k, tmp_path / "w"))
    change, words = WORLDS[name]
    change(world)
    status, text = _run(world, tmp_path / "runs")
    assert status == 2, text
    assert words in text
    assert _nothing_woven(tmp_path / "runs")
    (row,) = _rows(tmp_path / "runs")
    assert (row["state"], row["status"]) == ("S0", "FAIL")


def _pack(tmp_path: Path, old: str, new: str) -> Path:
    folder = Path(shutil.copytree(packs_root() / "default", tmp_path / "pack"))
    path = folder / "timing_policy_6B.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("stand_in_ms: 60.0", "stand_in_millis: 60.0", "stand_in_millis"),
        ("stand_in_ms: 60.0", "stand_in_ms: soon", "stand_in_ms"),
    ],
    ids=["unknown-key", "wrong-type"],
)
def test_bad_policies(world_2k: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    """Broken: a misspelt key or a wrong type is ignored, or the message names neither file nor key."""
    status, text = _run(world_2k, tmp_path / "runs", "--policies", _pack(tmp_path, old, new))
    assert status == 2, text
    assert words in text
    assert "timing_policy_6B" in text
    assert _nothing_woven(tmp_path / "runs")
    (row,) = _rows(tmp_path / "runs")
    assert (row["state"], row["status"]) == ("S0", "FAIL")


@pytest.mark.parametrize("name", ["defualt", "."])
def test_mistyped_pack_leaves_nothing(world_2k: Path, tmp_path: Path, name: str) -> None:
    """Broken: a slip of the fingers leaves a failed run in the list of runs."""
    status, text = _run(world_2k, tmp_path / "runs", "--policies", name)
    assert status == 2, text
    assert "PACK_UNKNOWN" in text and "two-event" in text and "do:" in text
    assert not list(tmp_path.iterdir())


def test_unresolved_schema_reference(world_2k: Path, tmp_path: Path) -> None:
    """Broken: a contract that points nowhere is met in the middle of a run, or never."""
    contracts = Path(shutil.copytree(packaged_root(), tmp_path / "contracts"))
    registry = contracts / "registry.yaml"
    text = registry.read_text("utf-8")
    assert "#/tables/s1_session_index_6B" in text
    registry.write_text(text.replace("#/tables/s1_session_index_6B", "#/tables/s1_sesion_index_6B"), "utf-8")
    done = cli("--contracts", contracts, "contracts", "check", check=False)
    assert done.returncode == 2
    assert "s1_sesion_index_6B" in done.stderr + done.stdout
    status, text = _run(world_2k, tmp_path / "runs", FRAUDLOOM_CONTRACTS_ROOT=str(contracts))
    assert status == 2, text
    assert "s1_sesion_index_6B" in text
    assert _nothing_woven(tmp_path / "runs")
    (row,) = _rows(tmp_path / "runs")
    assert (row["state"], row["status"]) == ("S0", "FAIL")


def test_runs_root_that_cannot_be_written(world_2k: Path, tmp_path: Path) -> None:
    """Broken: a missing permission ends in a traceback, or as bad usage."""
    place = tmp_path / "closed"
    place.mkdir()
    place.chmod(0o500)
    root = place / "runs" if os.geteuid() else Path("/proc/fraudloom-runs")
    status, text = _run(world_2k, root)
    assert status == 4, text
    assert str(root) in text


def test_zero_arrivals(tmp_path: Path) -> None:
    """Broken: a world without arrivals is an error instead of an empty, valid result."""
    done = cli("run", "--arrivals", 0, "--runs-root", tmp_path, "--json", "--quiet")
    woven = Woven(json.loads(done.stdout))
    assert woven.result["verdict"] == "PASS"
    assert woven.result["arrivals"] == 0
    assert all(d["parts"] >= 1 for d in woven.result["datasets"].values())
    assert sum(d["rows"] for k, d in woven.result["datasets"].items() if k != "s3_campaign_catalogue_6B") == 0


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--mode", "sideways"),
        ("run", "--unheard-of"),
        ("run", "--policies", "no-such-pack"),
        ("run", "--world", "no-such-world"),
        ("run", "--from", "S4", "--to", "S2"),
        ("world", "verify", "no-such-world"),
        ("nonsense",),
    ],
    ids="-".join,
)
def test_bad_usage_is_two(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Broken: scripts cannot tell bad usage from a failed gate."""
    extra = ("--runs-root", tmp_path) if words[0] == "run" else ()
    done = cli(*words, *extra, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
