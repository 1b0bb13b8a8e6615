"""What a user does first: read every dataset as a folder, with the tools that people have, and join it."""

from __future__ import annotations

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fraudloom
from e2e.conftest import Woven
from fraudloom.contracts_api import Dataset, load_contracts

pytestmark = pytest.mark.xdist_group("e2e-100k")
CONTRACTS = load_contracts()
DATASETS = sorted(d for d, c in CONTRACTS.datasets.items() if c.owner in ("6B.S1", "6B.S2", "6B.S3", "6B.S4"))
AXES = {"seed", "parameter_hash", "manifest_fingerprint", "scenario_id"}


def _columns(ds: Dataset) -> set[str]:
    return {c.name for c in ds.columns}


def _view(woven: Woven) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for d in DATASETS:
        con.execute(
            f"CREATE VIEW {d} AS SELECT * FROM read_parquet('{woven.folder(d)}/**/*.parquet', hive_partitioning = true)"
        )
    return con


@pytest.mark.parametrize("dataset", DATASETS)
def test_three_readers_agree(woven_100k: Woven, dataset: str) -> None:
    """Broken: a folder cannot be read by one of the tools, or gives other rows or columns there."""
    ds = CONTRACTS.dataset(dataset)
    folder = woven_100k.folder(dataset)
    rows = woven_100k.result["datasets"][dataset]["rows"]
    frame = pd.read_parquet(folder)
    polars = pl.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)
    con = _view(woven_100k)
    duck = con.execute(f"SELECT count(*) FROM {dataset}").fetchone()
    names = {r[0] for r in con.execute(f"DESCRIBE {dataset}").fetchall()}
    assert (len(frame), polars.height, duck) == (rows, rows, (rows,))
    assert set(frame.columns) == set(polars.columns) == names == _columns(ds) | AXES
    key = ds.key[0]
    assert sorted(frame[key].tolist()) == sorted(polars[key].to_list())


@pytest.mark.parametrize("dataset", DATASETS)
def test_keys_are_unique(woven_100k: Woven, dataset: str) -> None:
    """Broken: two rows of a dataset share its key."""
    key = ", ".join(CONTRACTS.dataset(dataset).key)
    con = _view(woven_100k)
    found = con.execute(f"SELECT count(*), count(DISTINCT ({key},)) FROM {dataset}").fetchone()
    assert found is not None
    assert found[0] == found[1]


REFERENCES = [
    ("s1_arrival_entities_6B", "session_id", "s1_session_index_6B", "session_id"),
    ("s2_flow_anchor_baseline_6B", "session_id", "s1_session_index_6B", "session_id"),
    ("s2_arrival_flow_link_6B", "flow_id", "s2_flow_anchor_baseline_6B", "flow_id"),
    ("s2_event_stream_baseline_6B", "flow_id", "s2_flow_anchor_baseline_6B", "flow_id"),
    ("s2_flow_anchor_baseline_6B", "flow_id", "s3_flow_anchor_with_fraud_6B", "flow_id"),
    ("s3_event_stream_with_fraud_6B", "flow_id", "s3_flow_anchor_with_fraud_6B", "flow_id"),
    ("s3_flow_anchor_with_fraud_6B", "session_id", "s3_session_index_with_fraud_6B", "session_id"),
    ("s3_flow_anchor_with_fraud_6B", "campaign_id", "s3_campaign_catalogue_6B", "campaign_id"),
    ("s3_flow_anchor_with_fraud_6B", "flow_id", "s4_flow_truth_labels_6B", "flow_id"),
    ("s3_flow_anchor_with_fraud_6B", "flow_id", "s4_flow_bank_view_6B", "flow_id"),
    ("s4_label_history_6B", "flow_id", "s4_flow_bank_view_6B", "flow_id"),
    ("s4_case_timeline_6B", "flow_id", "s3_flow_anchor_with_fraud_6B", "flow_id"),
    ("s4_case_timeline_6B", "case_id", "s4_case_flow_link_6B", "case_id"),
    ("s4_case_flow_link_6B", "case_id", "s4_case_timeline_6B", "case_id"),
    ("s4_flow_bank_view_6B", "case_id", "s4_case_flow_link_6B", "case_id"),
]


@pytest.mark.parametrize(("child", "column", "parent", "key"), REFERENCES)
def test_references_are_whole(woven_100k: Woven, child: str, column: str, parent: str, key: str) -> None:
    """Broken: a row points at a row that is not there."""
    con = _view(woven_100k)
    lost = con.execute(
        f"SELECT count(*) FROM {child} c WHERE c.{column} IS NOT NULL "
        f"AND c.{column} NOT IN (SELECT {key} FROM {parent} WHERE {key} IS NOT NULL)"
    ).fetchone()
    assert lost == (0,)


