"""Settings that all tests share."""

import pytest
from hypothesis import HealthCheck, settings

# Derandomised and without a database: a test run is a function of the checkout. No deadline: the first call of a kernel
# compiles it, and shared machines are slow at times.
settings.register_profile(
    "fraudloom",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fraudloom")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`: the tests that only a long run makes too."""
    parser.addoption("--long", action="store_true", help="also the tests marked long (minutes)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long tests only when asked for."""
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
