"""Arrivals to flows, payees of transfers, and what a request shows (contracts/laws/s2.md, sections 1, 2 and 4)."""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.jit import kernel
from fraudloom.kernels.streams import draw, pick_cdf

#: Rows of the decisions in keys and evidence, in the order of flow_rng_policy_6B, and their slots.
D_ASSIGN, D_OBSERVE, D_PAYEE, D_PAYEE_SERIES, D_AMOUNT, D_SERIES, D_ISSUER, D_AUTH_TIME = 0, 1, 2, 3, 4, 5, 6, 7
D_BRANCH, D_SETTLE_TIME, D_SETTLE_AMOUNT, D_SPLIT = 8, 9, 10, 11
SLOTS = (2, 5, 5, 5, 3, 2, 10, 4, 4, 5, 3, 4)
#: Payee handles of standing orders without a known payee start so far above those of single payments.
STANDING = 1 << 40


class ArrivalColumns(NamedTuple):
    """Rows of one shard in (ts, ordinal) order: ordinal, ts (us), session (row in sessions), merchant, instrument,
    series int64[n]; channel int8[n]; pinned bool[n]."""

    ordinal: np.ndarray
    ts: np.ndarray
    session: np.ndarray
    merchant: np.ndarray
    instrument: np.ndarray
    series: np.ndarray
    channel: np.ndarray
    pinned: np.ndarray


class GroupRule(NamedTuple):
    """merge, goodwill float64[5] by channel; window_us, most: int64."""

    merge: np.ndarray
    goodwill: np.ndarray
    window_us: int
    most: int


class FlowGroups(NamedTuple):
    """Outputs of `assign_flows`: flow int64[n] (row of the arrival's flow), rank int16[n]; of which the first `flows`
    entries of first int64[n] (arrival row), size int16[n] and goodwill bool[n] hold the flows."""

    flow: np.ndarray
    rank: np.ndarray
    first: np.ndarray
    size: np.ndarray
    goodwill: np.ndarray


@kernel
def assign_flows(a, rule, keys, evidence, last, out):
    """Group arrivals into flows, numbered by first arrival; returns the number of flows.

    a: ArrivalColumns; rule: GroupRule; last: int64[sessions] scratch, filled with -1; out: FlowGroups.
    Draws (keys, evidence): D_ASSIGN at 2 x ordinal (join) and + 1 (goodwill).
    """
    ordinal, ts, session, merchant, instrument = a.ordinal, a.ts, a.session, a.merchant, a.instrument
    series, channel, pinned, p_merge, p_goodwill = a.series, a.channel, a.pinned, rule.merge, rule.goodwill
    flow, rank, first, count, given = out.flow, out.rank, out.first, out.size, out.goodwill
    flows = 0
    for i in range(ts.shape[0]):
        u_join = draw(keys, D_ASSIGN, ordinal[i] * 2, evidence)
        u_credit = draw(keys, D_ASSIGN, ordinal[i] * 2 + 1, evidence)
        c = channel[i]
        alone = pinned[i] or series[i] != 0
        goodwill = not alone and u_credit < p_goodwill[c]
        alone = alone or goodwill
        f = last[session[i]]
        if not alone and f >= 0 and u_join < p_merge[c] and count[f] < rule.most:
            j = first[f]
            same = merchant[i] == merchant[j] and instrument[i] == instrument[j] and c == channel[j]
            if same and ts[i] - ts[j] <= rule.window_us:
                flow[i] = f
                rank[i] = count[f]
                count[f] += 1
                continue
        flow[i] = flows
        rank[i] = 0
        first[flows] = i
        count[flows] = 1
        given[flows] = goodwill
        last[session[i]] = -1 if alone else flows
        flows += 1
    return flows


class PayeeTables(NamedTuple):
    """Payee lists: start int64[parties + 1] into account int64, bank int32, country, purpose int8; home int8[parties]
    (country of the payer); rank_cum float64[longest] (cumulative weights of places); fresh: int64, id below new
    handles."""

    start: np.ndarray
    account: np.ndarray
    bank: np.ndarray
    country: np.ndarray
    purpose: np.ndarray
    home: np.ndarray
    rank_cum: np.ndarray
    fresh: int


class PayeeRule(NamedTuple):
    """new_share, new_abroad, new_close, new_none, new_away, known_close, known_away: float64; banks: int64; purpose_cum
    float64[purposes] by code; abroad int8[m] (countries of new payees abroad)."""

    new_share: float
    new_abroad: float
    new_close: float
    new_none: float
    new_away: float
    known_close: float
    known_away: float
    banks: int
    purpose_cum: np.ndarray
    abroad: np.ndarray


class PayeeColumns(NamedTuple):
    """Payee columns: account int64, bank int32, country int8 (-1 null), fresh bool, purpose int8, check int8."""

    account: np.ndarray
    bank: np.ndarray
    country: np.ndarray
    fresh: np.ndarray
    purpose: np.ndarray
    check: np.ndarray


