"""The gate: prove that this world may be used, and freeze what 6B may read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fraudloom.contract_check import disagreements, schema_validator, unresolved
from fraudloom.contract_source import PACKS, ContractSource
from fraudloom.contracts_api import Contracts, contract_files, files_digest, load_contracts
from fraudloom.errors import ContractError, FraudloomError, PolicyError
from fraudloom.policies_api import Pack, check_document
from fraudloom.sealed import SealedFiles
from fraudloom.spec import SPEC_VERSION_6B, VERIFY, canonical_json, parameter_hash
from fraudloom.states.behaviour import behaviour
from fraudloom.states.s0 import bundles as b
from fraudloom.states.s0 import inventory as inv
from fraudloom.states.s0.arrivals import check_arrivals
from fraudloom.states.s0.codes import Code, fault
from fraudloom.states.s0.manifest import MANIFEST, read_manifest
from fraudloom.tables import ContentHasher, file_sha256, iter_groups

ARRIVALS = "arrival_events_5B"
RECEIPT = "s0_gate_receipt_6B"


@dataclass(frozen=True)
class Gate:
    """What S0 found: the inventory, the facts of the receipt, the door to what was sealed, and what is done without."""

    facts: dict[str, Any]
    sealed_inputs: list[inv.SealedRow]
    files: SealedFiles
    notes: list[str]

    def receipt(self, digest: str) -> dict[str, Any]:
        """The receipt over an inventory with this digest."""
        return {**self.facts, "sealed_inputs_digest_6B": digest}


@lru_cache(maxsize=4)
def _contracts_hold(root: Path, digest: str) -> tuple[Any, ...] | None:
    """What is wrong with the contracts of a root, whose files have this digest: arguments of `fault`."""
    del digest  # part of the key: other files, another answer
    contracts, source = load_contracts(root), ContractSource(root)
    for name in PACKS:
        try:
            source.pack(name)
        except ContractError as e:
            return Code.CONTRACT_SET_INCOMPLETE, e.what, e.where, name, "all schema packs"
    for name, ref, why in unresolved(source):
        what = f"the schema reference of {name} does not resolve: {why}"
        return Code.SCHEMA_ANCHOR_UNRESOLVED, what, root, ref, "a reference that resolves"
    for found in disagreements(contracts, source):
        return Code.CONTRACT_SET_INCOMPLETE, f"dictionary and registry disagree: {found}", root
    return None


def check_contracts(contracts: Contracts) -> ContractSource:
    """Contracts are on disk as they were loaded, dictionary and registry agree, and every anchor resolves."""
    if not contracts.artefacts or not contracts.datasets:
        raise fault(Code.CONTRACT_SET_INCOMPLETE, "the contracts are incomplete", contracts.root)
    found = files_digest(contracts.root, contract_files(contracts.root))
    if found != contracts.digest:
        raise fault(
            Code.SEALED_INPUTS_DRIFT, "a contract changed after it was loaded", contracts.root, found, contracts.digest
        )
    wrong = _contracts_hold(contracts.root, found)
    if wrong is not None:
        raise fault(*wrong)
    return ContractSource(contracts.root)


def check_policies(pack: Pack, contracts: Contracts) -> None:
    """Every policy on disk has the bytes that were loaded, and what the states were given keeps its schema."""
    for policy_id, path in sorted(pack.sources.items()):
        found = file_sha256(path) if path.is_file() else "no file"
        if found != pack.hashes.get(policy_id):
            what = "a policy changed after it was loaded"
            raise fault(Code.SEALED_INPUTS_DRIFT, what, path, found, pack.hashes.get(policy_id))
        try:
            check_document(policy_id, pack.docs[policy_id], path, contracts)
        except PolicyError as e:
            if e.code == "SCHEMA_MISSING":
                raise fault(Code.SCHEMA_ANCHOR_UNRESOLVED, e.what, path, policy_id, e.expected) from None
            raise fault(Code.CONFIG_VALIDATION_FAILED, f"{e.code}: {e.what}", e.where, e.found, e.expected) from None
    try:
        behaviour(pack)
    except PolicyError as e:
        raise fault(Code.CONFIG_VALIDATION_FAILED, f"{e.code}: {e.what}", e.where, e.found, e.expected) from None


def content_of(task: tuple[Contracts, Path, str]) -> tuple[int, str]:
    """(rows, content digest) of a file: (contracts, path, dataset)."""
    contracts, path, dataset = task
    ds = contracts.dataset(dataset)
    hasher = ContentHasher(ds, "full")
    rows = 0
    for cols in iter_groups(path, ds):
        hasher.update(cols)
        rows += len(cols[ds.key[0]])
    return rows, hasher.hexdigest()


def _check_contents(root: Path, contracts: Contracts, manifest: Mapping[str, Any], map_: b.Map) -> None:
    """Rows and content digests of all tables but the arrivals (which are bound by their files' digests)."""
    files = [f for f in manifest["files"] if f["dataset"] != ARRIVALS]
    tasks = [(contracts, root / str(f["path"]), str(f["dataset"])) for f in files]
    for f, task, found in zip(files, tasks, map_(content_of, tasks), strict=True):
        want = (f["rows"], f["content_digest"])
        if found != want:
            what = "a table's content is not what the manifest says"
            raise fault(Code.SEALED_INPUTS_DRIFT, what, task[1], found, want)


def check_lists(root: Path, manifest: Mapping[str, Any], bundles: Mapping[str, b.Bundle], contracts: Contracts) -> None:
    """The sealed lists of 5A, 5B and 6A keep their schema, and name datasets that resolve, with the digests found."""
    mf, found, source = str(manifest["manifest_fingerprint"]), inv.families(manifest), ContractSource(contracts.root)
    for segment in b.SEALED_LISTS:
        path = root / b.sealed_list_path(contracts, segment, mf)
        indexed = {m.path for m in bundles[segment].members}
        if not path.is_file() or path.relative_to(root).as_posix() not in indexed:
            what = f"the sealed inputs of {segment} are missing"
            raise fault(Code.UPSTREAM_SEALED_INPUTS_MISSING, what, path, "no indexed file", "a list of sealed inputs")
        try:
            rows = inv.persisted_rows(path)
        except FraudloomError as e:
            what = f"the sealed inputs of {segment}: {e.what}"
            raise fault(Code.UPSTREAM_SEALED_INPUTS_INVALID, what, path) from None
        for error in schema_validator(source, f"sealed_inputs_{segment}").iter_errors(rows):
            what = f"the sealed inputs of {segment} are malformed: {error.message[:200]}"
            raise fault(Code.UPSTREAM_SEALED_INPUTS_INVALID, what, path)
        for row in rows:
            inv.anchor(source, contracts, str(row["schema_ref"]), path)
            key = str(row["manifest_key"])
            if row["manifest_fingerprint"] != mf or found.get(key) != row["sha256_hex"]:
                what = f"{segment} sealed another world or another content of {key}"
                shown = (row["manifest_fingerprint"], row["sha256_hex"])
                raise fault(Code.UPSTREAM_SEALED_INPUTS_INVALID, what, path, shown, (mf, found.get(key)))


def check_index(root: Path, manifest: Mapping[str, Any], bundles: Mapping[str, b.Bundle], contracts: Contracts) -> None:
    """Every file of the manifest stands in its owner's index as the same bytes, and every indexed table in it."""
    indexed = {m.path: (s, m.size, m.sha256) for s, bundle in bundles.items() for m in bundle.members}
    mf = str(manifest["manifest_fingerprint"])
    for segment in b.SEALED_LISTS:
        indexed.pop(b.sealed_list_path(contracts, segment, mf), None)
    listed = {}
    for f in manifest["files"]:
        ds = contracts.datasets.get(str(f["dataset"]))
        owner = ds.owner if ds is not None else "no dataset of the contracts"
        listed[str(f["path"])] = (owner, f["size"], f["sha256"])
    for name in sorted(listed.keys() | indexed.keys()):
        if listed.get(name) != indexed.get(name):
            what = "the manifest and the segments' indexes disagree on a file"
            raise fault(Code.SEALED_INPUTS_DRIFT, what, root / name, listed.get(name), indexed.get(name))


def sealed_files(root: Path, manifest: Mapping[str, Any], *, trusted: bool) -> SealedFiles:
    """The door to the files behind the inventory's ROW_LEVEL rows; `trusted`: their bytes were just compared."""
    files = {str(f["path"]): (int(f["size"]), str(f["sha256"])) for f in manifest["files"]}
    copy = manifest["policy_file"]
    files[str(copy["path"])] = ((root / str(copy["path"])).stat().st_size, str(copy["sha256"]))
    return SealedFiles(root, files, set(files) if trusted else set())


def gate(
    world_root: Path,
    contracts: Contracts,
    pack: Pack,
    *,
    verify: str = "full",
    executor: Executor | None = None,
) -> Gate:
    """Verify contracts, policies and the nine upstream segments, and list exactly what later states may read.

    `verify`: "full" re-hashes every member, recomputes content digests and checks every arrival; "metadata" trusts the
    bytes of bulk data (sizes, indexes, flags and control files are checked), and says so in the receipt. Optional
    inputs may be missing if the pack's behaviour_config_6B says so. Errors carry the codes of `codes.Code`.
    """
    if verify not in VERIFY:
        raise fault(Code.CONFIG_VALIDATION_FAILED, "unknown depth of verification", "--verify", verify, VERIFY)
    map_: b.Map = executor.map if executor is not None else map
    full = verify == "full"
    source = check_contracts(contracts)
    check_policies(pack, contracts)
    manifest = read_manifest(world_root)
    mf = str(manifest["manifest_fingerprint"])
    found = b.verify_bundles(world_root, manifest, contracts, rehash=full, map_=map_)
    check_index(world_root, manifest, found, contracts)
    check_lists(world_root, manifest, found, contracts)
    rows = (
        inv.data_rows(contracts, source, manifest, world_root, behaviour(pack).degrade)
        + inv.gate_rows(contracts, source, manifest, world_root, found)
        + inv.config_rows(contracts, source, mf, pack)
    )
    rows.sort(key=lambda r: tuple(r[c] for c in inv.SORT))
    inv.check_rows(source, rows)
    if full:
        _check_contents(world_root, contracts, manifest, map_)
    counts = _arrivals(world_root, contracts, manifest, map_) if full else dict(manifest["arrivals"])
    facts = {
        "manifest_fingerprint": mf,
        "parameter_hash": parameter_hash(pack, contracts),
        "spec_version_6B": SPEC_VERSION_6B,
        "verify": verify,
        "upstream_segments": {
            s: {"status": x.verdict, "bundle_path": x.bundle_path, "bundle_sha256": x.digest, "flag_path": x.flag_path}
            for s, x in found.items()
        },
        "contracts_6B": {
            r["manifest_key"]: {
                "logical_id": r["manifest_key"],
                "path": r["path_template"],
                "sha256_hex": r["sha256_hex"],
                "schema_ref": r["schema_ref"],
                "role": r["role"],
            }
            for r in rows
            if r["role"] == "CONTRACT"
        },
        "arrivals": counts,
    }
    listed = {r["manifest_key"] for r in rows}
    notes = [f"{key} is missing: {what}" for key, what in inv.OPTIONAL_INPUTS.items() if key not in listed]
    return Gate(facts, rows, sealed_files(world_root, manifest, trusted=full), notes)


def check_receipt(contracts: Contracts, receipt: Mapping[str, Any]) -> None:
    """Raise unless the receipt keeps its schema."""
    for error in schema_validator(ContractSource(contracts.root), RECEIPT).iter_errors(dict(receipt)):
        place = "/".join(map(str, error.absolute_path))
        what = f"the receipt is malformed: {error.message[:200]}"
        raise fault(Code.GATE_RECEIPT_SCHEMA_VIOLATION, what, f"{RECEIPT}/{place}")


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
            raise fault(Code.SEALED_INPUTS_DRIFT, what, root / MANIFEST, rows, manifest["arrivals"][scenario])
        counts[str(scenario)] = rows
    return counts


def reopen(
    world_root: Path, contracts: Contracts, receipt: Mapping[str, Any], rows: list[inv.SealedRow]
) -> SealedFiles:
    """The door of a run whose gate passed before, from receipt and inventory as persisted.

    The inventory must have the receipt's digest; manifest, indexes and flags must be those that it names. Files are
    compared with their digests when they are first read.
    """
    digest = inv.sealed_digest(rows)
    if digest != receipt.get("sealed_inputs_digest_6B"):
        stated = receipt.get("sealed_inputs_digest_6B")
        raise fault(Code.SEALED_INPUTS_DRIFT, "the inventory is not the receipt's", inv.ARTEFACT, digest, stated)
    manifest = read_manifest(world_root)
    sealed = {str(r["manifest_key"]): str(r["sha256_hex"]) for r in rows}
    now = inv.families(manifest)
    for segment in b.SEGMENTS:
        bundle = b.open_bundle(world_root, str(receipt["manifest_fingerprint"]), segment, contracts)
        now[f"validation_bundle_{segment}"] = bundle.digest
    for key, value in now.items():
        if sealed.get(key) != value:
            raise fault(Code.SEALED_INPUTS_DRIFT, f"{key} is not what was sealed", world_root, value, sealed.get(key))
    return sealed_files(world_root, manifest, trusted=False)


def recheck(
    world_root: Path,
    contracts: Contracts,
    receipt: Mapping[str, Any],
    *,
    rehash: bool,
    executor: Executor | None = None,
) -> list[str]:
    """Verify the nine bundles again and compare with a receipt; returns what differs (S5's view of the gate)."""
    map_: b.Map = executor.map if executor is not None else map
    try:
        manifest = read_manifest(world_root)
        found = b.verify_bundles(world_root, manifest, contracts, rehash=rehash, map_=map_)
    except FraudloomError as e:
        return [f"{e.code}: {e.what} ({e.where}: found {e.found}, expected {e.expected})"]
    segments = receipt["upstream_segments"]
    return [
        f"{s}: the receipt says {segments.get(s, {}).get('bundle_sha256')}, the bundle is {x.digest}"
        for s, x in found.items()
        if segments.get(s, {}).get("bundle_sha256") != x.digest or segments[s].get("status") != "PASS"
    ]


def same_receipt(published: bytes, receipt: Mapping[str, Any]) -> bool:
    """Whether a published receipt says the same of the world; how deep a later call looked does not matter."""
    try:
        found = json.loads(published)
    except ValueError:
        return False
    return isinstance(found, dict) and canonical_json({**found, "verify": ""}) == canonical_json(
        {**receipt, "verify": ""}
    )
