"""S1 of a whole run, recomputed in plain Python from world rows, policies and keys."""

import pytest

from fraudloom.contracts_api import load_contracts
from naive.weave_s1 import weave_s1
from twins.published import differences

pytestmark = pytest.mark.xdist_group("twins")
WORLD = (
    "arrival_events_5B",
    "terminals_2B",
    "s1_party_base_6A",
    "s2_account_base_6A",
    "s3_instrument_base_6A",
    "s4_device_base_6A",
    "s4_device_links_6A",
    "s4_ip_base_6A",
    "s4_ip_links_6A",
    "regulars_6A",
    "trips_6A",
)


@pytest.fixture(scope="module")
def woven(published):
    """The twin's S1."""
    p = published
    tables = {name: p.world_table(name) for name in WORLD}
    return weave_s1(tables, p.manifest, p.docs, p.enums, p.seed, p.scenario)


@pytest.mark.parametrize(("place", "dataset"), [(0, "s1_arrival_entities_6B"), (1, "s1_session_index_6B")])
def test_every_value_is_that_of_the_law(published, woven, place, dataset):
    """Broken: a published value, null, row or order of S1 is not what law, policies and keys say."""
    names = [column.name for column in load_contracts().dataset(dataset).columns]
    groups = published.groups(dataset)
    assert len(groups) == published.manifest["shards"]
    for shard, found in enumerate(groups):
        rows = [r for r in woven[place] if r["_shard"] == shard]
        assert not differences(found, {name: [r[name] for r in rows] for name in names})


def test_evidence_is_that_of_the_law(published, woven):
    """Broken: the trace log counts other draws than the law makes, or of other rows."""
    assert published.draws("6B.S1") == woven[2]


def test_the_world_has_every_case(woven):
    """Broken: a rule of S1 never acts in the small world, so that nothing above would see a mistake in it."""
    arrivals, sessions, _ = woven
    rules = {"SERIES_REGULAR", "SERIES_POOL", "VISIT_REGULAR", "VISIT_POOL", "TRIP_VISITOR"}
    assert {a["attach_rule_id"] for a in arrivals} == rules
    assert {a["channel_group"] for a in arrivals} == {"ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID"}
    assert {a["channel_group"] for a in arrivals if a["terminal_id"]} == {"POS", "ATM"}
    assert any(a["terminal_id"] is None for a in arrivals if a["channel_group"] == "POS")
    assert {s["session_key_kind"] for s in sessions} == {"PARTY_INSTRUMENT", "PARTY_DEVICE"}
    assert max(s["arrival_count"] for s in sessions) > 2
    assert max(s["merchant_count"] for s in sessions) > 1
