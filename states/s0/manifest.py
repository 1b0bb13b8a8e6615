"""`world.json`: the root manifest of a world, which vouches for its own bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fraudloom.states.s0.codes import Code, fault

MANIFEST = "world.json"
#: Key that holds the digest of the rest.
SELF = "manifest_digest"
_STATED = re.compile(rb'"manifest_digest":"([0-9a-f]{64})"')
NEEDED = (
    *("manifest_fingerprint", "scenarios", "horizon", "files", "arrivals", "seed", "shards", "cohort_key"),
    *("bundles", "policy_file", "rows", "world_parameter_hash"),
)


def manifest_bytes(document: Mapping[str, Any]) -> bytes:
    """Canonical JSON as worlds write it: sorted keys, no spaces, ASCII, a newline at the end."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def manifest_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of all but the key that holds it."""
    return hashlib.sha256(manifest_bytes({k: v for k, v in document.items() if k != SELF})).hexdigest()


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest of a world, its bytes canonical and its digest its own; an S0 error otherwise."""
    path = root / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise fault(Code.UPSTREAM_HASHGATE_MISSING, "the world's manifest is missing", path, "no file") from None
    stated = _STATED.search(data)
    try:
        document = json.loads(data)
    except ValueError as e:
        raise fault(
            Code.UPSTREAM_SEALED_INPUTS_INVALID,
            f"the world's manifest is not JSON: {e}",
            path,
            hashlib.sha256(data).hexdigest(),
            stated.group(1).decode() if stated else "canonical JSON",
        ) from None
    if not isinstance(document, dict):
        document = {}
    lacking = [k for k in (*NEEDED, SELF) if k not in document]
    if lacking:
        raise fault(
            Code.UPSTREAM_SEALED_INPUTS_INVALID,
            "the world's manifest lacks keys",
            path,
            f"no {', '.join(lacking)}",
            ", ".join((*NEEDED, SELF)),
            "build the world again: it is damaged, or of an older version",
        )
    found = manifest_digest(document)
    if found != document[SELF]:
        raise fault(Code.UPSTREAM_SEALED_INPUTS_INVALID, "the world's manifest was edited", path, found, document[SELF])
    if data != manifest_bytes(document):
        found, wanted = (hashlib.sha256(x).hexdigest() for x in (data, manifest_bytes(document)))
        raise fault(
            Code.UPSTREAM_SEALED_INPUTS_INVALID, "the world's manifest is not canonical JSON", path, found, wanted
        )
    return document
