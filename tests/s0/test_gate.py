"""Every way in which a sealed world can be broken is named by S0, with file, found and expected."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.errors import ContractError, DataError, FraudloomError, SealError
from fraudloom.policies_api import Pack, load_pack
from fraudloom.spec import parameter_hash
from fraudloom.states import s0
from fraudloom.states.s0 import bundles
from fraudloom.states.s0.gate import check_rows, sealed_digest
from fraudloom.states.world import WorldSpec, build_world
from fraudloom.tables import file_sha256

pytestmark = pytest.mark.xdist_group("s0_gate")
Break = Callable[[Path], None]


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    """The packaged contracts."""
    return load_contracts()


@pytest.fixture(scope="module")
def pack(contracts: Contracts, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack of the validation policy alone: the gate does not ask what a policy says."""
    folder = tmp_path_factory.mktemp("pack")
    shipped = Path(__file__).resolve().parents[2] / "policies" / "default" / "segment_validation_policy_6B.yaml"
    shutil.copy(shipped, folder)
    (folder / "pack.yaml").write_text("name: tiny\nprofile: full\ndescription: validation only\n")
    return load_pack(folder, contracts)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, contracts: Contracts) -> Path:
    """A sealed world of 300 arrivals, never changed."""
    root = tmp_path_factory.mktemp("world") / "w"
    build_world(WorldSpec(arrivals=300, seed=3, days=7), root, contracts=contracts)
    return root


@pytest.fixture
def world(sealed: Path, tmp_path: Path) -> Path:
    """A copy of the sealed world to break."""
    return Path(shutil.copytree(sealed, tmp_path / "w"))


def only(root: Path, pattern: str) -> Path:
    """The one file below a world that matches."""
    found = sorted(root.glob(pattern))
    assert found, pattern
    return found[0]


def manifest(root: Path) -> dict[str, Any]:
    """The world's manifest."""
    value: dict[str, Any] = json.loads((root / "world.json").read_text())
    return value


def reseal(root: Path, segment: str) -> None:
    """Give a segment an index, a flag and a manifest that agree with its files: what an insider would do."""
    mf = manifest(root)["manifest_fingerprint"]
    folder = root / bundles.bundle_path(segment, mf)
    entries = json.loads((folder / "index.json").read_text())
    for e in entries:
        path = root / e["path"]
        e["size"], e["sha256"] = path.stat().st_size, file_sha256(path)
    (folder / "index.json").write_text(json.dumps(entries, sort_keys=True, separators=(",", ":")) + "\n")
    (folder / "_passed.flag").write_text(f"sha256_hex = {file_sha256(folder / 'index.json')}\n")
    document = manifest(root)
    for f in document["files"]:
        f["size"], f["sha256"] = (root / f["path"]).stat().st_size, file_sha256(root / f["path"])
    (root / "world.json").write_text(json.dumps(document))


ARRIVALS = "data/layer2/5B/arrival_events/**/part-00000.parquet"


def flip(root: Path) -> None:
    """Change one byte of a member."""
    path = only(root, "data/layer1/1A/merchants/**/*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit_manifest(root: Path, key: str, value: Any) -> None:
    """Set one entry of the manifest."""
    document = manifest(root)
    document[key] = value
    (root / "world.json").write_text(json.dumps(document))


def cut(root: Path) -> None:
    """Truncate a member."""
    path = only(root, ARRIVALS)
    path.write_bytes(path.read_bytes()[:-9])


def edit_index(root: Path) -> None:
    """Drop an entry of an index."""
    path = only(root, "data/layer3/6A/validation/*/index.json")
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))


def name_absent(root: Path) -> None:
    """Let an index, with a flag that agrees, name a file that is not there."""
    path = only(root, "data/layer1/2A/validation/*/index.json")
    entries = json.loads(path.read_text())
    entries.append({"path": "data/layer1/2A/zz.parquet", "size": 1, "sha256": "0" * 64})
    path.write_text(json.dumps(entries))
    path.with_name("_passed.flag").write_text(f"sha256_hex = {file_sha256(path)}\n")


