"""Twins of the kernels of the overlay, written from contracts/laws/s3.md."""

from naive.campaigns import slots
from naive.sampling import lognormal_truncated
from naive.streams import draw, pick_cdf, split_remap

PARAM, ROUTING, SWAP = 6, 7, 8
REMOTE, PRESENT, CASH, TRANSFER = range(4)
FIXED, POOL, CITY, DISTANT = range(4)
VICTIM, CAMPAIGN = 0, 1
STRANGER, HOUSEHOLD = 1, 2
GROUPS = 1


def param(streams, ordinal, slot):
    """One slot of APPLY_MUTATION_PARAM, accounted."""
    return draw(streams.keys, PARAM, int(ordinal) * 10 + slot, streams.evidence)


def victim_instant(clocks, t, end, last, rank, length, u):
    """The instant after a step from `last` that leaves room for the shortest rest of the episode."""
    law = clocks.delay[t] if rank == 0 else clocks.gap[t]
    median, sigma, lo, hi = (float(x) for x in law)
    rest = (length - 1 - rank) * int(clocks.gap[t][2])
    top = min(hi, float(end - 1 - last - rest))
    return last + (int(lo) if top <= lo else int(lognormal_truncated(u, median, sigma, lo, top)))


def campaign_instant(clocks, t, c, ordinal, u):
    """The instant of a flow's place on the campaign's clock."""
    start, end, planned = int(clocks.start[c]), int(clocks.end[c]), max(int(clocks.planned[c]), 1)
    step = min(int(clocks.step[t]), (end - start - 1) // planned)
    place = (ordinal - int(clocks.base[c])) * int(clocks.stride[c]) % planned
    return start + place * step + int(u * float(clocks.jitter[t]) * step)


def script_times(new, clocks, streams, ts):
    """One instant after the other; those of a campaign's clock are sorted within each episode."""
    n, at = len(new.ordinal), 0
    for i in range(n):
        u = param(streams, new.ordinal[i], 0)
        t, c, rank = int(new.type[i]), int(new.campaign[i]), int(new.rank[i])
        kind = int(clocks.kind[t])
        if kind == VICTIM:
            last = int(new.anchor_ts[i]) if rank == 0 else int(ts[i - 1])
            ts[i] = victim_instant(clocks, t, int(clocks.end[c]), last, rank, int(new.length[i]), u)
        elif kind == CAMPAIGN:
            ts[i] = campaign_instant(clocks, t, c, int(new.ordinal[i]), u)
        else:
            ts[i] = int(new.anchor_ts[i])
    while at < n:
        till = at + int(new.length[at])
        if int(clocks.kind[int(new.type[at])]) == CAMPAIGN:
            ts[at:till] = sorted(int(x) for x in ts[at:till])
        at = till


def cash_place(places, home, machine, distant, u, w):
    """Terminal of a city that has one, or None where the kind has no city at all."""
    lo, hi = int(places.far[machine]), int(places.far[machine + 1])
    if lo == hi:
        return None
    city = home
    begin, end = (int(places.by_city[machine][city - 1 + k]) for k in (0, 1))
    if distant or begin == end:
        j = pick_cdf(places.far_cum, u, lo, hi)
        if int(places.far_city[j]) == home:
            j = lo + (j + 1 - lo) % (hi - lo)
        city = int(places.far_city[j])
        begin, end = (int(places.by_city[machine][city - 1 + k]) for k in (0, 1))
    return int(places.listed[begin + int(w * (end - begin))])


def script_places(new, forms, places, victims, streams, out):
    """Form first, then merchant, terminal and city by the type's choice."""
    for i in range(len(new.ordinal)):
        t, c = int(new.type[i]), int(new.campaign[i])
        v = param(streams, new.ordinal[i], 2)
        u, w = slots(streams, ROUTING, new.ordinal[i], 2)
        form, second = int(forms.first[t]), int(forms.second[t])
        if second >= 0 and v < float(forms.share[t]):
            form = second
        merchant, terminal, city = int(victims.merchant[i]), int(victims.terminal[i]), int(victims.place[i])
        choice, fixed, found = int(forms.choice[t]), int(forms.fixed[c]), False
        if form != TRANSFER and choice in (CITY, DISTANT):
            at = cash_place(places, int(victims.city[i]), 1 if form == CASH else 0, choice == DISTANT, u, w)
            if at is not None:
                terminal, merchant, city = at, int(places.owner[at - 1]), int(places.city[at - 1])
        else:
            if form != TRANSFER and choice == FIXED and fixed > 0:
                merchant, found = fixed, True
                if form == PRESENT and not forms.present[merchant - 1]:
                    form = REMOTE
                elif form == REMOTE and not forms.remote[merchant - 1]:
                    form = PRESENT
            elif not (form == TRANSFER and victims.rail[i]):
                lo, hi = int(places.lo[t][form]), int(places.hi[t][form])
                if hi > lo:
                    merchant, found = int(places.merchant[pick_cdf(places.cum, u, lo, hi)]), True
            if found:
                terminal, city = 0, int(places.home[merchant - 1])
            if form in (REMOTE, TRANSFER):
                terminal = 0
            elif form == PRESENT and found:
                begin, end = int(places.of_merchant[merchant - 1]), int(places.of_merchant[merchant])
                if end > begin:
                    terminal = begin + int(w * (end - begin)) + 1
                    city = int(places.city[terminal - 1])
        out.form[i], out.merchant[i], out.terminal[i], out.city[i] = form, merchant, terminal, city


def script_identities(new, laws, placed, victims, streams, device, address):
    """Those of the terminal, or those of a stranger, the household or the account's owner."""
    for i in range(len(new.ordinal)):
        t, c = int(new.type[i]), int(new.campaign[i])
        u, v, w, x = (draw(streams.keys, SWAP, int(new.incident[i]) * 5 + j, streams.evidence) for j in range(4))
        terminal = int(placed.terminal[i])
        device[i], address[i] = int(victims.device[i]), int(victims.address[i])
        if terminal > 0 and not laws.token[t]:
            device[i] = int(laws.terminal_device[terminal - 1])
            address[i] = int(laws.terminal_address[terminal - 1])
            continue
        kind, strangers = int(laws.device[t]), len(laws.strangers)
        if u >= float(laws.device_own[t]):
            if kind == HOUSEHOLD:
                device[i] = int(victims.shared[i])
            elif kind == STRANGER and strangers:
                place = int(laws.device_at[c]) + int(v * int(laws.device_spread[t]))
                device[i] = int(laws.strangers[place % strangers])
        if int(laws.address[t]) == GROUPS:
            own, rest = split_remap(w, float(laws.address_own[t]))
            if not own:
                g = pick_cdf(laws.groups[t], rest, 0, 5)
                lo, hi = int(laws.group_at[g]), int(laws.group_at[g + 1])
                if hi > lo:
                    place = int(laws.address_at[c]) + int(x * int(laws.address_spread[t]))
                    address[i] = int(laws.addresses[lo + place % (hi - lo)])


def script_details(new, laws, placed, victims, streams, out):
    """Amount, ending, reading of the card, checks, and the payee of a transfer."""
    paid = set()
    for i in range(len(new.ordinal)):
        t, form, incident = int(new.type[i]), int(placed.form[i]), int(new.incident[i])
        names = ("amount", "entry", "secure", "cvv", "avs", "purpose", "check", "ending")
        u = {name: param(streams, new.ordinal[i], k) for name, k in zip(names, (1, 3, 4, 5, 6, 7, 8, 9), strict=True)}
        ref = float(victims.ref[i])
        if laws.given[t]:
            amount = ref
        else:
            amount = lognormal_truncated(u["amount"], *(float(z) for z in laws.amount[t]))
            if laws.relative[t]:
                amount = amount * max(ref, 1.0)
        out.amount[i], out.ending[i] = amount, u["ending"]
        second = int(laws.entry_second[t])
        entry = second if second >= 0 and u["entry"] < float(laws.entry_share[t]) else int(laws.entry_first[t])
        out.entry[i] = -1 if form == TRANSFER else entry
        out.secure[i] = form != TRANSFER and u["secure"] < float(laws.three_ds[t])
        out.cvv[i] = form != TRANSFER and u["cvv"] < float(laws.cvv[t])
        out.avs[i] = form != TRANSFER and u["avs"] < float(laws.avs[t])
        inside, r = split_remap(draw(streams.keys, SWAP, incident * 5 + 4, streams.evidence), float(laws.internal[t]))
        out.bank[i] = r
        if form != TRANSFER:
            out.purpose[i] = out.check[i] = out.payee[i] = 0
            out.fresh[i] = False
            continue
        out.purpose[i] = pick_cdf(laws.purposes[t], u["purpose"], 0, len(laws.purposes[t]))
        out.check[i] = pick_cdf(laws.checks[t], u["check"], 0, len(laws.checks[t]))
        mule = inside and len(laws.mules) > 0 and not laws.given[t]
        unknown = int(laws.mules[int(r * len(laws.mules))]) if mule else int(laws.outside) + 1 + incident
        out.payee[i] = int(out.payee[i]) if laws.given[t] and int(out.payee[i]) else unknown
        out.fresh[i] = bool(laws.given[t]) or incident not in paid
        paid.add(incident)


def price_script(rows, tables, rule, minor, ref):
    """Notes for cash, price steps for transfers; reference amounts of both."""
    for i in range(len(rows.form)):
        form, c = int(rows.form[i]), int(rows.currency[i])
        x, e = float(rows.amount[i]), float(rows.ending[i])
        if form == CASH:
            note = int(tables.note[c])
            notes = max(1, round(x / note))
            if e < rule.bundle_share:
                notes = max(1, round(notes / rule.bundle)) * rule.bundle
            most = max(1, int(rule.cash_max_ref / (note * float(tables.ref_scale[c]))))
            value = min(notes, most) * note
        elif form == TRANSFER:
            unit = int(tables.unit[c])
            whole = e < float(rule.transfer[int(rows.purpose[i])][2])
            value = max(1, round(x / unit)) * unit if whole else max(1, round(x))
        else:
            continue
        minor[i] = value
        ref[i] = max(1, round(value * float(tables.ref_scale[c])))
