"""A real log becomes a world, and nothing that it says is lost."""

from __future__ import annotations

import collections
import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from e2e.conftest import Woven, cli, weave

LOG = Path(__file__).resolve().parents[3] / "shared" / "data" / "purchase_cards_2014.csv.gz"
MAP = """
source: {format: csv, timezone: Europe/London, currency: GBP, country: GB}
columns: {timestamp: trans_date, merchant: merchant_name, card: card_ref, amount: amount_gbp}
amount: {unit: major, credit_sign: negative}
"""

pytestmark = [
    pytest.mark.xdist_group("e2e-import"),
    pytest.mark.skipif(not LOG.is_file(), reason="the log is not part of the project"),
]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Woven]:
    """The log as a world, and a run on it."""
    folder = tmp_path_factory.mktemp("import")
    (folder / "map.yaml").write_text(MAP, "utf-8")
    cli("world", "import", LOG, "--map", folder / "map.yaml", "--out", folder / "world")
    return folder / "world", weave(folder / "world", folder / "runs")


def _log() -> collections.Counter[tuple[str, str, str, int]]:
    with gzip.open(LOG, "rt", encoding="utf-8", newline="") as f:
        return collections.Counter(
            (r["card_ref"], r["merchant_name"], r["trans_date"], int(Decimal(r["amount_gbp"]) * 100))
            for r in csv.DictReader(f)
        )


def test_anchors_equal_the_log(imported: tuple[Path, Woven]) -> None:
    """Broken: a real transaction is lost, repeated, moved to another card, merchant or day, or has another amount."""
    world, woven = imported
    assert woven.result["verdict"] == "PASS"
    tables = {
        "flows": woven.folder("s2_flow_anchor_baseline_6B"),
        "cards": world / "data/layer3/6A/s3_instrument_base_6A",
        "merchants": world / "data/layer1/1A/merchants",
    }
    con = duckdb.connect()
    for name, folder in tables.items():
        con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{folder}/**/*.parquet')")
    rows = con.execute(
        """
        SELECT external_ref, merchant_name, strftime(f.ts_utc AT TIME ZONE 'Europe/London', '%Y-%m-%d'),
               CASE WHEN flow_type = 'CARD_CREDIT' THEN -amount_minor ELSE amount_minor END
        FROM flows f JOIN cards USING (instrument_id) JOIN merchants m ON m.merchant_id = f.merchant_id
        """
    ).fetchall()
    expected = _log()
    assert sum(expected.values()) == 29_899
    assert collections.Counter(rows) == expected


def test_pinned_flows_are_approved_and_cleared_at_their_amount(imported: tuple[Path, Woven]) -> None:
    """Broken: a transaction that really happened is declined, unsettled or settled at another amount."""
    _, woven = imported
    flows = woven.folder("s2_flow_anchor_baseline_6B")
    bad = duckdb.execute(
        f"""
        SELECT count(*) FROM read_parquet('{flows}/**/*.parquet')
        WHERE is_pinned AND NOT (
            flow_type = 'CARD_CREDIT' AND refunded_minor = amount_minor
            OR flow_type <> 'CARD_CREDIT' AND response_code = '00' AND cleared_minor = amount_minor)
        """
    ).fetchone()
    assert bad == (0,)


def test_manifest_says_what_was_pinned(imported: tuple[Path, Woven]) -> None:
    """Broken: a reader of an imported world cannot tell facts from synthesis."""
    world, _ = imported
    text = json.dumps(json.loads((world / "world.json").read_text("utf-8")))
    assert "pinned" in text
    assert "made" in text


def test_map_naming_an_absent_column(tmp_path: Path) -> None:
    """Broken: a typing error in the map is met late, or without the column's name."""
    (tmp_path / "map.yaml").write_text(MAP.replace("amount_gbp", "amuont"), "utf-8")
    done = cli("world", "import", LOG, "--map", tmp_path / "map.yaml", "--out", tmp_path / "w", check=False)
    assert done.returncode == 2
    assert "amuont" in done.stderr
    assert "amount_gbp" in done.stderr
    assert not (tmp_path / "w").exists()


def test_bad_rows_are_named_by_line_and_reason(tmp_path: Path) -> None:
    """Broken: an unusable row is dropped silently, or stops an import that allows it."""
    (tmp_path / "map.yaml").write_text(MAP, "utf-8")
    lines = [
        "trans_date,merchant_name,card_ref,amount_gbp,category",
        "2014-01-02,shop,1234,5.00,x",
        "2014-13-02,shop,1234,5.00,x",
        "2014-01-03,shop,1234,five,x",
        "2014-01-04,other,1234,-2.50,x",
    ]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(lines) + "\n", "utf-8")
    words = ("world", "import", log, "--map", tmp_path / "map.yaml", "--out", tmp_path / "w")
    refused = cli(*words, check=False)
    assert refused.returncode == 2
    assert "3" in refused.stderr
    assert not (tmp_path / "w").exists()
    cli(*words, "--max-bad-rows", 2)
    woven = weave(tmp_path / "w", tmp_path / "runs")
    assert woven.result["arrivals"] == 2
    assert woven.result["verdict"] == "PASS"
