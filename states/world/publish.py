"""Publishing a world: table files, sealed inputs, bundles, the root manifest, and the atomic move into place."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts, Dataset
from fraudloom.errors import ConflictError, EnvironmentFault
from fraudloom.rng import substream_key
from fraudloom.states.s0.bundles import (
    SEALED_LISTS,
    SEGMENTS,
    Member,
    bundle_digest,
    flag_path,
    index_path,
    sealed_list_path,
)
from fraudloom.states.s0.inventory import family_digest
from fraudloom.states.s0.manifest import MANIFEST, SELF, manifest_digest
from fraudloom.states.world.spec import DOMAIN, Context, canonical_json, sha256_hex
from fraudloom.tables import Columns, PartResult, PartWriter

POLICY_FILE = "world_policy.yaml"


@dataclass
class Published:
    """Files written so far: dataset id and result by relative path. With a pool, its workers write the tables."""

    root: Path
    files: dict[str, tuple[str, PartResult]] = field(default_factory=dict)
    pool: Executor | None = None
    _coming: list[Future[tuple[str, str, PartResult]]] = field(default_factory=list)

    def table(self, ctx: Context, dataset_id: str, cols: Columns) -> None:
        """Write a table of one file, in row groups; with a pool, have it written (leave `cols` alone from then on)."""
        if self.pool is not None:
            self._coming.append(self.pool.submit(self._write_table, ctx, dataset_id, cols))
            return
        name, _, result = self._write_table(ctx, dataset_id, cols)
        self.files[name] = (dataset_id, result)

    def settle(self) -> None:
        """Wait for the tables that the pool writes, and record them in the order of calls; their errors rise here."""
        for future in self._coming:
            name, dataset_id, result = future.result()
            self.files[name] = (dataset_id, result)
        self._coming.clear()

    def _write_table(self, ctx: Context, dataset_id: str, cols: Columns) -> tuple[str, str, PartResult]:
        ds = ctx.contracts.dataset(dataset_id)
        name = ds.path_for(**ctx.tokens())
        size = int(ctx.policy["sizes"]["group_rows"])
        rows = len(cols[ds.key[0]])
        writer = PartWriter(self.root / name, ds, metadata=table_footer(ctx))
        for at in range(0, max(rows, 1), size):
            writer.write_group({c.name: cols[c.name][at : at + size] for c in ds.columns})
        return name, dataset_id, writer.close()

    def add(self, dataset_id: str, results: Mapping[str, PartResult]) -> None:
        """Record parts written elsewhere."""
        for name, result in results.items():
            self.files[name] = (dataset_id, result)

    def rows(self) -> dict[str, int]:
        """Rows by dataset."""
        out: dict[str, int] = {}
        for dataset_id, result in self.files.values():
            out[dataset_id] = out.get(dataset_id, 0) + result.rows
        return dict(sorted(out.items()))


def table_footer(ctx: Context) -> dict[str, str]:
    """Axes in the footer of a table's file."""
    return {"seed": str(ctx.spec.seed), "manifest_fingerprint": ctx.mf, "parameter_hash": ctx.wph}


def flag_text(digest: str) -> bytes:
    """Content of `_passed.flag`."""
    return f"sha256_hex = {digest}\n".encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _sealed_row(ds: Dataset, digest: str, mf: str) -> dict[str, Any]:
    return {
        "manifest_fingerprint": mf,
        "owner_layer": SEGMENTS[ds.owner],
        "owner_segment": ds.owner,
        "manifest_key": ds.id,
        "path_template": ds.path,
        "partition_keys": list(ds.partitions),
        "schema_ref": f"dictionary/upstream.yaml#/datasets/{ds.id}",
        "role": "UPSTREAM_EGRESS",
        "status": "REQUIRED",
        "read_scope": "ROW_LEVEL",
        "sha256_hex": digest,
        "upstream_bundle_id": None,
        "notes": None,
    }


