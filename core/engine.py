"""What the sweeps of a run share: the world, the contracts, the plans of a scenario, and where everything lies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fraudloom.arrivals import ARRIVALS, ArrivalFiles
from fraudloom.contracts_api import Contracts
from fraudloom.environment import as_fault
from fraudloom.errors import FraudloomError, InternalError
from fraudloom.meter import Meter
from fraudloom.policies_api import Pack
from fraudloom.pool import Stop, StoppedError
from fraudloom.progress import Progress
from fraudloom.publish import Journal, RunReport, fsync_file, write_json
from fraudloom.receipts import WORK
from fraudloom.rng import Streams
from fraudloom.runlog import RunLog
from fraudloom.scratch import Scratch
from fraudloom.sealed import SealedFiles
from fraudloom.shards import part_count
from fraudloom.spec import SPEC, STATES, RunSpec, digest_of, state_datasets
from fraudloom.tables import file_sha256

CATALOGUE = "s3_campaign_catalogue_6B"
A = TypeVar("A")
B = TypeVar("B")


def _sync_all(paths: list[Path]) -> None:
    for path in paths:
        try:
            fsync_file(path)
        except FileNotFoundError:  # moved on by publishing, which syncs for itself
            continue


@dataclass
class Scenario:
    """One scenario of a run: its arrivals, plans and scratch."""

    name: str
    files: ArrivalFiles
    shards: int
    scratch: Scratch
    plans: dict[str, Any]
    census: Any = None
    busy: Any = None
    planned_busy: Any = None
    units: list[dict[str, Any]] = field(default_factory=list)
    plan2: Any = None
    bases: Any = None

    @property
    def parts(self) -> int:
        """Part files per dataset."""
        return part_count(self.shards)


@dataclass
class Engine:
    """One run at work."""

    spec: RunSpec
    world: Any
    contracts: Contracts
    pack: Pack
    workers: int
    executor: Executor
    log: RunLog
    progress: Progress
    report: RunReport
    journal: Journal
    meter: Meter
    stop: Stop = field(default_factory=Stop)
    scenarios: list[Scenario] = field(default_factory=list)
    reused: set[tuple[str, str, int]] = field(default_factory=set)
    sealed: SealedFiles | None = None
    notes: dict[str, list[str]] = field(default_factory=dict)
    weaving: str | None = None
    syncer: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="fraudloom-sync"))
    syncing: list[Future[None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def work(self) -> Path:
        """The run's work folder: journal, lock, records, staging, scratch."""
        return self.spec.run_root / WORK

    @property
    def profile(self) -> str:
        """Profile of the pack: which columns are published."""
        return self.pack.profile

    def note(self, state: str, *notes: str) -> None:
        """Keep notes for the state's row of the run report, each once."""
        held = self.notes.setdefault(state, [])
        held += [n for n in notes if n not in held]

    def datasets(self, state: str) -> tuple[str, ...]:
        """Datasets of a state under the pack's profile."""
        return state_datasets(self.contracts, state, self.profile)

    def part_datasets(self, state: str) -> tuple[str, ...]:
        """Those of them that are written part by part."""
        return tuple(d for d in self.datasets(state) if self.contracts.dataset(d).part == "shards")

    def published_path(self, dataset: str, scenario: str, part: int = 0) -> Path:
        """Where a part is published."""
        ds = self.contracts.dataset(dataset)
        return self.spec.run_root / ds.path_for(**self.spec.axes.tokens(scenario, part=part))

    def staged_folder(self, scenario: str, state: str, part: int | None) -> Path:
        """Where a finished part waits to be published (part None: what is written once per scenario)."""
        name = "single" if part is None else f"part-{part:05d}"
        return self.work / "staging" / scenario / state / name

    def find_part(self, dataset: str, scenario: str, state: str, part: int) -> Path:
        """The part, wherever it is: waiting, or published."""
        staged = self.staged_folder(scenario, state, part) / f"{dataset}.parquet"
        return staged if staged.exists() else self.published_path(dataset, scenario, part)

    def record_path(self, scenario: str, state: str, part: int) -> Path:
        """Record of a finished part: files with digests, and evidence."""
        return self.work / "records" / scenario / state / f"part-{part:05d}.json"

    def guarded(self, state: str, task: Callable[[A], B]) -> Callable[[A], B]:
        """The task, with every error saying in which state it arose; what we did not foresee is an InternalError."""

        def run(item: A) -> B:
            self.meter.begin(state)
            try:
                return task(item)
            except StoppedError:
                raise
            except FraudloomError as e:
                if e.state not in STATES:
                    e.state = self.meter.state
                    e.args = (e.message(),)
                raise
            except Exception as e:
                fault = as_fault(e)
                if fault is not None:
                    fault.state = self.meter.state
                    fault.args = (fault.message(),)
                    raise fault from e
                raise unexpected(self.meter.state, e) from e

        return run

    def footer(self, scenario: str) -> dict[str, str]:
        """The axes, as every file's footer repeats them."""
        a = self.spec.axes
        return {
            "seed": str(a.seed),
            "parameter_hash": a.parameter_hash,
            "manifest_fingerprint": a.manifest_fingerprint,
            "scenario_id": scenario,
            "profile": self.profile,
            "spec": str(SPEC),
        }

    def part_done(self, scenario: str, part: int, records: dict[str, dict[str, Any]]) -> None:
        """Write a finished part's records (by state) and journal them."""
        lines = []
        for state, record in records.items():
            write_json(self.record_path(scenario, state, part), record, durable=False)
            lines.append(
                {
                    "event": "PART_DONE",
                    "scenario": scenario,
                    "state": state,
                    "part": part,
                    "record": digest_of(record),
                    "files": record["files"],
                }
            )
        with self._lock:
            self.journal.append(*lines)
        for state, record in records.items():
            self.log.event("PART_DONE", state=state, scenario=scenario, part=part, files=record["files"])

    def sync_later(self, paths: Sequence[Path]) -> None:
        """Start writing files back to the disk, so that publishing finds them clean; faults show up there."""
        self.syncing.append(self.syncer.submit(_sync_all, list(paths)))

    def sync_wait(self) -> None:
        """Wait for the files of `sync_later`."""
        while self.syncing:
            self.syncing.pop().result()

    def journalled(self, scenario: str, state: str, part: int) -> dict[str, Any] | None:
        """The record of a part that the journal names, if its record is whole."""
        last = None
        for line in self.journal.records:
            if (line["event"], line["scenario"], line["state"], line["part"]) == ("PART_DONE", scenario, state, part):
                last = line
        path = self.record_path(scenario, state, part)
        if last is None or not path.is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return record if digest_of(record) == last["record"] else None

    def reusable(self, scenario: str, state: str, part: int) -> dict[str, Any] | None:
        """The record of a finished part whose files are whole (sizes and digests), else None. Logs PART_REUSED once."""
        record = self.journalled(scenario, state, part)
        if record is None:
            return None
        for dataset, facts in record["files"].items():
            path = self.find_part(dataset, scenario, state, part)
            if not path.is_file() or path.stat().st_size != facts["bytes"] or file_sha256(path) != facts["file_digest"]:
                return None
        with self._lock:
            new = (scenario, state, part) not in self.reused
            self.reused.add((scenario, state, part))
        if new:
            self.log.event("PART_REUSED", state=state, scenario=scenario, part=part, files=record["files"])
        return record

    def single_path(self, scenario: str) -> Path:
        """Record of what is written once per scenario."""
        return self.work / "records" / scenario / "S3" / "single.json"

    def single_record(self, scenario: str) -> dict[str, Any] | None:
        """The catalogue's record when its file is whole, else None."""
        path = self.single_path(scenario)
        if not path.is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        staged = self.staged_folder(scenario, "S3", None) / f"{CATALOGUE}.parquet"
        file = staged if staged.exists() else self.published_path(CATALOGUE, scenario)
        whole = file.is_file() and file_sha256(file) == record["files"][CATALOGUE]["file_digest"]
        return record if whole else None

    def records(self, scenario: str, state: str, parts: int) -> list[dict[str, Any]]:
        """Records of all parts of a state, in part order."""
        return [json.loads(self.record_path(scenario, state, p).read_text("utf-8")) for p in range(parts)]


