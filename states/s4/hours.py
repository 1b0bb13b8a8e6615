"""Business windows: when analysts of a country work, in UTC."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.tables import Columns

Ints = np.ndarray[Any, np.dtype[np.int64]]

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000


def country_zones(cities: Columns, contracts: Contracts) -> Ints:
    """Zone code per country code: of its most populous city (ties: the lowest id), UTC without a city."""
    zones = np.full(len(contracts.enum("country_iso")), contracts.code("tzid", "UTC"), dtype=np.int64)
    order = np.lexsort((cities["city_id"], -cities["population_weight"]))[::-1]
    zones[cities["country_iso"][order]] = cities["tzid"][order]
    return zones


def to_utc(local: Ints, zone: int, offsets: Columns) -> Ints:
    """UTC of local instants: minus the offset that holds at the same number read as UTC (the first one before it)."""
    here = offsets["tzid"] == zone
    since, offset = offsets["from_utc"][here], offsets["offset_s"][here].astype(np.int64) * 1_000_000
    if not len(since):
        return local
    row = np.maximum(np.searchsorted(since, local, side="right") - 1, 0)
    shifted: Ints = local - offset[row]
    return shifted


def business_windows(tables: Any, contracts: Contracts, open_hour: int, close_hour: int) -> tuple[Ints, Ints, Ints]:
    """(opens, closes, window): int64[w] instants, and int64[issuers, 2] rows of each issuer's country.

    One window per business day of a country that has an issuer, from the opening to the closing hour, local time.
    """
    calendar, issuers = tables["calendar_3B"], tables["issuers_6A"]
    zones = country_zones(tables["cities_1B"], contracts)
    opens, closes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    bounds = np.zeros((len(zones), 2), dtype=np.int64)
    first = 0
    for country in np.unique(issuers["country_iso"]):
        days = calendar["day"][(calendar["country_iso"] == country) & calendar["is_business_day"]].astype(np.int64)
        zone = int(zones[country])
        opens.append(to_utc(days * DAY_US + open_hour * HOUR_US, zone, tables["zone_offsets_2A"]))
        closes.append(to_utc(days * DAY_US + close_hour * HOUR_US, zone, tables["zone_offsets_2A"]))
        bounds[country] = first, first + len(days)
        first += len(days)
    window = bounds[issuers["country_iso"].astype(np.int64)].reshape(-1, 2)
    return np.concatenate(opens), np.concatenate(closes), np.ascontiguousarray(window)
