"""Pass B: parts over workers; in a part, shard by shard: sessions, flows, overlay, labels, each proven at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom import faults
from fraudloom.engine import Engine, Scenario
from fraudloom.errors import ConflictError
from fraudloom.evidence import evidence_rows
from fraudloom.frames import S1Frame, ShardFrames, read_back
from fraudloom.memory import TRIM_ABOVE, trim_memory
from fraudloom.pass_a import arrays_of
from fraudloom.pool import run_all
from fraudloom.progress import Task
from fraudloom.scratch import load_arrays, remove_work, save_arrays
from fraudloom.shards import part_shards
from fraudloom.spec import WEAVE
from fraudloom.tables import ContentHasher, PartWriter


@dataclass
class PartWork:
    """The open files of one part while its shards are woven."""

    folder: dict[str, Path]
    writers: dict[str, PartWriter]
    checks: dict[str, ContentHasher]
    evidence: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    realised: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)


def realised_arrays(shard: int, realised: Any) -> dict[str, np.ndarray[Any, Any]]:
    """What a shard's overlay realised, as named arrays."""
    return {f"{shard}.{k}": v for k, v in arrays_of(realised).items()}


class PassB:
    """A sweep that weaves `states` (consecutive) of one scenario over all its parts.

    States before the first are read back from their published parts (full profile), or woven again in memory with their
    content digests compared (core profile, whose published columns are too few).
    """

    def __init__(self, engine: Engine, sc: Scenario, states: Sequence[str]) -> None:
        self.engine, self.sc, self.states = engine, sc, tuple(states)
        first = WEAVE.index(self.states[0])
        self.again: tuple[str, ...] = WEAVE[:first] if engine.profile == "core" else ()
        self._lock = threading.Lock()
        self._done = 0
        self.task: Task | None = None

    @property
    def needs_scatter(self) -> bool:
        """Whether the sweep starts from scattered arrivals."""
        return self.states[0] == "S1" or bool(self.again)

    @property
    def needs_census(self) -> bool:
        """Whether the sweep reads counts over all arrivals."""
        return self.needs_scatter or self.states[0] in ("S2", "S3")

    def run(self, parts: Sequence[int]) -> None:
        """Weave the given parts."""
        engine, sc = self.engine, self.sc
        names = "-".join((self.states[0], self.states[-1])) if len(self.states) > 1 else self.states[0]
        counts = self._arrivals_per_shard()
        with engine.progress.task(f"weave {names} {sc.name}", sum(counts)) as self.task:
            for part in set(range(sc.parts)) - set(parts):
                self.task.advance(sum(counts[s] for s in part_shards(sc.shards, part)))
            run_all(engine.executor, engine.guarded(self.states[0], self._part), list(parts), engine.stop)

    def _arrivals_per_shard(self) -> list[int]:
        """Arrivals of each shard, as far as they are known (for progress alone)."""
        if self.sc.units and all(u.get("counts") for u in self.sc.units):
            counts = np.array([u["counts"] for u in self.sc.units], dtype=np.int64)
            return [int(n) for n in counts.sum(axis=0).tolist()]
        return [self.sc.files.rows // self.sc.shards] * self.sc.shards

    def _part(self, part: int) -> None:
        engine, sc = self.engine, self.sc
        engine.stop.check()
        work = self._open(part)
        try:
            for group, shard in enumerate(part_shards(sc.shards, part)):
                engine.stop.check()
                rows = self._shard(work, part, group, shard)
                if self.task is not None:
                    self.task.advance(rows)
        except BaseException:
            for w in work.writers.values():
                w.abandon()
            raise
        self._finish(work, part)

    def _open(self, part: int) -> PartWork:
        engine, sc = self.engine, self.sc
        work = PartWork({}, {}, {})
        for state in self.states:
            folder = engine.staged_folder(sc.name, state, part)
            fresh = folder.with_name(f".{folder.name}.new")
            remove_work(fresh, engine.work)
            fresh.mkdir(parents=True)
            work.folder[state] = fresh
            work.evidence[state] = []
            for dataset in engine.part_datasets(state):
                ds = engine.contracts.dataset(dataset)
                path = fresh / f"{dataset}.parquet"
                work.writers[dataset] = PartWriter(path, ds, engine.profile, engine.footer(sc.name))
        for state in self.again:
            for dataset in engine.part_datasets(state):
                work.checks[dataset] = ContentHasher(engine.contracts.dataset(dataset), engine.profile)
        return work

    def _shard(self, work: PartWork, part: int, group: int, shard: int) -> int:
        engine, sc, meter = self.engine, self.sc, self.engine.meter
        if self.needs_scatter:
            frames = ShardFrames()
        else:
            with meter.of(self.states[0]):
                frames = read_back(engine, sc, part, group, self.states[0])
        rows = 0
        for state in (*self.again, *self.states):
            with meter.of(state):
                evidence = sc.plans[state].decisions.new_evidence()
                self._weave(state, frames, shard, evidence, work)
            if state in self.states:
                work.evidence[state] += evidence_rows(state, sc.plans[state].decisions, evidence, "shard", shard)
                with meter.of(state, encode=True):
                    for dataset in engine.part_datasets(state):
                        work.writers[dataset].write_group(frames.table(state, dataset))
            else:
                for dataset in engine.part_datasets(state):
                    work.checks[dataset].update(frames.table(state, dataset))
            if state == "S1" and frames.s1 is not None:
                rows = len(frames.s1.arrivals["merchant_id"])
            if state == "S3":
                frames.s1 = frames.s2 = None
        return rows or self.sc.files.rows // max(self.sc.shards, 1)

    def _weave(
        self, state: str, frames: ShardFrames, shard: int, evidence: np.ndarray[Any, Any], work: PartWork
    ) -> None:
        """Weave one state of one shard in memory, and prove it."""
        from fraudloom.states import s1, s2, s3, s4

        world, sc = self.engine.world, self.sc
        plan = sc.plans[state]
        if state == "S1":
            scattered = sc.scratch.read_shard(shard, sc.units, s1.SCRATCH_COLUMNS)
            arrivals, sessions = s1.sessionise(plan, world, scattered, evidence)
            frames.s1 = S1Frame(arrivals, sessions)
            s1.prove(plan, world, arrivals, sessions)
            rows, carried = len(scattered["_ordinal"]), s1.recorded_sum(sc.units, shard)
            s1.prove_scattered(plan, arrivals, shard, rows, carried, evidence)
            return
        if state == "S4":
            frames.s4 = s4.weave(plan, world, frames.s3, evidence)
            s4.prove(plan, world, frames.s3, frames.s4)
            return
        assert frames.s1 is not None
        arrivals, sessions = frames.s1.arrivals, frames.s1.sessions
        if state == "S2":
            frames.s2 = s2.weave(plan, world, arrivals, sessions, sc.busy, evidence)
            s2.prove(plan, world, arrivals, sessions, frames.s2)
            s2.prove_draws(plan, len(arrivals["ts_utc"]), frames.s2.flows, evidence, shard)
            return
        frames.s3 = s3.overlay(sc.plan2, world, shard, arrivals, sessions, frames.s2, sc.planned_busy, evidence)
        s3.prove(sc.plan2, world, arrivals, sessions, frames.s2, frames.s3)
        if state in self.states:
            work.realised |= realised_arrays(shard, frames.s3.realised)

    def _finish(self, work: PartWork, part: int) -> None:
        """Close, sync and move the part's files; write records; journal."""
        engine, sc = self.engine, self.sc
        for state in self.again:
            record = engine.journalled(sc.name, state, part)
            for dataset in engine.part_datasets(state):
                found = work.checks[dataset].hexdigest()
                if record is None or record["files"][dataset]["content_digest"] != found:
                    raise ConflictError(
                        state,
                        "IDEMPOTENCE_VIOLATION",
                        what=f"part {part} of {dataset}, woven again, has another content digest",
                        found=found,
                        expected=None if record is None else record["files"][dataset]["content_digest"],
                        action="weave a new run with --fresh, and report it: equal inputs must give equal bytes",
                    )
        results = {}
        for dataset, writer in work.writers.items():
            r = writer.close()
            results[dataset] = {
                "rows": r.rows,
                "bytes": r.bytes,
                "content_digest": r.content_digest,
                "file_digest": r.file_digest,
            }
        faults.point("part.written")
        if "S3" in self.states:
            save_arrays(engine.record_path(sc.name, "S3", part).with_suffix(".npz"), work.realised)
        records = {}
        for state in self.states:
            final = engine.staged_folder(sc.name, state, part)
            remove_work(final, engine.work)
            work.folder[state].rename(final)
            faults.point("part.renamed")
            files = {d: results[d] for d in engine.part_datasets(state)}
            engine.sync_later([final / f"{d}.parquet" for d in files])
            records[state] = {"part": part, "state": state, "files": files, "evidence": work.evidence[state]}
        engine.part_done(sc.name, part, records)
        if self.needs_scatter and (self.states[-1] == "S4" or engine.profile == "full"):
            sc.scratch.free_part(part)
        trim_memory(TRIM_ABOVE)
        faults.point("part")


def load_realised(engine: Engine, sc: Scenario) -> list[dict[str, np.ndarray[Any, Any]]]:
    """What the overlay realised, a mapping per shard, in shard order."""
    found: list[dict[str, np.ndarray[Any, Any]]] = []
    for part in range(sc.parts):
        arrays = load_arrays(engine.record_path(sc.name, "S3", part).with_suffix(".npz"))
        for shard in part_shards(sc.shards, part):
            head = f"{shard}."
            found.append({k.removeprefix(head): v for k, v in arrays.items() if k.startswith(head)})
    return found
