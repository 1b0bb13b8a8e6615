"""Loops of the validation state: joins by id, folds of events, sessions and cases, checksums and bitmaps.

They read published columns only and draw nothing. Ids are a keyed bijection of ordinals, hence already well mixed: the
open-addressing tables here use their low bits as they are.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.streams import GAMMA, mix64

ZERO = np.uint64(0)

#: Columns of the fold of a flow's events (`fold_events`).
EV_COUNT, EV_REQUEST, EV_RESPONSE, EV_CLEAR, EV_REFUND, EV_REVERSAL = 0, 1, 2, 3, 4, 5
EV_CLEARED, EV_REFUNDED, EV_REVERSED, EV_AMOUNT, EV_RESPONSES = 6, 7, 8, 9, 10
EV_FIRST_CODE, EV_LAST_CODE, EV_LAST_TS, EV_DEFECTS, EV_WIDTH = 11, 12, 13, 14, 15
#: Bits of `EV_DEFECTS`.
SEQ_BROKEN, TIME_BROKEN, REQUEST_MISSING = 1, 2, 4


class EventColumns(NamedTuple):
    """Columns of an event stream, in row order: flow int64[n] row of the event's flow or -1; seq int32[n]; kind int8[n]
    code of event_type; ts int64[n] microseconds; amount int64[n] signed minor units; code int8[n] of response_code."""

    flow: np.ndarray
    seq: np.ndarray
    kind: np.ndarray
    ts: np.ndarray
    amount: np.ndarray
    code: np.ndarray


class LinkTables(NamedTuple):
    """World links, rows by id - 1: account_party int64[accounts]; instrument_account int64[instruments]; device_start
    int64[parties + 1] into device_list int64; ip_start int64[devices + 1] into ip_list int64; terminal_merchant,
    terminal_device, terminal_ip int64[terminals]."""

    account_party: np.ndarray
    instrument_account: np.ndarray
    device_start: np.ndarray
    device_list: np.ndarray
    ip_start: np.ndarray
    ip_list: np.ndarray
    terminal_merchant: np.ndarray
    terminal_device: np.ndarray
    terminal_ip: np.ndarray


class EntityColumns(NamedTuple):
    """Entities of rows, int64[n] each, 0 for none: party, account, instrument, device, ip, terminal, merchant."""

    party: np.ndarray
    account: np.ndarray
    instrument: np.ndarray
    device: np.ndarray
    ip: np.ndarray
    terminal: np.ndarray
    merchant: np.ndarray


@helper
def id_slot(ident, mask):
    """(int64 id, int64 mask of a power of two minus one) -> int64 first slot of an id in a table."""
    return np.int64(mix64(np.uint64(ident)) & np.uint64(mask))


@kernel
def index_ids(ids, table, repeats):
    """Put rows into a table of ids. ids: int64[n]; table: int32[power of two >= 2 n + 1], filled with -1, gets the
    row of each id at the first free slot from mix64(id) mod its size on; repeats: int64[1] grows by the number of rows
    whose id is already there (they are left out)."""
    mask = np.int64(table.shape[0] - 1)
    for i in range(ids.shape[0]):
        slot = id_slot(ids[i], mask)
        while True:
            row = table[slot]
            if row < 0:
                table[slot] = i
                break
            if ids[row] == ids[i]:
                repeats[0] += 1
                break
            slot = (slot + 1) & mask


@kernel
def find_ids(ids, table, wanted, out):
    """out[i] = row of wanted[i] in ids, or -1. ids: int64[n] and table as `index_ids` left them; wanted: int64[m]; out:
    int64[m]. A row is first compared with the row after the last hit, so that runs in equal order cost no look-up."""
    mask = np.int64(table.shape[0] - 1)
    n = ids.shape[0]
    following = 0
    for i in range(wanted.shape[0]):
        if following < n and ids[following] == wanted[i]:
            out[i] = following
            following += 1
            continue
        slot = id_slot(wanted[i], mask)
        found = -1
        while True:
            row = table[slot]
            if row < 0:
                break
            if ids[row] == wanted[i]:
                found = row
                break
            slot = (slot + 1) & mask
        out[i] = found
        if found >= 0:
            following = found + 1


@kernel
def fold_events(events, kinds, out):
    """Fold events into one row per flow. events: EventColumns; kinds: int64[5], the codes of AUTH_REQUEST,
    AUTH_RESPONSE, CLEARING, REFUND, REVERSAL; out: int64[flows, EV_WIDTH], zeroed, columns as named by EV_*.

    Rows are taken in order; flow < 0 is skipped. SEQ_BROKEN: seq is not the number of the flow's rows before it.
    TIME_BROKEN: ts is below that of the flow's row before, or seq is below the number of rows before. REQUEST_MISSING:
    the first row is not an AUTH_REQUEST. EV_REQUEST and EV_AMOUNT: ts and amount of the first row. EV_RESPONSE,
    EV_CLEAR, EV_REFUND, EV_REVERSAL: ts of the last row of the kind; EV_LAST_TS: of the last row; EV_CLEARED,
    EV_REFUNDED, EV_REVERSED: sums of amount; EV_RESPONSES: rows of AUTH_RESPONSE; EV_COUNT: rows; EV_FIRST_CODE,
    EV_LAST_CODE: code of the first and last AUTH_RESPONSE."""
    for i in range(events.flow.shape[0]):
        f = events.flow[i]
        if f < 0:
            continue
        ts = events.ts[i]
        amount = events.amount[i]
        kind = np.int64(events.kind[i])
        seq = np.int64(events.seq[i])
        if seq != out[f, EV_COUNT]:
            out[f, EV_DEFECTS] |= SEQ_BROKEN
            if seq < out[f, EV_COUNT]:
                out[f, EV_DEFECTS] |= TIME_BROKEN
        if out[f, EV_COUNT] == 0:
            if kind != kinds[0]:
                out[f, EV_DEFECTS] |= REQUEST_MISSING
            out[f, EV_REQUEST] = ts
            out[f, EV_AMOUNT] = amount
        elif ts < out[f, EV_LAST_TS]:
            out[f, EV_DEFECTS] |= TIME_BROKEN
        out[f, EV_COUNT] += 1
        out[f, EV_LAST_TS] = ts
        if kind == kinds[1]:
            if out[f, EV_RESPONSES] == 0:
                out[f, EV_FIRST_CODE] = np.int64(events.code[i])
            out[f, EV_LAST_CODE] = np.int64(events.code[i])
            out[f, EV_RESPONSES] += 1
            out[f, EV_RESPONSE] = ts
        elif kind == kinds[2]:
            out[f, EV_CLEAR] = ts
            out[f, EV_CLEARED] += amount
        elif kind == kinds[3]:
            out[f, EV_REFUND] = ts
            out[f, EV_REFUNDED] += amount
        elif kind == kinds[4]:
            out[f, EV_REVERSAL] = ts
            out[f, EV_REVERSED] += amount


@kernel
def group_rows(group, start, order):
    """Stable counting sort of rows by group. group: int64[n], row's group in 0 .. g-1 or -1 (left out); start:
    int64[g + 2], zeroed, gets in start[k] .. start[k + 1] the run of group k; order: int64[n], rows, group by group."""
    for i in range(group.shape[0]):
        if group[i] >= 0:
            start[group[i] + 2] += 1
    for k in range(2, start.shape[0]):
        start[k] += start[k - 1]
    for i in range(group.shape[0]):
        if group[i] >= 0:
            order[start[group[i] + 1]] = i
            start[group[i] + 1] += 1


@kernel
def dominant_values(start, order, values, scratch, out):
    """Most frequent value per group, the lowest of equally frequent ones, and how many distinct values there are.

    start: int64[g + 1], order: int64[n] as of `group_rows`; values: integers[n]; scratch: int64[longest group]; out:
    int64[g, 2]: value (0 for an empty group), distinct values."""
    for k in range(start.shape[0] - 1):
        n = start[k + 1] - start[k]
        if n == 0:
            continue
        if n == 1:
            out[k, 0] = np.int64(values[order[start[k]]])
            out[k, 1] = 1
            continue
        for j in range(n):
            scratch[j] = np.int64(values[order[start[k] + j]])
        gap = n >> 1
        while gap > 0:
            for i in range(gap, n):
                v = scratch[i]
                j = i
                while j >= gap and scratch[j - gap] > v:
                    scratch[j] = scratch[j - gap]
                    j -= gap
                scratch[j] = v
            gap >>= 1
        best = scratch[0]
        best_run = 0
        distinct = 0
        run = 0
        for j in range(n):
            if j == 0 or scratch[j] != scratch[j - 1]:
                distinct += 1
                run = 0
            run += 1
            if run > best_run:
                best_run = run
                best = scratch[j]
        out[k, 0] = best
        out[k, 1] = distinct


@kernel
def fold_gaps(start, order, ts, out):
    """Times of a group: out[k] = first ts, last ts, smallest, largest and summed gap of rows in order.

    start: int64[g + 1], order: int64[n] as of `group_rows`; ts: int64[n]; out: int64[g, 5], zeroed; gaps of one row are
    0, those of an empty group too."""
    for k in range(start.shape[0] - 1):
        if start[k + 1] == start[k]:
            continue
        before = ts[order[start[k]]]
        out[k, 0] = before
        for j in range(start[k] + 1, start[k + 1]):
            gap = ts[order[j]] - before
            if j == start[k] + 1 or gap < out[k, 2]:
                out[k, 2] = gap
            if j == start[k] + 1 or gap > out[k, 3]:
                out[k, 3] = gap
            out[k, 4] += gap
            before = ts[order[j]]
        out[k, 1] = before


@kernel
def absorb(values, state):
    """state[i] = mix64((state[i] xor values[i]) + GAMMA), modulo 2^64. values: integers or bool[n], sign-extended;
    state: uint64[n], in and out."""
    for i in range(values.shape[0]):
        state[i] = mix64((state[i] ^ np.uint64(np.int64(values[i]))) + GAMMA)


@kernel
def bucket_sums(state, ordinals, shift, sums):
    """sums[ordinals[i] >> shift] += state[i], modulo 2^64. state: uint64[n]; ordinals: int64[n], rows out of the range
    of sums are left out; shift: int64; sums: uint64[buckets]."""
    for i in range(state.shape[0]):
        b = ordinals[i] >> shift
        if 0 <= b < sums.shape[0]:
            sums[b] += state[i]


@kernel
def mark_bits(ordinals, limit, bits, defects):
    """Set one bit per ordinal, bit o & 7 of byte o >> 3. ordinals: int64[n]; limit: int64, ordinals are 0 .. limit - 1;
    bits: uint8[>= limit / 8]; defects: int64[2] grows by repeated ordinals and by ordinals out of range."""
    for i in range(ordinals.shape[0]):
        o = ordinals[i]
        if o < 0 or o >= limit:
            defects[1] += 1
            continue
        bit = np.uint8(1 << (o & 7))
        if bits[o >> 3] & bit:
            defects[0] += 1
        bits[o >> 3] |= bit


@kernel
def sum_counters(ordinals, slots, out):
    """out[0] += sum over i and slot of mix64(ordinals[i] * slots + slot), modulo 2^64: the checksum of a decision.

    ordinals: int64[n] >= 0; slots: int64 >= 1; out: uint64[1]."""
    total = ZERO
    for i in range(ordinals.shape[0]):
        base = ordinals[i] * slots
        for slot in range(slots):
            total += mix64(np.uint64(base + slot))
    out[0] += total


@kernel
def follow_events(flow, origin_seq, origin_flow, start, order, out):
    """Baseline event of each event after the overlay. flow: int64[n] row of its flow or -1; origin_seq: int32[n],
    0-based number of the baseline event plus one, 0 for none; origin_flow: int64[flows] baseline row of a flow or -1;
    start: int64[baseline flows + 1], order: int64[baseline events] as of `group_rows` by baseline flow; out: int64[n]:
    row of the baseline event, -1 when origin_seq is 0, -2 when it does not resolve."""
    for i in range(flow.shape[0]):
        out[i] = -1
        if origin_seq[i] == 0:
            continue
        out[i] = -2
        if flow[i] < 0 or origin_flow[flow[i]] < 0 or origin_seq[i] < 0:
            continue
        base = origin_flow[flow[i]]
        place = start[base] + origin_seq[i] - 1
        if place < start[base + 1]:
            out[i] = order[place]


@kernel
def count_unequal(a, rows_a, b, rows_b, out):
    """out[0] += number of i with a[rows_a[i]] != b[rows_b[i]]. a, b: integers or bool[*], one dtype; rows_a, rows_b:
    int64[n], in range; out: int64[1]."""
    total = 0
    for i in range(rows_a.shape[0]):
        if a[rows_a[i]] != b[rows_b[i]]:
            total += 1
    out[0] += total


@kernel
def check_entities(rows, links, out):
    """Which links of the world a row breaks. rows: EntityColumns; links: LinkTables; out: int8[n], a bit set: 1 account
    not of the party, 2 instrument not of the account (0 passes), 4 device neither linked to the party nor, with a
    terminal, that terminal's, 8 address neither linked to the device nor that terminal's, 16 terminal not of the
    merchant, 32 an id that the world lacks."""
    for i in range(rows.party.shape[0]):
        bad = 0
        party, account, device = rows.party[i] - 1, rows.account[i] - 1, rows.device[i] - 1
        instrument, terminal, ip = rows.instrument[i] - 1, rows.terminal[i] - 1, rows.ip[i]
        if (
            party < 0
            or party >= links.device_start.shape[0] - 1
            or account < 0
            or account >= links.account_party.shape[0]
            or instrument >= links.instrument_account.shape[0]
            or device < 0
            or device >= links.ip_start.shape[0] - 1
            or ip < 1
            or terminal >= links.terminal_device.shape[0]
        ):
            out[i] = 32
            continue
        if links.account_party[account] != rows.party[i]:
            bad |= 1
        if instrument >= 0 and links.instrument_account[instrument] != rows.account[i]:
            bad |= 2
        at_terminal = False
        address = False
        if terminal >= 0:
            at_terminal = links.terminal_device[terminal] == rows.device[i]
            address = at_terminal and links.terminal_ip[terminal] == ip
            if links.terminal_merchant[terminal] != rows.merchant[i]:
                bad |= 16
        if not at_terminal:
            linked = False
            for j in range(links.device_start[party], links.device_start[party + 1]):
                if links.device_list[j] == rows.device[i]:
                    linked = True
                    break
            if not linked:
                bad |= 4
        if not address:
            for j in range(links.ip_start[device], links.ip_start[device + 1]):
                if links.ip_list[j] == ip:
                    address = True
                    break
            if not address:
                bad |= 8
        out[i] = bad
