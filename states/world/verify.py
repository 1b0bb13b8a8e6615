"""Checking a published world: every digest, every flag, and keys, order and references over all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts, Dataset
from fraudloom.errors import FraudloomError
from fraudloom.states.world.publish import (
    MANIFEST,
    SEGMENTS,
    bundle_path,
    digest_file,
    flag_text,
    index_digest,
    sealed_inputs_path,
)
from fraudloom.states.world.spec import I64
from fraudloom.states.world.view import ARRIVALS, World, load_world
from fraudloom.tables import Columns, iter_groups

#: (table, column, table referred to): every non-zero value is a row of the other table.
REFERENCES = (
    ("merchants_1A", "city_id", "cities_1B"),
    ("terminals_2B", "merchant_id", "merchants_1A"),
    ("terminals_2B", "city_id", "cities_1B"),
    ("terminals_2B", "device_id", "s4_device_base_6A"),
    ("terminals_2B", "ip_id", "s4_ip_base_6A"),
    ("merchant_class_profile_5A", "merchant_id", "merchants_1A"),
    ("s1_party_base_6A", "city_id", "cities_1B"),
    ("s1_party_base_6A", "cohort_id", "cohorts_6A"),
    ("s2_account_base_6A", "owner_party_id", "s1_party_base_6A"),
    ("s2_account_base_6A", "issuer_id", "issuers_6A"),
    ("s3_instrument_base_6A", "account_id", "s2_account_base_6A"),
    ("s3_instrument_base_6A", "owner_party_id", "s1_party_base_6A"),
    ("s3_instrument_base_6A", "issuer_id", "issuers_6A"),
    ("s3_instrument_base_6A", "successor_of", "s3_instrument_base_6A"),
    ("s3_account_instrument_links_6A", "account_id", "s2_account_base_6A"),
    ("s3_account_instrument_links_6A", "instrument_id", "s3_instrument_base_6A"),
    ("s4_device_base_6A", "primary_party_id", "s1_party_base_6A"),
    ("s4_device_base_6A", "primary_merchant_id", "merchants_1A"),
    ("s4_ip_base_6A", "city_id", "cities_1B"),
    ("s4_device_links_6A", "device_id", "s4_device_base_6A"),
    ("s4_device_links_6A", "party_id", "s1_party_base_6A"),
    ("s4_device_links_6A", "account_id", "s2_account_base_6A"),
    ("s4_device_links_6A", "instrument_id", "s3_instrument_base_6A"),
    ("s4_device_links_6A", "merchant_id", "merchants_1A"),
    ("s4_ip_links_6A", "ip_id", "s4_ip_base_6A"),
    ("s4_ip_links_6A", "device_id", "s4_device_base_6A"),
    ("s4_ip_links_6A", "party_id", "s1_party_base_6A"),
    ("s4_ip_links_6A", "merchant_id", "merchants_1A"),
    ("regulars_6A", "merchant_id", "merchants_1A"),
    ("regulars_6A", "home_city_id", "cities_1B"),
    ("regulars_6A", "party_id", "s1_party_base_6A"),
    ("trips_6A", "party_id", "s1_party_base_6A"),
    ("trips_6A", "city_id", "cities_1B"),
    ("payees_6A", "party_id", "s1_party_base_6A"),
    ("s5_party_fraud_roles_6A", "party_id", "s1_party_base_6A"),
    ("s5_account_fraud_roles_6A", "account_id", "s2_account_base_6A"),
    ("s5_merchant_fraud_roles_6A", "merchant_id", "merchants_1A"),
    ("s5_device_fraud_roles_6A", "device_id", "s4_device_base_6A"),
    ("s5_ip_fraud_roles_6A", "ip_id", "s4_ip_base_6A"),
    (ARRIVALS, "merchant_id", "merchants_1A"),
    (ARRIVALS, "visit_merchant_id", "merchants_1A"),
    (ARRIVALS, "home_city_id", "cities_1B"),
    (ARRIVALS, "city_id", "cities_1B"),
    (ARRIVALS, "pinned_instrument_id", "s3_instrument_base_6A"),
    (ARRIVALS, "pinned_device_id", "s4_device_base_6A"),
    (ARRIVALS, "pinned_ip_id", "s4_ip_base_6A"),
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: which check, where, what was found and what expected."""

    check: str
    where: str
    found: str
    expected: str


@dataclass
class VerifyReport:
    """What was checked and what was wrong."""

    root: Path
    files: int = 0
    rows: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.findings

    def add(self, check: str, where: object, found: object, expected: object) -> None:
        """Record a finding."""
        self.findings.append(Finding(check, str(where), str(found), str(expected)))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "root": str(self.root),
            "passed": self.passed,
            "files": self.files,
            "rows": self.rows,
            "findings": [vars(f) for f in self.findings],
        }


