"""Calibrated numbers of a pack: woven on a fixed pilot, compared with the frozen ones, written in their place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fraudloom.contracts_api import Contracts
from fraudloom.errors import PolicyError
from fraudloom.policies_api import Pack, check_document
from fraudloom.publish import write_atomic
from fraudloom.rng import Streams

POLICY, TARGETS = "issuer_policy_6B", "issuer_calibration_6B"


@dataclass(frozen=True)
class Number:
    """One calibrated number: its path in issuer_policy_6B, frozen and solved; the share wanted, and the shares that
    the frozen and the solved numbers give over so many flows of the pilot."""

    path: str
    frozen: float | int
    solved: float | int
    target: float
    before: float
    achieved: float
    flows: int
    within: bool


@dataclass(frozen=True)
class Calibration:
    """What the pilot says of a pack."""

    pack: str
    pilot: Mapping[str, int]
    steady: bool
    numbers: tuple[Number, ...]

    @property
    def holds(self) -> bool:
        """Whether every frozen number lies within its tolerance of the solved one."""
        return all(n.within for n in self.numbers)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        rows = [{**vars(n)} for n in self.numbers]
        return {"pack": self.pack, "pilot": dict(self.pilot), "steady": self.steady, "holds": self.holds} | {
            "numbers": rows
        }


def at(doc: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path."""
    value: Any = doc
    for key in path.split("."):
        value = value[key]
    return value


def replaced(text: str, numbers: Mapping[str, float | int]) -> str:
    """A YAML text with scalars at dotted paths replaced; every other character stays."""
    places = []
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for path, value in numbers.items():
        node = root
        for key in path.split("."):
            node = next((v for k, v in node.value if k.value == key), None) if node is not None else None
        if not isinstance(node, yaml.ScalarNode):
            raise PolicyError(
                "CALIBRATE",
                "CALIBRATION_KEY_MISSING",
                what="no number at this key",
                found=path,
                action="name keys of issuer_policy_6B in issuer_calibration_6B",
            )
        places.append((node.start_mark.index, node.end_mark.index, repr(value)))
    for start, end, shown in sorted(places, reverse=True):
        text = text[:start] + shown + text[end:]
    return text


def weave_pilot(pack: Pack, contracts: Contracts, folder: Path) -> Any:
    """Build the pilot's world below `folder` and weave it up to the issuer: a `states.s2.calibrate.Pilot`."""
    from fraudloom.states import s1, s2
    from fraudloom.states.s2.calibrate import pilot
    from fraudloom.states.world import WorldSpec, build_world, load_world
    from fraudloom.tables import read_table

    spec = pack.doc(TARGETS)["pilot"]
    root = folder / "pilot"
    build_world(WorldSpec(spec["arrivals"], seed=spec["world_seed"], days=spec["days"]), root, contracts=contracts)
    world = load_world(root, contracts)
    scenario = world.scenarios[0]
    streams = Streams(world.fingerprint, spec["seed"], scenario)
    first = s1.compile_plan(pack, world, streams, contracts)
    evidence = first.decisions.new_evidence()
    rows = read_table(world.arrival_paths(scenario), contracts.dataset("arrival_events_5B"))
    attached = s1.attach(first, world, rows, 0, evidence)
    attached.pop("_shard")
    arrivals, sessions = s1.sessionise(first, world, attached, evidence)
    return pilot(s2.compile_plan(pack, world, streams, contracts), world, arrivals, sessions)


def calibrate(pack: Pack, contracts: Contracts, folder: Path) -> Calibration:
    """Weave the pilot of the pack, its world below `folder`, and solve. PolicyError when it is too small."""
    from fraudloom.states.s2.calibrate import solve

    targets, issuer = pack.doc(TARGETS), pack.doc(POLICY)
    solved = solve(weave_pilot(pack, contracts, folder), targets)
    return Calibration(pack.name, dict(targets["pilot"]), solved.steady, tuple(compared(issuer, targets, solved)))


def near_enough(path: str, frozen: float, solved: float, limits: Mapping[str, float]) -> bool:
    """Whether a frozen number may stay: thresholds by points, chances of 51 by their share."""
    allowed = limits["score"] if path.startswith("thresholds.") else limits["funds"] * solved
    return bool(abs(frozen - solved) <= allowed)


def compared(issuer: Mapping[str, Any], targets: Mapping[str, Any], solved: Any) -> list[Number]:
    """Frozen numbers beside those that were solved (`states.s2.calibrate.Solved`)."""
    out = []
    for path, value in solved.numbers().items():
        frozen, score = at(issuer, path), path.startswith("thresholds.")
        target = at(targets, path) if score else targets["funds"][path.split(".")[1]]
        within = near_enough(path, frozen, value, targets["tolerance"])
        out.append(
            Number(
                path,
                frozen,
                value,
                target,
                solved.before[path],
                solved.achieved[path],
                solved.flows[path],
                within,
            )
        )
    return out


def write(pack: Pack, found: Calibration, contracts: Contracts, out: Path) -> None:
    """Write the pack's issuer policy with the solved numbers, whole or not at all; comments and layout stay."""
    text = replaced(pack.sources[POLICY].read_text("utf-8"), {n.path: n.solved for n in found.numbers})
    check_document(POLICY, yaml.safe_load(text), out, contracts)
    write_atomic(out, text.encode())
