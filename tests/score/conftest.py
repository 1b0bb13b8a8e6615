"""Runs that the scorer's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from score.bench import Scored, make_scored


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """A sealed run of three parts, never changed."""
    return make_scored(tmp_path_factory.mktemp("score"))


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """The same of the pack that publishes the predecessor's columns."""
    return make_scored(tmp_path_factory.mktemp("core"), "two-event")


@pytest.fixture
def scored(whole: Scored, tmp_path: Path) -> Scored:
    """A copy of the run to break."""
    return whole.copy(tmp_path)
