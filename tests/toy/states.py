"""Toy states: every arrival is a session, a flow, two events, a truth, a view and a label; every 50th flow has a case.

They have the interfaces of `fraudloom.states.s1` to `s5`, so that orchestration (parts, resume, publishing, locks,
seals) is tested in seconds and apart from any law. `install()` puts them in place of the real ones.
"""

import os
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

import fraudloom.states
from fraudloom.errors import InternalError
from fraudloom.kernels.idmap import encode_ids
from fraudloom.tables import Columns, empty_columns

#: `TOY_FAIL=S3:2` makes that state's proof fail from the second shard on that it sees; `S3:2:name` in that
#: scenario alone.
FAIL = "TOY_FAIL"


class Decisions:
    """One decision with two slots."""

    def __init__(self, state: str) -> None:
        self.items = (SimpleNamespace(family=f"rng_event_{state}", decision="TOY", slots=2),)

    def new_evidence(self) -> Any:
        """Zeroed evidence."""
        return np.zeros((1, 2), dtype=np.uint64)


@dataclass
class Plan:
    """A plan of nothing but decisions and contracts."""

    state: str
    contracts: Any
    shards: int
    streams: Any
    decisions: Any = None
    seen: list[int] = field(default_factory=lambda: [0])
    policy: Any = None

    def __post_init__(self) -> None:
        self.decisions = Decisions(self.state)

    def ids(self, kind: str, ordinals: Any) -> Any:
        """Ids of ordinals, by the real bijection."""
        out = np.empty(len(ordinals), dtype=np.int64)
        encode_ids(self.streams.key("identity", kind), ordinals, out)
        return out


def blank(contracts: Any, dataset: str, n: int) -> Columns:
    """Rows of a dataset that any contract accepts: zeros, first labels, nulls where allowed."""
    ds = contracts.dataset(dataset)
    cols = empty_columns(ds, n)
    for c in ds.columns:
        if not c.nullable and c.enum:
            cols[c.name][:] = 0
        elif not c.nullable and c.type == "f64":
            cols[c.name][:] = 0.0
    return cols


def carry(contracts: Any, dataset: str, n: int, *sources: Columns, **more: Any) -> Columns:
    """Blank rows with the columns that the sources have."""
    cols = blank(contracts, dataset, n)
    names = {c.name: c for c in contracts.dataset(dataset).columns}
    for source in sources:
        for name in names.keys() & source.keys():
            cols[name] = source[name].astype(names[name].memory_dtype)
    for name, value in more.items():
        cols[name] = value
    return cols


def draw(evidence: Any, counters: Any) -> None:
    """Account two draws per counter."""
    evidence[0, 0] += np.uint64(2 * len(counters))
    evidence[0, 1] += counters.astype(np.uint64).sum(dtype=np.uint64)


def fail_if_asked(plan: Plan) -> None:
    """The injected failure of a proof."""
    state, count, scenario, *_ = [*os.environ.get(FAIL, "").split(":"), "", ""]
    plan.seen[0] += 1
    if state == plan.state and plan.seen[0] >= int(count or 1) and scenario in ("", plan.streams.scenario):
        raise InternalError(state, "TOY_FAILURE", what="a proof failed on request")


