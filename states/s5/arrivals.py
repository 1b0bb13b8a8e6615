"""Checks of S1 on one shard: arrivals as upstream, entities as linked, sessions as recomputed."""

from __future__ import annotations

import numpy as np

from fraudloom.kernels.checks import EntityColumns, bucket_sums, check_entities
from fraudloom.kernels.sessions import Cuts, Timeline, cut_sessions
from fraudloom.states.s5.context import BUCKET_SHIFT, Context, hash_rows
from fraudloom.states.s5.joins import Array, Groups, IdIndex, Table, decode, differs, take
from fraudloom.states.s5.tally import Tally
from fraudloom.tables import Columns

ENTITIES = ("party_id", "account_id", "instrument_id", "device_id", "ip_id")
#: Bits that need no terminal.
OWNERSHIP = (1, 2, 32)
#: What a bit of `check_entities` means.
LINK_RULES = (
    (1, "account belongs to party"),
    (2, "instrument belongs to account"),
    (4, "device is the party's or the terminal's"),
    (8, "address is the device's or the terminal's"),
    (16, "terminal stands at the merchant"),
    (32, "entity exists"),
)


def arrival_ordinals(ctx: Context, cols: Table) -> Array:
    """Ordinal of (merchant_id, arrival_seq), int64; -1 when the world has no such arrival."""
    base = ctx.upstream.base
    merchant = cols["merchant_id"]
    known = (merchant > 0) & (merchant < len(base) - 1)
    m = np.where(known, merchant, 0)
    # base[m] arrivals belong to lower merchants: m - 1 is the index of the merchant's first in cumulated counts by id.
    ordinal = base[m] + cols["arrival_seq"] - 1
    known &= (cols["arrival_seq"] >= 1) & (ordinal < base[np.minimum(m + 1, len(base) - 1)])
    return np.where(known, ordinal, -1)


def check_arrivals(ctx: Context, tally: Tally, cols: Columns) -> Array:
    """Coverage, uniqueness, horizon and links of a shard's arrivals; returns their ordinals."""
    f = tally.findings
    ordinals = arrival_ordinals(ctx, cols)
    who = {"merchant_id": cols["merchant_id"], "arrival_seq": cols["arrival_seq"]}
    f.rows("REQ_ARRIVAL_COVERAGE", "arrival exists upstream", ordinals < 0, shown=who)
    repeated, _ = tally.mark(ordinals)
    f.one("REQ_PK_UNIQUENESS", "arrival once in its part", not repeated, f"{repeated} arrivals repeated")
    hashes = hash_rows(cols, ctx.upstream.columns)
    if len(tally.hashes) != len(ctx.upstream.sums):
        tally.hashes = np.zeros(len(ctx.upstream.sums), dtype=np.uint64)
    bucket_sums(hashes, ordinals, BUCKET_SHIFT, tally.hashes)
    ts = cols["ts_utc"]
    out = (ts < ctx.horizon.start) | (ts >= ctx.horizon.end)
    f.rows("REQ_SCENARIO_OOB", "arrival inside the arrival horizon", out, shown={**who, "ts_utc": ts})
    tally.add("arrivals", len(ts))
    full = "terminal_id" in cols
    bad = entity_defects(ctx, cols, cols["terminal_id"] if full else np.zeros(len(ts), dtype=np.int64))
    for bit, rule in LINK_RULES:
        if full or bit in OWNERSHIP:
            f.rows("REQ_ENTITY_LINKS", f"S1 {rule}", (bad & bit) != 0, shown=who)
    if full:
        rail = ctx.code("channel_group", "BANK_RAIL")
        f.rows(
            "REQ_ENTITY_LINKS",
            "S1 instrument present off the rails",
            (cols["instrument_id"] == 0) & (cols["channel_group"] != rail),
            shown=who,
        )
        check_use(ctx, tally, cols, np.flatnonzero((bad & 32) == 0))
    else:
        f.skip("REQ_ENTITY_LINKS", "S1 devices and addresses", "terminal_id is not published under this profile")
    return ordinals


