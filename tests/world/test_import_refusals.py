"""What is wrong with a log or a map is said once, clearly, and nothing is written; skewed logs fit or are refused."""

import csv
import gzip
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraudloom.contracts_api import load_contracts
from fraudloom.errors import DataError, FraudloomError
from fraudloom.importlog import BLOCK_ROWS, ImportMap, read_log
from fraudloom.states.world import import_world, load_world, verify_world

HEADER = ["when", "shop", "card", "value", "mcc", "how", "where", "money", "who", "machine", "address", "clock", "bad"]
GOOD = ["2024-03-01T12:00", "A", "1", "5.00", "5411", "POS", "GB", "GBP", "x", "d", "10.0.0.1", "Europe/London", "0"]
OURS = [
    "timestamp",
    "merchant",
    "card",
    "amount",
    "mcc",
    "channel",
    "merchant_country",
    "currency",
    "customer",
    "device",
]
OURS += ["ip", "zone", "fraud_label"]


def document(**changed):
    """A map of all columns; `changed` replaces sections."""
    whole = {
        "source": {"format": "csv", "timezone": "Europe/London", "currency": "GBP", "country": "GB"},
        "columns": dict(zip(OURS, HEADER, strict=True)),
        "amount": {"unit": "major", "credit_sign": "negative"},
    }
    return {**whole, **changed}


def files(folder, rows, doc, name="log.csv"):
    """(log, map) written down."""
    with (folder / name).open("w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows([HEADER, *rows])
    (folder / "map.yaml").write_text(yaml.safe_dump(doc))
    return folder / name, folder / "map.yaml"


def refused(folder, rows, doc, **options):
    """The error of an import that leaves nothing behind, as people read it."""
    log, spec = files(folder, rows, doc)
    with pytest.raises(FraudloomError) as caught:
        import_world(log, spec, folder / "world", **options)
    assert caught.value.exit_status == 2
    assert sorted(p.name for p in folder.iterdir()) == ["log.csv", "map.yaml"]
    return str(caught.value)


SOURCE = document()["source"]
COLUMNS = document()["columns"]
AMOUNT = document()["amount"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"extra": 1}, ("extra",)),
        ({"source": {**SOURCE, "zone": "UTC"}}, ("zone",)),
        ({"source": {**SOURCE, "timezone": "Europe/Londno"}}, ("source.timezone", "Europe/Londno", "Europe/Paris")),
        ({"source": {**SOURCE, "currency": "XXX"}}, ("source.currency", "XXX", "EUR")),
        ({"source": {**SOURCE, "country": "UK"}}, ("source.country", "UK", "GB")),
        ({"source": {**SOURCE, "format": "xml"}}, ("xml", "csv")),
        ({"source": {**SOURCE, "wall_time": "mine"}}, ("mine", "row")),
        ({"columns": {**COLUMNS, "label": "bad"}}, ("label",)),
        ({"columns": {**COLUMNS, "mcc": ""}}, ("mcc",)),
        ({"columns": {**COLUMNS, "device": "phone"}}, ("device: phone", "machine")),
        ({"columns": {k: v for k, v in COLUMNS.items() if k != "card"}}, ("card",)),
        ({"amount": {**AMOUNT, "unit": "pence"}}, ("pence", "minor")),
    ],
)
def test_bad_maps(tmp_path, changed, words):
    """Broken: an error in the map is met late, or is not told with what was found and expected."""
    message = refused(tmp_path, [GOOD], document(**changed))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        ("when", "2024-13-02", "timestamp '2024-13-02' is not ISO 8601"),
        ("when", "1066-10-14", "year 1066 is out of 1990 .. 2100"),
        ("shop", "", "no merchant"),
        ("card", " ", "no card"),
        ("value", "five", "amount 'five' is not a number"),
        ("value", "1e999999999", "amount '1e999999999' is not a number"),
        ("value", "sNaN", "amount 'sNaN' is not a number"),
        ("value", "inf", "amount 'inf' is out of range"),
        ("value", "0.001", "amount '0.001' has more digits than GBP"),
        ("value", "0.00", "amount is zero"),
        ("mcc", "0", "mcc '0' is not 1 .. 9999"),
        ("mcc", "54111", "mcc '54111' is not 1 .. 9999"),
        ("mcc", "food", "mcc 'food' is not 1 .. 9999"),
        ("how", "PIGEON", "channel 'PIGEON' is not one of ECOM, POS"),
        ("where", "UK", "merchant_country 'UK' is not one of GB"),
        ("money", "XXX", "currency 'XXX' is not one of EUR"),
        ("clock", "Mars/Olympus", "zone 'Mars/Olympus' is not one of Europe/London"),
        ("bad", "-1", "fraud_label '-1' is not 0, 1, false, true, LEGIT, FRAUD, ABUSE"),
        ("bad", "2", "fraud_label '2' is not 0"),
        ("who", "x" * 300, "customer is longer than 256 characters"),
    ],
)
def test_bad_cells(tmp_path, column, cell, words):
    """Broken: an unusable cell is imported as something else, or its line and reason are not told."""
    row = list(GOOD)
    row[HEADER.index(column)] = cell
    message = refused(tmp_path, [GOOD, row, GOOD], document())
    assert f"1 rows are unusable: line 3: {words}" in message