def s1() -> Any:
    """Toy S1."""
    names = ("merchant_id", "arrival_seq", "ts_utc", "channel_group", "zone_representation", "ts_local_primary")
    kinds = ("int64", "int64", "int64", "int8", "int8", "int64")

    def attach(plan: Plan, world: Any, arrivals: Columns, first: int, evidence: Any) -> Columns:
        n = len(arrivals["merchant_id"])
        out = dict(arrivals)
        out["_ordinal"] = np.arange(first, first + n, dtype=np.int64)
        out["_shard"] = out["_ordinal"] * 7 % plan.shards
        draw(evidence, out["_ordinal"])
        return out

    def scatter(attached: Columns, shards: int) -> Any:
        order = np.argsort(attached["_shard"], kind="stable")
        return order, np.searchsorted(attached["_shard"][order], np.arange(shards + 1))

    def sessionise(plan: Plan, world: Any, arrivals: Columns, evidence: Any) -> tuple[Columns, Columns]:
        order = np.lexsort((arrivals["_ordinal"], arrivals["ts_utc"]))
        rows = {k: v[order] for k, v in arrivals.items()}
        n, ordinal = len(order), rows["_ordinal"]
        ids = plan.ids("session", ordinal * 8)
        a = carry(plan.contracts, "s1_arrival_entities_6B", n, rows, session_id=ids)
        s = carry(plan.contracts, "s1_session_index_6B", n, rows, session_id=ids, session_start_utc=rows["ts_utc"])
        a |= {"_ordinal": ordinal, "_session_ordinal": ordinal * 8, "_session_row": np.arange(n)}
        draw(evidence, ordinal)
        return a, s | {"_ordinal": ordinal * 8}

    return SimpleNamespace(
        SCRATCH_COLUMNS=(*zip(names, kinds, strict=True), ("_ordinal", "int64")),
        compile_plan=lambda pack, world, streams, contracts: Plan("S1", contracts, world.shards, streams),
        attach=attach,
        scatter=scatter,
        arrange=lambda rows, order: {name: values[order] for name, values in rows.items()},
        sessionise=sessionise,
        prove=lambda plan, world, arrivals, sessions: fail_if_asked(plan),
        Ledger=Ledger,
        recorded_sum=lambda records, shard: 0,
        prove_unit=lambda *rest: None,
        prove_scattered=lambda *rest: None,
    )


class Ledger:
    """A ledger that counts nothing."""

    def __init__(self, plan: Plan, shards: int) -> None:
        del plan, shards

    def add(self, attached: Columns) -> None:
        """Nothing."""

    def record(self) -> list[str]:
        """No checksums."""
        return []


@dataclass
class Frame:
    """Tables of a frame."""

    flows: Columns
    events: Columns
    links: Any = None
    sessions: Any = None
    realised: Any = None


def s2() -> Any:
    """Toy S2."""

    def weave(plan: Plan, world: Any, arrivals: Columns, sessions: Columns, busy: Any, evidence: Any) -> Frame:
        n = len(arrivals["merchant_id"])
        ids = plan.ids("flow", arrivals["_session_ordinal"])
        flows = carry(plan.contracts, "s2_flow_anchor_baseline_6B", n, arrivals, flow_id=ids)
        links = carry(plan.contracts, "s2_arrival_flow_link_6B", n, arrivals, flow_id=ids)
        row = np.repeat(np.arange(n), 2)
        events = carry(plan.contracts, "s2_event_stream_baseline_6B", 2 * n)
        events |= {"flow_id": ids[row], "ts_utc": flows["ts_utc"][row]}
        events["event_seq"] = np.tile(np.array([0, 1], dtype=np.int32), n)
        events["amount"] = np.full(2 * n, float(busy["hours"].sum()))
        flows |= {"_ordinal": arrivals["_ordinal"] * 8}
        draw(evidence, arrivals["_ordinal"])
        return Frame(flows, events | {"_flow_row": row}, links)

    def busy_add(plan: Plan, attached: Columns, busy: Any) -> None:
        busy["hours"][0] += len(attached["ts_utc"])

    return SimpleNamespace(
        S2Frame=Frame,
        compile_plan=lambda pack, world, streams, contracts: Plan("S2", contracts, world.shards, streams),
        busy_new=lambda plan: {"hours": np.zeros(24, dtype=np.int64)},
        busy_add=busy_add,
        weave=weave,
        prove=lambda plan, world, arrivals, sessions, frame: fail_if_asked(plan),
        prove_draws=lambda *rest: None,
    )


