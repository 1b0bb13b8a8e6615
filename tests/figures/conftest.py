"""Runs that the tests of figures share."""

from __future__ import annotations

from pathlib import Path

import pytest

from figures.bench import Figured, make_figured
from fraudloom.states.figures import Outcome


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Figured:
    """A sealed run of three parts, never changed."""
    return make_figured(tmp_path_factory.mktemp("figures"))


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Figured:
    """The same of the pack that publishes the predecessor's columns."""
    return make_figured(tmp_path_factory.mktemp("figures_core"), "two-event")


@pytest.fixture(scope="session")
def sound(whole: Figured) -> dict[str, Outcome]:
    """Figures of the run as it is."""
    return whole.outcomes()


@pytest.fixture
def broken(whole: Figured, tmp_path: Path) -> Figured:
    """A copy of the run to break."""
    copied = whole.copy(tmp_path)
    return Figured(copied.bench, copied.pack)
