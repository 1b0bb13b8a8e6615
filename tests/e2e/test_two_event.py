"""The pack `two-event`: the predecessor's tables and columns, a request and a response per flow."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from e2e.conftest import Woven, weave
from fraudloom.contracts_api import load_contracts

pytestmark = pytest.mark.xdist_group("e2e-2k")
DATASETS = {d: c for d, c in load_contracts().datasets.items() if c.owner in ("6B.S1", "6B.S2", "6B.S3", "6B.S4")}
CORE = {d: c.columns_for("core") for d, c in DATASETS.items() if c.columns_for("core")}
STREAMS = {
    "s2_event_stream_baseline_6B": "s2_flow_anchor_baseline_6B",
    "s3_event_stream_with_fraud_6B": "s3_flow_anchor_with_fraud_6B",
}


@pytest.fixture(scope="module")
def two_event(world_2k: Path, tmp_path_factory: pytest.TempPathFactory) -> Woven:
    """A run with the pack, all states on a shard at once."""
    return weave(world_2k, tmp_path_factory.mktemp("two-event"), "--policies", "two-event")


def test_it_passes(two_event: Woven) -> None:
    """Broken: a state or the validation cannot do without settlement or without the columns of `full`."""
    assert two_event.result["verdict"] == "PASS"
    assert {state["status"] for state in two_event.result["states"].values()} == {"PASS"}
    assert (two_event.root / "SEAL.json").is_file()
    assert two_event.result["datasets"]["s1_arrival_entities_6B"]["rows"] == two_event.result["arrivals"] == 2_000


def test_only_datasets_with_core_columns(two_event: Woven) -> None:
    """Broken: a dataset that only `full` has is published, or one of the predecessor's is not."""
    assert len(CORE) < len(DATASETS)
    assert set(two_event.result["datasets"]) == set(CORE)
    held = {path.name for path in two_event.folder(".").iterdir() if any(path.rglob("*.parquet"))}
    assert held - {"validation"} == set(CORE)


@pytest.mark.parametrize("dataset", sorted(CORE))
def test_only_core_columns(two_event: Woven, dataset: str) -> None:
    """Broken: a file lacks a core column, holds one of `full`, or holds them in another order or type."""
    files = sorted(two_event.folder(dataset).rglob("*.parquet"))
    assert files
    for path in files:
        schema = pq.read_schema(path)
        assert schema.names == [c.name for c in CORE[dataset]]
        assert schema.equals(DATASETS[dataset].arrow_schema("core"))


@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_a_request_and_a_response_per_flow(two_event: Woven, stream: str) -> None:
    """Broken: settlement, step-up or a retry adds events, a flow lacks its two, or the response is first."""
    con = duckdb.connect()
    for name in (stream, STREAMS[stream]):
        con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{two_event.folder(name)}/**/*.parquet')")
    flows = two_event.result["datasets"][STREAMS[stream]]["rows"]
    kinds = con.execute(f"SELECT event_seq, event_type, count(*) FROM {stream} GROUP BY ALL ORDER BY ALL").fetchall()
    assert flows > 0
    assert kinds == [(0, "AUTH_REQUEST", flows), (1, "AUTH_RESPONSE", flows)]
    pairs = con.execute(
        f"""
        SELECT count(*), coalesce(sum((q.ts_utc <= r.ts_utc)::INT), 0)
        FROM {STREAMS[stream]} f
        JOIN {stream} q ON q.flow_id = f.flow_id AND q.event_seq = 0
        JOIN {stream} r ON r.flow_id = f.flow_id AND r.event_seq = 1
        """
    ).fetchone()
    assert pairs == (flows, flows)


def test_staged_equals_fused(world_2k: Path, two_event: Woven, tmp_path: Path) -> None:
    """Broken: under `core`, a state that reads published parts misses what it has in memory."""
    staged = weave(world_2k, tmp_path, "--policies", "two-event", "--mode", "staged")
    assert staged.result["verdict"] == "PASS"
    assert staged.digests == two_event.digests
