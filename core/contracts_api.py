"""Contracts as data: datasets, columns, vocabularies and control artefacts, read from `contracts/`.

The dictionary is the only place that lists columns. Everything else (Arrow schemas, nullability, keys, order of
rows, encodings, paths) is asked of the classes here.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from fraudloom.errors import ContractError

PROFILES = ("core", "full")
VISIBILITIES = (
    "AXIS",
    "KEY",
    "OBSERVED_AT_REQUEST",
    "OBSERVED_LATER",
    "BANK_KNOWLEDGE",
    "TRUTH",
    "PROVENANCE",
)
ENCODINGS = ("plain", "delta", "dict", "raw")
DICTIONARY_FILES = ("enums.yaml", "upstream.yaml", "6B.yaml", "control.yaml")

_MEMORY: dict[str, np.dtype[Any]] = {
    "id": np.dtype(np.int64),
    "i64": np.dtype(np.int64),
    "money": np.dtype(np.int64),
    "ts": np.dtype(np.int64),
    "i32": np.dtype(np.int32),
    "day": np.dtype(np.int32),
    "i16": np.dtype(np.int16),
    "i8": np.dtype(np.int8),
    "f64": np.dtype(np.float64),
    "bool": np.dtype(np.bool_),
    "str": np.dtype(object),
    "hex64": np.dtype(object),
}
_ARROW = {
    "id": pa.int64(),
    "i64": pa.int64(),
    "money": pa.int64(),
    "ts": pa.timestamp("us", tz="UTC"),
    "i32": pa.int32(),
    "day": pa.date32(),
    "i16": pa.int16(),
    "i8": pa.int8(),
    "f64": pa.float64(),
    "bool": pa.bool_(),
    "str": pa.string(),
    "hex64": pa.string(),
}


@dataclass(frozen=True)
class Column:
    """One column of a dataset, as the dictionary states it."""

    name: str
    type: str
    nullable: bool
    enum: str | None
    visibility: str
    profile: str
    encoding: str
    doc: str

    @property
    def memory_dtype(self) -> np.dtype[Any]:
        """NumPy dtype in memory (enums are int8 codes, instants int64 microseconds)."""
        if self.enum:
            return np.dtype(np.int8)
        dtype: np.dtype[Any] = _MEMORY[self.type]
        return dtype

    @property
    def null_value(self) -> Any:
        """What stands for null in memory: 0 for integers, -1 for enums, NaN, or the empty string."""
        if self.enum:
            return -1
        if self.type == "f64":
            return float("nan")
        return "" if self.type in ("str", "hex64") else 0

    def arrow_type(self) -> pa.DataType:
        """Arrow type as published."""
        return pa.dictionary(pa.int8(), pa.string()) if self.enum else _ARROW[self.type]


@dataclass(frozen=True)
class Dataset:
    """One dataset: where it is, what a row is, and in which order rows stand."""

    id: str
    owner: str
    path: str
    partitions: tuple[str, ...]
    key: tuple[str, ...]
    sort: tuple[str, ...]
    columns: tuple[Column, ...]
    dense: bool = False
    final: bool = False
    part: str = "shards"
    aligned_with: str | None = None
    description: str = ""
    enums: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    def columns_for(self, profile: str) -> tuple[Column, ...]:
        """Columns published under a profile, in dictionary order; `core` is a subset of `full`."""
        return self.columns if profile == "full" else tuple(c for c in self.columns if c.profile == "core")

    def column(self, name: str) -> Column:
        """The column called `name`; ContractError if there is none."""
        for c in self.columns:
            if c.name == name:
                return c
        raise ContractError(
            "CONTRACT",
            "COLUMN_UNKNOWN",
            what=f"{self.id} has no column {name}",
            where=self.id,
            action="restore the contracts; see `fraudloom contracts check`",
        )

    def arrow_schema(self, profile: str = "full") -> pa.Schema:
        """Arrow schema as published under a profile, nullability included."""
        return pa.schema([pa.field(c.name, c.arrow_type(), nullable=c.nullable) for c in self.columns_for(profile)])

    def path_for(self, **tokens: object) -> str:
        """Path relative to the run (or world) root; `part` is an int and written with five digits."""
        values = {k: f"{v:05d}" if k == "part" and isinstance(v, int) else str(v) for k, v in tokens.items()}
        try:
            return self.path.format(**values)
        except KeyError as e:
            raise ContractError(
                "CONTRACT",
                "PATH_TOKEN_MISSING",
                what=f"the path of {self.id} needs {e}",
                where=self.path,
                action="restore the contracts; see `fraudloom contracts check`",
            ) from None


@dataclass(frozen=True)
class Contracts:
    """All contracts of one root, with their digest."""

    root: Path
    datasets: Mapping[str, Dataset]
    artefacts: Mapping[str, Mapping[str, Any]]
    enums: Mapping[str, tuple[str, ...]]
    digest: str

    def dataset(self, dataset_id: str) -> Dataset:
        """The dataset called `dataset_id`; ContractError if there is none."""
        if dataset_id not in self.datasets:
            near = difflib.get_close_matches(dataset_id, self.datasets, n=3)
            raise ContractError(
                "CONTRACT",
                "DATASET_UNKNOWN",
                what=f"no dataset is called {dataset_id}",
                found=dataset_id,
                expected=" or ".join(near) if near else ", ".join(self.datasets),
                where=self.root,
                action="see `fraudloom contracts show` for all names",
            )
        return self.datasets[dataset_id]

    def enum(self, name: str) -> tuple[str, ...]:
        """Labels of a vocabulary in code order."""
        return self.enums[name]

    def code(self, name: str, label: str) -> int:
        """Code of a label; ContractError if the vocabulary lacks it."""
        try:
            return self.enums[name].index(label)
        except ValueError:
            raise ContractError(
                "CONTRACT",
                "ENUM_LABEL_UNKNOWN",
                what=f"{name} has no label {label}",
                found=label,
                expected=", ".join(self.enums[name]),
                action="restore the contracts; see `fraudloom contracts check`",
            ) from None

    def artefact_path(self, artefact_id: str, **tokens: object) -> str:
        """Path of a control artefact relative to the run root."""
        return str(self.artefacts[artefact_id]["path"]).format(**{k: str(v) for k, v in tokens.items()})


def _column(dataset_id: str, row: list[Any], enums: Mapping[str, tuple[str, ...]]) -> Column:
    if not isinstance(row, list) or len(row) != 6:
        raise ContractError(
            "CONTRACT",
            "COLUMN_MALFORMED",
            what="a column needs six fields",
            found=row,
            where=dataset_id,
            action="restore the contracts; see `fraudloom contracts check`",
        )
    name, kind, visibility, profile, encoding, doc = (str(x) for x in row)
    nullable = kind.endswith("?")
    kind = kind.rstrip("?")
    enum = kind[5:] if kind.startswith("enum:") else None
    known = (enum in enums) if enum else (kind in _MEMORY)
    for ok, what, found, expected in (
        (known, "type", kind, sorted(_MEMORY)),
        (visibility in VISIBILITIES, "visibility", visibility, VISIBILITIES),
        (profile in PROFILES, "profile", profile, PROFILES),
        (encoding in ENCODINGS, "encoding", encoding, ENCODINGS),
    ):
        if not ok:
            raise ContractError(
                "CONTRACT",
                "COLUMN_MALFORMED",
                what=f"column {name} has an unknown {what}",
                found=found,
                expected=", ".join(expected),
                where=dataset_id,
                action="restore the contracts; see `fraudloom contracts check`",
            )
    return Column(name, "enum" if enum else kind, nullable, enum, visibility, profile, encoding, doc)


def _dataset(dataset_id: str, raw: Mapping[str, Any], enums: Mapping[str, tuple[str, ...]]) -> Dataset:
    columns = tuple(_column(dataset_id, row, enums) for row in raw["columns"])
    names = [c.name for c in columns]
    missing = [n for n in (*raw["key"], *raw.get("sort", ())) if n not in names]
    if missing or len(set(names)) != len(names):
        raise ContractError(
            "CONTRACT",
            "DATASET_MALFORMED",
            what="keys and sort columns must exist, names must be unique",
            found=missing or names,
            where=dataset_id,
            action="restore the contracts; see `fraudloom contracts check`",
        )
    return Dataset(
        id=dataset_id,
        owner=str(raw["owner"]),
        path=str(raw["path"]),
        partitions=tuple(raw["partitions"]),
        key=tuple(raw["key"]),
        sort=tuple(raw.get("sort", ())),
        columns=columns,
        dense=bool(raw.get("dense", False)),
        final=bool(raw.get("final", False)),
        part=str(raw.get("part", "shards")),
        aligned_with=raw.get("aligned_with"),
        description=str(raw.get("description", "")),
        enums=enums,
    )


def contract_files(root: Path) -> list[Path]:
    """Every contract file under a root, in path order (laws are documents, not contracts)."""
    found = [p for p in root.rglob("*") if p.suffix in (".yaml", ".yml", ".json") and p.is_file()]
    return sorted(found, key=lambda p: p.relative_to(root).as_posix())


def files_digest(root: Path, files: Iterable[Path]) -> str:
    """SHA-256 over (relative path, size, SHA-256) of the files, one line each, in the order given."""
    h = hashlib.sha256()
    for p in files:
        data = p.read_bytes()
        h.update(f"{p.relative_to(root).as_posix()}\t{len(data)}\t{hashlib.sha256(data).hexdigest()}\n".encode())
    return h.hexdigest()


class YamlLoader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """The quick safe loader where libyaml is there."""


def packaged_root() -> Path:
    """Folder of the contracts that ship with the package."""
    return Path(str(resources.files("fraudloom.contracts")))


def load_contracts(root: Path | None = None) -> Contracts:
    """Read the contracts of `root`, of `FRAUDLOOM_CONTRACTS_ROOT`, or the packaged ones.

    Raises ContractError when a file is missing or malformed.
    """
    if root is None:
        env = os.environ.get("FRAUDLOOM_CONTRACTS_ROOT")
        root = Path(env) if env else packaged_root()
    return _load(root.resolve())


@cache
def _load(root: Path) -> Contracts:
    raw: dict[str, Any] = {}
    for name in DICTIONARY_FILES:
        path = root / "dictionary" / name
        if not path.is_file():
            raise ContractError(
                "CONTRACT",
                "CONTRACT_FILE_MISSING",
                what="a dictionary file is missing",
                where=path,
                action="point --contracts at a complete contracts folder",
            )
        try:
            raw[name] = yaml.load(path.read_text("utf-8"), Loader=YamlLoader)
        except yaml.YAMLError as e:
            raise ContractError(
                "CONTRACT",
                "CONTRACT_FILE_MALFORMED",
                what=str(e),
                where=path,
                action="restore the contracts; see `fraudloom contracts check`",
            ) from None
    enums = {k: tuple(str(x) for x in v) for k, v in raw["enums.yaml"]["enums"].items()}
    datasets: dict[str, Dataset] = {}
    for name in ("upstream.yaml", "6B.yaml"):
        for dataset_id, body in raw[name]["datasets"].items():
            datasets[dataset_id] = _dataset(dataset_id, body, enums)
    return Contracts(
        root=root,
        datasets=datasets,
        artefacts=raw["control.yaml"]["artefacts"],
        enums=enums,
        digest=files_digest(root, contract_files(root)),
    )
