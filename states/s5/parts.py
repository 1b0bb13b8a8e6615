"""Published parts, a row group at a time: schema, axes, nulls and digests are checked while columns are decoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fraudloom.contracts_api import Contracts, Dataset
from fraudloom.errors import DataError
from fraudloom.states.s5.findings import Findings
from fraudloom.tables import Columns, ContentHasher, read_group

Journal = Mapping[tuple[Any, ...], Mapping[str, Any]]

#: Keys of the footer that every part carries, with the axis that each must repeat.
FOOTER_AXES = ("seed", "parameter_hash", "manifest_fingerprint", "scenario_id")


def published(contracts: Contracts, profile: str) -> list[Dataset]:
    """6B datasets of S1 to S4 with at least one column under the profile, in dictionary order."""
    owners = ("6B.S1", "6B.S2", "6B.S3", "6B.S4")
    return [d for d in contracts.datasets.values() if d.owner in owners and d.columns_for(profile)]


def journal_entry(journal: Journal, dataset: str, scenario: str, part: int) -> Mapping[str, Any] | None:
    """The journal's row of a part: keyed (dataset, scenario, part), or (dataset, part) when there is one scenario."""
    found = journal.get((dataset, scenario, part))
    return found if found is not None else journal.get((dataset, part))


@dataclass
class PartFile:
    """One open part: its dataset, file and running content digest."""

    ds: Dataset
    path: Path
    file: pq.ParquetFile
    hasher: ContentHasher
    rows: int = 0


class ShardUnreadableError(Exception):
    """A row group cannot be decoded; the reason is already a finding."""


class PartReader:
    """The files of part `k` of all datasets of a scenario, read group by group."""

    def __init__(
        self,
        root: Path,
        datasets: Iterable[Dataset],
        profile: str,
        tokens: Mapping[str, object],
        axes: Mapping[str, str],
        findings: Findings,
    ) -> None:
        self.findings = findings
        self.profile = profile
        self.files: dict[str, PartFile] = {}
        for ds in datasets:
            path = root / ds.path_for(**tokens)
            try:
                handle = pq.ParquetFile(path)
            except (OSError, pa.ArrowException) as e:
                findings.one("REQ_SCHEMA", "part opens", False, f"{ds.id}: {str(e).splitlines()[0]}", str(path))
                continue
            findings.one("REQ_SCHEMA", "part opens", True)
            self._schema(ds, handle, axes, path)
            self.files[ds.id] = PartFile(ds, path, handle, ContentHasher(ds, profile))

    def _schema(self, ds: Dataset, handle: pq.ParquetFile, axes: Mapping[str, str], path: Path) -> None:
        have, want = handle.schema_arrow, ds.arrow_schema(self.profile)
        self.findings.one(
            "REQ_SCHEMA",
            "schema equals contract",
            have.equals(want, check_metadata=False),
            f"{ds.id}: the part's schema is not the contract's",
            _difference(have, want),
        )
        footer = {k.decode(): v.decode() for k, v in (have.metadata or {}).items() if k != b"ARROW:schema"}
        for name, value in axes.items():
            found = footer.get(name, footer.get(f"fraudloom.{name}"))
            self.findings.one(
                "REQ_SCHEMA",
                f"footer {name}",
                found == value,
                f"{ds.id}: footer {name} is {found}, expected {value}",
                path.name,
            )

    def groups(self) -> int:
        """Row groups of the part (the largest count over its files; differences are findings)."""
        counts = {i: f.file.metadata.num_row_groups for i, f in self.files.items()}
        most = max(counts.values(), default=0)
        for i, n in counts.items():
            self.findings.one("REQ_SCHEMA", "one row group per shard", n == most, f"{i}: {n} row groups of {most}")
        return most

    def has(self, dataset: str) -> bool:
        """Whether a dataset's part is open."""
        return dataset in self.files

    def read(self, dataset: str, group: int) -> Columns:
        """All columns of one row group, digested; ShardUnreadableError after noting why it cannot be read."""
        part = self.files.get(dataset)
        if part is None or group >= part.file.metadata.num_row_groups:
            raise ShardUnreadableError(dataset)
        try:
            cols = read_group(part.file, part.ds, group)
            part.hasher.update(cols)
        except (OSError, pa.ArrowException, DataError, KeyError, ValueError) as e:
            what = getattr(e, "what", None) or str(e).splitlines()[0]
            self.findings.one("REQ_SCHEMA", "rows decode", False, f"{dataset}: {what}", f"row group {group}")
            raise ShardUnreadableError(dataset) from None
        part.rows += part.file.metadata.row_group(group).num_rows
        self.findings.one("REQ_SCHEMA", "rows decode", True)
        return cols

    def close(self, journal: Journal, scenario: str, part: int) -> None:
        """Close the files and compare digests, rows and sizes with the journal."""
        for name, f in self.files.items():
            f.file.close()
            entry = journal_entry(journal, name, scenario, part)
            if not self.findings.one(
                "REQ_CONTENT_DIGESTS", "part is journalled", entry is not None, f"{name}: not in the journal"
            ):
                continue
            assert entry is not None
            found = {"rows": f.rows, "bytes": f.path.stat().st_size, "content_digest": f.hasher.hexdigest()}
            for key, value in found.items():
                self.findings.one(
                    "REQ_CONTENT_DIGESTS",
                    f"{key} as journalled",
                    entry[key] == value,
                    f"{name} part {part}: {key} {value}, journalled {entry[key]}",
                )


def _difference(have: pa.Schema, want: pa.Schema) -> str:
    names = sorted(set(have.names) ^ set(want.names))
    if names:
        return f"columns {', '.join(names)}"
    wrong = [f"{a.name} {a.type} null={a.nullable}" for a, b in zip(have, want, strict=True) if not a.equals(b)]
    return ", ".join(wrong) or "order of columns"
