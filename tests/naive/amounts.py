"""Twins of the kernels of requested amounts."""

from naive.flows import draws
from naive.fmath import exp, ndtri
from naive.payment_codes import ATM, BANK_RAIL, ONLINE, ROUND, plain
from naive.streams import clamp_open

AMOUNT, SERIES_AMOUNT = 4, 5


def snap(x, style, currency, u, t, law):
    """A price: whole units less a reduction, whole units, or free, by the ending law of the style."""
    unit = t.unit[currency]
    n = max(1, round(x / unit))
    if style == ONLINE and n >= 4 * law.round_step:
        n = round(n / law.round_step) * law.round_step
    e99, e95, e00 = law.endings[style]
    if u < e99:
        return n * unit - t.off99[currency]
    if u < e95:
        return n * unit - t.off95[currency]
    if u < e00:
        if style == ROUND and n >= law.round_step:
            n = round(n / law.round_step) * law.round_step
        return n * unit
    return max(1, round(x))


def reference(minor, currency, t):
    """Minor units of the reference currency."""
    return max(1, round(minor * t.ref_scale[currency]))


def snap_amounts(x, style, currency, u, t, rule, minor, ref):
    """Row by row."""
    tables, law = plain(t), plain(rule)
    for i in range(len(x)):
        c = int(currency[i])
        minor[i] = snap(float(x[i]), int(style[i]), c, float(u[i]), tables, law)
        ref[i] = reference(int(minor[i]), c, tables)


def price(k, i, u, w, t, law):
    """Minor units of one flow."""
    c = k.currency[i]
    d, v, unit, note = t.minor[c], t.ref_major[c], t.unit[c], t.note[c]
    z = ndtri(clamp_open(law.z_low + u[0] * (law.z_high - law.z_low)))
    level = w.party_level[k.party[i] - 1] * w.price_level[k.city[i] - 1]
    if k.pinned[i] > 0:
        return k.pinned[i]
    if k.channel[i] == ATM:
        major = level * law.cash_median * exp(law.cash_sigma * z) / v
        notes = max(1, round(major * d / note))
        if u[1] < law.bundle_share:
            notes = max(1, round(notes / law.bundle)) * law.bundle
        return min(notes, max(1, int(law.cash_max_ref / (note * t.ref_scale[c])))) * note
    if k.channel[i] == BANK_RAIL:
        median, sigma, whole = law.transfer[k.purpose[i]]
        x = level * median * exp(sigma * z) / v * d
        return max(1, round(x / unit)) * unit if u[1] < whole else max(1, round(x))
    kind, merchant = w.party_kind[k.party[i] - 1], k.merchant[i] - 1
    median = law.median[k.channel[i]] * law.kind[kind] * w.merchant_median[merchant] * level
    major = median * exp(law.sigma[kind] * z) / v
    if k.goodwill[i]:
        major = major * (law.credit_lo + u[2] * (law.credit_hi - law.credit_lo))
    return snap(major * d, w.style[merchant], c, u[1], t, law)


def price_flows(k, tables, t, rule, keys, evidence, minor, ref):
    """Amounts row by row; a series draws its own size and ending."""
    rows, world, money, law = plain(k), plain(tables), plain(t), plain(rule)
    for i, ordinal in enumerate(rows.ordinal):
        u = draws(keys, AMOUNT, ordinal, 3, evidence)
        if rows.series[i] > 0:
            u[:2] = draws(keys, SERIES_AMOUNT, rows.series[i], 2, evidence)
        minor[i] = price(rows, i, u, world, money, law)
        ref[i] = reference(int(minor[i]), rows.currency[i], money)
