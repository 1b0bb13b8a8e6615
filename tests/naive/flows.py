"""Twins of the kernels that form flows, choose payees and dress requests."""

from naive.payment_codes import (
    ATM,
    ATTEMPTED,
    BANK_RAIL,
    CARD_VIRTUAL,
    CHIP,
    COF,
    CONTACTLESS,
    DEVICE,
    DEVICE_TOKEN,
    ECOM,
    ENTRY_ECOM,
    EX_NONE,
    FALLBACK,
    FRICTIONLESS,
    HYBRID,
    KEYED,
    LOW_VALUE,
    MATCH,
    MIT,
    NAME_CLOSE,
    NAME_MATCH,
    NAME_NO_MATCH,
    NAME_UNAVAILABLE,
    NETWORK_TOKEN,
    NO_CVM,
    NO_ENTRY,
    NO_MATCH,
    NO_METHOD,
    NO_TOKEN,
    NOT_APPLICABLE,
    NOT_PRESENT,
    NOT_USED,
    OUT_OF_SCOPE,
    OWN_ACCOUNT,
    PIN,
    POS,
    RECURRING,
    SIGNATURE,
    TRA,
    TRUSTED,
    WALLET_DEVICE_TOKEN,
    WALLET_TOKEN,
    pick,
    plain,
)
from naive.streams import draw

ASSIGNMENT, OBSERVABLES, PAYEE, PAYEE_SERIES = range(4)


def draws(keys, decision, ordinal, slots, evidence):
    """All slots of a row."""
    return [draw(keys, decision, int(ordinal) * slots + j, evidence) for j in range(slots)]


def assign_flows(a, rule, keys, evidence, last, out):
    """Members of each flow in lists; the open flow of each session."""
    rows, law = plain(a), plain(rule)
    flows = []
    for i, ordinal in enumerate(rows.ordinal):
        u0, u1 = draws(keys, ASSIGNMENT, ordinal, 2, evidence)
        alone = rows.pinned[i] or rows.series[i] > 0
        goodwill = not alone and u1 < law.goodwill[rows.channel[i]]
        alone = alone or goodwill
        held = int(last[rows.session[i]])
        if not alone and held >= 0:
            first = flows[held][0]
            alike = all(getattr(rows, k)[i] == getattr(rows, k)[first] for k in ("merchant", "instrument", "channel"))
            soon = rows.ts[i] - rows.ts[first] <= law.window_us
            if u0 < law.merge[rows.channel[i]] and len(flows[held]) < law.most and alike and soon:
                out.flow[i], out.rank[i] = held, len(flows[held])
                flows[held].append(i)
                continue
        out.flow[i], out.rank[i] = len(flows), 0
        out.goodwill[len(flows)] = goodwill
        last[rows.session[i]] = -1 if alone else len(flows)
        flows.append([i])
    for f, members in enumerate(flows):
        out.first[f], out.size[f] = members[0], len(members)
    return len(flows)


def payee_of(i, t, law, u, row):
    """(account, bank, country, whether new, purpose, name check) of a transfer."""
    party, series, ordinal = row
    lo, hi = t.start[party - 1], t.start[party]
    home = t.home[party - 1]
    new = hi == lo or (series == 0 and u[0] < law.new_share)
    if new:
        account = t.fresh + 1 + ((1 << 40) + series if series else ordinal)
        bank = 1000 + int(u[1] * law.banks)
        purpose = pick(law.purpose_cum, u[2])
        abroad = u[3] < law.new_abroad
        country = law.abroad[int(u[3] / law.new_abroad * len(law.abroad))] if abroad else home
        none, close, away = law.new_none, law.new_close, law.new_away
    else:
        place = lo + pick(t.rank_cum[: hi - lo], u[1])
        account, bank, country, purpose = t.account[place], t.bank[place], t.country[place], t.purpose[place]
        none, close, away = 0.0, law.known_close, law.known_away
    if country != home or u[4] < away:
        check = NAME_UNAVAILABLE
    elif u[4] < away + none:
        check = NAME_NO_MATCH
    else:
        check = NAME_CLOSE if u[4] < away + none + close else NAME_MATCH
    return account, bank, country, new and series == 0, purpose, check


def choose_payees(ordinal, channel, party, series, tables, rule, keys, evidence, out):
    """Payees of transfers; nothing elsewhere."""
    t, law = plain(tables), plain(rule)
    for i in range(len(ordinal)):
        found = (0, 0, -1, False, 0, 0)
        if int(channel[i]) == BANK_RAIL:
            row = int(party[i]), int(series[i]), int(ordinal[i])
            decision, counter = (PAYEE_SERIES, row[1]) if row[1] else (PAYEE, row[2])
            found = payee_of(i, t, law, draws(keys, decision, counter, 5, evidence), row)
        names = ("account", "bank", "country", "fresh", "purpose", "check")
        for name, value in zip(names, found, strict=True):
            getattr(out, name)[i] = value


