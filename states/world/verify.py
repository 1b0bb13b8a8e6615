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
from fraudloom.states.s0 import bundles as b
from fraudloom.states.s0.gate import check_index, check_lists, content_of
from fraudloom.states.s0.manifest import MANIFEST, read_manifest
from fraudloom.states.world.spec import I64
from fraudloom.states.world.view import ARRIVALS, World, load_world
from fraudloom.tables import Columns, file_sha256, iter_groups

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

    def error(self, e: FraudloomError) -> None:
        """Record an error as a finding."""
        where = e.where
        if isinstance(where, Path) and where.is_relative_to(self.root):
            where = where.relative_to(self.root).as_posix()
        self.add(e.code, where, e.what if e.found is None else e.found, e.expected)

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
    """Re-hash every file, re-derive every bundle, re-check all rows. Raises only SealError, when there is no world.

    Bytes are checked by the verifier that the gate of a run uses (`s0.bundles`); rows only when the bytes hold.
    """
    report = VerifyReport(root)
    if not (root / MANIFEST).is_file():
        load_world(root, contracts)  # says what is missing
    try:
        manifest = read_manifest(root)
    except FraudloomError as e:
        report.error(e)
        return report
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        _files(root, manifest, contracts, report, pool, progress)
        if report.passed:
            _contents(root, manifest, contracts, report, pool, progress)
    if report.passed:
        world = load_world(root, contracts)
        try:
            _tables(world, report)
            _links(world, report)
            for scenario in world.scenarios:
                _arrivals(world, scenario, report)
        except FraudloomError as e:
            report.error(e)
    return report


def _files(
    root: Path,
    manifest: Mapping[str, Any],
    contracts: Contracts,
    report: VerifyReport,
    pool: ThreadPoolExecutor,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    """Indexes, flags and verdicts; every file by size and digest; nothing missing, nothing beside."""
    mf, sealed = str(manifest["manifest_fingerprint"]), manifest["bundles"]
    bundles: dict[str, b.Bundle] = {}
    gates = []
    for segment in b.SEGMENTS:
        gates += [b.index_path(contracts, segment, mf), b.flag_path(contracts, segment, mf)]
        try:
            bundles[segment] = b.open_bundle(root, mf, segment, contracts, str(sealed.get(segment)))
        except FraudloomError as e:
            report.error(e)
    members = {str(f["path"]): b.Member(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in manifest["files"]}
    for bundle in bundles.values():
        members |= {m.path: m for m in bundle.members}
    listed = [members[name] for name in sorted(members)]
    for error in b.check_members(root, listed, rehash=True, map_=pool.map):
        report.error(error)
    report.files = len(listed)
    if progress:
        progress("files hashed", len(listed), len(listed))
    copy = b.check_policy_copy(root, manifest)
    if copy is not None:
        report.error(copy)
    lists = [b.sealed_list_path(contracts, s, mf) for s in b.SEALED_LISTS]
    for name in b.strangers(root, [], [*gates, *members, *lists, str(manifest["policy_file"]["path"])]):
        report.add("FILE_KNOWN", name, file_sha256(root / name), "no such file")
    if report.passed:
        for check in (check_index, check_lists):
            try:
                check(root, manifest, bundles, contracts)
            except FraudloomError as e:
                report.error(e)


def _contents(
    root: Path,
    manifest: Mapping[str, Any],
    contracts: Contracts,
    report: VerifyReport,
    pool: ThreadPoolExecutor,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    """Rows and content digest of every file."""
    files = manifest["files"]
    tasks = [(contracts, root / str(f["path"]), str(f["dataset"])) for f in files]
    for i, (f, found) in enumerate(zip(files, pool.map(content_of, tasks), strict=True)):
        want = (f["rows"], f["content_digest"])
        if found != want:
            report.add("CONTENT_DIGEST", f["path"], found, want)
        if progress:
            progress("contents", i + 1, len(files))


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


#: (table, key): one row per row of the base table, in its order.
ROLES = (
    ("s5_party_fraud_roles_6A", "party_id", "s1_party_base_6A"),
    ("s5_account_fraud_roles_6A", "account_id", "s2_account_base_6A"),
    ("s5_merchant_fraud_roles_6A", "merchant_id", "merchants_1A"),
    ("s5_device_fraud_roles_6A", "device_id", "s4_device_base_6A"),
    ("s5_ip_fraud_roles_6A", "ip_id", "s4_ip_base_6A"),
    ("merchant_class_profile_5A", "merchant_id", "merchants_1A"),
)


def _links(world: World, report: VerifyReport) -> None:
    """Link tables say what the base tables say."""
    t = world.tables
    for name, key, base in ROLES:
        if name in t and not np.array_equal(t[name][key], t[base][key]):
            report.add("LINKS", name, f"{len(t[name][key])} rows, other keys than {base}", f"{len(t[base][key])} rows")
    links, instruments = t["s3_account_instrument_links_6A"], t["s3_instrument_base_6A"]
    pairs = [np.sort(x["instrument_id"] << 32 | x["account_id"]) for x in (links, instruments)]
    if not np.array_equal(pairs[0], pairs[1]):
        report.add("LINKS", "s3_account_instrument_links_6A", "other pairs", "the pairs of the instruments")
    devices, owners = t["s4_device_base_6A"], t["s4_device_links_6A"]
    primary = owners["link_role"] == world.contracts.code("device_link_role", "PRIMARY_OWNER")
    held = np.flatnonzero(primary & (owners["party_id"] > 0))
    bad = held[devices["primary_party_id"][owners["device_id"][held] - 1] != owners["party_id"][held]]
    if len(bad):
        row = int(bad[0])
        owner = int(devices["primary_party_id"][owners["device_id"][row] - 1])
        report.add("LINKS", f"s4_device_links_6A.party_id row {row}", int(owners["party_id"][row]), owner)
    _wallets(world, report)
    terminals = t["terminals_2B"]
    at = devices["primary_merchant_id"][terminals["device_id"] - 1]
    bad = np.flatnonzero(at != terminals["merchant_id"])
    if len(bad):
        row = int(bad[0])
        report.add("LINKS", f"terminals_2B.device_id row {row}", int(at[row]), int(terminals["merchant_id"][row]))


def _wallets(world: World, report: VerifyReport) -> None:
    """Tokens live in phones: every holder of a wallet token has a phone, linked as its user, that names one of them."""
    t, code = world.tables, world.contracts.code
    instruments, links = t["s3_instrument_base_6A"], t["s4_device_links_6A"]
    holder = np.concatenate([np.zeros(1, np.int64), instruments["owner_party_id"]])
    token = np.concatenate([[False], instruments["instrument_kind"] == code("instrument_kind", "WALLET_TOKEN")])
    phone = t["s4_device_base_6A"]["device_type"] == code("device_type", "MOBILE_PHONE")
    named = links["instrument_id"]
    binds = (named > 0) & token[named] & (holder[named] == links["party_id"]) & phone[links["device_id"] - 1]
    bound = np.zeros(len(t["s1_party_base_6A"]["party_id"]) + 1, np.bool_)
    bound[links["party_id"][binds]] = True
    bad = np.flatnonzero(token & ~bound[holder])
    if len(bad):
        where = f"s3_instrument_base_6A row {int(bad[0]) - 1}"
        who = f"wallet token {int(bad[0])} of party {int(holder[bad[0]])}"
        found = f"{who}, bound to no phone ({len(bad):,} such tokens)"
        report.add("WALLET_PHONE", where, found, "a phone of the holder whose link names a token of the holder")


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