def unexpected(state: str, error: BaseException) -> InternalError:
    """The error for what we did not foresee."""
    return InternalError(
        state,
        f"{state}_INTERNAL_ERROR" if state in STATES else "UNEXPECTED",
        what=f"{type(error).__name__}: {error}"[:500],
        action="run again with --debug and report the traceback; finished parts are kept",
    )


def open_scenarios(engine: Engine, names: Sequence[str]) -> None:
    """Find the arrivals of the run's scenarios; plans are compiled when something is to be woven."""
    for name in names:
        engine.world.admit_arrivals(name, engine.executor.map)
        files = ArrivalFiles.find(engine.contracts.dataset(ARRIVALS), engine.world.arrival_paths(name))
        shards = int(engine.world.shards)
        scratch = Scratch(engine.work / "scatter" / name, engine.work, shards)
        engine.scenarios.append(Scenario(name, files, shards, scratch, {}))


def seal_world(engine: Engine, sealed: SealedFiles) -> None:
    """From now on the run opens the world's files through what S0 sealed."""
    from fraudloom.states.world import load_world

    engine.sealed = sealed
    engine.world = load_world(engine.spec.world_root, engine.contracts, sealed)


def compile_plans(engine: Engine) -> None:
    """Compile the plans of S1 to S4 for every scenario."""
    from fraudloom.states import s1, s2, s3, s4

    world, pack, contracts = engine.world, engine.pack, engine.contracts
    for sc in engine.scenarios:
        streams = Streams(engine.spec.axes.manifest_fingerprint, engine.spec.seed, sc.name)
        with engine.meter.of("S1"):
            sc.plans["S1"] = s1.compile_plan(pack, world, streams, contracts)
        with engine.meter.of("S2"):
            sc.plans["S2"] = s2.compile_plan(pack, world, streams, contracts)
        with engine.meter.of("S3"):
            sc.plans["S3"] = s3.compile_plan(pack, world, streams, contracts, sc.plans["S2"])
        with engine.meter.of("S4"):
            sc.plans["S4"] = s4.compile_plan(pack, world, streams, contracts)
        for state, plan in sc.plans.items():
            engine.note(state, *getattr(plan, "notes", ()))


def drop_plans(engine: Engine) -> None:
    """Let go of all that the weaving held: plans, counts, and the tables of the world, which is opened anew."""
    from fraudloom.states.world import load_world

    for sc in engine.scenarios:
        sc.plans.clear()
        sc.census = sc.busy = sc.planned_busy = sc.plan2 = sc.bases = None
    engine.world = load_world(engine.spec.world_root, engine.contracts, engine.sealed)
