"""What all commands share: settings, the one object on stdout, and errors as messages with an exit status."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from fraudloom.errors import FraudloomError

INTERRUPTED = 130


@dataclass
class Settings:
    """Options that stand before the command."""

    debug: bool = False
    contracts: Path | None = None


def settings(ctx: typer.Context) -> Settings:
    """The settings of this call."""
    found = ctx.find_object(Settings)
    return found if found is not None else Settings()


def emit(value: Any) -> None:
    """Put one JSON object on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=False, default=str) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line on stdout, for people."""
    sys.stdout.write(text + "\n")


def plain(value: Any) -> str:
    """A value as people read it: lists without brackets, booleans as yes and no, integers with separators."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def near(path: str) -> str:
    """A path, relative to the working folder when it lies below it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def fail(error: FraudloomError, debug: bool) -> int:
    """Print an error without a traceback (with one under --debug); return its exit status."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"{error.message()}\n")
    return error.exit_status


def guarded(app: Callable[..., Any]) -> int:
    """Run the Typer app; return the exit status. Usage errors are 2, Ctrl-C is 130, what we did not foresee is 70."""
    debug = "--debug" in sys.argv[1:]
    status: Any = 0
    try:
        status = app(standalone_mode=False)
    except FraudloomError as e:
        return fail(e, debug)
    except typer.Exit as e:
        return int(e.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as e:
        shown = getattr(e, "show", None)
        if shown is not None and hasattr(e, "exit_code"):  # a usage error of the option parser
            shown()
            return int(e.exit_code) or 2
        return _unforeseen(e, debug)
    # Without its standalone mode the option parser returns the status of --help, --version and Ctrl-C.
    if status == INTERRUPTED:
        sys.stderr.write("Interrupted. Finished parts are kept: the same command resumes the run.\n")
    return status if isinstance(status, int) else 0


def _unforeseen(error: Exception, debug: bool) -> int:
    from fraudloom.environment import as_fault
    from fraudloom.errors import InternalError

    fault = as_fault(error)
    if fault is None:
        fault_text = f"{type(error).__name__}: {error}"
        wrapped: FraudloomError = InternalError(
            "CLI", "UNEXPECTED", what=fault_text[:500], action="run again with --debug and report the traceback"
        )
    else:
        wrapped = fault
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    sys.stderr.write(f"{wrapped.message()}\n")
    return wrapped.exit_status
