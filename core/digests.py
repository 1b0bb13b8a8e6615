"""Digests of datasets and runs: what the part records say, summed up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from fraudloom.engine import CATALOGUE, Engine


def dataset_summary(parts: Iterable[tuple[str, int, Mapping[str, Any]]]) -> dict[str, Any]:
    """Rows, parts, bytes and digests of a dataset from (scenario, part, facts), in that order.

    A dataset's digest is SHA-256 over a line per part: scenario, part, rows, digest of the part.
    """
    content, file = hashlib.sha256(), hashlib.sha256()
    rows = size = count = 0
    for scenario, part, facts in parts:
        rows, size, count = rows + int(facts["rows"]), size + int(facts["bytes"]), count + 1
        for h, name in ((content, "content_digest"), (file, "file_digest")):
            h.update(f"{scenario}\t{part}\t{facts['rows']}\t{facts[name]}\n".encode())
    return {
        "rows": rows,
        "parts": count,
        "bytes": size,
        "content_digest": content.hexdigest(),
        "file_digest": file.hexdigest(),
    }


def part_facts(engine: Engine, state: str) -> dict[str, list[tuple[str, int, dict[str, Any]]]]:
    """(scenario, part, facts) of every part of a state's datasets, by dataset, from the records."""
    found: dict[str, list[tuple[str, int, dict[str, Any]]]] = {d: [] for d in engine.datasets(state)}
    for sc in engine.scenarios:
        for part, record in enumerate(engine.records(sc.name, state, sc.parts)):
            for dataset, facts in record["files"].items():
                found[dataset].append((sc.name, part, facts))
        if CATALOGUE in found:
            single = engine.single_record(sc.name)
            if single is not None:
                found[CATALOGUE].append((sc.name, 0, single["files"][CATALOGUE]))
    return found


def summaries(engine: Engine, states: Iterable[str], scenario: str | None = None) -> dict[str, dict[str, Any]]:
    """`dataset_summary` of every dataset of the given states, over all scenarios or of one."""
    return {
        d: dataset_summary(f for f in facts if scenario in (None, f[0]))
        for s in states
        for d, facts in part_facts(engine, s).items()
    }


def part_journal(engine: Engine, states: Iterable[str]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Facts by (dataset, scenario, part)."""
    return {
        (d, scenario, part): facts
        for s in states
        for d, rows in part_facts(engine, s).items()
        for scenario, part, facts in rows
    }