@kernel
def choose_payees(ordinal, channel, party, series, tables, rule, keys, evidence, out):
    """Payee, purpose and name check of transfers; nulls elsewhere.

    ordinal, party, series int64[n]; channel int8[n]; tables: PayeeTables; rule: PayeeRule; out: PayeeColumns. Draws
    (keys, evidence): 5 a row of BANK_RAIL, by flow ordinal from D_PAYEE, or by series from D_PAYEE_SERIES: 0 new or
    known, 1 place or bank, 2 purpose, 3 country, 4 name check.
    """
    for i in range(ordinal.shape[0]):
        out.account[i] = 0
        out.bank[i] = 0
        out.country[i] = -1
        out.fresh[i] = False
        out.purpose[i] = pc.PURPOSE_NONE
        out.check[i] = pc.COP_NOT_APPLICABLE
        if channel[i] != pc.BANK_RAIL:
            continue
        standing = series[i] != 0
        d = D_PAYEE_SERIES if standing else D_PAYEE
        base = (series[i] if standing else ordinal[i]) * 5
        u_new = draw(keys, d, base, evidence)
        u_place = draw(keys, d, base + 1, evidence)
        u_purpose = draw(keys, d, base + 2, evidence)
        u_abroad = draw(keys, d, base + 3, evidence)
        u_check = draw(keys, d, base + 4, evidence)
        p = party[i] - 1
        home = tables.home[p]
        lo = tables.start[p]
        known = tables.start[p + 1] - lo
        none, close, away = rule.new_none, rule.new_close, rule.new_away
        if known == 0 or (not standing and u_new < rule.new_share):
            out.fresh[i] = not standing
            out.account[i] = tables.fresh + 1 + (STANDING + series[i] if standing else ordinal[i])
            out.bank[i] = 1000 + np.int64(u_place * rule.banks)
            out.purpose[i] = pick_cdf(rule.purpose_cum, u_purpose, 0, rule.purpose_cum.shape[0])
            out.country[i] = home
            if u_abroad < rule.new_abroad:
                out.country[i] = rule.abroad[np.int64(u_abroad / rule.new_abroad * rule.abroad.shape[0])]
        else:
            at = lo + pick_cdf(tables.rank_cum, u_place, 0, min(known, tables.rank_cum.shape[0]))
            out.account[i] = tables.account[at]
            out.bank[i] = tables.bank[at]
            out.country[i] = tables.country[at]
            out.purpose[i] = tables.purpose[at]
            none, close, away = 0.0, rule.known_close, rule.known_away
        check = pc.COP_MATCH
        if out.country[i] != home or u_check < away:
            check = pc.COP_UNAVAILABLE
        elif u_check < away + none:
            check = pc.COP_NO_MATCH
        elif u_check < away + none + close:
            check = pc.COP_CLOSE_MATCH
        out.check[i] = check


class RequestKeys(NamedTuple):
    """What observables follow from, per flow: ordinal, series, amount_ref int64[n]; channel, kind (instrument_kind, -1
    none), product (instrument_type, -1), issuer_country, merchant_country, purpose int8[n]; new_payee bool[n]."""

    ordinal: np.ndarray
    series: np.ndarray
    amount_ref: np.ndarray
    channel: np.ndarray
    kind: np.ndarray
    product: np.ndarray
    issuer_country: np.ndarray
    merchant_country: np.ndarray
    purpose: np.ndarray
    new_payee: np.ndarray


class ObserveRule(NamedTuple):
    """Shares (float64) and limits (int64, reference minor units) of flow_shape_policy_6B, and country sets as bool
    arrays by code: sca, address, signature."""

    on_file: float
    keyed: float
    network_token: float
    strong: float
    exempt: float
    abroad: float
    attempted: float
    low_value: float
    tra: float
    trusted: float
    low_value_max: int
    tra_max: int
    cvv_present: float
    cvv_mismatch: float
    address_mismatch: float
    contactless: float
    contactless_max: int
    fallback: float
    present_keyed: float
    cash_contactless: float
    cash_fallback: float
    rail_trusted: float
    rail_low_value_max: int
    sca: np.ndarray
    address: np.ndarray
    signature: np.ndarray


class ObservedColumns(NamedTuple):
    """int8[n] codes: entry, cvm, three_ds, exemption, cvv, avs, token."""

    entry: np.ndarray
    cvm: np.ndarray
    three_ds: np.ndarray
    exemption: np.ndarray
    cvv: np.ndarray
    avs: np.ndarray
    token: np.ndarray


