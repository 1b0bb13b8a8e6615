"""One small run that all twins recompute: a world of 5,000 arrivals, with campaigns so large that all types occur."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from fraudloom.contracts_api import load_contracts
from fraudloom.policies_api import load_pack, packs_root
from fraudloom.run import run_world
from fraudloom.spec import RunOptions
from fraudloom.states.world import WorldSpec, build_world
from twins.published import Published, labels

ARRIVALS, WORLD_SEED, DAYS, SEED = 5000, 14, 90, 42
CATALOGUE = "fraud_campaign_catalogue_config_6B"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder share one run, so one worker takes them all."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("twins"))


def _world(folder: Path) -> Path:
    """Four shards; parts and row groups of arrivals smaller than the world."""
    pack = folder / "small-world"
    pack.mkdir()
    source = packs_root() / "world"
    text = (source / "world_policy.yaml").read_text("utf-8")
    for key, value in (("shards_min", 4), ("shards_from_arrivals", 1), ("group_rows", 256), ("part_rows", 1500)):
        text, found = re.subn(rf"(?m)^(\s+{key}:) \S+", rf"\1 {value}", text)
        assert found == 1, key
    (pack / "world_policy.yaml").write_text(text, "utf-8")
    (pack / "pack.yaml").write_text((source / "pack.yaml").read_text("utf-8"), "utf-8")
    root = folder / "world"
    build_world(WorldSpec(ARRIVALS, seed=WORLD_SEED, days=DAYS, policy=pack), root, contracts=load_contracts())
    return root


def _pack(folder: Path) -> Path:
    """The default pack with shares so large, and lanes so even, that all fourteen types occur."""
    pack = folder / "loud"
    pack.mkdir()
    doc = yaml.safe_load((packs_root() / "default" / f"{CATALOGUE}.yaml").read_text("utf-8"))
    for template in doc["templates"]:
        rare = template["campaign_type"] == "SYNTHETIC_BUST_OUT"
        template["share"] = 0.2 if rare else min(0.2, template["share"] * 4)
        if template["lanes"] != "ALL":
            template["lanes"] = 1.0  # so that every type has some of the few accounts
    bank = yaml.safe_load((packs_root() / "default" / "bank_view_policy_6B.yaml").read_text("utf-8"))
    bank["collateral"] |= {"p_mark": 0.9, "window_s": 600_000}
    for name, changed in ((CATALOGUE, doc), ("bank_view_policy_6B", bank)):
        (pack / f"{name}.yaml").write_text(yaml.safe_dump(changed, sort_keys=False), "utf-8")
    head = "name: loud\nprofile: full\nextends: default\ndescription: large campaigns, for small worlds\n"
    (pack / "pack.yaml").write_text(head, "utf-8")
    return pack


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The run, S0 to S4, and all that it was made of."""
    folder = tmp_path_factory.mktemp("twins")
    world, pack = _world(folder), _pack(folder)
    options = RunOptions(world=world, seed=SEED, policies=str(pack), runs_root=folder / "runs", last="S4", quiet=True)
    done = run_world(options)
    docs = dict(load_pack(pack, load_contracts()).docs)
    return Published(world, Path(done.values["run_root"]), docs, labels(), SEED, "baseline_v1")
