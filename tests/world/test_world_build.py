"""Built worlds: exact counts, order, whole references, equal bytes for any workers, and a verifier that bites."""

import errno
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from fraudloom.errors import ConflictError, EnvironmentFault, SealError, UsageError
from fraudloom.states.world import WorldSpec, build_world, load_world, verify_world
from fraudloom.states.world.figure_tables import table_figures
from fraudloom.states.world.figures import load_corridors
from fraudloom.states.world.view import ARRIVALS
from fraudloom.tables import PartWriter, read_table

BODIES = ("PHYSICAL", "VIRTUAL")


def tree_bytes(root: Path) -> dict[str, bytes]:
    """Every file of a folder by relative path."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def arrivals(world, scenario):
    """All arrivals of a scenario."""
    return read_table(world.arrival_paths(scenario), world.contracts.dataset(ARRIVALS))


@pytest.fixture(scope="module")
def world(built, contracts):
    """The shared world, opened."""
    return load_world(built[0].root, contracts)


def test_workers_never_show(built, tmp_path):
    """One and three workers write the very bytes that two wrote."""
    manifest, spec = built
    wanted = tree_bytes(manifest.root)
    for workers in (1, 3):
        other = build_world(spec, tmp_path / str(workers), workers=workers)
        assert tree_bytes(other.root) == wanted


@pytest.mark.parametrize("workers", [1, 3])
def test_a_table_that_cannot_be_written(tmp_path, monkeypatch, workers):
    """Broken: a fault in a table that a worker writes is lost, or leaves files behind."""
    write = PartWriter.write_group

    def full(self, cols):
        if self.ds.id == "payees_6A":
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        write(self, cols)

    monkeypatch.setattr(PartWriter, "write_group", full)
    with pytest.raises(EnvironmentFault, match="No space left") as caught:
        build_world(WorldSpec(600, seed=3), tmp_path / "w", workers=workers)
    assert "payees_6A" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_exactly_n_in_order(built, world):
    """Each scenario has exactly N arrivals, sorted by merchant, time, visit and place, inside the horizon."""
    for scenario in world.scenarios:
        a = arrivals(world, scenario)
        assert len(a["merchant_id"]) == built[1].arrivals == world.n_arrivals(scenario)
        order = np.lexsort((a["visit_rank"], a["visit_key"], a["ts_utc"], a["merchant_id"]))
        assert np.array_equal(order, np.arange(len(order)))
        assert a["ts_utc"].min() >= world.start_us
        assert a["ts_utc"].max() < world.end_us
        for key in ("visit_key", "series_key"):
            seen = np.unique(a[key][a[key] > 0])
            assert np.array_equal(seen, np.arange(1, len(seen) + 1)), f"{key} is not dense"


def test_channel_quotas_are_exact(world):
    """Channel counts are the policy's shares, to the arrival."""
    shares = {"baseline_v1": [3060, 4140, 360, 720, 720], "stress_peak_online_v1": [4140, 3330, 270, 540, 720]}
    for scenario, wanted in shares.items():
        assert np.bincount(arrivals(world, scenario)["channel_group"], minlength=5).tolist() == wanted


def test_series_are_regular(world):
    """A series stays at its merchant and city, a period of 28 to 31 days apart (one hour of clock change aside)."""
    a = arrivals(world, "baseline_v1")
    rows = np.flatnonzero(a["series_key"] > 0)
    rows = rows[np.lexsort((a["ts_local_primary"][rows], a["series_key"][rows]))]
    same = np.diff(a["series_key"][rows]) == 0
    assert same.sum() > 100
    for key in ("merchant_id", "home_city_id"):
        assert np.all(np.diff(a[key][rows])[same] == 0)
    day = a["ts_local_primary"][rows] // 86_400_000_000
    assert set(np.unique(np.diff(day)[same])) <= {28, 29, 30, 31}
    assert np.all(a["visit_rank"][rows] == 0)


def test_visits_hold_together(world):
    """A visit has one home city, one local day, one anchor and one channel; its places run 0, 1, ..."""
    a = arrivals(world, "baseline_v1")
    order = np.lexsort((a["visit_rank"], a["visit_key"]))
    visit = a["visit_key"][order]
    same = np.diff(visit) == 0
    for key in ("home_city_id", "visit_merchant_id", "channel_group", "trip"):
        assert np.all((a[key][order][1:] == a[key][order][:-1])[same]), key
    day = a["ts_local_primary"][order] // 86_400_000_000
    assert np.all((np.diff(day) == 0)[same])
    assert np.array_equal(np.diff(a["visit_rank"][order])[same], np.ones(same.sum()))
    assert np.all(np.diff(a["ts_utc"][order])[same] >= 0)
    assert np.all(a["visit_rank"][order][np.concatenate([[True], ~same])] == 0)


