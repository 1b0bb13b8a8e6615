"""Reading a transaction log and its map: text to typed columns a block at a time, unusable rows by line and reason.

Only what the world needs stays in memory: about 60 bytes a row, and every distinct name once.
"""

from __future__ import annotations

import csv
import gzip
import io
import ipaddress
import math
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraudloom.contracts_api import Contracts
from fraudloom.errors import DataError
from fraudloom.policies_api import check_document, read_yaml

Array = np.ndarray[Any, Any]
#: (line numbers, our column name to the cells of the block, line to the reason of rows that are not even rows)
Block = tuple[list[int], dict[str, list[Any]], list[tuple[int, str]]]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_MINOR = 1 << 53
YEARS = (1990, 2100)
BLOCK_ROWS = 65_536
NAME_MAX = 256
#: Columns that name something: merchants, cards, customers, devices, addresses.
NAMED = ("merchant", "card", "customer", "device", "ip")
#: Columns that must hold something in every row; an empty cell of another column leaves it to the policies.
REQUIRED = ("timestamp", "merchant", "card", "amount")
#: Optional columns of a closed vocabulary.
CODED = {
    "channel": "channel_group",
    "merchant_country": "country_iso",
    "currency": "currency",
    "zone": "tzid",
    "fraud_label": "fraud_label",
}
LABELS = {"0": "LEGIT", "FALSE": "LEGIT", "1": "FRAUD", "TRUE": "FRAUD"}


@dataclass(frozen=True)
class ImportMap:
    """What the log's columns mean. `columns`: our name to the log's name; `row_zone`: a time without an offset is wall
    time in the row's zone (where it has one), not in `timezone`; `decimals`: minor digits by currency."""

    format: str
    timezone: str
    currency: str
    country: str
    columns: Mapping[str, str]
    major: bool
    credit_negative: bool
    decimals: Mapping[str, int]
    row_zone: bool = True


@dataclass
class LogRows:
    """Usable rows in log order, and the unusable ones.

    wall_us: int64[n], local wall time in microseconds since 1970-01-01 (midnight when `dated`: no time of day), or UTC
    when `utc` is true; amount_minor: int64[n] > 0; credit: bool[n]; mcc: int32[n], 0 unknown; coded: int8[n] by column
    of CODED, codes of its vocabulary, -1 unknown; named: int32[n] by column of NAMED, places in `names`, -1 unknown;
    bad: (line, reason) of the first unusable rows (1-based line of a CSV, whose header is 1, or row of a Parquet);
    bad_rows: how many there are.
    """

    wall_us: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    dated: Array = field(default_factory=lambda: np.zeros(0, np.bool_))
    utc: Array = field(default_factory=lambda: np.zeros(0, np.bool_))
    amount_minor: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    credit: Array = field(default_factory=lambda: np.zeros(0, np.bool_))
    mcc: Array = field(default_factory=lambda: np.zeros(0, np.int32))
    coded: dict[str, Array] = field(default_factory=dict)
    named: dict[str, Array] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    bad: list[tuple[int, str]] = field(default_factory=list)
    bad_rows: int = 0

    def __len__(self) -> int:
        return len(self.wall_us)


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
                action="correct the value in the map",
            )
    return ImportMap(
        source["format"],
        source["timezone"],
        source["currency"],
        source["country"],
        dict(doc["columns"]),
        doc["amount"]["unit"] == "major",
        doc["amount"]["credit_sign"] == "negative",
        dict(decimals),
        source.get("wall_time", "row") == "row",
    )


def _check_columns(wanted: Mapping[str, str], found: list[str], path: Path) -> None:
    missing = [f"{ours}: {name}" for ours, name in wanted.items() if name not in found]
    twice = [f"{ours}: {name}" for ours, name in wanted.items() if found.count(name) > 1]
    if missing or twice:
        what = "names a column that the log does not have" if missing else "names a column that the log has twice"
        raise DataError(
            "WORLD",
            "IMPORT_COLUMN_MISSING" if missing else "IMPORT_COLUMN_TWICE",
            what=f"the map {what}: {', '.join(missing or twice)}",
            found=", ".join(found) or "no columns",
            expected=", ".join(wanted.values()),
            where=path,
            action="correct `columns` in the map",
        )


