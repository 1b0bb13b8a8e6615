"""Delays and amounts follow their laws: Kolmogorov-Smirnov on a million addressed draws each.

The gate of the realism pages is .01. A million draws allow a sharper one: the distance that true laws exceed with
probability 1e-6 in any of the tests (.003), which sees a sigma that is 3 % off. Laws come from the policies' YAML and
the world's tables; kernels are fed rows of which each takes the branch in question.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from chance import pit
from chance.branch import Ledger

from fraudloom.kernels import payment_codes as pc
from fraudloom.kernels import settle as ks
from fraudloom.policies_api import packs_root, read_yaml
from fraudloom.states import s2
from s2.crafted import CONTRACTS, Woven, code, decided, spree, taken

N = 1_000_000
TESTS = 30
GATE = 0.01
LIMIT = pit.critical(N, TESTS)
SECOND, MINUTE, HOUR, DAY = 1e6, 6e7, 3.6e9, 8.64e10
CLOCK = read_yaml(packs_root() / "default" / "timing_policy_6B.yaml")
MODEL = read_yaml(packs_root() / "default" / "amount_model_6B.yaml")
Array = np.ndarray[Any, Any]


def whole(x: Array, cdf: Any, seed: int) -> float:
    """Distance of numbers that were rounded to the nearest whole one."""
    return pit.distance(cdf(x - 0.5), cdf(x + 0.5), seed)


def rounded_law(x: Array, law: dict[str, float], unit: float, seed: int) -> float:
    """Distance of rounded microseconds from a truncated lognormal of the policy."""
    median, lo, hi = (law[k] * unit for k in ("median", "lo", "hi"))
    return whole(x, lambda y: pit.lognormal(y, median, law["sigma"], lo, hi), seed)


def leg_law(x: Array, law: dict[str, float], seed: int) -> float:
    """Distance of microseconds of one way of the network."""
    median, z = law["median"] * 1000.0, CLOCK["network"]["z"]
    lo, hi = (median * np.exp(s * z * law["sigma"]) for s in (-1.0, 1.0))
    return whole(x, lambda y: pit.lognormal(y, median, law["sigma"], lo, hi), seed)


def authorised(woven: Woven, first: int, step: int, bits: int, auth: Any = None) -> tuple[Array, Array, Array]:
    """(sent, answered, trace) of a million requests at instant 0 that all take one branch; latency is 0."""
    n = np.int64(N)
    a = ks.AuthColumns(
        ordinal=np.arange(n) * 8,
        ts=np.zeros(n, np.int64),
        channel=np.full(n, pc.ECOM, np.int8),
        flow_type=np.zeros(n, np.int8),
        first=np.full(n, first, np.int8),
        step=np.full(n, step, np.int8),
        latency_ms=np.zeros(n, np.int32),
    )
    sent, answered = np.zeros((2, N), np.int64)
    trace = np.full(n, bits, np.int32)
    evidence = woven.plan.decisions.new_evidence()
    ks.time_auth(np.arange(n), a, auth or woven.plan.auth, woven.plan.keys, evidence, sent, answered, trace)
    return sent, answered, trace


@pytest.fixture(scope="module")
def plain(woven: Woven) -> tuple[Array, Array]:
    """(way there, way back) of requests that the issuer just answers."""
    sent, answered, _ = authorised(woven, pc.RC_00, pc.STEP_NONE, 0)
    return sent, answered - sent


def test_network_legs_follow_their_law(plain: tuple[Array, Array]) -> None:
    """Times from acceptance to the issuer and back would not have the policy's distribution."""
    there, back = plain
    assert leg_law(there, CLOCK["network"]["send_ms"], 1) <= LIMIT <= GATE
    assert leg_law(back, CLOCK["network"]["return_ms"], 2) <= LIMIT


@pytest.mark.parametrize("name", ["unavailable", "funds"])
def test_retry_gaps_follow_their_law(woven: Woven, plain: tuple[Array, Array], name: str) -> None:
    """Second attempts would come at other times than the policy says."""
    first = pc.RC_51 if name == "funds" else pc.RC_91
    sent, _, _ = authorised(woven, first, pc.STEP_NONE, pc.T_RETRY)
    assert rounded_law(sent - plain[0], CLOCK["retry_s"][name], SECOND, 3) <= LIMIT


