"""Figures of a scenario's arrivals: all rows, a row group at a time, in memory that does not grow with them.

Counts of one pass stand in `Rows`. What needs the rows of one visit or series side by side is read in further passes,
each over a fixed range of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fraudloom.kernels.fmath import log
from fraudloom.states.world.arrivals import day_weights, peak_factors
from fraudloom.states.world.spec import DAY_US, F64, FAMILIES, I64
from fraudloom.states.world.view import ARRIVALS, PLACE_BASE, World
from fraudloom.tables import Columns, concat, iter_groups, read_table

Values = dict[str, float | None]
HOUR_US = 3_600_000_000
EARTH_KM = 6371.0
#: Visits (and series) whose rows are held together in one of the further passes.
KEYS_HELD = 1 << 19
#: Lengths of visits told apart; the law's own maximum is far below.
LENGTHS = 128
ROW_COLUMNS = (
    "merchant_id", "arrival_seq", "ts_local_primary", "channel_group", "is_virtual", "visit_key", "visit_rank",
    "series_key", "visit_merchant_id", "home_city_id", "city_id", "trip",
)  # fmt: skip
VISIT_COLUMNS = (
    "visit_key", "visit_rank", "ts_utc", "ts_local_primary", "channel_group", "visit_merchant_id", "home_city_id",
    "trip",
)  # fmt: skip
SERIES_COLUMNS = ("series_key", "ts_local_primary", "channel_group", "merchant_id", "home_city_id")


def columns(world: World, table: str, names: Sequence[str]) -> Columns:
    """Some columns of a table, read for this one use: the world keeps nothing of them."""
    return read_table(world.files[table], world.contracts.dataset(table), names)


def ratio(part: float, whole: float) -> float | None:
    """part / whole, or None where there is nothing to divide by."""
    return float(part) / float(whole) if whole else None


def gap_edges() -> F64:
    """Edges of the bins of gaps, microseconds: from a millisecond up, half a per cent wide, beyond two days."""
    return np.cumprod(np.concatenate([[1e3], np.full(3800, 1.005)]))


@dataclass
class Town:
    """What rows are compared with; row or code indexed."""

    country: I64
    unit: F64
    kind: I64
    rest: npt.NDArray[np.bool_]
    outlets: I64
    visitor_home: F64

    @classmethod
    def of(cls, world: World) -> Town:
        """Read from a world's tables."""
        cities = world.tables["cities_1B"]
        terminals = columns(world, "terminals_2B", ("merchant_id", "city_id"))
        return cls(
            cities["country_iso"].astype(np.int64),
            np.stack([cities[k] for k in ("unit_x", "unit_y", "unit_z")]),
            columns(world, "merchants_1A", ("demand_class",))["demand_class"].astype(np.int64),
            ~world.calendar("is_business_day")[:, : world.days],
            np.unique(terminals["merchant_id"] * PLACE_BASE + terminals["city_id"]),
            visitors_home(world),
        )


