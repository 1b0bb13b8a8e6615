"""One small world, woven once by each pack, that the tests of this folder share."""

from pathlib import Path

import pytest

from fraudloom.contracts_api import load_contracts
from fraudloom.policies_api import Pack, check_document, packs_root, read_yaml
from fraudloom.rng import Streams
from fraudloom.states import s1, s2
from fraudloom.states.world import WorldSpec, build_world, load_world
from fraudloom.tables import read_table
from s2.crafted import Woven

CONTRACTS = load_contracts()
S1 = (
    "attachment_policy_6B",
    "behaviour_prior_pack_6B",
    "rng_policy_6B",
    "rng_profile_layer3",
    "sessionisation_policy_6B",
)
S2 = (
    *("flow_shape_policy_6B", "amount_model_6B", "timing_policy_6B", "issuer_policy_6B", "flow_rng_policy_6B"),
    *S1,
)


def pack_of(name: str) -> Pack:
    """The policies of S1 and S2 of a shipped pack."""
    docs, sources = {}, {}
    for policy_id in S2:
        path = packs_root() / name / f"{policy_id}.yaml"
        if not path.is_file():
            path = packs_root() / "default" / f"{policy_id}.yaml"
        docs[policy_id], sources[policy_id] = read_yaml(path), path
        check_document(policy_id, docs[policy_id], path, CONTRACTS)
    return Pack(name, "full" if name == "default" else "core", docs, sources, "", "")


def weave(root: Path, name: str) -> Woven:
    """All arrivals of the world as one shard through S1 and S2."""
    world = load_world(root, CONTRACTS)
    pack = pack_of(name)
    streams = Streams(world.fingerprint, 42, world.scenarios[0])
    first = s1.compile_plan(pack, world, streams, CONTRACTS)
    evidence = first.decisions.new_evidence()
    rows = read_table(world.arrival_paths(world.scenarios[0]), CONTRACTS.dataset("arrival_events_5B"))
    attached = s1.attach(first, world, rows, 0, evidence)
    attached.pop("_shard")
    arrivals, sessions = s1.sessionise(first, world, attached, evidence)
    plan = s2.compile_plan(pack, world, streams, CONTRACTS)
    busy = s2.busy_new(plan)
    s2.busy_add(plan, arrivals, busy)
    evidence = plan.decisions.new_evidence()
    frame = s2.weave(plan, world, arrivals, sessions, busy, evidence)
    return Woven(world, plan, busy, arrivals, sessions, frame, evidence)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of 2,000 arrivals in 90 days."""
    out = tmp_path_factory.mktemp("s2") / "world"
    build_world(WorldSpec(arrivals=2000, seed=42), out, workers=1)
    return out


@pytest.fixture(scope="session")
def woven(root: Path) -> Woven:
    """The world by the default pack."""
    return weave(root, "default")


@pytest.fixture(scope="session")
def woven_auth(root: Path) -> Woven:
    """The world by the pack of two events a flow."""
    return weave(root, "two-event")