def check_use(ctx: Context, tally: Tally, cols: Columns, at: Array) -> None:
    """Copies of 6A equal it, and what is used is in use: rows `at`, whose entities exist. Pinned rows are the log's."""
    f, six = tally.findings, ctx.copied
    who = {name: cols[name][at] for name in ("merchant_id", "arrival_seq")}
    ts, device, ip = cols["ts_utc"][at], cols["device_id"][at], cols["ip_id"][at]
    card, account = cols["instrument_id"][at] - 1, cols["account_id"][at] - 1
    pinned, own = cols["pinned_instrument_id"][at] > 0, cols["terminal_id"][at] == 0
    held = card >= 0
    kind = np.where(held, take(six["instrument_kind"], card), np.int8(-1))
    known = (ip >= 1) & (ip <= len(six["ip_group"]))
    for name, wanted in (
        ("instrument_kind", kind),
        ("ledger_class", six["ledger_class"][account]),
        ("ip_group", np.where(known, take(six["ip_group"], np.where(known, ip - 1, -1)), np.int8(-1))),
    ):
        f.rows("REQ_ENTITY_LINKS", f"S1 {name} as in 6A", cols[name][at] != wanted, shown=who)
    free = held & ~pinned
    waits = take(six["instrument_status"], card) != ctx.code("instrument_status", "ACTIVE")
    f.rows("REQ_ENTITY_LINKS", "S1 instrument is no spare or successor", free & waits, shown=who)
    late = (ts < take(six["instrument_from"], card)) | (ts >= take(six["instrument_to"], card))
    f.rows("REQ_ENTITY_LINKS", "S1 instrument in use", free & late, shown=who)
    late = (ts < six["device_from"][device - 1]) | (ts >= six["device_to"][device - 1])
    f.rows("REQ_ENTITY_LINKS", "S1 device in use", own & late, shown=who)
    phone = take(ctx.phones, card)
    f.rows("REQ_ENTITY_LINKS", "S1 wallet token on its phone", free & own & (phone != 0) & (phone != device), shown=who)
    off_till = ~own & ~np.isin(cols["channel_group"][at], ctx.code.many("channel_group", "POS", "ATM"))
    f.rows("REQ_ENTITY_LINKS", "S1 terminal at tills and cash machines only", off_till, shown=who)


def entity_defects(ctx: Context, cols: Table, terminal: Array) -> Array:
    """Bit set of broken links per row (see `check_entities`)."""
    out = np.zeros(len(cols["party_id"]), dtype=np.int8)
    party, account, instrument, device, ip = (np.ascontiguousarray(cols[c]) for c in ENTITIES)
    rows = EntityColumns(party, account, instrument, device, ip, terminal, cols["merchant_id"])
    check_entities(rows, ctx.links, out)
    return out