def unlist(root: Path) -> None:
    """Take a sealed list out of the world and of its index."""
    path = only(root, "data/layer2/5A/sealed_inputs/**/*.json")
    index = only(root, "data/layer2/5A/validation/*/index.json")
    entries = [e for e in json.loads(index.read_text()) if not e["path"].endswith(path.name)]
    path.unlink()
    index.write_text(json.dumps(entries))
    index.with_name("_passed.flag").write_text(f"sha256_hex = {file_sha256(index)}\n")


def edit_list(root: Path, key: str, value: str) -> None:
    """Change one field of 6A's sealed list, and reseal."""
    path = only(root, "data/layer3/6A/sealed_inputs/**/*.json")
    rows = json.loads(path.read_text())
    rows[0][key] = value
    path.write_text(json.dumps(rows))
    reseal(root, "6A")


def json_flag(root: Path, **more: str) -> None:
    """Write 1B's flag in its JSON form."""
    path = only(root, "data/layer1/1B/validation/*/_passed.flag")
    digest = file_sha256(path.with_name("index.json"))
    path.write_text(json.dumps({"bundle_digest_sha256": digest, **more}))


def other_flag(root: Path) -> None:
    """Put another segment's flag in place."""
    shutil.copy(
        only(root, "data/layer1/1B/validation/*/_passed.flag"), only(root, "data/layer1/1A/validation/*/_passed.flag")
    )


def drop_table(root: Path) -> None:
    """Take a whole table out of files, index and manifest."""
    path = only(root, "data/layer3/6A/trips_6A/**/*.parquet")
    name = path.relative_to(root).as_posix()
    path.unlink()
    index = only(root, "data/layer3/6A/validation/*/index.json")
    index.write_text(json.dumps([e for e in json.loads(index.read_text()) if e["path"] != name]))
    index.with_name("_passed.flag").write_text(f"sha256_hex = {file_sha256(index)}\n")
    edit_manifest(root, "files", [f for f in manifest(root)["files"] if f["path"] != name])


HASHGATE = "S0_UPSTREAM_HASHGATE_INVALID"
BROKEN: list[tuple[str, Break, type[FraudloomError], str]] = [
    ("one byte flipped", flip, SealError, HASHGATE),
    ("member truncated", cut, SealError, HASHGATE),
    ("member missing", lambda w: only(w, ARRIVALS).unlink(), SealError, HASHGATE),
    (
        "index missing",
        lambda w: only(w, "data/layer1/3A/validation/*/index.json").unlink(),
        SealError,
        "S0_UPSTREAM_HASHGATE_MISSING",
    ),
    (
        "flag missing",
        lambda w: only(w, "data/layer1/3A/validation/*/_passed.flag").unlink(),
        SealError,
        "S0_UPSTREAM_HASHGATE_MISSING",
    ),
    ("flag of another segment", other_flag, SealError, HASHGATE),
    (
        "flag is prose",
        lambda w: only(w, "data/layer1/3B/validation/*/_passed.flag").write_text("passed"),
        SealError,
        HASHGATE,
    ),
    ("flag says FAIL", lambda w: json_flag(w, overall_status="FAIL"), SealError, "S0_UPSTREAM_VALIDATION_NONPASS"),
    ("flag of another world", lambda w: json_flag(w, manifest_fingerprint="0" * 64), SealError, HASHGATE),
    ("index edited", edit_index, SealError, HASHGATE),
    ("index names an absent file", name_absent, SealError, HASHGATE),
    (
        "index is not JSON",
        lambda w: only(w, "data/layer1/1A/validation/*/index.json").write_text("["),
        SealError,
        HASHGATE,
    ),
    (
        "unknown extra file",
        lambda w: (only(w, ARRIVALS).parent / "part-00009.parquet").write_bytes(b"x"),
        SealError,
        HASHGATE,
    ),
    ("no manifest", lambda w: (w / "world.json").unlink(), SealError, "S0_UPSTREAM_HASHGATE_MISSING"),
    (
        "manifest lacks keys",
        lambda w: (w / "world.json").write_text("{}"),
        SealError,
        "S0_UPSTREAM_SEALED_INPUTS_INVALID",
    ),
    ("sealed list missing", unlist, SealError, "S0_UPSTREAM_SEALED_INPUTS_MISSING"),
    (
        "sealed list of another content",
        lambda w: edit_list(w, "sha256_hex", "0" * 64),
        SealError,
        "S0_UPSTREAM_SEALED_INPUTS_INVALID",
    ),
    (
        "schema ref unresolved",
        lambda w: edit_list(w, "schema_ref", "dictionary/upstream.yaml#/datasets/none"),
        ContractError,
        "S0_SCHEMA_ANCHOR_UNRESOLVED",
    ),
    ("table missing altogether", drop_table, SealError, "S0_SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING"),
    (
        "manifest of other arrivals",
        lambda w: edit_manifest(w, "arrivals", {"baseline_v1": 7}),
        SealError,
        "S0_SEALED_INPUTS_DRIFT",
    ),
]