def verify_world(
    root: Path, contracts: Contracts, workers: int = 1, progress: Callable[[str, int, int], None] | None = None
) -> VerifyReport:
    """Re-hash every file, re-derive every bundle, re-check all rows. Raises only SealError, when there is no world."""
    world = load_world(root, contracts)
    report = VerifyReport(root)
    _files(world, report, workers, progress)
    _bundles(world, report)
    if report.passed:
        try:
            _tables(world, report)
            for scenario in world.scenarios:
                _arrivals(world, scenario, report)
        except FraudloomError as e:
            report.add("READABLE", e.where, e.found if e.found is not None else e.what, e.expected)
    return report


def _files(world: World, report: VerifyReport, workers: int, progress: Callable[[str, int, int], None] | None) -> None:
    listed: Mapping[str, dict[str, Any]] = {str(e["path"]): e for e in world.manifest["files"]}
    mf = world.fingerprint
    known = {*listed, MANIFEST, str(world.manifest["policy_file"]["path"])}
    known |= {sealed_inputs_path(s, mf) for s in ("5A", "5B", "6A")}
    known |= {f"{bundle_path(s, mf)}/{name}" for s in SEGMENTS for name in ("index.json", "_passed.flag")}
    present = {p.relative_to(world.root).as_posix() for p in world.root.rglob("*") if p.is_file()}
    for name in sorted(known - present):
        report.add("FILE_PRESENT", name, "missing", "present")
    for name in sorted(present - known):
        report.add("FILE_KNOWN", name, "not part of the world", "absent")

    def one(name: str) -> tuple[str, str]:
        return name, digest_file(world.root / name)

    names = sorted(set(listed) & present)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for i, (name, found) in enumerate(pool.map(one, names)):
            report.files += 1
            if found != listed[name]["sha256"]:
                report.add("FILE_DIGEST", name, found, listed[name]["sha256"])
            if progress:
                progress("files hashed", i + 1, len(names))
    policy = world.manifest["policy_file"]
    if policy["path"] in present:
        found = digest_file(world.root / policy["path"])
        for expected in {policy["sha256"], world.manifest["world_parameter_hash"]} - {found}:
            report.add("FILE_DIGEST", policy["path"], found, expected)


def _bundles(world: World, report: VerifyReport) -> None:
    """Index, flag and manifest of each segment must tell the same digest, and the index what is on disk."""
    mf, root = world.fingerprint, world.root
    for segment in SEGMENTS:
        folder = root / bundle_path(segment, mf)
        entries = [
            {"path": e["path"], "size": e["size"], "sha256": e["sha256"]}
            for e in world.manifest["files"]
            if world.contracts.dataset(e["dataset"]).owner == segment
        ]
        if segment in ("5A", "5B", "6A"):
            path = root / sealed_inputs_path(segment, mf)
            if path.is_file():
                size, digest = path.stat().st_size, digest_file(path)
                entries.append({"path": sealed_inputs_path(segment, mf), "size": size, "sha256": digest})
        data, digest = index_digest(entries)
        expected = str(world.manifest["bundles"][segment])
        if digest != expected:
            report.add("BUNDLE_DIGEST", folder.relative_to(root), digest, expected)
        for name, wanted in (("index.json", data), ("_passed.flag", flag_text(expected))):
            path = folder / name
            if path.is_file() and path.read_bytes() != wanted:
                found = (
                    digest_file(path) if name == "index.json" else path.read_bytes()[:120].decode("ascii", "replace")
                )
                report.add(
                    "BUNDLE_FILE",
                    path.relative_to(root),
                    found.strip(),
                    digest if name == "index.json" else wanted.decode().strip(),
                )


def _unsorted(columns: list[np.ndarray[Any, Any]], strict: bool) -> int:
    """Index of the first row that does not follow the one before it (lexicographically), or -1."""
    if not columns or len(columns[0]) < 2:
        return -1
    after = np.full(len(columns[0]) - 1, not strict, np.bool_)
    for c in reversed(columns):
        after = (c[1:] > c[:-1]) | ((c[1:] == c[:-1]) & after)
    bad = np.flatnonzero(~after)
    return int(bad[0]) + 1 if len(bad) else -1


def _sort_columns(ds: Dataset, cols: Columns) -> list[np.ndarray[Any, Any]]:
    """Sort columns, nulls of leading nullable keys last (party links precede terminal links)."""
    out = []
    for name in ds.sort:
        values = cols[name]
        if ds.column(name).nullable:
            values = np.where(values == 0, np.iinfo(np.int64).max, values)
        out.append(values)
    return out


