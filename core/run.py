"""One run from S0 to S5: gate, scatter, weave, publish, prove, seal; and its resumption after any crash."""

from __future__ import annotations

import time
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import fraudloom
from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.digests import dataset_summary, part_facts, summaries
from fraudloom.engine import Engine, drop_plans, open_scenarios, unexpected
from fraudloom.environment import as_fault
from fraudloom.errors import ConflictError, ContractError, FraudloomError, PolicyError
from fraudloom.evidence import write_audit
from fraudloom.gates import reopen_gate, run_gate, run_validation
from fraudloom.lock import FolderLock
from fraudloom.memory import PeakMemory, keep_freed_pages, release_memory, use_returning_pool
from fraudloom.meter import Meter
from fraudloom.planonly import demand_room, folder_bytes, plan_run
from fraudloom.policies_api import Pack, find_pack, load_pack
from fraudloom.pool import worker_count
from fraudloom.progress import Progress
from fraudloom.publish import Journal, RunReport, make_folder, roll_forward
from fraudloom.receipts import WORK, check_run_id, choose_run, write_receipt
from fraudloom.result import RunResult, cpu_seconds
from fraudloom.runlog import RunLog
from fraudloom.scratch import remove_work
from fraudloom.seal import verify_seal, write_seal
from fraudloom.spec import STATES, WEAVE, Axes, RunOptions, RunSpec, parameter_hash, validation_hash
from fraudloom.sweeps import fail_row, retract, weave_states
from fraudloom.worlds import WorldChoice, choose_world, ensure_world, read_world_manifest, scenarios_in_scope


def run_world(options: RunOptions, executor: Executor | None = None) -> RunResult:
    """Weave (or resume, or verify) a run; returns what `--json` prints.

    Raises a FraudloomError, whose `result` attribute holds the same object with verdict FAIL, or KeyboardInterrupt.
    `executor`: any thread-like `concurrent.futures.Executor`; by default threads, `options.workers` of them.
    """
    call = _Call(options)
    use_returning_pool()
    keep_freed_pages()
    with PeakMemory() as memory, ExitStack() as stack:
        if executor is None:
            pool = ThreadPoolExecutor(worker_count(options.workers), thread_name_prefix="fraudloom")
            executor = stack.enter_context(pool)
        try:
            call.run(executor, stack)
        except FraudloomError as e:
            raise call.failed(e, memory) from e.__cause__
        except Exception as e:
            raise call.failed(as_fault(e) or unexpected(call.phase, e), memory) from e
        except BaseException:
            if call.log is not None:
                call.log.event("INTERRUPTED")
            raise
        call.finish(memory)
    return call.result


