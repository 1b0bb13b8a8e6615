"""Run mypy on the package by its import names, and report by repository paths.

The rooms are flat folders (`core/` is `fraudloom`), a layout mypy cannot map. This lays out a throw-away tree of
symbolic links (`fraudloom/` with the children of `core/`, and each room under its import name) and checks
`-p fraudloom` there, so new files need no re-install. Room names are read from `package-dir` in pyproject.toml.

Usage: python tests/tools/typecheck.py [further mypy arguments]
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rooms() -> dict[str, str]:
    """Return import name to folder, outermost names first."""
    with (ROOT / "pyproject.toml").open("rb") as handle:
        table: dict[str, str] = tomllib.load(handle)["tool"]["setuptools"]["package-dir"]
    return dict(sorted(table.items()))


def lay_out(target: Path) -> None:
    """Make the tree of links under `target`: a real folder for the root package, a link for every child and room."""
    for name, folder in rooms().items():
        place = target.joinpath(*name.split("."))
        if "." in name:
            place.symlink_to(ROOT / folder, target_is_directory=True)
            continue
        place.mkdir()
        for child in (ROOT / folder).iterdir():
            if child.name != "__pycache__":
                (place / child.name).symlink_to(child, target_is_directory=child.is_dir())


def to_repository_paths(report: str) -> str:
    """Rewrite `fraudloom/states/x.py:1:` to `states/x.py:1:` and `fraudloom/x.py:1:` to `core/x.py:1:`."""
    for name, folder in reversed(rooms().items()):
        report = re.sub(rf"^{name.replace('.', '/')}/", f"{folder}/", report, flags=re.MULTILINE)
    return report


def main(arguments: list[str]) -> int:
    """Check the package; return mypy's exit status."""
    with tempfile.TemporaryDirectory(prefix="fraudloom-mypy-") as folder:
        lay_out(Path(folder))
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        command += ["--cache-dir", str(ROOT / ".mypy_cache"), "-p", "fraudloom", *arguments]
        environment = {**os.environ, "MYPYPATH": folder}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    sys.stdout.write(to_repository_paths(done.stdout))
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
