"""The one way to compile: `kernel` for array loops, `helper` for small functions called from them.

Every kernel is registered in `KERNELS` under its own name, so that a test can compare the set of kernels with the set
of plain-Python twins. Nothing else in the package calls numba's decorators.

Compiled code is cached on disk. numba notices an edited file, but not an edited callee in *another* file; so the
cache directory is named by a digest of every kernel source, the options below and the versions that compile, and any
edit starts an empty cache instead of loading stale code.
"""

import functools
import hashlib
import os
import platform
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import llvmlite
import numba
import numpy as np
from numba.core import config

#: Options of every compiled function: no fast-math (bits are promised), no bounds checks (callers prove bounds),
#: division by zero as in NumPy. `parallel=True` is absent on purpose: its default threading layer aborts when two
#: threads launch kernels at once. The package runs threads over parts, and kernels release the GIL.
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": False, "error_model": "numpy", "boundscheck": False}
#: Versions of numba whose internals `linked` was tested with; others compile helpers as they compile anything else.
LINKED_WITH = ("0.68",)

#: Every array kernel of the package by name, filled as its modules are imported.
KERNELS: dict[str, Callable[..., Any]] = {}
#: Every helper of the package by name, likewise.
HELPERS: dict[str, Callable[..., Any]] = {}

_F = TypeVar("_F", bound=Callable[..., Any])
_plain = threading.local()


def source_digest() -> str:
    """Hex SHA-256 of all kernel sources (sorted by path), the options and the versions that compile them."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        body = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(body)}\0".encode())
        digest.update(body)
    versions = (numba.__version__, llvmlite.__version__, np.__version__, platform.python_version())
    digest.update(repr((sorted(OPTIONS.items()), versions)).encode())
    return digest.hexdigest()


def _candidates() -> Iterator[Path]:
    """Places for the cache, best first. A relative or empty environment value is ignored, as the XDG rules ask."""
    explicit = os.environ.get("FRAUDLOOM_CACHE_DIR", "")
    if explicit:
        yield Path(explicit).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(xdg):
        yield Path(xdg) / "fraudloom"
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        yield Path(home) / ".cache" / "fraudloom"
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    yield Path(tempfile.gettempdir()) / f"fraudloom-{user}"


def _usable(directory: Path) -> bool:
    """Whether a file can be written there, and nobody else owns or writes it: a cache is code that will be run."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & stat.S_IWOTH):
        return False
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".probe-"):
        return True


def find_cache_dir() -> Path | None:
    """The directory for compiled code, made if need be; None (compile in every process) when no place is writable.

    The first usable of `$FRAUDLOOM_CACHE_DIR`, `$XDG_CACHE_HOME/fraudloom`, `~/.cache/fraudloom` and
    `<tempdir>/fraudloom-<uid>`, plus a folder named by `source_digest`. Never raises.
    """
    try:
        name = "kernels-" + source_digest()[:24]
        candidates = [base / name for base in _candidates()]
    except (OSError, RuntimeError, ValueError):
        return None
    for directory in candidates:
        try:
            if _usable(directory):
                return directory
        except (OSError, ValueError):
            continue
    return None


CACHE_DIR = find_cache_dir()


@contextmanager
def _cache_here() -> Iterator[None]:
    """Point numba at our cache while one function is decorated; other users of numba in the process keep theirs."""
    previous = config.CACHE_DIR
    config.CACHE_DIR = str(CACHE_DIR)
    try:
        yield
    finally:
        config.CACHE_DIR = previous


def _without_jit(function: _F) -> _F:
    """Run as plain Python: integer wrap and NumPy's division rules are the contract, so their warnings are muted.

    Only the outermost call enters `np.errstate`; nested ones would cost a microsecond each.
    """

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        if getattr(_plain, "inside", False):
            return function(*args)
        _plain.inside = True
        try:
            with np.errstate(all="ignore"):
                return function(*args)
        finally:
            _plain.inside = False

    return run  # type: ignore[return-value]


def _compile(function: _F, allocates: bool = False) -> _F:
    if config.DISABLE_JIT:
        return _without_jit(function)
    # No caller in C, and no reference counting where nothing is allocated: both would only take time to compile.
    extra: dict[str, Any] = {"no_cfunc_wrapper": True, "_nrt": allocates}
    if CACHE_DIR is None:
        return numba.njit(**OPTIONS, **extra)(function)  # type: ignore[no-any-return]
    with _cache_here():
        return numba.njit(cache=True, **OPTIONS, **extra)(function)  # type: ignore[no-any-return]


def _compile_helper(function: _F, outlined: bool = False) -> _F:
    compiled = _compile(function)
    if config.DISABLE_JIT or ".".join(numba.__version__.split(".")[:2]) not in LINKED_WITH:
        return compiled
    from fraudloom.kernels.linked import LinkedDispatcher

    return LinkedDispatcher(function, {**OPTIONS, "_nrt": False}, outlined, compiled)  # type: ignore[return-value]


def _register(registry: dict[str, Callable[..., Any]], function: _F, compiler: Callable[[_F], _F] = _compile) -> _F:
    name = function.__name__
    if name in KERNELS or name in HELPERS:
        raise ValueError(f"two compiled functions are called {name!r}: {function.__module__} defines it again")
    compiled = compiler(function)
    registry[name] = compiled
    return compiled


def kernel(function: _F) -> _F:
    """Compile a loop over arrays and register it in `KERNELS`; ValueError when the name is taken.

    It allocates nothing (numba refuses to compile it otherwise).
    """
    return _register(KERNELS, function)


def allocating_kernel(function: _F) -> _F:
    """As `kernel`, for a loop that makes a small scratch array of its own."""
    return _register(KERNELS, function, partial(_compile, allocates=True))


def helper(function: _F) -> _F:
    """Compile a small function that kernels call (LLVM inlines it) and register it in `HELPERS`."""
    return _register(HELPERS, function, _compile_helper)


def outlined(function: _F) -> _F:
    """As `helper`, for a large function called from many places: LLVM compiles it once per kernel, never inline."""
    return _register(HELPERS, function, partial(_compile_helper, outlined=True))
