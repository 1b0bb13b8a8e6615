"""The one verifier of bundles: index, members, digest and flag of an upstream segment.

The law: `index.json` is the canonical, path-sorted list of (path, sha256, size) of the segment's files, paths relative
to the world's root; the bundle's digest is the SHA-256 of the index's bytes; `_passed.flag` holds it, as text or JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fraudloom.errors import FraudloomError, SealError
from fraudloom.spec import digest_of
from fraudloom.tables import file_sha256

#: Segment to layer, in order.
SEGMENTS = {"1A": 1, "1B": 1, "2A": 1, "2B": 1, "3A": 1, "3B": 1, "5A": 2, "5B": 2, "6A": 3}
#: Segments that publish the list of what they had sealed.
SEALED_LISTS = ("5A", "5B", "6A")
INDEX, FLAG = "index.json", "_passed.flag"
_FLAG_LINE = re.compile(r"\Asha256_hex = ([0-9a-f]{64})\n?\Z")

Map = Callable[..., Iterable[Any]]


@dataclass(frozen=True)
class Member:
    """One file of a bundle, as indexed."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A verified bundle."""

    segment: str
    bundle_path: str
    flag_path: str
    digest: str
    members: tuple[Member, ...]


def bundle_path(segment: str, mf: str) -> str:
    """Folder of a segment's bundle, relative to the world's root."""
    return f"data/layer{SEGMENTS[segment]}/{segment}/validation/manifest_fingerprint={mf}"


def sealed_list_path(segment: str, mf: str) -> str:
    """File in which a segment lists its sealed inputs, relative to the world's root."""
    layer = SEGMENTS[segment]
    return f"data/layer{layer}/{segment}/sealed_inputs/manifest_fingerprint={mf}/sealed_inputs_{segment}.json"


def invalid(what: str, where: object, found: object = None, expected: object = None) -> SealError:
    """A gate that does not hold."""
    return SealError(
        "S0",
        "S0_UPSTREAM_HASHGATE_INVALID",
        what=what,
        found=found,
        expected=expected,
        where=where,
        action="restore the world's files, or build the world again",
    )


def missing(what: str, where: object) -> SealError:
    """A gate that is not there."""
    return SealError(
        "S0",
        "S0_UPSTREAM_HASHGATE_MISSING",
        what=what,
        found="no file",
        expected="a sealed upstream segment",
        where=where,
        action="point --world at a whole world, or build one",
    )


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise missing(f"{what} is missing", path) from None
    except OSError as e:
        raise invalid(f"{what} cannot be read: {e.strerror}", path) from None


def read_json(path: Path, what: str, error: Callable[..., FraudloomError] = invalid) -> Any:
    """Parsed JSON of a file, or the error that `error` makes of the reason."""
    try:
        return json.loads(_read(path, what))
    except ValueError as e:
        raise error(f"{what} is not JSON: {e}", path) from None


def flag_digest(data: bytes, path: Path, mf: str) -> str:
    """Digest that a flag holds, in its text or JSON form; a JSON form must name this world and a PASS, if anything."""
    text = data.decode("utf-8", "replace")
    line = _FLAG_LINE.match(text)
    if line:
        return line.group(1)
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("bundle_digest_sha256"), str):
        raise invalid("the flag has neither the text nor the JSON form", path, text[:80], "sha256_hex = <64 hex>")
    status = value.get("overall_status", value.get("status", "PASS"))
    if status != "PASS":
        raise SealError(
            "S0",
            "S0_UPSTREAM_VALIDATION_NONPASS",
            what="the segment did not pass",
            found=status,
            expected="PASS",
            where=path,
        )
    if value.get("manifest_fingerprint", mf) != mf:
        raise invalid("the flag is another world's", path, value["manifest_fingerprint"], mf)
    return str(value["bundle_digest_sha256"])


def read_index(data: bytes, path: Path) -> tuple[Member, ...]:
    """Members of an index, checked for form: sorted, each once, relative, inside the world."""
    try:
        entries = json.loads(data)
        members = tuple(Member(str(e["path"]), int(e["size"]), str(e["sha256"])) for e in entries)
    except (ValueError, TypeError, KeyError) as e:
        raise invalid(f"the index is malformed: {e}", path, expected="a list of {path, sha256, size}") from None
    names = [m.path for m in members]
    if names != sorted(set(names)):
        raise invalid("the index is not path-sorted, or names a file twice", path)
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise invalid("the index leaves the world's folder", path, name, "a relative path")
    return members


def _hash_member(task: tuple[Path, Member, bool]) -> tuple[str, int, str] | None:
    """(path, size, digest) as found, digest empty when not hashed; None when the file is absent."""
    root, member, rehash = task
    path = root / member.path
    if not path.is_file():
        return None
    return member.path, path.stat().st_size, file_sha256(path) if rehash else ""


def verify_bundles(root: Path, mf: str, *, rehash: bool, map_: Map = map) -> dict[str, Bundle]:
    """Verify the nine segments and that the world holds no file outside them; SealError names file, found, expected."""
    bundles: dict[str, Bundle] = {}
    for segment in SEGMENTS:
        folder = bundle_path(segment, mf)
        index = _read(root / folder / INDEX, f"the index of {segment}")
        flag = _read(root / folder / FLAG, f"the passed flag of {segment}")
        stated = flag_digest(flag, root / folder / FLAG, mf)
        members = read_index(index, root / folder / INDEX)
        digest = hashlib.sha256(index).hexdigest()
        if digest != stated:
            raise invalid(f"the flag of {segment} is not that of its index", root / folder / FLAG, stated, digest)
        bundles[segment] = Bundle(segment, folder, f"{folder}/{FLAG}", digest, members)
    tasks = [(root, m, rehash) for b in bundles.values() for m in b.members]
    for (_, member, _), found in zip(tasks, map_(_hash_member, tasks), strict=True):
        if found is None:
            raise invalid("an indexed file is missing", root / member.path, "no file", f"{member.size} bytes")
        if found[1] != member.size:
            raise invalid("an indexed file has another size", root / member.path, found[1], member.size)
        if rehash and found[2] != member.sha256:
            raise invalid("an indexed file was edited", root / member.path, found[2], member.sha256)
    _no_strangers(root, bundles)
    return bundles


def _no_strangers(root: Path, bundles: dict[str, Bundle]) -> None:
    known = {m.path for b in bundles.values() for m in b.members}
    known |= {f"{b.bundle_path}/{name}" for b in bundles.values() for name in (INDEX, FLAG)}
    for path in sorted((root / "data").rglob("*")):
        if path.is_file() and path.relative_to(root).as_posix() not in known:
            raise invalid("a sealed folder holds a file that no index names", path, path.name, "only indexed files")


def bundles_digest(bundles: dict[str, Bundle]) -> str:
    """One digest over the nine, for messages and comparison."""
    return digest_of({s: b.digest for s, b in bundles.items()})
