"""The gate: prove that this world may be used, and freeze what 6B may read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fraudloom.contracts_api import Contracts, contract_files
from fraudloom.errors import ContractError, FraudloomError, SealError
from fraudloom.policies_api import VALIDATION_POLICIES, Pack
from fraudloom.spec import SPEC_VERSION_6B, canonical_json, parameter_hash
from fraudloom.states.s0 import bundles as b
from fraudloom.states.s0.arrivals import check_arrivals
from fraudloom.tables import ContentHasher, file_sha256, iter_groups

MANIFEST = "world.json"
VERIFY = ("full", "metadata")
ARRIVALS = "arrival_events_5B"
SEALED_COLUMNS = (
    "owner_layer",
    "owner_segment",
    "manifest_key",
    "path_template",
    "partition_keys",
    "schema_ref",
    "role",
    "status",
    "read_scope",
    "sha256_hex",
    "notes",
)
SORT = ("owner_layer", "owner_segment", "manifest_key", "path_template")
ROLES = (
    "CONTRACT",
    "UPSTREAM_GATE_BUNDLE",
    "UPSTREAM_GATE_FLAG",
    "UPSTREAM_SEALED_INPUTS",
    "POLICY",
    "UPSTREAM_EGRESS",
)
DICTIONARY_REF = "dictionary/upstream.yaml#/datasets/"

SealedRow = dict[str, Any]


@dataclass(frozen=True)
class Gate:
    """What S0 publishes: the receipt, the inventory, and the digest of the inventory as persisted."""

    receipt: dict[str, Any]
    sealed_inputs: list[SealedRow]
    digest: str


def _error(code: str, what: str, where: object, found: object = None, expected: object = None) -> SealError:
    return SealError("S0", f"S0_{code}", what=what, where=where, found=found, expected=expected)


def sealed_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over the canonical JSON of each row, joined without separator, in the order given."""
    h = hashlib.sha256()
    try:
        for row in rows:
            h.update(canonical_json(dict(row)).encode())
    except (TypeError, ValueError) as e:
        raise _error(
            "SEALED_INPUTS_DIGEST_COMPUTE_FAILED", f"an inventory row is not JSON: {e}", "sealed_inputs_6B"
        ) from None
    return h.hexdigest()


