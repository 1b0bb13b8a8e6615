"""Reading a world: tables by name, and the offset arrays (windows) that the weaving states gather through.

Rows are 0-based, ids 1-based: row = id - 1. A window of x is [ptr[x], ptr[x + 1]). Windows by party, account, device
and merchant are over rows of the linked table in its own order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.contracts_api import Contracts, Dataset
from fraudloom.errors import SealError
from fraudloom.policies_api import read_yaml
from fraudloom.sealed import SealedFiles
from fraudloom.states.s0.manifest import MANIFEST
from fraudloom.states.world.publish import read_manifest, shard_of
from fraudloom.states.world.relations import visitors
from fraudloom.states.world.spec import F64, I64
from fraudloom.tables import Columns, read_table

ARRIVALS = "arrival_events_5B"
#: Multiplier of composite keys (merchant, city) and (city, day): both second parts stay below it.
PLACE_BASE = 1 << 20


def windows(sorted_rows: npt.NDArray[Any], n: int) -> I64:
    """Offsets of 0 .. n - 1 in a non-decreasing array: int64[n + 1]."""
    return np.searchsorted(sorted_rows, np.arange(n + 1)).astype(np.int64)


class Table(Columns):
    """A table whose columns are read when first asked for: most readers need few, and what is not read takes no memory.

    Measured at 8 M arrivals: plans over whole tables held 370 MB, over the columns that they use 240 MB.
    """

    def __init__(self, paths: Sequence[Path], ds: Dataset) -> None:
        super().__init__()
        self._paths, self._ds = paths, ds
        self._names = tuple(c.name for c in ds.columns)

    def __missing__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._names:
            raise KeyError(f"{self._ds.id}.{name}")
        values = read_table(self._paths, self._ds, (name,))[name]
        self[name] = values
        return values

    def get(self, name: str, default: Any = None) -> Any:
        """A column, or `default` for a name that the contract does not know."""
        if name not in self._names:
            return default
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def keys(self) -> Any:
        """Names of all columns."""
        return dict.fromkeys(self._names).keys()

    def items(self) -> Any:
        """All columns by name."""
        return {n: self[n] for n in self._names}.items()

    def values(self) -> Any:
        """All columns."""
        return {n: self[n] for n in self._names}.values()


class Tables(Mapping[str, Columns]):
    """Tables of a world by dataset id; arrivals are not among them."""

    def __init__(
        self, root: Path, contracts: Contracts, files: Mapping[str, list[Path]], sealed: SealedFiles | None = None
    ) -> None:
        self._root, self._contracts, self._files, self._sealed = root, contracts, files, sealed
        self._held: dict[str, Columns] = {}

    def __getitem__(self, name: str) -> Columns:
        if name not in self._files or name == ARRIVALS:
            raise KeyError(name)
        if name not in self._held:
            paths = self._files[name] if self._sealed is None else self._sealed.admit_all(self._files[name])
            self._held[name] = Table(paths, self._contracts.dataset(name))
        return self._held[name]

    def forget(self) -> None:
        """Let go of the columns read so far."""
        self._held.clear()

    def __iter__(self) -> Any:
        return iter(n for n in self._files if n != ARRIVALS)

    def __len__(self) -> int:
        return len(self._files) - (ARRIVALS in self._files)


@dataclass(frozen=True)
class World:
    """A published world. Arrays are built when first asked for and never changed.

    `sealed`: the door through which a run opens files: what S0 did not seal is refused, what it did not hash is
    compared with its digest at the first reading. None: an unsealed look at a world, by tools that are not states.
    """

    root: Path
    contracts: Contracts
    manifest: Mapping[str, Any]
    tables: Tables
    files: Mapping[str, list[Path]]
    sealed: SealedFiles | None = None

    @property
    def fingerprint(self) -> str:
        """manifest_fingerprint."""
        return str(self.manifest["manifest_fingerprint"])

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Scenarios with arrivals."""
        return tuple(self.manifest["scenarios"])

    @property
    def shards(self) -> int:
        """Number of shards S."""
        return int(self.manifest["shards"])

    @property
    def start_us(self) -> int:
        """First instant of the horizon, microseconds UTC."""
        return int(self.manifest["horizon"]["start_us"])

    @property
    def end_us(self) -> int:
        """First instant after the horizon."""
        return int(self.manifest["horizon"]["end_us"])

    @property
    def start_day(self) -> int:
        """First day of the horizon, days since 1970-01-01."""
        return int(self.manifest["horizon"]["start_day"])

    @property
    def days(self) -> int:
        """Days of the horizon."""
        return int(self.manifest["horizon"]["days"])

    def n_arrivals(self, scenario: str) -> int:
        """Arrivals of a scenario."""
        return int(self.manifest["arrivals"][scenario])

    def arrival_paths(self, scenario: str) -> list[Path]:
        """Arrival parts of a scenario, in order, admitted to be read."""
        paths = [p for p in self.files[ARRIVALS] if f"scenario_id={scenario}" in p.parts]
        return paths if self.sealed is None else self.sealed.admit_all(paths)

    def admit_arrivals(self, scenario: str, map_: Callable[..., Iterable[Any]]) -> None:
        """Compare the arrival parts of a scenario with their digests, by an executor's `map`, where none did yet."""
        if self.sealed is not None:
            paths = [p for p in self.files[ARRIVALS] if f"scenario_id={scenario}" in p.parts]
            self.sealed.admit_all(paths, map_)

    @cached_property
    def policy(self) -> Mapping[str, Any]:
        """The world policy that the world was made with (its sealed copy)."""
        path = self.root / str(self.manifest["policy_file"]["path"])
        doc: Mapping[str, Any] = read_yaml(path if self.sealed is None else self.sealed.admit(path))
        return doc

    def forget(self) -> None:
        """Let go of everything read or derived so far; what is asked for again is read again."""
        kept = {f.name for f in fields(self)}
        for name in [n for n in self.__dict__ if n not in kept]:
            del self.__dict__[name]
        self.tables.forget()

    def _n(self, table: str, key: str) -> int:
        return len(self.tables[table][key])

    @cached_property
    def accounts_by_party(self) -> I64:
        """Windows of account rows by party row."""
        owner = self.tables["s2_account_base_6A"]["owner_party_id"] - 1
        return windows(owner, self._n("s1_party_base_6A", "party_id"))

    @cached_property
    def instruments_by_account(self) -> I64:
        """Windows of instrument rows by account row."""
        account = self.tables["s3_instrument_base_6A"]["account_id"] - 1
        return windows(account, self._n("s2_account_base_6A", "account_id"))

    @cached_property
    def _party_links(self) -> Columns:
        links = self.tables["s4_device_links_6A"]
        n = int(np.count_nonzero(links["party_id"]))
        return {k: v[:n] for k, v in links.items()}

    @cached_property
    def party_device_ptr(self) -> I64:
        """Windows of party-device links by party row."""
        return windows(self._party_links["party_id"] - 1, self._n("s1_party_base_6A", "party_id"))

    @cached_property
    def party_device_id(self) -> I64:
        """Device id of each party-device link."""
        return np.asarray(self._party_links["device_id"], np.int64)

    @cached_property
    def party_device_role(self) -> npt.NDArray[np.int8]:
        """Role code (device_link_role) of each party-device link."""
        return np.asarray(self._party_links["link_role"], np.int8)

    @cached_property
    def party_device_instrument(self) -> I64:
        """Wallet token bound to each party-device link, 0 for none."""
        return np.asarray(self._party_links["instrument_id"], np.int64)

    @cached_property
    def device_ip_ptr(self) -> I64:
        """Windows of device-address links by device row."""
        return windows(self.tables["s4_ip_links_6A"]["device_id"] - 1, self._n("s4_device_base_6A", "device_id"))

    @cached_property
    def device_ip_id(self) -> I64:
        """Address id of each device-address link."""
        return np.asarray(self.tables["s4_ip_links_6A"]["ip_id"], np.int64)

    @cached_property
    def device_ip_role(self) -> npt.NDArray[np.int8]:
        """Role code (ip_link_role) of each device-address link."""
        return np.asarray(self.tables["s4_ip_links_6A"]["link_role"], np.int8)

    @cached_property
    def merchant_terminal_ptr(self) -> I64:
        """Windows of terminal rows by merchant row; within a merchant terminals stand in city order."""
        return windows(self.tables["terminals_2B"]["merchant_id"] - 1, self._n("merchants_1A", "merchant_id"))

    @cached_property
    def city_party_ptr(self) -> I64:
        """Windows of party rows by city row."""
        return windows(self.tables["s1_party_base_6A"]["city_id"] - 1, self._n("cities_1B", "city_id"))

    @cached_property
    def city_party_cum(self) -> F64:
        """Cumulative activity over all parties (use with `city_party_ptr` windows and `pick_cdf`)."""
        return np.cumsum(self.tables["s1_party_base_6A"]["activity_weight"])

    @cached_property
    def _regular_rows(self) -> tuple[I64, I64]:
        regular = self.tables["regulars_6A"]
        key = regular["merchant_id"] * PLACE_BASE + regular["home_city_id"]
        keys, first = np.unique(key, return_index=True)
        return keys.astype(np.int64), np.concatenate([first, [len(key)]]).astype(np.int64)

    @cached_property
    def regular_key(self) -> I64:
        """Sorted keys merchant_id * 2^20 + home_city_id (ids) that have regulars."""
        return self._regular_rows[0]

    @cached_property
    def regular_ptr(self) -> I64:
        """Windows of regulars rows by place in `regular_key`."""
        return self._regular_rows[1]

    @cached_property
    def regular_party(self) -> I64:
        """Party id of each row of regulars."""
        return np.asarray(self.tables["regulars_6A"]["party_id"], np.int64)

    @cached_property
    def regular_cum(self) -> F64:
        """Cumulative weight over all rows of regulars."""
        return np.cumsum(self.tables["regulars_6A"]["weight"])

    @cached_property
    def trips_by_party(self) -> I64:
        """Windows of trip rows by party row."""
        return windows(self.tables["trips_6A"]["party_id"] - 1, self._n("s1_party_base_6A", "party_id"))

    @cached_property
    def _visitor_rows(self) -> tuple[I64, I64, I64]:
        city, day, party = visitors(self.tables["trips_6A"])
        keys, first = np.unique((city + 1) * PLACE_BASE + day, return_index=True)
        return keys.astype(np.int64), np.concatenate([first, [len(party)]]).astype(np.int64), party + 1

    @cached_property
    def visitor_key(self) -> I64:
        """Sorted keys city_id * 2^20 + day (0-based local day of the horizon) that have visitors.

        Visitors are there from the day after a trip's first to the day before its last: the others are travel.
        """
        return self._visitor_rows[0]

    @cached_property
    def visitor_ptr(self) -> I64:
        """Windows of visitors by place in `visitor_key`."""
        return self._visitor_rows[1]

    @cached_property
    def visitor_party(self) -> I64:
        """Party id of each visitor, ascending within a (city, day)."""
        return self._visitor_rows[2]

    @cached_property
    def visitor_cum(self) -> F64:
        """Cumulative activity over all visitors."""
        return np.cumsum(self.tables["s1_party_base_6A"]["activity_weight"][self.visitor_party - 1])

    @cached_property
    def payees_by_party(self) -> I64:
        """Windows of payee rows by party row."""
        return windows(self.tables["payees_6A"]["party_id"] - 1, self._n("s1_party_base_6A", "party_id"))

    @cached_property
    def zone_ptr(self) -> I64:
        """Windows of offset rows by zone code."""
        zones = self.tables["zone_offsets_2A"]["tzid"].astype(np.int64)
        return windows(zones, len(self.contracts.enum("tzid")))

    @cached_property
    def zone_from(self) -> I64:
        """First instant of each offset row, microseconds UTC."""
        return np.asarray(self.tables["zone_offsets_2A"]["from_utc"], np.int64)

    @cached_property
    def zone_offset(self) -> I64:
        """Microseconds east of UTC of each offset row."""
        return self.tables["zone_offsets_2A"]["offset_s"].astype(np.int64) * 1_000_000

    def calendar(self, column: str) -> npt.NDArray[Any]:
        """A calendar column as [country code, day since the horizon's start]."""
        values = self.tables["calendar_3B"][column]
        return values.reshape(len(self.contracts.enum("country_iso")), -1)

    @cached_property
    def party_shard(self) -> I64:
        """Shard of each party row: that of its household."""
        key = int(str(self.manifest["cohort_key"]), 16)
        return shard_of(key, self.tables["s1_party_base_6A"]["cohort_id"], self.shards).astype(np.int64)

    def preload(self) -> World:
        """Build every array now (before worker threads share the world)."""
        for name, value in vars(type(self)).items():
            if isinstance(value, cached_property):
                getattr(self, name)
        return self


def load_world(root: Path, contracts: Contracts, sealed: SealedFiles | None = None) -> World:
    """Open a world by its `world.json`; SealError when there is none.

    `sealed`: what S0 sealed (`s0.gate`, `s0.reopen`); without it digests are checked by `verify_world` alone.
    """
    manifest = read_manifest(root)
    if manifest is None:
        raise SealError(
            "WORLD",
            "WORLD_MISSING",
            what="the folder holds no world",
            found=f"no {MANIFEST}",
            where=root,
            action="build one: fraudloom world build --out DIR",
        )
    files: dict[str, list[Path]] = {}
    for entry in manifest["files"]:
        files.setdefault(entry["dataset"], []).append(root / entry["path"])
    return World(root, contracts, manifest, Tables(root, contracts, files, sealed), files, sealed)
