"""Imported worlds: the log's rows come back exactly, and what is wrong with a log or a map is said."""

import csv
import gzip
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraudloom.errors import DataError, PolicyError
from fraudloom.states.world import import_world, load_world, verify_world
from fraudloom.tables import read_table

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "purchase_cards_2014.csv.gz"


def rows_of(root, contracts):
    """Multiset of (card, merchant, local date, signed minor amount) of an imported world."""
    world = load_world(root, contracts)
    a = read_table(world.arrival_paths("baseline_v1"), contracts.dataset("arrival_events_5B"))
    ref, name = world.tables["s3_instrument_base_6A"]["external_ref"], world.tables["merchants_1A"]["merchant_name"]
    days = a["ts_local_primary"] // 86_400_000_000
    columns = (a["pinned_instrument_id"], a["merchant_id"], days, a["pinned_amount_minor"], a["pinned_is_credit"])
    return Counter(
        (
            ref[i - 1],
            name[m - 1],
            (date(1970, 1, 1) + timedelta(days=int(d))).isoformat(),
            -int(x) if credit else int(x),
        )
        for i, m, d, x, credit in zip(*columns, strict=True)
    )


@pytest.mark.skipif(not SHARED.is_file(), reason="the real log is not here")
def test_the_real_log_comes_back(tmp_path, contracts):
    """29,899 real transactions: the multiset of (card, merchant, date, signed amount) equals the log's."""
    spec = tmp_path / "map.yaml"
    columns = {"timestamp": "trans_date", "merchant": "merchant_name", "card": "card_ref", "amount": "amount_gbp"}
    source = {"format": "csv", "timezone": "Europe/London", "currency": "GBP", "country": "GB"}
    spec.write_text(
        yaml.safe_dump({"source": source, "columns": columns, "amount": {"unit": "major", "credit_sign": "negative"}})
    )
    manifest = import_world(SHARED, spec, tmp_path / "world")
    with gzip.open(SHARED, "rt", encoding="utf-8") as f:
        wanted = Counter(
            (r["card_ref"], r["merchant_name"].strip(), r["trans_date"], int(Decimal(r["amount_gbp"]) * 100))
            for r in csv.DictReader(f)
        )
    assert rows_of(manifest.root, contracts) == wanted
    assert verify_world(manifest.root, contracts).passed
    assert manifest.document["cards"] == 997
    assert manifest.document["pinned"] == ["timestamp", "merchant", "card", "amount"]


def test_small_log(log, tmp_path, contracts):
    """Duplicates are kept, credits are flagged, zones are read, unusable rows are listed by line and reason."""
    manifest = import_world(*log, tmp_path / "world", max_bad_rows=3)
    assert rows_of(manifest.root, contracts) == Counter(
        {
            ("1111", "Café A", "2014-03-01", 1050): 2,
            ("2222", "B, Ltd", "2014-03-02", -300): 1,
            ("2222", "B", "2014-03-30", 300): 1,
        }
    )
    assert [b["line"] for b in manifest.document["unusable_rows"]] == [5, 7, 8]
    assert "time of day" in manifest.document["made"]
    again = import_world(*log, tmp_path / "again", max_bad_rows=3)
    assert again.document == manifest.document


def test_parquet_log(log, tmp_path, contracts):
    """A Parquet log with typed columns gives the same rows as text."""
    table = pa.table(
        {
            "when": pa.array([date(2014, 3, 1), date(2014, 3, 2)]),
            "shop": ["A", "B"],
            "card": [1, 2],
            "value": pa.array([Decimal("1.25"), Decimal("-2.00")]),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    doc = yaml.safe_load(log[1].read_text())
    doc["source"]["format"] = "parquet"
    log[1].write_text(yaml.safe_dump(doc))
    manifest = import_world(tmp_path / "log.parquet", log[1], tmp_path / "world")
    assert rows_of(manifest.root, contracts) == Counter(
        {("1", "A", "2014-03-01", 125): 1, ("2", "B", "2014-03-02", -200): 1}
    )


def test_too_many_bad_rows(log, tmp_path):
    """One bad row too many: the first reasons are listed and nothing is written."""
    with pytest.raises(DataError, match=r"line 5: timestamp '2014-13-02' is not ISO 8601; line 7: no merchant; line 8"):
        import_world(*log, tmp_path / "world", max_bad_rows=2)
    assert not list(tmp_path.glob("world*"))


def test_absent_column(log, tmp_path):
    """A map naming a column that is not there: it is named, with the columns found."""
    doc = yaml.safe_load(log[1].read_text())
    doc["columns"]["card"] = "pan"
    log[1].write_text(yaml.safe_dump(doc))
    with pytest.raises(DataError, match=r"(?s)card: pan.*when, shop, card, value, kind"):
        import_world(*log, tmp_path / "world", max_bad_rows=9)


def test_bad_maps(log, tmp_path):
    """Unknown keys, unknown currencies: the message names the key."""
    doc = yaml.safe_load(log[1].read_text())
    for change, error in (({"extra": 1}, PolicyError), ({"source": {**doc["source"], "currency": "XXX"}}, DataError)):
        log[1].write_text(yaml.safe_dump({**doc, **change}))
        with pytest.raises(error, match=r"extra|currency"):
            import_world(*log, tmp_path / "world")