@pytest.mark.parametrize(("name", "action", "kind", "code"), BROKEN, ids=[b[0] for b in BROKEN])
def test_broken_world_is_named(
    world: Path, contracts: Contracts, pack: Pack, name: str, action: Break, kind: type[FraudloomError], code: str
) -> None:
    """Breaking exactly one thing gives exactly one code, exit status 2, and a message that says where."""
    action(world)
    with pytest.raises(kind) as caught:
        s0.gate(world, contracts, pack)
    assert caught.value.code == code, caught.value
    assert caught.value.state == "S0" and caught.value.exit_status == 2
    assert caught.value.where is not None


def rewrite(root: Path, change: Callable[[dict[str, Any]], None], nulls: str = "") -> None:
    """Rewrite the arrivals with a change of columns (or a null in one), resealed so that only the rows are wrong."""
    path = only(root, ARRIVALS)
    table = pq.read_table(path)
    cols = {n: table.column(n).to_pandas().to_numpy().copy() for n in ("merchant_id", "arrival_seq")}
    cols["ts_utc"] = table.column("ts_utc").cast(pa.int64()).to_numpy().copy()
    change(cols)
    for name, values in cols.items():
        i = table.schema.get_field_index(name)
        mask = np.arange(len(values)) == 5 if name == nulls else None
        array = pa.array(values, type=table.schema.field(i).type, mask=mask)
        table = table.set_column(i, pa.field(name, array.type, nullable=name == nulls), array)
    pq.write_table(table, path)
    reseal(root, "5B")


def swap_rows(c: dict[str, Any]) -> None:
    """Exchange two numbers of one merchant."""
    i = int(np.flatnonzero(c["merchant_id"][1:] == c["merchant_id"][:-1])[0])
    c["arrival_seq"][[i, i + 1]] = c["arrival_seq"][[i + 1, i]]


def repeat_row(c: dict[str, Any]) -> None:
    """Give two rows one key."""
    i = int(np.flatnonzero(c["merchant_id"][1:] == c["merchant_id"][:-1])[0])
    c["arrival_seq"][i + 1] = c["arrival_seq"][i]


def skip_number(c: dict[str, Any]) -> None:
    """Leave a number out."""
    c["arrival_seq"][-1] += 1


def turn_back(c: dict[str, Any]) -> None:
    """Let time go back within a merchant."""
    i = int(np.flatnonzero(c["merchant_id"][1:] == c["merchant_id"][:-1])[0])
    c["ts_utc"][i + 1] = c["ts_utc"][i] - 1


def too_late(c: dict[str, Any]) -> None:
    """Move an arrival past the horizon."""
    c["ts_utc"][-1] += 40 * 86_400_000_000


def too_early(c: dict[str, Any]) -> None:
    """Move the first arrival before the horizon."""
    c["ts_utc"][0] -= 40 * 86_400_000_000


ROWS: list[tuple[Callable[[dict[str, Any]], None], str, str]] = [
    (lambda c: None, "ts_utc", "NULL_IN_REQUIRED_COLUMN"),
    (repeat_row, "", "DUPLICATE"),
    (swap_rows, "", "ORDER"),
    (turn_back, "", "ORDER"),
    (skip_number, "", "NUMBERING"),
    (too_late, "", "OUT_OF_HORIZON"),
    (too_early, "", "OUT_OF_HORIZON"),
]


