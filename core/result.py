"""What a run reports: the object of `--json`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fraudloom.meter import Meter
from fraudloom.spec import STATES

FIELDS = (
    "run_id",
    "run_root",
    "world_root",
    "verdict",
    "seed",
    "world_seed",
    "scenarios",
    "parameter_hash",
    "manifest_fingerprint",
    "arrivals",
    "rows_out",
    "bytes_out",
    "wall_s",
    "cpu_s",
    "arrivals_per_s",
    "peak_rss_bytes",
    "shards",
    "parts",
    "states",
    "datasets",
)


def cpu_seconds() -> float:
    """CPU seconds of this process and its finished children."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


@dataclass
class RunResult:
    """Outcome of one call. `verdict`: PASS (sealed), FAIL, or UNFINISHED (stopped before S5 on request)."""

    values: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Exactly the listed fields, null for what is not known."""
        return {name: self.values.get(name) for name in FIELDS}

    @property
    def verdict(self) -> str:
        """PASS, FAIL or UNFINISHED."""
        return str(self.values.get("verdict"))

    def times(self, wall_s: float, cpu_s: float, peak: int) -> None:
        """Set the figures of the whole call."""
        arrivals = self.values.get("arrivals") or 0
        self.values |= {
            "wall_s": round(wall_s, 3),
            "cpu_s": round(cpu_s, 3),
            "arrivals_per_s": round(arrivals / wall_s, 1) if wall_s > 0 else 0.0,
            "peak_rss_bytes": peak,
        }

    def totals(self, datasets: Mapping[str, Mapping[str, Any]]) -> None:
        """Set datasets, rows and bytes."""
        self.values |= {
            "datasets": {d: dict(s) for d, s in datasets.items()},
            "rows_out": sum(int(s["rows"]) for s in datasets.values()),
            "bytes_out": sum(int(s["bytes"]) for s in datasets.values()),
        }

    def states(self, status: Mapping[str, str], rows: Mapping[str, int], meter: Meter) -> None:
        """Set status, time and rows per state."""
        self.values["states"] = {
            s: {
                "status": status.get(s, "MISSING"),
                "wall_s": round(meter.costs[s].wall_s, 3),
                "cpu_s": round(meter.costs[s].cpu_s, 3),
                "rows": rows.get(s, 0),
            }
            for s in STATES
        }
