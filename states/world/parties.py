"""Who pays: issuers, households, parties, accounts and instruments (bundle 6A)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fraudloom.states.world.spec import DAY_US, F64, I64, Context, even, largest_remainder, lognormals, pick
from fraudloom.tables import Columns, empty_columns

PRODUCTS = ("CURRENT", "SECOND_CURRENT", "SAVINGS", "FIXED_SAVINGS", "CREDIT", "LOAN")
#: Account type of each product by party type (RETAIL, BUSINESS, OTHER); premium variants are chosen below.
ACCOUNT_TYPES = (
    ("RETAIL_CURRENT_BASIC", "BUSINESS_CURRENT", "OTHER_CURRENT_BASIC"),
    ("RETAIL_CURRENT_BASIC", "BUSINESS_CURRENT", "OTHER_CURRENT_BASIC"),
    ("RETAIL_SAVINGS_INSTANT", "BUSINESS_SAVINGS", "OTHER_SAVINGS"),
    ("RETAIL_SAVINGS_FIXED", "BUSINESS_SAVINGS", "OTHER_SAVINGS"),
    ("RETAIL_CREDIT_CARD_STANDARD", "BUSINESS_CREDIT_CARD", "OTHER_CURRENT_BASIC"),
    ("RETAIL_PERSONAL_LOAN_UNSECURED", "BUSINESS_TERM_LOAN", "OTHER_SAVINGS"),
)
FORMS = ("PHYSICAL", "VIRTUAL", "HANDLE", "WALLET", "SPARE", "SUCCESSOR")
HANDLE_SCHEMES = {"GBP": "FPS", "USD": "ACH", "EUR": "SEPA_CREDIT"}


@dataclass(frozen=True)
class Parties:
    """Households and parties; `size` and `first` (rows) of each party's household, and what devices decide early."""

    cohorts: Columns
    table: Columns
    city: I64
    kind: I64
    size: I64
    first: I64
    has_phone: npt.NDArray[np.bool_]
    ios: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Accounts:
    """Accounts and instruments; `product` by account row, `form` by instrument row, first account row by party."""

    table: Columns
    instruments: Columns
    product: I64
    form: I64
    first_account: I64


def party_count(ctx: Context, arrivals: int) -> int:
    """arrivals * 90 / (arrivals_per_party_90d * days), at least the policy's minimum."""
    sizes = ctx.policy["sizes"]
    wanted = round(arrivals * 90.0 / (float(sizes["arrivals_per_party_90d"]) * ctx.spec.days))
    return max(int(sizes["parties_min"]), wanted)


def build_issuers(ctx: Context, cities: Columns, parties: int) -> Columns:
    """issuers_6A: at least one per country with residents, the rest by residents; BINs in blocks per issuer."""
    sizes, instruments = ctx.policy["sizes"], ctx.policy["instruments"]
    country = cities["country_iso"].astype(np.int64)
    present = np.unique(country)
    share = np.asarray([np.cumsum(cities["population_weight"][country == c])[-1] for c in present])
    root = float(np.sqrt(np.sqrt(float(parties))))
    count = min(max(int(float(sizes["issuers_scale"]) * root), int(sizes["issuers_min"])), int(sizes["issuers_max"]))
    count = max(count, len(present))
    each = 1 + largest_remainder(count - len(present), share)
    place = np.repeat(np.arange(len(present)), each)
    rank = np.arange(count) - (np.cumsum(each) - each)[place]
    bins = int(instruments["bins_per_issuer"])
    cols = empty_columns(ctx.contracts.dataset("issuers_6A"), count)
    cols["issuer_id"] = np.arange(1, count + 1, dtype=np.int64)
    cols["country_iso"] = present[place].astype(np.int8)
    cols["bin_from"] = (int(instruments["bin_base"]) + np.arange(count) * bins).astype(np.int32)
    cols["bin_count"] = np.full(count, bins, np.int32)
    weight = 1.0 / (1.0 + rank)
    mass = np.asarray([np.cumsum(weight[place == p])[-1] for p in range(len(present))])
    cols["market_weight"] = weight / mass[place]
    return cols


