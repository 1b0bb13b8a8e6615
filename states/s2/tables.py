"""The world as S2 reads it: arrays by id - 1, and the calendar as numbered business days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.tables import Columns

Array = np.ndarray[Any, Any]
DAY_US = 86_400_000_000
#: Days of the calendar after the last day of the horizon (calendar_3B).
CALENDAR_AFTER = 240

#: What S2 reads of the world's wider tables.
MERCHANT_COLUMNS = ("mcc", "acquirer_id", "currency", "demand_class", "ending_style", "amount_level")
PARTY_COLUMNS = ("party_type", "country_iso", "amount_level")
PAYEE_COLUMNS = ("payee_account_id", "payee_bank_id", "payee_country", "purpose")


def table(world: Any, dataset_id: str) -> Columns:
    """Columns of one world table."""
    columns: Columns = world.tables[dataset_id]
    return columns


def own(values: Array) -> Array:
    """The array itself when it is writeable and contiguous, else a copy: kernels are compiled for one kind of array."""
    return values if values.flags.writeable and values.flags.c_contiguous else np.array(values)


def own_columns(columns: Columns) -> None:
    """`own` for every column, in place (columns read back from parts may be views of Arrow memory)."""
    for name, values in columns.items():
        columns[name] = own(values)


@dataclass(frozen=True)
class WorldTables:
    """What S2 gathers from, and the calendar as business-day numbers (`kernels.settle.SettleRule`)."""

    merchants: Columns
    arrivals_total: Array
    city_country: Array
    price_level: Array
    unit: Array
    parties: Columns
    account_issuer: Array
    funds: Array
    instruments: Columns
    issuer_country: Array
    ip_group: Array
    ip_country: Array
    fx: Columns
    payees: Columns
    payee_start: Array
    first_day: int
    days: int
    day_slot: Array
    business: Array

    @property
    def start_us(self) -> int:
        """First instant of the horizon."""
        return self.first_day * DAY_US

    @property
    def end_us(self) -> int:
        """First instant after the horizon of arrivals."""
        return (self.first_day + self.days) * DAY_US


def business_days(calendar: Columns, countries: int) -> tuple[int, int, Array, Array]:
    """(first day, days of the calendar, day_slot int32[countries, days], business int32[countries, slots]).

    day_slot[c, d] is how many business days of country c lie before day d; business[c, s] is the s-th business day, the
    last one repeated to equal lengths (the calendar's last day for a country that has none).
    """
    day = calendar["day"].astype(np.int64)
    if len(day) == 0:
        return 0, 1, np.zeros((countries, 1), np.int32), np.zeros((countries, 1), np.int32)
    first = int(day.min())
    days = int(day.max()) - first + 1
    works = np.zeros((countries, days), np.bool_)
    works[calendar["country_iso"], day - first] = calendar["is_business_day"]
    before: Array = np.cumsum(works, axis=1)
    day_slot = (before - works).astype(np.int32)
    most = max(1, int(before.max(initial=0)))
    business = np.full((countries, most), first + days - 1, np.int32)
    for c in range(countries):
        open_days = np.flatnonzero(works[c]) + first
        business[c, : len(open_days)] = open_days
        if len(open_days):
            business[c, len(open_days) :] = open_days[-1]
    return first, days, day_slot, business


def _owned(world: Any, dataset_id: str, names: tuple[str, ...]) -> Columns:
    """Those columns alone: the others would be decoded and held through the whole weaving (20 MB at 8 M arrivals)."""
    columns = {name: table(world, dataset_id)[name] for name in names}
    own_columns(columns)
    return columns


def world_tables(world: Any) -> WorldTables:
    """The tables of a loaded world (`world.tables`)."""
    cities = table(world, "cities_1B")
    accounts = table(world, "s2_account_base_6A")
    ips = table(world, "s4_ip_base_6A")
    payers = table(world, "payees_6A")["party_id"]
    parties = len(table(world, "s1_party_base_6A")["party_id"])
    countries = int(table(world, "calendar_3B")["country_iso"].max(initial=0)) + 1
    first, days, day_slot, business = business_days(table(world, "calendar_3B"), countries)
    return WorldTables(
        merchants=_owned(world, "merchants_1A", MERCHANT_COLUMNS),
        arrivals_total=table(world, "merchant_class_profile_5A")["arrivals_total"],
        city_country=cities["country_iso"],
        price_level=own(cities["price_level"]),
        unit=np.stack([cities["unit_x"], cities["unit_y"], cities["unit_z"]], axis=1),
        parties=_owned(world, "s1_party_base_6A", PARTY_COLUMNS),
        account_issuer=accounts["issuer_id"],
        funds=np.maximum(accounts["funds_ref_minor"], 1).astype(np.float64),
        instruments=table(world, "s3_instrument_base_6A"),
        issuer_country=own(table(world, "issuers_6A")["country_iso"]),
        ip_group=own(ips["ip_group"]),
        ip_country=own(ips["country_iso"]),
        fx=table(world, "fx_rates_3A"),
        payees=_owned(world, "payees_6A", PAYEE_COLUMNS),
        payee_start=np.searchsorted(payers, np.arange(1, parties + 2)).astype(np.int64),
        first_day=first,
        days=max(1, days - CALENDAR_AFTER),
        day_slot=day_slot,
        business=business,
    )