def test_flows_join_truth_bank_and_cases(woven_100k: Woven) -> None:
    """Broken: the three layers of labels cannot be put side by side, or say nothing."""
    con = _view(woven_100k)
    rows = con.execute(
        """
        SELECT t.fraud_label, count(*), sum(b.is_fraud_bank_view::INT), sum((l.case_id IS NOT NULL)::INT)
        FROM s3_flow_anchor_with_fraud_6B f
        JOIN s4_flow_truth_labels_6B t USING (flow_id)
        JOIN s4_flow_bank_view_6B b USING (flow_id)
        LEFT JOIN s4_case_flow_link_6B l USING (flow_id)
        GROUP BY ALL
        """
    ).fetchall()
    found = {r[0]: r[1:] for r in rows}
    assert set(found) == {"LEGIT", "FRAUD", "ABUSE"}
    assert sum(r[0] for r in found.values()) == woven_100k.result["datasets"]["s3_flow_anchor_with_fraud_6B"]["rows"]
    assert found["FRAUD"][1] > 0
    assert found["FRAUD"][2] > 0
    assert found["FRAUD"][1] / found["FRAUD"][0] > found["LEGIT"][1] / found["LEGIT"][0]


def test_event_labels_stand_row_by_row_beside_events(woven_100k: Woven) -> None:
    """Broken: the promise that aligned datasets can be zipped without a join."""
    run = fraudloom.open(woven_100k.root)
    for left, right, columns in (
        ("s3_event_stream_with_fraud_6B", "s4_event_labels_6B", ["flow_id", "event_seq"]),
        ("s3_flow_anchor_with_fraud_6B", "s4_flow_truth_labels_6B", ["flow_id"]),
        ("s3_flow_anchor_with_fraud_6B", "s4_flow_bank_view_6B", ["flow_id"]),
        ("s1_arrival_entities_6B", "s2_arrival_flow_link_6B", ["merchant_id", "arrival_seq"]),
    ):
        assert run.table(left, columns).equals(run.table(right, columns)), (left, right)


def test_public_api_types_the_axes(woven_100k: Woven) -> None:
    """Broken: `fraudloom.open` loses the partition keys, their types, or the DuckDB relations."""
    run = fraudloom.open(woven_100k.root)
    assert set(run) == set(DATASETS)
    table = run.table("s4_flow_truth_labels_6B", ["flow_id", "seed", "scenario_id"])
    assert table.schema.field("seed").type == pa.int64()
    assert set(table["scenario_id"].to_pylist()) == {"baseline_v1"}
    assert set(table["seed"].to_pylist()) == {woven_100k.result["seed"]}
    count = run.duckdb().execute("SELECT count(*) FROM s4_flow_truth_labels_6B WHERE seed = 42").fetchone()
    assert count == (table.num_rows,)


def test_single_arrival_sessions(woven_100k: Woven) -> None:
    """Broken: sessions are all singletons, as the predecessor's were, or hardly any are."""
    con = _view(woven_100k)
    share = con.execute("SELECT avg((arrival_count = 1)::INT) FROM s1_session_index_6B").fetchone()
    assert share is not None
    assert 0.40 <= share[0] <= 0.80


def test_all_fourteen_types_have_incidents(woven_100k: Woven) -> None:
    """Broken: a type of section 5 has no flows, or flows without an incident."""
    con = _view(woven_100k)
    rows = con.execute(
        "SELECT fraud_pattern_type, count(*), count(incident_id), count(campaign_id) "
        "FROM s3_flow_anchor_with_fraud_6B WHERE fraud_pattern_type <> 'NONE' GROUP BY ALL"
    ).fetchall()
    assert {r[0] for r in rows} == set(CONTRACTS.enum("campaign_type")) - {"NONE"}
    assert all(n == incidents == campaigns for _, n, incidents, campaigns in rows)


def test_mule_legs_are_linked_and_refunds_inserted(woven_100k: Woven) -> None:
    """Broken: a mule chain's legs do not share an incident, money does not pass on, or refund abuse refunds nothing."""
    con = _view(woven_100k)
    legs = con.execute(
        """
        SELECT a.payee_account_id = b.account_id, b.amount_ref_minor <= a.amount_ref_minor, b.ts_utc > a.ts_utc
        FROM s3_flow_anchor_with_fraud_6B a JOIN s3_flow_anchor_with_fraud_6B b
          ON a.incident_id = b.incident_id AND b.mule_layer = a.mule_layer + 1
        WHERE a.fraud_pattern_type = 'MULE_ACTIVITY'
        """
    ).fetchall()
    assert legs
    assert all(all(leg) for leg in legs)
    refunds = con.execute(
        """
        SELECT count(DISTINCT f.flow_id), count(e.flow_id)
        FROM s3_flow_anchor_with_fraud_6B f LEFT JOIN s3_event_stream_with_fraud_6B e
          ON e.flow_id = f.flow_id AND e.event_type = 'REFUND' AND e.is_fraud_event
        WHERE f.fraud_pattern_type = 'REFUND_ABUSE'
        """
    ).fetchone()
    assert refunds is not None
    assert refunds[0] > 0
    assert refunds[0] == refunds[1]


def test_cases_span_flows(woven_100k: Woven) -> None:
    """Broken: one case per flow, as the predecessor had."""
    con = _view(woven_100k)
    rows = con.execute("SELECT max(n) FROM (SELECT count(*) n FROM s4_case_flow_link_6B GROUP BY case_id)").fetchone()
    assert rows is not None
    assert rows[0] > 1
