"""`fraudloom.open`: datasets by name with typed axes; and control files that keep their schemas."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from toy import states
from toy.worlds import empty_pack, small_world

import fraudloom
from fraudloom.contract_check import schema_validator
from fraudloom.contract_source import ContractSource
from fraudloom.contracts_api import load_contracts
from fraudloom.errors import SealError, UsageError
from fraudloom.run import run_world
from fraudloom.spec import RunOptions

pytestmark = pytest.mark.xdist_group("toy-runs")


@pytest.fixture(scope="module")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished toy run of 300 arrivals."""
    folder = tmp_path_factory.mktemp("api")
    before = states.install()
    try:
        world = small_world(folder, arrivals=300, shards=3)
        options = RunOptions(world=world, policies=str(empty_pack(folder)), runs_root=folder / "runs", quiet=True)
        result = run_world(options).as_json()
    finally:
        states.restore(before)
    yield Path(result["run_root"])


def test_datasets_have_rows_and_typed_axes(run_root: Path) -> None:
    """Every sealed dataset opens by name; seed is int64, the other axes strings; nullability is the contract's."""
    run = fraudloom.open(run_root)
    seal = json.loads((run_root / "SEAL.json").read_text("utf-8"))
    assert set(run) == set(run.datasets) == set(seal["datasets"])
    for name in run:
        data = run[name]
        assert data.count_rows() == seal["datasets"][name]["rows"]
        assert data.schema.field("seed").type == pa.int64()
        assert data.schema.field("scenario_id").type == pa.string()
    table = run.table("s2_flow_anchor_baseline_6B", ["flow_id", "seed", "scenario_id"])
    assert set(table.column("seed").to_pylist()) == {42}
    assert set(table.column("scenario_id").to_pylist()) == {"baseline_v1"}
    assert "300" in repr(run) or run.receipt["run_id"] in repr(run)
    with pytest.raises(KeyError):
        run["no_such_dataset"]


def test_duckdb_views_have_typed_axes(run_root: Path) -> None:
    """A DuckDB view per dataset, with the same rows and typed axes."""
    run = fraudloom.open(run_root)
    con = run.duckdb()
    for name in run:
        query = f'SELECT count(*), any_value(typeof(seed)), any_value(typeof(scenario_id)) FROM "{name}"'
        assert con.execute(query).fetchone() == (run[name].count_rows(), "BIGINT", "VARCHAR")


def test_only_sealed_runs_open(run_root: Path, tmp_path: Path) -> None:
    """A folder that is no run is bad usage; a run without its seal is refused; so is one with a missing file."""
    with pytest.raises(UsageError, match="NOT_A_RUN"):
        fraudloom.open(tmp_path)
    (tmp_path / "run_receipt.json").write_bytes((run_root / "run_receipt.json").read_bytes())
    with pytest.raises(SealError, match="NOT_SEALED"):
        fraudloom.open(tmp_path)
    (tmp_path / "SEAL.json").write_bytes((run_root / "SEAL.json").read_bytes())
    with pytest.raises(SealError, match="FILE_MISSING"):
        fraudloom.open(tmp_path)["s2_flow_anchor_baseline_6B"]


JSON = ("s0_gate_receipt_6B", "sealed_inputs_6B", "validation_bundle_index_6B", "seal", "run_receipt")
LINES = ("run_report_6B", "run_log", "rng_audit_log", "rng_trace_log", "rng_evidence_6B")


@pytest.mark.parametrize("artefact", JSON + LINES)
def test_control_files_keep_their_schemas(run_root: Path, artefact: str) -> None:
    """Each control file, or each of its lines, is valid under its schema and is canonical JSON."""
    contracts, receipt = load_contracts(), json.loads((run_root / "run_receipt.json").read_text("utf-8"))
    tokens: dict[str, Any] = {"seed": receipt["seed"], "ph": receipt["parameter_hash"], "run": receipt["run_id"]}
    tokens |= {"mf": receipt["manifest_fingerprint"], "scenario": "baseline_v1", "family": "rng_event_S2"}
    path = run_root / contracts.artefact_path(artefact, **tokens)
    text = path.read_text("utf-8")
    values = [json.loads(text)] if artefact in JSON else [json.loads(line) for line in text.splitlines()]
    validator = schema_validator(ContractSource(), artefact)
    assert values
    for value in values:
        validator.validate(value)
    canonical = [json.dumps(v, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n" for v in values]
    assert text == "".join(canonical)


def test_flag_covers_the_index(run_root: Path) -> None:
    """The flag is the digest of index.json, which lists report and issues with size and digest."""
    import hashlib

    (folder,) = run_root.glob("data/layer3/6B/validation/*")
    digest = hashlib.sha256((folder / "index.json").read_bytes()).hexdigest()
    assert (folder / "_passed.flag").read_text("ascii") == f"sha256_hex = {digest}\n"
    index = json.loads((folder / "index.json").read_text("utf-8"))
    for item in index["items"]:
        data = (folder / item["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (item["size_bytes"], item["sha256_hex"])