def _households(ctx: Context, residents: I64) -> tuple[I64, I64]:
    """(size of each household, its city row): sizes drawn in order until all are housed, the last one cut.

    Households stand in a line with the residents of one city after the other; each lives where its first member stands,
    so that a city has its residents but for a few, and no size is more frequent in small cities.
    """
    total = int(residents.sum())
    law: F64 = np.asarray(ctx.policy["parties"]["household_sizes"], np.float64)
    sizes = 1 + pick(law, ctx.draws.uniforms("cohorts", "SIZE", total))
    run = np.cumsum(sizes)
    used = int(np.searchsorted(run, total)) + 1
    first = (run - sizes)[:used]
    city = np.searchsorted(np.cumsum(residents), first, side="right").astype(np.int64)
    return np.diff(np.append(first, total)), city


def build_parties(ctx: Context, cities: Columns, count: int) -> Parties:
    """cohorts_6A and s1_party_base_6A: residents by city, households, kinds, segments, activity and places."""
    law, draws = ctx.policy["parties"], ctx.draws
    residents = largest_remainder(count, cities["population_weight"])
    sizes, home = _households(ctx, residents)
    first = np.cumsum(sizes) - sizes
    cohorts: Columns = {
        "cohort_id": np.arange(1, len(sizes) + 1, dtype=np.int64),
        "party_count": sizes.astype(np.int32),
        "first_party_id": first + 1,
    }
    cohort = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    city = home[cohort]
    types = ctx.contracts.enum("party_type")
    kind = pick([float(law["types"][t]) for t in types], draws.uniforms("parties", "TYPE", count))
    u = draws.uniforms("parties", "SEGMENT", count)
    segment = np.empty(count, np.int64)
    for k, name in enumerate(types):
        labels = list(law["segments"][name])
        codes = np.asarray([ctx.code("segment_id", s) for s in labels], np.int64)
        mine = kind == k
        segment[mine] = codes[pick([float(law["segments"][name][s]) for s in labels], u[mine])]
    country = cities["country_iso"][city]
    cols = empty_columns(ctx.contracts.dataset("s1_party_base_6A"), count)
    cols["party_id"] = np.arange(1, count + 1, dtype=np.int64)
    cols["party_type"], cols["segment_id"] = kind.astype(np.int8), segment.astype(np.int8)
    cols["country_iso"], cols["region_id"] = country, region_codes(ctx)[country]
    cols["city_id"], cols["cohort_id"] = city + 1, cohort + 1
    spread = float(law["spread_deg"])
    for name, decision in (("latitude", "LATITUDE"), ("longitude", "LONGITUDE")):
        shift = (2.0 * draws.uniforms("cohorts", decision, len(sizes)) - 1.0) * spread
        cols[name] = cities[name][city] + shift[cohort]
    dormant = even(draws.uniforms("parties", "DORMANT", count)) < float(law["dormant_share"])
    for group, decision, part in ((dormant, "ACTIVITY_DORMANT", "dormant"), (~dormant, "ACTIVITY", "active")):
        u = draws.uniforms("parties", decision, count)[group]
        cols["activity_weight"][group] = lognormals(even(u), law[part])
    cols["amount_level"] = draws.lognormal("parties", "AMOUNT", count, law["amounts"])
    devices = ctx.policy["devices"]
    has_phone = draws.uniforms("devices", "PHONE", count) < float(devices["phone"])
    ios = draws.uniforms("devices", "IOS", count) < float(devices["ios"])
    return Parties(cohorts, cols, city, kind, sizes[cohort], first[cohort], has_phone, ios)