@kernel
def observe_flows(k, rule, keys, evidence, out):
    """Entry mode, verification, 3-D Secure, exemption, checks and token of each request.

    k: RequestKeys; rule: ObserveRule; out: ObservedColumns. Draws (keys, evidence): D_OBSERVE, 5 a row: 0 entry, 1
    3-D Secure, 2 exemption, 3 card verification value, 4 address.
    """
    for i in range(k.ordinal.shape[0]):
        base = k.ordinal[i] * 5
        u_entry = draw(keys, D_OBSERVE, base, evidence)
        u_tds = draw(keys, D_OBSERVE, base + 1, evidence)
        u_exempt = draw(keys, D_OBSERVE, base + 2, evidence)
        u_cvv = draw(keys, D_OBSERVE, base + 3, evidence)
        u_avs = draw(keys, D_OBSERVE, base + 4, evidence)
        c = k.channel[i]
        kind = k.kind[i]
        ref = k.amount_ref[i]
        wallet = kind == pc.WALLET_TOKEN
        both = rule.sca[k.issuer_country[i]] and rule.sca[k.merchant_country[i]]
        entry, cvm, tds = pc.ENTRY_NONE, pc.CVM_NONE, pc.TDS_NOT_APPLICABLE
        cvv, avs, token = pc.CHECK_NOT_PRESENT, pc.CHECK_NOT_PRESENT, pc.TOKEN_NONE
        exemption = pc.EX_NONE if both else pc.EX_OUT_OF_SCOPE
        if wallet:
            token = pc.DEVICE_TOKEN if k.product[i] == pc.WALLET_DEVICE_TOKEN else pc.NETWORK_TOKEN
        if c in (pc.ECOM, pc.HYBRID):
            entry = pc.ENTRY_ECOM
            if k.series[i] != 0:
                entry = pc.MIT
            elif u_entry < rule.on_file:
                entry = pc.COF
                if not wallet and u_entry < rule.on_file * rule.network_token:
                    token = pc.NETWORK_TOKEN
            elif c == pc.ECOM and not wallet and u_entry < rule.on_file + rule.keyed:
                entry = pc.KEYED
            tds = pc.TDS_NOT_USED
            if entry == pc.MIT:
                exemption = pc.EX_RECURRING if both else pc.EX_OUT_OF_SCOPE
            elif entry == pc.KEYED:
                exemption = pc.EX_OUT_OF_SCOPE
            else:
                if both:
                    low = rule.low_value if ref <= rule.low_value_max else 0.0
                    tra = rule.tra if ref <= rule.tra_max else 0.0
                    if u_exempt < low:
                        exemption = pc.EX_LOW_VALUE
                    elif u_exempt < low + tra:
                        exemption = pc.EX_TRA
                    elif u_exempt < low + tra + rule.trusted:
                        exemption = pc.EX_TRUSTED
                p = rule.abroad
                if both:
                    p = rule.strong if exemption == pc.EX_NONE else rule.exempt
                if u_tds < p * rule.attempted:
                    tds = pc.TDS_ATTEMPTED
                elif u_tds < p:
                    tds = pc.TDS_FRICTIONLESS
            if entry in (pc.ENTRY_ECOM, pc.KEYED):
                if u_cvv < rule.cvv_present * rule.cvv_mismatch:
                    cvv = pc.CHECK_NO_MATCH
                elif u_cvv < rule.cvv_present:
                    cvv = pc.CHECK_MATCH
                if rule.address[k.issuer_country[i]]:
                    avs = pc.CHECK_NO_MATCH if u_avs < rule.address_mismatch else pc.CHECK_MATCH
        elif c == pc.POS:
            other = rule.fallback + rule.present_keyed
            if wallet or kind == pc.CARD_VIRTUAL:
                entry, cvm, token = pc.CONTACTLESS, pc.CVM_DEVICE, pc.DEVICE_TOKEN
            elif u_entry < rule.fallback:
                entry, cvm = pc.FALLBACK, pc.SIGNATURE
            elif u_entry < other:
                entry = pc.KEYED
            elif ref <= rule.contactless_max and u_entry - other < rule.contactless * (1.0 - other):
                entry, cvm = pc.CONTACTLESS, pc.NO_CVM
                exemption = pc.EX_LOW_VALUE if both else pc.EX_OUT_OF_SCOPE
            else:
                entry = pc.CHIP
                cvm = pc.SIGNATURE if rule.signature[k.issuer_country[i]] else pc.PIN
        elif c == pc.ATM:
            entry, cvm = pc.CHIP, pc.PIN
            if u_entry < rule.cash_fallback:
                entry = pc.FALLBACK
            elif wallet or u_entry < rule.cash_fallback + rule.cash_contactless:
                entry = pc.CONTACTLESS
        elif both:
            if ref <= rule.rail_low_value_max and not k.new_payee[i]:
                exemption = pc.EX_LOW_VALUE
            elif k.purpose[i] == pc.PURPOSE_OWN_ACCOUNT or (not k.new_payee[i] and u_exempt < rule.rail_trusted):
                exemption = pc.EX_TRUSTED
        out.entry[i] = entry
        out.cvm[i] = cvm
        out.three_ds[i] = tds
        out.exemption[i] = exemption
        out.cvv[i] = cvv
        out.avs[i] = avs
        out.token[i] = token