def test_step_up_times_follow_their_law(woven: Woven, plain: tuple[Array, Array]) -> None:
    """Cardholders would take other times to authenticate, or to give up, than the policy says."""
    step = CLOCK["step_up"]
    sent, _, _ = authorised(woven, pc.RC_00, pc.STEP_PASSED, 0)
    assert rounded_law(sent - plain[0] - int(step["base_s"] * SECOND), step["cardholder_s"], SECOND, 4) <= LIMIT
    _, answered, trace = authorised(woven, pc.RC_1A, pc.STEP_ABANDONED, 0)
    gave_up = trace & pc.T_GAVE_UP > 0
    given = answered - plain[1] - int(step["base_s"] * SECOND)
    assert np.all(given[~gave_up] == int(step["timeout_s"] * SECOND))
    assert rounded_law(given[gave_up], step["give_up_s"], SECOND, 5) <= pit.critical(int(gave_up.sum()), TESTS)


def test_a_sigma_that_is_three_percent_off_is_seen(woven: Woven, plain: tuple[Array, Array]) -> None:
    """The limit would let a broken quantile pass."""
    laws = woven.plan.auth.laws.copy()
    laws[ks.L_CARDHOLDER, 1] *= 1.03
    send = woven.plan.auth.send.copy()
    send[1] *= 1.03
    off = woven.plan.auth._replace(laws=laws, send=send)
    there, _, _ = authorised(woven, pc.RC_00, pc.STEP_NONE, 0, off)
    assert leg_law(there, CLOCK["network"]["send_ms"], 1) > LIMIT
    sent, _, _ = authorised(woven, pc.RC_00, pc.STEP_PASSED, 0, off)
    given = sent - there - int(CLOCK["step_up"]["base_s"] * SECOND)
    assert rounded_law(given, CLOCK["step_up"]["cardholder_s"], SECOND, 4) > LIMIT


def test_issuer_latency_follows_its_law(woven: Woven) -> None:
    """Issuers would answer at other speeds than the policy says."""
    law, spread, chunk = CLOCK["issuer"]["latency_ms"], CLOCK["issuer"]["spread"], N // 4
    issuers = len(woven.plan.world.issuer_country)
    draws = [
        float(woven.plan.decide.latency[k, 0]) for k in range(issuers)
    ]  # medians: draws of the plan, checked below
    assert all(law["median"] * (1.0 - spread) <= m <= law["median"] * (1.0 + spread) for m in draws)
    below, upto = [], []
    for k in range(4):
        issuer = np.arange(chunk) % issuers + 1
        flows = spree(woven, "POS", chunk, 1000, issuer_id=issuer)
        flows["_ordinal"] = flows["_ordinal"] + k * chunk
        done = decided(woven, flows)
        issued = done["responder"] == code("responder", "ISSUER")
        ms, median = done["issuer_latency_ms"][issued].astype(np.float64), np.array(draws)[issuer[issued] - 1]
        timer = CLOCK["issuer"]["timer_s"] * 1000.0
        below.append(pit.lognormal(ms - 0.5, median, law["sigma"], law["lo"], timer))
        upto.append(pit.lognormal(ms + 0.5, median, law["sigma"], law["lo"], timer))
    n = sum(map(len, below))
    assert n > 0.99 * N
    assert pit.distance(np.concatenate(below), np.concatenate(upto), 6) <= pit.critical(n, TESTS)


def settled(woven: Woven, channel: str, **rule: Any) -> dict[str, Array]:
    """A million approved flows of 1,000,000 minor units through a rule of which parts were replaced; by column."""
    n = N
    flows = woven.frame.flows
    row = int(np.flatnonzero(flows["channel_group"] == code("channel_group", channel))[0])
    answered = woven.world.start_us + (np.arange(n, dtype=np.int64) * 7_654_321_001) % (80 * 86_400_000_000)
    c = ks.SettleColumns(
        ordinal=np.arange(n, dtype=np.int64) * 8,
        response_ts=answered,
        amount=np.full(n, 1_000_000, np.int64),
        merchant=np.full(n, flows["merchant_id"][row]),
        series=np.zeros(n, np.int64),
        channel=np.full(n, flows["channel_group"][row], np.int8),
        currency=np.full(n, flows["currency"][row], np.int8),
        country=np.full(n, flows["merchant_country"][row], np.int8),
        pinned=np.zeros(n, np.bool_),
        alerted=np.zeros(n, np.bool_),
        settled=np.ones(n, np.bool_),
    )
    names = ("clear", "refund", "reversal", "cleared", "refunded", "reversed")
    out = ks.Settled(*np.zeros((6, n), np.int64), *np.zeros((2, n), np.int8), np.zeros(n, np.int32))
    p, evidence = woven.plan, woven.plan.decisions.new_evidence()
    ks.settle_flows(np.arange(n), c, p.settle._replace(**rule), p.currency, p.amount, p.keys, evidence, out)
    return dict(zip(names, out, strict=False)) | {"answered": answered, "country": c.country, "trace": out.trace}