def _tables(world: World, report: VerifyReport) -> None:
    for name in world.tables:
        ds, cols = world.contracts.dataset(name), world.tables[name]
        n = len(cols[ds.key[0]])
        report.rows += n
        if n != world.manifest["rows"][name]:
            report.add("ROW_COUNT", name, n, world.manifest["rows"][name])
        if ds.dense and not np.array_equal(cols[ds.key[0]], np.arange(1, n + 1)):
            report.add("DENSE_KEY", f"{name}.{ds.key[0]}", "a gap or another order", f"1 .. {n}")
        bad = _unsorted(_sort_columns(ds, cols), strict=set(ds.sort) == set(ds.key))
        if bad >= 0:
            report.add("ORDER", name, f"row {bad} does not follow row {bad - 1}", f"strictly sorted by {ds.sort}")
    for name, column, target in REFERENCES:
        if name != ARRIVALS and name in world.tables:
            _reference(
                report,
                name,
                column,
                world.tables[name][column],
                world.manifest["rows"][target],
                nullable(world, name, column),
            )
    people = world.tables["s1_party_base_6A"]
    cohorts = world.tables["cohorts_6A"]
    size = np.bincount(people["cohort_id"], minlength=len(cohorts["cohort_id"]) + 1)[1:]
    if (
        not np.array_equal(size, cohorts["party_count"])
        or int(size.max(initial=0)) > 50
        or np.any(np.diff(people["cohort_id"]) < 0)
    ):
        report.add(
            "HOUSEHOLDS",
            "cohorts_6A",
            f"largest {size.max(initial=0)}",
            "at most 50 consecutive parties, counted right",
        )
    owner = world.tables["s2_account_base_6A"]["owner_party_id"]
    instruments = world.tables["s3_instrument_base_6A"]
    if not np.array_equal(owner[instruments["account_id"] - 1], instruments["owner_party_id"]):
        report.add("HOLDER", "s3_instrument_base_6A.owner_party_id", "differs from the account's owner", "equal")


def nullable(world: World, table: str, column: str) -> bool:
    """Whether a column may be null."""
    return world.contracts.dataset(table).column(column).nullable


def _reference(report: VerifyReport, name: str, column: str, values: I64, rows: int, optional: bool) -> None:
    bad = np.flatnonzero((values < (0 if optional else 1)) | (values > rows))
    if len(bad):
        report.add("REFERENCE", f"{name}.{column} row {int(bad[0])}", int(values[bad[0]]), f"1 .. {rows}")


def _groups(world: World, scenario: str) -> Iterator[tuple[str, Columns]]:
    ds = world.contracts.dataset(ARRIVALS)
    for path in world.arrival_paths(scenario):
        for cols in iter_groups(path, ds):
            yield path.relative_to(world.root).as_posix(), cols


def _arrivals(world: World, scenario: str, report: VerifyReport) -> None:
    """Order, sequence, horizon, references and local time of every arrival, a row group at a time."""
    total, last, visits = 0, (0, 0, 0), 0
    for where, cols in _groups(world, scenario):
        n = len(cols["merchant_id"])
        if not n:
            continue
        total += n
        visits = max(visits, int(cols["visit_key"].max()))
        merchant, ts, seq = (
            np.concatenate([[last[i]], cols[k]]) for i, k in enumerate(("merchant_id", "ts_utc", "arrival_seq"))
        )
        if _unsorted([merchant, ts, seq], strict=True) >= 0:
            report.add("ORDER", where, "rows out of order", "merchant_id, ts_utc, arrival_seq")
        same = merchant[1:] == merchant[:-1]
        if np.any(seq[1:] != np.where(same, seq[:-1] + 1, 1)):
            report.add("SEQUENCE", where, "arrival_seq has a gap", "1.. per merchant")
        if np.any(ts[1:] < world.start_us) or np.any(ts[1:] >= world.end_us):
            report.add("HORIZON", where, (int(ts[1:].min()), int(ts[1:].max())), (world.start_us, world.end_us))
        for name, column, target in REFERENCES:
            if name == ARRIVALS:
                _reference(
                    report, where, column, cols[column], world.manifest["rows"][target], nullable(world, name, column)
                )
        zone, shift = cols["zone_representation"].astype(np.int64), cols["ts_local_primary"] - cols["ts_utc"]
        for z in np.unique(zone):
            a, b = int(world.zone_ptr[z]), int(world.zone_ptr[z + 1])
            mine = zone == z
            row = a + np.maximum(np.searchsorted(world.zone_from[a:b], cols["ts_utc"][mine], side="right") - 1, 0)
            if np.any(world.zone_offset[row] != shift[mine]):
                report.add("LOCAL_TIME", where, "an offset that is not the zone's", "zone_offsets_2A")
        last = (int(merchant[-1]), int(ts[-1]), int(seq[-1]))
    report.rows += total
    if total != world.n_arrivals(scenario):
        report.add("ROW_COUNT", f"{ARRIVALS} {scenario}", total, world.n_arrivals(scenario))
    if visits > total:
        report.add("VISIT_KEY", f"{ARRIVALS} {scenario}", visits, f"at most {total}")