def seal(ctx: Context, contracts: Contracts, done: Published) -> dict[str, str]:
    """Write sealed-input lists, indexes and flags; returns the bundle digest of every segment."""
    by_dataset: dict[str, list[tuple[str, int, str]]] = {}
    for name, (dataset_id, r) in done.files.items():
        by_dataset.setdefault(dataset_id, []).append((name, r.rows, r.content_digest))
    digests = {d: family_digest(files) for d, files in by_dataset.items()}
    order = list(SEGMENTS)
    for segment in SEALED_LISTS:
        before = set(order[: order.index(segment)])
        owned = [contracts.dataset(d) for d in digests if contracts.dataset(d).owner in before]
        rows = [_sealed_row(ds, digests[ds.id], ctx.mf) for ds in owned]
        rows.sort(key=lambda r: (r["owner_layer"], r["owner_segment"], r["manifest_key"], r["path_template"]))
        _write(done.root / sealed_list_path(contracts, segment, ctx.mf), canonical_json(rows))
    bundles: dict[str, str] = {}
    for segment in order:
        members = [
            Member(name, r.bytes, r.file_digest)
            for name, (dataset_id, r) in done.files.items()
            if contracts.dataset(dataset_id).owner == segment
        ]
        if segment in SEALED_LISTS:
            path = sealed_list_path(contracts, segment, ctx.mf)
            data = (done.root / path).read_bytes()
            members.append(Member(path, len(data), sha256_hex(data)))
        data, digest = bundle_digest(members)
        _write(done.root / index_path(contracts, segment, ctx.mf), data)
        _write(done.root / flag_path(contracts, segment, ctx.mf), flag_text(digest))
        bundles[segment] = digest
    return bundles