def observe_remote(k, i, law, both, u, seen):
    """ECOM and HYBRID."""
    wallet = k.kind[i] == WALLET_TOKEN
    seen["three_ds"] = NOT_USED
    if k.series[i] > 0:
        seen["entry"] = MIT
        if both:
            seen["exemption"] = RECURRING
        return
    if u[0] < law.on_file:
        seen["entry"] = COF
        if not wallet and u[0] < law.on_file * law.network_token:
            seen["token"] = NETWORK_TOKEN
    elif k.channel[i] == ECOM and not wallet and u[0] < law.on_file + law.keyed:
        seen["entry"] = KEYED
        seen["exemption"] = OUT_OF_SCOPE
    else:
        seen["entry"] = ENTRY_ECOM
    if seen["entry"] != KEYED:
        if both:
            low = law.low_value if k.amount_ref[i] <= law.low_value_max else 0.0
            tra = law.tra if k.amount_ref[i] <= law.tra_max else 0.0
            steps = ((low, LOW_VALUE), (low + tra, TRA), (low + tra + law.trusted, TRUSTED))
            seen["exemption"] = next((code for share, code in steps if u[2] < share), EX_NONE)
        p = law.abroad
        if both:
            p = law.strong if seen["exemption"] == EX_NONE else law.exempt
        if u[1] < p * law.attempted:
            seen["three_ds"] = ATTEMPTED
        elif u[1] < p:
            seen["three_ds"] = FRICTIONLESS
    if seen["entry"] != COF:
        if u[3] < law.cvv_present:
            seen["cvv"] = NO_MATCH if u[3] < law.cvv_present * law.cvv_mismatch else MATCH
        if law.address[k.issuer_country[i]]:
            seen["avs"] = NO_MATCH if u[4] < law.address_mismatch else MATCH


def observe_shop(k, i, law, both, u, seen):
    """POS."""
    other = law.fallback + law.present_keyed
    if k.kind[i] in (WALLET_TOKEN, CARD_VIRTUAL):
        seen.update(entry=CONTACTLESS, cvm=DEVICE, token=DEVICE_TOKEN)
    elif u[0] < law.fallback:
        seen.update(entry=FALLBACK, cvm=SIGNATURE)
    elif u[0] < other:
        seen.update(entry=KEYED)
    elif k.amount_ref[i] <= law.contactless_max and u[0] - other < law.contactless * (1.0 - other):
        seen.update(entry=CONTACTLESS, cvm=NO_CVM)
        if both:
            seen["exemption"] = LOW_VALUE
    else:
        seen.update(entry=CHIP, cvm=SIGNATURE if law.signature[k.issuer_country[i]] else PIN)


def observe_rest(k, i, law, both, u, seen):
    """ATM and BANK_RAIL."""
    if k.channel[i] == ATM:
        touch = k.kind[i] == WALLET_TOKEN or u[0] < law.cash_fallback + law.cash_contactless
        seen.update(entry=CONTACTLESS if touch else CHIP, cvm=PIN)
        if u[0] < law.cash_fallback:
            seen["entry"] = FALLBACK
    elif both:
        known = not k.new_payee[i]
        if known and k.amount_ref[i] <= law.rail_low_value_max:
            seen["exemption"] = LOW_VALUE
        elif k.purpose[i] == OWN_ACCOUNT or (known and u[2] < law.rail_trusted):
            seen["exemption"] = TRUSTED


def observe_flows(k, rule, keys, evidence, out):
    """Per channel."""
    rows, law = plain(k), plain(rule)
    observe = {ECOM: observe_remote, HYBRID: observe_remote, POS: observe_shop}
    for i, ordinal in enumerate(rows.ordinal):
        u = draws(keys, OBSERVABLES, ordinal, 5, evidence)
        both = law.sca[rows.issuer_country[i]] and law.sca[rows.merchant_country[i]]
        token = NO_TOKEN
        if rows.kind[i] == WALLET_TOKEN:
            token = DEVICE_TOKEN if rows.product[i] == WALLET_DEVICE_TOKEN else NETWORK_TOKEN
        seen = {
            "entry": NO_ENTRY,
            "cvm": NO_METHOD,
            "three_ds": NOT_APPLICABLE,
            "exemption": EX_NONE if both else OUT_OF_SCOPE,
            "cvv": NOT_PRESENT,
            "avs": NOT_PRESENT,
            "token": token,
        }
        observe.get(rows.channel[i], observe_rest)(rows, i, law, both, u, seen)
        for name, value in seen.items():
            getattr(out, name)[i] = value