def region_codes(ctx: Context) -> npt.NDArray[np.int8]:
    """Region code by country code."""
    names = ctx.contracts.enum("country_iso")
    return np.asarray([ctx.code("region_id", ctx.policy["countries"][c]["region"]) for c in names], np.int8)


def currency_codes(ctx: Context) -> npt.NDArray[np.int8]:
    """Currency code by country code."""
    names = ctx.contracts.enum("country_iso")
    return np.asarray([ctx.code("currency", ctx.policy["countries"][c]["currency"]) for c in names], np.int8)


def _held(ctx: Context, parties: Parties) -> npt.NDArray[np.bool_]:
    """Products by party, bool[n, 6]."""
    law, draws, n = ctx.policy["accounts"], ctx.draws, len(parties.kind)
    held = np.zeros((n, len(PRODUCTS)), np.bool_)
    held[:, 0] = True
    chances = ("second_current", "savings", "fixed_savings", "credit_card", "loan")
    for place, name in enumerate(chances, start=1):
        held[:, place] = draws.uniforms("accounts", PRODUCTS[place], n) < float(law[name])
    held[parties.kind != 0, 3] = False
    held[parties.kind == 2, 4:] = False
    return held


def _issuers_of(ctx: Context, issuers: Columns, country: I64, decision: str) -> I64:
    """Issuer rows drawn by market weight within each account's country."""
    u = ctx.draws.uniforms("accounts", decision, len(country))
    out = np.zeros(len(country), np.int64)
    home = issuers["country_iso"].astype(np.int64)
    for c in np.unique(country):
        mine, own = country == c, np.flatnonzero(home == c)
        out[mine] = own[pick(issuers["market_weight"][own], u[mine])]
    return out


def build_accounts(ctx: Context, parties: Parties, issuers: Columns) -> Accounts:
    """s2_account_base_6A and s3_instrument_base_6A."""
    law, draws = ctx.policy["accounts"], ctx.draws
    owner, product = (a.astype(np.int64) for a in np.nonzero(_held(ctx, parties)))
    n, base = len(owner), parties.table
    kind = parties.kind[owner]
    types = np.asarray([[ctx.code("account_type", t) for t in row] for row in ACCOUNT_TYPES], np.int8)
    account_type = types[product, kind]
    premium = draws.uniforms("accounts", "PREMIUM", n)
    retail = kind == 0
    better = retail & (product == 0) & (premium < float(law["premium_current"]))
    account_type[better] = ctx.code("account_type", "RETAIL_CURRENT_PREMIUM")
    gold = retail & (product == 4) & (premium < float(law["premium_credit"]))
    account_type[gold] = ctx.code("account_type", "RETAIL_CREDIT_CARD_PREMIUM")
    ledgers = [ctx.code("ledger_class", x) for x in ("DEPOSIT", "CREDIT_REVOLVING", "CREDIT_INSTALLMENT")]
    medians = np.asarray(
        [float(law[f"funds_{x}_median"]) for x in ("current", "current", "savings", "savings", "credit", "credit")]
    )
    scale = draws.lognormal("accounts", "FUNDS", n, {"sigma": law["funds_sigma"], "lo": 0.05, "hi": 40.0})
    country = base["country_iso"][owner]
    cols = empty_columns(ctx.contracts.dataset("s2_account_base_6A"), n)
    cols["account_id"], cols["owner_party_id"] = np.arange(1, n + 1, dtype=np.int64), owner + 1
    cols["account_type"] = account_type
    cols["ledger_class"] = np.asarray([ledgers[0]] * 4 + [ledgers[1], ledgers[2]], np.int8)[product]
    for name in ("party_type", "segment_id", "region_id", "country_iso"):
        cols[name] = base[name][owner]
    cols["currency"] = currency_codes(ctx)[country]
    cols["issuer_id"] = _issuers_of(ctx, issuers, country.astype(np.int64), "ISSUER") + 1
    factor = np.where(kind == 0, 1.0, float(law["business_factor"]))
    cols["funds_ref_minor"] = np.floor(medians[product] * scale * factor).astype(np.int64)
    first = np.searchsorted(owner, np.arange(len(parties.kind)))
    instruments, form = _instruments(ctx, parties, cols, product, gold, issuers)
    return Accounts(cols, instruments, product, form, first.astype(np.int64))


