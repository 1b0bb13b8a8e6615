"""What figures take from the sealed world: facts about entities, by id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.contracts_api import Contracts
from fraudloom.states.figures.tally import Shares
from fraudloom.states.score.surfaces import by_id, check_ids, world_of_run
from fraudloom.states.world import World

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Town:
    """Arrays by id (place 0 unused) and by code.

    unit: float64[cities + 1, 3], unit vectors; decimals by currency; business: bool[countries, days] from `first_day`
    on; before: int64[countries, days], business days before each day; payees: sorted party << 40 | payee of the payers'
    lists; regulars: sorted merchant << 20 | city that have regulars.
    """

    world: World
    imported: bool
    party_type: npt.NDArray[np.int8]
    party_country: npt.NDArray[np.int8]
    city_country: npt.NDArray[np.int8]
    unit: F64
    merchant_style: npt.NDArray[np.int8]
    device_owned: npt.NDArray[np.bool_]
    ip_residential: npt.NDArray[np.bool_]
    accounts: int
    issuers: int
    decimals: npt.NDArray[np.int8]
    first_day: int
    business: npt.NDArray[np.bool_]
    before: I64
    payees: I64
    regulars: I64

    def shares(self) -> Shares:
        """What parts of a scenario share, nothing seen yet."""
        return Shares.empty(
            len(self.device_owned) - 1, len(self.ip_residential) - 1, self.accounts, self.issuers, self.world.days
        )

    def of(self, table: npt.NDArray[Any], ids: I64, what: str) -> npt.NDArray[Any]:
        """Values of int64[n] ids; DataError when the world has no such id."""
        check_ids(ids, len(table) - 1, what)
        return table[ids]


PAYEE_BITS, CITY_BITS = 40, 20


def read_town(root: Path, fingerprint: str, contracts: Contracts) -> Town:
    """Facts of the world of a run. SealError when there is none, or when it is another one."""
    world = world_of_run(root, fingerprint, contracts, "FIGURES")
    t, code = world.tables, contracts.code
    calendar, cities, payees, regulars = t["calendar_3B"], t["cities_1B"], t["payees_6A"], t["regulars_6A"]
    day = calendar["day"].astype(np.int64)
    first = int(day.min(initial=np.iinfo(np.int64).max)) if len(day) else 0
    business = np.zeros((len(contracts.enum("country_iso")), int(day.max(initial=first)) - first + 1), np.bool_)
    business[calendar["country_iso"], day - first] = calendar["is_business_day"]
    return Town(
        world=world,
        imported=str(world.manifest["origin"]) == "imported",
        party_type=by_id(t["s1_party_base_6A"]["party_type"]),
        party_country=by_id(t["s1_party_base_6A"]["country_iso"]),
        city_country=by_id(cities["country_iso"]),
        unit=by_id(np.stack([cities[k] for k in ("unit_x", "unit_y", "unit_z")], axis=1)),
        merchant_style=by_id(t["merchants_1A"]["ending_style"]),
        device_owned=by_id(t["s4_device_base_6A"]["device_origin"] == code("device_origin", "OWNED")),
        ip_residential=by_id(t["s4_ip_base_6A"]["ip_group"] == code("ip_group", "RESIDENTIAL")),
        accounts=int(world.manifest["rows"]["s2_account_base_6A"]),
        issuers=int(world.manifest["rows"]["issuers_6A"]),
        decimals=t["fx_rates_3A"]["decimals"],
        first_day=first,
        business=business,
        before=np.cumsum(business, axis=1) - business,
        payees=np.sort((payees["party_id"] << PAYEE_BITS) | payees["payee_account_id"]),
        regulars=np.unique((regulars["merchant_id"] << CITY_BITS) | regulars["home_city_id"]),
    )


def has(sorted_keys: I64, wanted: I64) -> npt.NDArray[np.bool_]:
    """Which of the wanted keys stand in a sorted array."""
    if not len(sorted_keys):
        return np.zeros(len(wanted), np.bool_)
    spot = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    out: npt.NDArray[np.bool_] = sorted_keys[spot] == wanted
    return out
