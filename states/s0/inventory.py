"""`sealed_inputs_6B`: the exclusive inventory of what 6B may read, and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from fraudloom.contract_check import schema_validator
from fraudloom.contract_source import ContractSource
from fraudloom.contracts_api import Contracts, contract_files
from fraudloom.errors import ContractError
from fraudloom.policies_api import VALIDATION_POLICIES, Pack
from fraudloom.spec import canonical_json
from fraudloom.states.s0 import bundles as b
from fraudloom.states.s0.codes import Code, fault
from fraudloom.states.s0.manifest import MANIFEST
from fraudloom.tables import file_sha256

ARTEFACT = "sealed_inputs_6B"
SORT = ("owner_layer", "owner_segment", "manifest_key", "path_template")
DICTIONARY_REF = "dictionary/upstream.yaml#/datasets/"
#: Upstream datasets without which 6B can go on, if behaviour_config_6B lets it: what each state then does.
OPTIONAL_INPUTS = {"s5_device_fraud_roles_6A": "S3: every device weighs the same in the choice of victims"}

SealedRow = dict[str, Any]


def sealed_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over the canonical JSON of each row, joined without separator, in the order given."""
    h = hashlib.sha256()
    try:
        for row in rows:
            h.update(canonical_json(dict(row)).encode())
    except (TypeError, ValueError) as e:
        raise fault(
            Code.SEALED_INPUTS_DIGEST_COMPUTE_FAILED, f"an inventory row has no canonical JSON: {e}", ARTEFACT
        ) from None
    return h.hexdigest()


def persisted_rows(path: Path) -> list[SealedRow]:
    """The rows of an inventory as they stand on disk."""
    try:
        rows = json.loads(path.read_bytes())
    except (OSError, ValueError) as e:
        raise fault(Code.SEALED_INPUTS_DIGEST_COMPUTE_FAILED, f"the inventory cannot be read back: {e}", path) from None
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        raise fault(Code.SEALED_INPUTS_DIGEST_COMPUTE_FAILED, "the inventory on disk is not a list of rows", path)
    return rows