def _forms(ctx: Context, parties: Parties, accounts: Columns, product: I64) -> npt.NDArray[np.bool_]:
    """Instruments by account, bool[n, 6] in the order of FORMS."""
    law, draws, n = ctx.policy["instruments"], ctx.draws, len(product)
    owner = accounts["owner_party_id"] - 1
    retail, phone = parties.kind[owner] == 0, parties.has_phone[owner]
    current, credit = product <= 1, product == 4
    held = np.zeros((n, len(FORMS)), np.bool_)
    held[:, 0] = held[:, 5] = current | credit
    held[:, 2] = current | (product == 2)
    virtual = np.where(current, float(law["virtual_debit"]), float(law["virtual_credit"]))
    held[:, 1] = (current | credit) & retail & (draws.uniforms("instruments", "VIRTUAL", n) < virtual)
    wallet = np.where(current, float(law["wallet_debit"]), float(law["wallet_credit"]))
    held[:, 3] = (current | credit) & phone & (draws.uniforms("instruments", "WALLET", n) < wallet)
    spare = draws.uniforms("instruments", "SPARE", n) < float(law["spare_virtual"])
    held[:, 4] = (current | credit) & retail & spare
    return held


def _instruments(
    ctx: Context, parties: Parties, accounts: Columns, product: I64, gold: npt.NDArray[np.bool_], issuers: Columns
) -> tuple[Columns, I64]:
    """s3_instrument_base_6A in (account, form, validity) order, and the form of each row."""
    law, draws = ctx.policy["instruments"], ctx.draws
    held = np.nonzero(_forms(ctx, parties, accounts, product))
    span = _validity(ctx, held[1])
    account, form = (a.astype(np.int64)[span.held] for a in held)
    n = len(account)
    owner = accounts["owner_party_id"][account]
    retail = parties.kind[owner - 1] == 0
    credit = (product[account] == 4).astype(np.int64)
    cols = empty_columns(ctx.contracts.dataset("s3_instrument_base_6A"), n)
    cols["instrument_id"] = np.arange(1, n + 1, dtype=np.int64)
    cols["account_id"], cols["owner_party_id"] = account + 1, owner
    cols["issuer_id"] = accounts["issuer_id"][account]
    names = (("RETAIL_DEBIT_CARD", "RETAIL_CREDIT_CARD"), ("BUSINESS_DEBIT_CARD", "BUSINESS_CREDIT_CARD"))
    physical = np.asarray([[ctx.code("instrument_type", f"{x}_PHYSICAL") for x in row] for row in names], np.int8)
    virtual = np.asarray([ctx.code("instrument_type", f"{x}_VIRTUAL") for x in names[0]], np.int8)
    types = physical[(~retail).astype(np.int64), credit]
    soft = (form == 1) | (form == 4)
    types[soft] = virtual[credit[soft]]
    types[form == 2] = ctx.code("instrument_type", "PARTY_BANK_ACCOUNT_DOMESTIC")
    types[form == 3] = ctx.code("instrument_type", "WALLET_DEVICE_TOKEN")
    cols["instrument_type"] = types
    kinds = ("CARD_PHYSICAL", "CARD_VIRTUAL", "BANK_HANDLE", "WALLET_TOKEN", "CARD_VIRTUAL", "CARD_PHYSICAL")
    cols["instrument_kind"] = np.asarray([ctx.code("instrument_kind", k) for k in kinds], np.int8)[form]
    statuses = ("ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE", "SPARE", "SUCCESSOR")
    cols["instrument_status"] = np.asarray([ctx.code("instrument_status", s) for s in statuses], np.int8)[form]
    cols["scheme"] = _schemes(ctx, parties, accounts, account, form, gold)
    half = int(law["bins_per_issuer"]) // 2
    u = draws.uniforms("accounts", "BIN", len(product))[account]
    bins = issuers["bin_from"][cols["issuer_id"] - 1] + (u * max(half, 1)).astype(np.int64) + credit * half
    cols["bin"] = np.where(form == 2, 0, bins).astype(np.int32)
    last = np.full(len(product), 0, np.int64)
    last[account[form == 0]] = cols["instrument_id"][form == 0]
    cols["successor_of"] = np.where(form == 5, last[account], np.where(span.renewal > 0, cols["instrument_id"] - 1, 0))
    cols["valid_from"], cols["valid_to"] = span.start, span.end
    return cols, form