def _unreadable(path: Path, error: BaseException) -> DataError:
    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError("WORLD", "IMPORT_UNREADABLE", what=what, where=path, action="restore the log")


def _csv_blocks(path: Path, wanted: Mapping[str, str]) -> Iterator[Block]:
    """Blocks of a CSV, gzipped or not, streamed. Rows of another number of cells than the header are not rows."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
        reader = csv.reader(text)
        header = next(reader, [])
        _check_columns(wanted, header, path)
        width, place = len(header), [header.index(name) for name in wanted.values()]
        lines: list[int] = []
        rows: list[list[str]] = []
        odd: list[tuple[int, str]] = []
        for cells in reader:
            if len(cells) == width:
                lines.append(reader.line_num)
                rows.append(cells)
            elif cells:
                odd.append((reader.line_num, f"{len(cells)} cells, not {width}"))
            if len(rows) + len(odd) >= BLOCK_ROWS:
                yield lines, {ours: [r[i] for r in rows] for ours, i in zip(wanted, place, strict=True)}, odd
                lines, rows, odd = [], [], []
        yield lines, {ours: [r[i] for r in rows] for ours, i in zip(wanted, place, strict=True)}, odd


def _plain(column: pa.Array, name: str, path: Path) -> list[Any]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_nested(kind):
        raise DataError(
            "WORLD",
            "IMPORT_COLUMN_TYPE",
            what="a column of the map holds lists or structs",
            found=f"{name}: {kind}",
            expected="plain values",
            where=path,
            action="name a column of plain values, or flatten the log",
        )
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = pc.cast(column, pa.timestamp("us", kind.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def _parquet_blocks(path: Path, wanted: Mapping[str, str]) -> Iterator[Block]:
    with pq.ParquetFile(path) as f:
        _check_columns(wanted, list(f.schema_arrow.names), path)
        row = 1
        for batch in f.iter_batches(batch_size=BLOCK_ROWS, columns=sorted(set(wanted.values()))):
            cells = {ours: _plain(batch.column(name), name, path) for ours, name in wanted.items()}
            yield list(range(row, row + batch.num_rows)), cells, []
            row += batch.num_rows


def _text(value: Any) -> str:
    """A cell as text; whole floats without their point (a nullable integer column is often read as one)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()


def _moment(value: Any) -> tuple[int, bool, bool]:
    """(microseconds, only a date, is UTC) of a date, a datetime or ISO text; ValueError with the reason."""
    if isinstance(value, datetime):
        parsed, dated = value, False
    elif isinstance(value, date):
        parsed, dated = datetime.combine(value, time()), True
    else:
        text = _text(value)
        if not text:
            raise ValueError("no timestamp")
        try:
            dated = len(text) <= 10 and "T" not in text and " " not in text
            parsed = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"timestamp {text[:40]!r} is not ISO 8601") from None
    if not YEARS[0] <= parsed.year <= YEARS[1]:
        raise ValueError(f"year {parsed.year} is out of {YEARS[0]} .. {YEARS[1]}")
    in_utc = parsed.tzinfo is not None
    shift = (parsed if in_utc else parsed.replace(tzinfo=UTC)) - EPOCH
    return shift // timedelta(microseconds=1), dated, in_utc


def _amount(value: Any, currency: str, spec: ImportMap) -> tuple[int, bool]:
    """(minor units > 0, is a credit); ValueError with the reason."""
    text = str(value if value is not None else "").strip()
    if not text:
        raise ValueError("no amount")
    try:
        number = Decimal(text)
        minor = number.scaleb(spec.decimals[currency]) if spec.major else number
        if not minor.is_finite() or abs(minor) > MAX_MINOR:
            raise ValueError(f"amount {text[:40]!r} is out of range")
    except ArithmeticError:
        raise ValueError(f"amount {text[:40]!r} is not a number") from None
    if minor != int(minor):
        raise ValueError(f"amount {text[:40]!r} has more digits than {currency}")
    if minor == 0:
        raise ValueError("amount is zero")
    return abs(int(minor)), (minor < 0) == spec.credit_negative


def _mcc(value: Any) -> int:
    text = _text(value)
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) >= 1):
        raise ValueError(f"mcc {text[:20]!r} is not 1 .. 9999")
    return int(text)


