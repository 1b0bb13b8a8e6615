"""Proof that dictionary, registry and schema packs agree, and that every anchor resolves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from fraudloom.contract_source import PACKS, ContractSource, read_contract
from fraudloom.contracts_api import Column, Contracts, Dataset
from fraudloom.errors import ContractError

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_INTEGERS = {"i8": 7, "i16": 15, "i32": 31, "i64": 63, "money": 63}


def _value_schema(c: Column) -> dict[str, Any]:
    if c.enum:
        return {"$ref": f"#/$defs/{c.enum}"}
    if c.type == "id":
        return {"type": "integer", "minimum": 1, "maximum": (1 << 63) - 1}
    if c.type in _INTEGERS:
        top = 1 << _INTEGERS[c.type]
        return {"type": "integer", "minimum": -top, "maximum": top - 1}
    plain: dict[str, dict[str, Any]] = {
        "f64": {"type": "number"},
        "bool": {"type": "boolean"},
        "ts": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "str": {"type": "string"},
        "hex64": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    return plain[c.type]


def column_schema(c: Column) -> dict[str, Any]:
    """JSON schema of one column's value, with the contract's own type, visibility and profile beside it."""
    schema = _value_schema(c)
    if c.nullable:
        if "$ref" in schema:
            schema = {"oneOf": [schema, {"type": "null"}]}
        else:
            schema = {**schema, "type": [schema["type"], "null"]}
    kind = f"enum:{c.enum}" if c.enum else c.type
    return {
        **schema,
        "x-type": kind + ("?" if c.nullable else ""),
        "x-visibility": c.visibility,
        "x-profile": c.profile,
    }


def row_schema(ds: Dataset) -> dict[str, Any]:
    """JSON schema of one row of a dataset, all columns of the full profile."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [c.name for c in ds.columns],
        "properties": {c.name: column_schema(c) for c in ds.columns},
    }


def table_pack(contracts: Contracts, segment: str) -> dict[str, Any]:
    """The schema pack of a segment: its vocabularies and a schema per dataset."""
    members = [d for d in contracts.datasets.values() if d.owner.split(".")[0] == segment]
    used = sorted({c.enum for d in members for c in d.columns if c.enum})
    return {
        "$schema": DRAFT,
        "$id": f"schemas.{segment}.yaml",
        "$defs": {name: {"enum": list(contracts.enums[name])} for name in used},
        "tables": {d.id: row_schema(d) for d in members},
    }


def expected_registry(contracts: Contracts, policies: Mapping[str, str]) -> dict[str, Any]:
    """The registry that the dictionary implies. `policies`: policy id -> owning state."""
    return {
        "datasets": {
            d.id: {
                "owner": d.owner,
                "path": d.path,
                "final": d.final,
                "schema_ref": f"schemas.{d.owner.split('.')[0]}.yaml#/tables/{d.id}",
            }
            for d in contracts.datasets.values()
        },
        "artefacts": {
            name: {
                "owner": a["owner"],
                "path": a["path"],
                "format": a["format"],
                "schema_ref": f"schemas.control.yaml#/artefacts/{name}",
            }
            for name, a in contracts.artefacts.items()
        },
        "policies": {
            name: {"owner": owner, "schema_ref": f"policies/{name}.schema.yaml"} for name, owner in policies.items()
        },
    }


