"""Reading a transaction log and its map: text to typed rows, unusable rows by line and reason."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fraudloom.contracts_api import Contracts
from fraudloom.errors import DataError
from fraudloom.policies_api import check_document, read_yaml

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MINOR = 1 << 53
YEARS = (1990, 2100)


@dataclass(frozen=True)
class ImportMap:
    """What the log's columns mean. `columns`: our name to the log's name."""

    format: str
    timezone: str
    currency: str
    country: str
    columns: Mapping[str, str]
    major: bool
    credit_negative: bool
    decimals: int = 2


@dataclass
class LogRows:
    """Usable rows in log order, and the unusable ones.

    wall_us: local wall time in microseconds since 1970-01-01 (midnight when `dated` is true: no time of day), or UTC
    when `utc` is true; amount_minor > 0; credit; line: 1-based line of a CSV (its header is 1) or row of a Parquet.
    """

    wall_us: list[int] = field(default_factory=list)
    dated: list[bool] = field(default_factory=list)
    utc: list[bool] = field(default_factory=list)
    merchant: list[str] = field(default_factory=list)
    card: list[str] = field(default_factory=list)
    amount_minor: list[int] = field(default_factory=list)
    credit: list[bool] = field(default_factory=list)
    mcc: list[int] = field(default_factory=list)
    channel: list[str] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)


def read_map(path: Path, contracts: Contracts, decimals: Mapping[str, int]) -> ImportMap:
    """Read and check an import map. PolicyError names file and key; DataError an unknown currency, country or zone."""
    doc = read_yaml(path)
    check_document("import_map", doc, path, contracts)
    source = doc["source"]
    for key, enum in (("currency", "currency"), ("country", "country_iso"), ("timezone", "tzid")):
        if source[key] not in contracts.enum(enum):
            raise DataError(
                "WORLD",
                "IMPORT_MAP_VALUE",
                what=f"source.{key} is not in the vocabulary",
                found=source[key],
                expected=", ".join(contracts.enum(enum)),
                where=path,
            )
    return ImportMap(
        source["format"],
        source["timezone"],
        source["currency"],
        source["country"],
        dict(doc["columns"]),
        doc["amount"]["unit"] == "major",
        doc["amount"]["credit_sign"] == "negative",
        decimals[source["currency"]],
    )


def _absent(wanted: Mapping[str, str], found: list[str], path: Path) -> None:
    missing = [f"{ours}: {name}" for ours, name in wanted.items() if name not in found]
    if missing:
        raise DataError(
            "WORLD",
            "IMPORT_COLUMN_MISSING",
            what=f"the map names a column that the log does not have: {', '.join(missing)}",
            found=", ".join(found) or "no columns",
            expected=", ".join(wanted.values()),
            where=path,
            action="correct `columns` in the map",
        )


def _csv_records(path: Path, wanted: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
        reader = csv.reader(text)
        try:
            header = next(reader, [])
            _absent(wanted, header, path)
            place = {ours: header.index(name) for ours, name in wanted.items()}
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    yield reader.line_num, {"": f"{len(cells)} cells, not {len(header)}"}
                else:
                    yield reader.line_num, {ours: cells[i] for ours, i in place.items()}
        except (csv.Error, EOFError, OSError) as e:
            raise DataError("WORLD", "IMPORT_UNREADABLE", what=str(e), where=path) from None


def _parquet_records(path: Path, wanted: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with pq.ParquetFile(path) as f:
            _absent(wanted, list(f.schema_arrow.names), path)
            row = 0
            for batch in f.iter_batches(batch_size=65536, columns=list(wanted.values())):
                lists = {ours: batch.column(name).to_pylist() for ours, name in wanted.items()}
                for i in range(batch.num_rows):
                    row += 1
                    yield row, {ours: values[i] for ours, values in lists.items()}
    except (pa.ArrowException, OSError) as e:
        raise DataError("WORLD", "IMPORT_UNREADABLE", what=str(e).splitlines()[0], where=path) from None


def _moment(value: Any) -> tuple[int, bool, bool]:
    """(microseconds, only a date, is UTC) of a date, a datetime or ISO text; ValueError with the reason."""
    if isinstance(value, datetime):
        parsed, dated = value, False
    elif isinstance(value, date):
        parsed, dated = datetime.combine(value, time()), True
    else:
        text = str(value if value is not None else "").strip()
        if not text:
            raise ValueError("no timestamp")
        try:
            dated = len(text) <= 10
            parsed = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"timestamp {text[:40]!r} is not ISO 8601") from None
    if not YEARS[0] <= parsed.year <= YEARS[1]:
        raise ValueError(f"year {parsed.year} is out of {YEARS[0]} .. {YEARS[1]}")
    in_utc = parsed.tzinfo is not None
    shift = (parsed if in_utc else parsed.replace(tzinfo=UTC)) - EPOCH
    return shift // timedelta(microseconds=1), dated, in_utc


def _amount(value: Any, spec: ImportMap) -> tuple[int, bool]:
    """(minor units > 0, is a credit); ValueError with the reason."""
    text = str(value if value is not None else "").strip()
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"amount {text[:40]!r} is not a number") from None
    minor = number.scaleb(spec.decimals) if spec.major else number
    if not minor.is_finite() or abs(minor) > MAX_MINOR:
        raise ValueError(f"amount {text[:40]!r} is out of range")
    if minor != int(minor):
        raise ValueError(f"amount {text[:40]!r} has more digits than {spec.currency}")
    if minor == 0:
        raise ValueError("amount is zero")
    return abs(int(minor)), (minor < 0) == spec.credit_negative


def _name(value: Any, what: str) -> str:
    text = str(value if value is not None else "").strip()
    if not text:
        raise ValueError(f"no {what}")
    return text


def _take(rows: LogRows, line: int, record: Mapping[str, Any], spec: ImportMap, channels: tuple[str, ...]) -> None:
    if "" in record:
        raise ValueError(str(record[""]))
    moment, dated, in_utc = _moment(record["timestamp"])
    amount, credit = _amount(record["amount"], spec)
    merchant, card = _name(record["merchant"], "merchant"), _name(record["card"], "card")
    mcc, channel = 0, ""
    if "mcc" in spec.columns:
        code = _name(record["mcc"], "mcc")
        if not code.isdigit() or not 1 <= int(code) <= 9999:
            raise ValueError(f"mcc {code[:20]!r} is not 1 .. 9999")
        mcc = int(code)
    if "channel" in spec.columns:
        channel = _name(record["channel"], "channel").upper()
        if channel not in channels:
            raise ValueError(f"channel {channel[:20]!r} is not one of {', '.join(channels)}")
    rows.wall_us.append(moment)
    rows.dated.append(dated)
    rows.utc.append(in_utc)
    rows.merchant.append(merchant)
    rows.card.append(card)
    rows.amount_minor.append(amount)
    rows.credit.append(credit)
    rows.mcc.append(mcc)
    rows.channel.append(channel)
    rows.line.append(line)


def read_log(path: Path, spec: ImportMap, max_bad_rows: int, channels: tuple[str, ...]) -> LogRows:
    """Read a log. DataError: a column of the map is absent, the file is unreadable, or too many rows are unusable."""
    if not path.is_file():
        raise DataError("WORLD", "IMPORT_UNREADABLE", what="no such file", where=path)
    rows = LogRows()
    records = _csv_records if spec.format == "csv" else _parquet_records
    for line, record in records(path, spec.columns):
        try:
            _take(rows, line, record, spec, channels)
        except ValueError as e:
            rows.bad.append((line, str(e)))
    if len(rows.bad) > max_bad_rows:
        first = "; ".join(f"line {line}: {reason}" for line, reason in rows.bad[:10])
        raise DataError(
            "WORLD",
            "IMPORT_BAD_ROWS",
            what=f"{len(rows.bad)} rows are unusable: {first}",
            found=len(rows.bad),
            expected=f"at most {max_bad_rows}",
            where=path,
            action="correct the log or the map, or allow more with --max-bad-rows",
        )
    return rows
