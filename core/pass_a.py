"""Pass A, the scatter: attach arrivals, count the census, and send rows to their shards' scratch files.

The work is cut into units of the arrival files; a finished unit is recorded with its evidence and census and is not
done again. Sums are commutative and rows are read back in unit order, so neither workers nor batch size show.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fraudloom.arrivals import ArrivalChecker, follows, refuse_pair
from fraudloom.engine import Engine, Scenario
from fraudloom.evidence import evidence_rows
from fraudloom.memory import release_memory
from fraudloom.pool import run_all
from fraudloom.progress import Task
from fraudloom.scratch import Arrays, constant_columns, load_arrays, save_arrays
from fraudloom.shards import Unit
from fraudloom.tables import Columns


def arrays_of(counts: Any) -> Arrays:
    """The arrays of a census: a mapping, or an object with named fields, of NumPy arrays."""
    if isinstance(counts, Mapping):
        return dict(counts)
    names = getattr(counts, "_fields", None) or list(counts.__dataclass_fields__)
    return {n: v for n in names if isinstance(v := getattr(counts, n), np.ndarray)}


def add_into(counts: Any, more: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Add saved arrays to a census, in place."""
    for name, array in arrays_of(counts).items():
        np.add(array, more[name], out=array)


class PassA:
    """The scatter of one scenario. `scatter` False only counts (the rows are published already)."""

    def __init__(self, engine: Engine, sc: Scenario, live_parts: Sequence[int], scatter: bool) -> None:
        self.engine, self.sc, self.live_parts, self.scatter = engine, sc, live_parts, scatter
        self._lock = threading.Lock()
        self.start_us, self.end_us = int(engine.world.start_us), int(engine.world.end_us)

    def run(self) -> None:
        """Do what is not done; leave records, census and busy counts in the scenario."""
        from fraudloom.states import s2, s3

        engine, sc = self.engine, self.sc
        sc.census, sc.busy = s3.census_new(sc.plans["S3"]), s2.busy_new(sc.plans["S2"])
        label = f"scatter {sc.name}" if self.scatter else f"census {sc.name}"
        with engine.progress.task(label, sc.files.rows) as self.task:
            sc.units = run_all(engine.executor, engine.guarded("S1", self._unit), sc.files.units, engine.stop)
        last = None
        for unit, record in zip(sc.files.units, sc.units, strict=True):
            if last is not None and record["first"] is not None and not follows(last, record["first"]):
                refuse_pair(last, record["first"], sc.files.paths[unit.file])
            last = record["last"] or last
        with engine.meter.of("S3"):
            sc.plan2 = s3.plan2(sc.plans["S3"], sc.census)
            sc.planned_busy = s3.busy_planned(sc.plan2, sc.busy)
        # Attaching reads most of the world, weaving little: at 8 M arrivals this gives back 200 MB before shards come.
        engine.world.forget()
        release_memory()

    task: Task

    def _unit(self, unit: Unit) -> dict[str, Any]:
        engine, sc = self.engine, self.sc
        engine.stop.check()
        record = sc.scratch.reusable(unit.index, self.live_parts, self.scatter)
        if record is None:
            record = self._weave(unit)
        else:
            engine.log.event("UNIT_REUSED", scenario=sc.name, unit=unit.index)
            with self._lock:
                add_into(sc.census, load_arrays(sc.scratch.arrays_path(unit.index, "census")))
                add_into(sc.busy, load_arrays(sc.scratch.arrays_path(unit.index, "busy")))
            self.task.advance(unit.rows)
        return record

    def _weave(self, unit: Unit) -> dict[str, Any]:
        from fraudloom.states import s1, s2, s3

        engine, sc, meter = self.engine, self.sc, self.engine.meter
        plan = sc.plans["S1"]
        evidence = plan.decisions.new_evidence()
        census, busy = s3.census_new(sc.plans["S3"]), s2.busy_new(sc.plans["S2"])
        checker = ArrivalChecker(self.start_us, self.end_us, sc.files.paths[unit.file])
        held: Columns = {}
        ledger = s1.Ledger(plan, sc.shards)
        with meter.of("S1"):
            for first, batch in sc.files.batches(unit, engine.spec.options.batch_rows):
                engine.stop.check()
                checker.add(batch)
                attached = s1.attach(plan, engine.world, batch, first, evidence)
                ledger.add(attached)
                with meter.of("S2"):
                    s2.busy_add(sc.plans["S2"], attached, busy)
                with meter.of("S3"):
                    s3.census_add(sc.plans["S3"], engine.world, attached, census)
                if self.scatter:
                    # Into arrays of the whole unit, in the scratch files' narrow types: no joining of batches later.
                    kinds = (*s1.SCRATCH_COLUMNS, ("_shard", "int32"))
                    held = held or {name: np.empty(unit.rows, kind) for name, kind in kinds}
                    for name, rows in held.items():
                        rows[first - unit.first : first - unit.first + len(attached[name])] = attached[name]
                self.task.advance(len(batch["merchant_id"]))
            s1.prove_unit(plan, ledger, unit.rows, evidence, unit.index)
            record: dict[str, Any] = {
                "first": checker.first,
                "last": checker.last,
                "columns": [],
                "carried": ledger.record(),
            }
            if held:
                order, ends = s1.scatter(held, sc.shards)
                del held["_shard"]
                record["constant"] = constant_columns(held)
                varying = {name: rows for name, rows in held.items() if name not in record["constant"]}
                record |= sc.scratch.write_unit(unit.index, s1.arrange(varying, order), ends)
            elif self.scatter:
                record |= {"counts": [0] * sc.shards, "files": {}}
            record["evidence"] = evidence_rows("S1", plan.decisions, evidence, "unit", unit.index)
            save_arrays(sc.scratch.arrays_path(unit.index, "census"), arrays_of(census))
            save_arrays(sc.scratch.arrays_path(unit.index, "busy"), arrays_of(busy))
            sc.scratch.finish_unit(unit.index, record)
        with self._lock:
            add_into(sc.census, arrays_of(census))
            add_into(sc.busy, arrays_of(busy))
        return record