def _schemes(
    ctx: Context, parties: Parties, accounts: Columns, account: I64, form: I64, gold: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int8]:
    """One card network per account; handles by currency; wallet tokens by the holder's phone."""
    law, draws = ctx.policy["instruments"], ctx.draws
    n = len(gold)
    visa, master, amex = (ctx.code("scheme", s) for s in ("VISA", "MASTERCARD", "AMEX"))
    network = np.where(draws.uniforms("accounts", "NETWORK", n) < float(law["visa"]), visa, master)
    network[gold & (draws.uniforms("accounts", "AMEX", n) < float(law["amex"]))] = amex
    rails = [HANDLE_SCHEMES.get(c, "SWIFT") for c in ctx.contracts.enum("currency")]
    rail = np.asarray([ctx.code("scheme", s) for s in rails], np.int64)[accounts["currency"]]
    apple, google = ctx.code("scheme", "APPLE_PAY"), ctx.code("scheme", "GOOGLE_PAY")
    wallet = np.where(parties.ios[accounts["owner_party_id"][account] - 1], apple, google)
    out = np.where(form == 2, rail[account], np.where(form == 3, wallet, network[account]))
    return out.astype(np.int8)


@dataclass(frozen=True)
class Validity:
    """Instruments with renewals: row of the one held, number of the renewal (0: none), first instants of and after
    use.
    """

    held: I64
    renewal: I64
    start: I64
    end: I64


def _validity(ctx: Context, form: I64) -> Validity:
    """Cards in use have a random age when the horizon starts, and are renewed until its end; the next one works some
    days before the old one ends. Handles and tokens outlast the horizon; spare and successor cards are new.
    """
    law, draws, n, days = ctx.policy["instruments"], ctx.draws, len(form), ctx.spec.days

    def between(key: str, u: F64) -> I64:
        lo, hi = (int(x) for x in law[key])
        return lo + (u * (hi - lo)).astype(np.int64)

    card = form <= 1
    u = draws.uniforms("instruments", "AGE", n)
    u[card] = even(u[card])
    v = draws.uniforms("instruments", "LIFE", n)
    life, lead = between("card_life_days", v), between("renewal_lead_days", draws.uniforms("instruments", "LEAD", n))
    age = np.where(card, (u * life).astype(np.int64), np.where(form >= 4, 0, between("age_days", u)))
    ends = np.where(card, life - age, days + between("life_days", v))
    step = life - lead
    more = np.where(card, np.maximum(-(-(days - ends) // step), 0), 0)
    held = np.repeat(np.arange(n, dtype=np.int64), 1 + more)
    renewal = np.arange(len(held)) - (np.cumsum(1 + more) - 1 - more)[held]
    end = ends[held] + renewal * step[held]
    start = np.where(renewal > 0, end - life[held], -age[held])
    return Validity(held, renewal, ctx.start_us + start * DAY_US, ctx.start_us + end * DAY_US)


def account_instrument_links(instruments: Columns) -> Columns:
    """s3_account_instrument_links_6A: one row per instrument."""
    return {k: instruments[k] for k in ("account_id", "instrument_id", "instrument_type", "scheme")}
