"""Figures again, by queries over the published files that share no code with the scan."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from figures.bench import Figured
from fraudloom.states.figures import Outcome

pytestmark = pytest.mark.xdist_group("figures")

VIEWS = {
    "arrivals": "s1_arrival_entities_6B",
    "sessions": "s1_session_index_6B",
    "flows": "s2_flow_anchor_baseline_6B",
    "events": "s2_event_stream_baseline_6B",
    "links": "s2_arrival_flow_link_6B",
}
WORLD = (
    "merchants_1A",
    "cities_1B",
    "calendar_3B",
    "s1_party_base_6A",
    "s4_device_base_6A",
    "s4_ip_base_6A",
    "fx_rates_3A",
)
ASKED = "flow_type <> 'CARD_CREDIT' AND NOT is_pinned"
SECURED = "three_ds IN ('FRICTIONLESS', 'CHALLENGED', 'ATTEMPTED')"
SOFT = "branch_trace & 8 <> 0"
BUYS = "channel_group IN ('ECOM', 'POS', 'HYBRID')"
KINDS = {
    "ECOM_3DS": f"channel_group = 'ECOM' AND entry_mode <> 'MIT' AND {SECURED}",
    "ECOM_plain": f"channel_group = 'ECOM' AND entry_mode <> 'MIT' AND NOT ({SECURED})",
    "MIT": "entry_mode = 'MIT'",
    "POS": "channel_group = 'POS'",
    "ATM": "channel_group = 'ATM'",
    "RAIL": "channel_group = 'BANK_RAIL'",
}
BAD = f"first_response_code <> '00' AND (({SOFT}) OR step_up_result <> 'ABANDONED')"
PAIRS = """(SELECT flow_id, b.us - a.us AS us FROM e a JOIN e b USING (flow_id, k)
    WHERE a.event_type = 'AUTH_REQUEST' AND b.event_type = 'AUTH_RESPONSE')"""
LATER = "lag({}) OVER (PARTITION BY {} ORDER BY ts_utc, merchant_id, arrival_seq)"


class Queries:
    """A connection with a view per table."""

    def __init__(self, run: Figured) -> None:
        self.con = duckdb.connect()
        for name, dataset in VIEWS.items():
            self._view(name, f"{run.bench.root}/data/layer3/6B/{dataset}/**/*.parquet")
        for name in WORLD:
            self._view(name, f"{run.bench.world_root}/data/**/{name}.parquet")
        self.con.execute(f"CREATE VIEW f AS SELECT * FROM flows WHERE {ASKED}")
        self.con.execute(
            """CREATE VIEW e AS SELECT flow_id, event_type, epoch_us(ts_utc) AS us,
            row_number() OVER (PARTITION BY flow_id, event_type ORDER BY event_seq) AS k FROM events"""
        )
        self.con.execute(
            "CREATE VIEW bought AS SELECT f.*, party_type, decimals, ending_style, amount_minor % 100 AS ending FROM f "
            "JOIN s1_party_base_6A USING (party_id) JOIN fx_rates_3A x ON x.currency = f.currency "
            f"JOIN merchants_1A USING (merchant_id) WHERE f.{BUYS}"
        )

    def _view(self, name: str, files: str) -> None:
        self.con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{files}', hive_partitioning = false)")

    def one(self, query: str) -> float:
        """The only value of a query."""
        ((value,),) = self.con.sql(query).fetchall()
        return float(value)

    def share(self, condition: str, rows: str) -> float:
        """Share of rows that fit."""
        return self.one(f"SELECT count(*) FILTER ({condition}) / count(*) FROM {rows}")

    def attached(self, days: int) -> dict[str, float]:
        """Section 1."""
        party = "(SELECT party_id, count(*) AS n FROM arrivals GROUP BY party_id)"
        top = """(WITH m AS (SELECT party_id, merchant_id, count(*) AS n FROM arrivals GROUP BY ALL),
            r AS (SELECT *, row_number() OVER (PARTITION BY party_id ORDER BY n DESC) AS k FROM m)
            SELECT sum(n) AS total, sum(n) FILTER (k <= 3) AS top FROM r GROUP BY party_id)"""
        place = """(SELECT a.*, c.country_iso <> p.country_iso AS away FROM arrivals a JOIN cities_1B c USING (city_id)
            JOIN s1_party_base_6A p USING (party_id))"""
        online = "arrivals WHERE channel_group = 'ECOM'"
        before = LATER.format("device_id", "party_id")
        out = {
            f"parties.p{q}": self.one(f"SELECT quantile_disc(n, 0.{q}) * 90 / {days} FROM {party}")
            for q in (50, 90, 99)
        }
        speed = """WITH s AS (SELECT {0}, epoch_us(ts_utc) AS us, unit_x AS x, unit_y AS y, unit_z AS z
                FROM arrivals JOIN cities_1B USING (city_id) WHERE channel_group IN ('POS', 'ATM')),
            p AS (SELECT us - lag(us) OVER w AS dt, 6371.0 * sqrt((x - lag(x) OVER w) ** 2 + (y - lag(y) OVER w) ** 2
                + (z - lag(z) OVER w) ** 2) AS km FROM s WINDOW w AS (PARTITION BY {0} ORDER BY us))
            SELECT count(*) FILTER (km * 3.6e9 > 900 * dt) / count(dt) FROM p"""
        return out | {
            "parties.few": self.share(f"n * 90 <= 5 * {days}", party),
            "parties.gini": self.one(
                f"""WITH r AS (SELECT n, row_number() OVER (ORDER BY n) AS k, count(*) OVER () AS m FROM {party})
                SELECT sum((2 * k - m - 1) * n) / (any_value(m) * sum(n)) FROM r"""
            ),
            "merchants.top3": self.one(f"SELECT avg(top / total) FROM {top} WHERE total > 5"),
            "merchants.top3_pooled": self.one(f"SELECT sum(top) / sum(total) FROM {top}"),
            "devices.same_as_before": self.one(
                f"""SELECT count(*) FILTER (device_id = d) / count(d)
                FROM (SELECT device_id, {before} AS d FROM {online})"""
            ),
            "devices.main": self.one(
                f"""WITH m AS (SELECT party_id, device_id, count(*) AS n FROM {online} GROUP BY ALL),
                o AS (SELECT max(n) AS top, sum(n) AS n FROM m GROUP BY party_id) SELECT sum(top) / sum(n) FROM o"""
            ),
            "sharing.devices": self.share(
                "n > 1",
                """(SELECT count(DISTINCT party_id) AS n FROM arrivals JOIN s4_device_base_6A USING (device_id)
                WHERE device_origin = 'OWNED' GROUP BY device_id)""",
            ),
            "sharing.residential": self.share(
                "n > 1",
                """(SELECT count(DISTINCT device_id) AS n FROM arrivals JOIN s4_ip_base_6A i USING (ip_id)
                WHERE i.ip_group = 'RESIDENTIAL' GROUP BY ip_id)""",
            ),
            "borders.home_POS": self.share("NOT away", f"{place} WHERE channel_group = 'POS'"),
            "borders.cross": self.share("away", place),
            "clock.night": self.share("ts_local_primary // 3600000000 % 24 < 5", "arrivals"),
            "speed.card": self.one(speed.format("instrument_id")),
            "speed.party": self.one(speed.format("party_id")),
        }

    def decided(self) -> dict[str, float]:
        """Sections 2 and 3."""
        many = "(SELECT count(*) AS n FROM flows GROUP BY session_id)"
        out = {f"declines.{k}": self.share("auth_decision = 'DECLINE'", f"f WHERE {w}") for k, w in KINDS.items()}
        present, remote = (
            f"f WHERE {BAD} AND channel_group = 'POS'",
            f"f WHERE {BAD} AND channel_group IN ('ECOM', 'HYBRID')",
        )
        fresh = "first_response_code IN ('91', '96') AND step_up_result <> 'PASSED'"
        own = f"f WHERE branch_trace & 32 = 0 AND (step_up_result <> 'ABANDONED' OR {SOFT})"
        plain = "(SELECT flow_id FROM e WHERE event_type = 'STEP_UP_CHALLENGE')"
        return out | {
            "sessions.single": self.share("arrival_count = 1", "sessions"),
            "sessions.multi_flow": self.share("n > 1", many),
            "codes.POS_51": self.share("first_response_code = '51'", present),
            "codes.POS_other": self.share(
                "first_response_code NOT IN ('51', '55', '05', '61', '65', '54', '91', '96', '59', '41', '43')", present
            ),
            "codes.CNP_soft": self.share(SOFT, remote),
            "codes.CNP_limits": self.share(f"NOT ({SOFT}) AND first_response_code IN ('61', '65')", remote),
            "last_codes.CNP_soft": self.share(
                f"{SOFT} AND attempts = 1", "f WHERE auth_decision = 'DECLINE' AND channel_group IN ('ECOM', 'HYBRID')"
            ),
            "retries.outage": self.share("attempts > 1", f"f WHERE {fresh}"),
            "retries.funds_all": self.share("attempts > 1", "f WHERE first_response_code = '51'"),
            "genuine.suspected": self.share("response_code = '59'", "f"),
            "genuine.alerted": self.share("alerted", "f"),
            "latency.p99_ms": self.one(f"SELECT quantile_disc(issuer_latency_ms, 0.99) FROM {own}"),
            "stand_in.share": self.share("branch_trace & 32 <> 0", "f"),
            "step_up.ECOM": self.share("step_up_result IN ('PASSED', 'ABANDONED')", "f WHERE channel_group = 'ECOM'"),
            "step_up.abandoned": self.share(
                "step_up_result = 'ABANDONED'", "f WHERE step_up_result IN ('PASSED', 'ABANDONED')"
            ),
            "end_to_end.p50_s": self.one(f"SELECT quantile_disc(us // 1000, 0.5) / 1000 FROM {PAIRS}"),
            "end_to_end.p99_plain_s": self.one(
                f"SELECT quantile_disc(us // 1000, 0.99) / 1000 FROM {PAIRS} WHERE flow_id NOT IN {plain}"
            ),
        }

    def paid(self) -> dict[str, float]:
        """Section 4."""
        pos, ecom = (f"bought WHERE party_type = 'RETAIL' AND channel_group = '{c}'" for c in ("POS", "ECOM"))
        business = "bought WHERE party_type = 'BUSINESS'"
        ratio = "SELECT quantile_disc(amount_ref_minor, 0.99) / quantile_disc(amount_ref_minor, 0.5) FROM "
        tops = """(WITH a AS (SELECT currency, amount_minor, count(*) AS n FROM bought GROUP BY ALL),
            r AS (SELECT *, row_number() OVER (PARTITION BY currency ORDER BY n DESC) AS k FROM a)
            SELECT sum(n) FILTER (k <= 8) / sum(n) AS top FROM r GROUP BY currency HAVING sum(n) >= 300)"""
        free = """(SELECT b.is_business_day AS is_open FROM f JOIN calendar_3B b ON b.country_iso = f.merchant_country
            AND b.day = clear_ts_utc::DATE WHERE clear_ts_utc IS NOT NULL AND channel_group <> 'BANK_RAIL')"""
        round_ = "ending IN (99, 95, 0)"
        refunds = "f WHERE refund_ts_utc IS NOT NULL AND " + BUYS
        return {
            "amounts.RETAIL_POS_p50": self.one(f"SELECT quantile_disc(amount_ref_minor, 0.5) / 100 FROM {pos}"),
            "amounts.RETAIL_POS_mean": self.one(f"SELECT avg(amount_ref_minor) / 100 FROM {pos}"),
            "amounts.RETAIL_ECOM_p99_over_p50": self.one(ratio + ecom),
            "amounts.BUSINESS_p99_over_p50": self.one(ratio + business),
            "prices.top8_least": self.one(f"SELECT min(top) FROM {tops}"),
            "prices.top8_most": self.one(f"SELECT max(top) FROM {tops}"),
            "endings.ECOM": self.share(round_, "bought WHERE decimals = 2 AND channel_group = 'ECOM'"),
            "endings.BUSINESS_00": self.share("ending = 0", "bought WHERE decimals = 2 AND ending_style = 'BUSINESS'"),
            "endings.party_BUSINESS_99": self.share("ending = 99", f"{business} AND decimals = 2"),
            "clearing.on_holidays": self.one(f"SELECT count(*) FILTER (NOT is_open) FROM {free}"),
            "clearing.tips": self.share(
                "cleared_minor > amount_minor", "f WHERE clear_ts_utc IS NOT NULL AND channel_group = 'POS'"
            ),
            "refunds.full": self.share("refunded_minor = cleared_minor", refunds),
            "refunds.share": self.share("refund_ts_utc IS NOT NULL", f"flows WHERE {BUYS} AND NOT is_pinned"),
            "rails.accepted": self.share("payment_state = 'ACCEPTED'", "flows WHERE channel_group = 'BANK_RAIL'"),
            "rails.paid_before": self.one(
                """SELECT 1 - count(DISTINCT (party_id, payee_account_id)) / count(*) FROM flows
                WHERE channel_group = 'BANK_RAIL'"""
            ),
        }


def test_queries_give_the_same_figures(whole: Figured, sound: dict[str, Outcome]) -> None:
    """A wrong definition, a lost row or a wrong pairing in the scan shows as a difference from plain SQL."""
    queries = Queries(whole)
    theirs: dict[str, Any] = {**queries.attached(whole.context.town.world.days), **queries.decided(), **queries.paid()}
    assert len(theirs) > 50
    for name, value in theirs.items():
        assert sound[name].value == pytest.approx(value, rel=1e-9, abs=1e-12), name