def s3() -> Any:
    """Toy S3."""

    def overlay(
        plan: Plan, world: Any, shard: int, arrivals: Columns, sessions: Columns, frame: Any, busy: Any, evidence: Any
    ) -> Frame:
        n = len(frame.flows["flow_id"])
        assert plan.policy["shards"][shard] == n
        flows = carry(plan.contracts, "s3_flow_anchor_with_fraud_6B", n, frame.flows)
        events = carry(plan.contracts, "s3_event_stream_with_fraud_6B", 2 * n, frame.events)
        own = carry(plan.contracts, "s3_session_index_with_fraud_6B", n, sessions)
        draw(evidence, frame.flows["_ordinal"])
        realised = {"flows": np.array([n], dtype=np.int64)}
        return Frame(flows, events, sessions=own, realised=realised)

    def census_add(plan: Plan, world: Any, attached: Columns, census: Any) -> None:
        census["shards"] += np.bincount(attached["_shard"], minlength=plan.shards)

    def plan2(plan: Plan, census: Any) -> Plan:
        plan.policy = census
        return plan

    def catalogue(plan: Plan, realised: list[Any]) -> Columns:
        cols = blank(plan.contracts, "s3_campaign_catalogue_6B", 1)
        cols["campaign_id"][:] = 1
        cols["realised_flows"][:] = sum(int(r["flows"][0]) for r in realised)
        return cols

    return SimpleNamespace(
        S3Frame=Frame,
        compile_plan=lambda pack, world, streams, contracts, s2plan: Plan("S3", contracts, world.shards, streams),
        census_new=lambda plan: {"shards": np.zeros(plan.shards, dtype=np.int64)},
        census_add=census_add,
        plan2=plan2,
        busy_planned=lambda plan2, busy: busy,
        overlay=overlay,
        catalogue=catalogue,
        prove=lambda plan, *rest: fail_if_asked(plan),
    )


def s4() -> Any:
    """Toy S4."""

    def weave(plan: Plan, world: Any, frame: Any, evidence: Any) -> Any:
        ids = frame.flows["flow_id"]
        n, c = len(ids), plan.contracts
        cases = ids[::50]
        draw(evidence, ids)
        return SimpleNamespace(
            truth=carry(c, "s4_flow_truth_labels_6B", n, frame.flows),
            bank=carry(c, "s4_flow_bank_view_6B", n, frame.flows),
            event_labels=carry(c, "s4_event_labels_6B", 2 * n, frame.events),
            history=carry(c, "s4_label_history_6B", len(cases), flow_id=np.sort(cases)),
            cases=carry(c, "s4_case_timeline_6B", len(cases), case_id=np.sort(cases), flow_id=np.sort(cases)),
            case_links=carry(c, "s4_case_flow_link_6B", len(cases), case_id=np.sort(cases), flow_id=np.sort(cases)),
        )

    return SimpleNamespace(
        compile_plan=lambda pack, world, streams, contracts: Plan("S4", contracts, world.shards, streams),
        weave=weave,
        prove=lambda plan, world, frame, result: fail_if_asked(plan),
    )


def s5() -> Any:
    """Toy S5: PASS, unless asked to find fault."""

    def validate(run_root: Any, world: Any, contracts: Any, pack: Any, spec: Any, **rest: Any) -> Any:
        verdict = "FAIL" if os.environ.get(FAIL) == "S5" else "PASS"
        checks = [{"check_id": "REQ_TOY", "severity": "REQUIRED", "result": verdict}]
        report = {"overall_status": verdict, "checks": checks, "parts": len(rest["journal"])}
        return SimpleNamespace(
            report=report,
            issues=pa.table({"check_id": ["REQ_TOY"][: verdict == "FAIL"]}),
            verdict=verdict,
            checks=checks,
        )

    return SimpleNamespace(validate=validate)


def install() -> dict[str, Any]:
    """Put the toys in place; return what was there."""
    before = {}
    for name, make in (("s1", s1), ("s2", s2), ("s3", s3), ("s4", s4), ("s5", s5)):
        module = ModuleType(f"fraudloom.states.{name}")
        module.__dict__.update(vars(make()))
        key = f"fraudloom.states.{name}"
        before[key] = sys.modules.get(key)
        sys.modules[key] = module
        setattr(fraudloom.states, name, module)
    return before


def restore(before: dict[str, Any]) -> None:
    """Undo `install`."""
    for key, module in before.items():
        name = key.rpartition(".")[2]
        if module is None:
            sys.modules.pop(key, None)
            if hasattr(fraudloom.states, name):
                delattr(fraudloom.states, name)
        else:
            sys.modules[key] = module
            setattr(fraudloom.states, name, module)
