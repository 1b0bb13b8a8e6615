"""`world verify` finds and names every damage: a byte of any file, a part too few or too many, a foreign flag."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e.conftest import cli
from s0 import breaking as br

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.errors import FraudloomError
from fraudloom.states.s0 import bundles
from fraudloom.states.s0.manifest import read_manifest
from fraudloom.states.world import WorldSpec, build_world, verify_world
from fraudloom.states.world.verify import VerifyReport
from fraudloom.tables import PartWriter, file_sha256, read_table

pytestmark = pytest.mark.xdist_group("world-verify")


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    """The packaged contracts."""
    return load_contracts()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, contracts: Contracts) -> Path:
    """A sealed world, never changed."""
    root = tmp_path_factory.mktemp("world") / "w"
    build_world(WorldSpec(arrivals=200, seed=5, days=7), root, contracts=contracts)
    return root


@pytest.fixture
def world(sealed: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(sealed, tmp_path / "w"))


def flipped(data: bytes, at: int, bit: int = 1) -> bytes:
    """The bytes with one bit changed."""
    out = bytearray(data)
    out[at] ^= bit
    return bytes(out)


def named(report: VerifyReport) -> set[str]:
    """Files that the findings name."""
    return {f.where for f in report.findings}


def test_one_flipped_byte_in_any_file_is_found(world: Path, contracts: Contracts) -> None:
    """Whatever file a byte changes in, at its start, middle or end: that file alone is named, with both digests."""
    files = sorted(p for p in world.rglob("*") if p.is_file())
    assert len(files) > 40
    for path in files:
        data, name = path.read_bytes(), path.relative_to(world).as_posix()
        for at in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(flipped(data, at))
            report = verify_world(world, contracts)
            assert named(report) == {name}, (name, at, report.findings)
            for f in report.findings:
                assert f.found not in ("", "None", f.expected)
                assert path.suffix != ".parquet" or (f.found == file_sha256(path) and len(f.expected) == 64)
        path.write_bytes(data)
    assert verify_world(world, contracts).passed


def test_every_byte_of_the_gates_counts(world: Path, contracts: Contracts) -> None:
    """No byte of an index, a flag or the manifest may change unseen, to another digit, blank or sign."""
    document = br.manifest(world)
    mf, digest = document["manifest_fingerprint"], document["bundles"]["3A"]
    for name in (bundles.flag_path(contracts, "3A", mf), bundles.index_path(contracts, "3A", mf)):
        path = world / name
        data = path.read_bytes()
        for at in range(len(data)):
            path.write_bytes(flipped(data, at, 1 << at % 7))
            with pytest.raises(FraudloomError) as caught:
                bundles.open_bundle(world, mf, "3A", contracts, digest)
            assert caught.value.where == path
        path.write_bytes(data)
    path = world / "world.json"
    data = path.read_bytes()
    for at in range(0, len(data), 11):
        path.write_bytes(flipped(data, at, 1 << at % 7))
        with pytest.raises(FraudloomError) as caught:
            read_manifest(world)
        assert caught.value.where == path


def foreign_flag(world: Path, sealed: Path, form: str) -> str:
    """The flag of a world of another seed, in text or JSON form."""
    other = sealed.parent / "other"
    if not other.exists():
        build_world(WorldSpec(arrivals=200, seed=6, days=7), other)
    flag, target = (br.only(w, "data/layer3/6A/validation/*/_passed.flag") for w in (other, world))
    document = br.manifest(other)
    if form == "text":
        shutil.copy(flag, target)
    else:
        value = {
            "bundle_digest_sha256": document["bundles"]["6A"],
            "manifest_fingerprint": document["manifest_fingerprint"],
        }
        target.write_text(json.dumps(value))
    return target.relative_to(world).as_posix()


@pytest.mark.parametrize("form", ["text", "json"])
def test_flag_of_another_world(world: Path, sealed: Path, contracts: Contracts, form: str) -> None:
    """A flag that another world earned does not open this one, in either form."""
    name = foreign_flag(world, sealed, form)
    report = verify_world(world, contracts)
    assert named(report) == {name}
    (finding,) = report.findings
    assert len(finding.found) == len(finding.expected) == 64 and finding.found != finding.expected


def remove(world: Path) -> Path:
    """Take a part away."""
    path = br.only(world, br.ARRIVALS)
    path.unlink()
    return path


def add(world: Path) -> Path:
    """Put a copy of a part beside it."""
    path = br.only(world, br.ARRIVALS)
    return Path(shutil.copy(path, path.with_name("part-00001.parquet")))


def edit(world: Path) -> Path:
    """Take an entry out of an index."""
    br.edit_index(world)
    return br.only(world, "data/layer3/6A/validation/*/index.json")


@pytest.mark.parametrize("change", [remove, add, edit])
def test_parts_and_indexes(world: Path, contracts: Contracts, change: Callable[[Path], Path]) -> None:
    """A part that is gone, a part too many, an index with an entry less: that file is named, found and expected."""
    path = change(world)
    report = verify_world(world, contracts)
    assert named(report) == {path.relative_to(world).as_posix()}
    assert all(f.found and f.expected not in ("None", f.found) for f in report.findings)
    done = cli("world", "verify", world, check=False)
    assert done.returncode == 1 and path.name in done.stderr and "Traceback" not in done.stderr
    told = done.stdout + done.stderr
    assert all(told.count(f"found {f.found}") + told.count(f"{f.found}\n") == 1 for f in report.findings), told


def rewrite(world: Path, contracts: Contracts, dataset: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change rows of a table and let every digest, content digests too, agree."""
    document = br.manifest(world)
    (entry,) = (f for f in document["files"] if f["dataset"] == dataset)
    ds, path = contracts.dataset(dataset), world / entry["path"]
    cols = {k: np.array(v) for k, v in read_table([path], ds).items()}
    change(cols)
    writer = PartWriter(path, ds)
    writer.write_group(cols)
    entry["content_digest"] = writer.close().content_digest
    br.write_manifest(world, document)
    br.reseal(world, ds.owner)
    from fraudloom.states.s0.inventory import families

    sealed = families(br.manifest(world))
    for segment in bundles.SEALED_LISTS:
        listed = br.only(world, f"data/*/{segment}/sealed_inputs/**/*.json")
        rows = [r | {"sha256_hex": sealed[r["manifest_key"]]} for r in json.loads(listed.read_text())]
        listed.write_text(json.dumps(rows))
        br.reseal(world, segment)


