"""The repository's rules as functions from a parsed source file to the places that break them.

Each rule takes a `Source` and yields `path:line: reason`. Tests run them over the checkout, and over sources written to
break them.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "kernels", "states", "policies", "contracts", "perf")


@dataclass(frozen=True)
class Source:
    """One Python file: its path below the root with `/`, and its text."""

    path: str
    text: str

    @property
    def room(self) -> str:
        """The top folder, which decides the rules that hold."""
        return self.path.split("/", 1)[0]

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree."""
        return list(ast.walk(self.tree))

    def at(self, node: ast.AST, reason: str) -> str:
        """A finding at a node."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {reason}"


def sources(*folders: str) -> list[Source]:
    """All Python files below the given folders of the checkout, sorted by path."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


# --- imports ---------------------------------------------------------------------------------------------------------

STDLIB_OF_KERNELS = {"__future__", "collections", "math", "typing"}
# Parsing, terminals and compilation belong to core and kernels; queries belong to consumers.
NOT_IN_STATES = {"click", "duckdb", "jsonschema", "numba", "pandas", "polars", "rich", "typer", "yaml"}


def imports(source: Source) -> Iterator[tuple[ast.AST, str, bool]]:
    """Yield (node, absolute dotted module, whether at import time) of each import; `from a import b` yields `a.b`."""
    lazy = {
        id(inner)
        for outer in source.nodes
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_type_checking(outer)
        for inner in ast.walk(outer)
    }
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, id(node) not in lazy
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node, "." * node.level + f"{node.module or ''}.{alias.name}".lstrip("."), id(node) not in lazy


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_cli(path: str) -> bool:
    return path == "core/cli.py" or path.startswith(("core/cli/", "core/cli_"))


def _package_of(name: str) -> str:
    """The room of an import name of this package: `fraudloom.states.s1` is `states`, `fraudloom.rng` is `core`."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "core"


def import_rules(source: Source) -> Iterator[str]:
    """The table of rooms: who may import whom, by absolute import names only."""
    for node, name, at_import in imports(source):
        top = name.split(".")[0]
        if name.startswith("."):
            yield source.at(node, "relative import: imports are absolute")
        elif top in ROOMS:
            yield source.at(node, f"`{top}` is a folder, not an import name: write fraudloom.{top} (core is fraudloom)")
        elif top == "fraudloom":
            reason = _forbidden_room(source, _package_of(name), at_import)
            if reason:
                yield source.at(node, reason)
        elif source.room == "kernels" and source.path != "kernels/jit.py":
            if top not in {"numpy", "numba", *STDLIB_OF_KERNELS}:
                yield source.at(node, f"kernels import NumPy, numba and each other, not {top}")
        elif source.room == "states" and top in NOT_IN_STATES:
            yield source.at(node, f"states do not import {top}: that belongs to core, kernels or a consumer")
        elif source.room in {"policies", "contracts"}:
            yield source.at(node, f"{source.room} is data, not code")


def _forbidden_room(source: Source, target: str, at_import: bool) -> str:
    """Why this file may not import that room of the package, or the empty string."""
    room = source.room
    if room in {"perf", target}:
        return ""
    if room == "kernels":
        return f"kernels import only each other of the package, not {target}"
    if room == "states":
        return "" if target in {"kernels", "core"} else f"states import kernels and core, not {target}"
    if room != "core":
        return f"{room} is data, not code"
    if target == "kernels":
        return "core reaches kernels only through states"
    if target == "perf" and not _is_cli(source.path):
        return "of core, only the command line imports perf"
    if target in {"states", "perf"} and at_import and not _is_cli(source.path):
        return f"core imports {target} inside functions only (the command line excepted): {target} imports core"
    return ""


#: What opens files. States S1 to S4 have them read by the world that S0 sealed, and written by core.
OPENERS = {"pathlib", "pyarrow", "os", "io", "shutil", "tempfile", "glob"}
READERS = {f"fraudloom.tables.{n}" for n in ("read_table", "iter_groups", "iter_batches", "PartWriter", "file_sha256")}
READERS |= {"fraudloom.policies_api.read_yaml", "fraudloom.policies_api.read_document"}


def sealed_input_rules(source: Source) -> Iterator[str]:
    """S1 to S4 open no file themselves: what they read comes through the inventory."""
    if not source.path.startswith(("states/s1/", "states/s2/", "states/s3/", "states/s4/")):
        return
    for node, name, _ in imports(source):
        if name.split(".")[0] in OPENERS or name in READERS:
            yield source.at(node, f"{name} opens files: inputs come from the sealed world, outputs go through core")
    for node in source.nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield source.at(node, "open() opens files: inputs come from the sealed world, outputs go through core")


def twin_rules(source: Source) -> Iterator[str]:
    """Twins stand alone: nothing of the package, and nothing compiled."""
    for node, name, _ in imports(source):
        top = name.split(".")[0]
        if top in {"fraudloom", "numba", "llvmlite", *ROOMS}:
            yield source.at(node, f"a twin imports {top}: twins import neither the package nor numba")


# --- bits that differ between machines -------------------------------------------------------------------------------

# fmt: off
TRANSCENDENTAL = {
    "exp", "exp2", "expm1", "ln", "log", "log2", "log10", "log1p", "logb", "logaddexp", "logaddexp2", "pow", "power",
    "float_power", "cbrt", "hypot", "dist", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "arcsin",
    "arccos", "arctan", "arctan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "arcsinh", "arccosh", "arctanh",
    "erf", "erfc", "gamma", "lgamma", "sinc", "i0", "kaiser", "geomspace", "logspace",
}
BLAS = {
    "dot", "vdot", "inner", "matmul", "einsum", "tensordot", "linalg", "convolve", "correlate", "fft", "polyfit",
    "corrcoef", "cov",
}
# fmt: on
NUMERIC = {"math", "cmath", "numpy", "pyarrow.compute"}


def _aliases(source: Source) -> dict[str, str]:
    """Local name to dotted origin, for every import of the file."""
    names: dict[str, str] = {}
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                names[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """The dotted origin of a name or attribute chain, or the empty string."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, aliases)
        return f"{base}.{node.attr}" if base else ""
    return ""


