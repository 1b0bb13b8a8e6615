"""One default run that the tests of this folder share."""

from __future__ import annotations

import pytest

from chance.tables import Sample, weave

ARRIVALS, SEED = 100_000, 20_260_101


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A world, woven once."""
    return weave(tmp_path_factory.mktemp("chance"), SEED, ARRIVALS)
