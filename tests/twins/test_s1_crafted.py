"""S1 on a world made by hand, for the rules that a small built world does not reach; the same twin recomputes it."""

import copy
from dataclasses import replace

import pyarrow as pa
import pytest
from s1.crafted import (
    CONTRACTS,
    DAY_US,
    START,
    WORLD,
    attach_all,
    compile_for,
    crafted_arrivals,
    crafted_world,
    s1_pack,
)

from fraudloom.states import s1
from fraudloom.tables import to_batch
from naive.weave_s1 import weave_s1
from twins.published import differences, labels, plain

TABLES = ("s1_arrival_entities_6B", "s1_session_index_6B")


def table(dataset, columns):
    """Columns in memory as plain lists, with nulls and labels as they would be published."""
    return plain(pa.Table.from_batches([to_batch(CONTRACTS.dataset(dataset), columns)]))


def filled(dataset, columns):
    """The columns, with the first label where the maker gave none."""
    enums = {c.name for c in CONTRACTS.dataset(dataset).columns if c.enum}
    return {name: values.clip(0) if name in enums else values for name, values in columns.items()}


def made():
    """Laptops that end, cards of others, parties without a handle, addresses of merchants, a fourth city."""
    world = crafted_world(parties=60, merchants=10, cities=4, seed=3)
    devices, instruments = world.tables["s4_device_base_6A"], world.tables["s3_instrument_base_6A"]
    own = (devices["device_origin"] == 0).nonzero()[0]
    devices["valid_to"][own[::3][::2]] = START + 9 * DAY_US
    cards = (instruments["instrument_kind"] == 1).nonzero()[0]
    instruments["owner_party_id"][cards[::5]] = 1
    handles = (instruments["instrument_kind"] == 2) & (instruments["owner_party_id"] % 4 == 0)
    instruments["instrument_status"][handles] = 1
    world.tables["s4_ip_base_6A"]["ip_group"][::7] = CONTRACTS.code("ip_group", "MERCHANT")
    return world


def strict():
    """The shipped policies with limits so low that each acts, and rails that take handles only."""
    docs = copy.deepcopy(dict(s1_pack().docs))
    docs["attachment_policy_6B"]["instrument"]["eligible_kinds"]["BANK_RAIL"] = ["BANK_HANDLE"]
    docs["attachment_policy_6B"]["ip"]["share_max"] = {"HOSTING_DATACENTRE": 0.01, "ANONYMIZER_PROXY": 0.02}
    docs["sessionisation_policy_6B"]["PARTY_INSTRUMENT"] |= {"break_on_local_day": True, "max_arrivals": 2}
    docs["sessionisation_policy_6B"]["PARTY_DEVICE"] |= {"break_on_channel": True, "max_duration_s": 1500}
    docs["rng_policy_6B"]["decisions"][0]["slots"] = 3
    return replace(s1_pack(), docs=docs)


def tumbling():
    """Cards by windows of half a day that local midnight cuts, devices by gaps; then no boundary of a card is drawn."""
    docs = copy.deepcopy(dict(s1_pack().docs))
    law = docs["sessionisation_policy_6B"]["PARTY_INSTRUMENT"]
    del law["hard_break_s"]
    law |= {"mode": "tumbling", "timeout_s": 43200, "break_on_local_day": True}
    return replace(s1_pack(), docs=docs)


@pytest.fixture(scope="module", params=[s1_pack, strict, tumbling])
def both(request):
    """(published columns by dataset and shard, evidence, the twin's rows)."""
    world, pack = made(), request.param()
    arrivals = crafted_arrivals(world, n=1500, seed=7)
    plan = compile_for(world, pack=pack)
    attached, evidence = attach_all(plan, world, arrivals, batch=400)
    found = {name: [] for name in TABLES}
    for shard in range(world.manifest["shards"]):
        mine = {name: values[attached["_shard"] == shard] for name, values in attached.items()}
        for name, columns in zip(TABLES, s1.sessionise(plan, world, mine, evidence), strict=True):
            found[name].append(table(name, columns))
    tables = {name: table(name, filled(name, columns)) for name, columns in world.tables.items()}
    tables["arrival_events_5B"] = table("arrival_events_5B", arrivals)
    assert world.manifest["manifest_fingerprint"] == WORLD
    return found, evidence, weave_s1(tables, world.manifest, pack.docs, labels(), 42, "baseline_v1")


@pytest.mark.parametrize("place", [0, 1], ids=TABLES)
def test_every_value_is_that_of_the_law(both, place):
    """Broken: a rule that only imports, old cards, low limits or odd places reach is not what the law says."""
    for shard, found in enumerate(both[0][TABLES[place]]):
        rows = [r for r in both[2][place] if r["_shard"] == shard]
        assert not differences(found, {name: [r[name] for r in rows] for name in found})


def test_evidence_is_that_of_the_law(both):
    """Broken: pinned rows, trips or single candidates draw more or less than the law says."""
    assert both[1].tolist() == list(both[2][2].values())


def test_the_odd_rules_act(both):
    """Broken: the crafted world no longer reaches the rules it was made for."""
    arrivals, sessions, _ = both[2]
    assert {a["attach_rule_id"] for a in arrivals} == set(labels()["attach_rule"])
    assert sum(a["pinned_instrument_id"] is not None for a in arrivals) > 20
    assert max(s["arrival_count"] for s in sessions) > 1
