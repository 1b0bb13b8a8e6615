"""The wheel holds the rooms and their data and nothing else; pinned versions cover what is declared."""

import importlib.metadata
import importlib.util
import re
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from repo.rules import ROOT

DATA = (".yaml", ".yml", ".json")


def tool(name: str) -> ModuleType:
    """Load a script of tests/tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def project() -> dict[str, object]:
    """The parsed pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as handle:
        return tomllib.load(handle)


def expected_files() -> set[str]:
    """What the tree says the wheel holds: every module of every room, and the YAML and JSON of the data rooms."""
    table = tool("typecheck").rooms()
    found = set()
    for name, folder in table.items():
        base = name.replace(".", "/")
        suffixes = (".py", *DATA) if folder in ("policies", "contracts", "perf") else (".py",)
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in suffixes and "__pycache__" not in path.parts:
                found.add(f"{base}/{path.relative_to(ROOT / folder).as_posix()}")
    return found


@pytest.mark.xdist_group("wheel")
def test_wheel_contents(tmp_path: Path) -> None:
    """The wheel, built once, holds exactly the modules and data of the rooms, the licence and the command; no tests."""
    before = expected_files()
    wheel = tool("build_wheel").build(tmp_path)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
        commands = archive.read(f"{info}/entry_points.txt").decode()
        top = archive.read(f"{info}/top_level.txt").decode().split()
    packaged = {name for name in names if not name.startswith(info)}
    assert not before - packaged, f"missing in the wheel: {sorted(before - packaged)}"
    assert not packaged - expected_files(), f"not of a room: {sorted(packaged - expected_files())}"
    rooms = ("", "kernels/", "states/", "policies/", "contracts/", "perf/")
    assert all(f"fraudloom/{room}__init__.py" in packaged for room in rooms)
    assert not [name for name in names if "test" in name.split("/")[0] or "/tests/" in name or "naive" in name]
    assert any(name.endswith("/LICENSE") for name in names)
    assert "fraudloom = fraudloom.cli:main" in commands
    assert top == ["fraudloom"]


def test_every_source_folder_is_a_package() -> None:
    """A folder of core/, kernels/, states/ or perf/ with modules has an `__init__.py`: the wheel would miss it."""
    for room in ("core", "kernels", "states", "perf"):
        folders = {path.parent for path in (ROOT / room).rglob("*.py")}
        missing = [folder.relative_to(ROOT).as_posix() for folder in folders if not (folder / "__init__.py").exists()]
        assert not missing


def test_data_rooms_hold_only_packaged_data() -> None:
    """A file of policies/ or contracts/ that no package-data pattern covers would be lost in the wheel."""
    for room in ("policies", "contracts"):
        stray = [
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / room).rglob("*")
            if path.is_file() and path.suffix not in (*DATA, ".py", ".pyc", ".md")
        ]
        assert not stray


def normal(name: str) -> str:
    """A distribution's name in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned_lines() -> list[str]:
    """The lines of constraints.txt but its comments."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_constraints_are_names_and_versions_only() -> None:
    """constraints.txt holds comments and `name==version` lines in order, each name once."""
    lines = pinned_lines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))


def test_every_declared_dependency_is_pinned_and_installed_as_pinned() -> None:
    """Each dependency of pyproject.toml has a lower bound and a tested version, and the tests run with that version."""
    table = project()["project"]
    assert isinstance(table, dict)
    declared = [*table["dependencies"], *(item for extra in table["optional-dependencies"].values() for item in extra)]
    pins = dict(line.split("==") for line in pinned_lines())
    for requirement in declared:
        name = normal(re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0])
        assert ">=" in requirement, requirement
        assert name in pins, f"{name} is not in constraints.txt"
        assert importlib.metadata.version(name) == pins[name], name