def arithmetic_rules(source: Source) -> Iterator[str]:
    """No libm, NumPy transcendental, BLAS, random generator or general power; `fraudloom.kernels.fmath` instead."""
    aliases = _aliases(source)
    for node in source.nodes:
        if isinstance(node, ast.Name | ast.Attribute):
            module, _, name = _dotted(node, aliases).rpartition(".")
            if module in NUMERIC and name in TRANSCENDENTAL:
                yield source.at(node, f"{module}.{name}: its last bits vary by machine; use fraudloom.kernels.fmath")
            elif module == "numpy" and name in BLAS:
                yield source.at(node, f"numpy.{name}: BLAS and FFT sum in an order that differs between machines")
            elif module == "numpy" and name == "random":
                yield source.at(node, "numpy.random: draws are counter-based (core's streams)")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "pow" and "pow" not in aliases and len(node.args) == 2:
                yield source.at(node, "pow(a, b) is libm's for floats; multiply")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            yield source.at(node, "@ is BLAS: its order of summation differs between machines")
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Pow):
            yield from _power(source, node)


def _constant(node: ast.expr) -> int | float | None:
    """The value of a literal number with an optional sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    return None


def _power(source: Source, node: ast.BinOp | ast.AugAssign) -> Iterator[str]:
    """`**` is allowed between literals (folded exactly), as a square, and in states as 10 ** scale: an integer literal
    to the power of a name."""
    if isinstance(node, ast.BinOp):
        base, exponent = _constant(node.left), _constant(node.right)
    else:
        base, exponent = None, _constant(node.value)
    folded = isinstance(base, int | float) and isinstance(exponent, int)
    integers = source.room == "states" and isinstance(base, int) and exponent is None
    if not (folded or integers or (isinstance(exponent, int) and exponent == 2)):
        yield source.at(node, "** calls libm's pow for floats unless squared or folded: multiply")


# --- what differs between runs ---------------------------------------------------------------------------------------

DECORATORS = {"numba.njit", "numba.jit", "numba.vectorize", "numba.guvectorize", "numba.stencil", "numba.cfunc"}
ENTROPY = {"random", "secrets", "time", "uuid"}


def replay_rules(source: Source) -> Iterator[str]:
    """No clock, entropy or system time zone: nothing that differs between two runs of the same inputs."""
    for node, name, _ in imports(source):
        if name.split(".")[0] in ENTROPY:
            yield source.at(node, f"{name.split('.')[0]}: clocks and entropy stay in core")
    aliases = _aliases(source)
    repeatable_zones = "reset_tzpath" in source.text
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today", "urandom", "getrandom"}:
            yield source.at(node, f".{node.attr}: no wall clock and no entropy outside core")
        elif isinstance(node, ast.Call) and _dotted(node.func, aliases) == "zoneinfo.ZoneInfo" and not repeatable_zones:
            yield source.at(node, "ZoneInfo(key) reads the system's zones first; read the pinned tzdata package")
        elif isinstance(node, ast.Call) and any(_is_now(a) for a in node.args):
            yield source.at(node, "a date made of 'now' is a wall clock")


def _is_now(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in ("now", "today")


def jit_rules(source: Source) -> Iterator[str]:
    """No fastmath, no parallel=True, no prange; numba's decorators only in kernels/jit.py."""
    for node in source.nodes:
        pairs: Iterable[tuple[object, ast.expr]] = ()
        if isinstance(node, ast.Call):
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Dict):
            pairs = [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values, strict=True)]
        for name, value in pairs:
            off = isinstance(value, ast.Constant) and value.value is False
            on = isinstance(value, ast.Constant) and value.value is True
            if name == "fastmath" and not off:
                yield source.at(value, "fastmath reorders arithmetic: published bits would depend on the machine")
            elif name == "parallel" and on:
                yield source.at(value, "parallel=True aborts when two threads launch kernels at once")
        if "prange" in (getattr(node, "id", ""), getattr(node, "attr", "")):
            yield source.at(node, "prange is parallel=True's loop; parts are the unit of parallelism")
    if source.path != "kernels/jit.py":
        for node, name, _ in imports(source):
            if name in DECORATORS:
                yield source.at(node, f"{name}: kernels are compiled by fraudloom.kernels.jit, which names the cache")
        aliases = _aliases(source)
        for node in source.nodes:
            if isinstance(node, ast.Attribute) and _dotted(node, aliases) in DECORATORS:
                yield source.at(
                    node, "numba's decorators: kernels are compiled by fraudloom.kernels.jit, which names the cache"
                )


