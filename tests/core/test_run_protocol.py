"""A run over toy states: the same bytes in every mode, after every crash; one FAIL row; locks, seals, resumption.

The states are stand-ins (`toy.states`): what is tested is orchestration, on a sealed world of 2,000 arrivals, 9 shards.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy import states
from toy.worlds import empty_pack, small_world

from fraudloom import faults
from fraudloom.errors import (
    ConflictError,
    EnvironmentFault,
    FraudloomError,
    GateError,
    InternalError,
    SealError,
    UsageError,
)
from fraudloom.lock import FolderLock
from fraudloom.result import FIELDS
from fraudloom.run import run_world
from fraudloom.seal import sealed_files
from fraudloom.spec import STATES, RunOptions

pytestmark = pytest.mark.xdist_group("toy-runs")
CLI = Path(__file__).resolve().parents[1] / "toy" / "cli.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `world` and the packs `pack-full` and `pack-core`."""
    folder = tmp_path_factory.mktemp("toy")
    small_world(folder)
    empty_pack(folder)
    empty_pack(folder, "core")
    return folder


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Toy states in this process, and no fault but those that a test asks for."""
    before = states.install()
    monkeypatch.delenv(faults.VARIABLE, raising=False)
    monkeypatch.delenv(states.FAIL, raising=False)
    faults.reset()
    yield
    states.restore(before)


def weave(place: Path, root: Path, pack: str = "full", **more: Any) -> dict[str, Any]:
    """One run; what `--json` prints."""
    options: dict[str, Any] = {"world": place / "world", "policies": str(place / f"pack-{pack}"), "runs_root": root}
    return run_world(RunOptions(**options | {"quiet": True, "workers": 2} | more)).as_json()


def digests(result: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Content and file digest of every dataset."""
    return {d: (s["content_digest"], s["file_digest"]) for d, s in result["datasets"].items()}


def log_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Lines of the run log."""
    text = (Path(result["run_root"]) / "logs/run_log.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def last_call(result: dict[str, Any]) -> list[str]:
    """Events of the last call on a run."""
    events = [e["event"] for e in log_of(result)]
    return events[len(events) - events[::-1].index("RUN.START") :]


def rows_of(root: Path) -> list[dict[str, Any]]:
    """Rows of the run report of the only run below a runs root."""
    (path,) = root.glob("*/data/layer3/6B/run_report/*/run_report_6B.jsonl")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def published(root: Path) -> set[str]:
    """Datasets of S1 to S4 that have files below a runs root."""
    return {p.relative_to(root).parts[4] for p in root.glob("*/data/layer3/6B/s[1-4]_*/**/*.parquet")}


@pytest.fixture(scope="module")
def whole(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A finished run."""
    before = states.install()
    try:
        return weave(place, tmp_path_factory.mktemp("whole"))
    finally:
        states.restore(before)


def test_json_has_exactly_the_listed_fields(whole: dict[str, Any]) -> None:
    """The object of --json holds the listed fields in their order, per state and per dataset too."""
    assert tuple(whole) == FIELDS
    assert tuple(whole["states"]) == STATES
    assert all(set(s) == {"status", "wall_s", "cpu_s", "rows"} for s in whole["states"].values())
    wanted = {"rows", "parts", "bytes", "content_digest", "file_digest"}
    assert all(set(d) == wanted for d in whole["datasets"].values())
    assert whole["verdict"] == "PASS"
    assert (whole["arrivals"], whole["shards"], whole["parts"]) == (2000, 9, 9)
    assert whole["rows_out"] == sum(d["rows"] for d in whole["datasets"].values())