def test_amounts_follow_the_row_s_currency(tmp_path):
    """Broken: minor digits are the map's currency's, not the row's: yen and dinars are read a hundredfold wrong."""
    rows = [list(GOOD) for _ in range(4)]
    for row, (money, value) in zip(rows, [("JPY", "500"), ("KWD", "1.234"), ("", "2.50"), ("JPY", "1.5")], strict=True):
        row[HEADER.index("money")], row[HEADER.index("value")] = money, value
    found = read_rows(tmp_path, rows, max_bad=1)
    assert found.amount_minor.tolist() == [500, 1234, 250]
    assert found.bad == [(5, "amount '1.5' has more digits than JPY")]


def read_rows(folder, rows, max_bad=0):
    """Rows as the reader gives them."""
    log, _ = files(folder, rows, document())
    decimals = {c: {"JPY": 0, "KWD": 3}.get(c, 2) for c in load_contracts().enum("currency")}
    spec = ImportMap("csv", "Europe/London", "GBP", "GB", COLUMNS, True, True, decimals)
    return read_log(log, spec, max_bad, load_contracts())


def test_unusable_rows_bring_no_names(tmp_path):
    """Broken: the merchant or card of a row that is not imported becomes a merchant or card of the world."""
    ghost = ["2024-03-01", "Ghost", "9", "nothing", "", "", "", "", "ghost", "ghost", "ghost", "", ""]
    found = read_rows(tmp_path, [ghost, GOOD, ghost, ["2024-03-01", "B", *GOOD[2:]]], max_bad=2)
    assert found.names["merchant"] == ["A", "B"]
    assert [found.names[k] for k in ("card", "customer", "device", "ip")] == [["1"], ["x"], ["d"], ["10.0.0.1"]]
    assert found.named["merchant"].tolist() == [0, 1]
    assert [line for line, _ in found.bad] == [2, 4]


def test_blocks_do_not_show(tmp_path):
    """Broken: rows at the edge of a block are lost, named otherwise, or counted on another line."""
    n = BLOCK_ROWS + 3000
    rows = [[f"2024-03-{1 + i % 28:02d}", f"S{i // 7}", f"{i // 3}", f"{1 + i % 500}", *GOOD[4:]] for i in range(n)]
    rows[5] = rows[5][:4]
    rows[BLOCK_ROWS + 100][3] = "x"
    found = read_rows(tmp_path, rows, max_bad=2)
    kept = [r for i, r in enumerate(rows) if i not in (5, BLOCK_ROWS + 100)]
    assert [found.names["merchant"][k] for k in found.named["merchant"]] == [r[1] for r in kept]
    assert [found.names["card"][k] for k in found.named["card"]] == [r[2] for r in kept]
    assert found.amount_minor.tolist() == [int(r[3]) * 100 for r in kept]
    assert found.bad == [(7, "4 cells, not 13"), (BLOCK_ROWS + 102, "amount 'x' is not a number")]


def test_reasons_are_bounded(tmp_path):
    """Broken: a log of nothing but unusable rows fills the memory with reasons, or they are not all counted."""
    with pytest.raises(
        DataError, match=r"5000 rows are unusable: line 2: no merchant; .*line 11: no merchant\b"
    ) as found:
        read_rows(tmp_path, [["2024-03-01", "", *GOOD[2:]]] * 5000, max_bad=7)
    assert "line 12" not in str(found.value)


