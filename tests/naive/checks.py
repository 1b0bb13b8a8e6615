"""Twins of the validation kernels: tables of ids, groups, folds, checksums, bitmaps and links."""

from collections import Counter
from itertools import pairwise

from naive.streams import GAMMA, MASK, mix64

SEQ_BROKEN, TIME_BROKEN, REQUEST_MISSING = 1, 2, 4
FOLDED = ("count", "request", "response", "clear", "refund", "reversal", "cleared", "refunded", "reversed")
FOLDED += ("amount", "responses", "first_code", "last_code", "last_ts", "defects")


def _ints(values):
    return [int(v) for v in values]


def _runs(start, order):
    """Group number and its rows, for every group."""
    for k, (lo, hi) in enumerate(pairwise(_ints(start))):
        yield k, _ints(order[lo:hi])


def index_ids(ids, table, repeats):
    """Linear probing from the mixed id on; a second row with an id is counted and left out."""
    seen, size = set(), len(table)
    for row, ident in enumerate(_ints(ids)):
        if ident in seen:
            repeats[0] += 1
            continue
        seen.add(ident)
        slot = mix64(ident) % size
        while int(table[slot]) != -1:
            slot = (slot + 1) % size
        table[slot] = row


def find_ids(ids, table, wanted, out):
    """The row after the last hit if it has the id, else the row that the table holds for it."""
    known = _ints(ids)
    rows = {known[r]: r for r in _ints(table) if r >= 0}
    following = 0
    for i, ident in enumerate(_ints(wanted)):
        near = following < len(known) and known[following] == ident
        out[i] = following if near else rows.get(ident, -1)
        if out[i] >= 0:
            following = int(out[i]) + 1


def group_rows(group, start, order):
    """Rows of the groups side by side, in their order."""
    groups = len(start) - 2
    members = [[] for _ in range(groups)]
    for row, k in enumerate(_ints(group)):
        if k >= 0:
            members[k].append(row)
    at = 0
    for k, rows in enumerate(members):
        start[k] = at
        order[at : at + len(rows)] = rows
        at += len(rows)
    start[groups] = start[groups + 1] = at


def dominant_values(start, order, values, scratch, out):
    """The most frequent value, the lowest of equals, and how many values differ; groups of several rows are sorted."""
    for k, rows in _runs(start, order):
        held = Counter(int(values[i]) for i in rows)
        if len(rows) > 1:
            scratch[: len(rows)] = sorted(held.elements())
        if rows:
            out[k] = min(held, key=lambda v: (-held[v], v)), len(held)


def fold_gaps(start, order, ts, out):
    """First, last, and the smallest, largest and summed difference of neighbours."""
    for k, rows in _runs(start, order):
        if rows:
            times = [int(ts[i]) for i in rows]
            gaps = [b - a for a, b in pairwise(times)] or [0]
            out[k] = times[0], times[-1], min(gaps), max(gaps), sum(gaps)


def _fold(rows, kinds):
    """What the rows (seq, kind, ts, amount, code) of a flow come to, and the defects of their order."""
    request, response, *moves = kinds
    found = dict.fromkeys(FOLDED, 0)
    found["count"] = len(rows)
    if not rows:
        return found
    defects = set() if rows[0][1] == request else {REQUEST_MISSING}
    for place, (seq, kind, ts, amount, _) in enumerate(rows):
        if seq != place:
            defects.add(SEQ_BROKEN)
        if seq < place or (place and ts < rows[place - 1][2]):
            defects.add(TIME_BROKEN)
        for move, when, total in zip(moves, FOLDED[3:6], FOLDED[6:9], strict=True):
            if kind == move:
                found[when] = ts
                found[total] += amount
    answers = [row for row in rows if row[1] == response]
    if answers:
        found["responses"] = len(answers)
        found["response"] = answers[-1][2]
        found["first_code"], found["last_code"] = answers[0][4], answers[-1][4]
    found["request"], found["amount"] = rows[0][2], rows[0][3]
    found["last_ts"], found["defects"] = rows[-1][2], sum(defects)
    return found


