"""What a killed build leaves beside its world, and who may remove it."""

import os
import signal
import subprocess
import sys

import pytest
from e2e.conftest import cli

from fraudloom.states.world import WorldSpec, build_world, publish
from fraudloom.states.world.spec import make_context

KILLED = """
import os, signal, sys
from pathlib import Path
from fraudloom.states.world import build_world, publish, WorldSpec
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
publish.write_manifest = die
build_world(WorldSpec(300, days=9), Path(sys.argv[1]))
"""
HELD = """
import sys
from pathlib import Path
from fraudloom.states.world import publish
print(publish.open_partial(Path(sys.argv[1]), sys.argv[2]), flush=True)
sys.stdin.read()
"""
SPEC = WorldSpec(300, days=9)


@pytest.fixture(scope="module")
def fingerprint(contracts):
    """Fingerprint of the world that is built here."""
    return make_context(SPEC, contracts).mf


def test_killed_builds_leave_nothing_for_good(tmp_path):
    """The folder of a build that was killed lies beside its world for ever."""
    out = tmp_path / "w"
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    assert left[0].name.startswith("w.partial-")
    assert list(left[0].rglob("*.parquet"))
    build_world(SPEC, out)
    assert list(tmp_path.iterdir()) == [out]


def test_only_ones_own_dead_folders_are_removed(tmp_path, fingerprint):
    """A folder of another world, of a living build, a link, a file or a look-alike is removed with the dead ones."""
    out, short = tmp_path / "w", fingerprint[:12]
    dead, away = tmp_path / f"w.partial-{short}-1", tmp_path / "elsewhere"
    kept = [
        tmp_path / f"w.partial-{'0' * 12}-1",
        tmp_path / f"w2.partial-{short}-1",
        tmp_path / f"xw.partial-{short}-1",
        tmp_path / f"w.partial-{short}-1x",
        tmp_path / f"w.partial-{short}-",
        away,
    ]
    for folder in (dead, *kept):
        folder.mkdir()
        (folder / "file").write_text("x")
    link, file = tmp_path / f"w.partial-{short}-2", tmp_path / f"w.partial-{short}-3"
    link.symlink_to(away)
    file.write_text("x")
    command = [sys.executable, "-c", HELD, str(out), fingerprint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        living = tmp_path / other.stdout.readline().strip()
        assert not dead.exists()  # the other build has removed it already
        dead.mkdir()
        mine = publish.open_partial(out, fingerprint)
        assert publish.remove_leftovers(out, fingerprint) == []
        publish.drop_partial(mine)
        assert not dead.exists()
        assert sorted(tmp_path.iterdir()) == sorted([*kept, link, file, living])
        assert (away / "file").read_text() == "x"
        other.stdin.close()
    assert publish.remove_leftovers(out, fingerprint) == [living]


def test_folders_of_other_killed_builds_are_told(tmp_path, fingerprint):
    """A killed build of another world eats the disk without a word; or one that is at work is taken for dead."""
    out, dead = tmp_path / "w", tmp_path / f"other.partial-{'0' * 12}-77"
    dead.mkdir()
    (tmp_path / "other.partial-7").mkdir()
    mine = publish.open_partial(out, fingerprint)
    assert publish.abandoned(tmp_path) == [dead]
    publish.drop_partial(mine)
    assert publish.abandoned(tmp_path / "nowhere") == []
    done = cli("world", "build", "--out", out, "--arrivals", 0)
    assert f"left by a killed build: {dead}" in done.stderr
    assert dead.is_dir()


def test_a_taken_number_is_passed_over(tmp_path, fingerprint):
    """A folder that bears this process's number, but belongs to another system's, stops a build."""
    out = tmp_path / "w"
    first = publish.open_partial(out, fingerprint)
    second = publish.open_partial(out, fingerprint)
    assert first != second
    for folder in (first, second):
        assert folder.is_dir()
        publish.drop_partial(folder)
    assert not any(tmp_path.iterdir())


def test_without_locks_nothing_is_removed(tmp_path, fingerprint, monkeypatch):
    """Where a file system has no locks, a build fails, or removes what may be alive."""

    def refuse(*_):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(publish.fcntl, "flock", refuse)
    out = tmp_path / "w"
    old = tmp_path / f"w.partial-{fingerprint[:12]}-1"
    old.mkdir()
    mine = publish.open_partial(out, fingerprint)
    assert old.is_dir()
    publish.drop_partial(mine)
    assert list(tmp_path.iterdir()) == [old]
