"""Figures that the world alone decides, on 200,000 arrivals (fixed seed: they hold or they do not)."""

import numpy as np
import pytest

from fraudloom.states.world import WorldSpec, build_world, load_world
from fraudloom.tables import read_table

N = 200_000


@pytest.fixture(scope="module")
def world(tmp_path_factory, contracts):
    """A world of 200,000 arrivals under the shipped policy."""
    return load_world(
        build_world(WorldSpec(N), tmp_path_factory.mktemp("figures") / "world", workers=2).root, contracts
    )


@pytest.fixture(scope="module")
def arrivals(world):
    """Its arrivals."""
    return read_table(world.arrival_paths("baseline_v1"), world.contracts.dataset("arrival_events_5B"))


def test_merchants(world, arrivals):
    """About 25 N^0.55 merchants; Zipf exponents by rank regression .9-1.05; the first has 5-14 % of arrivals."""
    m = world.tables["merchants_1A"]
    assert abs(len(m["merchant_id"]) / (25 * N**0.55) - 1) < 0.01
    for k in range(5):
        w = np.sort(m["planned_weight"][m["channel_group"] == k])[::-1]
        rank = np.arange(1, len(w) + 1)
        head = slice(0, min(len(w), 2000))
        slope = -np.polyfit(np.log(rank[head]), np.log(w[head]), 1)[0]
        assert 0.9 <= slope <= 1.05, (k, slope)
    assert 0.05 <= np.bincount(arrivals["merchant_id"]).max() / N <= 0.14


def test_visits(arrivals):
    """Arrivals per visit follow geometric(.55), (.60), (.85); .85 of online steps stay at one merchant, or return."""
    free = arrivals["series_key"] == 0
    for channel, p in ((0, 0.55), (1, 0.60), (2, 0.85), (3, 0.85), (4, 0.60)):
        mine = free & (arrivals["channel_group"] == channel)
        visits = (mine & (arrivals["visit_rank"] == 0)).sum()
        assert abs(mine.sum() / visits * p - 1) < 0.03, channel
    later = free & (arrivals["channel_group"] == 0) & (arrivals["visit_rank"] > 0)
    stays = (arrivals["merchant_id"] == arrivals["visit_merchant_id"])[later].mean()
    assert 0.84 < stays < 0.92


def test_subscriptions(arrivals):
    """12-18 % of ECOM arrivals are in series."""
    online = arrivals["channel_group"] == 0
    assert 0.12 <= (arrivals["series_key"][online] > 0).mean() <= 0.18


def test_night(arrivals):
    """Between 0 and 5 local time: .03-.08 of arrivals."""
    assert 0.03 <= (arrivals["ts_local_primary"] // 3_600_000_000 % 24 < 5).mean() <= 0.08


def test_borders(world, arrivals):
    """Home country: POS .93-.98, ECOM .75-.92; across a border .04-.12. Visitors' homes by their activity."""
    country = world.tables["cities_1B"]["country_iso"]
    home = country[arrivals["home_city_id"] - 1].copy()
    trip = np.flatnonzero(arrivals["trip"])
    day = arrivals["ts_local_primary"][trip] // 86_400_000_000 - world.start_day
    spot = np.searchsorted(world.visitor_key, arrivals["home_city_id"][trip] * (1 << 20) + day)
    someone = world.visitor_party[world.visitor_ptr[spot]]
    home[trip] = world.tables["s1_party_base_6A"]["country_iso"][someone - 1]
    same = home == country[arrivals["city_id"] - 1]
    assert 0.93 <= same[arrivals["channel_group"] == 1].mean() <= 0.98
    assert 0.75 <= same[arrivals["channel_group"] == 0].mean() <= 0.92
    assert 0.04 <= 1 - same.mean() <= 0.12


def test_sharing(world):
    """Shared customer devices .03-.10, homes with several devices .40-.75, accounts with instruments .20-.45."""
    users = np.bincount(world.party_device_id)
    assert 0.03 <= (users[users > 0] > 1).mean() <= 0.10
    links, group = world.tables["s4_ip_links_6A"], world.tables["s4_ip_base_6A"]["ip_group"]
    seen = np.bincount(links["ip_id"], minlength=len(group) + 1)[1:][group == 0]
    assert 0.40 <= (seen[seen > 0] > 1).mean() <= 0.75
    instruments = world.tables["s3_instrument_base_6A"]
    held = np.bincount(instruments["account_id"][instruments["instrument_status"] == 0])
    assert 0.20 <= (held[held > 0] > 1).mean() <= 0.45


def test_roles_occur(world):
    """Every fraud role of every table occurs."""
    for name in ("party", "account", "merchant", "device", "ip"):
        role = f"fraud_role_{name}"
        seen = np.bincount(world.tables[f"s5_{name}_fraud_roles_6A"][role], minlength=len(world.contracts.enum(role)))
        assert (seen > 0).all(), (name, seen)