# --- docstrings, sizes, words ----------------------------------------------------------------------------------------

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """Definitions at this level, also under `if` and `try`."""
    for node in body:
        if isinstance(node, Definition):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions(node.body)
            yield from _definitions(node.orelse)


def docstring_rules(source: Source) -> Iterator[str]:
    """Modules, public functions and classes, and public methods of public classes have a docstring."""
    if not ast.get_docstring(source.tree):
        yield source.at(source.tree, "the module has no docstring")
    for node in _definitions(source.tree.body):
        if node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield source.at(node, f"public {node.name} has no docstring")
        if isinstance(node, ast.ClassDef):
            for method in _definitions(node.body):
                decorators = {getattr(d, "attr", getattr(d, "id", "")) for d in method.decorator_list}
                if method.name.startswith("_") or decorators & {"overload", "override", "setter"}:
                    continue
                if not ast.get_docstring(method):
                    yield source.at(method, f"public {node.name}.{method.name} has no docstring")


def claim_rules(source: Source) -> Iterator[str]:
    """Every test function says in a docstring what it claims."""
    if not source.path.rsplit("/", 1)[-1].startswith("test_"):
        return
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test") and not ast.get_docstring(node):
            yield source.at(node, f"{node.name} has no docstring")


def data_room_rules(source: Source) -> Iterator[str]:
    """policies/ and contracts/ hold data: their only Python file is an `__init__.py` of one docstring."""
    if source.path != f"{source.room}/__init__.py":
        yield source.at(source.tree, f"{source.room}/ holds data: no Python but __init__.py")
    elif len(source.tree.body) != 1 or not ast.get_docstring(source.tree):
        yield source.at(source.tree, f"{source.path} is one docstring and nothing else")


# Written in pieces, so that this file does not contain what it looks for.
MACHINE_PATHS = re.compile(r"(?<![\w.~}>)-])/(?:" + "|".join(("work", "home", "root", "Users")) + r")/[\w.]")
REGISTRY_WORDS = [
    *("pypi" + r"\.org", "python" + r"hosted\.org", "anaconda" + r"\.org", r"proxy\." + "golang", "npm" + "js"),
    *("arti" + "factory", "dev" + "pi", "index" + "-url", "trusted" + "-host", "PIP_" + "INDEX"),
]
REGISTRY_HOSTS = re.compile("|".join(REGISTRY_WORDS), re.IGNORECASE)


def word_rules(path: str, text: str) -> Iterator[str]:
    """Tracked text names no machine path and no package-registry host."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, reason in ((MACHINE_PATHS, "a machine path"), (REGISTRY_HOSTS, "a package registry")):
            found = pattern.search(line)
            if found:
                yield f"{path}:{number}: {reason}: {found.group(0)!r}"