def fold_events(events, kinds, out):
    """The rows of each flow, folded on their own."""
    flows = [[] for _ in range(len(out))]
    columns = (events.flow, events.seq, events.kind, events.ts, events.amount, events.code)
    for flow, *row in zip(*map(_ints, columns), strict=True):
        if flow >= 0:
            flows[flow].append(row)
    for flow, rows in enumerate(flows):
        found = _fold(rows, _ints(kinds))
        out[flow] = [found[name] for name in FOLDED]


def absorb(values, state):
    """One more column into the hash of each row."""
    for i, value in enumerate(_ints(values)):
        state[i] = mix64((int(state[i]) ^ (value & MASK)) + GAMMA)


def bucket_sums(state, ordinals, shift, sums):
    """Sums of hashes by runs of 2**shift ordinals."""
    size = 1 << int(shift)
    for value, ordinal in zip(_ints(state), _ints(ordinals), strict=True):
        if 0 <= ordinal < size * len(sums):
            sums[ordinal // size] = (int(sums[ordinal // size]) + value) & MASK


def mark_bits(ordinals, limit, bits, defects):
    """A set of the ordinals, kept as bits; defects: repeated, out of range."""
    held = {8 * at + bit for at, byte in enumerate(_ints(bits)) for bit in range(8) if byte & 1 << bit}
    for ordinal in _ints(ordinals):
        if not 0 <= ordinal < int(limit):
            defects[1] += 1
        elif ordinal in held:
            defects[0] += 1
        else:
            held.add(ordinal)
    for at in range(len(bits)):
        bits[at] = sum(1 << bit for bit in range(8) if 8 * at + bit in held)


def sum_counters(ordinals, slots, out):
    """The checksum of the counters that a decision uses."""
    total = sum(mix64(o * int(slots) + slot) for o in _ints(ordinals) for slot in range(int(slots)))
    out[0] = (int(out[0]) + total) & MASK


def follow_events(flow, origin_seq, origin_flow, start, order, out):
    """The baseline event by number within the rows of the flow's baseline flow."""
    held = dict(_runs(start, order))
    origins = dict(enumerate(_ints(origin_flow)))
    for i, (f, seq) in enumerate(zip(_ints(flow), _ints(origin_seq), strict=True)):
        rows = held.get(origins.get(f, -1), [])
        found = rows[seq - 1] if 1 <= seq <= len(rows) else -2
        out[i] = found if seq else -1


def count_unequal(a, rows_a, b, rows_b, out):
    """Pairs of rows whose values differ."""
    out[0] += sum(int(a[i]) != int(b[j]) for i, j in zip(rows_a, rows_b, strict=True))


def _lists(start, members):
    """Members by 1-based id."""
    return {k + 1: _ints(members[lo:hi]) for k, (lo, hi) in enumerate(pairwise(_ints(start)))}


def _by_id(column):
    return dict(enumerate(_ints(column), 1))


def check_entities(rows, links, out):
    """Bits of the links that do not hold; ids that no table has are 32 alone."""
    devices = _lists(links.device_start, links.device_list)
    addresses = _lists(links.ip_start, links.ip_list)
    owner, funds = _by_id(links.account_party), _by_id(links.instrument_account)
    terminals = (links.terminal_merchant, links.terminal_device, links.terminal_ip)
    places = list(zip(*map(_ints, terminals), strict=True))
    columns = (rows.party, rows.account, rows.instrument, rows.device, rows.ip, rows.terminal, rows.merchant)
    for i, row in enumerate(zip(*map(_ints, columns), strict=True)):
        party, account, instrument, device, ip, terminal, merchant = row
        known = party in devices and account in owner and device in addresses and ip >= 1
        if not known or instrument > len(funds) or terminal > len(places):
            out[i] = 32
            continue
        place = places[terminal - 1] if terminal > 0 else None
        at_terminal = place is not None and place[1] == device
        broken = {
            1: owner[account] != party,
            2: instrument > 0 and funds[instrument] != account,
            4: not at_terminal and device not in devices[party],
            8: not (at_terminal and place[2] == ip) and ip not in addresses[device],
            16: place is not None and place[0] != merchant,
        }
        out[i] = sum(bit for bit, is_broken in broken.items() if is_broken)
