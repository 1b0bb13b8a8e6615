"""Ways of breaking a sealed world: what damage does, and what an insider does who makes the digests agree again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraudloom.contracts_api import load_contracts
from fraudloom.states.s0 import bundles
from fraudloom.states.s0.manifest import SELF, manifest_bytes, manifest_digest
from fraudloom.tables import file_sha256

ARRIVALS = "data/layer2/5B/arrival_events/**/part-00000.parquet"


def only(root: Path, pattern: str) -> Path:
    """The first file below a world that matches."""
    found = sorted(root.glob(pattern))
    assert found, pattern
    return found[0]


def manifest(root: Path) -> dict[str, Any]:
    """The world's manifest."""
    value: dict[str, Any] = json.loads((root / "world.json").read_text())
    return value


def write_manifest(root: Path, document: dict[str, Any]) -> None:
    """Write a manifest whose own digest agrees."""
    document[SELF] = manifest_digest(document)
    (root / "world.json").write_bytes(manifest_bytes(document))


def edit_manifest(root: Path, key: str, value: Any) -> None:
    """Set one entry of the manifest; its own digest agrees."""
    write_manifest(root, manifest(root) | {key: value})


def reindex(root: Path, segment: str, change: Callable[[list[bundles.Member]], list[bundles.Member]]) -> None:
    """Rewrite a segment's index, and let flag and manifest agree with it."""
    contracts, document = load_contracts(), manifest(root)
    mf = document["manifest_fingerprint"]
    index = root / bundles.index_path(contracts, segment, mf)
    members = change([bundles.Member(e["path"], e["size"], e["sha256"]) for e in json.loads(index.read_text())])
    data, digest = bundles.bundle_digest(members)
    index.write_bytes(data)
    (root / bundles.flag_path(contracts, segment, mf)).write_text(f"sha256_hex = {digest}\n")
    document["bundles"][segment] = digest
    write_manifest(root, document)


def reseal(root: Path, segment: str) -> None:
    """Give a segment an index, a flag and a manifest that agree with its files: what an insider would do."""
    document = manifest(root)
    for f in document["files"]:
        f["size"], f["sha256"] = (root / f["path"]).stat().st_size, file_sha256(root / f["path"])
    write_manifest(root, document)
    reindex(
        root,
        segment,
        lambda members: [
            bundles.Member(m.path, (root / m.path).stat().st_size, file_sha256(root / m.path)) for m in members
        ],
    )


def flip(root: Path) -> None:
    """Change one byte of a member."""
    path = only(root, "data/layer1/1A/merchants/**/*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(root: Path) -> None:
    """Truncate a member."""
    path = only(root, ARRIVALS)
    path.write_bytes(path.read_bytes()[:-9])


def edit_index(root: Path) -> None:
    """Drop an entry of an index."""
    path = only(root, "data/layer3/6A/validation/*/index.json")
    path.write_text(json.dumps(json.loads(path.read_text())[1:], sort_keys=True, separators=(",", ":")) + "\n")


def space_index(root: Path) -> None:
    """Add a space to an index: the same list, other bytes."""
    path = only(root, "data/layer3/6A/validation/*/index.json")
    path.write_text(path.read_text().replace(",", ", ", 1))


def name_absent(root: Path) -> None:
    """Let an index, with flag and manifest that agree, name a file that is not there."""
    reindex(root, "2A", lambda m: [*m, bundles.Member("data/layer1/2A/zz.parquet", 1, "0" * 64)])


def name_outside(root: Path) -> None:
    """Let an index name a file outside the world."""
    reindex(root, "2A", lambda m: [*m, bundles.Member("../other/zz.parquet", 1, "0" * 64)])


def unlist(root: Path) -> None:
    """Take a sealed list out of the world and of its index."""
    path = only(root, "data/layer2/5A/sealed_inputs/**/*.json")
    path.unlink()
    reindex(root, "5A", lambda members: [m for m in members if not m.path.endswith(path.name)])


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
    document = manifest(root)
    value = {
        "bundle_digest_sha256": document["bundles"]["1B"],
        "manifest_fingerprint": document["manifest_fingerprint"],
    }
    path.write_text(json.dumps(value | more))


def other_flag(root: Path) -> None:
    """Put another segment's flag in place."""
    shutil.copy(
        only(root, "data/layer1/1B/validation/*/_passed.flag"), only(root, "data/layer1/1A/validation/*/_passed.flag")
    )


def drop_table(root: Path, pattern: str = "data/layer3/6A/trips_6A/**/*.parquet", segment: str = "6A") -> None:
    """Take a whole table out of files, index and manifest."""
    path = only(root, pattern)
    name = path.relative_to(root).as_posix()
    path.unlink()
    edit_manifest(root, "files", [f for f in manifest(root)["files"] if f["path"] != name])
    reindex(root, segment, lambda members: [m for m in members if m.path != name])


def restate(root: Path) -> None:
    """Let the manifest state another content digest of a table; lists that seal it are not those of 1A's segment."""
    document = manifest(root)
    (entry,) = (f for f in document["files"] if f["dataset"] == "s1_party_base_6A")
    entry["content_digest"] = "0" * 64
    write_manifest(root, document)


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


def _inner(c: dict[str, Any]) -> int:
    """A row that the next one follows in the same merchant."""
    return int(np.flatnonzero(c["merchant_id"][1:] == c["merchant_id"][:-1])[0])


def swap_rows(c: dict[str, Any]) -> None:
    """Exchange the last row of a merchant and the first of the next one."""
    i = int(np.flatnonzero(c["merchant_id"][1:] > c["merchant_id"][:-1])[0])
    for values in c.values():
        values[[i, i + 1]] = values[[i + 1, i]]


def repeat_row(c: dict[str, Any]) -> None:
    """Give two rows one key."""
    i = _inner(c)
    c["arrival_seq"][i + 1] = c["arrival_seq"][i]


def skip_number(c: dict[str, Any]) -> None:
    """Leave a number out."""
    c["arrival_seq"][-1] += 1


def turn_back(c: dict[str, Any]) -> None:
    """Let time go back within a merchant."""
    i = _inner(c)
    c["ts_utc"][i + 1] = c["ts_utc"][i] - 1


def too_late(c: dict[str, Any]) -> None:
    """Move an arrival past the horizon."""
    c["ts_utc"][-1] += 400 * 86_400_000_000


def too_early(c: dict[str, Any]) -> None:
    """Move the first arrival before the horizon."""
    c["ts_utc"][0] -= 40 * 86_400_000_000
