"""The episode script: one set of kernels writes the new flows of every campaign type from arrays of numbers.

Rows are new flows, those of an episode side by side in rank order. `type` is the bit number of the campaign type, which
indexes all arrays of laws. Every row consumes all slots of its decisions. Law: contracts/laws/s3.md, section 7.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.amounts import half_even
from fraudloom.kernels.campaigns import PARAM, ROUTING, SWAP
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.sampling import lognormal_truncated
from fraudloom.kernels.streams import draw, pick_cdf, split_remap

PARAM_SLOTS, ROUTING_SLOTS, SWAP_SLOTS = 10, 2, 5
# Slots of APPLY_MUTATION_PARAM.
TIME, AMOUNT, FORM, ENTRY, THREE_DS, CVV, AVS, PURPOSE, NAME_CHECK, ENDING = range(10)
CLOCK_VICTIM, CLOCK_CAMPAIGN, CLOCK_GIVEN = 0, 1, 2
REMOTE, PRESENT, CASH, TRANSFER = 0, 1, 2, 3
FIXED, POOL, CITY, DISTANT = 0, 1, 2, 3
DEVICE_OWN, DEVICE_STRANGER, DEVICE_HOUSEHOLD = 0, 1, 2
ADDRESS_OWN, ADDRESS_GROUPS = 0, 1
NONE = -1


class NewFlows(NamedTuple):
    """type int8, campaign int32; incident, ordinal int64; rank, length int16; anchor_ts int64 (given clock: the flow's
    own instant)."""

    type: np.ndarray
    campaign: np.ndarray
    incident: np.ndarray
    ordinal: np.ndarray
    rank: np.ndarray
    length: np.ndarray
    anchor_ts: np.ndarray


class Clocks(NamedTuple):
    """By type: kind int8; delay and gap laws float64[types, 4] (median, sigma, lo, hi; microseconds); step float64, gap
    of a campaign clock; jitter float64. By campaign: start, end, base, planned, stride int64."""

    kind: np.ndarray
    delay: np.ndarray
    gap: np.ndarray
    step: np.ndarray
    jitter: np.ndarray
    start: np.ndarray
    end: np.ndarray
    base: np.ndarray
    planned: np.ndarray
    stride: np.ndarray


class Forms(NamedTuple):
    """By type: first, second int8 (NONE), share float64 of the second; choice int8. By campaign: fixed int64 merchant.
    By merchant: remote, present bool, what it can do."""

    first: np.ndarray
    second: np.ndarray
    share: np.ndarray
    choice: np.ndarray
    fixed: np.ndarray
    remote: np.ndarray
    present: np.ndarray


class Places(NamedTuple):
    """Pools of merchants: lo, hi int64[types, 4 forms], windows of merchant (ids) and cum. Terminals: of_merchant
    int64[merchants + 1] (rows = terminal id - 1); by_city int64[2, cities + 1], windows of `listed` (terminal ids;
    kinds 0 till, 1 machine); cities that have any: far int64[3], windows by kind of far_city (city ids) and far_cum
    (weights of residents). By terminal: city, owner (merchant id) int64. home: int64[merchants], city id."""

    lo: np.ndarray
    hi: np.ndarray
    merchant: np.ndarray
    cum: np.ndarray
    of_merchant: np.ndarray
    by_city: np.ndarray
    listed: np.ndarray
    far: np.ndarray
    far_city: np.ndarray
    far_cum: np.ndarray
    city: np.ndarray
    owner: np.ndarray
    home: np.ndarray


class Victims(NamedTuple):
    """By row: city int64 (of residence); merchant, terminal, place int64 (of the anchor; terminal 0 for none); rail
    bool (the anchor is a transfer); device, address int64 (own); shared int64 (household's device); ref float64
    (anchor's amount, or the given one, reference minor units)."""

    city: np.ndarray
    merchant: np.ndarray
    terminal: np.ndarray
    place: np.ndarray
    rail: np.ndarray
    device: np.ndarray
    address: np.ndarray
    shared: np.ndarray
    ref: np.ndarray


class Placed(NamedTuple):
    """Output: form int8; merchant, terminal (0 for none), city int64."""

    form: np.ndarray
    merchant: np.ndarray
    terminal: np.ndarray
    city: np.ndarray


class Identities(NamedTuple):
    """By type: device, address int8 kinds; device_own, address_own float64 shares; device_spread, address_spread int64;
    groups float64[types, 5], cumulative weights; token bool. By campaign: device_at, address_at int64 offsets. Pools:
    strangers int64 (device ids); addresses int64 (ids), windows group_at int64[6]. By terminal: device, address
    int64."""

    device: np.ndarray
    address: np.ndarray
    device_own: np.ndarray
    address_own: np.ndarray
    device_spread: np.ndarray
    address_spread: np.ndarray
    groups: np.ndarray
    token: np.ndarray
    device_at: np.ndarray
    address_at: np.ndarray
    strangers: np.ndarray
    addresses: np.ndarray
    group_at: np.ndarray
    terminal_device: np.ndarray
    terminal_address: np.ndarray


class Details(NamedTuple):
    """By type: entry_first, entry_second int8 codes; entry_share float64; three_ds, cvv, avs float64 chances; purposes
    float64[types, purposes] and checks float64[types, checks], cumulative weights; internal float64; amount
    float64[types, 4] (median, sigma, lo, hi), of reference minor units or of the anchor; relative, given bool.
    mules: int64 account ids; outside: int64, id below new handles."""

    entry_first: np.ndarray
    entry_second: np.ndarray
    entry_share: np.ndarray
    three_ds: np.ndarray
    cvv: np.ndarray
    avs: np.ndarray
    purposes: np.ndarray
    checks: np.ndarray
    internal: np.ndarray
    amount: np.ndarray
    relative: np.ndarray
    given: np.ndarray
    mules: np.ndarray
    outside: int


class Shown(NamedTuple):
    """Output: amount float64 (reference minor units); ending float64 (uniform of the ending law); entry int8 (NONE on
    rails); secure, cvv, avs bool; purpose, check int8; payee int64 (in: planned or 0; out: 0 unless a transfer); bank
    float64 (uniform of a new handle's bank); fresh bool."""

    amount: np.ndarray
    ending: np.ndarray
    entry: np.ndarray
    secure: np.ndarray
    cvv: np.ndarray
    avs: np.ndarray
    purpose: np.ndarray
    check: np.ndarray
    payee: np.ndarray
    bank: np.ndarray
    fresh: np.ndarray


@helper
def victim_step(law, room, u):
    """Microseconds from the flow before: (float64[4] law, float64 room, float64 u) -> int64.

    Lognormal truncated to [lo, min(hi, room)]; lo when there is no room.
    """
    hi = min(law[3], room)
    if hi <= law[2]:
        return np.int64(law[2])
    return np.int64(lognormal_truncated(u, law[0], law[1], law[2], hi))


@kernel
def script_times(new, clocks, streams, ts):
    """Instants of new flows. new: NewFlows; clocks: Clocks; streams: Streams; ts: int64[n], out.

    VICTIM: the anchor plus a delay, then gaps, each leaving room for the shortest rest of the episode. CAMPAIGN: the
    campaign's start plus place x gap, places permuted by `stride`; sorted within an episode. GIVEN: anchor_ts.
    """
    for i in range(ts.shape[0]):
        t = new.type[i]
        c = new.campaign[i]
        u = draw(streams.keys, PARAM, new.ordinal[i] * PARAM_SLOTS + TIME, streams.evidence)
        if clocks.kind[t] == CLOCK_GIVEN:
            ts[i] = new.anchor_ts[i]
        elif clocks.kind[t] == CLOCK_CAMPAIGN:
            whole = max(clocks.planned[c], np.int64(1))
            gap = min(np.int64(clocks.step[t]), (clocks.end[c] - clocks.start[c] - 1) // whole)
            place = ((new.ordinal[i] - clocks.base[c]) * clocks.stride[c]) % whole
            at = clocks.start[c] + place * gap + np.int64(u * clocks.jitter[t] * gap)
            k = i
            while new.rank[k] > 0 and ts[k - 1] > at:
                ts[k] = ts[k - 1]
                k -= 1
            ts[k] = at
        else:
            rest = (new.length[i] - 1 - new.rank[i]) * np.int64(clocks.gap[t, 2])
            if new.rank[i] == 0:
                room = np.float64(clocks.end[c] - 1 - new.anchor_ts[i] - rest)
                ts[i] = new.anchor_ts[i] + victim_step(clocks.delay[t], room, u)
            else:
                room = np.float64(clocks.end[c] - 1 - ts[i - 1] - rest)
                ts[i] = ts[i - 1] + victim_step(clocks.gap[t], room, u)


@kernel
def script_places(new, forms, places, victims, streams, out):
    """Form, merchant, terminal and city of new flows. new: NewFlows; forms: Forms; places: Places; victims: Victims;
    streams: Streams; out: Placed. Where a pool or a city's list is empty the flow happens at the anchor's place."""
    for i in range(new.type.shape[0]):
        t = new.type[i]
        v = draw(streams.keys, PARAM, new.ordinal[i] * PARAM_SLOTS + FORM, streams.evidence)
        u = draw(streams.keys, ROUTING, new.ordinal[i] * ROUTING_SLOTS, streams.evidence)
        w = draw(streams.keys, ROUTING, new.ordinal[i] * ROUTING_SLOTS + 1, streams.evidence)
        form = forms.first[t]
        if forms.second[t] != NONE and v < forms.share[t]:
            form = forms.second[t]
        merchant = victims.merchant[i]
        terminal = victims.terminal[i]
        city = victims.place[i]
        found = False
        if form == TRANSFER:
            found = victims.rail[i]
        elif forms.choice[t] == FIXED:
            fixed = forms.fixed[new.campaign[i]]
            if fixed > 0:
                merchant = fixed
                if form == PRESENT and not forms.present[fixed - 1]:
                    form = np.int8(REMOTE)
                elif form == REMOTE and not forms.remote[fixed - 1]:
                    form = np.int8(PRESENT)
                found = True
                terminal = np.int64(0)
                city = places.home[merchant - 1]
        elif forms.choice[t] == CITY or forms.choice[t] == DISTANT:
            kind = np.int64(form) - 1
            lo = places.far[kind]
            hi = places.far[kind + 1]
            chosen = victims.city[i]
            if hi > lo:
                if forms.choice[t] == DISTANT or places.by_city[kind, chosen] == places.by_city[kind, chosen - 1]:
                    j = pick_cdf(places.far_cum, u, lo, hi)
                    if places.far_city[j] == chosen:
                        j = lo + (j - lo + 1) % (hi - lo)
                    chosen = places.far_city[j]
                a = places.by_city[kind, chosen - 1]
                terminal = places.listed[a + np.int64(w * (places.by_city[kind, chosen] - a))]
                merchant = places.owner[terminal - 1]
                city = places.city[terminal - 1]
            out.form[i] = form
            out.merchant[i] = merchant
            out.terminal[i] = terminal
            out.city[i] = city
            continue
        if not found and places.hi[t, form] > places.lo[t, form]:
            j = pick_cdf(places.cum, u, places.lo[t, form], places.hi[t, form])
            merchant = places.merchant[j]
            found = True
            terminal = np.int64(0)
            city = places.home[merchant - 1]
        if form == PRESENT and found:
            a = places.of_merchant[merchant - 1]
            b = places.of_merchant[merchant]
            terminal = a + np.int64(w * (b - a)) + 1
            city = places.city[terminal - 1]
        if form in (REMOTE, TRANSFER):
            terminal = np.int64(0)
        out.form[i] = form
        out.merchant[i] = merchant
        out.terminal[i] = terminal
        out.city[i] = city


@kernel
def script_identities(new, laws, placed, victims, streams, device, address):
    """Device and address of new flows. new: NewFlows; laws: Identities; placed: Placed; victims: Victims; streams:
    Streams; device, address: int64[n], out. The draws are the incident's, so an episode keeps its device."""
    for i in range(new.type.shape[0]):
        t = new.type[i]
        c = new.campaign[i]
        at = new.incident[i] * SWAP_SLOTS
        u = draw(streams.keys, SWAP, at, streams.evidence)
        v = draw(streams.keys, SWAP, at + 1, streams.evidence)
        w = draw(streams.keys, SWAP, at + 2, streams.evidence)
        x = draw(streams.keys, SWAP, at + 3, streams.evidence)
        device[i] = victims.device[i]
        address[i] = victims.address[i]
        if placed.terminal[i] > 0 and not laws.token[t]:
            device[i] = laws.terminal_device[placed.terminal[i] - 1]
            address[i] = laws.terminal_address[placed.terminal[i] - 1]
            continue
        if laws.device[t] == DEVICE_HOUSEHOLD and u >= laws.device_own[t]:
            device[i] = victims.shared[i]
        count = laws.strangers.shape[0]
        if laws.device[t] == DEVICE_STRANGER and u >= laws.device_own[t] and count > 0:
            device[i] = laws.strangers[(laws.device_at[c] + np.int64(v * laws.device_spread[t])) % count]
        own, rest = split_remap(w, laws.address_own[t])
        if laws.address[t] == ADDRESS_GROUPS and not own:
            g = pick_cdf(laws.groups[t], rest, 0, laws.groups.shape[1])
            count = laws.group_at[g + 1] - laws.group_at[g]
            if count > 0:
                j = (laws.address_at[c] + np.int64(x * laws.address_spread[t])) % count
                address[i] = laws.addresses[laws.group_at[g] + j]


@kernel
def script_details(new, laws, placed, victims, streams, out):
    """What requests show. new: NewFlows; laws: Details; placed: Placed; victims: Victims; streams: Streams; out: Shown.

    Amounts are in reference minor units, before currency and ending; a planned payee is kept. The payee is the
    incident's, so only its first transfer is fresh.
    """
    for i in range(new.type.shape[0]):
        t = new.type[i]
        at = new.ordinal[i] * PARAM_SLOTS
        u = draw(streams.keys, PARAM, at + AMOUNT, streams.evidence)
        v = draw(streams.keys, PARAM, at + ENTRY, streams.evidence)
        secure = draw(streams.keys, PARAM, at + THREE_DS, streams.evidence)
        cvv = draw(streams.keys, PARAM, at + CVV, streams.evidence)
        avs = draw(streams.keys, PARAM, at + AVS, streams.evidence)
        purpose = draw(streams.keys, PARAM, at + PURPOSE, streams.evidence)
        check = draw(streams.keys, PARAM, at + NAME_CHECK, streams.evidence)
        out.ending[i] = draw(streams.keys, PARAM, at + ENDING, streams.evidence)
        w = draw(streams.keys, SWAP, new.incident[i] * SWAP_SLOTS + 4, streams.evidence)
        law = laws.amount[t]
        if laws.given[t]:
            out.amount[i] = victims.ref[i]
        else:
            size = lognormal_truncated(u, law[0], law[1], law[2], law[3])
            out.amount[i] = size * max(victims.ref[i], 1.0) if laws.relative[t] else size
        inside, out.bank[i] = split_remap(w, laws.internal[t])
        out.entry[i] = NONE
        out.secure[i] = False
        out.cvv[i] = False
        out.avs[i] = False
        out.purpose[i] = 0
        out.check[i] = 0
        out.fresh[i] = False
        if placed.form[i] != TRANSFER:
            out.entry[i] = laws.entry_first[t]
            if laws.entry_second[t] != NONE and v < laws.entry_share[t]:
                out.entry[i] = laws.entry_second[t]
            out.secure[i] = secure < laws.three_ds[t]
            out.cvv[i] = cvv < laws.cvv[t]
            out.avs[i] = avs < laws.avs[t]
            out.payee[i] = 0
            continue
        out.purpose[i] = pick_cdf(laws.purposes[t], purpose, 0, laws.purposes.shape[1])
        out.check[i] = pick_cdf(laws.checks[t], check, 0, laws.checks.shape[1])
        out.fresh[i] = True
        if laws.given[t]:
            if out.payee[i] == 0:
                out.payee[i] = laws.outside + 1 + new.incident[i]
            continue
        for k in range(i - new.rank[i], i):
            if placed.form[k] == TRANSFER:
                out.fresh[i] = False
        count = laws.mules.shape[0]
        out.payee[i] = laws.outside + 1 + new.incident[i]
        if inside and count > 0:
            out.payee[i] = laws.mules[np.int64(out.bank[i] * count)]


class Prices(NamedTuple):
    """By row: form, currency, purpose int8; amount float64 (minor units wanted); ending float64 uniform."""

    form: np.ndarray
    currency: np.ndarray
    purpose: np.ndarray
    amount: np.ndarray
    ending: np.ndarray


@kernel
def price_script(rows, tables, rule, minor, ref):
    """Amounts of cash and transfers among new flows, by the laws of S2; other rows are left as they are.

    rows: Prices; tables: amounts.CurrencyTables; rule: amounts.AmountRule; minor, ref: int64[n], in and out: minor
    units and reference minor units. Cash comes in notes, transfers in whole price units by their purpose's share.
    """
    for i in range(minor.shape[0]):
        c = rows.currency[i]
        scale = tables.ref_scale[c]
        x = rows.amount[i]
        u = rows.ending[i]
        if rows.form[i] == CASH:
            note = tables.note[c]
            notes = max(np.int64(1), half_even(x / note))
            if u < rule.bundle_share:
                notes = max(np.int64(1), half_even(notes / rule.bundle)) * rule.bundle
            most = max(np.int64(1), np.int64(rule.cash_max_ref / (note * scale)))
            minor[i] = min(notes, most) * note
        elif rows.form[i] == TRANSFER:
            minor[i] = max(np.int64(1), half_even(x))
            if u < rule.transfer[rows.purpose[i], 2]:
                minor[i] = max(np.int64(1), half_even(x / tables.unit[c])) * tables.unit[c]
        else:
            continue
        ref[i] = max(np.int64(1), half_even(minor[i] * scale))
