"""Policies as data: a pack is a folder of YAML files, one per policy id, each checked against its JSON schema.

The loader is safe: no anchors, no duplicate keys, no oversized files, no unknown keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from fraudloom.contracts_api import Contracts, packaged_root
from fraudloom.errors import PolicyError

MAX_BYTES = 1 << 20
#: Policies that no content depends on: how runs are judged, and what frozen numbers were solved for.
VALIDATION_POLICIES = (
    "segment_validation_policy_6B",
    "realism_gates_6B",
    "run_figures_6B",
    "issuer_calibration_6B",
)


_FAST = hasattr(yaml, "CSafeLoader")


class _StrictLoader(yaml.CSafeLoader if _FAST else yaml.SafeLoader):  # type: ignore[misc]
    """libyaml's safe loader (pure Python's took 0.6 s of every start), which refuses merge keys and duplicate keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key == "<<":
                raise yaml.constructor.ConstructorError(None, None, "merge keys are not allowed", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


def _refuse_anchors(text: str) -> None:
    """Raise on the first anchor or alias, before anything is composed: aliases can grow without bound."""
    if "&" not in text and "*" not in text:
        return
    for event in yaml.parse(text, Loader=yaml.CSafeLoader if _FAST else yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            line = event.start_mark.line + 1 if event.start_mark else "?"
            raise yaml.YAMLError(f"anchors and aliases are not allowed (line {line})")


def read_document(path: Path) -> tuple[Any, str]:
    """(plain data, SHA-256 of the bytes) of a YAML file, read once; PolicyError names the file and the line."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise PolicyError(
            "POLICY",
            "POLICY_UNREADABLE",
            what=f"{path.name}: {e.strerror or e}",
            where=path,
            action="put the file there, or name another pack",
        ) from None
    if len(data) > MAX_BYTES:
        raise PolicyError(
            "POLICY",
            "POLICY_TOO_LARGE",
            what="the file is too large",
            found=len(data),
            expected=MAX_BYTES,
            where=path,
            action="split or shorten the file",
        )
    try:
        text = data.decode("utf-8")
        _refuse_anchors(text)
        return yaml.load(text, Loader=_StrictLoader), hashlib.sha256(data).hexdigest()
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise PolicyError(
            "POLICY", "POLICY_MALFORMED", what=" ".join(str(e).split()), where=path, action="correct the YAML"
        ) from None


def read_yaml(path: Path) -> Any:
    """Plain data of a YAML file; PolicyError names the file and the line."""
    return read_document(path)[0]


@dataclass(frozen=True)
class Pack:
    """A validated policy pack: plain data per policy id, with the files and the digests of the bytes it came from."""

    name: str
    profile: str
    docs: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, Path]
    digest: str
    validation_digest: str
    hashes: Mapping[str, str] = field(default_factory=dict)

    def doc(self, policy_id: str) -> Mapping[str, Any]:
        """Plain data of one policy; PolicyError if the pack lacks it."""
        if policy_id not in self.docs:
            raise PolicyError(
                "POLICY",
                "POLICY_MISSING",
                what=f"the pack {self.name} has no policy of that name",
                found=policy_id,
                expected=", ".join(self.docs),
                action="name one of these, or another pack",
            )
        return self.docs[policy_id]


def packs_root() -> Path:
    """Folder of the packs that ship with the package."""
    return Path(str(resources.files("fraudloom.policies")))


def find_pack(name_or_dir: str | Path) -> Path:
    """Folder of a pack by shipped name or by folder; PolicyError (PACK_UNKNOWN) when none is meant."""
    path = Path(name_or_dir)
    if (path / "pack.yaml").is_file():
        return path
    shipped = packs_root() / str(name_or_dir)
    if (shipped / "pack.yaml").is_file():
        return shipped
    names = sorted(p.parent.name for p in packs_root().glob("*/pack.yaml"))
    raise PolicyError(
        "POLICY",
        "PACK_UNKNOWN",
        what="the folder holds no pack.yaml" if path.is_dir() else "no such policy pack",
        found=str(name_or_dir),
        expected=", ".join(names),
        action="name one of these, or a folder that holds a pack.yaml",
    )


@cache
def _validator(path: Path) -> jsonschema.Draft202012Validator:
    if not path.is_file():
        raise PolicyError(
            "POLICY",
            "SCHEMA_MISSING",
            what="the policy has no schema",
            expected=path,
            action="name the file as the policy that it holds, or take it out of the pack",
        )
    schema = read_yaml(path)
    # The schemas that ship are proven by `contracts check`, a part of every test run; here that took 0.4 s of a start.
    if not path.is_relative_to(packaged_root()):
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as e:
            raise PolicyError(
                "POLICY",
                "SCHEMA_MALFORMED",
                what=e.message[:300],
                where=path,
                action="correct the policy; `fraudloom policies check` names file and key",
            ) from None
    return jsonschema.Draft202012Validator(schema)


def _allowed(error: jsonschema.ValidationError) -> str:
    allowed = error.schema.get("properties") if isinstance(error.schema, dict) else None
    if allowed:
        return "keys " + ", ".join(allowed)
    rules = error.schema if isinstance(error.schema, dict) else {}
    shown = {k: rules[k] for k in ("type", "enum", "minimum", "maximum", "exclusiveMinimum", "pattern") if k in rules}
    return ", ".join(f"{k} {v}" for k, v in shown.items())


def check_document(policy_id: str, doc: Any, path: Path, contracts: Contracts) -> None:
    """Validate one policy against its schema; PolicyError names file, key and what is allowed."""
    validator = _validator(contracts.root / "schemas" / "policies" / f"{policy_id}.schema.yaml")
    # A misspelt key is both unknown and missing: name the unknown one, which is what the reader can see.
    errors = sorted(
        validator.iter_errors(doc),
        key=lambda e: (e.validator != "additionalProperties", [str(p) for p in e.absolute_path], e.message),
    )
    if errors:
        e = errors[0]
        where = ".".join(str(p) for p in e.absolute_path) or "(top level)"
        raise PolicyError(
            "POLICY",
            "POLICY_SCHEMA_VIOLATION",
            what=f"{policy_id}: {e.message[:300]}",
            where=f"{path} at {where}",
            expected=_allowed(e),
            action="correct the key or its value",
        )


def load_pack(name_or_dir: str | Path, contracts: Contracts) -> Pack:
    """Load a pack by shipped name or by folder, its parents (`extends`) first; every policy is schema-checked."""
    chain: list[tuple[Path, Mapping[str, Any]]] = []
    folder: Path | None = find_pack(name_or_dir)
    while folder is not None:
        head = read_yaml(folder / "pack.yaml")
        check_document("pack", head, folder / "pack.yaml", contracts)
        chain.append((folder, head))
        parent = head.get("extends")
        if len(chain) > 8:
            raise PolicyError(
                "POLICY",
                "PACK_CYCLE",
                what="packs extend each other in a circle",
                where=folder,
                action="take `extends` out of one pack.yaml",
            )
        folder = find_pack(parent) if parent else None
    docs: dict[str, Mapping[str, Any]] = {}
    sources: dict[str, Path] = {}
    hashes: dict[str, str] = {}
    for base, _ in reversed(chain):
        for path in sorted(base.glob("*.yaml")):
            if path.name == "pack.yaml":
                continue
            doc, digest = read_document(path)
            check_document(path.stem, doc, path, contracts)
            docs[path.stem], sources[path.stem], hashes[path.stem] = doc, path, digest
    profile = str(chain[0][1]["profile"])
    digests = {}
    for label, wanted in (("weave", False), ("validation", True)):
        h = hashlib.sha256(f"{label}\n{profile}\n".encode())
        for policy_id in sorted(docs):
            if (policy_id in VALIDATION_POLICIES) == wanted:
                h.update(f"{policy_id}\t{hashes[policy_id]}\n".encode())
        digests[label] = h.hexdigest()
    return Pack(str(chain[0][1]["name"]), profile, docs, sources, digests["weave"], digests["validation"], hashes)
