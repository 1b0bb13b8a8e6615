"""Runs that the end-to-end tests share: one process builds each, once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLI = [sys.executable, "-c", "from fraudloom.cli import main; main()"]


def environment(**extra: str) -> dict[str, str]:
    """The environment of a run: ours, without what would change it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "FRAUDLOOM_CONTRACTS"))}
    return env | {"COLUMNS": "160", **extra}


def cli(*words: object, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run `fraudloom` in a process of its own."""
    done = subprocess.run(
        [*CLI, *(str(w) for w in words)], capture_output=True, text=True, env=environment(**extra), check=False
    )
    if check:
        assert done.returncode == 0, done.stderr[-4000:]
    return done


@dataclass
class Woven:
    """A finished run: what `--json` said, and where it lies."""

    result: dict[str, Any]

    @property
    def root(self) -> Path:
        """Run folder."""
        return Path(self.result["run_root"])

    @property
    def digests(self) -> dict[str, tuple[int, str, str]]:
        """Rows, content digest and file digest of every dataset."""
        return {
            k: (v["rows"], v["content_digest"], v["file_digest"]) for k, v in sorted(self.result["datasets"].items())
        }

    @property
    def evidence(self) -> dict[str, str]:
        """Content of every file of RNG evidence and of the trace log, by name and scenario."""
        rng = self.root / "logs" / "layer3" / "6B" / "rng"
        files = [p for kind in ("events", "trace") for p in (rng / kind).rglob("*.jsonl")]
        return {"/".join(p.parts[-2:]): p.read_text("utf-8") for p in sorted(files)}

    def folder(self, dataset: str) -> Path:
        """Folder of a dataset, as a reader of the predecessor would name it."""
        return self.root / "data" / "layer3" / "6B" / dataset


def weave(world: Path, runs_root: Path, *words: object, **extra: str) -> Woven:
    """`fraudloom run --json` on a world."""
    done = cli("run", "--world", world, "--runs-root", runs_root, "--json", "--quiet", *words, **extra)
    return Woven(json.loads(done.stdout))


@pytest.fixture(scope="session")
def world_100k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed world of 100,000 arrivals: eight shards."""
    out = tmp_path_factory.mktemp("world") / "w"
    cli("world", "build", "--arrivals", 100_000, "--seed", 5, "--days", 90, "--workers", 2, "--out", out)
    return out


@pytest.fixture(scope="session")
def woven_100k(world_100k: Path, tmp_path_factory: pytest.TempPathFactory) -> Woven:
    """A run on it, one worker."""
    return weave(world_100k, tmp_path_factory.mktemp("runs"), "--workers", 1)


@pytest.fixture(scope="session")
def world_2k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed world of 2,000 arrivals: one shard."""
    out = tmp_path_factory.mktemp("world") / "w"
    cli("world", "build", "--arrivals", 2_000, "--seed", 42, "--days", 90, "--out", out)
    return out


@pytest.fixture(scope="session")
def woven_2k(world_2k: Path, tmp_path_factory: pytest.TempPathFactory) -> Woven:
    """A run on it."""
    return weave(world_2k, tmp_path_factory.mktemp("runs"))
