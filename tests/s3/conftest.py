"""The world and the weave that the tests of this folder share."""

from pathlib import Path

import pytest
from toy.worlds import small_world

from s3.crafted import Woven, loud_pack, weave


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of 12,000 arrivals in four shards."""
    return small_world(tmp_path_factory.mktemp("s3"), arrivals=12000, shards=4)


@pytest.fixture(scope="session")
def woven(root: Path) -> Woven:
    """The world with loud campaigns."""
    return weave(root, loud_pack())
