"""The checkout keeps the rules of `rules.py`, and each rule finds a source that breaks it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repo import rules
from repo.rules import Source, sources

Rule = Callable[[Source], Iterator[str]]

# Files above the limit, with the reason. An entry that is no longer needed fails the test too.
LINE_LIMIT = 500
LONG_FILES: dict[str, str] = {}

APPLIED: list[tuple[Rule, tuple[str, ...]]] = [
    (rules.import_rules, ("core", "kernels", "states", "policies", "contracts", "perf")),
    (rules.sealed_input_rules, ("states",)),
    (rules.twin_rules, ("tests/naive",)),
    (rules.arithmetic_rules, ("kernels", "states")),
    (rules.replay_rules, ("kernels", "states")),
    (rules.jit_rules, ("core", "kernels", "states", "perf")),
    (rules.docstring_rules, ("core", "kernels", "states", "perf")),
    (rules.claim_rules, ("tests",)),
    (rules.data_room_rules, ("policies", "contracts")),
]


@pytest.mark.parametrize(("rule", "folders"), APPLIED, ids=lambda value: getattr(value, "__name__", ""))
def test_checkout_keeps_rule(rule: Rule, folders: tuple[str, ...]) -> None:
    """No file of the rooms that the rule covers breaks it."""
    findings = [finding for source in sources(*folders) for finding in rule(source)]
    assert not findings, "\n" + "\n".join(findings)


BROKEN: list[tuple[Rule, str, str, str]] = [
    (rules.import_rules, "kernels/a.py", "import pyarrow", "kernels import NumPy"),
    (rules.import_rules, "kernels/a.py", "import os", "kernels import NumPy"),
    (rules.import_rules, "kernels/a.py", "from fraudloom.states import s1", "kernels import only each other"),
    (rules.import_rules, "kernels/a.py", "from fraudloom import rng", "kernels import only each other"),
    (rules.import_rules, "states/a.py", "import fraudloom.perf", "states import kernels and core"),
    (rules.import_rules, "states/a.py", "from fraudloom import policies", "states import kernels and core"),
    (rules.import_rules, "states/a.py", "import yaml", "states do not import yaml"),
    (rules.import_rules, "states/s1/a.py", "from . import plan", "relative import"),
    (rules.import_rules, "states/a.py", "from kernels import fmath", "folder, not an import name"),
    (rules.import_rules, "core/a.py", "def f():\n    from fraudloom.kernels import fmath", "only through states"),
    (rules.import_rules, "core/cli.py", "import fraudloom.kernels.fmath", "only through states"),
    (rules.import_rules, "core/a.py", "from fraudloom.states import s1", "inside functions only"),
    (rules.import_rules, "core/a.py", "def f():\n    import fraudloom.perf", "only the command line"),
    (rules.import_rules, "policies/a.py", "import json", "is data"),
    (rules.sealed_input_rules, "states/s1/a.py", "from fraudloom.tables import read_table", "read_table opens files"),
    (rules.sealed_input_rules, "states/s3/a.py", "from pathlib import Path", "pathlib.Path opens files"),
    (rules.sealed_input_rules, "states/s4/a.py", "def f():\n    return open('x')", "open() opens files"),
    (rules.twin_rules, "tests/naive/a.py", "from fraudloom.kernels import fmath", "a twin imports"),
    (rules.twin_rules, "tests/naive/a.py", "def f():\n    import numba", "a twin imports"),
    (rules.arithmetic_rules, "kernels/a.py", "import math\ny = math.exp(1.0)", "math.exp"),
    (rules.arithmetic_rules, "states/a.py", "import numpy as np\ny = np.log1p(x)", "numpy.log1p"),
    (rules.arithmetic_rules, "states/a.py", "from math import sin as s\ny = s(x)", "math.sin"),
    (rules.arithmetic_rules, "states/a.py", "import pyarrow.compute as pc\ny = pc.ln(x)", "pyarrow.compute.ln"),
    (rules.arithmetic_rules, "states/a.py", "from pyarrow import compute\ny = compute.exp(x)", "pyarrow.compute.exp"),
    (rules.arithmetic_rules, "states/a.py", "import numpy as np\ny = np.linalg.norm(x)", "numpy.linalg"),
    (rules.arithmetic_rules, "states/a.py", "import numpy as np\ny = np.random.default_rng()", "numpy.random"),
    (rules.arithmetic_rules, "states/a.py", "y = a @ b", "@ is BLAS"),
    (rules.arithmetic_rules, "kernels/a.py", "y = x**0.5", "** calls"),
    (rules.arithmetic_rules, "kernels/a.py", "y = x**n", "** calls"),
    (rules.arithmetic_rules, "kernels/a.py", "y = 10**n", "** calls"),
    (rules.arithmetic_rules, "kernels/a.py", "x **= 3", "** calls"),
    (rules.arithmetic_rules, "states/a.py", "y = 2.0**n", "** calls"),
    (rules.arithmetic_rules, "states/a.py", "y = pow(a, b)", "pow(a, b)"),
    (rules.replay_rules, "states/a.py", "import time", "time: clocks"),
    (rules.replay_rules, "states/a.py", "from random import random", "random: clocks"),
    (rules.replay_rules, "states/a.py", "from datetime import datetime\ny = datetime.now()", ".now"),
    (rules.replay_rules, "states/a.py", "import datetime as dt\ny = dt.date.today()", ".today"),
    (rules.replay_rules, "states/a.py", "import os\ny = os.urandom(8)", ".urandom"),
    (rules.replay_rules, "states/a.py", "import numpy as np\ny = np.datetime64('now')", "'now' is a wall clock"),
    (rules.replay_rules, "states/a.py", "from zoneinfo import ZoneInfo\ny = ZoneInfo('Europe/Paris')", "ZoneInfo(key)"),
    (rules.jit_rules, "kernels/a.py", "@kernel(fastmath=True)\ndef f(): ...", "fastmath"),
    (rules.jit_rules, "kernels/jit.py", "OPTIONS = {'fastmath': True}", "fastmath"),
    (rules.jit_rules, "kernels/jit.py", "OPTIONS = {'parallel': True}", "parallel=True"),
    (rules.jit_rules, "kernels/a.py", "import numba\nfor i in numba.prange(3): ...", "prange"),
    (rules.jit_rules, "states/a.py", "from numba import njit", "compiled by fraudloom.kernels.jit"),
    (rules.jit_rules, "kernels/a.py", "import numba as nb\n@nb.njit\ndef f(): ...", "fraudloom.kernels.jit"),
    (rules.docstring_rules, "core/a.py", "x = 1", "the module has no docstring"),
    (rules.docstring_rules, "core/a.py", '"""M."""\ndef f(): ...', "public f has no docstring"),
    (
        rules.docstring_rules,
        "core/a.py",
        '"""M."""\nclass A:\n    """A."""\n    def f(self): ...',
        "public A.f has no docstring",
    ),
    (rules.docstring_rules, "core/a.py", '"""M."""\nif x:\n    class A: ...', "public A has no docstring"),
    (rules.claim_rules, "tests/core/test_a.py", "def test_x(): ...", "test_x has no docstring"),
    (rules.claim_rules, "tests/core/test_a.py", "class TestA:\n    def test_x(self): ...", "test_x has no docstring"),
    (rules.data_room_rules, "policies/a.py", '"""M."""', "holds data"),
    (rules.data_room_rules, "policies/__init__.py", '"""M."""\nX = 1', "one docstring"),
]


@pytest.mark.parametrize(("rule", "path", "text", "reason"), BROKEN, ids=[f"{b[1]}: {b[2]!r}" for b in BROKEN])
def test_rule_finds_what_breaks_it(rule: Rule, path: str, text: str, reason: str) -> None:
    """A source written to break a rule yields a finding that names it."""
    findings = list(rule(Source(path, text)))
    assert any(reason in finding for finding in findings), findings


KEPT: list[tuple[Rule, str, str]] = [
    (rules.import_rules, "kernels/a.py", "import numpy as np\nfrom fraudloom.kernels.jit import kernel"),
    (
        rules.import_rules,
        "states/a.py",
        "import fraudloom\nfrom fraudloom import rng\nfrom fraudloom.kernels import fmath\nimport pyarrow",
    ),
    (rules.import_rules, "core/cli.py", "from fraudloom.states import s1\ndef f():\n    import fraudloom.perf.kernels"),
    (rules.import_rules, "core/a.py", "def f():\n    from fraudloom.states import s1"),
    (rules.import_rules, "perf/a.py", "import fraudloom.kernels\nimport pandas"),
    (rules.sealed_input_rules, "states/s2/a.py", "from fraudloom.tables import Columns"),
    (rules.sealed_input_rules, "states/s5/a.py", "from fraudloom.tables import read_table"),
    (rules.twin_rules, "tests/naive/a.py", "import hashlib\nfrom fractions import Fraction\nimport mpmath"),
    (
        rules.arithmetic_rules,
        "kernels/a.py",
        "import math\nfrom fraudloom.kernels.fmath import exp, log\ny = exp(math.sqrt(x)) + log(x) + x**2 + 2.0**-53",
    ),
    (rules.arithmetic_rules, "states/a.py", "from fraudloom.kernels import fmath\ny = fmath.exp(x) * 10**scale"),
    (rules.arithmetic_rules, "states/a.py", "y = pow(a, -1, 2**64)"),
    (rules.replay_rules, "states/a.py", "from datetime import datetime, UTC\ny = datetime(2024, 1, 1, tzinfo=UTC)"),
    (
        rules.jit_rules,
        "kernels/jit.py",
        "import numba\nOPTIONS = {'fastmath': False, 'parallel': False}\nf = numba.njit(**OPTIONS)",
    ),
    (
        rules.docstring_rules,
        "core/a.py",
        '"""M."""\ndef _f(): ...\nclass A:\n    """A."""\n    def __init__(self): ...',
    ),
]


@pytest.mark.parametrize(("rule", "path", "text"), KEPT, ids=[f"{k[1]}: {k[2]!r}" for k in KEPT])
def test_rule_lets_good_sources_pass(rule: Rule, path: str, text: str) -> None:
    """A source that keeps a rule yields nothing."""
    assert list(rule(Source(path, text))) == []


def test_modules_are_short() -> None:
    """No module has more than 500 lines, but for the listed ones, each with a reason; no listing is stale."""
    folders = ("core", "kernels", "states", "policies", "contracts", "perf", "tests")
    lengths = {source.path: len(source.text.splitlines()) for source in sources(*folders)}
    long = {path: length for path, length in lengths.items() if length > LINE_LIMIT}
    assert set(long) == set(LONG_FILES), {path: lengths.get(path) for path in set(long) ^ set(LONG_FILES)}
    assert all(LONG_FILES.values())


def tracked() -> list[Path]:
    """Files under version control, or none outside a git checkout."""
    command = ["git", "-C", str(rules.ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return [rules.ROOT / name for name in listed.stdout.split("\0") if name]


def test_tracked_text_names_no_machine_and_no_registry() -> None:
    """No tracked text file names a path of a machine or a package-registry host."""
    findings = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        findings += rules.word_rules(path.relative_to(rules.ROOT).as_posix(), text)
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize("folder", ["work", "home", "root"])
@pytest.mark.parametrize("before", ["", " ", "'", "=", "(", "file://"])
def test_word_rule_finds_machine_paths(folder: str, before: str) -> None:
    """An absolute path of a machine is found after any opening; a relative one and a URL's path are not."""
    assert list(rules.word_rules("a.md", f"{before}/{folder}/x"))
    assert not list(rules.word_rules("a.md", f"runs/{folder}/x and https://example.com/{folder}/x"))


def test_word_rule_finds_registries() -> None:
    """Hosts and index options of package registries are found."""
    words = ["https://" + "pypi" + ".org/simple", "--extra-" + "index" + "-url x", "my." + "ARTI" + "FACTORY.local"]
    for word in words:
        assert list(rules.word_rules("a.txt", word)), word


def test_only_outputs_readme_is_tracked_under_runs() -> None:
    """Outputs are never tracked: `runs/` holds its README and nothing else."""
    inside = [path.name for path in tracked() if path.is_relative_to(rules.ROOT / "runs")]
    assert inside in (["README.md"], [])
