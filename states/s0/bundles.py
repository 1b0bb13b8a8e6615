"""The one verifier of bundles: index, members, digest, flag and verdict of an upstream segment.

The law: the index that the contract names is the canonical JSON of the path-sorted (path, sha256, size) of the
segment's files, paths relative to the world's root; the bundle's digest is the SHA-256 of that canonical JSON; the flag
that the contract names holds it, as text or JSON. `world verify` and the gate of a run both go through here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fraudloom.contracts_api import Contracts
from fraudloom.errors import FraudloomError
from fraudloom.states.s0.codes import Code, fault
from fraudloom.states.s0.manifest import MANIFEST
from fraudloom.tables import file_sha256

#: Segment to layer, in order.
SEGMENTS = {"1A": 1, "1B": 1, "2A": 1, "2B": 1, "3A": 1, "3B": 1, "5A": 2, "5B": 2, "6A": 3}
#: Segments that publish the list of what they had sealed.
SEALED_LISTS = ("5A", "5B", "6A")
_FLAG_LINE = re.compile(r"\Asha256_hex = ([0-9a-f]{64})\n\Z")
_HEX = re.compile(r"\A[0-9a-f]{64}\Z")

Map = Callable[..., Iterable[Any]]


@dataclass(frozen=True)
class Member:
    """One file of a bundle, as indexed."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: paths relative to the world's root, the digest by the normalised law, the verdict read."""

    segment: str
    bundle_path: str
    index_path: str
    flag_path: str
    digest: str
    verdict: str
    members: tuple[Member, ...]


def index_path(contracts: Contracts, segment: str, mf: str) -> str:
    """Index of a segment's bundle, relative to the world's root, as the contract says."""
    return contracts.artefact_path(f"validation_bundle_index_{segment}", mf=mf)


def flag_path(contracts: Contracts, segment: str, mf: str) -> str:
    """Flag of a segment, relative to the world's root, as the contract says."""
    return contracts.artefact_path(f"validation_passed_flag_{segment}", mf=mf)


def sealed_list_path(contracts: Contracts, segment: str, mf: str) -> str:
    """File in which a segment lists its sealed inputs, relative to the world's root, as the contract says."""
    return contracts.artefact_path(f"sealed_inputs_{segment}", mf=mf)


def invalid(what: str, where: object, found: object = None, expected: object = None) -> FraudloomError:
    """A gate that does not hold."""
    return fault(Code.UPSTREAM_HASHGATE_INVALID, what, where, found, expected)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise fault(
            Code.UPSTREAM_HASHGATE_MISSING, f"{what} is missing", path, "no file", "a sealed upstream segment"
        ) from None
    except OSError as e:
        raise invalid(f"{what} cannot be read: {e.strerror}", path) from None


def bundle_digest(members: Sequence[Member]) -> tuple[bytes, str]:
    """The normalised law: canonical JSON of the path-sorted (path, sha256, size), and its SHA-256."""
    rows = [{"path": m.path, "sha256": m.sha256, "size": m.size} for m in sorted(members, key=lambda m: m.path)]
    data = json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
    return data, hashlib.sha256(data).hexdigest()


def read_flag(data: bytes, path: Path, mf: str, sealed: str | None = None) -> tuple[str, str]:
    """(digest, verdict) that a flag holds, in its text or JSON form. The JSON form must name this world and a PASS.

    `sealed`: the digest that it should hold, if that is known, for messages.
    """
    text = data.decode("utf-8", "replace")
    line = _FLAG_LINE.match(text)
    if line:
        return line.group(1), "PASS"
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    known = {"bundle_digest_sha256", "manifest_fingerprint", "overall_status", "status"}
    if not isinstance(value, dict) or not _HEX.match(str(value.get("bundle_digest_sha256"))) or set(value) - known:
        raise invalid(
            "the flag has neither the text nor the JSON form",
            path,
            repr(text[:120]),
            repr(f"sha256_hex = {sealed or '<64 hex>'}\n"),
        )
    verdicts = [str(value[k]) for k in ("overall_status", "status") if k in value] or ["PASS"]
    for verdict in verdicts:
        if verdict != "PASS":
            raise fault(Code.UPSTREAM_VALIDATION_NONPASS, "the segment did not pass", path, verdict, "PASS")
    if value.get("manifest_fingerprint") != mf:
        raise invalid("the flag is another world's", path, value.get("manifest_fingerprint"), mf)
    return str(value["bundle_digest_sha256"]), "PASS"


def read_index(data: bytes, path: Path, sealed: str | None = None) -> tuple[Member, ...]:
    """Members of an index: sorted, each once, relative, inside the world. `sealed`: as for `read_flag`."""
    try:
        members = []
        for e in json.loads(data):
            if set(e) != {"path", "sha256", "size"} or type(e["size"]) is not int or not _HEX.match(e["sha256"]):
                raise ValueError(f"an entry is not (path, sha256, size): {str(e)[:120]}")
            members.append(Member(str(e["path"]), e["size"], e["sha256"]))
    except (ValueError, TypeError, KeyError, UnicodeDecodeError) as e:
        raise invalid(f"the index is malformed: {e}", path, hashlib.sha256(data).hexdigest(), sealed) from None
    names = [m.path for m in members]
    if names != sorted(set(names)):
        found = hashlib.sha256(data).hexdigest()
        raise invalid("the index is not path-sorted, or names a file twice", path, found, sealed)
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise invalid("the index leaves the world's folder", path, name, "a relative path")
    return tuple(members)


