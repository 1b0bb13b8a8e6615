"""`fraudloom score`: exit statuses, what people and programs get to read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudloom.cli import app
from fraudloom.cli_common import guarded
from fraudloom.states.world import WorldSpec, build_world
from score.bench import Scored

pytestmark = pytest.mark.xdist_group("score")

SESSIONS, CASES = "s1_session_index_6B", "s4_case_timeline_6B"


class Command:
    """The command in this process, with the output of the last call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *words: object, columns: int = 100) -> int:
        """Exit status."""
        self.monkeypatch.setenv("COLUMNS", str(columns))
        self.monkeypatch.setattr("sys.argv", ["fraudloom", "score", *map(str, words)])
        status = guarded(app)
        self.out, self.err = self.capsys.readouterr()
        return status

    def on(self, scored: Scored, *words: object, columns: int = 100) -> int:
        """Score a run against the gates of small runs."""
        own = (scored.bench.root, "--world", scored.bench.world_root, "--policies", scored.pack)
        return self(*own, *words, columns=columns)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command."""
    return Command(monkeypatch, capsys)


def test_passing_run_is_zero(whole: Scored, command: Command) -> None:
    """A run that passes every gate must not stop a script, and the table names each gate."""
    assert command.on(whole) == 0
    lines = command.out.splitlines()
    names = {line.split()[0] for line in lines if line.split()}
    assert {"T1", "T5b", "T21", "T22"} <= names
    assert lines[-1].startswith("PASS_B")
    assert "must move" not in command.out


def test_failing_run_is_one_and_says_what_to_do(scored: Scored, command: Command) -> None:
    """A person must find, last, which gate fails, who must move and what to turn."""
    scored.edit(SESSIONS, lambda c: c["arrival_count"].__setitem__(slice(None), 1))
    assert command.on(scored) == 1
    last = command.out[command.out.index("T19 fails") :]
    assert "S1 must move" in last
    assert "sessionisation_policy_6B" in last
    assert "≤ 0.85" in last
    assert last.splitlines()[-1].startswith("PASS_HARD_ONLY")


def test_missing_evidence_is_one(scored: Scored, command: Command) -> None:
    """A run without one of its tables is scored, and fails for want of evidence."""
    scored.bench.path(CASES).unlink()
    assert command.on(scored) == 1
    assert "no evidence" in command.out
    assert command.out.rstrip().splitlines()[-1].startswith("FAIL_REALISM")


def test_json_is_one_object(scored: Scored, command: Command) -> None:
    """A program reads verdict, routing and every figure with its bounds from stdout alone."""
    assert command.on(scored, "--json") == 0
    value = json.loads(command.out)
    assert value["passed"] is True and value["verdict"] in ("PASS_B", "PASS_BPLUS")
    assert [g["gate"] for g in value["gates"]][:3] == ["T1", "T2", "T3"]
    assert all({"class", "owners", "status", "measures"} <= set(g) for g in value["gates"])
    assert not command.err
    scored.edit(CASES, lambda c: c["ts_utc"].__setitem__(slice(None), np.arange(len(c["ts_utc"]))[::-1]))
    assert command.on(scored, "--json") == 1
    value = json.loads(command.out)
    assert value["routing"] == {"S4": ["T8", "T10"]}
    assert value["verdict"] == "FAIL_REALISM"


def test_markdown_holds_every_figure(scored: Scored, command: Command, tmp_path: Path) -> None:
    """The written report has a row per figure, of equal width, and the failures with what to do."""
    target = tmp_path / "report.md"
    scored.edit(SESSIONS, lambda c: c["arrival_count"].__setitem__(slice(None), 1))
    assert command.on(scored, "--markdown", target) == 1
    text = target.read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    measures = sum(len(g.measures) for g in scored.score().gates)
    assert len(rows) == measures + 1
    assert {line.replace("\\|", "").count("|") for line in rows} == {10}
    assert "**T19** (S1)" in text


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_table_fits_its_terminal(scored: Scored, command: Command, columns: int) -> None:
    """A line longer than the terminal would break the table apart; a cut cell would hide a figure."""
    scored.bench.path(CASES).unlink()
    command.on(scored, columns=columns)
    assert max(map(len, command.out.splitlines())) <= columns
    assert "…" not in command.out


def refuse_other_world(scored: Scored, folder: Path) -> list[Any]:
    """The run with the world of another seed."""
    build_world(WorldSpec(arrivals=100, seed=8, days=3), folder / "other")
    return [scored.bench.root, "--world", folder / "other"]


def refuse_unsealed(scored: Scored, folder: Path) -> list[Any]:
    """A run without its seal."""
    (scored.bench.root / "SEAL.json").unlink()
    return [scored.bench.root, "--world", scored.bench.world_root]


def refuse_corrupt(scored: Scored, folder: Path) -> list[Any]:
    """A truncated part."""
    path = scored.bench.path(CASES)
    path.write_bytes(path.read_bytes()[:-20])
    return [scored.bench.root, "--world", scored.bench.world_root]


def refuse_strange_merchant(scored: Scored, folder: Path) -> list[Any]:
    """A flow at a merchant that the world does not have."""
    scored.edit("s3_flow_anchor_with_fraud_6B", lambda c: c["merchant_id"].__setitem__(0, 1 << 40))
    return [scored.bench.root, "--world", scored.bench.world_root]


def refuse_no_world(scored: Scored, folder: Path) -> list[Any]:
    """A world that is not there."""
    return [scored.bench.root, "--world", folder / "nowhere"]


def refuse_unknown_pack(scored: Scored, folder: Path) -> list[Any]:
    """A pack that does not ship, by the receipt."""
    path = scored.bench.root / "run_receipt.json"
    path.write_text(path.read_text("utf-8").replace('"policies":"default"', '"policies":"my-pack"'), "utf-8")
    assert "my-pack" in path.read_text("utf-8")
    return [scored.bench.root, "--world", scored.bench.world_root]


def refuse_lost_markdown(scored: Scored, folder: Path) -> list[Any]:
    """A report into a folder that is not there."""
    return [scored.bench.root, "--world", scored.bench.world_root, "--markdown", folder / "none" / "report.md"]


REFUSALS = {
    refuse_other_world: "WORLD_OTHER",
    refuse_unsealed: "NOT_SEALED",
    refuse_corrupt: "PART_UNREADABLE",
    refuse_strange_merchant: "ENTITY_UNKNOWN",
    refuse_no_world: "WORLD_MISSING",
    refuse_unknown_pack: "PACK_UNKNOWN",
    refuse_lost_markdown: "MARKDOWN_FOLDER",
}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda f: f.__name__)
def test_bad_input_is_two_with_one_message(scored: Scored, command: Command, tmp_path: Path, refusal: Any) -> None:
    """What cannot be scored is refused with code, place and what to do; nothing is printed as if it were a score."""
    words = refusal(scored, tmp_path)
    assert command(*words) == 2
    assert REFUSALS[refusal] in command.err
    assert "Traceback" not in command.err
    assert not command.out


def test_unknown_run_is_two(command: Command, tmp_path: Path) -> None:
    """A typing error in the run's id is bad usage."""
    assert command("no-such-run", "--runs-root", tmp_path) == 2
    assert "RUN_UNKNOWN" in command.err


def test_run_is_found_by_its_id(whole: Scored, command: Command, tmp_path: Path) -> None:
    """A run is named as everywhere else: by id below the runs root, and its world and pack are those of the receipt."""
    shutil.copytree(whole.bench.root, tmp_path / "runs" / "r", ignore=shutil.ignore_patterns(".work"))
    assert command("r", "--runs-root", tmp_path / "runs") == 0
    assert "realism gates apply from 200,000 on" in " ".join(command.out.split())
