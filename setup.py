"""The package list: every folder with an `__init__.py` under a room of `package-dir` in pyproject.toml.

setuptools can discover packages only in trees whose folders are named as imported; the rooms are not (`core/` is
`fraudloom`). All other metadata is in pyproject.toml.
"""

import tomllib
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def packages() -> list[str]:
    """Return the import names of all packages of all rooms, sorted."""
    with (ROOT / "pyproject.toml").open("rb") as handle:
        rooms: dict[str, str] = tomllib.load(handle)["tool"]["setuptools"]["package-dir"]
    found = set(rooms)
    for name, folder in rooms.items():
        found.update(f"{name}.{child}" for child in find_packages(str(ROOT / folder)))
    return sorted(found)


setup(packages=packages())