def test_seal_lists_every_file_and_report_has_a_pass_row_per_state(whole: dict[str, Any]) -> None:
    """SEAL.json names each file of data/ and the evidence, and no clock; scratch and staging are gone."""
    root = Path(whole["run_root"])
    seal = json.loads((root / "SEAL.json").read_text("utf-8"))
    assert [e["path"] for e in seal["files"]] == [p.relative_to(root).as_posix() for p in sealed_files(root)]
    assert any("rng/events" in e["path"] for e in seal["files"])
    assert any("rng_trace_log" in e["path"] for e in seal["files"])
    assert not any("run_log" in e["path"] or "audit" in e["path"] for e in seal["files"])
    assert seal["datasets"] == whole["datasets"]
    assert [(r["state"], r["status"]) for r in rows_of(root.parent)] == [(s, "PASS") for s in STATES]
    assert not (root / ".work/staging").exists()
    assert not (root / ".work/scatter").exists()
    events = [e["event"] for e in log_of(whole)]
    assert all(f"6B.{s}.{end}" in events for s in STATES for end in ("START", "END"))


VARIANTS: list[dict[str, Any]] = [
    {"workers": 1},
    {"batch_rows": 100},
    {"batch_rows": 500_000},
    {"mode": "staged"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_same_bytes_in_every_mode(place: Path, whole: dict[str, Any], tmp_path: Path, variant: dict[str, Any]) -> None:
    """Workers, batch size and mode never show: equal digests, equal SEAL.json, in separate runs roots."""
    options = RunOptions(
        **{"workers": 2, **variant},
        world=place / "world",
        policies=str(place / "pack-full"),
        runs_root=tmp_path,
        quiet=True,
    )
    result = run_world(options).as_json()
    assert digests(result) == digests(whole)
    seals = [(Path(r["run_root"]) / "SEAL.json").read_bytes() for r in (result, whole)]
    assert seals[0] == seals[1]


def test_core_profile_staged_equals_fused(place: Path, tmp_path: Path) -> None:
    """With core columns earlier states are woven again in memory, and the bytes are the fused ones."""
    fused = weave(place, tmp_path / "a", "core")
    staged = weave(place, tmp_path / "b", "core", mode="staged")
    assert digests(staged) == digests(fused)
    assert "s4_label_history_6B" not in fused["datasets"]


def command(place: Path, root: Path, *more: str, fault: str = "", fail: str = "") -> subprocess.CompletedProcess[str]:
    """The command line over toy states in a process of its own."""
    environment = {**os.environ, faults.VARIABLE: fault, states.FAIL: fail}
    arguments = ["--world", str(place / "world"), "--policies", str(place / "pack-full"), "--runs-root", str(root)]
    return subprocess.run(
        [sys.executable, str(CLI), "run", *arguments, "--workers", "2", "--json", *more],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


CRASHES = [
    "unit.done:2",
    "part.written:3",
    "part.renamed:6",
    "part:4",
    "publish.intent:2",
    "publish.rename:20",
    "report.row:3",
    "published.S4:1",
    "atomic.rename:52",
    "s5.flag:1",
]


@pytest.mark.parametrize("fault", CRASHES)
def test_kill_at_any_instant_then_resume(place: Path, whole: dict[str, Any], tmp_path: Path, fault: str) -> None:
    """kill -9 at a crash point leaves a run that the same command finishes: same seal, finished parts reused."""
    killed = command(place, tmp_path, fault=fault)
    assert killed.returncode == -9, killed.stderr
    result = weave(place, tmp_path)
    assert len(list(tmp_path.glob("*/run_receipt.json"))) == 1
    assert (Path(result["run_root"]) / "SEAL.json").read_bytes() == (Path(whole["run_root"]) / "SEAL.json").read_bytes()
    events = [e["event"] for e in log_of(result)]
    if fault.startswith(("part:", "publish", "report", "s5")):
        assert "PART_REUSED" in events
    if fault.startswith("unit"):
        assert "UNIT_REUSED" in events


@pytest.mark.parametrize(("kind", "status"), [("enospc", 4), ("eacces", 4), ("raise", 70), ("interrupt", 130)])
def test_faults_of_the_machine_have_their_status_and_are_resumable(
    place: Path, tmp_path: Path, kind: str, status: int
) -> None:
    """Disk full and permission are 4, the unforeseen is 70, Ctrl-C is 130; each with one message, each resumable."""
    broken = command(place, tmp_path, fault=f"part:4:{kind}")
    assert broken.returncode == status, broken.stderr
    assert "Traceback" not in broken.stderr
    if status != 130:
        assert json.loads(broken.stdout)["verdict"] == "FAIL"
    result = weave(place, tmp_path)
    assert result["verdict"] == "PASS"
    assert "PART_REUSED" in [e["event"] for e in log_of(result)]


@pytest.mark.parametrize("state", ["S1", "S2", "S3", "S4"])
@pytest.mark.parametrize("mode", ["fused", "staged"])
def test_failure_leaves_one_fail_row_and_no_later_dataset(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, mode: str
) -> None:
    """A broken invariant: exit 70, one FAIL row, nothing of the failing or a later state; then the run can finish."""
    monkeypatch.setenv(states.FAIL, f"{state}:5")
    with pytest.raises(InternalError) as caught:
        weave(place, tmp_path, mode=mode)
    assert (caught.value.exit_status, caught.value.state, caught.value.code) == (70, state, "TOY_FAILURE")
    rows = rows_of(tmp_path)
    assert [(r["state"], r["error_code"]) for r in rows if r["status"] == "FAIL"] == [(state, "TOY_FAILURE")]
    assert not {d for d in published(tmp_path) if d[:2] >= state.lower()}
    monkeypatch.delenv(states.FAIL)
    assert weave(place, tmp_path)["verdict"] == "PASS"
    assert all(r["status"] == "PASS" for r in rows_of(tmp_path))


def test_failed_validation_is_one_and_is_not_sealed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S5's FAIL: exit 1, a report but neither flag nor seal; the next call reuses all parts and decides again."""
    monkeypatch.setenv(states.FAIL, "S5")
    with pytest.raises(GateError) as caught:
        weave(place, tmp_path)
    assert caught.value.exit_status == 1
    assert list(tmp_path.glob("**/s5_validation_report_6B.json"))
    assert not list(tmp_path.glob("**/_passed.flag"))
    assert not list(tmp_path.glob("**/SEAL.json"))
    monkeypatch.delenv(states.FAIL)
    result = weave(place, tmp_path)
    assert result["verdict"] == "PASS"
    assert "PART_DONE" not in last_call(result)


def test_held_lock_is_a_conflict(place: Path, whole: dict[str, Any]) -> None:
    """A second process on the same run: exit 3, at once."""
    root = Path(whole["run_root"])
    with FolderLock(root / ".work/lock", "this run"), pytest.raises(ConflictError) as caught:
        weave(place, root.parent, run_id=whole["run_id"])
    assert (caught.value.exit_status, caught.value.code) == (3, "LOCKED")


def test_resume_law(place: Path, tmp_path: Path) -> None:
    """Unfinished runs are resumed, finished ones never; --fresh makes a new one; --run-id names one."""
    first = weave(place, tmp_path, last="S2")
    assert first["verdict"] == "UNFINISHED"
    assert published(tmp_path) == {d for d in first["datasets"] if d[:2] in ("s1", "s2")}
    fresh = weave(place, tmp_path, fresh=True)
    assert fresh["run_id"] != first["run_id"]
    resumed = weave(place, tmp_path)
    assert resumed["run_id"] == first["run_id"]
    assert digests(resumed) == digests(fresh)
    other = weave(place, tmp_path)
    assert other["run_id"] not in (first["run_id"], fresh["run_id"])
    named = weave(place, tmp_path, run_id="my-run")
    assert Path(named["run_root"]).name == "my-run"
    again = weave(place, tmp_path, run_id="my-run")
    assert digests(again) == digests(named)
    with pytest.raises(ConflictError, match="AXES_DIFFER"):
        weave(place, tmp_path, run_id="my-run", seed=43)


def test_finished_run_is_verified_by_its_seal(place: Path, tmp_path: Path) -> None:
    """--run-id of a finished run: exit 0 when whole, 3 when a sealed file changed, vanished or appeared."""
    result = weave(place, tmp_path)
    root, run_id = Path(result["run_root"]), result["run_id"]
    part = next(iter(sorted(root.glob("data/layer3/6B/s2_flow_anchor*/**/*.parquet"))))
    good = part.read_bytes()
    part.write_bytes(good[:-1] + b"x")
    with pytest.raises(ConflictError, match="SEAL_BROKEN"):
        weave(place, tmp_path, run_id=run_id)
    part.unlink()
    with pytest.raises(ConflictError, match="SEAL_BROKEN"):
        weave(place, tmp_path, run_id=run_id)
    part.write_bytes(good)
    stray = part.with_name("stray.parquet")
    stray.write_bytes(good)
    with pytest.raises(ConflictError, match="SEAL_BROKEN"):
        weave(place, tmp_path, run_id=run_id)
    stray.unlink()
    assert weave(place, tmp_path, run_id=run_id)["verdict"] == "PASS"


@pytest.mark.parametrize("mode", ["fused", "staged"])
def test_running_again_from_a_state_is_a_no_op(place: Path, tmp_path: Path, mode: str) -> None:
    """--from S3 on a finished run weaves S3 to S5 again and finds the published bytes; the seal still holds."""
    result = weave(place, tmp_path)
    for first in ("S2", "S3", "S4", "S5"):
        again = weave(place, tmp_path, run_id=result["run_id"], first=first, mode=mode)
        assert digests(again) == digests(result)
    assert weave(place, tmp_path, run_id=result["run_id"])["verdict"] == "PASS"


def test_running_again_over_other_bytes_is_a_violation(place: Path, tmp_path: Path) -> None:
    """A published part that differs from what is woven again: exit 3, IDEMPOTENCE_VIOLATION, nothing replaced."""
    result = weave(place, tmp_path)
    part = next(iter(sorted(Path(result["run_root"]).glob("data/layer3/6B/s4_event_labels*/**/*.parquet"))))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(ConflictError, match="IDEMPOTENCE_VIOLATION"):
        weave(place, tmp_path, run_id=result["run_id"], first="S4")


def test_late_start_reads_the_world_as_sealed(place: Path, tmp_path: Path) -> None:
    """--from S2 compares the world with the inventory when it reads: another byte fails S2, and S1 keeps its row."""
    world = Path(shutil.copytree(place / "world", tmp_path / "world"))
    run_id = weave(place, tmp_path, world=world, last="S4")["run_id"]
    path = next(iter(sorted(world.glob("data/layer2/5B/arrival_events/**/*.parquet"))))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SealError, match="SEALED_INPUTS_DRIFT") as caught:
        weave(place, tmp_path, world=world, run_id=run_id, first="S2", last="S4")
    assert caught.value.where == path
    assert [(r["state"], r["status"]) for r in rows_of(tmp_path)] == [("S0", "PASS"), ("S1", "PASS"), ("S2", "FAIL")]


def test_pass_rows_hold_for_their_scope_alone(place: Path, tmp_path: Path) -> None:
    """A PASS row that names another seed, world, policy or scenario opens nothing."""
    run_id = weave(place, tmp_path, last="S4")["run_id"]
    (path,) = tmp_path.glob("*/data/layer3/6B/run_report/*/run_report_6B.jsonl")
    whole = path.read_text("utf-8")
    for key, value in (("seed", 43), ("manifest_fingerprint", "0" * 64), ("scenarios", ["other"])):
        lines = [json.loads(line) for line in whole.splitlines()]
        lines[1][key] = value
        path.write_text("".join(json.dumps(row) + "\n" for row in lines), "utf-8")
        with pytest.raises(SealError, match="GATE_NOT_PASSED"):
            weave(place, tmp_path, run_id=run_id, first="S3", last="S4")


def test_run_report_has_a_row_per_state_and_scenario(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state's row of the run report is missing for a scenario, counts another's rows, or a failure names none."""
    names = ("baseline_v1", "stress_peak_online_v1")
    world = small_world(tmp_path, 600, 3, names)
    options = {"world": world, "scenarios": names}
    (tmp_path / "runs").mkdir()
    whole = weave(place, tmp_path / "runs", **options)
    rows = rows_of(tmp_path / "runs")
    scopes = [(s, n) for s in STATES for n in (names if s not in ("S0", "S5") else (None,))]
    assert [(r["state"], r["scenario_id"], r["status"]) for r in rows] == [(*scope, "PASS") for scope in scopes]
    assert {tuple(r["scenarios"]) for r in rows} == {names}
    first, second = (r for r in rows if r["state"] == "S1")
    assert first["counts"]["s1_arrival_entities_6B"] == second["counts"]["s1_arrival_entities_6B"] == 600
    assert whole["datasets"]["s1_arrival_entities_6B"]["rows"] == 1200
    assert first["datasets"] != second["datasets"]
    monkeypatch.setenv(states.FAIL, f"S3:1:{names[1]}")
    with pytest.raises(InternalError, match="TOY_FAILURE"):
        weave(place, tmp_path / "again", workers=1, **options)
    last = rows_of(tmp_path / "again")[-1]
    assert (last["state"], last["scenario_id"], last["status"]) == ("S3", names[1], "FAIL")


def test_late_start_needs_a_run_and_pass_rows(place: Path, tmp_path: Path) -> None:
    """--from S3 without a run is bad usage; with a run that stopped after S1 it is a missing gate."""
    with pytest.raises(UsageError):
        weave(place, tmp_path, first="S3")
    weave(place, tmp_path, last="S1")
    with pytest.raises(SealError, match="GATE_NOT_PASSED"):
        weave(place, tmp_path, first="S3")


def test_changed_unsealed_part_is_woven_again_or_refused(place: Path, tmp_path: Path) -> None:
    """A published part of an unfinished run that changed since is named, not read."""
    result = weave(place, tmp_path, last="S2")
    part = next(iter(sorted(Path(result["run_root"]).glob("data/layer3/6B/s1_arrival*/**/*.parquet"))))
    part.write_bytes(b"not parquet")
    with pytest.raises(SealError, match="PUBLISHED_PART_CHANGED"):
        weave(place, tmp_path)


def test_bad_world_leaves_one_fail_row(place: Path, tmp_path: Path) -> None:
    """An edited upstream file: exit 2, one FAIL row of S0, no dataset."""
    copy = tmp_path / "copy"
    for path in sorted((place / "world").rglob("*")):
        target = copy / path.relative_to(place / "world")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    victim = next(iter(copy.glob("data/layer1/1A/merchants/**/*.parquet")))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    options = RunOptions(world=copy, policies=str(place / "pack-full"), runs_root=tmp_path / "runs", quiet=True)
    with pytest.raises(FraudloomError) as caught:
        run_world(options)
    assert caught.value.exit_status == 2
    (row,) = rows_of(tmp_path / "runs")
    assert (row["state"], row["status"]) == ("S0", "FAIL")
    assert not published(tmp_path / "runs")


def test_bad_pack_leaves_one_fail_row(place: Path, tmp_path: Path) -> None:
    """A pack that breaks its schema: exit 2, one FAIL row of S0."""
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "pack.yaml").write_text("name: bad\nprofile: full\ndescription: x\nsurprise: 1\n", "utf-8")
    for _ in range(2):
        with pytest.raises(FraudloomError) as caught:
            run_world(RunOptions(world=place / "world", policies=str(pack), runs_root=tmp_path / "runs", quiet=True))
        assert caught.value.exit_status == 2
    (row,) = rows_of(tmp_path / "runs")
    assert (row["state"], row["status"], row["error_code"]) == ("S0", "FAIL", "S0_CONFIG_VALIDATION_FAILED")
    assert row["error_message"].startswith("POLICY_SCHEMA_VIOLATION")


def test_run_that_will_not_fit_writes_nothing(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is too small: exit 4 before anything is written."""
    monkeypatch.setenv("FRAUDLOOM_TEST_DISK_FREE", "1000000")
    with pytest.raises(EnvironmentFault, match="DISK_TOO_SMALL"):
        weave(place, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_run_root_without_permission(place: Path, tmp_path: Path) -> None:
    """A runs root that cannot be written: exit 4, one clear message."""
    if os.geteuid() == 0:
        blocked = tmp_path / "file"
        blocked.write_text("a file, where a folder should be", "utf-8")
    else:
        blocked = tmp_path / "closed"
        blocked.mkdir(mode=0o500)
    with pytest.raises(EnvironmentFault):
        weave(place, blocked / "runs")
