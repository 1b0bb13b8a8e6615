"""Which published tables are there, with which columns, and what the sealed world says about merchants and payers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.contracts_api import Contracts
from fraudloom.errors import DataError, SealError
from fraudloom.states.world import World, load_world
from fraudloom.tables import Columns, open_part, read_table

ARRIVALS, SESSIONS = "s1_arrival_entities_6B", "s1_session_index_6B"
BASE_FLOWS, BASE_EVENTS = "s2_flow_anchor_baseline_6B", "s2_event_stream_baseline_6B"
CATALOGUE, FLOWS = "s3_campaign_catalogue_6B", "s3_flow_anchor_with_fraud_6B"
TRUTH, BANK, CASES = "s4_flow_truth_labels_6B", "s4_flow_bank_view_6B", "s4_case_timeline_6B"
READ = (ARRIVALS, SESSIONS, BASE_FLOWS, BASE_EVENTS, CATALOGUE, FLOWS, TRUTH, BANK, CASES)
I64 = npt.NDArray[np.int64]
Task = tuple[str, int]
#: Room of arrival_seq in a key of an arrival.
SEQ_BITS = 36
_PART = re.compile(r"scenario_id=([^/]+)/(?:part-(\d+)|[^/]+)\.parquet$")


@dataclass(frozen=True)
class Surfaces:
    """Files by dataset and (scenario, part), columns by dataset, and why a dataset cannot be read whole."""

    contracts: Contracts
    files: Mapping[str, Mapping[Task, Path]]
    columns: Mapping[str, frozenset[str]]
    missing: Mapping[str, str]

    @classmethod
    def find(cls, root: Path, published: Iterable[str], contracts: Contracts, read: Iterable[str] = READ) -> Surfaces:
        """Surfaces of a run; `published`: paths of its files relative to the run, as the seal's index names them.

        `read`: the datasets that are looked for.
        """
        files: dict[str, dict[Task, Path]] = {name: {} for name in read}
        for path in published:
            name = next(iter(path.split("/")[3:4]), "")
            place = _PART.search(path)
            if name in files and place:
                files[name][place[1], int(place[2] or 0)] = root / path
        columns, missing = {}, {}
        for name, parts in files.items():
            gone = [p for p in parts.values() if not p.is_file()]
            if not parts or gone:
                missing[name] = f"{name}: {gone[0].name} is missing" if gone else f"{name} is not published"
                continue
            with open_part(parts[min(parts)], contracts.dataset(name)) as part:
                columns[name] = frozenset(part.schema_arrow.names)
        return cls(contracts, files, columns, missing)

    def has(self, dataset: str, *columns: str) -> bool:
        """Whether a dataset is whole and has all these columns."""
        return dataset not in self.missing and self.columns[dataset] >= set(columns)

    def why_not(self, datasets: Iterable[str]) -> str:
        """The first reason why one of the datasets cannot be read; empty when all can."""
        return next((self.missing[d] for d in datasets if d in self.missing), "")

    def read(self, dataset: str, columns: Iterable[str] | None = None) -> Columns:
        """All rows of a dataset."""
        paths = [self.files[dataset][task] for task in sorted(self.files[dataset])]
        return read_table(paths, self.contracts.dataset(dataset), None if columns is None else tuple(columns))


@dataclass(frozen=True)
class WorldFacts:
    """What the scorer takes from the sealed world.

    Arrays by id (place 0 unused): class and currency of a merchant, home zone of a party. By currency code: minor units
    of a major one, reference cents of a minor one. And how many entities there are. Of an imported log, if asked for:
    keys of the arrivals that it labels, ascending, and their labels.
    """

    imported: bool
    arrivals: int
    merchant_class: npt.NDArray[np.int8]
    merchant_currency: npt.NDArray[np.int8]
    party_zone: npt.NDArray[np.int8]
    minor_units: npt.NDArray[np.float64]
    ref_scale: npt.NDArray[np.float64]
    devices: int
    addresses: int
    accounts: int
    label_keys: I64
    label_codes: npt.NDArray[np.int8]

    def pinned_label(self, merchant: I64, arrival_seq: I64) -> npt.NDArray[np.int8]:
        """Label that an imported log gives the arrival of a flow, -1 for none (and for new flows)."""
        if not len(self.label_keys):
            return np.full(len(merchant), -1, np.int8)
        key = (merchant << SEQ_BITS) + arrival_seq
        at = np.minimum(np.searchsorted(self.label_keys, key), len(self.label_keys) - 1)
        return np.where(self.label_keys[at] == key, self.label_codes[at], np.int8(-1))

    def of(self, table: npt.NDArray[Any], ids: I64, what: str) -> npt.NDArray[Any]:
        """Values of int64[n] ids; DataError when the world has no such id."""
        check_ids(ids, len(table) - 1, what)
        return table[ids]


def check_ids(ids: I64, n: int, what: str) -> None:
    """DataError unless every id lies in 1..n."""
    if len(ids) and (int(ids.min()) < 1 or int(ids.max()) > n):
        raise DataError(
            "SCORE",
            "ENTITY_UNKNOWN",
            what=f"a {what} that the world does not have",
            found=f"{int(ids.min())} to {int(ids.max())}",
            expected=f"1 to {n}",
            action="name the world that the run was woven from with --world",
        )


def by_id(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values of rows 0, 1, ... as values of ids 1, 2, ...; place 0 is zero."""
    return np.concatenate([np.zeros((1, *values.shape[1:]), values.dtype), values])