def _differences(where: str, found: Any, expected: Any) -> Iterator[str]:
    """Places at which two plain values differ, deepest first known."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(set(found) | set(expected), key=str):
            if key not in found:
                yield f"{where}/{key}: missing"
            elif key not in expected:
                yield f"{where}/{key}: not in the dictionary"
            else:
                yield from _differences(f"{where}/{key}", found[key], expected[key])
    elif found != expected:
        yield f"{where}: {str(found)[:80]!r}, the dictionary says {str(expected)[:80]!r}"


def _registry_findings(contracts: Contracts, source: ContractSource) -> Iterator[str]:
    policies = {name: str(entry["owner"]) for name, entry in source.registry.get("policies", {}).items()}
    yield from _differences("registry", dict(source.registry), expected_registry(contracts, policies))
    folder = source.schema_file("policies")
    for path in sorted(folder.glob("*.schema.yaml")):
        name = path.name.removesuffix(".schema.yaml")
        if name != "pack" and name not in policies:
            yield f"registry/policies/{name}: missing (its schema exists)"


def unresolved(source: ContractSource) -> Iterator[tuple[str, str, str]]:
    """(name, reference, why) of every entry of the registry whose schema reference does not resolve."""
    for section in ("datasets", "artefacts", "policies"):
        for name, entry in source.registry.get(section, {}).items():
            try:
                source.resolve(str(entry["schema_ref"]))
            except ContractError as e:
                yield name, str(entry["schema_ref"]), e.what


def disagreements(contracts: Contracts, source: ContractSource) -> Iterator[str]:
    """Everything on which dictionary, registry and table packs disagree, but for what the schemas themselves say."""
    for d in contracts.datasets.values():
        if d.aligned_with and d.aligned_with not in contracts.datasets:
            yield f"{d.id}: aligned with {d.aligned_with}, which is not in the dictionary"
    yield from _registry_findings(contracts, source)
    for name in PACKS:
        try:
            pack = source.pack(name)
        except ContractError as e:
            yield f"{name}: {e.what}"
            continue
        segment = name.split(".")[1]
        if segment != "control":
            yield from _differences(name, pack, table_pack(contracts, segment))


def _schema_findings(source: ContractSource) -> Iterator[str]:
    for name in PACKS:
        try:
            pack = source.pack(name)
        except ContractError:
            continue  # told by `disagreements`
        for section in ("tables", "artefacts"):
            for table, schema in pack.get(section, {}).items():
                yield from _malformed(f"{name}#/{section}/{table}", schema)
                yield from _loose_refs(f"{name}#/{section}/{table}", schema, pack)
    for path in sorted(source.schema_file("policies").glob("*.schema.yaml")):
        yield from _malformed(f"policies/{path.name}", read_contract(path))


def _malformed(where: str, schema: Any) -> Iterator[str]:
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as e:
        yield f"{where}: {e.message}"


def _loose_refs(where: str, node: Any, pack: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(node, dict):
        ref = node.get("$ref")
        if isinstance(ref, str):
            target: Any = pack
            for step in ref.removeprefix("#/").split("/"):
                target = target.get(step) if isinstance(target, dict) else None
            if target is None:
                yield f"{where}: {ref} does not resolve"
        for value in node.values():
            yield from _loose_refs(where, value, pack)
    elif isinstance(node, list):
        for value in node:
            yield from _loose_refs(where, value, pack)


def findings(contracts: Contracts, source: ContractSource) -> list[str]:
    """Everything on which dictionary, registry and schema packs disagree."""
    loose = [f"{name}: {why} ({ref})" for name, ref, why in unresolved(source)]
    return [*disagreements(contracts, source), *loose, *_schema_findings(source)]


def check_contracts(contracts: Contracts, root: Path | None = None) -> dict[str, int]:
    """Raise ContractError unless all contracts agree; return how many of each there are."""
    source = ContractSource(root or contracts.root)
    found = findings(contracts, source)
    if found:
        shown = "\n    ".join(found[:20])
        raise ContractError(
            "CONTRACT",
            "CONTRACTS_DISAGREE",
            what=f"{len(found)} disagreement(s) between dictionary, registry and schema packs\n    {shown}",
            where=contracts.root,
            action="correct the file that is wrong; tests/tools/make_contracts.py rewrites registry and table packs",
        )
    return {
        "datasets": len(contracts.datasets),
        "columns": sum(len(d.columns) for d in contracts.datasets.values()),
        "artefacts": len(contracts.artefacts),
        "enums": len(contracts.enums),
        "policies": len(source.registry["policies"]),
        "schema_packs": len(PACKS),
    }


def resolve_all(source: ContractSource) -> None:
    """Resolve every schema reference of the registry; ContractError names the first that does not."""
    for name, ref, why in unresolved(source):
        raise ContractError(
            "CONTRACT",
            "SCHEMA_REF_UNRESOLVED",
            what=f"the schema reference of {name} does not resolve: {why}",
            found=ref,
            where=source.root,
            action="run `fraudloom contracts check` and correct the registry or the schema pack",
        )


def schema_validator(source: ContractSource, artefact_id: str) -> jsonschema.Draft202012Validator:
    """Validator of a control artefact (or of one line of it), vocabularies resolved in its pack."""
    ref = source.schema_ref(artefact_id)
    name = ref.partition("#")[0]
    pack = source.pack(name)
    return jsonschema.Draft202012Validator({**source.resolve(ref), "$defs": pack.get("$defs", {})})