NEVER, ALWAYS = np.zeros(5), np.ones(5)


def test_reversals_and_returns_follow_their_law(woven: Woven) -> None:
    """Authorisations would be reversed, and transfers returned, at other times than the policy says."""
    s = CLOCK["settlement"]
    done = settled(woven, "ECOM", reversal=ALWAYS)
    assert rounded_law(done["reversal"] - done["answered"], s["reversal_min"], MINUTE, 7) <= LIMIT
    done = settled(woven, "BANK_RAIL", reversal=ALWAYS)
    assert rounded_law(done["reversal"] - done["answered"], s["return_h"], HOUR, 8) <= LIMIT


def test_refunds_follow_their_law(woven: Woven) -> None:
    """Refunds would come at other times after the clearing than the policy says."""
    done = settled(woven, "ECOM", reversal=NEVER, refund=ALWAYS)
    assert rounded_law(done["refund"] - done["clear"], CLOCK["settlement"]["refund_days"], DAY, 9) <= LIMIT


def business(woven: Woven, country: int) -> Array:
    """Business days of a country, ascending, from calendar_3B."""
    calendar = woven.world.tables["calendar_3B"]
    mine = (calendar["country_iso"] == country) & calendar["is_business_day"]
    return np.sort(calendar["day"][mine].astype(np.int64))