def world_of_run(root: Path, fingerprint: str, contracts: Contracts, state: str = "SCORE") -> World:
    """The world of a run. SealError when there is none, or when it is another one."""
    world = load_world(root, contracts)
    if world.fingerprint != fingerprint:
        raise SealError(
            state,
            "WORLD_OTHER",
            what="the run was woven from another world",
            found=world.fingerprint,
            expected=fingerprint,
            where=root,
            action="name the run's world with --world",
        )
    return world


def _log_labels(world: World, contracts: Contracts) -> tuple[I64, npt.NDArray[np.int8]]:
    """Keys and labels of the arrivals that an imported log labels."""
    names = ("merchant_id", "arrival_seq", "pinned_label")
    rows = read_table(world.files["arrival_events_5B"], contracts.dataset("arrival_events_5B"), names)
    told = rows["pinned_label"] >= 0
    keys = (rows["merchant_id"][told] << SEQ_BITS) + rows["arrival_seq"][told]
    order = np.argsort(keys)
    return keys[order], rows["pinned_label"][told][order]


def read_world(
    root: Path, fingerprint: str, scenarios: Iterable[str], contracts: Contracts, log_labels: bool = False
) -> WorldFacts:
    """Facts of the world of a run. SealError when there is none, or when it is another one.

    `log_labels`: read the labels of an imported log as well, for flows that are published without them.
    """
    world = world_of_run(root, fingerprint, contracts)

    def table(name: str, *columns: str) -> Columns:
        return read_table(world.files[name], contracts.dataset(name), columns)

    merchants = table("merchants_1A", "currency")
    classes = table("merchant_class_profile_5A", "primary_demand_class")
    fx = table("fx_rates_3A", "decimals", "ref_per_major")
    cities, parties = table("cities_1B", "tzid"), table("s1_party_base_6A", "city_id")
    minor = np.array([float(10 ** int(k)) for k in fx["decimals"]])
    rows: Mapping[str, int] = world.manifest["rows"]
    imported = str(world.manifest["origin"]) == "imported"
    keys, codes = (np.zeros(0, np.int64), np.zeros(0, np.int8))
    if imported and log_labels:
        keys, codes = _log_labels(world, contracts)
    return WorldFacts(
        imported=imported,
        arrivals=sum(world.n_arrivals(s) for s in scenarios),
        merchant_class=by_id(classes["primary_demand_class"]),
        merchant_currency=by_id(merchants["currency"]),
        party_zone=by_id(cities["tzid"][parties["city_id"] - 1]),
        minor_units=minor,
        # As laws/s2.md, section 3: reference cents of a minor unit.
        ref_scale=fx["ref_per_major"] * 100.0 / minor,
        devices=int(rows["s4_device_base_6A"]),
        addresses=int(rows["s4_ip_base_6A"]),
        accounts=int(rows["s2_account_base_6A"]),
        label_keys=keys,
        label_codes=codes,
    )
