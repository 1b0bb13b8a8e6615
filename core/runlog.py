"""`logs/run_log.jsonl`: what happened when. Clocks are allowed here and in the receipt, nowhere else."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fraudloom.spec import canonical_json


def utc_now() -> str:
    """Wall clock as `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class RunLog:
    """Appends one JSON object per line; safe from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)

    def event(self, event: str, **fields: Any) -> None:
        """Write one line: `ts_utc`, `event` (such as `6B.S1.START` or `PART_DONE`) and the fields."""
        line = canonical_json({"ts_utc": utc_now(), "event": event, **fields}) + "\n"
        with self._lock, self.path.open("a", encoding="utf-8") as f:
            f.write(line)
