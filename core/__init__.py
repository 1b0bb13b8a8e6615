"""fraudloom weaves sealed synthetic payment-fraud worlds.

From a sealed upstream world (merchants, arrivals, parties, accounts, instruments, devices, addresses) a run attaches
every arrival to entities, groups arrivals into sessions, synthesises payment flows and their events, overlays fraud and
abuse, derives ground truth, the bank's view and case timelines, proves the result and seals it.

::

    import fraudloom

    run = fraudloom.open("runs/0f3c...")                 # a sealed run
    flows = run["s3_flow_anchor_with_fraud_6B"]          # a pyarrow dataset, partition keys typed
    flows.to_table(columns=["flow_id", "amount", "fraud_flag"])

Importing this package loads neither Arrow nor numba; the functions below do when called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from fraudloom.api import SealedRun

__all__ = ["__version__", "open", "weave"]


def open(run: str | PathLike[str]) -> SealedRun:
    """Open a run folder for reading: datasets by name, with typed partition keys.

    Raises `fraudloom.errors.SealError` when the folder is no run or its seal names files that are missing.
    """
    from fraudloom.api import open_run

    return open_run(run)


def weave(**options: Any) -> dict[str, Any]:
    """Weave a world as `fraudloom run` does; `options` are the fields of `fraudloom.spec.RunOptions`.

    Returns the object that `fraudloom run --json` prints. Raises a `fraudloom.errors.FraudloomError` on failure.
    """
    from fraudloom.run import run_world
    from fraudloom.spec import RunOptions

    return run_world(RunOptions(**options)).as_json()


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("fraudloom")
        except PackageNotFoundError:  # a source tree on the path, never installed
            return "0.0.0"
    raise AttributeError(f"module 'fraudloom' has no attribute {name!r}")
