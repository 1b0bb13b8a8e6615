"""Every figure again, by queries over the published files that share no code with the scorer."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import duckdb
import mpmath
import numpy as np
import pytest

from score.bench import Scored, found, gates

pytestmark = pytest.mark.xdist_group("score")

#: Views by short name: published datasets, then tables of the world.
VIEWS = {
    "arrivals": "s1_arrival_entities_6B",
    "sessions": "s1_session_index_6B",
    "base": "s2_flow_anchor_baseline_6B",
    "events": "s2_event_stream_baseline_6B",
    "catalogue": "s3_campaign_catalogue_6B",
    "flows": "s3_flow_anchor_with_fraud_6B",
    "truth": "s4_flow_truth_labels_6B",
    "bank": "s4_flow_bank_view_6B",
    "cases": "s4_case_timeline_6B",
}
WORLD = ("merchants_1A", "merchant_class_profile_5A", "fx_rates_3A", "cities_1B", "s1_party_base_6A")
TYPES = ("CARD_TESTING", "ATO", "APP_SCAM")
JOINED = """
CREATE VIEW j AS SELECT f.flow_id, f.campaign_id, p.primary_demand_class AS class, b.bank_label,
    b.is_fraud_bank_view AS flag, {ref} AS ref, {zone} AS zone, {pattern} AS pattern, t.fraud_label,
    {anomaly} AS anomaly, {rule} AS rule, {template} AS template
FROM flows f JOIN bank b USING (flow_id) JOIN truth t USING (flow_id)
    JOIN merchant_class_profile_5A p USING (merchant_id) JOIN merchants_1A m USING (merchant_id)
    JOIN fx_rates_3A x ON x.currency = m.currency
    JOIN s1_party_base_6A a ON a.party_id = f.party_id JOIN cities_1B c ON c.city_id = a.city_id
    LEFT JOIN catalogue k ON k.campaign_id = f.campaign_id