def test_broken_files(tmp_path):
    """Broken: a cut gzip, a column named twice, or a nested Parquet column ends in a traceback."""
    log, spec = files(tmp_path, [GOOD] * 2000, document())
    packed = gzip.compress(log.read_bytes())
    for name, data in (("cut.csv.gz", packed[:-40]), ("flipped.csv.gz", packed[:60] + b"\xff" * 40 + packed[100:])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match="IMPORT_UNREADABLE"):
            import_world(tmp_path / name, spec, tmp_path / "world")
    (tmp_path / "twice.csv").write_text(",".join([*HEADER, "card"]) + "\n")
    with pytest.raises(DataError, match="card: card"):
        import_world(tmp_path / "twice.csv", spec, tmp_path / "world")
    pq.write_table(
        pa.table({h: [[1]] if h == "who" else [g] for h, g in zip(HEADER, GOOD, strict=True)}), tmp_path / "n"
    )
    spec.write_text(yaml.safe_dump(document(source={**SOURCE, "format": "parquet"})))
    with pytest.raises(DataError, match=r"who: list"):
        import_world(tmp_path / "n", spec, tmp_path / "world")
    assert not list(tmp_path.glob("world*"))


def skewed(n, on_one, cards=300, seed=3):
    """n rows, `on_one` of them of card 0 (none of the others)."""
    rng = random.Random(seed)
    cells = []
    for i in range(n):
        card = 0 if i < on_one else rng.randrange(1, cards)
        at = f"2024-03-{1 + i % 28:02d}T{i % 24:02d}:{i % 60:02d}:{rng.randrange(60):02d}"
        cells.append([at, f"S{rng.randrange(80)}", str(card), f"{rng.randrange(100, 9000) / 100:.2f}"])
    return [[*row, *[""] * 9] for row in cells]


def test_a_card_with_a_fifth_of_the_rows(tmp_path, small_policy, contracts):
    """Broken: a household above the shard target but within four of it is refused, cut or lost."""
    log, spec = files(tmp_path, skewed(12_000, 2_400), document())
    manifest = import_world(log, spec, tmp_path / "world", policy=small_policy)
    assert manifest.document["shards"] == 8
    assert verify_world(tmp_path / "world", contracts).passed
    world = load_world(tmp_path / "world", contracts)
    weight = world.tables["s1_party_base_6A"]["activity_weight"]
    assert weight.max() == 2_400
    assert weight.sum() == 12_000


def test_a_hopeless_log_is_refused_with_its_size(tmp_path, small_policy):
    """Broken: a household that no shard can take is met in the middle of a run, not here with its size."""
    message = refused(tmp_path, skewed(12_000, 8_100), document(), policy=small_policy)
    for word in ("IMPORT_COHORT_TOO_LARGE", "8100 of 12000 rows", "card '0'", "8000", "shard_target_arrivals"):
        assert word in message


def test_customers_tied_by_devices_are_bounded(tmp_path):
    """Broken: a device that everybody has in common makes one household of all, which no household may be."""
    rows = [[*GOOD[:2], str(i), *GOOD[3:8], f"c{i}", "kiosk" if i < 51 else f"d{i}", *GOOD[10:]] for i in range(120)]
    message = refused(tmp_path, rows, document())
    for word in ("IMPORT_HOUSEHOLD", "51 customers", "'kiosk'", "at most 50"):
        assert word in message


def test_row_order_and_blocks_do_not_change_the_entities(tmp_path, contracts):
    """Broken: who is who follows from the order of the log's rows, not from its names."""
    rows = [[*GOOD[:2], str(i % 7), *GOOD[3:8], f"c{i % 5}", f"d{i % 9}", *GOOD[10:]] for i in range(60)]
    pairs = {(r[8], r[2]): r for r in rows}.values()
    names = []
    for k, order in enumerate((rows, rows[::-1])):
        folder = tmp_path / str(k)
        folder.mkdir()
        log, spec = files(folder, order, document())
        import_world(log, spec, folder / "world")
        tables = load_world(folder / "world", contracts).tables
        names.append([tables[t]["external_ref"].tolist() for t in ("s1_party_base_6A", "s3_instrument_base_6A")])
    assert names[0][0] == names[1][0]
    assert [sorted(filter(None, n[1])) for n in names] == [sorted(r[2] for r in pairs)] * 2


def test_a_log_without_a_usable_row(tmp_path):
    """Broken: a log of a header alone ends in a traceback, or makes a world in which nobody ever pays."""
    assert "IMPORT_EMPTY" in refused(tmp_path, [], document())
    assert "IMPORT_EMPTY" in refused(tmp_path, [["x", *GOOD[1:]]], document(), max_bad_rows=1)
