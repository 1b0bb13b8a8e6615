"""Small worlds that the tests of this folder share."""

import gzip

import pytest
import yaml

from fraudloom.contracts_api import load_contracts
from fraudloom.policies_api import load_pack
from fraudloom.states.world import WorldSpec, build_world

SIZES = {
    "block_arrivals": 1500,
    "bucket_rows": 200,
    "part_rows": 2048,
    "group_rows": 512,
    "shard_target_arrivals": 2000,
}


@pytest.fixture(scope="session")
def contracts():
    """The packaged contracts."""
    return load_contracts()


@pytest.fixture(scope="session")
def small_policy(tmp_path_factory, contracts):
    """The world pack with small blocks, buckets, parts and shards, so that a small world has many of each."""
    folder = tmp_path_factory.mktemp("policy")
    pack = load_pack("world", contracts)
    doc = {**pack.doc("world_policy")}
    doc["sizes"] = {**doc["sizes"], **SIZES, "shards_from_arrivals": 4000}
    (folder / "world_policy.yaml").write_text(yaml.safe_dump(doc, sort_keys=False))
    (folder / "pack.yaml").write_text("name: small\nprofile: full\ndescription: small units\n")
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory, small_policy):
    """A world of 9,000 arrivals in two scenarios, built by two workers."""
    spec = WorldSpec(9000, seed=5, days=60, scenarios=("baseline_v1", "stress_peak_online_v1"), policy=small_policy)
    return build_world(spec, tmp_path_factory.mktemp("built") / "world", workers=2), spec


@pytest.fixture
def log(tmp_path):
    """(log path, map path) of a tiny gzipped log with a duplicate, a credit and three unusable rows."""
    path, spec = tmp_path / "log.csv.gz", tmp_path / "map.yaml"
    lines = [
        "when,shop,card,value,kind",
        "2014-03-01,Café A,1111,10.50,x",
        "2014-03-01,Café A,1111,10.50,x",
        '2014-03-02,"B, Ltd",2222,-3.00,y',
        "2014-13-02,B,2222,3.00,y",
        "2014-03-30T01:30:00+00:00,B,2222,3.00,y",
        "2014-03-05,,2222,3.00,y",
        "2014-03-05,B,2222,0.001,y",
    ]
    with gzip.open(path, "wt", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    document = {
        "source": {"format": "csv", "timezone": "Europe/London", "currency": "GBP", "country": "GB"},
        "columns": {"timestamp": "when", "merchant": "shop", "card": "card", "amount": "value"},
        "amount": {"unit": "major", "credit_sign": "negative"},
    }
    spec.write_text(yaml.safe_dump(document))
    return path, spec
