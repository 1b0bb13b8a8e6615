"""Figures that the world alone decides, on 200,000 arrivals (fixed seed: they hold or they do not)."""

import io

import numpy as np
import pytest
import yaml
from rich.console import Console

from fraudloom.errors import PolicyError
from fraudloom.policies_api import load_pack
from fraudloom.states.world import WorldSpec, build_world, figure_rows, figure_tables, import_world, load_world
from fraudloom.states.world.figure_tables import table_figures
from fraudloom.states.world.figures import (
    INSIDE,
    NOT_APPLICABLE,
    OUTSIDE,
    corridors_of,
    judge,
    load_corridors,
    measured,
    silent,
    world_figures,
)
from fraudloom.tables import read_table
from fraudloom.worldapi import figure_facts, show_figures, show_world

N = 200_000
PEAK = "stress_peak_online_v1"
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000


def rows_of(world, scenario):
    """All arrivals of a scenario."""
    return read_table(world.arrival_paths(scenario), world.contracts.dataset("arrival_events_5B"))


def by_name(figures, scenario):
    """Values of the world's figures and of one scenario's."""
    return {f.name: f.value for f in figures if f.scenario in ("", scenario)}


def of_visits(a):
    """(arrivals in visits, gap to the row before in the same visit or nan), sorted by visit and place."""
    free = np.flatnonzero(a["series_key"] == 0)
    free = free[np.lexsort((a["visit_rank"][free], a["visit_key"][free]))]
    gap = np.diff(a["ts_utc"][free], prepend=0).astype(float)
    gap[a["visit_rank"][free] == 0] = np.nan
    return free, gap


@pytest.fixture(scope="module")
def world(tmp_path_factory, contracts):
    """A world of 200,000 arrivals in both scenarios under the shipped policy."""
    spec = WorldSpec(N, scenarios=("baseline_v1", PEAK))
    return load_world(build_world(spec, tmp_path_factory.mktemp("figures") / "world", workers=2).root, contracts)


@pytest.fixture(scope="module")
def figures(world):
    """Its figures."""
    return world_figures(world)


@pytest.fixture(scope="module")
def arrivals(world):
    """Its arrivals."""
    return rows_of(world, "baseline_v1")


@pytest.fixture(scope="module")
def value(figures):
    """Values of the figures of the world and its baseline."""
    return by_name(figures, "baseline_v1")


def test_every_figure_is_inside(figures):
    """A figure of the built world left its corridor, or nothing was there to measure."""
    assert [(f.scenario, f.name, f.value, f.low, f.high) for f in figures if f.status != INSIDE] == []
    assert len({(f.scenario, f.name) for f in figures}) == len(figures) > 120


def test_merchants(world, arrivals, value):
    """The exponents are not those of a rank regression, the top share not that of the first merchant."""
    m = world.tables["merchants_1A"]
    every = m["planned_weight"] * (np.bincount(arrivals["channel_group"], minlength=5) / N)[m["channel_group"]]
    ranked = {"zipf": every}
    for k, name in enumerate(("ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID")):
        ranked[f"zipf_{name}"] = m["planned_weight"][m["channel_group"] == k]
    for name, weights in ranked.items():
        w = np.sort(weights)[::-1]
        slope = np.polyfit(np.log(np.arange(1, len(w) + 1)), np.log(w), 1)[0]
        assert value[f"merchants.{name}"] == pytest.approx(-slope, rel=1e-9)
    assert value["merchants.top_share"] == np.bincount(arrivals["merchant_id"]).max() / N
    assert value["sizes.merchants"] == pytest.approx(len(m["merchant_id"]) / (25 * N**0.55))


def test_visits(arrivals, value):
    """Sizes, anchors and gaps of visits are not those that a sort by visit shows."""
    free, gap = of_visits(arrivals)
    channel, rank = arrivals["channel_group"][free], arrivals["visit_rank"][free]
    size = np.diff(np.append(np.flatnonzero(rank == 0), len(free)))
    for k, name in enumerate(("ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID")):
        mine = size[channel[rank == 0] == k]
        assert value[f"visits.p_{name}"] == pytest.approx(len(mine) / mine.sum())
        assert value[f"visits.single_{name}"] == pytest.approx((mine == 1).mean())
        seen = gap[(channel == k) & (rank > 0)] / SECOND
        assert value[f"visits.gap_median_s_{name}"] == pytest.approx(np.median(seen), rel=0.006)
        assert value[f"visits.gap_sigma_{name}"] == pytest.approx(
            0.5 * np.log(np.quantile(seen, 0.8413447) / np.quantile(seen, 0.1586553)), abs=0.01
        )
    later = (channel == 0) & (rank > 0)
    stays = (arrivals["merchant_id"] == arrivals["visit_merchant_id"])[free][later].mean()
    assert value["visits.anchor_ECOM"] == pytest.approx(stays)


