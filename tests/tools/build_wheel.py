"""Build the wheel from a clean copy of what belongs in it.

A build in the checkout would leave `build/lib` behind, whose stale files then enter the next wheel, and two builds at
once would collide. Usage: python tests/tools/build_wheel.py OUTDIR
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def build(out: Path) -> Path:
    """Build the wheel into the folder `out` with the running interpreter's setuptools; return the wheel's path."""
    with (ROOT / "pyproject.toml").open("rb") as handle:
        folders = tomllib.load(handle)["tool"]["setuptools"]["package-dir"].values()
    with tempfile.TemporaryDirectory(prefix="fraudloom-wheel-") as scratch:
        source, made = Path(scratch, "source"), Path(scratch, "made")
        source.mkdir()
        for folder in folders:
            shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        for name in FILES:
            if (ROOT / name).exists():
                shutil.copy2(ROOT / name, source / name)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(made), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
        if done.returncode:
            raise SystemExit(f"the wheel did not build:\n{done.stdout}{done.stderr}")
        (wheel,) = made.glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy2(wheel, out / wheel.name))


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
