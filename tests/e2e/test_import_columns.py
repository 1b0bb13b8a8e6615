"""Every column that an import map may name is pinned: it goes through the world and a run as the log has it."""

from __future__ import annotations

import collections
import csv
import gzip
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from e2e.conftest import Woven, cli, weave
from fraudloom.contracts_api import load_contracts
from fraudloom.policies_api import load_pack

pytestmark = pytest.mark.xdist_group("e2e-import-columns")

MAP: dict[str, Any] = {
    "source": {"format": "csv", "timezone": "Europe/London", "currency": "GBP", "country": "GB"},
    "columns": {
        "timestamp": "at",
        "merchant": "shop",
        "card": "pan",
        "amount": "value",
        "mcc": "category",
        "channel": "how",
        "merchant_country": "where",
        "currency": "money",
        "customer": "who",
        "device": "machine",
        "ip": "address",
        "zone": "clock",
        "fraud_label": "bad",
    },
    "amount": {"unit": "minor", "credit_sign": "negative"},
}
CHANNELS = ("ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID", "")
PLACES = (("GB", "GBP", "Europe/London"), ("FR", "EUR", "Europe/Paris"), ("US", "USD", "America/New_York"))
Row = dict[str, str]


def written() -> list[Row]:
    """600 rows of 12 customers with 36 cards: each amount once, so that a row is found again by it."""
    rows = []
    for i in range(600):
        customer, turn = i % 12, i // 12
        country, currency, zone = PLACES[(i // 7) % 3] if i % 5 else ("", "", "")
        # A shop takes several currencies in one country.
        currency = PLACES[(i // 3) % 3][1] if currency else ""
        channel = CHANNELS[(i // 3) % 6]
        remote = channel in ("ECOM", "HYBRID", "BANK_RAIL")
        # Customers 0 and 1 use one tablet between them; the first two addresses are shared by many.
        machine = "tablet" if customer < 2 and turn % 3 == 0 else f"phone {customer}.{turn % 4}"
        rows.append(
            {
                "at": f"2024-{3 + i // 300:02d}-{1 + i % 28:02d}T{i % 24:02d}:{i % 60:02d}:{i * 7 % 60:02d}",
                "shop": f"Shop {i * i % 17}",
                "pan": f"{4000 + customer * 3 + turn % 3}",
                "value": str(-(1000 + i) if i % 41 == 0 else 1000 + i),
                "category": ("5411", "5812", "7995", "")[i % 4],
                "how": channel,
                "where": country,
                "money": currency,
                "who": f"customer {customer}" if i % 7 else "",
                "machine": machine if remote and i % 8 else "",
                "address": ("10.0.0.1", f"192.0.2.{customer}", "2001:DB8::1")[i % 3] if remote and i % 9 else "",
                "clock": zone,
                "bad": ("0", "0", "false", "1", "ABUSE", "")[i % 6],
            }
        )
    return rows


def imported(
    folder: Path, rows: list[Row], name: str = "log.csv.gz", words: tuple[object, ...] = (), **changed: Any
) -> Path:
    """A world from the rows; `words`: further options; `changed` replaces sections of the map."""
    if name.endswith(".parquet"):
        columns = {k: [r[k] or None for r in rows] for k in rows[0]}
        whole = {k: [None if v is None else int(v) for v in columns[k]] for k in ("value", "category", "pan")}
        moments = [datetime.fromisoformat(r["at"]) for r in rows]
        pq.write_table(pa.table({**columns, **whole, "at": pa.array(moments, pa.timestamp("ns"))}), folder / name)
    else:
        with gzip.open(folder / name, "wt", encoding="utf-8", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    (folder / "map.yaml").write_text(yaml.safe_dump({**MAP, **changed}), "utf-8")
    cli("world", "import", folder / name, "--map", folder / "map.yaml", "--out", folder / "world", *words)
    return folder / "world"


QUERY = """
SELECT abs(amount_minor)::VARCHAR AS value, f.*, m.merchant_name, i.external_ref AS card, p.external_ref AS customer,
       d.external_ref AS device, d.device_origin, a.external_ref AS address, t.* EXCLUDE (flow_id),
       strftime(f.ts_utc AT TIME ZONE f.tz, '%Y-%m-%dT%H:%M:%S') AS wall
FROM flows f JOIN cards i USING (instrument_id) JOIN merchants m ON m.merchant_id = f.merchant_id
JOIN parties p ON p.party_id = f.party_id JOIN devices d ON d.device_id = f.device_id
JOIN addresses a ON a.ip_id = f.ip_id JOIN truth t ON t.flow_id = f.flow_id
"""


def views(world: Path, woven: Woven) -> duckdb.DuckDBPyConnection:
    """The tables of `QUERY`; flows are those of the log."""
    con = duckdb.connect()
    for name, folder in {
        "all_flows": woven.folder("s3_flow_anchor_with_fraud_6B"),
        "truth": woven.folder("s4_flow_truth_labels_6B"),
        "cards": world / "data/layer3/6A/s3_instrument_base_6A",
        "parties": world / "data/layer3/6A/s1_party_base_6A",
        "devices": world / "data/layer3/6A/s4_device_base_6A",
        "addresses": world / "data/layer3/6A/s4_ip_base_6A",
        "merchants": world / "data/layer1/1A/merchants",
        "arrivals": world / "data/layer2/5B/arrival_events",
    }.items():
        con.execute(
            f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{folder}/**/*.parquet', hive_partitioning=false)"
        )
    con.execute("CREATE VIEW flows AS SELECT * FROM all_flows WHERE is_pinned")
    return con


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Path, Woven]:
    """The rows, their world, and a run on it."""
    folder, rows = tmp_path_factory.mktemp("columns"), written()
    world = imported(folder, rows)
    return rows, world, weave(world, folder / "runs")


@pytest.fixture(scope="module")
def pairs(logged: tuple[list[Row], Path, Woven]) -> list[tuple[Row, dict[str, Any]]]:
    """(row of the log, its flow) of every row."""
    rows, world, woven = logged
    assert woven.result["verdict"] == "PASS"
    found = {flow["value"]: flow for flow in views(world, woven).sql(QUERY).to_arrow_table().to_pylist()}
    assert len(found) == len(rows)
    return [(row, found[row["value"].lstrip("-")]) for row in rows]


def named(pairs: list[tuple[Row, dict[str, Any]]], column: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(cell, flow) of rows in which the log gives a column; there are some that it leaves empty."""
    assert {bool(row[column]) for row, _ in pairs} == {True, False}
    return ((row[column], flow) for row, flow in pairs if row[column])


def test_merchant_card_and_sign(pairs: list[tuple[Row, dict[str, Any]]]) -> None:
    """Broken: a row with all optional columns loses its merchant, its card or its sign."""
    for row, flow in pairs:
        assert (flow["merchant_name"], flow["card"]) == (row["shop"], row["pan"])
        assert (flow["flow_type"] == "CARD_CREDIT") == row["value"].startswith("-")


@pytest.mark.parametrize(
    ("cell", "column"),
    [
        ("category", "mcc"),
        ("how", "channel_group"),
        ("where", "merchant_country"),
        ("money", "currency"),
        ("who", "customer"),
        ("machine", "device"),
        ("clock", "tz"),
        ("bad", "pinned_label"),
    ],
)
def test_column_is_the_flow_s(pairs: list[tuple[Row, dict[str, Any]]], cell: str, column: str) -> None:
    """Broken: what the log says of a row is not what its flow shows."""
    words = {"0": "LEGIT", "false": "LEGIT", "1": "FRAUD"}
    for wanted, flow in named(pairs, cell):
        assert str(flow[column]) == (words.get(wanted, wanted) if cell == "bad" else wanted)


def test_addresses_are_the_flow_s(pairs: list[tuple[Row, dict[str, Any]]]) -> None:
    """Broken: a row's address is not its flow's, or two spellings of one address are two."""
    for wanted, flow in named(pairs, "address"):
        assert flow["address"] == wanted.lower()


def test_local_time_is_the_row_s(pairs: list[tuple[Row, dict[str, Any]]]) -> None:
    """Broken: a time without an offset is not read in the row's own zone (the map's, where it gives none)."""
    for row, flow in pairs:
        zone = row["clock"] or "Europe/London"
        wanted = datetime.fromisoformat(row["at"]).replace(tzinfo=ZoneInfo(zone))
        assert flow["ts_utc"] == wanted, row


def test_labels_are_the_truth(pairs: list[tuple[Row, dict[str, Any]]]) -> None:
    """Broken: truth contradicts a label of the log, or a campaign tags a labelled flow."""
    for _, flow in named(pairs, "bad"):
        assert flow["fraud_label"] == flow["pinned_label"]
        assert flow["is_fraud_truth"] == (flow["pinned_label"] != "LEGIT")
        assert (flow["label_rule_id"], flow["pattern_source"]) == ("RULE_PINNED_LABEL", "IMPORTED")
        assert (flow["campaign_id"], flow["truth_subtype"], flow["fraud_class"]) == (None, "NONE", "NONE")
    rest = [flow for row, flow in pairs if not row["bad"]]
    assert all(flow["pinned_label"] is None and flow["label_rule_id"] != "RULE_PINNED_LABEL" for flow in rest)


def test_labels_are_the_truth_of_the_two_event_pack(logged: tuple[list[Row], Path, Woven], tmp_path: Path) -> None:
    """Broken: labels are lost, or fail the run, in a pack that publishes `core` columns and settles nothing."""
    rows, world, _ = logged
    woven = weave(world, tmp_path, "--policies", "two-event")
    assert woven.result["verdict"] == "PASS"
    folders = [woven.folder(d) for d in ("s3_flow_anchor_with_fraud_6B", "s4_flow_truth_labels_6B")]
    found = duckdb.execute(
        f"SELECT round(amount * 100)::INT, fraud_label FROM '{folders[0]}/**/*.parquet' f "
        f"JOIN '{folders[1]}/**/*.parquet' t ON t.flow_id = f.flow_id WHERE arrival_seq IS NOT NULL"
    ).fetchall()
    labels = {str(value): label for value, label in found}
    words = {"0": "LEGIT", "false": "LEGIT", "1": "FRAUD", "ABUSE": "ABUSE"}
    assert len(found) == len(rows)
    for row in rows:
        assert not row["bad"] or labels[row["value"].lstrip("-")] == words[row["bad"]]


def test_empty_cells_are_made(pairs: list[tuple[Row, dict[str, Any]]]) -> None:
    """Broken: an empty cell stops the import, or is not made by the rule that the manifest tells."""
    category = {row["shop"]: row["category"] for row, _ in reversed(pairs) if row["category"]}
    card = {row["pan"]: row["who"] for row, _ in reversed(pairs) if row["who"]}
    for row, flow in pairs:
        if not row["category"]:
            assert str(flow["mcc"]) == category[row["shop"]]
        if not row["where"]:
            assert (flow["merchant_country"], flow["currency"], flow["tz"]) == ("GB", "GBP", "Europe/London")
        if not row["who"]:
            assert flow["customer"] == card[row["pan"]]
        if row["how"] in ("POS", "ATM") and not row["machine"]:
            assert flow["device"] is None or flow["device_origin"] == "OWNED"


def test_cards_of_a_customer_share_a_party(logged: tuple[list[Row], Path, Woven]) -> None:
    """Broken: a customer is split, two are one, or customers with a device in common are not one household."""
    rows, world, woven = logged
    con = views(world, woven)
    found = con.execute("SELECT external_ref, cohort_id FROM parties").fetchall()
    assert {name for name, _ in found} == {r["who"] for r in rows if r["who"]}
    assert len(found) == 12
    home = dict(found)
    assert home["customer 0"] == home["customer 1"]
    assert len(set(home.values())) > 3
    cards = con.execute(
        "SELECT p.external_ref, i.external_ref FROM cards i JOIN parties p ON p.party_id = i.owner_party_id "
        "WHERE i.external_ref IS NOT NULL"
    ).fetchall()
    assert collections.Counter(cards) == collections.Counter({(r["who"], r["pan"]) for r in rows if r["who"]})


def test_manifest_and_show_tell_what_was_pinned(logged: tuple[list[Row], Path, Woven]) -> None:
    """Broken: a reader cannot tell, per column and table, what the log says from what was made."""
    rows, world, _ = logged
    manifest = json.loads((world / "world.json").read_text("utf-8"))
    assert manifest["pinned"] == list(MAP["columns"])
    for ours, name in MAP["columns"].items():
        fact, given = manifest["log_columns"][ours], sum(bool(r[name]) for r in rows)
        assert (fact["log_column"], fact["pinned_rows"], fact["made_rows"]) == (name, given, len(rows) - given)
        for target in fact["pinned_to"]:
            table, column = target.split(".")
            assert column in manifest["table_columns"][table]["pinned"]
    assert manifest["labels"]["rows"] == {"LEGIT": 300, "FRAUD": 100, "ABUSE": 100, "none": 100}
    shown = cli("world", "show", world).stdout
    for name, text in {"merchant_country": "(where)", "fraud_label": "(bad)", "merchants_1A": "country_iso"}.items():
        assert any(name in line and text in line for line in shown.splitlines()), name
    assert "RULE_PINNED_LABEL" in shown


def test_parquet_gives_the_same_arrivals(logged: tuple[list[Row], Path, Woven], tmp_path: Path) -> None:
    """Broken: a Parquet log with typed columns, nulls and nanoseconds is not read as the same rows as text."""
    rows, world, _ = logged
    source = {**MAP["source"], "format": "parquet"}
    other = imported(tmp_path, rows, "log.parquet", source=source)
    # Draws hang on the log's own bytes, so a channel that no row of a merchant tells may differ.
    told = [r["value"].lstrip("-") for r in rows if r["how"]]
    columns = (
        "ts_utc, channel_group, zone_representation, city_id, trip, pinned_amount_minor, pinned_is_credit, pinned_label"
    )
    query = (
        f"SELECT {columns}, m.merchant_name, m.mcc, m.currency, i.external_ref, d.external_ref, a.external_ref "
        "FROM '{0}/layer2/5B/arrival_events/**/*.parquet' r "
        "JOIN '{0}/layer1/1A/merchants/**/*.parquet' m USING (merchant_id) "
        "JOIN '{0}/layer3/6A/s3_instrument_base_6A/**/*.parquet' i ON i.instrument_id = pinned_instrument_id "
        "LEFT JOIN '{0}/layer3/6A/s4_device_base_6A/**/*.parquet' d ON d.device_id = pinned_device_id "
        "LEFT JOIN '{0}/layer3/6A/s4_ip_base_6A/**/*.parquet' a ON a.ip_id = pinned_ip_id "
        f"WHERE pinned_amount_minor IN ({', '.join(told)}) ORDER BY ALL"
    )
    query = query.replace("city_id", "r.city_id").replace("channel_group", "r.channel_group")
    both = [duckdb.connect().sql(query.format(w / "data")).to_arrow_table().to_pylist() for w in (world, other)]
    assert len(both[0]) == len(told) > 400
    assert both[0] == both[1]


def test_wall_time_of_the_source(tmp_path: Path) -> None:
    """Broken: `wall_time: source` does not read times in the map's zone, or drops the row's own zone with it."""
    rows = [r for r in written()[:40] if r["clock"] == "America/New_York"]
    assert rows
    world = imported(tmp_path, rows, source={**MAP["source"], "wall_time": "source"})
    found = (
        duckdb.connect()
        .sql(
            "SELECT pinned_amount_minor, ts_utc, zone_representation "
            f"FROM '{world}/data/layer2/5B/arrival_events/**/*.parquet'"
        )
        .to_arrow_table()
    )
    at = {int(r["value"]): datetime.fromisoformat(r["at"]).replace(tzinfo=ZoneInfo("Europe/London")) for r in rows}
    assert {tuple(r.values()) for r in found.to_pylist()} == {(abs(v), ts, "America/New_York") for v, ts in at.items()}


def test_a_skewed_log_is_woven(tmp_path: Path) -> None:
    """Broken: a card with a fifth of the rows, more than a shard's target, does not go through a run."""
    rows = [
        {
            "at": f"2024-03-{1 + i % 28:02d}T{i % 24:02d}:{i * 13 % 60:02d}:{i * 7 % 60:02d}",
            "shop": f"Shop {i * i % 83}",
            "pan": "hot" if i % 5 == 0 else f"{i * 31 % 997}",
            "value": str(100 + i * 17 % 9000),
        }
        for i in range(12_000)
    ]
    columns = {k: v for k, v in MAP["columns"].items() if k in ("timestamp", "merchant", "card", "amount")}
    folder = tmp_path / "policy"
    folder.mkdir()
    doc = dict(load_pack("world", load_contracts()).doc("world_policy"))
    doc["sizes"] = {**doc["sizes"], "shard_target_arrivals": 2000, "shards_from_arrivals": 4000}
    (folder / "world_policy.yaml").write_text(yaml.safe_dump(doc, sort_keys=False), "utf-8")
    (folder / "pack.yaml").write_text("name: small\nprofile: full\ndescription: small shards\n", "utf-8")
    world = imported(tmp_path, rows, words=("--policy", folder), columns=columns)
    woven = weave(world, tmp_path / "runs")
    assert (woven.result["verdict"], woven.result["shards"], woven.result["arrivals"]) == ("PASS", 8, 12_000)
    flows = woven.folder("s2_flow_anchor_baseline_6B")
    cards = world / "data/layer3/6A/s3_instrument_base_6A"
    found = duckdb.execute(
        f"SELECT count(*) FROM '{flows}/**/*.parquet' f JOIN '{cards}/**/*.parquet' c USING (instrument_id) "
        "WHERE c.external_ref = 'hot'"
    ).fetchone()
    assert found == (2_400,)