def test_trips_have_visitors(world):
    """Every trip arrival's (city, local day) has a visitor, and arrivals at an outlet are in the payer's city."""
    a = arrivals(world, "baseline_v1")
    trip = a["trip"]
    day = a["ts_local_primary"] // 86_400_000_000 - world.start_day
    keys = (a["home_city_id"] * (1 << 20) + day)[trip]
    assert len(keys) > 50
    assert np.isin(keys, world.visitor_key).all()
    assert np.all((a["home_city_id"] == a["city_id"])[~a["is_virtual"]])
    outlet = a["merchant_id"] * 4096 + a["city_id"]
    terminals = world.tables["terminals_2B"]
    assert np.isin(outlet[~a["is_virtual"]], terminals["merchant_id"] * 4096 + terminals["city_id"]).all()


def test_entities_can_pay(world):
    """Every party has a current account with a card and a handle, and a device with an address; links are sorted."""
    instruments, accounts = world.tables["s3_instrument_base_6A"], world.tables["s2_account_base_6A"]
    first = world.accounts_by_party[:-1]
    assert np.all(np.diff(world.accounts_by_party) >= 1)
    assert np.all(accounts["ledger_class"][first] == world.contracts.code("ledger_class", "DEPOSIT"))
    active = instruments["instrument_status"] == 0
    for kind in ("CARD_PHYSICAL", "BANK_HANDLE"):
        mine = active & (instruments["instrument_kind"] == world.contracts.code("instrument_kind", kind))
        assert np.isin(first + 1, instruments["account_id"][mine]).all(), kind
    assert np.all(np.diff(world.party_device_ptr) >= 1)
    assert np.all(np.diff(world.device_ip_ptr) >= 1)
    assert set(np.unique(world.party_shard)) <= set(range(world.shards))
    assert world.shards > 1


def test_unit_vectors_stand_where_the_city_is(world):
    """The published unit vectors are those of latitude and longitude."""
    c = world.tables["cities_1B"]
    for i in range(len(c["city_id"])):
        lat, lon = math.radians(c["latitude"][i]), math.radians(c["longitude"][i])
        wanted = (math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat))
        assert max(abs(a - c[k][i]) for a, k in zip(wanted, ("unit_x", "unit_y", "unit_z"), strict=True)) < 1e-12


def test_peak_is_online(world):
    """The stress scenario's window holds far more online arrivals than its neighbours."""
    a = arrivals(world, "stress_peak_online_v1")
    day = (a["ts_local_primary"] // 86_400_000_000 - world.start_day)[
        (a["channel_group"] == 0) & (a["series_key"] == 0)
    ]
    count = np.bincount(np.clip(day, 0, 59), minlength=60)
    assert count[33:35].mean() > 4 * np.median(count)


def test_verify_passes_and_rebuild_is_nothing(built, contracts):
    """A fresh world verifies over all rows, and building it again touches nothing."""
    manifest, spec = built
    report = verify_world(manifest.root, contracts, workers=2)
    assert report.passed, report.findings
    assert report.rows == sum(manifest.document["rows"].values())
    before = {p: p.stat().st_mtime_ns for p in manifest.root.rglob("*")}
    assert build_world(spec, manifest.root).document == manifest.document
    assert {p: p.stat().st_mtime_ns for p in manifest.root.rglob("*")} == before
    with pytest.raises(ConflictError):
        build_world(WorldSpec(10, policy=spec.policy), manifest.root)


@pytest.mark.parametrize("kind", ["flip", "remove", "add", "index", "flag"])
def test_verify_names_the_file(built, contracts, tmp_path, kind):
    """A flipped byte, a removed or added part, an edited index, a flag of another world: each is found and named."""
    root = tmp_path / "world"
    shutil.copytree(built[0].root, root)
    world = load_world(root, contracts)
    part = world.arrival_paths("baseline_v1")[1]
    bundle = next(root.glob("data/layer3/6A/validation/*"))
    victim = {"index": bundle / "index.json", "flag": bundle / "_passed.flag"}.get(kind, part)
    if kind == "flip":
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif kind == "remove":
        part.unlink()
    elif kind == "add":
        victim = part.with_name("part-99999.parquet")
        shutil.copy(part, victim)
    elif kind == "index":
        victim.write_bytes(victim.read_bytes().replace(b"size", b"Size", 1))
    else:
        victim.write_text("sha256_hex = " + "0" * 64 + "\n")
    report = verify_world(root, contracts)
    assert not report.passed
    assert {f.where for f in report.findings} == {victim.relative_to(root).as_posix()}


def test_no_arrivals_is_a_world(tmp_path, contracts):
    """Zero arrivals: every table is there, the arrivals part is empty, and it verifies."""
    manifest = build_world(WorldSpec(0, days=7), tmp_path / "empty")
    assert verify_world(manifest.root, contracts).passed
    world = load_world(manifest.root, contracts).preload()
    assert len(arrivals(world, "baseline_v1")["ts_utc"]) == 0
    assert len(world.arrival_paths("baseline_v1")) == 1


