"""A finished run to break: copy it, rewrite one part, validate, and see which checks fail."""

import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.policies_api import Pack, load_pack
from fraudloom.run import run_world
from fraudloom.shards import part_count
from fraudloom.spec import RunOptions
from fraudloom.states import s5
from fraudloom.states.s5.parts import published
from fraudloom.states.world import WorldSpec, build_world, load_world
from fraudloom.tables import Columns, PartWriter, iter_groups

SCENARIO = "baseline_v1"
Journal = dict[tuple[str, str, int], dict[str, Any]]
Change = Callable[[Columns], None]


def small_world(folder: Path, arrivals: int) -> Path:
    """A world of several shards in spite of its size: the policy's threshold is lowered."""
    policy = folder / "policy"
    shutil.copytree(Path(__file__).resolve().parents[2] / "policies" / "world", policy)
    text = (policy / "world_policy.yaml").read_text("utf-8")
    for key, old, new in (("shards_from_arrivals", 100000, 1000), ("shards_min", 8, 3)):
        assert f"{key}: {old}" in text
        text = text.replace(f"{key}: {old}", f"{key}: {new}")
    (policy / "world_policy.yaml").write_text(text, "utf-8")
    root = folder / "world"
    build_world(WorldSpec(arrivals=arrivals, seed=5, days=60, policy=policy), root)
    return root


@dataclass(frozen=True)
class Bench:
    """A run, its world and everything that `validate` takes."""

    root: Path
    world_root: Path
    contracts: Contracts
    pack: Pack
    spec: s5.RunFacts
    journal: Journal

    def tokens(self, part: int) -> dict[str, object]:
        """Path tokens of a part."""
        return {"seed": self.spec.seed, "mf": self.spec.mf, "ph": self.spec.ph, "scenario": SCENARIO, "part": part}

    def path(self, dataset: str, part: int = 0) -> Path:
        """File of a part."""
        return self.root / self.contracts.dataset(dataset).path_for(**self.tokens(part))

    def artefact(self, name: str, **more: str) -> Path:
        """File of a control artefact."""
        tokens = {"seed": str(self.spec.seed), "mf": self.spec.mf, "ph": self.spec.ph, "scenario": SCENARIO, **more}
        return self.root / self.contracts.artefact_path(name, **tokens)

    def copy(self, folder: Path) -> "Bench":
        """A copy of run and world to break."""
        root, world = folder / "run", folder / "world"
        for source, target in ((self.root, root), (self.world_root, world)):
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".work"))
        return replace(self, root=root, world_root=world, journal={k: dict(v) for k, v in self.journal.items()})

    def rows(self, dataset: str, part: int = 0) -> Columns:
        """All rows of a part (its one row group, or several one after the other)."""
        groups = list(iter_groups(self.path(dataset, part), self.contracts.dataset(dataset)))
        return {k: np.concatenate([g[k] for g in groups]) for k in groups[0]}

    def rewrite(self, dataset: str, change: Change, part: int = 0, *, journal: bool = True) -> None:
        """Change the first row group of a part; `journal`: let the journal agree, so that only rows are wrong."""
        path, ds = self.path(dataset, part), self.contracts.dataset(dataset)
        groups = [{k: v.copy() for k, v in g.items()} for g in iter_groups(path, ds)]
        metadata = pq.ParquetFile(path).schema_arrow.metadata or {}
        footer = {k.decode(): v.decode() for k, v in metadata.items() if k != b"ARROW:schema"}
        change(groups[0])
        writer = PartWriter(path, ds, self.spec.profile, footer)
        for group in groups:
            writer.write_group(group)
        done = writer.close()
        if journal:
            facts = {"rows": done.rows, "bytes": done.bytes, "content_digest": done.content_digest}
            self.journal[(dataset, SCENARIO, part)] = facts

    def restyle(self, dataset: str, change: Callable[[pa.Table], pa.Table], part: int = 0) -> None:
        """Rewrite a part as an Arrow table: schema, footer or nulls may change."""
        path = self.path(dataset, part)
        pq.write_table(change(pq.ParquetFile(path).read()), path)

    def validate(self, pack: Pack | None = None, evidence: Any = None) -> s5.S5Result:
        """The verdict on the run as it now is."""
        world = load_world(self.world_root, self.contracts)
        with ThreadPoolExecutor(1) as executor:
            return s5.validate(
                self.root,
                world,
                self.contracts,
                pack or self.pack,
                self.spec,
                executor,
                journal=self.journal,
                evidence=evidence,
            )


def failed(result: s5.S5Result) -> set[str]:
    """Ids of the failed checks."""
    return {str(c["check_id"]) for c in result.failed}


def rules(result: s5.S5Result, check: str) -> set[str]:
    """Rules of a check that the issue table names."""
    table = result.issues.to_pydict()
    return {r for c, r in zip(table["check_id"], table["rule"], strict=True) if c == check}


def journal_of_seal(root: Path, contracts: Contracts, spec: s5.RunFacts) -> Journal:
    """What the parts were when the run was sealed."""
    seal: Mapping[str, Any] = json.loads((root / "SEAL.json").read_text("utf-8"))
    facts = {e["path"]: {**e, "bytes": e["size_bytes"]} for e in seal["files"] if "content_digest" in e}
    tokens = {"seed": spec.seed, "mf": spec.mf, "ph": spec.ph, "scenario": SCENARIO}
    journal: Journal = {}
    for ds in published(contracts, spec.profile):
        for part in range(spec.parts if ds.part == "shards" else 1):
            journal[(ds.id, SCENARIO, part)] = facts[ds.path_for(**tokens, part=part)]
    return journal


def make_bench(folder: Path, policies: str, arrivals: int = 2500) -> Bench:
    """Build a world, weave and seal a run of it."""
    contracts = load_contracts()
    world_root = small_world(folder, arrivals)
    done = run_world(
        RunOptions(world=world_root, runs_root=folder / "runs", run_id="r", policies=policies, workers=1, quiet=True)
    )
    root = Path(str(done.values["run_root"]))
    receipt = json.loads((root / "run_receipt.json").read_text("utf-8"))
    shards = int(load_world(world_root, contracts).shards)
    pack = load_pack(policies, contracts)
    spec = s5.RunFacts(
        receipt["seed"],
        (SCENARIO,),
        receipt["manifest_fingerprint"],
        receipt["parameter_hash"],
        pack.profile,
        part_count(shards),
        shards,
    )
    return Bench(root, world_root, contracts, pack, spec, journal_of_seal(root, contracts, spec))


def add(column: str, amount: int, row: int = 0) -> Callable[[Columns], None]:
    """Add to one value."""

    def change(cols: Columns) -> None:
        cols[column][row] += amount

    return change


def where(
    column: str, wanted: Callable[[Columns], np.ndarray], value: Callable[[Columns, int], object]
) -> Callable[[Columns], None]:
    """Set a column in the first row that a condition picks."""

    def change(cols: Columns) -> None:
        rows = np.flatnonzero(wanted(cols))
        assert len(rows), f"no row to break in {column}"
        cols[column][rows[0]] = value(cols, int(rows[0]))

    return change


def applies(bench: Bench, dataset: str, change: Callable[[Columns], None], part: int) -> bool:
    """Whether a change can be made to this part (it has the row that the change looks for)."""
    try:
        change(bench.rows(dataset, part))
    except (AssertionError, IndexError):
        return False
    return True
