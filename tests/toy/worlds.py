"""A small sealed world with many shards and row groups, for tests of orchestration."""

import re
from pathlib import Path

from fraudloom.contracts_api import load_contracts
from fraudloom.policies_api import packs_root
from fraudloom.states.world import WorldSpec, build_world

PACK = "name: toy\nprofile: {profile}\ndescription: no policies, for toy states\n"


def small_world(
    folder: Path, arrivals: int = 2000, shards: int = 9, scenarios: tuple[str, ...] = ("baseline_v1",)
) -> Path:
    """Build a world of `shards` shards and row groups of 256 arrivals under `folder`; return its root."""
    pack = folder / "small-world"
    pack.mkdir(parents=True)
    source = packs_root() / "world"
    text = (source / "world_policy.yaml").read_text("utf-8")
    for key, value in (("shards_min", shards), ("shards_from_arrivals", 1), ("group_rows", 256), ("part_rows", 700)):
        text, found = re.subn(rf"(?m)^(\s+{key}:) \S+", rf"\1 {value}", text)
        assert found == 1, key
    (pack / "world_policy.yaml").write_text(text, "utf-8")
    (pack / "pack.yaml").write_text((source / "pack.yaml").read_text("utf-8"), "utf-8")
    root = folder / "world"
    build_world(WorldSpec(arrivals=arrivals, scenarios=scenarios, policy=pack), root, contracts=load_contracts())
    return root


def empty_pack(folder: Path, profile: str = "full") -> Path:
    """A policy pack without policies."""
    pack = folder / f"pack-{profile}"
    pack.mkdir()
    (pack / "pack.yaml").write_text(PACK.format(profile=profile), "utf-8")
    return pack
