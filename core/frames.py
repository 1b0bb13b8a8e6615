"""Frames of one shard: what the states hand each other, and how published row groups are read back into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.arrivals import merchant_bases
from fraudloom.contracts_api import Dataset
from fraudloom.engine import Engine, Scenario
from fraudloom.errors import DataError
from fraudloom.rng import Streams
from fraudloom.tables import AGAIN, Columns, read_group

#: Dataset to (frame, field): which table of which state's frame is published where.
FIELDS: Mapping[str, Mapping[str, str]] = {
    "S1": {"s1_arrival_entities_6B": "arrivals", "s1_session_index_6B": "sessions"},
    "S2": {
        "s2_arrival_flow_link_6B": "links",
        "s2_flow_anchor_baseline_6B": "flows",
        "s2_event_stream_baseline_6B": "events",
    },
    "S3": {
        "s3_flow_anchor_with_fraud_6B": "flows",
        "s3_event_stream_with_fraud_6B": "events",
        "s3_session_index_with_fraud_6B": "sessions",
    },
    "S4": {
        "s4_flow_truth_labels_6B": "truth",
        "s4_flow_bank_view_6B": "bank",
        "s4_event_labels_6B": "event_labels",
        "s4_label_history_6B": "history",
        "s4_case_timeline_6B": "cases",
        "s4_case_flow_link_6B": "case_links",
    },
}


@dataclass
class S1Frame:
    """What S1 leaves of a shard."""

    arrivals: Columns
    sessions: Columns


@dataclass
class ShardFrames:
    """Frames of one shard by state, as far as they are woven or read back."""

    s1: S1Frame | None = None
    s2: Any = None
    s3: Any = None
    s4: Any = None

    def table(self, state: str, dataset: str) -> Columns:
        """The table that is published as a dataset."""
        frame = getattr(self, state.lower())
        table: Columns = getattr(frame, FIELDS[state][dataset])
        return table


def _group(engine: Engine, ds: Dataset, sc: Scenario, state: str, part: int, group: int) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = engine.find_part(ds.id, sc.name, state, part)
    try:
        with pq.ParquetFile(path) as f:
            return read_group(f, ds, group)
    except (pa.ArrowException, OSError) as e:
        raise DataError(
            state,
            "PART_UNREADABLE",
            what=f"a published part of {ds.id}",
            found=str(e).splitlines()[0],
            where=path,
            action=AGAIN,
        ) from None


def read_back(engine: Engine, sc: Scenario, part: int, group: int, upto: str) -> ShardFrames:
    """Frames of the states before `upto`, read from row group `group` of the published parts (full profile only).

    Internal columns are rebuilt: ordinals by inverting ids, row references by looking ids up.
    """
    from fraudloom.states.ordinals import ordinals_of, rows_of

    streams = Streams(engine.spec.axes.manifest_fingerprint, engine.spec.seed, sc.name)

    def read(state: str) -> dict[str, Columns]:
        return {
            field: _group(engine, engine.contracts.dataset(d), sc, state, part, group)
            for d, field in FIELDS[state].items()
        }

    frames = ShardFrames()
    if upto in ("S2", "S3"):
        frames.s1 = _read_s1(engine, sc, read("S1"), streams, ordinals_of, rows_of)
    if upto == "S3":
        from fraudloom.states.s2 import S2Frame

        frames.s2 = S2Frame(**_with_ordinals(read("S2"), streams, ordinals_of, rows_of))
    if upto == "S4":
        from fraudloom.states.s3 import S3Frame

        frames.s3 = S3Frame(**_with_ordinals(read("S3"), streams, ordinals_of, rows_of), realised={})
    return frames


Ordinals = Callable[[Streams, str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]
Rows = Callable[[np.ndarray[Any, Any], np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def _read_s1(
    engine: Engine, sc: Scenario, tables: dict[str, Columns], streams: Streams, ordinals_of: Ordinals, rows_of: Rows
) -> S1Frame:
    arrivals, sessions = tables["arrivals"], tables["sessions"]
    if sc.bases is None:
        sc.bases = merchant_bases(sc.files, len(engine.world.tables["merchants_1A"]["merchant_id"]))
    arrivals["_ordinal"] = sc.bases[arrivals["merchant_id"]] + arrivals["arrival_seq"]
    sessions["_ordinal"] = ordinals_of(streams, "session", sessions["session_id"])
    row = rows_of(sessions["session_id"], arrivals["session_id"])
    arrivals["_session_row"] = row
    arrivals["_session_ordinal"] = sessions["_ordinal"][row]
    return S1Frame(arrivals, sessions)


def _with_ordinals(
    tables: dict[str, Columns], streams: Streams, ordinals_of: Ordinals, rows_of: Rows
) -> dict[str, Columns]:
    flows, events = tables["flows"], tables["events"]
    flows["_ordinal"] = ordinals_of(streams, "flow", flows["flow_id"])
    flows["_arrival_ordinal"] = flows["_ordinal"] // 8
    flows["_session_ordinal"] = ordinals_of(streams, "session", flows["session_id"])
    events["_flow_row"] = rows_of(flows["flow_id"], events["flow_id"])
    if "sessions" in tables:
        tables["sessions"]["_ordinal"] = ordinals_of(streams, "session", tables["sessions"]["session_id"])
    return tables