def _code(ours: str, labels: tuple[str, ...]) -> Callable[[Any], int]:
    """Parser of a column of a closed vocabulary: code, or -1 for an empty cell."""
    exact = {label: code for code, label in enumerate(labels)}
    folded = {label.upper(): code for label, code in exact.items()}
    if ours == "fraud_label":
        folded |= {text: exact[label] for text, label in LABELS.items()}
    expected = "0, 1, false, true, LEGIT, FRAUD, ABUSE" if ours == "fraud_label" else f"one of {', '.join(labels)}"

    def parse(value: Any) -> int:
        text = _text(value)
        code = folded.get(text.upper(), -1)
        if text and code < 0:
            raise ValueError(f"{ours} {text[:40]!r} is not {expected}")
        return code

    return parse


def _name(ours: str, places: dict[str, int]) -> Callable[[Any], int]:
    """Parser of a column of names: its place among the names met so far, or -1 for an empty cell."""

    def parse(value: Any) -> int:
        text = _text(value)
        if not text and ours in REQUIRED:
            raise ValueError(f"no {ours}")
        if len(text) > NAME_MAX:
            raise ValueError(f"{ours} is longer than {NAME_MAX} characters")
        if ours == "ip":
            with suppress(ValueError):  # a pseudonym of an address is as good a name
                text = str(ipaddress.ip_address(text)) if text else ""
        return places.setdefault(text, len(places)) if text else -1

    return parse


def _each(values: list[Any], parse: Callable[[Any], Any]) -> tuple[list[Any], Array, dict[int, str]]:
    """Parse every distinct value once: (results, int64[n] place of each row's, reason by place of those refused)."""
    seen: dict[Hashable, int] = {}
    place = np.fromiter((seen.setdefault(v, len(seen)) for v in values), np.int64, len(values))
    results: list[Any] = []
    refused: dict[int, str] = {}
    for k, value in enumerate(seen):
        try:
            results.append(parse(value))
        except ValueError as e:
            refused[k] = str(e)
            results.append(None)
    return results, place, refused


