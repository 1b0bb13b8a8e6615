"""A small sealed world, a pack of the validation policy alone, and copies of the world to break."""

import shutil
from pathlib import Path

import pytest

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.policies_api import Pack, load_pack
from fraudloom.states.world import WorldSpec, build_world


@pytest.fixture(scope="session")
def contracts() -> Contracts:
    """The packaged contracts."""
    return load_contracts()


@pytest.fixture(scope="session")
def pack_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of the validation policy alone: the gate does not ask what a policy says."""
    folder = tmp_path_factory.mktemp("pack")
    shipped = Path(__file__).resolve().parents[2] / "policies" / "default" / "segment_validation_policy_6B.yaml"
    shutil.copy(shipped, folder)
    (folder / "pack.yaml").write_text("name: tiny\nprofile: full\ndescription: validation only\n")
    return folder


@pytest.fixture(scope="session")
def pack(contracts: Contracts, pack_folder: Path) -> Pack:
    """That pack, loaded."""
    return load_pack(pack_folder, contracts)


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, contracts: Contracts) -> Path:
    """A sealed world of 300 arrivals, never changed."""
    root = tmp_path_factory.mktemp("world") / "w"
    build_world(WorldSpec(arrivals=300, seed=3, days=7), root, contracts=contracts)
    return root


@pytest.fixture
def world(sealed: Path, tmp_path: Path) -> Path:
    """A copy of the sealed world to break."""
    return Path(shutil.copytree(sealed, tmp_path / "w"))