@pytest.mark.parametrize(("change", "nulls", "code"), ROWS, ids=[f"{r[0].__name__}-{r[2]}" for r in ROWS])
def test_bad_arrivals_are_named(
    world: Path, contracts: Contracts, pack: Pack, change: Callable[[dict[str, Any]], None], nulls: str, code: str
) -> None:
    """Rows that no payments world can hold are refused even when every digest agrees with them."""
    rewrite(world, change, nulls)
    with pytest.raises(DataError) as caught:
        s0.gate(world, contracts, pack)
    assert caught.value.code == f"S0_ARRIVALS_{code}", caught.value


def test_gate_of_a_whole_world(sealed: Path, contracts: Contracts, pack: Pack) -> None:
    """Receipt and inventory name everything once, sorted; threads and a second call give the same."""
    gate = s0.gate(sealed, contracts, pack)
    keys = [r["manifest_key"] for r in gate.sealed_inputs]
    assert len(set(keys)) == len(keys)
    assert {d.id for d in contracts.datasets.values() if not d.owner.startswith("6B")} <= set(keys)
    assert gate.digest == sealed_digest(gate.sealed_inputs) == gate.receipt["sealed_inputs_digest_6B"]
    assert gate.receipt["arrivals"] == {"baseline_v1": 300}
    assert gate.receipt["parameter_hash"] == parameter_hash(pack, contracts)
    assert len(gate.receipt["upstream_segments"]) == 9
    with ThreadPoolExecutor(2) as executor:
        assert s0.gate(sealed, contracts, pack, executor=executor) == gate


def test_metadata_depth_trusts_bytes_and_says_so(world: Path, contracts: Contracts, pack: Pack) -> None:
    """`metadata` does not hash members, finds another size all the same, and stands in the receipt."""
    whole = s0.gate(world, contracts, pack)
    flip(world)
    gate = s0.gate(world, contracts, pack, verify="metadata")
    assert gate.receipt["verify"] == "metadata" and gate.digest == whole.digest
    cut(world)
    with pytest.raises(SealError, match="another size"):
        s0.gate(world, contracts, pack, verify="metadata")


def test_unknown_depth_is_refused(sealed: Path, contracts: Contracts, pack: Pack) -> None:
    """A depth of verification that does not exist is an error, not a default."""
    with pytest.raises(SealError, match="S0_CONFIG_VALIDATION_FAILED"):
        s0.gate(sealed, contracts, pack, verify="none")


def test_contracts_without_artefacts_are_incomplete(sealed: Path, contracts: Contracts, pack: Pack) -> None:
    """A contract set without control artefacts is refused."""
    with pytest.raises(ContractError, match="S0_CONTRACT_SET_INCOMPLETE"):
        s0.gate(sealed, replace(contracts, artefacts={}), pack)


def test_policy_without_schema_is_unresolved(sealed: Path, contracts: Contracts, pack: Pack, tmp_path: Path) -> None:
    """A policy whose schema is not among the contracts does not pass."""
    stranger = tmp_path / "strange_policy_6B.yaml"
    stranger.write_text("a: 1\n")
    more = replace(pack, sources={**pack.sources, "strange_policy_6B": stranger})
    with pytest.raises(ContractError, match="S0_SCHEMA_ANCHOR_UNRESOLVED"):
        s0.gate(sealed, contracts, more)


def test_malformed_inventory_is_refused(sealed: Path, contracts: Contracts, pack: Pack) -> None:
    """Rows out of order, twice, of an unknown role or unhashable break the inventory's schema."""
    rows = s0.gate(sealed, contracts, pack, verify="metadata").sealed_inputs
    for bad in (rows[::-1], [rows[0], *rows], [{**rows[0], "role": "FRIEND"}], [{**rows[0], "status": "MAYBE"}]):
        with pytest.raises(SealError, match="S0_SEALED_INPUTS_SCHEMA_VIOLATION"):
            check_rows(bad)
    with pytest.raises(SealError, match="S0_SEALED_INPUTS_DIGEST_COMPUTE_FAILED"):
        sealed_digest([{"a": object()}])


def test_zero_arrivals_pass(tmp_path: Path, contracts: Contracts, pack: Pack) -> None:
    """An empty world is a world."""
    build_world(WorldSpec(arrivals=0, seed=1, days=7), tmp_path / "w", contracts=contracts)
    assert s0.gate(tmp_path / "w", contracts, pack).receipt["arrivals"] == {"baseline_v1": 0}
