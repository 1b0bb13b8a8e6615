"""Reading a sealed run: Arrow datasets by name, partition keys typed; DuckDB relations with the extra `query`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from fraudloom.contracts_api import Contracts, Dataset, load_contracts
from fraudloom.errors import EnvironmentFault, SealError, UsageError
from fraudloom.receipts import RECEIPT, SEAL

_AXIS_TYPES = {"seed": pa.int64()}


class SealedRun(Mapping[str, pads.Dataset]):
    """A finished run. `run[name]` is a `pyarrow.dataset.Dataset` over all parts of a dataset.

    Axes (seed, parameter_hash, manifest_fingerprint, scenario_id) come from the folders: seed as int64, the others as
    strings. Nothing is read before it is asked for.
    """

    def __init__(self, root: Path, contracts: Contracts) -> None:
        self.root, self.contracts = root, contracts
        self.receipt: Mapping[str, Any] = json.loads((root / RECEIPT).read_text("utf-8"))
        self.seal: Mapping[str, Any] = json.loads((root / SEAL).read_text("utf-8"))

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {name: [] for name in self.seal["datasets"]}
        for entry in self.seal["files"]:
            parts = Path(entry["path"]).parts
            if len(parts) > 3 and parts[3] in found:
                path = self.root / entry["path"]
                if not path.is_file():
                    raise SealError(
                        "RUN",
                        "FILE_MISSING",
                        what="a sealed file is missing",
                        where=path,
                        action="restore the file, or weave the run again with --fresh",
                    )
                found[parts[3]].append(path)
        return found

    def _partitioning(self, ds: Dataset) -> pads.Partitioning:
        schema = pa.schema([(name, _AXIS_TYPES.get(name, pa.string())) for name in ds.partitions])
        return pads.partitioning(schema, flavor="hive")

    def __getitem__(self, name: str) -> pads.Dataset:
        if name not in self._files:
            raise KeyError(name)
        ds = self.contracts.dataset(name)
        schema = ds.arrow_schema(str(self.receipt.get("profile", "full")))
        for axis in ds.partitions:
            schema = schema.append(pa.field(axis, _AXIS_TYPES.get(axis, pa.string())))
        base = self.root / ds.path.split("/seed=")[0]
        return pads.dataset(
            [str(p) for p in self._files[name]],
            format="parquet",
            schema=schema,
            partitioning=self._partitioning(ds),
            partition_base_dir=str(base),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def __repr__(self) -> str:
        rows = sum(int(d["rows"]) for d in self.seal["datasets"].values())
        return f"<SealedRun {self.receipt['run_id']}: {len(self)} datasets, {rows:,} rows>"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets."""
        return tuple(self)

    def paths(self, name: str) -> list[Path]:
        """Files of one dataset, in part order."""
        return list(self._files[name])

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """All rows of a dataset (or some columns of them) in memory."""
        return self[name].to_table(columns=columns)

    def duckdb(self, connection: Any = None) -> Any:
        """A DuckDB connection with a view per dataset. Needs the extra `query`."""
        try:
            import duckdb
        except ImportError:
            raise EnvironmentFault(
                "API", "EXTRA_MISSING", what="DuckDB is not installed", action="pip install 'fraudloom[query]'"
            ) from None
        con = connection if connection is not None else duckdb.connect()
        for name in self:
            files = ", ".join("'" + str(p).replace("'", "''") + "'" for p in self._files[name])
            axes = self.contracts.dataset(name).partitions
            types = ", ".join(f"{axis}: {'BIGINT' if axis == 'seed' else 'VARCHAR'}" for axis in axes)
            con.execute(
                f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM read_parquet([{files}], '
                f"hive_partitioning = true, hive_types = {{{types}}})"
            )
        return con


def open_run(run: str | PathLike[str], contracts: Contracts | None = None) -> SealedRun:
    """Open a run folder; UsageError when it is none, SealError when the run is not sealed."""
    root = Path(run)
    if not (root / RECEIPT).is_file():
        raise UsageError(
            "API",
            "NOT_A_RUN",
            what="the folder holds no run",
            found=f"no {RECEIPT}",
            where=root,
            action="name the folder of a run; `fraudloom runs list` shows them",
        )
    if not (root / SEAL).is_file():
        raise SealError(
            "API",
            "NOT_SEALED",
            what="the run is not sealed: no PASS, no read",
            where=root,
            action="finish it with `fraudloom run`, and see `fraudloom runs show`",
        )
    return SealedRun(root, contracts or load_contracts())