def family_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """Digest of a data family: SHA-256 over path, rows, content digest of its files, path-sorted, a line each."""
    lines = [f"{path}\t{rows}\t{content}\n" for path, rows, content in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def families(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Family digest of every dataset of a world, from its manifest."""
    files: dict[str, list[tuple[str, int, str]]] = {}
    for f in manifest["files"]:
        files.setdefault(str(f["dataset"]), []).append((str(f["path"]), int(f["rows"]), str(f["content_digest"])))
    return {dataset: family_digest(parts) for dataset, parts in files.items()}


def anchor(source: ContractSource, contracts: Contracts, ref: str, where: object) -> None:
    """Raise unless a schema reference resolves: in a schema pack, or as a dataset of the dictionary."""
    try:
        if ref.startswith(DICTIONARY_REF):
            contracts.dataset(ref.removeprefix(DICTIONARY_REF))
        else:
            source.resolve(ref)
    except ContractError as e:
        raise fault(
            Code.SCHEMA_ANCHOR_UNRESOLVED, f"a schema reference does not resolve: {e.what}", where, ref, e.expected
        ) from None


def _row(mf: str, layer: int, segment: str, key: str, path: str, **more: Any) -> SealedRow:
    row: SealedRow = {
        "manifest_fingerprint": mf,
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
        "upstream_bundle_id": None,
        "notes": None,
    }
    return row | more


def data_rows(
    contracts: Contracts, source: ContractSource, manifest: Mapping[str, Any], root: Path, degrade: bool
) -> list[SealedRow]:
    """One row per upstream dataset. `degrade`: optional ones may be missing."""
    mf, found, rows = str(manifest["manifest_fingerprint"]), families(manifest), []
    for ds in contracts.datasets.values():
        if ds.owner not in b.SEGMENTS:
            continue
        optional = ds.id in OPTIONAL_INPUTS
        if ds.id not in found:
            if optional and degrade:
                continue
            raise fault(
                Code.SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING, f"the world has no {ds.id}", root, "no file", ds.path
            )
        rows.append(
            _row(
                mf,
                b.SEGMENTS[ds.owner],
                ds.owner,
                ds.id,
                ds.path,
                partition_keys=list(ds.partitions),
                schema_ref=source.schema_ref(ds.id),
                role="UPSTREAM_EGRESS",
                status="OPTIONAL" if optional else "REQUIRED",
                read_scope="ROW_LEVEL",
                sha256_hex=found[ds.id],
                upstream_bundle_id=f"validation_bundle_{ds.owner}",
            )
        )
    return rows


def gate_rows(
    contracts: Contracts, source: ContractSource, manifest: Mapping[str, Any], root: Path, found: Mapping[str, b.Bundle]
) -> list[SealedRow]:
    """Bundle, flag and sealed list of the segments; manifest and policy copy of the world."""
    mf, rows = str(manifest["manifest_fingerprint"]), []

    def add(layer: int, segment: str, key: str, artefact: str, role: str, digest: str, **more: Any) -> None:
        path = str(contracts.artefacts[artefact]["path"])
        keys = ["manifest_fingerprint"] if "{mf}" in path else []
        ref = source.schema_ref(artefact)
        given = {"partition_keys": keys, "schema_ref": ref, "role": role, "sha256_hex": digest} | more
        rows.append(_row(mf, layer, segment, key, path, **given))

    for s, bundle in found.items():
        layer, bundle_id = b.SEGMENTS[s], f"validation_bundle_{s}"
        more = {"upstream_bundle_id": bundle_id}
        index, flag = f"validation_bundle_index_{s}", f"validation_passed_flag_{s}"
        add(layer, s, bundle_id, index, "UPSTREAM_GATE_BUNDLE", bundle.digest, **more)
        add(layer, s, flag, flag, "UPSTREAM_GATE_FLAG", bundle.digest, **more)
        if s in b.SEALED_LISTS:
            name = f"sealed_inputs_{s}"
            digest = file_sha256(root / b.sealed_list_path(contracts, s, mf))
            add(layer, s, name, name, "UPSTREAM_SEALED_INPUTS", digest, **more)
    whole = {"read_scope": "ROW_LEVEL"}
    add(0, "world", "world_manifest", "world_manifest", "UPSTREAM_MANIFEST", file_sha256(root / MANIFEST), **whole)
    policy = str(manifest["policy_file"]["sha256"])
    add(0, "world", "world_policy_copy", "world_policy_copy", "UPSTREAM_MANIFEST", policy, **whole)
    return rows


def config_rows(contracts: Contracts, source: ContractSource, mf: str, pack: Pack) -> list[SealedRow]:
    """One row per contract file and per policy."""
    rows = []
    for path in contract_files(contracts.root):
        name = path.relative_to(contracts.root).as_posix()
        digest = file_sha256(path)
        rows.append(_row(mf, 3, "6B", f"contract:{name}", f"contracts/{name}", role="CONTRACT", sha256_hex=digest))
    for policy_id, path in sorted(pack.sources.items()):
        ref = f"policies/{policy_id}.schema.yaml"
        anchor(source, contracts, ref, path)
        rows.append(
            _row(
                mf,
                3,
                "6B",
                policy_id,
                f"policies/{policy_id}.yaml",
                schema_ref=ref,
                role="POLICY",
                read_scope="ROW_LEVEL",
                sha256_hex=pack.hashes[policy_id],
                notes="validation only; outside parameter_hash" if policy_id in VALIDATION_POLICIES else None,
            )
        )
    return rows


def check_rows(source: ContractSource, rows: Sequence[Mapping[str, Any]]) -> None:
    """Schema and order of the inventory."""
    for error in schema_validator(source, ARTEFACT).iter_errors(list(rows)):
        place = "/".join(map(str, error.absolute_path))
        raise fault(
            Code.SEALED_INPUTS_SCHEMA_VIOLATION,
            f"an inventory row is malformed: {error.message[:200]}",
            f"{ARTEFACT}/{place}",
        )
    keys = [tuple(r[c] for c in SORT) for r in rows]
    for before, after in pairwise(keys):
        if after <= before:
            what = "the inventory names something twice" if after == before else "the inventory is not sorted"
            raise fault(Code.SEALED_INPUTS_SCHEMA_VIOLATION, what, ARTEFACT, after, f"above {before}")
