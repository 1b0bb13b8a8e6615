"""Requested amounts, their endings, and reference amounts (contracts/laws/s2.md, section 3)."""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels.flows import D_AMOUNT, D_SERIES
from fraudloom.kernels.fmath import exp, ndtri
from fraudloom.kernels.jit import helper, kernel
from fraudloom.kernels.streams import clamp_open, draw

#: Adding and subtracting this rounds |x| < 2^51 to the nearest integer, ties to even.
HALF_EVEN = float.fromhex("0x1.8p+52")


class CurrencyTables(NamedTuple):
    """By currency code: minor (minor units of a major one), ref_major (reference major units of a major one), ref_scale
    (reference minor units of a minor one) float64; unit, off99, off95, note int64: minor units of a price step, of the
    two reductions, and of the smallest note."""

    minor: np.ndarray
    ref_major: np.ndarray
    ref_scale: np.ndarray
    unit: np.ndarray
    off99: np.ndarray
    off95: np.ndarray
    note: np.ndarray


class AmountKeys(NamedTuple):
    """What amounts follow from, per flow: ordinal, series, merchant, party, city, pinned (minor units, 0 none)
    int64[n]; channel, currency, purpose int8[n]; goodwill bool[n]."""

    ordinal: np.ndarray
    series: np.ndarray
    merchant: np.ndarray
    party: np.ndarray
    city: np.ndarray
    pinned: np.ndarray
    channel: np.ndarray
    currency: np.ndarray
    purpose: np.ndarray
    goodwill: np.ndarray


class AmountTables(NamedTuple):
    """merchant_median float64[merchants] (median of the class times own level), style int8[merchants], party_kind
    int8[parties], party_level float64[parties], price_level float64[cities]."""

    merchant_median: np.ndarray
    style: np.ndarray
    party_kind: np.ndarray
    party_level: np.ndarray
    price_level: np.ndarray


class AmountRule(NamedTuple):
    """median float64[5] by channel; kind, sigma float64[3] by party kind; z_low, z_high: normal CDF at the bounds;
    transfer float64[purposes, 3]: median, sigma, whole; endings float64[styles, 3]: cumulative shares; others
    scalar."""

    median: np.ndarray
    kind: np.ndarray
    sigma: np.ndarray
    z_low: float
    z_high: float
    transfer: np.ndarray
    endings: np.ndarray
    round_step: int
    cash_median: float
    cash_sigma: float
    bundle: int
    bundle_share: float
    cash_max_ref: int
    credit_lo: float
    credit_hi: float


@helper
def half_even(x):
    """float64 |x| < 2^51 -> int64 nearest, ties to even."""
    return np.int64((x + HALF_EVEN) - HALF_EVEN)


@helper
def snap(x, style, u, end99, end95, end00, unit, off99, off95, step):
    """Minor units after the merchant's ending law.

    x: float64 minor units; style: code; u: float64 in (0, 1); end99, end95, end00: cumulative shares of the style;
    unit, off99, off95: minor units of the currency; step: units.
    """
    units = max(np.int64(1), half_even(x / unit))
    if style == pc.STYLE_ONLINE and units >= 4 * step:
        units = half_even(units / step) * step
    if u < end99:
        return units * unit - off99
    if u < end95:
        return units * unit - off95
    if u < end00:
        if style == pc.STYLE_ROUND and units >= step:
            units = half_even(units / step) * step
        return units * unit
    return max(np.int64(1), half_even(x))


@helper
def reference_minor(minor, scale):
    """int64 minor units, float64 reference minor units of one -> int64, half to even, at least 1."""
    return max(np.int64(1), half_even(minor * scale))