def visitors_home(world: World) -> F64:
    """By place in `visitor_key`: the share of visitors, by activity, who live in the country of the city visited."""
    cities = world.tables["cities_1B"]
    people = columns(world, "s1_party_base_6A", ("country_iso", "activity_weight"))
    place = np.repeat(np.arange(len(world.visitor_key)), np.diff(world.visitor_ptr))
    at = cities["country_iso"][world.visitor_key // PLACE_BASE - 1]
    weight = people["activity_weight"][world.visitor_party - 1]
    same = people["country_iso"][world.visitor_party - 1] == at[place]
    count = len(world.visitor_key)
    inside = np.bincount(place, weights=weight * same, minlength=count)
    return inside / np.maximum(np.bincount(place, weights=weight, minlength=count), 1e-300)


@dataclass
class Rows:
    """Sums over all arrivals of a scenario. `free` rows are not in a series; lengths: free rows by place in the visit;
    cells: free rows at home by channel, country, class of the anchor and local day; hours: free rows by class, day off
    and local hour.
    """

    world: World
    total: I64 = field(init=False)
    lengths: I64 = field(init=False)
    stays: I64 = field(init=False)
    in_series: I64 = field(init=False)
    merchants: I64 = field(init=False)
    hours: I64 = field(init=False)
    cells: I64 = field(init=False)
    by_day: I64 = field(init=False)
    trips: I64 = field(init=False)
    home: F64 = field(init=False)
    night: int = 0
    radius2: float = 0.0
    duplicates: int = 0
    orphans: dict[str, int] = field(default_factory=lambda: {"outlets": 0, "visitors": 0})
    visits: int = 0
    series: int = 0

    def __post_init__(self) -> None:
        contracts, days = self.world.contracts, self.world.days
        channels, classes = len(FAMILIES), len(contracts.enum("demand_class"))
        countries = len(contracts.enum("country_iso"))
        self.total, self.stays, self.in_series, self.trips = (np.zeros(channels, np.int64) for _ in range(4))
        self.home = np.zeros(channels)
        self.lengths = np.zeros((channels, LENGTHS), np.int64)
        self.merchants = np.zeros(int(self.world.manifest["rows"]["merchants_1A"]) + 1, np.int64)
        self.hours = np.zeros((classes, 2, 24), np.int64)
        self.cells = np.zeros((channels, countries, classes, days), np.int64)
        self.by_day = np.zeros((channels, days), np.int64)
        self._town = Town.of(self.world)
        self._last = (0, 0)

    def add(self, a: Columns) -> None:
        """Count a row group."""
        n = len(a["merchant_id"])
        if not n:
            return
        town, days = self._town, self.world.days
        channel, trip, virtual = a["channel_group"].astype(np.int64), a["trip"], a["is_virtual"]
        home, city, merchant = a["home_city_id"] - 1, a["city_id"] - 1, a["merchant_id"]
        anchor = a["visit_merchant_id"]
        rank, free = a["visit_rank"].astype(np.int64), a["series_key"] == 0
        hour = a["ts_local_primary"] // HOUR_US
        day = (hour // 24 - self.world.start_day) % days
        hour %= 24
        country, kind = town.country[home], town.kind[anchor - 1]

        self.total += np.bincount(channel, minlength=len(self.total))
        where = channel * LENGTHS + np.minimum(rank, LENGTHS - 1)
        self.lengths += np.bincount(where[free], minlength=self.lengths.size).reshape(self.lengths.shape)
        stays = free & (rank > 0) & (merchant == anchor)
        self.stays += np.bincount(channel[stays], minlength=len(self.stays))
        self.in_series += np.bincount(channel[~free], minlength=len(self.total))
        self.merchants += np.bincount(merchant, minlength=len(self.merchants))
        self.night += int(np.count_nonzero(hour < 5))
        where = (kind * 2 + town.rest[country, day]) * 24 + hour
        self.hours += np.bincount(where[free], minlength=self.hours.size).reshape(self.hours.shape)
        _, countries, classes, _ = self.cells.shape
        where = ((channel * countries + country) * classes + kind) * days + day
        self.cells += np.bincount(where[free & ~trip], minlength=self.cells.size).reshape(self.cells.shape)
        self.by_day += np.bincount(channel * days + day, minlength=self.by_day.size).reshape(self.by_day.shape)
        self.trips += np.bincount(channel[trip], minlength=len(self.trips))
        self._places(home, city, merchant, virtual, trip, day, channel, country)
        self._key(merchant, a["arrival_seq"])
        self.visits = max(self.visits, int(a["visit_key"].max()))
        self.series = max(self.series, int(a["series_key"].max()))

    def _places(
        self,
        home: I64,
        city: I64,
        merchant: I64,
        virtual: npt.NDArray[np.bool_],
        trip: npt.NDArray[np.bool_],
        day: I64,
        channel: I64,
        country: I64,
    ) -> None:
        """Borders, outlets, visitors, and how far an outing's merchants are from where the payer is."""
        town, world = self._town, self.world
        same = (country == town.country[city]).astype(np.float64)
        key = (home[trip] + 1) * PLACE_BASE + day[trip]
        found = _has(world.visitor_key, key)
        self.orphans["visitors"] += int(np.count_nonzero(~found))
        if len(world.visitor_key):
            spot = np.minimum(np.searchsorted(world.visitor_key, key), len(world.visitor_key) - 1)
            # A visitor buys where he is: the purchase is at home if he lives in that country.
            same[trip] *= town.visitor_home[spot]
        self.home += np.bincount(channel, weights=same, minlength=len(self.home))
        shop = ~virtual
        self.orphans["outlets"] += int(
            np.count_nonzero(~_has(town.outlets, merchant[shop] * PLACE_BASE + city[shop] + 1))
        )
        apart = shop & (home != city)
        if apart.any():
            step = town.unit[:, home[apart]] - town.unit[:, city[apart]]
            self.radius2 = max(self.radius2, float((step * step).sum(axis=0).max()))

    def _key(self, merchant: I64, seq: I64) -> None:
        """Rows whose (merchant_id, arrival_seq) does not follow the row before."""
        m, s = (np.concatenate([[last], new]) for last, new in zip(self._last, (merchant, seq), strict=True))
        after = (m[1:] > m[:-1]) | ((m[1:] == m[:-1]) & (s[1:] > s[:-1]))
        self.duplicates += int(np.count_nonzero(~after))
        self._last = (int(m[-1]), int(s[-1]))


def _has(sorted_keys: I64, wanted: I64) -> npt.NDArray[np.bool_]:
    """Which of the wanted keys stand in a sorted array."""
    if not len(sorted_keys):
        return np.zeros(len(wanted), np.bool_)
    spot = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    out: npt.NDArray[np.bool_] = sorted_keys[spot] == wanted
    return out


@dataclass
class Steps:
    """Sums over steps inside visits and series. gaps: by channel and bin of `gap_edges`; broken: steps that do not fit
    together; periods: days between arrivals of a series.
    """

    gaps: I64
    broken_visits: int = 0
    broken_series: int = 0
    periods: set[int] = field(default_factory=set)

    def visits(self, a: Columns, edges: F64) -> None:
        """Rows of whole visits, any order."""
        order = np.argsort((a["visit_key"] << 8) | a["visit_rank"], kind="stable")
        v = {k: x[order] for k, x in a.items()}
        same = v["visit_key"][1:] == v["visit_key"][:-1]
        rank = v["visit_rank"]
        first = np.concatenate([[True], ~same])
        gap = np.diff(v["ts_utc"])
        day = v["ts_local_primary"] // DAY_US
        whole = np.diff(rank) == 1
        whole &= gap >= 0
        for column in (v["home_city_id"], v["channel_group"], v["visit_merchant_id"], v["trip"], day):
            whole &= column[1:] == column[:-1]
        self.broken_visits += int(np.count_nonzero(same & ~whole)) + int(np.count_nonzero(rank[first] != 0))
        place = np.searchsorted(edges, gap[same], side="right")
        where = v["channel_group"][1:][same].astype(np.int64) * self.gaps.shape[1] + place
        self.gaps += np.bincount(where, minlength=self.gaps.size).reshape(self.gaps.shape)

    def series(self, a: Columns) -> None:
        """Rows of whole series, any order."""
        order = np.lexsort((a["ts_local_primary"], a["series_key"]))
        s = {k: x[order] for k, x in a.items()}
        same = s["series_key"][1:] == s["series_key"][:-1]
        whole = np.ones(len(same), np.bool_)
        for name in ("merchant_id", "home_city_id", "channel_group"):
            whole &= s[name][1:] == s[name][:-1]
        self.broken_series += int(np.count_nonzero(same & ~whole))
        self.periods |= {int(x) for x in np.unique(np.diff(s["ts_local_primary"] // DAY_US)[same])}


def _groups(world: World, scenario: str, columns: tuple[str, ...]) -> Iterator[Columns]:
    ds = world.contracts.dataset(ARRIVALS)
    for path in world.arrival_paths(scenario):
        yield from iter_groups(path, ds, columns)


def read_rows(world: World, scenario: str, tell: Callable[[int], None]) -> Rows:
    """The pass over all rows; `tell(n)` hears of rows read."""
    rows = Rows(world)
    for group in _groups(world, scenario, ROW_COLUMNS):
        rows.add(group)
        tell(len(group["merchant_id"]))
    return rows


def read_steps(world: World, scenario: str, rows: Rows, held: int, tell: Callable[[int], None]) -> Steps:
    """The passes over visits and series, `held` keys of each at a time."""
    edges = gap_edges()
    steps = Steps(np.zeros((len(FAMILIES), len(edges) + 1), np.int64))
    wanted = tuple(sorted({*VISIT_COLUMNS, *SERIES_COLUMNS}))
    for low in range(1, max(rows.visits, rows.series) + 1, held):
        visits: list[Columns] = []
        series: list[Columns] = []
        for a in _groups(world, scenario, wanted):
            for kept, names in ((visits, VISIT_COLUMNS), (series, SERIES_COLUMNS)):
                key = a[names[0]]
                mine = np.flatnonzero((key >= low) & (key < low + held))
                if len(mine):
                    kept.append({k: a[k][mine] for k in names})
            tell(len(a["visit_key"]))
        if visits:
            steps.visits(concat(visits), edges)
        if series:
            steps.series(concat(series))
        del visits, series
    return steps


def quantile(counts: I64, edges: F64, q: float) -> float | None:
    """Quantile of binned values; `counts[i]` are those below edges[i] and not below edges[i - 1]."""
    total = int(counts.sum())
    if not total:
        return None
    run = np.cumsum(counts)
    i = int(np.searchsorted(run, q * total, side="left"))
    if not 0 < i < len(edges):
        return float(edges[min(i, len(edges) - 1)])
    inside = (q * total - float(run[i - 1])) / float(counts[i])
    return float(edges[i - 1] + inside * (edges[i] - edges[i - 1]))


def correlation(x: F64, y: F64) -> float | None:
    """Pearson's correlation; None when one side does not vary."""
    dx, dy = x - x.mean(), y - y.mean()
    across = float((dx * dx).sum()) * float((dy * dy).sum())
    return float((dx * dy).sum()) / float(np.sqrt(across)) if across > 0 else None


def _clock(world: World, scenario: str, rows: Rows) -> Values:
    """How hours, weekdays, holidays and pay days follow the profiles of the sealed policy.

    hours_<class>: correlation of planned and realised shares over 48 hours (weekday, day off); hours: the part of all
    rows that stands in its planned hour; weekdays: correlation over weekdays of all classes; others realised / planned.
    """
    policy = world.policy
    out: Values = {"clock.night": ratio(rows.night, int(rows.total.sum()))}
    wanted: list[F64] = []
    for k, name in enumerate(world.contracts.enum("demand_class")):
        law = policy["demand_classes"][name]
        planned = np.asarray([[float(x) for x in law[h]] for h in ("hours_weekday", "hours_weekend")])
        planned /= planned.sum(axis=1, keepdims=True)
        of_rows = rows.hours[k].sum(axis=1, keepdims=True)
        seen = rows.hours[k] / np.maximum(of_rows, 1)
        out[f"clock.hours_{name}"] = correlation(planned.reshape(-1), seen.reshape(-1))
        wanted.append(planned * of_rows)
    total = np.maximum(rows.hours.sum(), 1)
    moved = 0.5 * float(np.abs(np.sum(wanted, axis=0) - rows.hours.sum(axis=0)).sum())
    out["clock.hours"] = ratio(total - moved, total)
    calendar = {c: world.calendar(c)[:, : world.days] for c in ("weekday", "is_holiday", "is_pay_day")}
    weights = day_weights(policy, world.contracts, calendar, world.start_day, world.days)
    planned = np.zeros((*weights.shape[1:2], *calendar["weekday"].shape))
    for f, name in enumerate(FAMILIES):
        mine = weights * peak_factors(policy, scenario, name, world.days)
        mine /= np.maximum(mine.sum(axis=2, keepdims=True), 1e-300)
        planned += np.swapaxes(mine * rows.cells[f].sum(axis=2, keepdims=True), 0, 1)
    seen = np.swapaxes(rows.cells.sum(axis=0), 0, 1)
    cells = [
        np.stack([np.where(calendar["weekday"] == d, x, 0).sum(axis=(1, 2)) for d in range(7)], axis=1)
        / np.maximum(x.sum(axis=(1, 2)), 1)[:, None]
        for x in (planned, seen)
    ]
    out["clock.weekdays"] = correlation(cells[0].reshape(-1), cells[1].reshape(-1))
    for name, column in (("holidays", "is_holiday"), ("pay_days", "is_pay_day")):
        parts = [float((x * calendar[column]).sum()) for x in (seen, planned)]
        out[f"clock.{name}"] = ratio(*parts)
    return out


def arrival_figures(world: World, scenario: str, rows: Rows, steps: Steps) -> Values:
    """Every figure of a scenario by name; None where there is nothing to measure."""
    edges, n = gap_edges(), int(rows.total.sum())
    out: Values = {
        "keys.duplicate_arrivals": float(rows.duplicates),
        "links.without_outlet": float(rows.orphans["outlets"]),
        "links.without_visitor": float(rows.orphans["visitors"]),
        "visits.broken": float(steps.broken_visits),
        "series.broken": float(steps.broken_series),
        "merchants.top_share": ratio(int(rows.merchants.max(initial=0)), n),
        "visits.outing_radius_km": EARTH_KM * float(np.sqrt(rows.radius2)) if n else None,
        "series.period_min_days": float(min(steps.periods)) if steps.periods else None,
        "series.period_max_days": float(max(steps.periods)) if steps.periods else None,
        "borders.cross": ratio(n - float(rows.home.sum()), n),
    }
    peak = np.any([peak_factors(world.policy, scenario, f, world.days) > 1.0 for f in FAMILIES], axis=0)
    usual = rows.by_day[:, ~peak].mean(axis=1) if not peak.all() else np.zeros(len(FAMILIES))
    for f, name in enumerate(FAMILIES):
        total, lengths = int(rows.total[f]), rows.lengths[f]
        out[f"channels.{name}"] = ratio(total, n)
        out[f"visits.p_{name}"] = ratio(int(lengths[0]), int(lengths.sum()))
        out[f"visits.single_{name}"] = ratio(int(lengths[0] - lengths[1]), int(lengths[0]))
        out[f"visits.anchor_{name}"] = ratio(int(rows.stays[f]), int(lengths[1:].sum()))
        low, middle, high = (quantile(steps.gaps[f], edges, q) for q in (0.1586553, 0.5, 0.8413447))
        out[f"visits.gap_median_s_{name}"] = None if middle is None else middle / 1e6
        out[f"visits.gap_sigma_{name}"] = None if low is None or high is None else 0.5 * float(log(high / low))
        out[f"series.share_{name}"] = ratio(int(rows.in_series[f]), total)
        out[f"trips.share_{name}"] = ratio(int(rows.trips[f]), total)
        out[f"borders.home_{name}"] = ratio(float(rows.home[f]), total)
        out[f"peak.{name}"] = ratio(float(rows.by_day[f][peak].mean()), usual[f]) if peak.any() else None
    return out | _clock(world, scenario, rows)