def shard_count(ctx: Context, arrivals: int) -> int:
    """Shards: 1 for small worlds, else arrivals / target, at least `shards_min`."""
    sizes = ctx.policy["sizes"]
    if arrivals < int(sizes["shards_from_arrivals"]):
        return 1
    return max(int(sizes["shards_min"]), -(-arrivals // int(sizes["shard_target_arrivals"])))


def write_manifest(
    ctx: Context, done: Published, spec_doc: Mapping[str, Any], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Seal the world and write `world.json`; returns its content."""
    policy_path = done.root / POLICY_FILE
    bundles = seal(ctx, ctx.contracts, done)
    document: dict[str, Any] = {
        "spec": dict(spec_doc),
        "manifest_fingerprint": ctx.mf,
        "world_parameter_hash": ctx.wph,
        "seed": ctx.spec.seed,
        "streams_world": ctx.draws.world,
        "scenarios": list(ctx.spec.scenarios),
        "horizon": {"start_us": ctx.start_us, "end_us": ctx.end_us, "start_day": ctx.start_day, "days": ctx.spec.days},
        "cohort_key": f"{substream_key(DOMAIN, ctx.draws.world, ctx.draws.seed, '', 'cohorts', 'SHARD'):016x}",
        "shard_target_arrivals": int(ctx.policy["sizes"]["shard_target_arrivals"]),
        "tzdata": metadata.version("tzdata"),
        "rows": done.rows(),
        "bundles": bundles,
        "policy_file": {"path": POLICY_FILE, "sha256": sha256_hex(policy_path.read_bytes())},
        "files": [
            {
                "dataset": dataset_id,
                "path": name,
                "rows": r.rows,
                "size": r.bytes,
                "sha256": r.file_digest,
                "content_digest": r.content_digest,
            }
            for name, (dataset_id, r) in sorted(done.files.items())
        ],
        **facts,
    }
    document[SELF] = manifest_digest(document)
    _write(done.root / MANIFEST, canonical_json(document))
    return document


def read_manifest(root: Path) -> dict[str, Any] | None:
    """`world.json` of a folder, or None when there is none."""
    path = root / MANIFEST
    if not path.is_file():
        return None
    value = json.loads(path.read_bytes())
    return value if isinstance(value, dict) else None


def existing(out: Path, mf: str, spec_doc: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest when `out` holds this very world; None when it is free; else ConflictError."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    found = read_manifest(out) if out.is_dir() else None
    if (
        found is None
        or found.get("manifest_fingerprint") != mf
        or found.get("spec") != json.loads(canonical_json(spec_doc))
    ):
        raise ConflictError(
            "WORLD",
            "WORLD_DIFFERS",
            what="the folder holds something else than the world asked for",
            found=found.get("manifest_fingerprint") if found else "no world.json",
            expected=mf,
            where=out,
            action="name another folder, or ask for the world that is there",
        )
    return found


#: Building folders of this process: descriptors whose lock says that the owner lives.
_HELD: dict[Path, int] = {}
#: In place of a descriptor where the file system has no locks.
NO_LOCKS = -1


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder, or None when another holds it or the folder has gone.

    The lock dies with its holder, however that ends, so who gets it owns the folder. Symbolic links are not followed.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.lstat(folder)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass  # held by its owner, or renamed or removed by him
    except OSError:
        os.close(fd)
        return NO_LOCKS
    os.close(fd)
    return None


def remove_leftovers(out: Path, mf: str) -> list[Path]:
    """Remove building folders of this very world beside `out` whose process was killed; returns them.

    Only `<out>.partial-<fingerprint>-<number>` is looked at, and only what no process holds is removed. A folder that
    cannot be removed stays: it is in nobody's way.
    """
    pattern = re.compile(re.escape(f"{out.name}.partial-{mf[:12]}-") + "[0-9]+")
    if not out.parent.is_dir():
        return []
    gone = []
    for path in sorted(p for p in out.parent.iterdir() if pattern.fullmatch(p.name)):
        fd = None if path in _HELD else _lock(path)
        if fd is None or fd == NO_LOCKS:
            continue
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)
        if not path.exists():
            gone.append(path)
    return gone


_PARTIAL = re.compile(r".+\.partial-[0-9a-f]{12}-[0-9]+")


def abandoned(folder: Path) -> list[Path]:
    """Building folders in a folder whose process was killed, of whatever world: to be told, not to be removed."""
    found = []
    for path in sorted(p for p in folder.iterdir() if _PARTIAL.fullmatch(p.name)) if folder.is_dir() else ():
        fd = None if path in _HELD else _lock(path)
        if fd is not None and fd != NO_LOCKS:
            os.close(fd)
            found.append(path)
    return found


def open_partial(out: Path, mf: str) -> Path:
    """A fresh building folder beside `out`, held by this process: files appear under their final name only when all are
    written. What killed builds of the same world left there is removed first.
    """
    remove_leftovers(out, mf)
    for number in range(os.getpid(), os.getpid() + 1000):
        partial = out.parent / f"{out.name}.partial-{mf[:12]}-{number}"
        try:
            partial.mkdir(parents=True)
        except FileExistsError:
            continue  # held by a process of another system with this number
        except OSError as e:
            raise EnvironmentFault(
                "WORLD",
                "OUT_NOT_WRITABLE",
                what=str(e),
                where=out,
                action="name another --out, or get the permission to write there",
            ) from None
        fd = _lock(partial)
        if fd is not None:  # None: somebody took it for a leftover before it was held
            _HELD[partial] = fd
            return partial
    raise EnvironmentFault(
        "WORLD",
        "OUT_NOT_WRITABLE",
        what="no free name for a building folder",
        where=out,
        action="name another --out, or get the permission to write there",
    )


def _let_go(partial: Path) -> None:
    fd = _HELD.pop(partial, NO_LOCKS)
    if fd != NO_LOCKS:
        os.close(fd)


def disk_fault(error: OSError, out: Path) -> EnvironmentFault:
    """What a failed write is told as: the disk is full, or a permission is missing."""
    return EnvironmentFault(
        "WORLD",
        "WRITE_FAILED",
        what=error.strerror or str(error),
        where=error.filename or out,
        action="free space or name another folder; nothing was left behind",
    )


def move_into_place(partial: Path, out: Path) -> None:
    """Flush and rename; an empty `out` is replaced, anything else there is a conflict."""
    for path in sorted(partial.rglob("*")):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    try:
        os.rename(partial, out)
    except OSError as e:
        raise ConflictError(
            "WORLD", "OUT_TAKEN", what=str(e), where=out, action="name another --out, or move what is there"
        ) from None
    _let_go(partial)
    fd = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def drop_partial(partial: Path) -> None:
    """Remove an unfinished building folder (made by `open_partial` in this process)."""
    if ".partial-" in partial.name and partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    _let_go(partial)


def digest_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def shard_of(cohort_key: int, cohorts: np.ndarray[Any, Any], shards: int) -> np.ndarray[Any, Any]:
    """Shard of each cohort id: mix64(key ^ id) mod S, int64."""
    z = np.uint64(cohort_key) ^ cohorts.astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z % np.uint64(shards)).astype(np.int64)