class _Reader:
    """Blocks to columns; names keep their place from block to block."""

    def __init__(self, spec: ImportMap, contracts: Contracts, keep_bad: int) -> None:
        self.spec, self.keep_bad = spec, keep_bad
        self.currencies = contracts.enum("currency")
        self.places: dict[str, dict[str, int]] = {c: {} for c in NAMED if c in spec.columns}
        self.parsers: dict[str, Callable[[Any], int]] = {c: _name(c, self.places[c]) for c in self.places}
        self.parsers |= {c: _code(c, contracts.enum(e)) for c, e in CODED.items() if c in spec.columns}
        if "mcc" in spec.columns:
            self.parsers["mcc"] = _mcc
        self.pieces: list[dict[str, Array]] = []
        self.bad: list[tuple[int, str]] = []
        self.bad_rows = 0

    def _refuse(self, found: list[tuple[int, str]]) -> None:
        self.bad_rows += len(found)
        self.bad += found[: max(0, self.keep_bad - len(self.bad))]

    def add(self, block: Block) -> None:
        """Parse one block; rows that any column refuses are left out, by the first reason in the order below."""
        lines, cells, odd = block
        n = len(lines)
        reason: dict[int, str] = {}

        def note(place: Array, refused: dict[int, str]) -> None:
            for k, text in refused.items():
                for row in np.flatnonzero(place == k):
                    reason.setdefault(int(row), text)

        moments, at, refused = _each(cells["timestamp"], _moment)
        note(at, refused)
        values = np.array([m or (0, False, False) for m in moments], np.int64).reshape(len(moments), 3)[at]
        out: dict[str, Array] = {"wall_us": values[:, 0]}
        out["dated"], out["utc"] = values[:, 1] != 0, values[:, 2] != 0
        # The amount needs the row's currency, and the names of unusable rows must not become merchants or cards.
        for ours, parse in self.parsers.items():
            if ours in NAMED:
                continue
            codes, at, refused = _each(cells[ours], parse)
            note(at, refused)
            out[ours] = np.array([0 if c is None else c for c in codes], np.int64)[at]
        own = out["currency"] if "currency" in out else np.full(n, -1, np.int64)
        default = self.currencies.index(self.spec.currency)
        money = list(zip(cells["amount"], np.where(own < 0, default, own).tolist(), strict=True))
        sums, at, refused = _each(money, lambda v: _amount(v[0], self.currencies[v[1]], self.spec))
        note(at, refused)
        values = np.array([s or (0, False) for s in sums], np.int64).reshape(len(sums), 2)[at]
        out["amount_minor"], out["credit"] = values[:, 0], values[:, 1] != 0
        before = {ours: len(self.places[ours]) for ours in self.places}
        self._names(cells, out, reason, note)
        if reason and any(len(self.places[c]) > k for c, k in before.items()):
            self._forget(cells, out, reason, before)
        good = np.ones(n, np.bool_)
        good[list(reason)] = False
        self._refuse(sorted([*odd, *((lines[row], text) for row, text in reason.items())]))
        self.pieces.append({k: v[good] for k, v in out.items()})

    def _names(self, cells: dict[str, list[Any]], out: dict[str, Array], reason: dict[int, str], note: Any) -> None:
        for ours in self.places:
            codes, at, refused = _each(cells[ours], self.parsers[ours])
            note(at, refused)
            out[ours] = np.array([-1 if c is None else c for c in codes], np.int64)[at]

    def _forget(
        self, cells: dict[str, list[Any]], out: dict[str, Array], reason: dict[int, str], before: dict[str, int]
    ) -> None:
        """Take back names that only unusable rows of this block brought, and name the block's good rows again."""
        for ours, count in before.items():
            places = self.places[ours]
            for text in list(places)[count:]:
                del places[text]
            parse = self.parsers[ours]
            good = [row for row in range(len(cells[ours])) if row not in reason]
            codes, at, _ = _each([cells[ours][row] for row in good], parse)
            out[ours][good] = np.array(codes, np.int64)[at] if good else 0

    def rows(self) -> LogRows:
        """Everything read so far."""

        def whole(name: str, dtype: Any) -> Array:
            return np.concatenate([p.pop(name).astype(dtype) for p in self.pieces])

        rows = LogRows(bad=self.bad, bad_rows=self.bad_rows)
        for name, dtype in (("wall_us", np.int64), ("dated", np.bool_), ("utc", np.bool_), ("credit", np.bool_)):
            setattr(rows, name, whole(name, dtype))
        rows.amount_minor = whole("amount_minor", np.int64)
        n = len(rows.wall_us)
        rows.mcc = whole("mcc", np.int32) if "mcc" in self.parsers else np.zeros(n, np.int32)
        for ours in CODED:
            rows.coded[ours] = whole(ours, np.int8) if ours in self.parsers else np.full(n, -1, np.int8)
        for ours in NAMED:
            rows.named[ours] = whole(ours, np.int32) if ours in self.parsers else np.full(n, -1, np.int32)
            rows.names[ours] = list(self.places.get(ours, ()))
        return rows


def read_log(
    path: Path,
    spec: ImportMap,
    max_bad_rows: int,
    contracts: Contracts,
) -> LogRows:
    """Read a log. DataError: a column of the map is absent, the file is unreadable, or too many rows are unusable."""
    if not path.is_file():
        raise DataError(
            "WORLD", "IMPORT_UNREADABLE", what="no such file", where=path, action="name the file of the log"
        )
    reader = _Reader(spec, contracts, max(max_bad_rows, 10))
    try:
        for block in (_csv_blocks if spec.format == "csv" else _parquet_blocks)(path, spec.columns):
            reader.add(block)
    except (csv.Error, EOFError, OSError, zlib.error, pa.ArrowException) as e:
        raise _unreadable(path, e) from None
    if reader.bad_rows > max_bad_rows:
        first = "; ".join(f"line {line}: {reason}" for line, reason in reader.bad[:10])
        raise DataError(
            "WORLD",
            "IMPORT_BAD_ROWS",
            what=f"{reader.bad_rows} rows are unusable: {first}",
            found=reader.bad_rows,
            expected=f"at most {max_bad_rows}",
            where=path,
            action="correct the log or the map, or allow more with --max-bad-rows",
        )
    rows = reader.rows()
    if not len(rows):
        raise DataError(
            "WORLD",
            "IMPORT_EMPTY",
            what="the log has no usable row",
            found=f"{reader.bad_rows} unusable rows",
            expected="at least one row",
            where=path,
            action="see the reasons by line; correct the log or its map",
        )
    return rows
