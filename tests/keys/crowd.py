"""The crowded world and pack on which keys are moved: every branch that can be made common is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fraudloom.contracts_api import Contracts
from fraudloom.policies_api import Pack, check_document, load_pack, read_yaml
from fraudloom.states.world import WorldSpec, build_world, load_world

from keys.leaves import override

HERE = Path(__file__).parent


def schema_of(contracts: Contracts, doc_id: str) -> Any:
    """JSON schema of a policy."""
    return read_yaml(contracts.root / "schemas" / "policies" / f"{doc_id}.schema.yaml")


def overrides(part: str) -> dict[str, dict[str, Any]]:
    """The overrides of `world` or `pack`, by document."""
    return dict(read_yaml(HERE / "crowded.yaml")[part])


def crowded(pack: Pack, part: str, contracts: Contracts) -> Pack:
    """A pack with its overrides, every document checked again."""
    docs = dict(pack.docs)
    for doc_id, changes in overrides(part).items():
        for path, value in changes.items():
            docs[doc_id] = override(docs[doc_id], path, value)
        check_document(doc_id, docs[doc_id], HERE / "crowded.yaml", contracts)
    return replace(pack, docs=docs)


def build(folder: Path, arrivals: int, contracts: Contracts) -> Any:
    """Build and open a crowded world."""
    policy = folder / "policy"
    policy.mkdir(parents=True)
    doc = crowded(load_pack("world", contracts), "world", contracts).doc("world_policy")
    (policy / "world_policy.yaml").write_text(yaml.safe_dump(doc, sort_keys=False), "utf-8")
    (policy / "pack.yaml").write_text("name: crowded\nprofile: full\ndescription: rare things are common\n", "utf-8")
    build_world(WorldSpec(arrivals, seed=11, policy=policy), folder / "world", contracts=contracts)
    return load_world(folder / "world", contracts)