@pytest.mark.parametrize("count", [1, 37])
def test_tiny_worlds(tmp_path, contracts, count):
    """Worlds of a few arrivals over one day are whole."""
    manifest = build_world(WorldSpec(count, days=1, seed=count), tmp_path / "tiny")
    assert verify_world(manifest.root, contracts).passed


def test_bad_specs_are_refused(tmp_path, contracts):
    """Unknown scenarios, sizes and dates are usage errors; a folder without a world is a seal error."""
    for spec in (WorldSpec(-1), WorldSpec(1, days=0), WorldSpec(1, start="1/1"), WorldSpec(1, scenarios=("x",))):
        with pytest.raises(UsageError):
            build_world(spec, tmp_path / "none")
    with pytest.raises(SealError):
        load_world(tmp_path, contracts)
    assert not any(tmp_path.iterdir())


def test_cards_are_renewed(world):
    """A card ends within the horizon without a next one, or the next one is not of the same account and kind."""
    i = world.tables["s3_instrument_base_6A"]
    active = i["instrument_status"] == world.contracts.code("instrument_status", "ACTIVE")
    card = np.isin(i["instrument_kind"], [world.contracts.code("instrument_kind", f"CARD_{k}") for k in BODIES])
    new = np.flatnonzero(active & (i["successor_of"] > 0))
    old = i["successor_of"][new] - 1
    assert len(new) > 5
    for name in ("account_id", "instrument_kind", "instrument_type", "scheme", "bin"):
        assert np.array_equal(i[name][new], i[name][old]), name
    assert np.all(card[new] & active[old])
    lead = (i["valid_to"][old] - i["valid_from"][new]) // 86_400_000_000
    assert 7 <= lead.min() < lead.max() < 35
    ending = np.flatnonzero(active & card & (i["valid_to"] < world.end_us))
    assert np.array_equal(np.sort(old), ending)
    assert np.all(i["valid_from"][active & ~np.isin(i["instrument_id"], new + 1)] <= world.start_us)


def test_five_years_of_cards(tmp_path, contracts):
    """Over a horizon longer than a card's life somebody is left without."""
    world = load_world(build_world(WorldSpec(500, days=1825), tmp_path / "long").root, contracts)
    i = world.tables["s3_instrument_base_6A"]
    renewed = np.bincount(i["account_id"][(i["successor_of"] > 0) & (i["instrument_status"] == 0)])
    assert renewed.max() >= 2
    values = table_figures(world, load_corridors(contracts)["laws"])
    assert values["instruments.uncovered"] == values["devices.uncovered"] == 0


def test_devices_come_and_go(world):
    """Devices are all there from the first to the last day, or somebody's first one is not."""
    d = world.tables["s4_device_base_6A"]
    own = d["device_origin"] == world.contracts.code("device_origin", "OWNED")
    new, gone = own & (d["valid_from"] > world.start_us), own & (d["valid_to"] < world.end_us)
    assert new.sum() >= 2
    assert gone.sum() >= 2
    assert not np.any(new & gone)
    first = np.unique(d["primary_party_id"], return_index=True)[1]
    assert not np.any((new | gone)[first])


def test_small_cities_have_the_same_households(tmp_path, contracts):
    """Households are cut where a city ends: small cities have more people who live alone."""
    world = load_world(build_world(WorldSpec(60_000, days=90), tmp_path / "w").root, contracts)
    size, city = world.tables["cohorts_6A"]["party_count"], world.tables["s1_party_base_6A"]["city_id"]
    home = city[world.tables["cohorts_6A"]["first_party_id"] - 1]
    assert np.all(np.diff(city) >= 0)
    assert np.array_equal(np.repeat(home, size), city)
    assert len(np.unique(home)) >= 25
    planned = np.asarray(world.policy["parties"]["household_sizes"])
    seen = np.bincount(size, minlength=7)[1:]
    # Null hypothesis: sizes are drawn by the policy. 350 households, five degrees of freedom, alpha 1e-6: 37.
    assert (((seen - planned * len(size)) ** 2) / (planned * len(size))).sum() < 37


def test_activity_is_spread_evenly(world):
    """The tails of the activity of a small world's parties are left to luck."""
    w = np.sort(world.tables["s1_party_base_6A"]["activity_weight"])
    law = world.policy["parties"]
    quiet = round(len(w) * law["dormant_share"])
    active = np.sort(w)[np.sort(w) > law["dormant"]["hi"]]
    assert len(w) > 100
    assert abs(np.median(active) / law["active"]["median"] - 1) < 0.1
    spread = (np.quantile(np.log(active), 0.8413447) - np.quantile(np.log(active), 0.1586553)) / 2
    assert abs(spread / law["active"]["sigma"] - 1) < 0.1
    assert abs((w < law["dormant"]["hi"]).sum() - quiet) < 0.03 * len(w)
