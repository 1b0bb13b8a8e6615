"""The world as CSR arrays for the attachment kernels: made once per world, used by every plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.kernels.attach import Devices, Holdings, People
from fraudloom.tables import Columns

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class WorldIndex:
    """Candidates of the five steps, and what proofs look up.

    `counts`: rows of merchants, parties, accounts, instruments, devices, ips, terminals.
    `links_ptr`, `links_device`: party links of devices, all roles; `ip_ptr`, `ips`: addresses of devices.
    """

    people: People
    holdings: Holdings
    devices: Devices
    account_owner: Ints
    instrument_status_active: np.ndarray[Any, np.dtype[np.bool_]]
    device_merchant: Ints
    terminal_merchant: Ints
    terminal_device_by_id: Ints
    terminal_ip_by_id: Ints
    shard: np.ndarray[Any, np.dtype[np.int32]]
    counts: dict[str, int]


def table(world: Any, dataset_id: str) -> Columns:
    """Columns of one world table."""
    columns: Columns = world.table(dataset_id)
    return columns


def pointers(owner: Ints, n: int) -> Ints:
    """CSR pointers of rows that ascend by owner id: rows of owner id k are ptr[k - 1]:ptr[k]. int64[n + 1]."""
    return np.searchsorted(owner, np.arange(1, n + 2), side="left").astype(np.int64)


def running_sum(weights: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Running sum from left to right, one float64 addition per row."""
    return np.add.accumulate(np.asarray(weights, dtype=np.float64))


def _people(world: Any) -> People:
    merchants = len(table(world, "merchants_1A")["merchant_id"])
    cities = len(table(world, "cities_1B")["city_id"])
    parties = table(world, "s1_party_base_6A")
    n = len(parties["party_id"])
    regulars = table(world, "regulars_6A")
    merchant, city = regulars["merchant_id"], regulars["home_city_id"]
    rows = len(merchant)
    starts = np.ones(rows, dtype=np.bool_)
    starts[1:] = (merchant[1:] != merchant[:-1]) | (city[1:] != city[:-1])
    heads = np.flatnonzero(starts).astype(np.int64)
    trips = table(world, "trips_6A")
    length = (trips["to_day"] - trips["from_day"] + 1).astype(np.int64)
    days = int(trips["to_day"].max()) + 1 if len(length) else 0
    # One row per (trip, day away): visitors of (city, day), in (city, day, party) order.
    trip = np.repeat(np.arange(len(length)), length)
    day = np.arange(len(trip)) - np.repeat(np.cumsum(length) - length, length) + trips["from_day"][trip]
    cell = (trips["city_id"][trip] - 1) * days + day
    order = np.argsort(cell, kind="stable")
    visitor = trips["party_id"][trip[order]]
    return People(
        group_ptr=pointers(merchant[heads], merchants),
        group_city=city[heads],
        regular_ptr=np.append(heads, rows).astype(np.int64),
        regular_party=regulars["party_id"],
        regular_cum=running_sum(regulars["weight"]),
        city_ptr=pointers(parties["city_id"], cities),
        pool_cum=running_sum(parties["activity_weight"]),
        trip_ptr=pointers(trips["party_id"], n),
        trip_from=trips["from_day"],
        trip_to=trips["to_day"],
        visitor_ptr=np.searchsorted(cell[order], np.arange(cities * days + 1)).astype(np.int64),
        visitor_party=visitor,
        visitor_cum=running_sum(parties["activity_weight"][visitor - 1]),
        days=days,
    )


def _holdings(world: Any, active: int) -> Holdings:
    parties = table(world, "s1_party_base_6A")
    accounts = table(world, "s2_account_base_6A")
    instruments = table(world, "s3_instrument_base_6A")
    use = instruments["instrument_status"] == active
    return Holdings(
        family=parties["party_type"],
        account_ptr=pointers(accounts["owner_party_id"], len(parties["party_id"])),
        ledger=accounts["ledger_class"],
        instrument_ptr=pointers(instruments["account_id"], len(accounts["account_id"])),
        kind=instruments["instrument_kind"],
        usable_from=np.where(use, instruments["valid_from"], 0),
        usable_to=np.where(use, instruments["valid_to"], 0),
        holder=instruments["owner_party_id"],
        account_of=instruments["account_id"],
    )


def _devices(world: Any, phone: int) -> Devices:
    parties = table(world, "s1_party_base_6A")
    merchants = len(table(world, "merchants_1A")["merchant_id"])
    devices = table(world, "s4_device_base_6A")
    links = table(world, "s4_device_links_6A")
    own = links["party_id"] > 0
    terminals = table(world, "terminals_2B")
    by_place = np.lexsort((terminals["terminal_id"], terminals["city_id"], terminals["merchant_id"]))
    ip_links = table(world, "s4_ip_links_6A")
    return Devices(
        family=parties["party_type"],
        link_ptr=pointers(links["party_id"][own], len(parties["party_id"])),
        link_device=links["device_id"][own],
        link_role=links["link_role"][own],
        device_from=devices["valid_from"],
        device_to=devices["valid_to"],
        phone=devices["device_type"] == phone,
        terminal_ptr=pointers(terminals["merchant_id"], merchants),
        terminal_city=terminals["city_id"][by_place],
        terminal_id=terminals["terminal_id"][by_place],
        terminal_device=terminals["device_id"][by_place],
        terminal_ip=terminals["ip_id"][by_place],
        ip_ptr=pointers(ip_links["device_id"], len(devices["device_id"])),
        ip_id=ip_links["ip_id"],
        ip_role=ip_links["link_role"],
        ip_group=table(world, "s4_ip_base_6A")["ip_group"],
    )


def build_index(world: Any, contracts: Contracts) -> WorldIndex:
    """Arrays of a loaded world. The world's own guarantees (dense ids, order of rows) are relied on."""
    active = contracts.code("instrument_status", "ACTIVE")
    instruments = table(world, "s3_instrument_base_6A")
    devices = table(world, "s4_device_base_6A")
    terminals = table(world, "terminals_2B")
    counts = {
        "merchant_id": len(table(world, "merchants_1A")["merchant_id"]),
        "party_id": len(table(world, "s1_party_base_6A")["party_id"]),
        "account_id": len(table(world, "s2_account_base_6A")["account_id"]),
        "instrument_id": len(instruments["instrument_id"]),
        "device_id": len(devices["device_id"]),
        "ip_id": len(table(world, "s4_ip_base_6A")["ip_id"]),
        "terminal_id": len(terminals["terminal_id"]),
    }
    return WorldIndex(
        people=_people(world),
        holdings=_holdings(world, active),
        devices=_devices(world, contracts.code("device_type", "MOBILE_PHONE")),
        account_owner=table(world, "s2_account_base_6A")["owner_party_id"],
        instrument_status_active=instruments["instrument_status"] == active,
        device_merchant=devices["primary_merchant_id"],
        terminal_merchant=terminals["merchant_id"],
        terminal_device_by_id=terminals["device_id"],
        terminal_ip_by_id=terminals["ip_id"],
        shard=world.party_shard,
        counts=counts,
    )