def check_sessions(ctx: Context, tally: Tally, arrivals: Columns, sessions: Columns, ordinals: Array) -> Array:
    """Sessions of a shard partition its arrivals and aggregate exactly; returns the session row of each arrival."""
    f = tally.findings
    index = IdIndex(sessions["session_id"])
    shown = {"session_id": sessions["session_id"]}
    f.one("REQ_PK_UNIQUENESS", "session once", not index.repeats, f"{index.repeats} sessions repeated")
    row = index.rows(arrivals["session_id"])
    f.rows("REQ_SESSION_AGGREGATES", "arrival's session exists", row < 0, shown={"session_id": arrivals["session_id"]})
    groups = Groups(row, len(sessions["session_id"]))
    check = "REQ_SESSION_AGGREGATES"
    f.rows(check, "no empty session", groups.sizes == 0, shown=shown)
    f.rows(check, "arrival_count", groups.sizes != sessions["arrival_count"], shown=shown)
    gaps = groups.gaps(arrivals["ts_utc"])
    f.rows(check, "session_start_utc", gaps[:, 0] != sessions["session_start_utc"], shown=shown)
    f.rows(check, "session_end_utc", gaps[:, 1] != sessions["session_end_utc"], shown=shown)
    # Ids: the session's ordinal is eight times that of its first arrival, so sessions are unique where arrivals are.
    first = np.where(groups.sizes > 0, groups.order[np.minimum(groups.start[:-1], max(0, len(row) - 1))], -1)
    want = np.where(first >= 0, take(ordinals, first) * 8, -1)
    got = decode(ctx.keys["session"], sessions["session_id"])
    f.rows("REQ_PK_UNIQUENESS", "session id decodes to its first arrival", got != want, shown=shown)
    for name in ("party_id", "device_id", "account_id", "instrument_id", "merchant_id", "ip_id", "channel_group"):
        if name not in sessions or name not in arrivals:
            f.skip(check, name, f"{name} is not published under this profile")
            continue
        best = groups.dominant(arrivals[name])
        f.rows(check, f"dominant {name}", best[:, 0] != sessions[name], shown=shown)
        counted = {"merchant_id": "merchant_count", "channel_group": "channel_count"}.get(name)
        if counted and counted in sessions:
            f.rows(check, counted, best[:, 1] != sessions[counted], shown=shown)
        if name == "party_id":
            f.rows(check, "one party per session", best[:, 1] > 1, shown=shown)
    for name, column in (("gap_min_us", 2), ("gap_max_us", 3), ("gap_sum_us", 4)):
        if name in sessions:
            f.rows(check, name, gaps[:, column] != sessions[name], shown=shown)
    if "duration_us" in sessions:
        f.rows(check, "duration_us", gaps[:, 1] - gaps[:, 0] != sessions["duration_us"], shown=shown)
    check_cuts(ctx, tally, arrivals, groups, row)
    tally.add("sessions", len(groups.sizes))
    tally.add("single_sessions", int((groups.sizes == 1).sum()))
    return row


def check_cuts(ctx: Context, tally: Tally, arrivals: Columns, groups: Groups, row: Array) -> None:
    """Sessions begin and end where policy, mode and boundary draws say; row: session row of each arrival."""
    check, rule = "REQ_SESSION_AGGREGATES", "cut as the policy says"
    if not {"channel_group", "ts_local_primary"} <= set(arrivals):
        tally.findings.skip(check, rule, "local times are not published under this profile")
        return
    n = len(row)
    named = ("party_id", "instrument_id", "device_id", "channel_group", "ts_utc", "ts_local_primary", "_ordinal")
    columns = (np.require(arrivals[c], requirements=["C", "W"]) for c in named)
    cuts = Cuts(*(np.empty(n, np.int64) for _ in Cuts._fields))
    law = ctx.sessions
    table = np.empty(1 << (2 * n).bit_length(), np.int64)
    evidence = np.zeros((len(law.keys), 2), np.uint64)
    cut_sessions(Timeline(*columns), law.rule, law.keys, law.slots, evidence, table, cuts)
    # Two partitions of the same rows are equal when every row's group begins with the same row.
    begins = groups.order[groups.start[np.maximum(row, 0)]] if n else row
    who = {"merchant_id": arrivals["merchant_id"], "arrival_seq": arrivals["arrival_seq"]}
    tally.findings.rows(check, rule, (row >= 0) & (begins != cuts.first[cuts.session]), shown=who)


def check_order(tally: Tally, dataset: str, wrong: Array) -> None:
    """Note rows out of the declared order."""
    tally.findings.rows("REQ_ROW_ORDER", f"{dataset} sorted", wrong)


def equal_columns(tally: Tally, check: str, rule: str, a: Table, b: Table, names: tuple[str, ...]) -> None:
    """Note rows in which two aligned tables differ, a rule per column."""
    for name in names:
        if name in a and name in b:
            ids = {"flow_id": a["flow_id"]} if "flow_id" in a else None
            tally.findings.rows(check, f"{rule} {name}", differs(a[name], b[name]), ids)