def test_clock_and_series(world, arrivals, value):
    """Shares of the night, of holidays and of subscriptions are not those of the rows."""
    hour = arrivals["ts_local_primary"] // HOUR
    assert value["clock.night"] == (hour % 24 < 5).mean()
    online = arrivals["channel_group"] == 0
    assert value["series.share_ECOM"] == pytest.approx((arrivals["series_key"][online] > 0).mean())
    kind = world.tables["merchants_1A"]["demand_class"][arrivals["visit_merchant_id"] - 1]
    office = world.policy["demand_classes"]["office_hours"]
    country = world.tables["cities_1B"]["country_iso"][arrivals["home_city_id"] - 1]
    open_day = world.calendar("is_business_day")[country, (hour // 24 - world.start_day) % 90]
    shares = []
    for is_open in (True, False):
        mine = (kind == world.contracts.code("demand_class", "office_hours")) & (arrivals["series_key"] == 0)
        seen = np.bincount((hour % 24)[mine & (open_day == is_open)], minlength=24)
        plan = np.asarray(office["hours_weekday" if is_open else "hours_weekend"])
        shares.append((plan / plan.sum(), seen / seen.sum()))
    plan, seen = (np.concatenate([s[i] for s in shares]) for i in (0, 1))
    assert value["clock.hours_office_hours"] == pytest.approx(np.corrcoef(plan, seen)[0, 1])


def test_borders(world, arrivals, value):
    """Home shares are not those of homes and outlets, visitors' homes by their activity."""
    country = world.tables["cities_1B"]["country_iso"]
    people = world.tables["s1_party_base_6A"]
    here = country[arrivals["city_id"] - 1]
    same = (country[arrivals["home_city_id"] - 1] == here).astype(float)
    cells = {}
    for row in np.flatnonzero(arrivals["trip"]):
        day = arrivals["ts_local_primary"][row] // DAY - world.start_day
        key = int(arrivals["home_city_id"][row] * (1 << 20) + day)
        if key not in cells:
            t = world.tables["trips_6A"]
            there = (t["city_id"] == arrivals["home_city_id"][row]) & (t["from_day"] < day) & (day < t["to_day"])
            who = t["party_id"][there] - 1
            weight = people["activity_weight"][who]
            cells[key] = (weight * (people["country_iso"][who] == here[row])).sum() / weight.sum()
        same[row] = cells[key]
    for k, name in ((1, "POS"), (0, "ECOM")):
        assert value[f"borders.home_{name}"] == pytest.approx(same[arrivals["channel_group"] == k].mean())
    assert value["borders.cross"] == pytest.approx(1 - same.mean())


def test_sharing(world, value):
    """Sharing of devices, homes and accounts is not that of the links."""
    links = world.tables["s4_device_links_6A"]
    users = np.bincount(links["device_id"][links["party_id"] > 0])
    homes = world.tables["s4_ip_base_6A"]["ip_group"] == 0
    seen = np.bincount(world.tables["s4_ip_links_6A"]["ip_id"], minlength=len(homes) + 1)[1:][homes]
    instruments = world.tables["s3_instrument_base_6A"]
    held = np.bincount(instruments["account_id"][instruments["instrument_status"] == 0])
    for name, count in (("devices", users), ("residential", seen), ("accounts", held)):
        assert value[f"sharing.{name}"] == pytest.approx((count[count > 0] > 1).mean())


def test_peak_is_online(world, figures):
    """The flash sale is not there, is in the shops, or lies on other days than the policy's."""
    value = by_name(figures, PEAK)
    a = rows_of(world, PEAK)
    day = a["ts_local_primary"] // DAY - world.start_day
    for k, name in ((0, "ECOM"), (1, "POS"), (4, "HYBRID")):
        count = np.bincount(day[a["channel_group"] == k] % 90, minlength=90)
        assert value[f"peak.{name}"] == pytest.approx(
            count[49:51].mean() / np.delete(count, [49, 50]).mean(), rel=1e-12
        )
        assert (set(np.argsort(count)[-2:]) == {49, 50}) == (name != "POS")
    assert value["peak.ECOM"] > 6
    assert value["peak.POS"] < 1.5
    assert "peak.ECOM" not in by_name(figures, "baseline_v1")


def test_roles_occur(world):
    """A fraud role of some table has nobody."""
    for name in ("party", "account", "merchant", "device", "ip"):
        role = f"fraud_role_{name}"
        seen = np.bincount(world.tables[f"s5_{name}_fraud_roles_6A"][role], minlength=len(world.contracts.enum(role)))
        assert (seen > 0).all(), (name, seen)


def test_corridors_bite(figures):
    """A corridor is not compared with its figure at one of its ends."""
    for f in figures:
        away = max(abs(f.value), 1.0) * 1e-9
        for low, high, status in (
            (f.value, f.value, INSIDE),
            (f.value + away, f.value + 1, OUTSIDE),
            (f.value - 1, f.value - away, OUTSIDE),
        ):
            law = {f.name: {"corridor": [low, high], "means": "x"}}
            assert [j.status for j in judge({f.name: f.value}, law, "", True)] == [status], f.name


def test_memory_bound_changes_nothing(built, contracts):
    """Visits or series that are read in several passes are measured differently."""
    world = load_world(built[0].root, contracts)
    whole = measured(world, PEAK, silent)[0]
    assert whole["series.period_min_days"] == 28
    assert measured(world, PEAK, silent, held=997)[0] == whole


def tampered(monkeypatch, change):
    """Let the rows of a scenario be read with a change."""
    true = figure_rows.iter_groups

    def groups(path, ds, columns):
        for a in true(path, ds):
            yield {k: v for k, v in change({k: v.copy() for k, v in a.items()}).items() if k in columns}

    monkeypatch.setattr(figure_rows, "iter_groups", groups)


def put(a, rows, **values):
    """Set columns at the first of the rows; a function is called with the value that is there."""
    at = np.flatnonzero(rows)
    if len(at):
        for name, v in values.items():
            a[name][at[0]] = v(a[name][at[0]]) if callable(v) else v
    return a


def another(city):
    """A city that is not this one."""
    return city % 3 + 1


BREAKS = {
    "keys.duplicate_arrivals": lambda a: put(a, a["arrival_seq"] > 1, arrival_seq=1),
    "links.without_outlet": lambda a: put(a, a["channel_group"] == 0, is_virtual=False),
    "links.without_visitor": lambda a: put(a, ~a["trip"] & ~a["is_virtual"], trip=True, ts_local_primary=0),
    "visits.broken": lambda a: put(a, a["visit_rank"] > 0, home_city_id=another),
    "series.broken": lambda a: put(a, a["series_key"] > 0, home_city_id=another),
    "visits.outing_radius_km": lambda a: put(a, ~a["is_virtual"], city_id=another),
}


@pytest.fixture(scope="module")
def sound(built, contracts):
    """Status of every figure of the small world, as if it were large enough."""
    doc = {**load_corridors(contracts), "arrivals_min": 1}
    return {(f.scenario, f.name): f.status for f in world_figures(load_world(built[0].root, contracts), corridors=doc)}


@pytest.mark.parametrize("name", BREAKS)
def test_broken_rows_are_seen(built, contracts, monkeypatch, sound, name):
    """Rows that do not fit together leave their figure where it was."""
    assert sound["baseline_v1", name] == INSIDE
    tampered(monkeypatch, BREAKS[name])
    world, doc = load_world(built[0].root, contracts), load_corridors(contracts)
    values = measured(world, "baseline_v1", silent)[0]
    broken = {f.name: f.status for f in judge(values, corridors_of(doc, "baseline_v1"), "baseline_v1", True)}
    assert broken[name] == OUTSIDE


BREAKS_OF_TABLES = {
    "keys.duplicates": ("terminals_2B", "terminal_id", lambda x: np.where(x == 5, 4, x)),
    "links.orphans": ("regulars_6A", "merchant_id", lambda x: x + (1 << 40)),
    "instruments.uncovered": ("s3_instrument_base_6A", "valid_from", lambda x: x + 80 * DAY),
    "devices.uncovered": ("s4_device_base_6A", "valid_to", lambda x: x - 2060 * DAY),
    "trips.overlaps": ("trips_6A", "from_day", lambda x: x - 60),
    "trips.at_home": ("trips_6A", "city_id", lambda x: 0 * x + 1),
    "households.largest": ("cohorts_6A", "party_count", lambda x: x + 50),
}


@pytest.mark.parametrize("name", BREAKS_OF_TABLES)
def test_broken_tables_are_seen(built, contracts, monkeypatch, sound, name):
    """Tables that do not fit together leave their figure where it was."""
    assert sound["", name] == INSIDE
    world, doc = load_world(built[0].root, contracts), load_corridors(contracts)
    table, column, change = BREAKS_OF_TABLES[name]
    true = figure_tables.columns

    def columns(world, which, names):
        return {k: change(v) if (which, k) == (table, column) else v for k, v in true(world, which, names).items()}

    monkeypatch.setattr(figure_tables, "columns", columns)
    broken = {f.name: f.status for f in judge(table_figures(world, doc["laws"]), doc["world"], "", True)}
    assert broken[name] == OUTSIDE


MOVED = {
    "channels.ECOM.visit_p": (0.75, {"visits.p_ECOM", "visits.single_ECOM"}),
    "channels.ECOM.p_home": (0.4, {"borders.home_ECOM", "borders.cross"}),
    "channels.ECOM.series_share": (0.4, {"series.share_ECOM"}),
    "channels.POS.gap_median_s": (300.0, {"visits.gap_median_s_POS"}),
    "channels.POS.p_trip": (0.2, {"trips.share_POS"}),
    "sizes.arrivals_per_party_90d": (60.0, {"sizes.parties"}),
    "sizes.merchants_scale": (30.0, {"sizes.merchants"}),
    "parties.active.sigma": (0.2, {"parties.p99", "parties.gini"}),
    "accounts.savings": (0.2, {"sharing.accounts"}),
    "devices.shared": (0.6, {"sharing.devices"}),
    "devices.new": (0.4, {"devices.turnover"}),
    "instruments.card_life_days": ([300, 320], {"instruments.ending"}),
    "relations.trip_abroad": (0.1, {"trips.abroad"}),
    "visits.series_period_days": ([21, 24], {"series.period_min_days", "series.period_max_days"}),
}


def test_other_numbers_fall_outside(tmp_path, contracts):
    """A world under clearly different numbers still lies in the corridors."""
    doc = {**load_pack("world", contracts).doc("world_policy")}
    wanted = set()
    for path, (new, names) in MOVED.items():
        at = doc
        *way, last = path.split(".")
        for key in way:
            at[key] = {**at[key]}
            at = at[key]
        at[last] = new
        wanted |= names
    (tmp_path / "world_policy.yaml").write_text(yaml.safe_dump(doc, sort_keys=False))
    (tmp_path / "pack.yaml").write_text("name: moved\nprofile: full\ndescription: other numbers\n")
    world = load_world(build_world(WorldSpec(20_000, policy=tmp_path), tmp_path / "w", workers=2).root, contracts)
    corridors = {**load_corridors(contracts), "arrivals_min": 1}
    outside = {f.name for f in world_figures(world, corridors=corridors) if f.status == OUTSIDE}
    assert wanted <= outside, wanted - outside


def test_small_and_imported_worlds(log, tmp_path, contracts):
    """A small world or a log is measured against corridors that are not meant for it, or its structure is not."""
    small = build_world(WorldSpec(0, days=7), tmp_path / "small").root
    logged = import_world(*log, tmp_path / "logged", max_bad_rows=3).root
    for root in (small, logged):
        figures = world_figures(load_world(root, contracts))
        assert {f.status for f in figures} == {INSIDE, NOT_APPLICABLE}
        assert all(f.value in (None, 0) or f.name == "households.largest" for f in figures if f.status == INSIDE)


def test_corridors_are_checked(contracts, value, monkeypatch):
    """A corridor of a misspelt figure, or one that ends before it begins, would go unnoticed."""
    with pytest.raises(PolicyError, match=r"visits\.q_ECOM"):
        judge(value, {"visits.q_ECOM": {"corridor": [0, 1], "means": "x"}}, "", True)
    doc = {**load_corridors(contracts), "world": {"sizes.issuers": {"corridor": [9, 8], "means": "x"}}}
    monkeypatch.setattr("fraudloom.states.world.figures.load_pack", lambda *_: _Pack(doc))
    with pytest.raises(PolicyError, match=r"sizes\.issuers ends before"):
        load_corridors(contracts)


class _Pack:
    def __init__(self, doc):
        self._doc = doc

    def doc(self, _):
        """The document, whatever is asked for."""
        return self._doc


def test_shown(world, figures, contracts):
    """The terminal leaves out a figure, or an encoding without blocks stops the drawing."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show_figures(world, figures, Console(file=out))
    show_world(world.root, contracts, Console(file=out, width=100))
    out.flush()
    text = out.buffer.getvalue().decode("ascii")
    for f in figures:
        assert f.name in text
        assert f.means.split()[0] in text
    assert f"{len(figures)} inside, 0 outside, 0 not applicable" in text
    assert "arrivals; 66" in text
    facts = figure_facts(world, figures)
    assert facts["outside"] == []
    assert facts["figures"][0] == vars(figures[0])