def set_row(column: str, value: int, row: int = 3) -> Callable[[dict[str, Any]], None]:
    """Set one value."""

    def change(cols: dict[str, Any]) -> None:
        cols[column][row] = value

    return change


def swap(column: str) -> Callable[[dict[str, Any]], None]:
    """Exchange the first two different neighbours of a column."""

    def change(cols: dict[str, Any]) -> None:
        values = cols[column]
        i = int(np.flatnonzero(values[1:] != values[:-1])[0])
        values[[i, i + 1]] = values[[i + 1, i]]

    return change


def unbind(cols: dict[str, Any]) -> None:
    """The first phone forgets its tokens."""
    row = int(np.flatnonzero(cols["instrument_id"])[0])
    cols["instrument_id"][row] = cols["account_id"][row] = 0


ROWS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("cities_1B", set_row("city_id", 9), "DENSE_KEY"),
    ("s1_party_base_6A", set_row("city_id", 10_000), "REFERENCE"),
    ("s2_account_base_6A", swap("owner_party_id"), "HOLDER"),
    ("s3_account_instrument_links_6A", swap("account_id"), "LINKS"),
    ("s5_party_fraud_roles_6A", swap("party_id"), "LINKS"),
    ("terminals_2B", swap("device_id"), "LINKS"),
    ("s4_device_links_6A", unbind, "WALLET_PHONE"),
    ("arrival_events_5B", br.turn_back, "ORDER"),
    ("arrival_events_5B", set_row("ts_utc", 1, 0), "HORIZON"),
    ("arrival_events_5B", swap("ts_local_primary"), "LOCAL_TIME"),
]


@pytest.mark.parametrize(("dataset", "change", "check"), ROWS, ids=[f"{d}-{c}" for d, _, c in ROWS])
def test_rows_are_checked_too(
    world: Path, contracts: Contracts, dataset: str, change: Callable[[dict[str, Any]], None], check: str
) -> None:
    """Keys, references, links, horizon and order are checked over the rows, even where every digest agrees."""
    rewrite(world, contracts, dataset, change)
    found = verify_world(world, contracts).findings
    assert check in {f.check for f in found}, found