@pytest.mark.parametrize("parts", ["once", "late", "two"])
def test_clearing_follows_its_law(woven: Woven, parts: str) -> None:
    """Presentments would lie other numbers of business days, or minutes of the batch, behind the approval."""
    s = CLOCK["settlement"]
    chosen = {"once": (0.0, 0.0), "late": (0.0, 1.0), "two": (1.0, 0.0)}[parts]
    done = settled(woven, "ECOM", reversal=NEVER, refund=NEVER, partial=chosen[0], late=chosen[1])
    days = business(woven, int(done["country"][0]))
    due = -(-(done["answered"] - int(s["cutoff_hour"] * HOUR)) // int(DAY))  # the first whole day after the cutoff
    due = np.where((done["answered"] - int(s["cutoff_hour"] * HOUR)) % int(DAY) == 0, due + 1, due)
    of_day = done["clear"] - int(s["batch_hour"] * HOUR)
    jitter = of_day % int(DAY)
    width = int(s["jitter_min"] * MINUTE)
    spread = pit.distance(*(np.clip((jitter + k) / width, 0.0, 1.0) for k in (-0.5, 0.5)), 10)
    assert spread <= LIMIT
    lag = np.searchsorted(days, of_day // int(DAY)) - np.searchsorted(days, due)
    weights = np.array(s["lag_weights"]) / sum(s["lag_weights"])
    if parts != "once":
        more = s["late_days" if parts == "late" else "second_days"]
        weights = np.convolve(weights, np.full(more["hi"] - more["lo"] + 1, 1.0 / (more["hi"] - more["lo"] + 1)))
        lag = lag - more["lo"]
    cum = np.concatenate([[0.0], np.cumsum(weights)])
    assert lag.min() == 0 and lag.max() == len(weights) - 1
    assert pit.distance(cum[lag], cum[lag + 1], 11) <= LIMIT


def prices(v: Array, steps: Array, above: Array) -> Array:
    """Largest count of whole price units of which the law with coarse steps makes at most v units.

    v: whole units; from `above` units on, counts are rounded to multiples of `steps` (0: never).
    """
    coarse = np.maximum(steps, 1)
    rounded = v // coarse * coarse + (coarse - 1) // 2
    return np.where((steps > 0) & (v >= above), rounded, v)


def purchase_cdf(v: Array, facts: dict[str, Array]) -> Array:
    """P(amount <= v minor units) of purchases: the mixture of the four endings over the rounded lognormal."""
    x, unit = facts["x"], facts["unit"]
    step = MODEL["round_step"]
    online, even = facts["style"] == code("ending_style", "ONLINE"), facts["style"] == code("ending_style", "ROUND")

    def units(most: Array, steps: Array, above: Array) -> Array:
        n = prices(most, steps, above)
        return np.where(n >= 1, x((n + 0.5) * unit), 0.0)

    coarse = np.where(online, step, 0)
    total = np.zeros(len(v))
    for k, off in enumerate((facts["off99"], facts["off95"])):
        total += facts["ends"][:, k] * units(np.floor((v + off) / unit), coarse, np.full(len(v), 4 * step))
    third = np.where(even, step, coarse)
    total += facts["ends"][:, 2] * units(np.floor(v / unit), third, np.where(even, step, 4 * step))
    rest = 1.0 - facts["ends"].sum(axis=1)
    return total + rest * np.where(v >= 1, x(v + 0.5), 0.0)


def priced(woven: Woven, channels: tuple[str, ...], amount: Any = None) -> tuple[dict[str, Array], Array, int]:
    """(rows of the woven frame repeated to a million with new ordinals, amounts, rows after which they repeat)."""
    flows = woven.frame.flows
    codes = [code("channel_group", c) for c in channels]
    plain = (flows["series_key"] == 0) & (flows["branch_trace"] & pc.T_GOODWILL == 0)
    rows = np.flatnonzero(np.isin(flows["channel_group"], codes) & plain)
    names = ("_ordinal", "series_key", "merchant_id", "party_id", "city_id", "channel_group", "currency", "purpose")
    many = taken({k: flows[k] for k in names}, np.resize(rows, N))
    many["_ordinal"] = np.arange(N, dtype=np.int64) * 8
    plan = replace(woven.plan, amount=amount) if amount is not None else woven.plan
    none = np.zeros(N, np.int64)
    s2.price(plan, many, none, none > 0, woven.plan.decisions.new_evidence())
    return many, many["amount_minor"], len(rows)


def law_of_amounts(woven: Woven, many: dict[str, Array], median: Array, sigma: Array) -> dict[str, Any]:
    """Facts of each row that its amount follows from, of the world's tables and the policy; x: CDF of minor units."""
    w, fx = woven.world.tables, woven.world.tables["fx_rates_3A"]
    level = w["s1_party_base_6A"]["amount_level"][many["party_id"] - 1]
    level = level * w["cities_1B"]["price_level"][many["city_id"] - 1]
    d = 10.0 ** fx["decimals"][many["currency"]]
    middle = median * level / fx["ref_per_major"][many["currency"]] * d
    lo, hi = (middle * np.exp(sigma * MODEL["purchase"][k]) for k in ("z_lo", "z_hi"))
    t = woven.plan.currency
    return {"x": lambda y: pit.lognormal(y, middle, sigma, lo, hi), "d": d} | {
        k: getattr(t, k)[many["currency"]] for k in ("unit", "off99", "off95", "note", "ref_scale")
    }


def law_of_purchases(woven: Woven, many: dict[str, Array]) -> dict[str, Any]:
    """Facts of each purchase: those of `law_of_amounts`, style, and shares of the three endings (float64[n, 3])."""
    shops, buy = woven.world.tables["merchants_1A"], MODEL["purchase"]
    people = woven.world.tables["s1_party_base_6A"]["party_type"][many["party_id"] - 1]
    enums = {"median": "channel_group", "kind": "party_type", "sigma": "party_type", "class": "demand_class"}
    of = {k: np.array([float(buy[k].get(x, 0.0)) for x in CONTRACTS.enum(e)]) for k, e in enums.items()}
    row = many["merchant_id"] - 1
    median = of["median"][many["channel_group"]] * of["kind"][people] * of["class"][shops["demand_class"][row]]
    facts = law_of_amounts(woven, many, median * shops["amount_level"][row], of["sigma"][people])
    ends = np.array([[MODEL["endings"][s][k] for k in ("p99", "p95", "p00")] for s in CONTRACTS.enum("ending_style")])
    facts["style"] = shops["ending_style"][row]
    facts["ends"] = ends[facts["style"]]
    return facts


def purchases(woven: Woven, amount: Any = None) -> float:
    """Distance of purchases from their law, over many merchants, parties, cities and currencies."""
    many, minor, _ = priced(woven, ("ECOM", "POS", "HYBRID"), amount)
    facts = law_of_purchases(woven, many)
    return pit.distance(purchase_cdf(minor - 1, facts), purchase_cdf(minor, facts), 12)


def test_purchases_follow_their_law(woven: Woven) -> None:
    """Amounts of purchases would not have the policy's distribution with its endings."""
    assert purchases(woven) <= LIMIT


def test_amounts_that_are_three_percent_off_are_seen(woven: Woven) -> None:
    """The limit would let a broken law of amounts pass."""
    rule = woven.plan.amount
    assert purchases(woven, rule._replace(sigma=rule.sigma * 1.03)) > LIMIT


@pytest.mark.parametrize("off", ["off99", "off95"])
def test_endings_have_their_shares(woven: Woven, off: str) -> None:
    """Prices would end in .99 or .95 more or less often than the merchants' style says."""
    many, minor, cycle = priced(woven, ("ECOM", "POS", "HYBRID"))
    law = law_of_purchases(woven, {k: v[:cycle] for k, v in many.items()})
    # Beside those with the ending: free amounts that happen to have it.
    places = (n * law["unit"] - law[off] for n in range(1, 4001))
    by_chance = sum(law["x"](place + 0.5) - law["x"](place - 0.5) for place in places)
    share = law["ends"][:, ("off99", "off95").index(off)] + (1.0 - law["ends"].sum(axis=1)) * by_chance
    ended = (minor + np.resize(law[off], N)) % np.resize(law["unit"], N) == 0
    ledger = Ledger()
    for k, style in enumerate(CONTRACTS.enum("ending_style")):
        mine = np.resize(law["style"] == k, N)
        ledger.note(style, ended, np.resize(share, N), mine)
        ledger.note(f"{style} off by half", ended, np.resize(share * 1.5, N), mine)
    assert [f.split(":")[0] for f in ledger.failures()] == [v.name for v in ledger.verdicts if "off by" in v.name]


def test_withdrawals_follow_their_law(woven: Woven) -> None:
    """Cash would be drawn in other amounts of notes than the policy says."""
    cash = MODEL["cash"]
    many, minor, _ = priced(woven, ("ATM",))
    facts = law_of_amounts(woven, many, np.full(N, cash["median"]), np.full(N, cash["sigma"]))
    note = facts["note"].astype(np.float64)
    most = np.maximum(1, np.floor(cash["max_ref"] / (note * facts["ref_scale"])))
    got = np.rint(minor / note)
    assert np.array_equal(got * note, minor) and got.max() <= most.max()

    def cdf(n: Array) -> Array:
        b = cash["bundle"]
        single = np.where(n >= 1, facts["x"]((n + 0.5) * note), 0.0)
        full = np.floor(np.floor(n / b) * b + b / 2.0)
        packs = np.where(n >= b, facts["x"]((full + 0.5) * note), 0.0)
        share = cash["bundle_share"]
        return np.where(n >= most, 1.0, share * packs + (1.0 - share) * single)

    assert pit.distance(cdf(got - 1), cdf(got), 13) <= LIMIT


def test_transfers_follow_their_law(woven: Woven) -> None:
    """Transfers would be sent in other amounts than the policy says."""
    many, minor, _ = priced(woven, ("BANK_RAIL",))
    of = np.zeros((len(CONTRACTS.enum("payment_purpose")), 3))
    for name, law in MODEL["transfers"].items():
        of[code("payment_purpose", name)] = [law["median"], law["sigma"], law["whole"]]
    mine = of[many["purpose"]]
    facts = law_of_amounts(woven, many, mine[:, 0], mine[:, 1])
    unit = facts["unit"]

    def cdf(v: Array) -> Array:
        n = np.floor(v / unit)
        even = np.where(n >= 1, facts["x"]((n + 0.5) * unit), 0.0)
        return mine[:, 2] * even + (1.0 - mine[:, 2]) * np.where(v >= 1, facts["x"](v + 0.5), 0.0)

    assert pit.distance(cdf(minor - 1), cdf(minor), 14) <= LIMIT
