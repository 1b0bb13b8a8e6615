"""Cases of the validation kernels: joins, folds, checksums, bitmaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraudloom.kernels import checks as kc
from fraudloom.perf.cases import Case

Array = np.ndarray[Any, Any]


def _rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _ids(rows: int, seed: int) -> Array:
    """Distinct ids but for about one in sixteen; of odd seeds, one in three."""
    rng = _rng(seed)
    ids = rng.integers(1, 2**63 - 1, rows)
    again = rng.random(rows) < (1 / 3 if seed % 2 else 1 / 16)
    return np.where(again, np.roll(ids, 1), ids)


def _table(rows: int) -> Array:
    size = 4
    while size < 2 * rows + 1:
        size *= 2
    return np.full(size, -1, np.int32)


def _index(rows: int, seed: int) -> tuple[Any, ...]:
    return _ids(rows, seed), _table(rows), np.array([seed % 3])


def _find(rows: int, seed: int) -> tuple[Any, ...]:
    ids, table, repeats = _index(rows, seed)
    kc.index_ids(ids, table, repeats)
    wanted = np.where(_rng(seed + 1).random(rows) < 0.1, _ids(rows, seed + 2), np.roll(ids, 3))
    return ids, table, wanted, np.empty(rows, np.int64)


def _groups(rows: int, seed: int) -> tuple[Array, int]:
    groups = rows // 3 + 1
    return _rng(seed).integers(-1, groups, rows), groups


def _group(rows: int, seed: int) -> tuple[Any, ...]:
    group, groups = _groups(rows, seed)
    return group, np.zeros(groups + 2, np.int64), np.zeros(rows, np.int64)


def _grouped(rows: int, seed: int) -> tuple[Array, Array]:
    group, start, order = _group(rows, seed)
    kc.group_rows(group, start, order)
    return start[:-1], order


def _dominant(rows: int, seed: int) -> tuple[Any, ...]:
    start, order = _grouped(rows, seed)
    longest = int(np.diff(start).max(initial=1))
    kind = (np.int64, np.int32, np.int16, np.int8)[seed % 4]
    values = _rng(seed + 1).integers(-2, 3, rows).astype(kind)
    return start, order, values, np.zeros(longest, np.int64), np.zeros((len(start) - 1, 2), np.int64)


def _gaps(rows: int, seed: int) -> tuple[Any, ...]:
    start, order = _grouped(rows, seed)
    ts = _rng(seed + 1).integers(-(10**9), 10**9, rows)
    if seed % 2 == 0:
        ts = np.sort(ts)  # else gaps below zero
    return start, order, ts, np.zeros((len(start) - 1, 5), np.int64)


def _events(rows: int, seed: int) -> tuple[Any, ...]:
    """Flows in order, one row in twelve with another number, kind or time."""
    rng = _rng(seed)
    flows = rows // 3 + 1
    flow = rng.integers(-1, flows, rows)
    by_flow = np.argsort(flow, kind="stable")
    seq = np.empty(rows, np.int64)
    seq[by_flow] = np.arange(rows) - np.searchsorted(flow[by_flow], flow[by_flow])
    kind = np.where(seq < 2, seq, rng.integers(0, 7, rows))
    ts = np.sort(rng.integers(0, rows // 4 + 1, rows))  # often equal
    odd = rng.random((3, rows)) < 1 / 12
    events = kc.EventColumns(
        flow,
        np.where(odd[0], seq + rng.integers(-1, 2, rows), seq).astype(np.int32),
        np.where(odd[1], rng.integers(0, 7, rows), kind).astype(np.int8),
        np.where(odd[2], ts - rng.integers(0, 10, rows), ts),
        rng.integers(-500, 500, rows),
        rng.integers(0, 21, rows).astype(np.int8),
    )
    return events, np.array([0, 1, 4, 5, 6]), np.zeros((flows, kc.EV_WIDTH), np.int64)


def _words(rng: np.random.Generator, rows: int) -> Array:
    """Any 64 bits."""
    return rng.integers(0, 2**64 - 1, rows, dtype=np.uint64, endpoint=True)


def _absorb(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    kind = (np.int32, np.int64, np.int8, np.bool_)[seed % 4]
    return _words(rng, rows).astype(kind), _words(rng, rows)


def _buckets(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    shift = seed % 4
    sums = _words(rng, (rows >> shift) + 1)
    return _words(rng, rows), rng.integers(-2 << shift, rows + (2 << shift), rows), shift, sums


def _bits(rows: int, seed: int) -> tuple[Any, ...]:
    """Of half of the seeds in order, each ordinal once; else with repeats and strays, on bits set before."""
    rng = _rng(seed)
    bits = np.zeros(rows // 8 + 1, np.uint8)
    if seed % 2 == 0:
        return rng.permutation(rows), rows, bits, np.zeros(2, np.int64)
    bits |= np.packbits(rng.random(8 * len(bits)) < 1 / 8)
    return rng.integers(-1, rows + 2, rows), rows, bits, np.array([1, 2])


def _counters(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    return rng.integers(0, 2**60, rows), seed % 7 + 1, _words(rng, 1)


def _follow(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    base_flow, groups = _groups(rows, seed + 1)
    start, order = _grouped(rows, seed + 1)
    flows = rows // 2 + 1
    return (
        rng.integers(-1, flows, rows),
        rng.integers(-1, 5, rows).astype(np.int32),
        rng.integers(-1, groups, flows),
        start,
        order[: len(base_flow)],
        np.empty(rows, np.int64),
    )


def _unequal(rows: int, seed: int) -> tuple[Any, ...]:
    rng = _rng(seed)
    kind = (np.int64, np.int32, np.int8, np.bool_)[seed % 4]
    a, b = rng.integers(0, 2, rows + 1).astype(kind), rng.integers(0, 2, rows + 2).astype(kind)
    return a, rng.integers(0, rows + 1, rows), b, rng.integers(0, rows + 2, rows), np.array([seed % 5])


def _linked(rng: np.random.Generator, n: int, targets: int) -> tuple[Array, Array]:
    """Lists of none to two ids for each of n."""
    start = np.concatenate([[0], np.cumsum(rng.integers(0, 3, n))])
    return start, rng.integers(1, targets + 1, start[-1])


def _first(start: Array, members: Array, row: Array, other: Array) -> Array:
    """First member of each row's list, `other` where that is empty."""
    held = start[row] < start[row + 1]
    return np.where(held, np.append(members, 0)[start[row]], other)


