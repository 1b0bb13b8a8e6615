"""What a run is: its options, its identity, and the states in order.

Identity never holds a clock, a host, a worker count or a folder: two runs with equal axes have equal content.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fraudloom.contracts_api import Contracts
    from fraudloom.policies_api import Pack

#: Forced up by a golden test whenever published content changes without a change of policy or contract.
SPEC = 10
SPEC_VERSION_6B = "1.0.0"
STATES = ("S0", "S1", "S2", "S3", "S4", "S5")
#: The states that weave rows, shard by shard.
WEAVE = ("S1", "S2", "S3", "S4")
MODES = ("fused", "staged")
#: How deep the gate looks at the world: every byte, or sizes, indexes and flags (and the bytes when first read).
VERIFY = ("full", "metadata")
DEFAULT_ARRIVALS = 1_000_000
DEFAULT_SEED = 42
DEFAULT_DAYS = 90
DEFAULT_SCENARIO = "baseline_v1"
DEFAULT_BATCH_ROWS = 65_536


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text per value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class RunOptions:
    """The options of `fraudloom run`, as given."""

    world: Path | None = None
    arrivals: int = DEFAULT_ARRIVALS
    world_seed: int = DEFAULT_SEED
    days: int = DEFAULT_DAYS
    scenarios: tuple[str, ...] = ()
    seed: int = DEFAULT_SEED
    policies: str = "default"
    run_id: str | None = None
    fresh: bool = False
    runs_root: Path = Path("runs")
    first: str = "S0"
    last: str = "S5"
    mode: str = "fused"
    workers: int = 0
    batch_rows: int = DEFAULT_BATCH_ROWS
    profile: bool = False
    quiet: bool = False
    contracts: Path | None = None
    verify: str = "full"

    def wanted(self) -> tuple[str, ...]:
        """The states from `first` to `last`."""
        return STATES[STATES.index(self.first) : STATES.index(self.last) + 1]


@dataclass(frozen=True)
class Axes:
    """What content depends on. Equal axes, equal content."""

    manifest_fingerprint: str
    parameter_hash: str
    validation_hash: str
    seed: int
    scenarios: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data, as kept in the run receipt."""
        return {
            "manifest_fingerprint": self.manifest_fingerprint,
            "parameter_hash": self.parameter_hash,
            "validation_hash": self.validation_hash,
            "seed": self.seed,
            "scenarios": list(self.scenarios),
        }

    def tokens(self, scenario: str = "", **more: Any) -> dict[str, Any]:
        """Path tokens of the contracts: seed, mf, ph, scenario."""
        return {
            "seed": self.seed,
            "mf": self.manifest_fingerprint,
            "ph": self.parameter_hash,
            "scenario": scenario,
            **more,
        }


@dataclass(frozen=True)
class RunSpec:
    """One run: what it weaves (axes) and where (folders)."""

    axes: Axes
    run_id: str
    run_root: Path
    world_root: Path
    runs_root: Path
    options: RunOptions
    pack_name: str
    profile: str
    contracts_root: Path
    world_seed: int | None = None
    arrivals: int | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def seed(self) -> int:
        """Run seed."""
        return self.axes.seed

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Scenarios in order."""
        return self.axes.scenarios


def parameter_hash(pack: Pack, contracts: Contracts) -> str:
    """SHA-256 over the policy bytes of S1 to S4, the contract digest and SPEC."""
    return digest_of({"policies": pack.digest, "contracts": contracts.digest, "spec": SPEC})


def validation_hash(pack: Pack, contracts: Contracts) -> str:
    """SHA-256 over S5's policy bytes, the contract digest and SPEC."""
    return digest_of({"policies": pack.validation_digest, "contracts": contracts.digest, "spec": SPEC})


def state_datasets(contracts: Contracts, state: str, profile: str) -> tuple[str, ...]:
    """Datasets that a state publishes under a profile, in dictionary order.

    Under `core` a dataset without core columns (widenings of the predecessor's tables) is not published.
    """
    owner = f"6B.{state}"
    return tuple(d.id for d in contracts.datasets.values() if d.owner == owner and d.columns_for(profile))
