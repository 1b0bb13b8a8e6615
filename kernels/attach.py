"""Attachment kernels: party, account and instrument, device and address of each arrival.

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
PARTY, ACCOUNT, INSTRUMENT, DEVICE, ADDRESS, TERMINAL = 0, 2, 4, 6, 8, 10
# Codes of attach_rule.
RULE_PINNED, RULE_SERIES_REGULAR, RULE_SERIES_POOL, RULE_VISIT_REGULAR, RULE_VISIT_POOL, RULE_TRIP_VISITOR = range(6)
# Codes of channel_group that are acted at a till or cash machine.
POS, ATM = 1, 2
ROLE_PRIMARY_OWNER = 0
ROLE_TYPICAL_IP = 0
DAY_US = 86_400_000_000
#: Base of the composite keys (city, day): key = city id * PLACE_BASE + day.
PLACE_BASE = 1 << 20


class Rows(NamedTuple):
    """Arrivals of a batch, as arrays of n rows named as in arrival_events_5B; `first` is the ordinal of row 0."""

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


class Devices(NamedTuple):
    """Devices by party, terminals by (merchant, city), addresses by device."""

    family: Array
    link_ptr: Array
    link_device: Array
    link_role: Array
    device_from: Array
    device_to: Array
    phone: Array
    terminal_ptr: Array
    terminal_city: Array
    terminal_id: Array
    terminal_device: Array
    terminal_ip: Array
    ip_ptr: Array
    ip_id: Array
    ip_role: Array
    ip_group: Array


class HoldingPriors(NamedTuple):
    """ledger: float64[family, channel, ledger]; kind: float64[family, channel, kind]; eligible: bool[channel, kind];
    optional: bool[channel] (an instrument may be missing)."""

    ledger: Array
    kind: Array
    eligible: Array
    optional: Array


class DevicePriors(NamedTuple):
    """primary: float64[family, channel]; role: float64[role]; terminal: float64[channel];
    typical: float64[family, channel]; group: float64[family, channel, ip_group]."""

    primary: Array
    role: Array
    terminal: Array
    typical: Array
    group: Array


class PartyOut(NamedTuple):
    """party: int64[n]; rule: int8[n]; score: float64[n]."""

    party: Array
    rule: Array
    score: Array


class HoldingOut(NamedTuple):
    """account, instrument (0 for none): int64[n]."""

    account: Array
    instrument: Array


class DeviceOut(NamedTuple):
    """device, ip, terminal (0 for none): int64[n]."""

    device: Array
    ip: Array
    terminal: Array


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
def is_away(people, party, day):
    """Whether a trip of the party (id) covers the day."""
    for k in range(people.trip_ptr[party - 1], people.trip_ptr[party]):
        if people.trip_from[k] <= day <= people.trip_to[k]:
            return True
    return False


@helper
def regular_window(people, merchant, city):
    """Rows [lo, hi) of the regulars of (merchant, home city) with weight, or (0, 0)."""
    lo, hi = find_in(people.group_city, city, people.group_ptr[merchant - 1], people.group_ptr[merchant])
    if hi > lo:
        a, b = people.regular_ptr[lo], people.regular_ptr[lo + 1]
        if window_total(people.regular_cum, a, b) > 0.0:
            return a, b
    return 0, 0


@helper
def pool_window(people, city):
    """Rows [lo, hi) of the residents of a city, or of the whole world when the city has no active resident."""
    lo, hi = people.city_ptr[city - 1], people.city_ptr[city]
    if window_total(people.pool_cum, lo, hi) > 0.0:
        return lo, hi
    return 0, people.pool_cum.shape[0]


@helper
def visitor_window(people, city, day):
    """Rows [lo, hi) of the visitors of (city, day) with weight, or (0, 0)."""
    key = city * PLACE_BASE + day
    first, last = find_in(people.visitor_key, key, 0, people.visitor_key.shape[0])
    if last == first:
        return 0, 0
    lo, hi = people.visitor_ptr[first], people.visitor_ptr[first + 1]
    if window_total(people.visitor_cum, lo, hi) > 0.0:
        return lo, hi
    return 0, 0


@kernel
def attach_party(rows, people, holdings, p_regular, streams, evidence, out):
    """The payer of each arrival, how it was found, and the probability of that source.

    rows: Rows; people: People; holdings: Holdings (holder of pinned cards); p_regular: float64; streams: Streams;
    evidence: uint64[decisions, 2]; out: PartyOut. All slots are drawn, whether needed or not.
    """
    for i in range(rows.ts.shape[0]):
        series, trip = rows.series[i], rows.trip[i]
        day = (rows.local[i] // DAY_US - people.first_day) % people.days
        city = rows.home_city[i]
        d, key = PARTY, rows.visit[i]
        if series > 0:
            d, key, trip = PARTY + 1, series, False
        slots = streams.slots[d]
        vlo, vhi = 0, 0
        if trip:
            vlo, vhi = visitor_window(people, city, day)
        rlo, rhi = 0, 0
        if not trip:
            rlo, rhi = regular_window(people, rows.anchor[i], city)
        lo, hi = pool_window(people, city)
        party, rule, score, settled = 0, RULE_VISIT_POOL, 1.0, False
        for c in range(slots):
            u = draw(streams.keys, d, key * slots + c, evidence)
            if settled:
                continue
            if vhi > vlo:
                party, rule, score, settled = (
                    people.visitor_party[pick_cdf(people.visitor_cum, u, vlo, vhi)],
                    RULE_TRIP_VISITOR,
                    1.0,
                    True,
                )
                continue
            regular, rest, score = False, u, 1.0
            if rhi > rlo:
                regular, rest = split_remap(u, p_regular)
                score = p_regular if regular else 1.0 - p_regular
            if regular:
                party = people.regular_party[pick_cdf(people.regular_cum, rest, rlo, rhi)]
                rule = RULE_SERIES_REGULAR if series > 0 else RULE_VISIT_REGULAR
            else:
                party = pick_cdf(people.pool_cum, rest, lo, hi) + 1
                rule = RULE_SERIES_POOL if series > 0 else RULE_VISIT_POOL
            settled = series > 0 or trip or not is_away(people, party, day)
        if rows.pinned[i] > 0:
            party, rule, score = holdings.holder[rows.pinned[i] - 1], RULE_PINNED, 1.0
        out.party[i] = party
        out.rule[i] = rule
        out.score[i] = score


@helper
def usable(holdings, eligible, channel, instrument, ts, party):
    """Whether the party may use the instrument (row) on the channel at the instant."""
    return (
        eligible[channel, holdings.kind[instrument]]
        and holdings.usable_from[instrument] <= ts
        and ts < holdings.usable_to[instrument]
        and holdings.holder[instrument] == party
    )


@helper
def any_usable(holdings, eligible, channel, account, ts, party):
    """Whether the account (row) has an instrument that the party may use."""
    for k in range(holdings.instrument_ptr[account], holdings.instrument_ptr[account + 1]):
        if usable(holdings, eligible, channel, k, ts, party):
            return True
    return False


@helper
def pick_account(holdings, priors, channel, party, ts, u):
    """-> (account id or 0, whether it has a usable instrument).

    Accounts with a usable instrument, weighted by ledger; when there is none and the channel lets the instrument be
    missing, all accounts of the party.
    """
    family = holdings.family[party - 1]
    lo, hi = holdings.account_ptr[party - 1], holdings.account_ptr[party]
    total = 0.0
    for a in range(lo, hi):
        if any_usable(holdings, priors.eligible, channel, a, ts, party):
            total += priors.ledger[family, channel, holdings.ledger[a]]
    needs = total > 0.0
    if not needs:
        if not priors.optional[channel]:
            return 0, False
        for a in range(lo, hi):
            total += priors.ledger[family, channel, holdings.ledger[a]]
    target, below, chosen = u * total, 0.0, 0
    for a in range(lo, hi):
        if needs and not any_usable(holdings, priors.eligible, channel, a, ts, party):
            continue
        below += priors.ledger[family, channel, holdings.ledger[a]]
        chosen = a + 1
        if below > target:
            break
    return chosen, needs


@helper
def pick_instrument(holdings, priors, channel, party, account, ts, u):
    """Instrument id among the usable ones of the account (id), weighted by kind."""
    family = holdings.family[party - 1]
    lo, hi = holdings.instrument_ptr[account - 1], holdings.instrument_ptr[account]
    total = 0.0
    for k in range(lo, hi):
        if usable(holdings, priors.eligible, channel, k, ts, party):
            total += priors.kind[family, channel, holdings.kind[k]]
    target, below, chosen = u * total, 0.0, 0
    for k in range(lo, hi):
        if usable(holdings, priors.eligible, channel, k, ts, party):
            below += priors.kind[family, channel, holdings.kind[k]]
            chosen = k + 1
            if below > target:
                break
    return chosen


@kernel
def attach_holding(rows, party, holdings, priors, streams, evidence, out):
    """The account and instrument of each arrival. Returns the first row without a candidate, or -1.

    rows: Rows; party: int64[n]; holdings: Holdings; priors: HoldingPriors; streams: Streams;
    evidence: uint64[decisions, 2]; out: HoldingOut (0, 0 on rows without a candidate).
    """
    failed = -1
    for i in range(rows.ts.shape[0]):
        variant, key = 0, rows.visit[i]
        if rows.series[i] > 0:
            variant, key = 1, rows.series[i]
        d = ACCOUNT + variant
        u_account = draw(streams.keys, d, key * streams.slots[d], evidence)
        d = INSTRUMENT + variant
        u_instrument = draw(streams.keys, d, key * streams.slots[d], evidence)
        account, instrument = 0, 0
        if rows.pinned[i] > 0:
            instrument = rows.pinned[i]
            account = holdings.account_of[instrument - 1]
        elif party[i] > 0:
            account, found = pick_account(holdings, priors, rows.channel[i], party[i], rows.ts[i], u_account)
            if found:
                instrument = pick_instrument(
                    holdings, priors, rows.channel[i], party[i], account, rows.ts[i], u_instrument
                )
        if account == 0 and failed < 0:
            failed = i
        out.account[i] = account
        out.instrument[i] = instrument
    return failed


@helper
def candidate_device(devices, link, ts, phones):
    """Whether the linked device is in use at the instant (and a phone, if phones are asked for)."""
    row = devices.link_device[link] - 1
    return devices.device_from[row] <= ts and ts < devices.device_to[row] and (not phones or devices.phone[row])


@helper
def pick_device(devices, role_weight, party, ts, phones, p_primary, u):
    """Customer device id of a party, or 0: its first own device with p_primary, else another by role weight."""
    lo, hi = devices.link_ptr[party - 1], devices.link_ptr[party]
    main, total = -1, 0.0
    for k in range(lo, hi):
        if not candidate_device(devices, k, ts, phones):
            continue
        if main < 0 and devices.link_role[k] == ROLE_PRIMARY_OWNER:
            main = k
        else:
            total += role_weight[devices.link_role[k]]
    rest = u
    if main >= 0:
        primary, rest = split_remap(u, p_primary)
        if primary or total <= 0.0:
            return devices.link_device[main]
    target, below, chosen = rest * total, 0.0, 0
    for k in range(lo, hi):
        if k == main or not candidate_device(devices, k, ts, phones):
            continue
        below += role_weight[devices.link_role[k]]
        chosen = devices.link_device[k]
        if below > target:
            break
    return chosen


@helper
def pick_terminal(devices, merchant, city, u):
    """Place in `terminal_id` of a terminal of the merchant, in the city if it has one there, or -1."""
    lo, hi = devices.terminal_ptr[merchant - 1], devices.terminal_ptr[merchant]
    if hi <= lo:
        return -1
    first, last = find_in(devices.terminal_city, city, lo, hi)
    if last > first:
        lo, hi = first, last
    return lo + min(int(u * (hi - lo)), hi - lo - 1)


@helper
def pick_address(devices, group_weight, device, p_typical, u):
    """Address id of a device, or 0: a typical one with p_typical, else any of its addresses, by group weight.

    group_weight: float64[ip_group].
    """
    lo, hi = devices.ip_ptr[device - 1], devices.ip_ptr[device]
    typical, rest = split_remap(u, p_typical)
    total, own = 0.0, 0.0
    for k in range(lo, hi):
        weight = group_weight[devices.ip_group[devices.ip_id[k] - 1]]
        total += weight
        if devices.ip_role[k] == ROLE_TYPICAL_IP:
            own += weight
    if own <= 0.0:
        typical = False
    if typical:
        total = own
    target, below, chosen = rest * total, 0.0, 0
    for k in range(lo, hi):
        if typical and devices.ip_role[k] != ROLE_TYPICAL_IP:
            continue
        weight = group_weight[devices.ip_group[devices.ip_id[k] - 1]]
        if weight <= 0.0:
            continue
        below += weight
        chosen = devices.ip_id[k]
        if below > target:
            break
    return chosen


@kernel
def attach_device(rows, party, devices, priors, streams, evidence, out):
    """Device, address and terminal of each arrival. Returns the first row without a candidate, or -1.

    rows: Rows; party: int64[n]; devices: Devices; priors: DevicePriors; streams: Streams;
    evidence: uint64[decisions, 2]; out: DeviceOut (device or ip 0 on rows without a candidate).
    """
    failed = -1
    for i in range(rows.ts.shape[0]):
        channel, who = rows.channel[i], party[i]
        variant, key = 0, rows.visit[i]
        if rows.series[i] > 0:
            variant, key = 1, rows.series[i]
        d = DEVICE + variant
        u_device = draw(streams.keys, d, key * streams.slots[d], evidence)
        d = ADDRESS + variant
        u_address = draw(streams.keys, d, key * streams.slots[d], evidence)
        at_till = channel in (POS, ATM)
        place = -1
        if at_till:
            u = draw(streams.keys, TERMINAL, (rows.first + i) * streams.slots[TERMINAL], evidence)
            used, rest = split_remap(u, priors.terminal[channel])
            if used:
                place = pick_terminal(devices, rows.merchant[i], rows.city[i], rest)
        device, ip, terminal = 0, 0, 0
        if place >= 0:
            terminal = devices.terminal_id[place]
            device, ip = devices.terminal_device[place], devices.terminal_ip[place]
        elif who > 0:
            family = devices.family[who - 1]
            p_primary = priors.primary[family, channel]
            if at_till:
                device = pick_device(devices, priors.role, who, rows.ts[i], True, p_primary, u_device)
            if device == 0:
                device = pick_device(devices, priors.role, who, rows.ts[i], False, p_primary, u_device)
            if device > 0:
                ip = pick_address(
                    devices, priors.group[family, channel], device, priors.typical[family, channel], u_address
                )
        if (device == 0 or ip == 0) and failed < 0:
            failed = i
        out.device[i] = device
        out.ip[i] = ip
        out.terminal[i] = terminal
    return failed


@kernel
def hold_links(ptr, targets, owner, target, out):
    """Whether each target is linked to its owner: out[i] says if target[i] is in targets[ptr[k - 1]:ptr[k]] for the
    owner's id k.

    ptr: int64[m + 1]; targets: int64[r]; owner: int64[n], ids 1..m, or 0 for "nothing to check" (True);
    target: int64[n]; out: bool[n].
    """
    for i in range(owner.shape[0]):
        found = owner[i] == 0
        if not found:
            for k in range(ptr[owner[i] - 1], ptr[owner[i]]):
                if targets[k] == target[i]:
                    found = True
                    break
        out[i] = found
