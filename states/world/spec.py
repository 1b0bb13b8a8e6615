"""What a world is made from: its specification, its identity, and the draws that follow from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.contracts_api import Contracts
from fraudloom.errors import UsageError
from fraudloom.kernels.sampling import geometric_array, lognormal_array, poisson_array
from fraudloom.kernels.streams import fill_uniforms
from fraudloom.kernels.world_rows import uniforms_at
from fraudloom.policies_api import load_pack
from fraudloom.rng import substream_key

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Doc = Mapping[str, Any]

#: Number of the generator's laws; a change of any output for the same inputs raises it.
GENERATOR_SPEC = 2
DOMAIN = "fraudloom/world"
DAY_US = 86_400_000_000
FAMILIES = ("ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID")
MAX_DAYS = 1825


def canonical_json(value: object) -> bytes:
    """Key-sorted, compact, ASCII JSON with a newline at the end."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class WorldSpec:
    """Inputs of a built world. `policy` is a shipped pack's name or a folder."""

    arrivals: int
    seed: int = 42
    days: int = 90
    start: str = "2026-01-01"
    scenarios: tuple[str, ...] = ("baseline_v1",)
    policy: str | Path = "world"

    def check(self, policy: Doc) -> None:
        """UsageError when a number is out of range or a scenario unknown."""
        limits = (("arrivals", self.arrivals, 0, 1 << 36), ("seed", self.seed, 0, (1 << 63) - 1))
        for name, value, lo, hi in (*limits, ("days", self.days, 1, MAX_DAYS)):
            if not lo <= value <= hi:
                raise UsageError(
                    "WORLD",
                    "SPEC_RANGE",
                    what=f"{name} is out of range",
                    found=value,
                    expected=(lo, hi),
                    action="give a value in this range",
                )
        try:
            date.fromisoformat(self.start)
        except ValueError:
            raise UsageError(
                "WORLD",
                "SPEC_START",
                what="the start is not a date",
                found=self.start,
                expected="YYYY-MM-DD",
                action="give the start as YYYY-MM-DD in the world policy",
            ) from None
        unknown = [s for s in self.scenarios if s not in policy["scenarios"]]
        if unknown or not self.scenarios or len(set(self.scenarios)) != len(self.scenarios):
            raise UsageError(
                "WORLD",
                "SPEC_SCENARIOS",
                what="scenarios must be known and named once",
                found=", ".join(unknown or self.scenarios) or "none",
                expected=", ".join(policy["scenarios"]),
                action="name known scenarios, each once",
            )


@dataclass(frozen=True)
class Draws:
    """Streams of one world and scenario ("" for the entities), a key per (family, decision)."""

    world: str
    seed: int
    scenario: str = ""

    def key(self, family: str, decision: str) -> np.uint64:
        """Key of a stream."""
        return np.uint64(substream_key(DOMAIN, self.world, self.seed, self.scenario, family, decision))

    def uniforms(self, family: str, decision: str, n: int) -> F64:
        """The first n uniforms of a stream."""
        out = np.empty(n, np.float64)
        fill_uniforms(self.key(family, decision), 0, out)
        return out

    def uniforms_at(self, family: str, decision: str, counters: I64) -> F64:
        """Uniforms of a stream at given counters."""
        out = np.empty(len(counters), np.float64)
        uniforms_at(self.key(family, decision), counters, out)
        return out

    def lognormal(self, family: str, decision: str, n: int, law: Doc) -> F64:
        """n truncated lognormals; law: median (1 when absent), sigma, lo, hi."""
        return lognormals(self.uniforms(family, decision, n), law)

    def poisson(self, family: str, decision: str, n: int, mean: float, cap: int) -> I64:
        """n truncated Poisson counts."""
        out = np.empty(n, np.int64)
        poisson_array(self.uniforms(family, decision, n), mean, cap, out)
        return out

    def geometric(self, family: str, decision: str, n: int, p: float, cap: int) -> I64:
        """n truncated geometric counts from 1."""
        out = np.empty(n, np.int64)
        geometric_array(self.uniforms(family, decision, n), p, cap, out)
        return out


