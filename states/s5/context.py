"""What a part is checked against: world links, keys of ids, codes, horizons; and the scan of the upstream arrivals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq

from fraudloom.contracts_api import Contracts
from fraudloom.kernels.checks import LinkTables, absorb, bucket_sums
from fraudloom.kernels.sessions import CutRule
from fraudloom.rng import Streams
from fraudloom.states.s5.plan import S5Plan
from fraudloom.tables import Columns, iter_groups, read_table

Array = np.ndarray[Any, Any]

#: Arrivals whose row hashes are summed together, as a shift: a mismatch is named to within 2^12 arrivals.
BUCKET_SHIFT = 12


class RunView(Protocol):
    """What S5 needs to know of a run."""

    @property
    def seed(self) -> int:
        """Run seed."""
        ...

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Scenarios in order."""
        ...

    @property
    def mf(self) -> str:
        """Manifest fingerprint."""
        ...

    @property
    def ph(self) -> str:
        """Parameter hash."""
        ...

    @property
    def profile(self) -> str:
        """core or full."""
        ...

    @property
    def parts(self) -> int:
        """Part files per dataset and scenario."""
        ...

    @property
    def shards(self) -> int:
        """Shards per scenario."""
        ...

    def streams(self, scenario: str) -> Streams:
        """Streams of a scenario."""
        ...


@dataclass(frozen=True)
class RunFacts:
    """A plain RunView."""

    seed: int
    scenarios: tuple[str, ...]
    mf: str
    ph: str
    profile: str
    parts: int
    shards: int

    def streams(self, scenario: str) -> Streams:
        """Streams of a scenario."""
        return Streams(self.mf, self.seed, scenario)


@dataclass(frozen=True)
class Codes:
    """Label to code per vocabulary, read from the contracts."""

    enums: Mapping[str, tuple[str, ...]]

    def __call__(self, enum: str, label: str) -> int:
        """Code of one label."""
        return self.enums[enum].index(label)

    def many(self, enum: str, *labels: str) -> Array:
        """Codes of several labels, int64."""
        return np.array([self(enum, x) for x in labels], dtype=np.int64)


@dataclass(frozen=True)
class Horizon:
    """Instants in microseconds: arrivals lie in [start, end), everything else before settled."""

    start: int
    end: int
    settled: int


@dataclass(frozen=True)
class Upstream:
    """The scan of a scenario's 5B arrivals: count, first ordinal per merchant, sums of row hashes per bucket."""

    rows: int
    base: Array
    sums: Array
    columns: tuple[str, ...]


@dataclass(frozen=True)
class SessionLaw:
    """How arrivals become sessions: the rule in force, and keys and slots of S1's decisions."""

    rule: CutRule
    keys: Array
    slots: Array


@dataclass(frozen=True)
class Context:
    """Everything that the scan of one part of one scenario needs; picklable."""

    root: Path
    contracts: Contracts
    plan: S5Plan
    profile: str
    scenario: str
    seed: int
    mf: str
    ph: str
    keys: Mapping[str, int]
    links: LinkTables
    phones: Array
    copied: Mapping[str, Array]
    scales: Array
    upstream: Upstream
    sessions: SessionLaw
    horizon: Horizon
    code: Codes
    decisions: tuple[Any, ...]
    journal: Mapping[tuple[Any, ...], Mapping[str, Any]]
    campaigns: Columns
    first_shard: tuple[int, ...]
    redo_us: int
    labelled: bool

    def tokens(self, part: int) -> dict[str, object]:
        """Path tokens of a part."""
        return {"seed": self.seed, "mf": self.mf, "ph": self.ph, "scenario": self.scenario, "part": part}

    def axes(self) -> dict[str, str]:
        """Axes that every footer repeats."""
        return {
            "seed": str(self.seed),
            "parameter_hash": self.ph,
            "manifest_fingerprint": self.mf,
            "scenario_id": self.scenario,
        }


def identity_keys(streams: Streams) -> dict[str, int]:
    """Keys of the id bijections of a scenario."""
    return {k: int(streams.key("identity", k)) for k in ("flow", "session", "case", "campaign", "incident")}


def link_tables(tables: Callable[[str, tuple[str, ...]], Columns]) -> LinkTables:
    """Links of the world as arrays by id; `tables(dataset, columns)` reads a world table."""
    accounts = tables("s2_account_base_6A", ("owner_party_id",))["owner_party_id"]
    instruments = tables("s3_instrument_base_6A", ("account_id",))["account_id"]
    parties = len(tables("s1_party_base_6A", ("party_id",))["party_id"])
    devices = len(tables("s4_device_base_6A", ("device_id",))["device_id"])
    device_links = tables("s4_device_links_6A", ("device_id", "party_id"))
    ip_links = tables("s4_ip_links_6A", ("device_id", "ip_id"))
    terminals = tables("terminals_2B", ("merchant_id", "device_id", "ip_id"))
    owned = device_links["party_id"] > 0
    device_start, device_list = _runs(device_links["party_id"][owned], device_links["device_id"][owned], parties)
    ip_start, ip_list = _runs(ip_links["device_id"], ip_links["ip_id"], devices)
    return LinkTables(
        accounts,
        instruments,
        device_start,
        device_list,
        ip_start,
        ip_list,
        terminals["merchant_id"],
        terminals["device_id"],
        terminals["ip_id"],
    )


