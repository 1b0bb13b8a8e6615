"""The world as arrays for the attachment kernels: made once per world, used by every plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from fraudloom.kernels.attach import Holdings, People
from fraudloom.kernels.attach_device import Devices
from fraudloom.states.world.view import PLACE_BASE, World, windows
from fraudloom.tables import Columns

Ints = np.ndarray[Any, np.dtype[np.int64]]
T = TypeVar("T", People, Holdings, Devices)


@dataclass(frozen=True)
class WorldIndex:
    """Candidates of the five steps, and what proofs look up by row.

    `account_owner`: party id by account row; `terminal_*`: merchant, device and address id by terminal row;
    `active`: bool by instrument row; `shard`: int32 by party row; `counts`: rows behind each id column.
    """

    people: People
    holdings: Holdings
    devices: Devices
    account_owner: Ints
    terminal_merchant: Ints
    terminal_device: Ints
    terminal_ip: Ints
    active: np.ndarray[Any, np.dtype[np.bool_]]
    shard: np.ndarray[Any, np.dtype[np.int32]]
    counts: dict[str, int]


def frozen(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array as one that is contiguous and cannot be written.

    Tables of one row group come as views of Arrow's memory, larger ones as arrays of NumPy's own: kernels would be
    compiled once for each kind, 3.5 core-seconds at the first world of the other size.
    """
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


def _frozen(columns: T) -> T:
    """A named tuple with its arrays `frozen`."""
    values: Any = columns
    made: T = values._make(frozen(v) if isinstance(v, np.ndarray) else v for v in columns)
    return made


def _people(world: World) -> People:
    merchants = len(world.tables["merchants_1A"]["merchant_id"])
    trips = world.tables["trips_6A"]
    return People(
        group_ptr=windows(world.regular_key // PLACE_BASE - 1, merchants),
        group_city=world.regular_key % PLACE_BASE,
        regular_ptr=world.regular_ptr,
        regular_party=world.regular_party,
        regular_cum=world.regular_cum,
        city_ptr=world.city_party_ptr,
        pool_cum=world.city_party_cum,
        trip_ptr=world.trips_by_party,
        trip_from=trips["from_day"],
        trip_to=trips["to_day"],
        visitor_key=world.visitor_key,
        visitor_ptr=world.visitor_ptr,
        visitor_party=world.visitor_party,
        visitor_cum=world.visitor_cum,
        first_day=world.start_day,
        days=world.days,
    )


def wallet_devices(world: World) -> Ints:
    """Device in whose wallet an instrument lives, by instrument row: for wallet tokens the holder's device whose link
    names a token (the first, should there be several), 0 for other instruments and where there is none."""
    instruments = world.tables["s3_instrument_base_6A"]
    rows = np.flatnonzero(world.party_device_instrument)[::-1]
    of_party = np.zeros(len(world.tables["s1_party_base_6A"]["party_id"]) + 1, dtype=np.int64)
    of_party[world.tables["s4_device_links_6A"]["party_id"][rows]] = world.party_device_id[rows]
    token = instruments["instrument_kind"] == world.contracts.code("instrument_kind", "WALLET_TOKEN")
    found: Ints = np.where(token, of_party[instruments["owner_party_id"]], 0)
    return found


def _active(world: World) -> np.ndarray[Any, np.dtype[np.bool_]]:
    status = world.tables["s3_instrument_base_6A"]["instrument_status"]
    return np.asarray(status == world.contracts.code("instrument_status", "ACTIVE"))


def _holdings(world: World) -> Holdings:
    """Windows of use are empty unless ACTIVE; a wallet token works while its phone is in use as well."""
    instruments: Columns = world.tables["s3_instrument_base_6A"]
    devices, active, wallet = world.tables["s4_device_base_6A"], _active(world), wallet_devices(world)
    since, until = instruments["valid_from"].copy(), instruments["valid_to"].copy()
    token = np.flatnonzero(instruments["instrument_kind"] == world.contracts.code("instrument_kind", "WALLET_TOKEN"))
    phone = wallet[token] - 1
    since[token] = np.maximum(since[token], devices["valid_from"][phone])
    until[token] = np.where(phone >= 0, np.minimum(until[token], devices["valid_to"][phone]), 0)
    return Holdings(
        family=world.tables["s1_party_base_6A"]["party_type"],
        account_ptr=world.accounts_by_party,
        ledger=world.tables["s2_account_base_6A"]["ledger_class"],
        instrument_ptr=world.instruments_by_account,
        kind=instruments["instrument_kind"],
        usable_from=np.where(active, since, 0),
        usable_to=np.where(active, until, 0),
        holder=instruments["owner_party_id"],
        account_of=instruments["account_id"],
    )


def _devices(world: World) -> Devices:
    devices, terminals = world.tables["s4_device_base_6A"], world.tables["terminals_2B"]
    by_place = np.lexsort((terminals["terminal_id"], terminals["city_id"], terminals["merchant_id"]))
    return Devices(
        family=world.tables["s1_party_base_6A"]["party_type"],
        link_ptr=world.party_device_ptr,
        link_device=world.party_device_id,
        link_role=world.party_device_role,
        device_from=devices["valid_from"],
        device_to=devices["valid_to"],
        phone=devices["device_type"] == world.contracts.code("device_type", "MOBILE_PHONE"),
        terminal_ptr=world.merchant_terminal_ptr,
        terminal_city=terminals["city_id"][by_place],
        terminal_id=terminals["terminal_id"][by_place],
        terminal_device=terminals["device_id"][by_place],
        terminal_ip=terminals["ip_id"][by_place],
        ip_ptr=world.device_ip_ptr,
        ip_id=world.device_ip_id,
        ip_role=world.device_ip_role,
        ip_group=world.tables["s4_ip_base_6A"]["ip_group"],
        wallet=wallet_devices(world),
    )


def build_index(world: World) -> WorldIndex:
    """Arrays of a loaded world. The world's own guarantees (dense ids, order of rows) are relied on."""
    tables, terminals = world.tables, world.tables["terminals_2B"]
    keys = {
        "merchant_id": "merchants_1A",
        "party_id": "s1_party_base_6A",
        "account_id": "s2_account_base_6A",
        "instrument_id": "s3_instrument_base_6A",
        "device_id": "s4_device_base_6A",
        "ip_id": "s4_ip_base_6A",
        "terminal_id": "terminals_2B",
    }
    return WorldIndex(
        people=_frozen(_people(world)),
        holdings=_frozen(_holdings(world)),
        devices=_frozen(_devices(world)),
        account_owner=tables["s2_account_base_6A"]["owner_party_id"],
        terminal_merchant=terminals["merchant_id"],
        terminal_device=terminals["device_id"],
        terminal_ip=terminals["ip_id"],
        active=_active(world),
        shard=world.party_shard.astype(np.int32),
        counts={key: len(tables[table][key]) for key, table in keys.items()},
    )


def world_index(world: World) -> WorldIndex:
    """The index of a world, built at its first use and kept with the world, as its own derived arrays are."""
    kept: dict[str, Any] = vars(world)
    if "_s1_index" not in kept:
        kept["_s1_index"] = build_index(world)
    index: WorldIndex = kept["_s1_index"]
    return index