def lognormals(u: F64, law: Doc) -> F64:
    """Truncated lognormals of uniforms; law: median (1 when absent), sigma, lo, hi."""
    out = np.empty(len(u), np.float64)
    lognormal_array(u, float(law.get("median", 1.0)), float(law["sigma"]), float(law["lo"]), float(law["hi"]), out)
    return out


def even(u: F64) -> F64:
    """Uniforms moved, in their order, to the middles of n equal steps: who has which is drawn, the distribution is not.

    Ties keep the order of their rows. So a small world has the tails of a large one.
    """
    out = np.empty(len(u), np.float64)
    out[np.argsort(u, kind="stable")] = (np.arange(len(u)) + 0.5) / max(len(u), 1)
    return out


def pick(weights: F64 | list[float], u: F64) -> I64:
    """Smallest index whose cumulative weight exceeds u times the total."""
    cum = np.cumsum(np.asarray(weights, np.float64))
    out: I64 = np.minimum(np.searchsorted(cum, u * cum[-1], side="right"), len(cum) - 1).astype(np.int64)
    return out


def largest_remainder(total: int, weights: F64 | list[float]) -> I64:
    """Split a whole number by weights: floors first, then one each by largest remainder, ties to the lower place."""
    w = np.asarray(weights, np.float64)
    mass = float(np.cumsum(w)[-1]) if len(w) else 0.0
    if mass <= 0.0:
        out = np.zeros(len(w), np.int64)
        if len(w):
            out[0] = total
        return out
    exact = total * (w / mass)
    out = np.floor(exact).astype(np.int64)
    rest = total - int(out.sum())
    order = np.argsort(-(exact - out), kind="stable")
    for i in range(abs(rest)):
        out[order[i % len(w)]] += 1 if rest > 0 else -1
    return out


@dataclass(frozen=True)
class Context:
    """A specification read with its policy and contracts: what every table builder gets."""

    spec: WorldSpec
    policy: Doc
    contracts: Contracts
    mf: str
    wph: str
    draws: Draws
    start_day: int
    policy_digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def start_us(self) -> int:
        """First instant of the horizon."""
        return self.start_day * DAY_US

    @property
    def end_us(self) -> int:
        """First instant after the horizon."""
        return (self.start_day + self.spec.days) * DAY_US

    def code(self, enum: str, label: str) -> int:
        """Code of a vocabulary's label."""
        return self.contracts.code(enum, label)

    def tokens(self, **more: object) -> dict[str, object]:
        """Path tokens of this world."""
        return {"mf": self.mf, "wph": self.wph, "seed": self.spec.seed, **more}


def spec_document(spec: WorldSpec, wph: str) -> dict[str, Any]:
    """The inputs that a built world's fingerprint covers."""
    return {
        "generator_spec": GENERATOR_SPEC,
        "origin": "built",
        "arrivals": spec.arrivals,
        "days": spec.days,
        "start": spec.start,
        "seed": spec.seed,
        "scenarios": list(spec.scenarios),
        "world_policy_sha256": wph,
    }


def read_policy(name_or_dir: str | Path, contracts: Contracts) -> tuple[Doc, str]:
    """The world policy and the SHA-256 of its bytes (the world parameter hash)."""
    pack = load_pack(name_or_dir, contracts)
    return pack.doc("world_policy"), sha256_hex(pack.sources["world_policy"].read_bytes())


def make_context(spec: WorldSpec, contracts: Contracts) -> Context:
    """Read policy, check the specification, derive identity and streams.

    Streams hang on the generator's number, size and horizon, not on the policy: worlds that differ in one policy number
    are paired draw by draw.
    """
    policy, wph = read_policy(spec.policy, contracts)
    spec.check(policy)
    mf = sha256_hex(canonical_json(spec_document(spec, wph)))
    stream_inputs = {
        "generator_spec": GENERATOR_SPEC,
        "arrivals": spec.arrivals,
        "days": spec.days,
        "start": spec.start,
    }
    draws = Draws(sha256_hex(canonical_json(stream_inputs)), spec.seed)
    start_day = (date.fromisoformat(spec.start) - date(1970, 1, 1)).days
    return Context(spec, policy, contracts, mf, wph, draws, start_day)