class _Call:
    """State of one call of `run_world`."""

    def __init__(self, options: RunOptions) -> None:
        self.options = options
        self.started, self.cpu = time.monotonic(), cpu_seconds()
        self.progress = Progress(options.quiet)
        self.meter = Meter()
        self.result = RunResult({"seed": options.seed, "scenarios": list(options.scenarios), "verdict": "FAIL"})
        self.engine: Engine | None = None
        self.log: RunLog | None = None
        self.state = "S0"

    @property
    def phase(self) -> str:
        """The state for which this thread last worked: where an error that names none arose."""
        return self.state if self.meter.state == "S0" else self.meter.state

    def run(self, executor: Executor, stack: ExitStack) -> None:
        """The whole call."""
        options = self.options
        if options.run_id is not None:
            check_run_id(options.run_id)
        contracts = load_contracts(options.contracts)
        find_pack(options.policies)  # a mistyped name is bad usage: it leaves no run behind
        choice = choose_world(options, contracts)
        self.result.values |= {"world_root": str(choice.root), "manifest_fingerprint": choice.fingerprint}
        try:
            pack = load_pack(options.policies, contracts)
        except (PolicyError, ContractError) as e:
            self._refuse(choice, stack, e)
            raise
        if options.world is None:
            self._demand_room(choice, pack, contracts, 0)
            ensure_world(choice, contracts, worker_count(options.workers), self.progress)
            choice = replace(choice, there=True)
            release_memory()
        from fraudloom.states.world import load_world

        world = load_world(choice.root, contracts)
        try:
            scenarios, notes = scenarios_in_scope(options, world, pack)
        except PolicyError as e:
            self._refuse(choice, stack, e)
            raise
        axes = Axes(
            choice.fingerprint,
            parameter_hash(pack, contracts),
            validation_hash(pack, contracts),
            options.seed,
            scenarios,
        )
        spec, sealed = self._open(axes, choice, pack, contracts, stack)
        if sealed and options.first in ("S0", "S1"):
            self._verified(spec, executor)
            return
        engine = self._engine(spec, world, contracts, pack, executor)
        engine.note("S0", *notes)
        del world
        self._states(engine, sealed)

    def _demand_room(self, choice: WorldChoice, pack: Pack, contracts: Contracts, held: int) -> None:
        plan = plan_run(self.options, choice, pack, contracts, held)
        self.result.values |= {"arrivals": plan.arrivals, "shards": plan.shards, "parts": plan.parts}
        demand_room(plan, self.options.runs_root)

    def _open(
        self, axes: Axes, choice: WorldChoice, pack: Pack | None, contracts: Contracts, stack: ExitStack
    ) -> tuple[RunSpec, bool]:
        """Choose the run, check the disk, take the lock, write the receipt."""
        options = self.options
        runs_root = options.runs_root.resolve()
        run_id, found = choose_run(runs_root, axes, run_id=options.run_id, fresh=options.fresh, first=options.first)
        root = runs_root / run_id
        if pack is not None and not (found and found.sealed):
            self._demand_room(choice, pack, contracts, folder_bytes(root))
        manifest = read_world_manifest(choice.root)
        spec = RunSpec(
            axes,
            run_id,
            root,
            choice.root,
            runs_root,
            options,
            pack.name if pack else options.policies,
            pack.profile if pack else "full",
            contracts.root,
            manifest.get("seed"),
            sum(int(manifest.get("arrivals", {}).get(s, 0)) for s in axes.scenarios) if axes.scenarios else None,
        )
        make_folder(root)
        stack.enter_context(FolderLock(root / WORK / "lock", f"run {run_id}"))
        roll_forward(root / WORK / "intents")
        write_receipt(spec, fraudloom.__version__)
        self.log = RunLog(root / "logs" / "run_log.jsonl")
        self.log.event("RUN.START", run_id=run_id, resumed=found is not None, mode=options.mode)
        self.result.values |= {
            "run_id": run_id,
            "run_root": str(root),
            "seed": axes.seed,
            "scenarios": list(axes.scenarios),
            "parameter_hash": axes.parameter_hash or None,
        }
        return spec, bool(found and found.sealed)

    def _refuse(self, choice: WorldChoice, stack: ExitStack, error: FraudloomError) -> None:
        """Leave one FAIL row for a pack or contract that cannot be read."""
        if not choice.there:
            return
        options = self.options
        axes = Axes(choice.fingerprint, "", "", options.seed, options.scenarios)
        contracts = load_contracts(options.contracts)
        spec, _ = self._open(axes, choice, None, contracts, stack)
        path = spec.run_root / contracts.artefact_path("run_report_6B", **axes.tokens())
        row: dict[str, Any] = {
            "state": "S0",
            "scenario_id": None,
            "status": "FAIL",
            "seed": axes.seed,
            "manifest_fingerprint": axes.manifest_fingerprint,
            "parameter_hash": None,
            "scenarios": list(axes.scenarios),
            "counts": {},
            "datasets": {},
            "notes": [],
            "error_code": "S0_CONFIG_VALIDATION_FAILED",
            "error_message": f"{error.code}: {error.what}",
        }
        RunReport(path).put(row)

    def _engine(self, spec: RunSpec, world: Any, contracts: Contracts, pack: Pack, executor: Executor) -> Engine:
        assert self.log is not None
        work = spec.run_root / WORK
        report = RunReport(spec.run_root / contracts.artefact_path("run_report_6B", **spec.axes.tokens()))
        self.engine = Engine(
            spec,
            world,
            contracts,
            pack,
            worker_count(spec.options.workers),
            executor,
            self.log,
            self.progress,
            report,
            Journal(work / "journal.jsonl"),
            self.meter,
        )
        write_audit(spec, contracts, fraudloom.__version__)
        self.result.values |= {
            "arrivals": sum(int(world.n_arrivals(s)) for s in spec.scenarios),
            "shards": int(world.shards),
            "world_seed": world.manifest.get("seed"),
        }
        self.progress.line(f"run {spec.run_id} under {spec.run_root}")
        return self.engine

    def _states(self, engine: Engine, sealed: bool) -> None:
        options, spec = self.options, engine.spec
        wanted = options.wanted()
        forced = options.first not in ("S0", "S1")
        weaving = next((s for s in wanted if s in WEAVE), "S5")
        if "S0" in wanted:
            with self.meter.whole("S0"):
                run_gate(engine)
        else:
            self.state = weaving
            reopen_gate(engine)
        self.state = weaving
        if set(wanted) & set(WEAVE) or "S5" in wanted:
            open_scenarios(engine, spec.scenarios)
            self.result.values["parts"] = engine.scenarios[0].parts
        weave_states(engine, [s for s in wanted if s in WEAVE], forced)
        if "S5" in wanted:
            self.state = "S5"
            drop_plans(engine)
            release_memory()
            run_validation(engine)
            if not sealed:
                self._seal(engine)
        self.result.values["verdict"] = "PASS" if "S5" in wanted else "UNFINISHED"
        self._summarise(engine)

    def _seal(self, engine: Engine) -> None:
        root = engine.spec.run_root
        parts = {
            engine.published_path(d, scenario, part).relative_to(root).as_posix(): facts
            for s in WEAVE
            for d, rows in part_facts(engine, s).items()
            for scenario, part, facts in rows
        }
        write_seal(root, engine.spec.axes, parts, summaries(engine, WEAVE), engine.executor)
        for name in ("staging", "scatter", "intents"):
            remove_work(engine.work / name, engine.work)
        engine.log.event("RUN.SEALED")

    def _summarise(self, engine: Engine) -> None:
        passed = [s for s in WEAVE if engine.report.passed(s)]
        self.result.totals({d: dataset_summary(f) for s in passed for d, f in part_facts(engine, s).items()})
        self._states_of(engine.report)

    def _states_of(self, report: RunReport) -> None:
        rows = {s: sum(report.counts(s).values()) for s in report.states()}
        self.result.states({s: report.status(s) for s in report.states()}, rows, self.meter)

    def _verified(self, spec: RunSpec, executor: Executor) -> None:
        """A finished run: compare it with its seal."""
        with self.meter.whole("S5"):
            seal = verify_seal(spec.run_root, executor)
        contracts = load_contracts(self.options.contracts)
        report = RunReport(spec.run_root / contracts.artefact_path("run_report_6B", **spec.axes.tokens()))
        arrivals = seal["datasets"].get("s1_arrival_entities_6B", {})
        self.result.values |= {
            "verdict": "PASS",
            "arrivals": arrivals.get("rows", 0),
            "parts": max((int(d["parts"]) for d in seal["datasets"].values()), default=0) // len(spec.scenarios),
        }
        self.result.totals(seal["datasets"])
        self._states_of(report)
        if self.log is not None:
            self.log.event("RUN.VERIFIED")
        self.progress.line(f"run {spec.run_id} is sealed and whole: {len(seal['files'])} files as sealed")

    def failed(self, error: FraudloomError, memory: PeakMemory) -> FraudloomError:
        """Write the FAIL row, take back what the failing state and later ones published; return the error."""
        state = error.state if error.state in STATES else self.phase
        engine = self.engine
        if engine is not None and not isinstance(error, ConflictError) and not self._sealed(engine.spec.run_root):
            try:
                engine.report.put(fail_row(engine, state, error.code, error.what))
                retract(engine, state)
                engine.log.event(f"6B.{state}.FAIL", code=error.code, message=error.what)
            except OSError:
                pass  # the disk or the permission that failed the run also fails its report
            self._states_of(engine.report)
        self.finish(memory)
        error.result = self.result  # type: ignore[attr-defined]
        return error

    @staticmethod
    def _sealed(root: Path) -> bool:
        return (root / "SEAL.json").exists()

    def finish(self, memory: PeakMemory) -> None:
        """Set the figures of the whole call."""
        self.result.times(time.monotonic() - self.started, cpu_seconds() - self.cpu, memory.peak_bytes)
        if self.log is not None:
            self.log.event("RUN.END", verdict=self.result.verdict)