@kernel
def price_flows(k, tables, t, rule, keys, evidence, minor, ref):
    """Requested amount of each flow.

    k: AmountKeys; tables: AmountTables; t: CurrencyTables; rule: AmountRule; minor, ref: int64[n] out. Draws (keys,
    evidence): D_AMOUNT, 3 a row: 0 size, 1 ending, 2 share of a goodwill credit; rows of a series also D_SERIES, 2 at
    series x 2: 0 size, 1 ending, which then replace those of the row.
    """
    ordinal, series, merchant, party, city = k.ordinal, k.series, k.merchant, k.party, k.city
    pinned, channel, currency, purpose, goodwill = k.pinned, k.channel, k.currency, k.purpose, k.goodwill
    merchant_median, styles, kinds = tables.merchant_median, tables.style, tables.party_kind
    party_level, price_level = tables.party_level, tables.price_level
    per_major, ref_major, scale, units, off99, off95 = t.minor, t.ref_major, t.ref_scale, t.unit, t.off99, t.off95
    notes_of = t.note
    median, by_kind, sigma, transfer, ends = rule.median, rule.kind, rule.sigma, rule.transfer, rule.endings
    for i in range(ordinal.shape[0]):
        base = ordinal[i] * 3
        u_size = draw(keys, D_AMOUNT, base, evidence)
        u_end = draw(keys, D_AMOUNT, base + 1, evidence)
        u_share = draw(keys, D_AMOUNT, base + 2, evidence)
        if series[i] != 0:
            u_size = draw(keys, D_SERIES, series[i] * 2, evidence)
            u_end = draw(keys, D_SERIES, series[i] * 2 + 1, evidence)
        c = channel[i]
        cur = currency[i]
        p = party[i] - 1
        z = ndtri(clamp_open(rule.z_low + u_size * (rule.z_high - rule.z_low)))
        level = party_level[p] * price_level[city[i] - 1]
        if pinned[i] > 0:
            m = pinned[i]
        elif c == pc.ATM:
            note = notes_of[cur]
            major = level * rule.cash_median * exp(rule.cash_sigma * z) / ref_major[cur]
            notes = max(np.int64(1), half_even(major * per_major[cur] / note))
            if u_end < rule.bundle_share:
                notes = max(np.int64(1), half_even(notes / rule.bundle)) * rule.bundle
            most = max(np.int64(1), np.int64(rule.cash_max_ref / (note * scale[cur])))
            m = min(notes, most) * note
        elif c == pc.BANK_RAIL:
            law = purpose[i]
            major = level * transfer[law, 0] * exp(transfer[law, 1] * z) / ref_major[cur]
            x = major * per_major[cur]
            if u_end < transfer[law, 2]:
                m = max(np.int64(1), half_even(x / units[cur])) * units[cur]
            else:
                m = max(np.int64(1), half_even(x))
        else:
            row = merchant[i] - 1
            kind = kinds[p]
            middle = median[c] * by_kind[kind] * merchant_median[row] * level
            major = middle * exp(sigma[kind] * z) / ref_major[cur]
            if goodwill[i]:
                major = major * (rule.credit_lo + u_share * (rule.credit_hi - rule.credit_lo))
            style = styles[row]
            m = snap(
                *(major * per_major[cur], style, u_end, ends[style, 0], ends[style, 1], ends[style, 2]),
                *(units[cur], off99[cur], off95[cur], rule.round_step),
            )
        minor[i] = m
        ref[i] = reference_minor(m, scale[cur])


@kernel
def snap_amounts(x, style, currency, u, t, rule, minor, ref):
    """Amounts in minor units put through the ending law: minor[i] = snap(x[i], ...), ref[i] its reference amount.

    x, u: float64[n]; style, currency: int8[n]; t: CurrencyTables; rule: AmountRule; minor, ref: int64[n].
    """
    ends, scale, unit, off99, off95 = rule.endings, t.ref_scale, t.unit, t.off99, t.off95
    for i in range(x.shape[0]):
        c = currency[i]
        k = style[i]
        minor[i] = snap(
            *(x[i], k, u[i], ends[k, 0], ends[k, 1], ends[k, 2], unit[c], off99[c], off95[c], rule.round_step),
        )
        ref[i] = reference_minor(minor[i], scale[c])
