"""Attachment kernels: party, account and instrument of each arrival (device and address: attach_device).

Every kernel decides each row from that row's own keys and the sealed world alone, so rows can be attached in any
batches. Candidates are read through CSR arrays (`ptr[i]:ptr[i + 1]`); ids are dense from 1, so row = id - 1. The law,
with slot numbers and the order of every float operation, is contracts/laws/s1.md.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.streams import draw, pick_cdf, split_remap

Array = np.ndarray

# Rows of the decisions in `keys`, `slots` and evidence; series variants follow their visit variants.
PARTY, ACCOUNT, INSTRUMENT = 0, 2, 4
# Codes of attach_rule.
RULE_PINNED, RULE_SERIES_REGULAR, RULE_SERIES_POOL, RULE_VISIT_REGULAR, RULE_VISIT_POOL, RULE_TRIP_VISITOR = range(6)
DAY_US = 86_400_000_000
#: Base of the composite keys (city, day): key = city id * PLACE_BASE + day.
PLACE_BASE = 1 << 20


class Rows(NamedTuple):
    """Arrivals of a batch, as arrays of n rows named as in arrival_events_5B; `pinned` is the instrument (0 for none,
    as in the other two); `first` is the ordinal of row 0."""

    merchant: Array
    ts: Array
    channel: Array
    local: Array
    visit: Array
    series: Array
    anchor: Array
    home_city: Array
    city: Array
    trip: Array
    pinned: Array
    pinned_device: Array
    pinned_ip: Array
    first: int


class Streams(NamedTuple):
    """Keys (uint64[d]) and slots (int64[d]) of the decisions, in the order of the RNG policy."""

    keys: Array
    slots: Array


class People(NamedTuple):
    """Who may act: regulars by (merchant, home city), residents by city, trips by party, visitors by (city, day).

    first_day: first day of the horizon since 1970-01-01; days: its length.
    """

    group_ptr: Array
    group_city: Array
    regular_ptr: Array
    regular_party: Array
    regular_cum: Array
    city_ptr: Array
    pool_cum: Array
    trip_ptr: Array
    trip_from: Array
    trip_to: Array
    visitor_key: Array
    visitor_ptr: Array
    visitor_party: Array
    visitor_cum: Array
    first_day: int
    days: int


class Holdings(NamedTuple):
    """What parties hold: accounts by party, instruments by account, windows of use (empty unless ACTIVE)."""

    family: Array
    account_ptr: Array
    ledger: Array
    instrument_ptr: Array
    kind: Array
    usable_from: Array
    usable_to: Array
    holder: Array
    account_of: Array


class HoldingPriors(NamedTuple):
    """ledger: float64[family, channel, ledger]; kind: float64[family, channel, kind]; eligible: bool[channel, kind];
    optional: bool[channel] (an instrument may be missing)."""

    ledger: Array
    kind: Array
    eligible: Array
    optional: Array


class PartyOut(NamedTuple):
    """party: int64[n]; rule: int8[n]; score: float64[n]."""

    party: Array
    rule: Array
    score: Array


class HoldingOut(NamedTuple):
    """account, instrument (0 for none): int64[n]."""

    account: Array
    instrument: Array


@helper
def find_in(values, wanted, lo, hi):
    """Range [first, last) of `wanted` in the ascending values[lo:hi]; empty at its place if it is not there."""
    left, right = lo, hi
    while left < right:
        middle = (left + right) >> 1
        if values[middle] < wanted:
            left = middle + 1
        else:
            right = middle
    last = left
    while last < hi and values[last] == wanted:
        last += 1
    return left, last


@helper
def window_total(cum, lo, hi):
    """Weight of the window [lo, hi) of a running sum, 0.0 when it is empty."""
    if hi <= lo:
        return 0.0
    if lo > 0:
        return cum[hi - 1] - cum[lo - 1]
    return cum[hi - 1]


@helper
def is_away(trip_ptr, trip_from, trip_to, party, day):
    """Whether a trip of the party (id) covers the day."""
    away = False
    for k in range(trip_ptr[party - 1], trip_ptr[party]):
        if trip_from[k] <= day <= trip_to[k]:
            away = True
    return away


@helper
def weighted_window(cum, ptr, at, exists):
    """Window ptr[at]:ptr[at + 1] of a running sum if `exists` and it has weight, else (0, 0)."""
    if exists:
        lo, hi = ptr[at], ptr[at + 1]
        if window_total(cum, lo, hi) > 0.0:
            return lo, hi
    return 0, 0


@kernel
def attach_party(rows, people, holdings, p_regular, streams, evidence, out):
    """The payer of each arrival, how it was found, and the probability of that source.

    rows: Rows; people: People; holdings: Holdings (holder of pinned cards); p_regular: float64; streams: Streams;
    evidence: uint64[decisions, 2]; out: PartyOut. All slots are drawn, whether needed or not.
    """
    # Tuples are opened once: reading an array out of a tuple inside a loop costs a reference count.
    merchant, local, visits, all_series, cities = rows.anchor, rows.local, rows.visit, rows.series, rows.home_city
    trips, pinned, keys, all_slots = rows.trip, rows.pinned, streams.keys, streams.slots
    group_ptr, group_city, regular_ptr = people.group_ptr, people.group_city, people.regular_ptr
    regular_party, regular_cum, city_ptr, pool_cum = (
        people.regular_party,
        people.regular_cum,
        people.city_ptr,
        people.pool_cum,
    )
    trip_ptr, trip_from, trip_to = people.trip_ptr, people.trip_from, people.trip_to
    visitor_key, visitor_ptr = people.visitor_key, people.visitor_ptr
    visitor_party, visitor_cum, holder = people.visitor_party, people.visitor_cum, holdings.holder
    first_day, days = people.first_day, people.days
    out_party, out_rule, out_score = out.party, out.rule, out.score
    for i in range(local.shape[0]):
        series, trip, city = all_series[i], trips[i], cities[i]
        day = (local[i] // DAY_US - first_day) % days
        d, key = PARTY, visits[i]
        if series > 0:
            d, key, trip = PARTY + 1, series, False
        slots = all_slots[d]
        vlo, vhi, rlo, rhi = 0, 0, 0, 0
        if trip:
            at, end = find_in(visitor_key, city * PLACE_BASE + day, 0, visitor_key.shape[0])
            vlo, vhi = weighted_window(visitor_cum, visitor_ptr, at, end > at)
        else:
            at, end = find_in(group_city, city, group_ptr[merchant[i] - 1], group_ptr[merchant[i]])
            rlo, rhi = weighted_window(regular_cum, regular_ptr, at, end > at)
        lo, hi = weighted_window(pool_cum, city_ptr, city - 1, True)
        if hi == 0:
            hi = pool_cum.shape[0]
        party, rule, score, settled = 0, RULE_VISIT_POOL, 1.0, False
        for c in range(slots):
            u = draw(keys, d, key * slots + c, evidence)
            if settled:
                continue
            if vhi > vlo:
                party, rule, settled = visitor_party[pick_cdf(visitor_cum, u, vlo, vhi)], RULE_TRIP_VISITOR, True
                continue
            regular, rest, score = False, u, 1.0
            if rhi > rlo and (c == 0 or c < slots - 1):
                regular, rest = split_remap(u, p_regular)
                score = p_regular if regular else 1.0 - p_regular
            if regular:
                party = regular_party[pick_cdf(regular_cum, rest, rlo, rhi)]
                rule = RULE_SERIES_REGULAR if series > 0 else RULE_VISIT_REGULAR
            else:
                party = pick_cdf(pool_cum, rest, lo, hi) + 1
                rule = RULE_SERIES_POOL if series > 0 else RULE_VISIT_POOL
            settled = series > 0 or trip or not is_away(trip_ptr, trip_from, trip_to, party, day)
        if not settled:
            # All candidates are away: the next of the pool after the last one, cyclically, who is not.
            for k in range(1, hi - lo):
                row = lo + (party - 1 - lo + k) % (hi - lo)
                if window_total(pool_cum, row, row + 1) > 0.0 and not is_away(
                    trip_ptr, trip_from, trip_to, row + 1, day
                ):
                    party = row + 1
                    break
        if pinned[i] > 0:
            party, rule, score = holder[pinned[i] - 1], RULE_PINNED, 1.0
        out_party[i] = party
        out_rule[i] = rule
        out_score[i] = score


@helper
def any_usable(instrument_ptr, kind, usable_from, usable_to, holder, takes, account, ts, party):
    """Whether the account (row) has an instrument that the party may use: of a kind that the channel takes
    (bool[kind]), in use at the instant, held by the party."""
    for k in range(instrument_ptr[account], instrument_ptr[account + 1]):
        if takes[kind[k]] and usable_from[k] <= ts < usable_to[k] and holder[k] == party:
            return True
    return False


@kernel
def attach_holding(rows, party, holdings, priors, streams, evidence, out):
    """The account and instrument of each arrival. Returns the first row without a candidate, or -1.

    Accounts with a usable instrument, weighted by ledger; when there is none and the channel lets the instrument be
    missing, all accounts of the party. Then a usable instrument of the account, weighted by kind.
    rows: Rows; party: int64[n]; holdings: Holdings; priors: HoldingPriors; streams: Streams;
    evidence: uint64[decisions, 2]; out: HoldingOut (0, 0 on rows without a candidate).
    """
    instants, channels, visits, all_series, pinned = rows.ts, rows.channel, rows.visit, rows.series, rows.pinned
    family, account_ptr, ledger = holdings.family, holdings.account_ptr, holdings.ledger
    instrument_ptr, kind, holder = holdings.instrument_ptr, holdings.kind, holdings.holder
    usable_from, usable_to, account_of = holdings.usable_from, holdings.usable_to, holdings.account_of
    ledger_weight, kind_weight, eligible, optional = priors.ledger, priors.kind, priors.eligible, priors.optional
    keys, slots, out_account, out_instrument = streams.keys, streams.slots, out.account, out.instrument
    failed = -1
    for i in range(instants.shape[0]):
        variant, key = 0, visits[i]
        if all_series[i] > 0:
            variant, key = 1, all_series[i]
        u_account = draw(keys, ACCOUNT + variant, key * slots[ACCOUNT + variant], evidence)
        u_instrument = draw(keys, INSTRUMENT + variant, key * slots[INSTRUMENT + variant], evidence)
        who, channel, ts = party[i], channels[i], instants[i]
        account, instrument, total, needs = 0, 0, 0.0, True
        if pinned[i] > 0:
            instrument = pinned[i]
            account = account_of[instrument - 1]
        elif who > 0:
            lo, hi = account_ptr[who - 1], account_ptr[who]
            takes, weight = eligible[channel], ledger_weight[family[who - 1], channel]
            for a in range(lo, hi):
                if any_usable(instrument_ptr, kind, usable_from, usable_to, holder, takes, a, ts, who):
                    total += weight[ledger[a]]
            if total <= 0.0 and optional[channel]:
                needs = False
                for a in range(lo, hi):
                    total += weight[ledger[a]]
            if total > 0.0:
                target, below = u_account * total, 0.0
                for a in range(lo, hi):
                    if needs and not any_usable(
                        instrument_ptr, kind, usable_from, usable_to, holder, takes, a, ts, who
                    ):
                        continue
                    below += weight[ledger[a]]
                    account = a + 1
                    if below > target:
                        break
            if account > 0 and needs:
                total, below = 0.0, 0.0
                weight = kind_weight[family[who - 1], channel]
                lo, hi = instrument_ptr[account - 1], instrument_ptr[account]
                for k in range(lo, hi):
                    if takes[kind[k]] and usable_from[k] <= ts < usable_to[k] and holder[k] == who:
                        total += weight[kind[k]]
                target = u_instrument * total
                for k in range(lo, hi):
                    if takes[kind[k]] and usable_from[k] <= ts < usable_to[k] and holder[k] == who:
                        below += weight[kind[k]]
                        instrument = k + 1
                        if below > target:
                            break
        if account == 0 and failed < 0:
            failed = i
        out_account[i] = account
        out_instrument[i] = instrument
    return failed
