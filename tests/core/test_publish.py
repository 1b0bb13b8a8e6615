"""Atomic writes, the journal, intents and the run report, with a crash at every step."""

import json
from pathlib import Path

import pytest

from fraudloom import faults
from fraudloom.errors import ConflictError
from fraudloom.publish import Journal, RunReport, move_into_place, roll_forward, write_atomic


class CrashError(Exception):
    """Stands for the death of the process."""


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> "CrashAt":
    """Raise CrashError the n-th time that a point is passed."""
    return CrashAt(monkeypatch)


class CrashAt:
    """Arms a crash point in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def __call__(self, name: str, n: int) -> None:
        """Arm."""
        seen = [0]

        def point(passed: str) -> None:
            seen[0] += passed == name
            if passed == name and seen[0] == n:
                raise CrashError

        self.monkeypatch.setattr(faults, "point", point)

    def disarm(self) -> None:
        """No more crashes."""
        self.monkeypatch.setattr(faults, "point", lambda name: None)


def test_atomic_write_leaves_the_old_or_the_new(tmp_path: Path, crash_at: CrashAt) -> None:
    """A crash before the rename leaves the old bytes, and a later write succeeds over the remains."""
    path = tmp_path / "a" / "f.json"
    write_atomic(path, b"old")
    crash_at("atomic.rename", 1)
    with pytest.raises(CrashError):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    crash_at.disarm()
    write_atomic(path, b"newer")
    assert path.read_bytes() == b"newer"


def test_journal_drops_a_torn_line_and_goes_on(tmp_path: Path) -> None:
    """Whole lines survive; a torn tail is cut off, so that the next append stands on a line of its own."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append({"n": 1}, {"n": 2})
    for tail in (b'{"n": 3', b"\xff\xfe\n", b"[\n"):
        with path.open("ab") as f:
            f.write(tail)
        journal = Journal(path)
        assert [r["n"] for r in journal.records] == list(range(1, len(journal.records) + 1))
        journal.append({"n": len(journal.records) + 1})
    assert [json.loads(line)["n"] for line in path.read_text("utf-8").splitlines()] == [1, 2, 3, 4, 5]


def _sources(root: Path) -> list[tuple[Path, Path]]:
    pairs = []
    for k in range(4):
        source = root / ".work/staging" / f"{k}.parquet"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(bytes([k]) * 10)
        pairs.append((source, root / f"data/set{k % 2}/part-{k}.parquet"))
    return pairs


@pytest.mark.parametrize(
    ("name", "n"), [("atomic.rename", 1), ("publish.intent", 1), *[("publish.rename", k) for k in (1, 2, 3, 4)]]
)
def test_crash_while_publishing_is_rolled_forward(tmp_path: Path, crash_at: CrashAt, name: str, n: int) -> None:
    """At every step: recovery finishes a recorded intent, or nothing has moved yet and the call can be repeated."""
    pairs = _sources(tmp_path)
    intent = tmp_path / ".work/intents/S1.json"
    crash_at(name, n)
    with pytest.raises(CrashError):
        move_into_place(pairs, intent)
    crash_at.disarm()
    recorded = intent.exists()
    assert roll_forward(intent.parent) == int(recorded)
    if not recorded:
        assert not any(target.exists() for _, target in pairs)
        move_into_place(pairs, intent)
    assert [target.read_bytes() for _, target in pairs] == [bytes([k]) * 10 for k in range(4)]
    assert not any(source.exists() for source, _ in pairs)
    assert not list(intent.parent.iterdir())


def test_publishing_again_is_a_no_op_or_a_violation(tmp_path: Path) -> None:
    """Equal bytes are accepted; other bytes are IDEMPOTENCE_VIOLATION and nothing moves."""
    intent = tmp_path / ".work/intents/S1.json"
    move_into_place(_sources(tmp_path), intent)
    move_into_place(_sources(tmp_path), intent)
    pairs = _sources(tmp_path)
    pairs[3][0].write_bytes(b"other")
    with pytest.raises(ConflictError, match="IDEMPOTENCE_VIOLATION"):
        move_into_place(pairs, intent)
    assert all(source.exists() for source, _ in pairs)
    assert pairs[3][1].read_bytes() == bytes([3]) * 10


def _row(state: str, status: str = "PASS", scenario: str | None = None) -> dict[str, object]:
    return {"state": state, "status": status, "scenario_id": scenario, "scenarios": ["a", "b"], "counts": {"t": 3}}


def test_run_report_keeps_one_fail_row(tmp_path: Path) -> None:
    """A FAIL row replaces earlier FAIL rows and drops rows of later states; rows stand in the order of states."""
    report = RunReport(tmp_path / "report.jsonl")
    report.put(_row("S0"))
    for state in ("S1", "S3", "S2"):
        report.put(_row(state, scenario="a"), _row(state, scenario="b"))
    report.put(_row("S3", "FAIL", "b"))
    report.put(_row("S2", "FAIL"))
    again = RunReport(report.path)
    kept = [(r["state"], r["scenario_id"], r["status"]) for r in again.rows]
    assert kept == [("S0", None, "PASS"), ("S1", "a", "PASS"), ("S1", "b", "PASS"), ("S2", None, "FAIL")]
    assert (again.status("S2"), again.passed("S2"), again.states()) == ("FAIL", False, ["S0", "S1", "S2"])
    again.put(_row("S2", scenario="a"), _row("S2", scenario="b"))
    again.drop(["S2"])
    assert RunReport(report.path).states() == ["S0", "S1"]


def test_a_state_passes_in_every_scope(tmp_path: Path) -> None:
    """A state with a PASS row of one scenario alone counts as passed, or its rows are not added up."""
    report = RunReport(tmp_path / "report.jsonl")
    report.put(_row("S0"))
    report.put(_row("S1", scenario="a"))
    assert (report.status("S0"), report.status("S1"), report.status("S2")) == ("PASS", "MISSING", "MISSING")
    report.put(_row("S1", scenario="a"), _row("S1", scenario="b"))
    assert (report.passed("S1"), report.counts("S1")) == (True, {"t": 6})
    report.put(_row("S1", scenario="a"), _row("S1", "FAIL", "b"))
    assert report.status("S1") == "FAIL"