def wallet_phones(tables: Callable[[str, tuple[str, ...]], Columns], token: int) -> Array:
    """Device that holds each wallet token (kind `token`), by instrument row; 0 for other instruments, -1 for a token
    that no device of its holder holds."""
    instruments = tables("s3_instrument_base_6A", ("instrument_kind", "owner_party_id"))
    links = tables("s4_device_links_6A", ("device_id", "party_id", "instrument_id"))
    named = (links["party_id"] > 0) & (links["instrument_id"] > 0)
    holder, device = links["party_id"][named], links["device_id"][named]
    top = int(instruments["owner_party_id"].max(initial=0))
    phone = np.full(max(top, int(holder.max(initial=0))) + 1, np.iinfo(np.int64).max)
    np.minimum.at(phone, holder, device)
    phone[phone == np.iinfo(np.int64).max] = -1
    out: Array = phone[instruments["owner_party_id"]].astype(np.int32)
    out[instruments["instrument_kind"] != token] = 0
    return out


def copied_columns(tables: Callable[[str, tuple[str, ...]], Columns]) -> dict[str, Array]:
    """What S1 copies, or must have kept to, of 6A, by row of the entity: instrument's kind, status and window of use;
    account's ledger; address's group; device's window of use."""
    card = tables("s3_instrument_base_6A", ("instrument_kind", "instrument_status", "valid_from", "valid_to"))
    device = tables("s4_device_base_6A", ("valid_from", "valid_to"))
    return {
        "instrument_kind": card["instrument_kind"],
        "instrument_status": card["instrument_status"],
        "instrument_from": card["valid_from"],
        "instrument_to": card["valid_to"],
        "ledger_class": tables("s2_account_base_6A", ("ledger_class",))["ledger_class"],
        "ip_group": tables("s4_ip_base_6A", ("ip_group",))["ip_group"],
        "device_from": device["valid_from"],
        "device_to": device["valid_to"],
    }


def _runs(owner: Array, member: Array, owners: int) -> tuple[Array, Array]:
    order = np.argsort(owner, kind="stable")
    start = np.searchsorted(owner[order], np.arange(1, owners + 2)).astype(np.int64)
    return start, np.ascontiguousarray(member[order].astype(np.int64))


def hash_rows(cols: Mapping[str, Array], names: Iterable[str]) -> Array:
    """Row hashes, uint64: the columns absorbed in order into a zero state."""
    names = tuple(names)
    state = np.zeros(len(cols[names[0]]), dtype=np.uint64)
    for name in names:
        values = cols[name]
        absorb(values if values.dtype != np.bool_ else values.view(np.int8), state)
    return state


def carried_columns(contracts: Contracts, profile: str) -> tuple[str, ...]:
    """Columns of 5B that S1 carries under a profile, in 5B's order."""
    have = {c.name for c in contracts.dataset("s1_arrival_entities_6B").columns_for(profile)}
    return tuple(c.name for c in contracts.dataset("arrival_events_5B").columns if c.name in have)


def scan_upstream(
    contracts: Contracts,
    files: list[Path],
    merchants: int,
    profile: str,
    map_: Callable[..., Iterable[tuple[int, Array, Array]]] = map,
) -> Upstream:
    """Count and hash the arrivals of a scenario, file by file in part order; `map_` may be an executor's."""
    columns = carried_columns(contracts, profile)
    sizes = [pq.ParquetFile(f).metadata.num_rows for f in files]
    rows = sum(sizes)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(sizes, dtype=np.int64))])
    tasks = [(contracts, f, columns, int(first[i])) for i, f in enumerate(files)]
    counts = np.zeros(merchants + 2, dtype=np.int64)
    sums = np.zeros((rows >> BUCKET_SHIFT) + 1, dtype=np.uint64)
    for low, part_sums, per_merchant in map_(_scan_file, tasks):
        sums[low : low + len(part_sums)] += part_sums
        counts[: len(per_merchant)] += per_merchant[: merchants + 2]
    base = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])[: merchants + 2]
    return Upstream(rows, base, sums, columns)


def _scan_file(task: tuple[Contracts, Path, tuple[str, ...], int]) -> tuple[int, Array, Array]:
    contracts, path, columns, first = task
    ds = contracts.dataset("arrival_events_5B")
    low = first >> BUCKET_SHIFT
    sums, counts = np.zeros(0, np.uint64), np.zeros(1, np.int64)
    for cols in iter_groups(path, ds, columns):
        hashes = hash_rows(cols, columns)
        ordinals = np.arange(first, first + len(hashes), dtype=np.int64)
        first += len(hashes)
        sums = np.pad(sums, (0, max(0, (first >> BUCKET_SHIFT) + 1 - low - len(sums))))
        bucket_sums(hashes, ordinals - (low << BUCKET_SHIFT), BUCKET_SHIFT, sums)
        more = np.bincount(cols["merchant_id"]).astype(np.int64)
        size = max(len(counts), len(more))
        counts = np.pad(counts, (0, size - len(counts))) + np.pad(more, (0, size - len(more)))
    return low, sums, counts


def world_reader(root: Path, contracts: Contracts, **tokens: object) -> Callable[[str, tuple[str, ...]], Columns]:
    """A function that reads columns of a single-file world table."""

    def read(dataset: str, columns: tuple[str, ...]) -> Columns:
        ds = contracts.dataset(dataset)
        return read_table([root / ds.path_for(**tokens)], ds, columns)

    return read