def _entities(rows: int, seed: int) -> tuple[Any, ...]:
    """Rows whose links hold, then one id in twelve replaced, some by ids that no table has."""
    rng = _rng(seed)
    parties, accounts, instruments, devices, terminals, merchants, ips = (rows // 16 + k for k in (3, 4, 5, 6, 3, 2, 7))
    links = kc.LinkTables(
        rng.integers(1, parties + 1, accounts),
        rng.integers(1, accounts + 1, instruments),
        *_linked(rng, parties, devices),
        *_linked(rng, devices, ips),
        rng.integers(1, merchants + 1, terminals),
        rng.integers(1, devices + 1, terminals),
        rng.integers(1, ips + 1, terminals),
    )
    instrument = rng.integers(1, instruments + 1, rows)
    account = links.instrument_account[instrument - 1]
    party = links.account_party[account - 1]
    device = _first(links.device_start, links.device_list, party - 1, rng.integers(1, devices + 1, rows))
    terminal = rng.integers(1, terminals + 1, rows)
    present = rng.random(rows) < 0.5
    at_terminal = present & (rng.random(rows) < 0.5)
    device = np.where(at_terminal, links.terminal_device[terminal - 1], device)
    ip = _first(links.ip_start, links.ip_list, device - 1, rng.integers(1, ips + 1, rows))
    ip = np.where(at_terminal & (rng.random(rows) < 0.8), links.terminal_ip[terminal - 1], ip)
    merchant = np.where(present, links.terminal_merchant[terminal - 1], rng.integers(1, merchants + 1, rows))
    columns = [
        party,
        account,
        np.where(rng.random(rows) < 0.3, 0, instrument),
        device,
        ip,
        terminal * present,
        merchant,
    ]
    for at, size in enumerate((parties, accounts, instruments, devices, ips, terminals, merchants)):
        columns[at] = np.where(rng.random(rows) < 1 / 12, rng.integers(0, size + 2, rows), columns[at])
    return kc.EntityColumns(*columns), links, np.zeros(rows, np.int8)


CASES = (
    Case("index_ids", _index, (1, 2)),
    Case("find_ids", _find, (3,)),
    Case("group_rows", _group, (1, 2)),
    Case("dominant_values", _dominant, (3, 4)),
    Case("fold_gaps", _gaps, (3,)),
    Case("fold_events", _events, (2,)),
    Case("absorb", _absorb, (1,)),
    Case("bucket_sums", _buckets, (3,)),
    Case("mark_bits", _bits, (2, 3)),
    Case("sum_counters", _counters, (2,)),
    Case("follow_events", _follow, (5,)),
    Case("count_unequal", _unequal, (4,)),
    Case("check_entities", _entities, (2,)),
)
