"""What checks found: every violation counted, a few of each kept as examples; mergeable over parts in any grouping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass
class Issue:
    """One finding: which check and rule, how bad, and the row that shows it."""

    check: str
    rule: str
    message: str
    scenario: str = ""
    flow_id: int = 0
    case_id: int = 0
    event_seq: int | None = None
    metrics: str = ""


@dataclass
class Findings:
    """Counts per (check, rule) and examples; `limit` examples per rule, first come first kept."""

    limit: int
    scenario: str = ""
    place: str = ""
    counts: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    absent: dict[tuple[str, str], str] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)

    def _count(self, check: str, rule: str, rows: int, bad: int) -> int:
        entry = self.counts.setdefault((check, rule), [0, 0])
        kept = min(entry[1], self.limit)
        entry[0] += rows
        entry[1] += bad
        return self.limit - kept

    def rows(
        self,
        check: str,
        rule: str,
        bad: Array,
        ids: Mapping[str, Array] | None = None,
        shown: Mapping[str, Array] | None = None,
    ) -> bool:
        """Count the rows where `bad` is true; `ids` (flow_id, case_id, event_seq) and `shown` values describe examples.

        Returns whether all rows are good.
        """
        return self.some(check, rule, len(bad), np.flatnonzero(bad), ids, shown)

    def some(
        self,
        check: str,
        rule: str,
        rows: int,
        hits: Array,
        ids: Mapping[str, Array] | None = None,
        shown: Mapping[str, Array] | None = None,
    ) -> bool:
        """Count `rows` rows of which those numbered by `hits` are bad. Returns whether all are good."""
        room = self._count(check, rule, rows, len(hits))
        for i in hits[: max(0, room)]:
            values = {k: v[i].item() for k, v in (ids or {}).items()}
            facts = {k: v[i].item() for k, v in (shown or {}).items()}
            self.issues.append(
                Issue(
                    check,
                    rule,
                    f"{rule} at row {i} of {self.place}",
                    self.scenario,
                    int(values.get("flow_id", 0)),
                    int(values.get("case_id", 0)),
                    values.get("event_seq"),
                    " ".join(f"{k}={v}" for k, v in (values | facts).items()),
                )
            )
        return not len(hits)

    def one(self, check: str, rule: str, good: bool, message: str = "", metrics: str = "") -> bool:
        """Count one fact, with a message when it is not so. Returns `good`."""
        room = self._count(check, rule, 1, int(not good))
        if not good and room > 0:
            where = f" ({self.place})" if self.place else ""
            self.issues.append(Issue(check, rule, (message or rule) + where, self.scenario, metrics=metrics))
        return good

    def skip(self, check: str, rule: str, why: str) -> None:
        """Note that a rule could not be read, and why (a column that the profile does not publish)."""
        self.absent[(check, rule)] = why

    def merge(self, other: Findings) -> None:
        """Add the findings of a later part."""
        for key, (rows, bad) in other.counts.items():
            entry = self.counts.setdefault(key, [0, 0])
            entry[0] += rows
            entry[1] += bad
        self.absent.update(other.absent)
        self.issues.extend(other.issues)

    def violations(self, check: str) -> int:
        """Violations of a check over its rules."""
        return sum(bad for (c, _), (_, bad) in self.counts.items() if c == check)

    def read(self, check: str) -> bool:
        """Whether any rule of the check was read."""
        return any(c == check for c, _ in self.counts)