def family_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """Digest of a data family: SHA-256 over path, rows, content digest of its files, path-sorted, a line each."""
    lines = [f"{path}\t{rows}\t{content}\n" for path, rows, content in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _row(layer: int, segment: str, key: str, path: str, **more: Any) -> SealedRow:
    row: SealedRow = {
        "owner_layer": layer,
        "owner_segment": segment,
        "manifest_key": key,
        "path_template": path,
        "partition_keys": [],
        "schema_ref": None,
        "role": "",
        "status": "REQUIRED",
        "read_scope": "METADATA_ONLY",
        "sha256_hex": "",
        "notes": None,
    }
    return row | more


def _manifest(root: Path) -> dict[str, Any]:
    def fault(what: str, where: object) -> SealError:
        return _error("UPSTREAM_SEALED_INPUTS_INVALID", what, where, expected="the world's manifest")

    value = b.read_json(root / MANIFEST, "the world's manifest", fault)
    need = {"manifest_fingerprint", "scenarios", "horizon", "files", "arrivals", "seed"}
    if not isinstance(value, dict) or need - value.keys():
        raise fault("the world's manifest lacks keys", root / MANIFEST)
    return value


def _anchor(contracts: Contracts, ref: str, where: object) -> None:
    """Raise unless a schema reference resolves in the contracts."""
    file, _, pointer = ref.partition("#")
    name = pointer.removeprefix("/datasets/")
    resolved = name in contracts.datasets if pointer else (contracts.root / file).is_file()
    if not resolved or not (contracts.root / file).is_file():
        raise ContractError(
            "S0",
            "S0_SCHEMA_ANCHOR_UNRESOLVED",
            what="a schema reference does not resolve",
            found=ref,
            expected=f"a file below {contracts.root}" + (" and a dataset of it" if pointer else ""),
            where=where,
        )


def _content_digest(task: tuple[Contracts, Path, str]) -> tuple[int, str]:
    contracts, path, dataset = task
    ds = contracts.dataset(dataset)
    hasher = ContentHasher(ds, "full")
    rows = 0
    for cols in iter_groups(path, ds):
        hasher.update(cols)
        rows += len(cols[ds.key[0]])
    return rows, hasher.hexdigest()


def _families(root: Path, contracts: Contracts, manifest: Mapping[str, Any], full: bool, map_: b.Map) -> dict[str, str]:
    """Content digest per dataset of the world; small tables are read again when `full`."""
    by_dataset: dict[str, list[tuple[str, int, str]]] = {}
    for f in manifest["files"]:
        by_dataset.setdefault(str(f["dataset"]), []).append((str(f["path"]), int(f["rows"]), str(f["content_digest"])))
    for dataset in by_dataset:
        _anchor(contracts, f"{DICTIONARY_REF}{dataset}", root / MANIFEST)
    if full:
        # Arrivals are bound by 6A's sealed list; everything else is small enough to decode once more.
        tasks = [
            (contracts, root / path, d) for d, files in by_dataset.items() if d != ARRIVALS for path, _, _ in files
        ]
        stated = [(rows, content) for d, files in by_dataset.items() if d != ARRIVALS for _, rows, content in files]
        for task, want, found in zip(tasks, stated, map_(_content_digest, tasks), strict=True):
            if found != want:
                raise _error(
                    "SEALED_INPUTS_DRIFT", "a table's content is not what the manifest says", task[1], found, want
                )
    return {d: family_digest(files) for d, files in by_dataset.items()}


def _check_lists(root: Path, mf: str, contracts: Contracts, families: Mapping[str, str]) -> None:
    """The sealed lists of 5A, 5B and 6A name datasets that resolve, with the digests found."""
    for segment in b.SEALED_LISTS:
        path = root / b.sealed_list_path(segment, mf)
        if not path.is_file():
            raise _error("UPSTREAM_SEALED_INPUTS_MISSING", f"the sealed inputs of {segment} are missing", path)

        def fault(what: str, where: object) -> SealError:
            return _error("UPSTREAM_SEALED_INPUTS_INVALID", what, where)

        rows = b.read_json(path, f"the sealed inputs of {segment}", fault)
        if not isinstance(rows, list) or any(
            not {"manifest_key", "schema_ref", "sha256_hex"} <= r.keys() for r in rows
        ):
            raise fault(f"the sealed inputs of {segment} are malformed", path)
        for row in rows:
            _anchor(contracts, str(row["schema_ref"]), path)
            found = families.get(str(row["manifest_key"]))
            if found != row["sha256_hex"]:
                what = f"{segment} sealed another content of {row['manifest_key']}"
                raise _error("UPSTREAM_SEALED_INPUTS_INVALID", what, path, found, row["sha256_hex"])


def _data_rows(contracts: Contracts, families: Mapping[str, str], root: Path) -> list[SealedRow]:
    rows = []
    upstream = [d for d in contracts.datasets.values() if d.owner in b.SEGMENTS]
    for ds in upstream:
        if ds.id not in families:
            raise _error(
                "SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING", f"the world has no {ds.id}", root, "no file", ds.path
            )
        rows.append(
            _row(
                b.SEGMENTS[ds.owner],
                ds.owner,
                ds.id,
                ds.path,
                partition_keys=list(ds.partitions),
                schema_ref=f"{DICTIONARY_REF}{ds.id}",
                role="UPSTREAM_EGRESS",
                read_scope="ROW_LEVEL",
                sha256_hex=families[ds.id],
            )
        )
    return rows


def _gate_rows(root: Path, mf: str, found: Mapping[str, b.Bundle]) -> list[SealedRow]:
    rows = []
    for segment, bundle in found.items():
        layer = b.SEGMENTS[segment]
        template = bundle.bundle_path.replace(mf, "{mf}")
        common = {"partition_keys": ["manifest_fingerprint"], "sha256_hex": bundle.digest}
        rows.append(
            _row(layer, segment, f"validation_bundle_{segment}", f"{template}/", role="UPSTREAM_GATE_BUNDLE", **common)
        )
        rows.append(
            _row(
                layer,
                segment,
                f"validation_passed_flag_{segment}",
                f"{template}/{b.FLAG}",
                role="UPSTREAM_GATE_FLAG",
                **common,
            )
        )
        if segment in b.SEALED_LISTS:
            path = b.sealed_list_path(segment, mf)
            more = common | {"sha256_hex": file_sha256(root / path)}
            key = f"sealed_inputs_{segment}"
            rows.append(_row(layer, segment, key, path.replace(mf, "{mf}"), role="UPSTREAM_SEALED_INPUTS", **more))
    return rows


def _config_rows(contracts: Contracts, pack: Pack) -> list[SealedRow]:
    rows = []
    for path in contract_files(contracts.root):
        name = path.relative_to(contracts.root).as_posix()
        rows.append(
            _row(3, "6B", f"contract:{name}", f"contracts/{name}", role="CONTRACT", sha256_hex=file_sha256(path))
        )
    for policy_id, path in sorted(pack.sources.items()):
        ref = f"schemas/policies/{policy_id}.schema.yaml"
        _anchor(contracts, ref, path)
        rows.append(
            _row(
                3,
                "6B",
                policy_id,
                f"policies/{policy_id}.yaml",
                schema_ref=ref,
                role="POLICY",
                read_scope="ROW_LEVEL",
                sha256_hex=file_sha256(path),
                notes="S5 only; outside parameter_hash" if policy_id in VALIDATION_POLICIES else None,
            )
        )
    return rows


def check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Shape and order of the inventory; SealError S0_SEALED_INPUTS_SCHEMA_VIOLATION."""
    keys = [tuple(r.get(c) for c in SORT) for r in rows]
    for r in rows:
        good = set(r) == set(SEALED_COLUMNS) and r["role"] in ROLES and len(str(r["sha256_hex"])) == 64
        if not good or r["status"] not in ("REQUIRED", "OPTIONAL", "IGNORED"):
            raise _error(
                "SEALED_INPUTS_SCHEMA_VIOLATION", "an inventory row is malformed", r.get("manifest_key"), dict(r)
            )
    if keys != sorted(set(keys)):
        raise _error(
            "SEALED_INPUTS_SCHEMA_VIOLATION",
            "the inventory is not sorted, or names something twice",
            "sealed_inputs_6B",
        )


def gate(
    world_root: Path, contracts: Contracts, pack: Pack, *, verify: str = "full", executor: Executor | None = None
) -> Gate:
    """Verify the nine upstream segments, policies and contracts, and list exactly what later states may read.

    `verify`: "full" re-hashes every member, recomputes content digests and checks every arrival; "metadata" trusts
    sizes, indexes and flags, and says so in the receipt. SealError, ContractError, PolicyError or DataError otherwise.
    """
    if verify not in VERIFY:
        raise _error("CONFIG_VALIDATION_FAILED", "unknown depth of verification", "verify", verify, VERIFY)
    map_: b.Map = executor.map if executor is not None else map
    full = verify == "full"
    if not (contracts.root / "dictionary").is_dir() or not contracts.artefacts:
        raise ContractError(
            "S0", "S0_CONTRACT_SET_INCOMPLETE", what="the contracts are incomplete", where=contracts.root
        )
    manifest = _manifest(world_root)
    mf = str(manifest["manifest_fingerprint"])
    found = b.verify_bundles(world_root, mf, rehash=full, map_=map_)
    indexed = {m.path: (m.size, m.sha256) for bundle in found.values() for m in bundle.members}
    for f in manifest["files"]:
        if indexed.get(str(f["path"])) != (f["size"], f["sha256"]):
            what = "the manifest and the segment's index disagree on a file"
            raise _error("SEALED_INPUTS_DRIFT", what, f["path"], (f["size"], f["sha256"]), indexed.get(str(f["path"])))
    families = _families(world_root, contracts, manifest, full, map_)
    _check_lists(world_root, mf, contracts, families)
    rows = (
        _data_rows(contracts, families, world_root) + _gate_rows(world_root, mf, found) + _config_rows(contracts, pack)
    )
    rows.sort(key=lambda r: tuple(r[c] for c in SORT))
    check_rows(rows)
    counts = _arrivals(world_root, contracts, manifest, map_) if full else dict(manifest["arrivals"])
    digest = sealed_digest(rows)
    receipt = {
        "manifest_fingerprint": mf,
        "parameter_hash": parameter_hash(pack, contracts),
        "spec_version_6B": SPEC_VERSION_6B,
        "verify": verify,
        "upstream_segments": {
            s: {"status": "PASS", "bundle_path": x.bundle_path, "bundle_sha256": x.digest, "flag_path": x.flag_path}
            for s, x in found.items()
        },
        "contracts_6B": {
            r["manifest_key"]: {
                "logical_id": r["manifest_key"],
                "path": r["path_template"],
                "sha256_hex": r["sha256_hex"],
                "role": r["role"],
            }
            for r in rows
            if r["role"] == "CONTRACT"
        },
        "arrivals": counts,
        "sealed_inputs_digest_6B": digest,
    }
    return Gate(receipt, rows, digest)


def arrival_files(root: Path, manifest: Mapping[str, Any], scenario: str) -> list[Path]:
    """Arrival parts of a scenario, in part order."""
    mark = f"/scenario_id={scenario}/"
    names = [str(f["path"]) for f in manifest["files"] if f["dataset"] == ARRIVALS and mark in str(f["path"])]
    return [root / name for name in sorted(names)]


def _arrivals(root: Path, contracts: Contracts, manifest: Mapping[str, Any], map_: b.Map) -> dict[str, int]:
    horizon = manifest["horizon"]
    counts = {}
    for scenario in manifest["scenarios"]:
        files = arrival_files(root, manifest, str(scenario))
        rows = check_arrivals(contracts, files, int(horizon["start_us"]), int(horizon["end_us"]), map_)
        if rows != manifest["arrivals"][scenario]:
            what = f"scenario {scenario} has another number of arrivals than the manifest"
            raise _error("SEALED_INPUTS_DRIFT", what, root / MANIFEST, rows, manifest["arrivals"][scenario])
        counts[str(scenario)] = rows
    return counts


def recheck(
    world_root: Path, receipt: Mapping[str, Any], *, rehash: bool, executor: Executor | None = None
) -> list[str]:
    """Verify the nine bundles again and compare with a receipt; returns what differs (S5's view of the gate)."""
    map_: b.Map = executor.map if executor is not None else map
    try:
        found = b.verify_bundles(world_root, str(receipt["manifest_fingerprint"]), rehash=rehash, map_=map_)
    except FraudloomError as e:
        return [f"{e.code}: {e.what} ({e.where}: found {e.found}, expected {e.expected})"]
    segments = receipt["upstream_segments"]
    return [
        f"{s}: the receipt says {segments.get(s, {}).get('bundle_sha256')}, the bundle is {x.digest}"
        for s, x in found.items()
        if segments.get(s, {}).get("bundle_sha256") != x.digest or segments[s].get("status") != "PASS"
    ]
