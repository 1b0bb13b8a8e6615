"""`run --profile`: core-seconds per million arrivals and bytes per arrival, per state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def profile_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per state from the object of `run --json`: core-s per million arrivals, rows and bytes per arrival."""
    arrivals = max(int(result["arrivals"] or 0), 1)
    rows = []
    for state, cost in (result["states"] or {}).items():
        prefix = f"{state.lower()}_"
        size = sum(int(d["bytes"]) for name, d in (result["datasets"] or {}).items() if name.startswith(prefix))
        rows.append(
            {
                "state": state,
                "core_s": cost["cpu_s"],
                "core_s_per_million": cost["cpu_s"] * 1e6 / arrivals,
                "rows_per_arrival": cost["rows"] / arrivals,
                "bytes_per_arrival": size / arrivals,
            }
        )
    return rows


def profile_lines(result: Mapping[str, Any]) -> list[str]:
    """The table for people, with a last line for the whole."""
    lines = [f"{'state':<7}{'core-s':>9}{'core-s/M':>10}{'rows/arrival':>14}{'bytes/arrival':>15}"]
    rows = profile_rows(result)
    for r in rows:
        lines.append(
            f"{r['state']:<7}{r['core_s']:>9.2f}{r['core_s_per_million']:>10.2f}"
            f"{r['rows_per_arrival']:>14.2f}{r['bytes_per_arrival']:>15.1f}"
        )
    arrivals = max(int(result["arrivals"] or 0), 1)
    whole = float(result["cpu_s"] or 0.0)
    lines.append(
        f"{'all':<7}{whole:>9.2f}{whole * 1e6 / arrivals:>10.2f}"
        f"{sum(r['rows_per_arrival'] for r in rows):>14.2f}{sum(r['bytes_per_arrival'] for r in rows):>15.1f}"
    )
    return lines
