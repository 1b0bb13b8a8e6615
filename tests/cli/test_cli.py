"""The command line: exit statuses, one object on stdout, messages without tracebacks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fraudloom.contracts_api import packaged_root


def fraudloom(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fraudloom.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_is_quick_and_documents_exit_statuses() -> None:
    """--help loads neither Arrow nor numba, and says what each exit status means."""
    code = "import sys; from fraudloom.cli import main; sys.argv = ['fraudloom', '--help']\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'numba', 'pyarrow', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    text = " ".join(done.stdout.split())
    assert "70 internal error" in text
    assert all(name in text for name in ("run", "world", "contracts", "policies", "runs", "perf"))
    assert "70 internal error" in " ".join(fraudloom("run", "--help").stdout.split())


USAGE = [
    ("nonsense",),
    ("run", "--no-such-option"),
    ("run", "--arrivals", "many"),
    ("run", "--seed", "-1"),
    ("run", "--mode", "sideways"),
    ("run", "--from", "S4", "--to", "S2"),
    ("run", "--run-id", "x", "--fresh"),
    ("run", "--world", "w", "--arrivals", "5"),
    ("run", "--run-id", "../escape", "--arrivals", "5"),
    ("run", "--world", "no-such-folder"),
    ("run", "--policies", "no-such-pack", "--plan-only"),
    ("run", "--policies", "."),
    ("contracts", "show", "no_such_dataset"),
    ("contracts", "nonsense"),
    ("policies", "show", "no_such_policy"),
    ("runs", "show", "no-such-run"),
    ("world", "show", "no-such-folder"),
    ("perf", "kernels", "no_such_kernel"),
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_bad_usage_is_two_with_one_message(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Every kind of bad usage: exit 2, something on stderr, nothing on stdout, no traceback, nothing written."""
    done = subprocess.run(
        [sys.executable, "-m", "fraudloom.cli", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.parquet"))


def test_json_is_one_object_also_on_failure(tmp_path: Path) -> None:
    """A run that fails before it starts still puts the object with verdict FAIL on stdout."""
    done = fraudloom("run", "--world", str(tmp_path), "--runs-root", str(tmp_path / "runs"), "--json")
    assert done.returncode == 2
    value = json.loads(done.stdout)
    assert value["verdict"] == "FAIL"
    assert value["run_id"] is None


def test_contracts_commands(tmp_path: Path) -> None:
    """check and show work; --contracts and the environment variable name another root; a broken one is exit 2."""
    assert fraudloom("contracts", "check").returncode == 0
    counts = json.loads(fraudloom("contracts", "check", "--json").stdout)
    assert counts["datasets"] > 30
    shown = json.loads(fraudloom("contracts", "show", "s2_flow_anchor_baseline_6B", "--json").stdout)
    assert shown["key"] == ["flow_id"]
    assert {c["visibility"] for c in shown["columns"]} >= {"KEY", "AXIS"}
    root = tmp_path / "contracts"
    shutil.copytree(packaged_root(), root)
    (root / "registry.yaml").unlink()
    for done in (
        fraudloom("--contracts", str(root), "contracts", "check"),
        fraudloom("contracts", "check", FRAUDLOOM_CONTRACTS_ROOT=str(root)),
    ):
        assert done.returncode == 2
        assert "registry.yaml" in done.stderr


def test_policies_commands(tmp_path: Path) -> None:
    """check passes on what ships and refuses an unknown key by file and key; show prints a policy."""
    assert fraudloom("policies", "check").returncode == 0
    assert "sessionisation_policy_6B" in fraudloom("policies", "show").stdout
    doc = json.loads(fraudloom("policies", "show", "rng_policy_6B", "--json").stdout)
    assert doc["policy_id"] == "rng_policy_6B"
    (tmp_path / "pack.yaml").write_text("name: x\nprofile: full\ndescription: y\nextra: 1\n", "utf-8")
    done = fraudloom("policies", "check", str(tmp_path))
    assert done.returncode == 2
    assert "extra" in done.stderr
    assert "pack.yaml" in done.stderr


def test_world_show_draws_what_a_world_holds(tmp_path: Path) -> None:
    """Identity, tables and histograms for people; --json is the manifest without its files."""
    root = str(tmp_path / "w")
    assert fraudloom("world", "build", "--out", root, "--arrivals", "300", "--days", "3", "-q").returncode == 0
    shown = fraudloom("world", "show", root)
    assert shown.returncode == 0, shown.stderr
    for word in ("fingerprint", "arrival_events_5B", "local hour 0-23", "merchants by rank", "payers from"):
        assert word in shown.stdout
    manifest = json.loads(fraudloom("world", "show", root, "--json").stdout)
    assert "files" not in manifest
    assert manifest["rows"]["arrival_events_5B"] == 300


def test_quiet_worlds_say_nothing(tmp_path: Path) -> None:
    """--quiet promises nothing but errors: a script would read a report that it did not ask for."""
    root = str(tmp_path / "w")
    for words in (("build", "--out", root, "--arrivals", "300", "--days", "3"), ("verify", root)):
        done = fraudloom("world", *words, "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), words
    assert fraudloom("world", "verify", root).stdout.startswith("PASS")


def test_scenarios_repeat_and_have_figures(tmp_path: Path) -> None:
    """--scenario may be given once for each; figures come for each, and one named twice is bad usage."""
    names, root = ("baseline_v1", "stress_peak_online_v1"), str(tmp_path / "w")
    build = ("world", "build", "--out", root, "--arrivals", "300", "--days", "30", "-q")
    twice = fraudloom(*build, "--scenario", names[0], "--scenario", names[0])
    assert twice.returncode == 2
    assert "SPEC_SCENARIOS" in twice.stderr
    assert not list(tmp_path.iterdir())
    assert fraudloom(*build, "--scenario", names[0], "--scenario", names[1]).returncode == 0
    value = json.loads(fraudloom("world", "show", root, "--figures", "--json", "-q").stdout)
    assert value["arrivals"] == dict.fromkeys(names, 300)
    assert value["outside"] == []
    found = {(f["scenario"], f["name"]): f for f in value["figures"]}
    assert found["", "links.orphans"]["status"] == "inside"
    assert found[names[0], "channels.ECOM"]["value"] == 0.34
    assert found[names[1], "channels.ECOM"]["value"] == 0.46
    assert found[names[1], "peak.ECOM"]["status"] == "not applicable"
    assert (names[0], "peak.ECOM") not in found
    shown = fraudloom("world", "show", root, "--figures")
    assert shown.returncode == 0, shown.stderr
    assert "peak.ECOM" in shown.stdout
    assert "ECOM arrivals on a day of the sale" in shown.stdout


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    """--debug adds the traceback to the message; the status stays."""
    done = fraudloom("--debug", "world", "show", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "WORLD_MISSING" in done.stderr


def test_runs_commands_on_nothing(tmp_path: Path) -> None:
    """An empty runs root lists nothing and is no error; showing its latest run is bad usage."""
    listed = fraudloom("runs", "list", "--runs-root", str(tmp_path), "--json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, {"runs": []})
    assert fraudloom("runs", "show", "--runs-root", str(tmp_path)).returncode == 2


def test_runs_list_is_a_table(tmp_path: Path) -> None:
    """A column without a name, or a run without its arrivals, would leave a reader to guess what stands there."""
    receipt = {"run_id": "a" * 32, "created_utc": "2024-05-06T07:08:09.000000Z", "axes": {}, "seed": 7}
    receipt |= {"scenarios": ["baseline_v1"], "policies": "default", "arrivals": 1_234_567}
    (tmp_path / "a").mkdir()
    (tmp_path / "a/run_receipt.json").write_text(json.dumps(receipt), "utf-8")
    head, _, row = [x for x in fraudloom("runs", "list", "--runs-root", str(tmp_path)).stdout.splitlines() if x.strip()]
    assert head.split() == ["run", "made", "(UTC)", "status", "arrivals", "seed", "policies,", "scenarios"]
    told = ["a" * 32, "2024-05-06", "07:08", "UNFINISHED", "1,234,567", "7", "default,", "baseline_v1"]
    assert row.split() == told
    listed = json.loads(fraudloom("runs", "list", "--runs-root", str(tmp_path), "--json").stdout)
    assert listed["runs"][0]["arrivals"] == 1_234_567


def test_plan_only_writes_nothing(tmp_path: Path) -> None:
    """--plan-only prints shards, parts, bytes, memory, time and the disk check, and writes nothing; no room is 4."""
    root = tmp_path / "runs"
    done = fraudloom("run", "--plan-only", "--arrivals", "5000000", "--runs-root", str(root), "--json")
    plan = json.loads(done.stdout)
    assert done.returncode == (0 if plan["fits"] else 4)
    assert (plan["shards"], plan["parts"]) == (20, 16)
    assert plan["bytes_needed"] > plan["bytes_output"] + plan["bytes_scratch"]
    full = fraudloom(
        "run", "--plan-only", "--arrivals", "5000000", "--runs-root", str(root), FRAUDLOOM_TEST_DISK_FREE="1000"
    )
    assert full.returncode == 4
    assert "DISK_TOO_SMALL" in full.stderr
    assert not root.exists()


def test_version() -> None:
    """--version prints it."""
    done = fraudloom("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "fraudloom")
