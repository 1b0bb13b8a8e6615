"""The set of kernels is the set of naive twins."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

from repo.rules import ROOT, Source, sources


def all_kernels() -> tuple[dict[str, object], dict[str, object]]:
    """Import every module of `fraudloom.kernels`; return the registered kernels and helpers by name."""
    import fraudloom.kernels as package
    from fraudloom.kernels import jit

    for module in pkgutil.walk_packages(package.__path__, "fraudloom.kernels."):
        importlib.import_module(module.name)
    return dict(jit.KERNELS), dict(getattr(jit, "HELPERS", {}))


def public_functions(source: Source) -> dict[str, ast.FunctionDef]:
    """Public functions at the top of a module, by name."""
    return {n.name: n for n in source.tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")}


def parameters(node: ast.FunctionDef) -> list[str]:
    """Positional parameter names of a definition."""
    return [argument.arg for argument in node.args.posonlyargs + node.args.args]


def test_every_kernel_has_a_twin() -> None:
    """Each registered kernel has a public function of its name in tests/naive/."""
    kernels, _ = all_kernels()
    twins = {name for source in sources("tests/naive") for name in public_functions(source)}
    assert kernels, "no kernel is registered"
    assert not set(kernels) - twins, f"kernels without a twin: {sorted(set(kernels) - twins)}"


def test_every_twin_is_a_kernel_or_in_use() -> None:
    """A public function of tests/naive/ is the twin of a kernel or helper, or is in use by a test or twin."""
    kernels, helpers = all_kernels()
    texts = {source.path: source.text for source in sources("tests")}
    stale = []
    for source in sources("tests/naive"):
        for name, node in public_functions(source).items():
            if name in kernels or name in helpers:
                continue
            lines = source.text.splitlines()
            rest = "\n".join(lines[: node.lineno - 1] + lines[node.end_lineno :])
            others = [text for path, text in texts.items() if path != source.path]
            if not any(re.search(rf"\b{name}\b", text) for text in [rest, *others]):
                stale.append(f"{source.path}:{node.lineno}: {name}")
    assert not stale, "\n".join(stale)


def test_no_kernel_has_two_twins() -> None:
    """A kernel's name is defined once in tests/naive/, so that it is plain which twin a test compares with."""
    kernels, _ = all_kernels()
    places: dict[str, list[str]] = {}
    for source in sources("tests/naive"):
        for name in public_functions(source):
            places.setdefault(name, []).append(source.path)
    assert not {name: paths for name, paths in places.items() if name in kernels and len(paths) > 1}


def test_kernels_are_found_in_their_sources() -> None:
    """Every function that kernels/ decorates as a kernel is registered under its name; so the reverse."""
    kernels, _ = all_kernels()
    written = {
        node.name
        for source in sources("kernels")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef)
        and any(getattr(d, "id", "") in {"kernel", "allocating_kernel"} for d in node.decorator_list)
    }
    assert written == set(kernels)


def test_every_kernel_is_named_by_a_test() -> None:
    """Each kernel's name appears in a test module or in a table of cases under perf/: none goes uncompared."""
    kernels, _ = all_kernels()
    texts = [s.text for s in sources("tests", "perf") if not s.path.startswith(("tests/naive/", "tests/repo/"))]
    unnamed = [name for name in kernels if not any(re.search(rf"\b{name}\b", text) for text in texts)]
    assert not unnamed, f"kernels that no test names: {sorted(unnamed)}"


def test_kernel_docstrings_name_their_arguments() -> None:
    """A kernel's docstring says something of each of its arguments, by name."""
    kernels, _ = all_kernels()
    missing = []
    for name, function in sorted(kernels.items()):
        plain = inspect.unwrap(getattr(function, "py_func", function))
        words = set(re.findall(r"\w+", inspect.getdoc(plain) or ""))
        absent = [p for p in inspect.signature(plain).parameters if p not in words]
        if absent:
            missing.append(f"{plain.__module__}.{name}: {', '.join(absent)}")
    assert not missing, "\n" + "\n".join(missing)


def test_twins_import_only_plain_python() -> None:
    """Every import of tests/naive/ stays outside the package and numba, checked by importing in a fresh interpreter."""
    paths = [source.path.removeprefix("tests/").removesuffix(".py") for source in sources("tests/naive")]
    names = [path.replace("/", ".").removesuffix(".__init__") for path in paths]
    program = f"""
import importlib, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
for name in {names!r}:
    importlib.import_module(name)
bad = sorted(m for m in sys.modules if m.split('.')[0] in ('fraudloom', 'numba', 'llvmlite'))
sys.exit(f'imported: {{bad[:5]}}' if bad else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