def open_bundle(root: Path, mf: str, segment: str, contracts: Contracts, sealed: str | None = None) -> Bundle:
    """Index, digest, flag and verdict of one segment; its members are not touched.

    `sealed`: the digest that the bundle must have (as the world's manifest or a receipt says), when it is known.
    """
    index, flag = index_path(contracts, segment, mf), flag_path(contracts, segment, mf)
    data = _read(root / index, f"the index of {segment}")
    stated, verdict = read_flag(_read(root / flag, f"the passed flag of {segment}"), root / flag, mf, sealed)
    members = read_index(data, root / index, sealed)
    canonical, digest = bundle_digest(members)
    if data != canonical:
        found = hashlib.sha256(data).hexdigest()
        raise invalid(f"the index of {segment} is not in canonical form", root / index, found, digest)
    if sealed is not None and digest != sealed:
        raise invalid(f"the index of {segment} was edited", root / index, digest, sealed)
    if digest != stated:
        raise invalid(f"the flag of {segment} is not that of its index", root / flag, stated, digest)
    return Bundle(segment, PurePosixPath(index).parent.as_posix(), index, flag, digest, verdict, members)


def _hash_member(task: tuple[Path, Member, bool]) -> tuple[int, str] | None:
    """(size, digest) as found, digest empty when not hashed; None when the file is absent."""
    root, member, rehash = task
    path = root / member.path
    if not path.is_file():
        return None
    size = path.stat().st_size
    # Bulk data is Parquet; control files are small, and are read in any case.
    return size, file_sha256(path) if size == member.size and (rehash or path.suffix != ".parquet") else ""


def member_fault(root: Path, member: Member, found: tuple[int, str] | None) -> FraudloomError | None:
    """What is wrong with a member, found as (size, digest); digest empty when it was not hashed."""
    where = root / member.path
    if found is None:
        return invalid("an indexed file is missing", where, "no file", f"{member.size} bytes, {member.sha256}")
    size, digest = found
    if size != member.size:
        shown = (size, digest or file_sha256(where))
        return invalid(
            "an indexed file has another size",
            where,
            f"{shown[0]} bytes, {shown[1]}",
            f"{member.size} bytes, {member.sha256}",
        )
    if digest and digest != member.sha256:
        return invalid("an indexed file was edited", where, digest, member.sha256)
    return None


def check_members(root: Path, members: Sequence[Member], *, rehash: bool, map_: Map = map) -> Iterable[FraudloomError]:
    """What is wrong with the members of bundles, in their order."""
    for member, found in zip(members, map_(_hash_member, [(root, m, rehash) for m in members]), strict=True):
        error = member_fault(root, member, found)
        if error is not None:
            yield error


def strangers(root: Path, bundles: Iterable[Bundle], more: Iterable[str] = ()) -> list[str]:
    """Files below the world's root that no index names and that are not gates themselves, sorted."""
    known = {MANIFEST, *more}
    for bundle in bundles:
        known |= {m.path for m in bundle.members} | {bundle.index_path, bundle.flag_path}
    present = (p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() or p.is_symlink())
    return sorted(name for name in present if name not in known)


def verify_bundles(
    root: Path, manifest: Mapping[str, Any], contracts: Contracts, *, rehash: bool, map_: Map = map
) -> dict[str, Bundle]:
    """Verify the nine segments, the policy's copy, and that the world holds nothing else. `manifest`: `read_manifest`.

    The error names the file, what was found and what was expected. `rehash` False leaves the bytes of bulk data alone;
    sizes, indexes, flags and control files are checked all the same.
    """
    mf, sealed = str(manifest["manifest_fingerprint"]), manifest["bundles"]
    bundles = {s: open_bundle(root, mf, s, contracts, str(sealed.get(s))) for s in SEGMENTS}
    members = [m for b in bundles.values() for m in b.members]
    for error in check_members(root, members, rehash=rehash, map_=map_):
        raise error
    copy = check_policy_copy(root, manifest)
    if copy is not None:
        raise copy
    for name in strangers(root, bundles.values(), [str(manifest["policy_file"]["path"])]):
        raise invalid(
            "the world holds a file that no index names", root / name, file_sha256(root / name), "no such file"
        )
    return bundles


def check_policy_copy(root: Path, manifest: Mapping[str, Any]) -> FraudloomError | None:
    """What is wrong with the world's copy of its policy: the manifest names its digest, which is the world's hash."""
    entry = manifest["policy_file"]
    path = root / str(entry["path"])
    if not path.is_file():
        return fault(
            Code.UPSTREAM_HASHGATE_MISSING,
            "the world's copy of its policy is missing",
            path,
            "no file",
            entry["sha256"],
        )
    found = file_sha256(path)
    for expected in (entry["sha256"], manifest["world_parameter_hash"]):
        if found != expected:
            return invalid("the world's copy of its policy was edited", path, found, expected)
    return None