"""
MINOR = "round({}amount * power(10, x.decimals))"
SCALE = "(x.ref_per_major * 100.0 / power(10, x.decimals))"
REF = f"CAST(greatest(1, round_even({MINOR.format('f.')} * {SCALE}, 0)) AS BIGINT)"
FULL = {
    "ref": "f.amount_ref_minor",
    "zone": "f.tz",
    "pattern": "f.fraud_pattern_type",
    "anomaly": "(f.mutation_flags & 127) <> 0",
    "rule": "t.label_rule_id",
    "template": "NULL",
}
CORE = {
    "ref": REF,
    "zone": "c.tzid",
    "pattern": "'NONE'",
    "anomaly": "false",
    "rule": "'NONE'",
    "template": "split_part(k.campaign_label, '#', 1)",
}


class Queries:
    """A connection with a view per table, and the figures that it gives."""

    def __init__(self, scored: Scored) -> None:
        self.con = duckdb.connect()
        self.plan = (scored.pack / "realism_gates_6B.yaml").read_text("utf-8")
        for name, dataset in VIEWS.items():
            self._view(name, f"{scored.bench.root}/data/layer3/6B/{dataset}/**/*.parquet")
        for name in WORLD:
            self._view(name, f"{scored.bench.world_root}/data/**/{name}.parquet")
        self.core = "tz" not in self.con.sql("FROM flows LIMIT 0").columns
        self.con.execute(JOINED.format(**(CORE if self.core else FULL)))

    def _view(self, name: str, files: str) -> None:
        self.con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}', hive_partitioning = false)")

    def number(self, key: str) -> float:
        """A definition of the policy."""
        match = re.search(rf"{key}: ([\d.]+)", self.plan)
        assert match
        return float(match[1])

    def one(self, query: str) -> Any:
        """The only value of a query."""
        rows = self.con.sql(query).fetchall()
        assert len(rows) == 1
        return rows[0][0]

    def share(self, condition: str, rows: str) -> float:
        """Share of rows that fit."""
        return float(self.one(f"SELECT count(*) FILTER ({condition}) / count(*) FROM {rows}"))

    def association(self, a: str, b: str, rows: str) -> tuple[float, float]:
        """(Cramer's V, chi-square p) of two columns, by expected counts."""
        cells = self.con.sql(f"SELECT {a}, {b}, count(*) FROM {rows} GROUP BY ALL").fetchall()
        left, right = (sorted({c[k] for c in cells}, key=str) for k in (0, 1))
        table = np.zeros((len(left), len(right)))
        for x, y, n in cells:
            table[left.index(x), right.index(y)] = n
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
        chi2 = float(((table - expected) ** 2 / expected).sum())
        degrees = (len(left) - 1) * (len(right) - 1)
        p = float(mpmath.gammainc(degrees / 2, chi2 / 2, mpmath.inf, regularized=True))
        return math.sqrt(chi2 / table.sum() / (min(table.shape) - 1)), p

    def rates(self) -> list[float]:
        """Bank-fraud rates of the merchant classes that are large enough, ascending."""
        least = self.number("class_share_min")
        query = f"""SELECT avg(flag::INT) AS rate FROM j GROUP BY class
            HAVING count(*) >= {least} * (SELECT count(*) FROM j) ORDER BY rate"""
        return [r[0] for r in self.con.sql(query).fetchall()]

    def by_currency(self, figure: str, worst: str) -> float:
        """A figure of S2 amounts in the worst currency."""
        minor = f"CAST({MINOR.format('')} AS BIGINT)" if self.core else "amount_minor"
        query = f"""WITH a AS (SELECT m.currency, {minor} AS minor FROM base JOIN merchants_1A m USING (merchant_id)
                JOIN fx_rates_3A x ON x.currency = m.currency),
            counted AS (SELECT currency, minor, count(*) AS n FROM a GROUP BY ALL),
            ranked AS (SELECT *, row_number() OVER (PARTITION BY currency ORDER BY n DESC) AS place FROM counted),
            top AS (SELECT currency, sum(n) FILTER (place <= 8) AS most FROM ranked GROUP BY currency),
            own AS (SELECT currency, count(DISTINCT minor) AS kinds, any_value(most) / count(*) AS common,
                    quantile_disc(minor, 0.99) / quantile_disc(minor, 0.5) AS spread
                FROM a JOIN top USING (currency) GROUP BY currency
                HAVING count(*) >= {self.number("currency_flows_min")})
            SELECT {worst}({figure}) FROM own"""
        return float(self.one(query))

    def latencies(self) -> tuple[float, float, float]:
        """Median, 99th percentile (seconds, to the millisecond below) and zero share of authorisation times."""
        query = """WITH e AS (SELECT flow_id, event_type, epoch_us(ts_utc) AS us,
                row_number() OVER (PARTITION BY flow_id, event_type ORDER BY event_seq) AS k
                FROM events WHERE event_type IN ('AUTH_REQUEST', 'AUTH_RESPONSE')),
            p AS (SELECT b.us - a.us AS us FROM e a JOIN e b USING (flow_id, k)
                WHERE a.event_type = 'AUTH_REQUEST' AND b.event_type = 'AUTH_RESPONSE')
            SELECT floor(quantile_disc(us, 0.5) / 1000) / 1000, floor(quantile_disc(us, 0.99) / 1000) / 1000,
                avg((us = 0)::INT)
            FROM p"""
        rows = self.con.sql(query).fetchall()
        return tuple(float(x) for x in rows[0])  # type: ignore[return-value]

    def effect(self) -> tuple[float, float]:
        """(Cohen's d, KS distance) of reference amounts by the bank's flag."""
        a, b = (self.con.sql(f"SELECT ref FROM j WHERE flag = {x}").fetchnumpy()["ref"] for x in ("true", "false"))
        pooled = ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
        query = """WITH s AS
                (SELECT ref, count(*) FILTER (flag) AS x, count(*) FILTER (NOT flag) AS y FROM j GROUP BY ref),
            c AS (SELECT sum(x) OVER w AS x, sum(y) OVER w AS y FROM s WINDOW w AS (ORDER BY ref))
            SELECT max(abs(x / (SELECT sum(x) FROM s) - y / (SELECT sum(y) FROM s))) FROM c"""
        return abs(a.mean() - b.mean()) / math.sqrt(pooled), float(self.one(query))

    def shared(self) -> float:
        """Mean of the three shares of shared entities."""
        pairs = (("device_id", "party_id"), ("ip_id", "device_id"), ("account_id", "instrument_id"))
        shares = [
            self.share(
                "n > 1", f"(SELECT {a}, count(DISTINCT {b}) AS n FROM arrivals WHERE {b} IS NOT NULL GROUP BY {a})"
            )
            for a, b in pairs
        ]
        return sum(shares) / 3

    def collisions(self) -> int:
        """Flows of a predicate with another outcome than most, and of an outcome with another predicate than most."""
        if self.core:
            query = """WITH s AS
                (SELECT coalesce(template, '') AS k, fraud_label AS o, count(*) AS n FROM j GROUP BY ALL),
                g AS (SELECT sum(n) - max(n) AS lost FROM s GROUP BY k) SELECT sum(lost) FROM g"""
            return int(self.one(query))
        query = """WITH s AS (SELECT (pattern, campaign_id IS NULL, campaign_id IS NULL AND anomaly)::VARCHAR AS k,
                (rule, fraud_label)::VARCHAR AS o, count(*) AS n FROM j GROUP BY ALL),
            g AS (SELECT sum(n) - max(n) AS lost FROM s GROUP BY k UNION ALL SELECT sum(n) - max(n) FROM s GROUP BY o)
            SELECT sum(lost) FROM g"""
        return int(self.one(query))

    def gaps(self, figure: str) -> float:
        """A figure over gaps between the events of cases."""
        query = f"""WITH g AS (SELECT case_id,
                epoch_us(ts_utc) - lag(epoch_us(ts_utc)) OVER (PARTITION BY case_id ORDER BY case_event_seq) AS gap
                FROM cases) SELECT {figure} FROM g"""
        return float(self.one(query))

    def figures(self) -> dict[str, float]:
        """All figures but T21, by gate and measure."""
        clean = "j WHERE campaign_id IS NULL AND NOT anomaly"
        tagged = "j WHERE campaign_id IS NOT NULL"
        rates, latencies, effect = self.rates(), self.latencies(), self.effect()
        genuine = "(SELECT quantile_disc(ref, 0.5) FROM j WHERE campaign_id IS NULL)"
        medians = {
            f"T6b.{t.lower()}_median_ratio": f"SELECT quantile_disc(ref, 0.5) / {genuine} FROM j WHERE pattern = '{t}'"
            for t in TYPES
        }
        kinds = "template" if self.core else "pattern"
        zones = "(SELECT campaign_id, count(DISTINCT zone) AS n FROM j WHERE campaign_id IS NOT NULL GROUP BY ALL)"
        return {
            "T1.legit_share": self.share("fraud_label = 'LEGIT'", "truth"),
            "T2.fraud_share": self.share("is_fraud_truth", "truth"),
            "T3.clean_legit_share": self.share("fraud_label = 'LEGIT'", clean),
            "T4.campaign_labelled_share": self.share("fraud_label <> 'LEGIT'", tagged),
            "T5.cramers_v": self.association("bank_label", "class", "j")[0],
            "T5b.cramers_v": self.association("flag", "class", "j")[0],
            "T6.cohen_d": effect[0],
            "T6b.ks_distance": effect[1],
            **({} if self.core else {name: float(self.one(q)) for name, q in medians.items()}),
            "T7.rate_spread": rates[-1] - rates[0],
            "T7b.rate_ratio": rates[-1] / rates[0],
            "T8.negative_gap_share": self.gaps("count(*) FILTER (gap < 0) / count(gap)"),
            "T9.round_gap_share": self.gaps("count(*) FILTER (gap / 1e6 IN (3600, 86400, 86401)) / count(gap)"),
            "T10.negative_case_share": self.gaps("count(DISTINCT case_id) FILTER (gap < 0) / count(DISTINCT case_id)"),
            "T11.distinct_amounts": self.by_currency("kinds", "min"),
            "T12.p99_over_p50": self.by_currency("spread", "min"),
            "T13.top_amounts_share": self.by_currency("common", "max"),
            "T14.median_s": latencies[0],
            "T15.p99_s": latencies[1],
            "T16.zero_share": latencies[2],
            "T17.campaigns": self.one(f"SELECT count(DISTINCT campaign_id) FROM {tagged}"),
            "T17.types": self.one(f"SELECT count(DISTINCT {kinds}) FROM {tagged}"),
            "T17.cramers_v": self.association("campaign_id", "class", tagged)[0],
            "T18.cramers_v": self.association("campaign_id", "zone", tagged)[0],
            "T18.zones_median": self.one(f"SELECT median(n) FROM {zones}"),
            "T19.single_arrival_share": self.share("arrival_count = 1", "sessions"),
            "T20.shared_mean": self.shared(),
            "T22.collisions": self.collisions(),
        }


@pytest.mark.parametrize("profile", ["whole", "core"])
def test_queries_give_the_same_figures(request: pytest.FixtureRequest, profile: str) -> None:
    """A wrong definition, a lost row or a wrong pairing in the scorer shows as a difference from plain SQL."""
    scored: Scored = request.getfixturevalue(profile)
    mine = {k: v for k, v in found(scored.score()).items() if v is not None and not k.startswith("T21")}
    theirs = Queries(scored).figures()
    assert set(mine) == set(theirs)
    for name, value in theirs.items():
        assert mine[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_queries_agree_on_broken_tables(scored: Scored) -> None:
    """Figures that are zero on a good run (negative and round gaps, zero times, collisions) are counted rightly too."""
    turn = np.random.default_rng(3)
    scored.edit("s4_case_timeline_6B", lambda c: turn.shuffle(c["ts_utc"]))
    scored.edit("s2_event_stream_baseline_6B", lambda c: c["ts_utc"].__setitem__(slice(0, None, 2), c["ts_utc"][0]))
    scored.edit("s4_flow_truth_labels_6B", lambda c: turn.shuffle(c["label_rule_id"]))
    scored.edit("s4_flow_truth_labels_6B", lambda c: turn.shuffle(c["fraud_label"]))
    scored.edit("s3_flow_anchor_with_fraud_6B", lambda c: turn.shuffle(c["mutation_flags"]))
    mine, theirs = found(scored.score()), Queries(scored).figures()
    for name in ("T3", "T4", "T8", "T10", "T14", "T15", "T16", "T22"):
        key = next(k for k in theirs if k.startswith(f"{name}."))
        assert mine[key] == pytest.approx(theirs[key], rel=1e-9, abs=1e-12), key
        assert theirs[key] not in (0, 1), key


@pytest.mark.parametrize("profile", ["whole", "core"])
def test_chance_is_chi_square(request: pytest.FixtureRequest, profile: str) -> None:
    """A wrong number of degrees of freedom, or a wrong tail, would call chance an association."""
    scored: Scored = request.getfixturevalue(profile)
    queries, results = Queries(scored), gates(scored.score())
    tagged = "j WHERE campaign_id IS NOT NULL"
    for gate, pair in {
        "T5": ("bank_label", "class", "j"),
        "T5b": ("flag", "class", "j"),
        "T17": ("campaign_id", "class", tagged),
        "T18": ("campaign_id", "zone", tagged),
    }.items():
        measure = next(m for m in results[gate].measures if m.measure.name == "cramers_v")
        assert measure.found.p == pytest.approx(max(queries.association(*pair)[1], 1e-12), rel=1e-3, abs=2e-12), gate


def test_report_is_plain_data(whole: Scored) -> None:
    """A NaN or an array in the report could not be read back."""
    value = whole.both()[0]
    assert json.loads(json.dumps(value, allow_nan=False)) == value
