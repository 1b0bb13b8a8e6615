"""Probabilities in force of every branch of S2, per row, from published columns, the world's tables and the policies.

Plain NumPy and Python: no kernel, no plan. Each function notes its branches in a `Ledger`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np

from chance.branch import Ledger
from chance.tables import DAY, Sample, Table
from naive.keys import run_keys
from naive.streams import uniform

Array = np.ndarray[Any, Any]
CODES = ("05", "14", "54", "55", "N7", "61", "65", "75", "41", "43", "04", "96", "R0", "R1")
SCORE_SETS = {"POS": "PRESENT", "ATM": "CASH", "BANK_RAIL": "RAIL", "ECOM": "NOT_PRESENT", "HYBRID": "NOT_PRESENT"}
MERGED, GOODWILL, STEP_UP, SOFT, RETRY, STAND_IN = 1, 2, 4, 8, 16, 32
TIMED_OUT, TIP, FUEL, SHIPMENTS, LATE, REVERSAL, REFUND, PART = 64, 256, 512, 1024, 2048, 4096, 8192, 16384
RETURNED, GAVE_UP = 32768, 65536


def by_label(labels: Array, table: dict[str, float]) -> Array:
    """A number per row, 0.0 for labels that the table does not list."""
    names, at = np.unique(labels, return_inverse=True)
    return np.array([float(table.get(str(n), 0.0)) for n in names])[at]


def bit(flows: Table, mask: int) -> Array:
    """Rows with a bit of branch_trace."""
    out: Array = flows["branch_trace"] & mask > 0
    return out


def gather(sample: Sample, dataset: str, name: str, ids: Array) -> Array:
    """A column of a world table by dense id; id 0 gives the type's empty value."""
    values = sample.of_world(dataset)[name]
    empty: Any = "" if values.dtype.kind == "U" else 0
    out: Array = np.where(ids > 0, values[np.maximum(ids, 1) - 1], empty)
    return out


def first_of(keys: Array) -> Array:
    """Rows that are the first of their key, in order."""
    return np.sort(np.unique(keys, return_index=True)[1])


def grouping(sample: Sample, ledger: Ledger) -> None:
    """Goodwill credits and arrivals that join the order before them."""
    law, a, flows = sample.policies["flow_shape_policy_6B"]["flows"], sample.arrivals, sample.flows
    credit = np.isin(a["flow_id"], flows["flow_id"][bit(flows, GOODWILL)])
    for channel, p in law["goodwill_credit"].items():
        where = (a["channel_group"] == channel) & (a["series_key"] == 0)
        ledger.note(f"goodwill credit {channel}", credit, p, where)
    window = int(law["merge_window_min"]) * 60_000_000
    last: dict[int, list[int]] = {}  # of a session: first row of its last flow, and arrivals in it
    joined = defaultdict(list)
    for i in range(len(a["ts_utc"])):
        session = int(a["session_id"][i])
        if a["series_key"][i] > 0 or credit[i]:
            last.pop(session, None)
            continue
        if session in last:
            j, size = last[session]
            same = all(a[k][i] == a[k][j] for k in ("merchant_id", "instrument_id", "channel_group"))
            if same and size < law["max_arrivals"] and a["ts_utc"][i] - a["ts_utc"][j] <= window:
                took = a["flow_id"][i] == a["flow_id"][j]
                joined[str(a["channel_group"][i])].append(took)
                if took:
                    last[session][1] += 1
                    continue
        last[session] = [i, 1]
    for channel, p in law["merge"].items():
        ledger.note(f"order joined {channel}", np.array(joined[channel], np.bool_), p)


def payees(sample: Sample, ledger: Ledger) -> None:
    """Payees of single transfers and standing orders, purposes and name checks."""
    law, regions = sample.policies["flow_shape_policy_6B"]["payees"], sample.policies["flow_shape_policy_6B"]["regions"]
    rail = sample.flows["channel_group"] == "BANK_RAIL"
    f = {k: v[rail] for k, v in sample.flows.items()}
    lists = sample.of_world("payees_6A")
    book: dict[int, list[int]] = defaultdict(list)
    for party, account in zip(lists["party_id"], lists["payee_account_id"], strict=True):
        book[int(party)].append(int(account))
    known = np.array([len(book[int(p)]) for p in f["party_id"]])
    single = f["series_key"] == 0
    ledger.note("payee new", f["is_new_payee"], law["new_share"], single & (known > 0))
    home = gather(sample, "s1_party_base_6A", "country_iso", f["party_id"])
    new = f["is_new_payee"]
    total = sum(law["new_purpose"].values())
    for purpose, weight in law["new_purpose"].items():
        ledger.note(f"payee new {purpose}", f["purpose"] == purpose, weight / total, new)
    abroad = law["new_abroad"] * (1.0 - np.isin(home, regions["sca"]) / len(regions["sca"]))
    ledger.note("payee new abroad", f["payee_country"] != home, abroad, new)
    chosen = single & ~new
    place = np.array(
        [
            book[int(p)].index(int(x)) if c else -1
            for p, x, c in zip(f["party_id"], f["payee_account_id"], chosen, strict=True)
        ]
    )
    decay = law["rank_decay"]
    for k in range(4):
        weight = decay**k / np.array([sum(decay**j for j in range(max(1, n))) for n in known])
        ledger.note(f"payee place {k}", place == k, weight, chosen & (known > max(k, 1)))
    once = np.zeros(len(single), np.bool_)
    once[first_of(np.where(single, -np.arange(len(single)), f["series_key"]))] = True
    here = once & (f["payee_country"] == home)
    for who, mine, check in (
        ("new", new, law["name_check_new"]),
        ("known", ~new & (known > 0), law["name_check_known"]),
    ):
        shares = {
            "UNAVAILABLE": check["unavailable"],
            "CLOSE_MATCH": check["close"],
            "NO_MATCH": check.get("none", 0.0),
        }
        for label, p in shares.items():
            if p > 0.0:
                ledger.note(f"name check {who} {label}", f["confirmation_of_payee"] == label, p, here & mine)


def requests(sample: Sample, ledger: Ledger) -> None:
    """Entry modes, tokens, exemptions, 3-D Secure and checks of requests."""
    shape, f = sample.policies["flow_shape_policy_6B"], sample.flows
    away, here, regions = shape["not_present"], shape["present"], shape["regions"]
    channel, entry, ref = f["channel_group"], f["entry_mode"], f["amount_ref_minor"]
    issuer = gather(sample, "issuers_6A", "country_iso", f["issuer_id"])
    both = np.isin(issuer, regions["sca"]) & np.isin(f["merchant_country"], regions["sca"])
    kind = gather(sample, "s3_instrument_base_6A", "instrument_kind", f["instrument_id"])
    wallet = kind == "WALLET_TOKEN"
    online = np.isin(channel, ("ECOM", "HYBRID")) & (f["series_key"] == 0)
    ledger.note("card on file", entry == "COF", away["card_on_file"], online)
    ledger.note("keyed order", entry == "KEYED", away["keyed"], online & (channel == "ECOM") & ~wallet)
    token = f["token_wallet"] == "NETWORK_TOKEN"
    ledger.note("network token on file", token, away["network_token_on_file"], (entry == "COF") & ~wallet)
    asked = online & (entry != "KEYED")
    x = away["exemption"]
    shares = {
        "LOW_VALUE": np.where(ref <= away["low_value_max_ref"], x["low_value"], 0.0),
        "TRA": np.where(ref <= away["tra_max_ref"], x["tra"], 0.0),
        "TRUSTED": np.full(len(ref), x["trusted"]),
    }
    shares["NONE"] = 1.0 - sum(shares.values())
    for label, p in shares.items():
        ledger.note(f"exemption {label}", f["sca_exemption"] == label, p, asked & both & (p > 0.0))
    tds = away["three_ds"]
    strong = np.where(f["sca_exemption"] == "NONE", tds["strong"], tds["exempt"])
    p = np.where(both, strong, tds["abroad"])
    ledger.note("3-D Secure attempted", f["three_ds"] == "ATTEMPTED", p * away["attempted"], asked)
    done = np.isin(f["three_ds"], ("FRICTIONLESS", "CHALLENGED"))
    for name, where in (
        ("strong", both & (f["sca_exemption"] == "NONE")),
        ("exempt", both & (f["sca_exemption"] != "NONE")),
        ("abroad", ~both),
    ):
        ledger.note(f"3-D Secure {name}", done, p * (1.0 - away["attempted"]), asked & where)
    entered = online & np.isin(entry, ("ECOM", "KEYED"))
    ledger.note("cvv mismatch", f["cvv_result"] == "NO_MATCH", away["cvv_present"] * away["cvv_mismatch"], entered)
    ledger.note("cvv missing", f["cvv_result"] == "NOT_PRESENT", 1.0 - away["cvv_present"], entered)
    ledger.note(
        "address mismatch",
        f["avs_result"] == "NO_MATCH",
        away["address_mismatch"],
        entered & np.isin(issuer, regions["address_check"]),
    )
    till = (channel == "POS") & ~wallet & (kind != "CARD_VIRTUAL")
    ledger.note("fallback POS", entry == "MAGSTRIPE_FALLBACK", here["fallback"], till)
    ledger.note("keyed POS", entry == "KEYED", here["keyed"], till)
    near = here["contactless"] * (1.0 - here["fallback"] - here["keyed"])
    ledger.note("contactless POS", entry == "CONTACTLESS", near, till & (ref <= here["contactless_max_ref"]))
    cash = channel == "ATM"
    ledger.note("fallback ATM", entry == "MAGSTRIPE_FALLBACK", here["cash_fallback"], cash)
    ledger.note("contactless ATM", entry == "CONTACTLESS", here["cash_contactless"], cash & ~wallet)
    rail = (channel == "BANK_RAIL") & both & ~f["is_new_payee"] & (ref > shape["payees"]["low_value_max_ref"])
    trusted = f["sca_exemption"] == "TRUSTED"
    ledger.note("trusted payee", trusted, shape["payees"]["trusted"], rail & (f["purpose"] != "OWN_ACCOUNT"))


def troubles(sample: Sample) -> dict[int, list[tuple[int, int, int]]]:
    """Outages of each issuer: from, to, end of the trouble after it, in the order of the law."""
    law, world = sample.policies["issuer_policy_6B"]["outages"], sample.world
    key = run_keys(world.fingerprint, sample.seed, world.scenarios[0])("rng_event_issuer_decision", "ISSUER_OUTAGE")
    start, days = int(world.start_us), (int(world.end_us) - int(world.start_us)) // DAY
    lo, hi = law["per_90_days"]["lo"], law["per_90_days"]["hi"]
    out: dict[int, list[tuple[int, int, int]]] = {}
    for k in range(len(sample.of_world("issuers_6A")["issuer_id"])):
        base = k * 65536
        count = round((lo + int(uniform(key, base) * (hi - lo + 1))) * days / 90.0)
        rows = []
        for j in range(count):
            at = start + int(uniform(key, base + 1 + 2 * j) * days * DAY)
            minutes = law["minutes"]["lo"] + uniform(key, base + 2 + 2 * j) * (
                law["minutes"]["hi"] - law["minutes"]["lo"]
            )
            length = int(minutes * 6e7)
            rows.append((at, at + length, at + length + int(length * law["after_factor"])))
        out[k + 1] = rows
    return out


def states(sample: Sample) -> Array:
    """0 in order, 1 outage, 2 trouble after it, of each flow's issuer at its instant."""
    rows = troubles(sample)
    out = np.zeros(len(sample.flows["ts_utc"]), np.int64)
    for i, (issuer, ts) in enumerate(zip(sample.flows["issuer_id"], sample.flows["ts_utc"], strict=True)):
        for begin, end, over in rows[int(issuer)]:
            if begin <= ts < over:
                out[i] = 1 if ts < end else 2
                break
    return out


def pressures(sample: Sample) -> Array:
    """Chance of 51 per unit of the group's hazard: squared pressure of what was spent, times the factor when short."""
    law, f = sample.policies["issuer_policy_6B"]["history"], sample.flows
    funds = sample.of_world("s2_account_base_6A")["funds_ref_minor"]
    memory, short = law["spend_days"] * 86400.0, int(law["short_of_funds_h"] * 3.6e9)
    spent: dict[int, float] = {}
    last: dict[int, int] = {}
    until: dict[int, int] = {}
    out = np.zeros(len(f["ts_utc"]))
    order = np.lexsort((f["arrival_seq"], f["merchant_id"], f["ts_utc"]))
    for i in order:
        if f["flow_type"][i] == "CARD_CREDIT":
            continue
        account, ts, ref = int(f["account_id"][i]), int(f["ts_utc"][i]), int(f["amount_ref_minor"][i])
        own = max(1, int(funds[account - 1]))
        held = spent.get(account, law["initial_spend"] * own)
        if account in last:
            held *= math.exp(-((ts - last[account]) / 1e6) / memory)
        x = (held + ref) / own
        q = x / (1.0 + x)
        out[i] = q * q * (law["short_of_funds_factor"] if ts < until.get(account, 0) else 1.0)
        if f["response_code"][i] == "00":
            spent[account], last[account] = held + ref, ts
        elif f["response_code"][i] == "51":
            until[account] = ts + short
    return out


def groups(flows: Table) -> Array:
    """Decline group of each flow."""
    channel = flows["channel_group"]
    out = np.where(
        np.isin(flows["three_ds"], ("FRICTIONLESS", "CHALLENGED", "ATTEMPTED")), "AUTHENTICATED", "NOT_AUTHENTICATED"
    )
    # A challenge after a soft decline came to a request without 3-D Secure; its column stays as it was requested.
    out = np.where(flows["entry_mode"] == "MIT", "MERCHANT_INITIATED", out)
    for name, group in (("POS", "PRESENT"), ("ATM", "CASH"), ("BANK_RAIL", "RAIL")):
        out = np.where(channel == name, group, out)
    return out


def step_up_chance(sample: Sample) -> Array:
    """Chance of a challenge of each flow that the issuer may challenge."""
    law, f = sample.policies["issuer_policy_6B"]["step_up"], sample.flows
    y = np.zeros(len(f["ts_utc"]))
    for channel in ("ECOM", "HYBRID", "BANK_RAIL"):
        c = law[channel]
        z = c["intercept"] + c["large"] * np.log(f["amount_ref_minor"] / 10000.0) + c["risk"] * f["risk_score"] / 999.0
        z = z + c["exempt"] * np.isin(f["sca_exemption"], ("LOW_VALUE", "TRA", "TRUSTED"))
        z = z + c.get("regulated", 0.0) * (f["sca_exemption"] != "OUT_OF_SCOPE")
        z = z + c.get("new_payee", 0.0) * f["is_new_payee"]
        y = np.where(f["channel_group"] == channel, z, y)
    return 1.0 / (1.0 + np.exp(-y))


def decisions(sample: Sample, ledger: Ledger) -> None:
    """Challenges, stand-in, funds, every other code, soft declines, retries and how they end."""
    law, f = sample.policies["issuer_policy_6B"], sample.flows
    first, trace, channel = f["first_response_code"], f["branch_trace"], f["channel_group"]
    limit = by_label(channel, {c: law["thresholds"][s]["decline"] for c, s in SCORE_SETS.items()})
    open_ = (f["flow_type"] != "CARD_CREDIT") & (f["block_state"] == "NONE") & (f["risk_score"] < limit)
    group = groups(f)
    ready = np.isin(f["three_ds"], ("FRICTIONLESS", "CHALLENGED"))
    may = open_ & (ready | (channel == "BANK_RAIL"))
    soft, asked = trace & SOFT > 0, trace & STEP_UP > 0
    for name in ("ECOM", "HYBRID", "BANK_RAIL"):
        ledger.note(f"challenge {name}", asked, step_up_chance(sample), may & (channel == name))
    gone = f["step_up_result"] == "ABANDONED"
    ledger.note("challenge abandoned", gone, law["step_up"]["abandoned"], may & asked)
    ledger.note(
        "abandoned by timeout",
        trace & GAVE_UP == 0,
        sample.policies["timing_policy_6B"]["step_up"]["timed_out"],
        gone & ~soft,
    )
    answered = open_ & ~(gone & ~soft)
    state, stood = states(sample), trace & STAND_IN > 0
    out = law["outages"]
    ledger.note("stand-in in an outage", stood, 1.0, answered & (state == 1))
    ledger.note("stand-in after an outage", stood, out["after_share"], answered & (state == 2))
    ledger.note("request timed out", stood, out["timeout"], answered & (state == 0))
    ledger.note("timed out, of those", trace & TIMED_OUT > 0, 1.0, answered & stood & (state == 0))
    refused = np.where(f["amount_ref_minor"] <= out["floor_ref"], 1.0 - out["approve"], 1.0 - out["outside_floor"])
    for name, where in (("small", refused == 1.0 - out["approve"]), ("large", refused != 1.0 - out["approve"])):
        ledger.note(f"stand-in refuses {name}", first == "91", refused, answered & stood & where)
    asked_issuer = answered & ~stood
    funds = by_label(group, {g: d["funds"] for g, d in law["declines"].items()}) * pressures(sample)
    for g in law["declines"]:
        ledger.note(f"51 {g}", first == "51", np.minimum(1.0, funds), asked_issuer & (group == g))
    wrong, failed = f["cvv_result"] == "NO_MATCH", law["check_failed_decline"]
    for g, hazard in law["declines"].items():
        where = asked_issuer & (first != "51") & (group == g)
        for code in CODES:
            p = hazard.get(code, 0.0) * np.where(wrong, 1.0 - failed, 1.0) + (failed * wrong if code == "N7" else 0.0)
            if np.any(p[where] > 0.0):
                ledger.note(f"{code} {g}", (first == code) & ~soft, p, where)
        if "soft" in hazard:
            ledger.note(f"soft decline {g}", soft, hazard["soft"] * np.where(wrong, 1.0 - failed, 1.0), where)
    step = law["step_up"]
    ledger.note("soft decline asked again", asked, step["soft_retry"], soft)
    ledger.note("soft decline abandoned", gone, step["abandoned"], soft & asked)
    scheme = gather(sample, "s3_instrument_base_6A", "scheme", f["instrument_id"])
    ledger.note("soft decline as 65", first == "65", np.where(scheme == "MASTERCARD", 1.0, 0.0), soft)
    retried, plain = trace & RETRY > 0, ~soft & (f["step_up_result"] != "PASSED") & open_
    for name, codes in (("unavailable", ("91", "96")), ("funds", ("51",))):
        where = plain & np.isin(first, codes) & ~((first == "51") & (group == "MERCHANT_INITIATED"))
        ledger.note(f"retry {name}", retried, law["retries"][name]["share"], where)
        ledger.note(
            f"retry {name} succeeds", f["response_code"] == "00", law["retries"][name]["success"], where & retried
        )


def settlement(sample: Sample, ledger: Ledger) -> None:
    """Reversals, returns, tips, fuel, shipments, late presentments and refunds."""
    law, f = sample.policies["flow_shape_policy_6B"]["settlement"], sample.flows
    channel, trace = f["channel_group"], f["branch_trace"]
    good = (f["response_code"] == "00") & (f["flow_type"] != "CARD_CREDIT")
    ledger.note(
        "transfer returned", trace & RETURNED > 0, law["returned"], good & (channel == "BANK_RAIL") & ~f["alerted"]
    )
    back = law["reversal"]
    for name in ("ECOM", "POS", "HYBRID", "ATM"):
        p = back["ATM"] if name == "ATM" else back["card"]
        ledger.note(f"reversal {name}", trace & REVERSAL > 0, p, good & (channel == name))
    cleared = good & (channel != "BANK_RAIL") & (trace & REVERSAL == 0)
    style = gather(sample, "merchants_1A", "ending_style", f["merchant_id"])
    tips = np.isin(gather(sample, "merchants_1A", "demand_class", f["merchant_id"]), law["tip_classes"])
    custom = np.isin(f["merchant_country"], law["tip"]["countries"])
    tip = np.where(tips, np.where(custom, law["tip"]["custom"], law["tip"]["elsewhere"]), 0.0)
    till = cleared & (channel == "POS")
    ledger.note("tip where usual", trace & TIP > 0, tip, till & tips & custom)
    ledger.note("tip elsewhere", trace & TIP > 0, tip, till & tips & ~custom)
    # One uniform decides both: fuel is what lies above the tip's share.
    ledger.note(
        "fuel adjusted", trace & FUEL > 0, np.maximum(0.0, law["fuel_adjusted"] - tip), till & (style == "FUEL")
    )
    online = np.isin(channel, ("ECOM", "HYBRID")) & (f["series_key"] == 0) & (f["cleared_minor"] > 1)
    ledger.note("two shipments", trace & SHIPMENTS > 0, law["partial_clearing"], cleared & online)
    ledger.note("late presentment", trace & LATE > 0, law["late"], cleared)
    for name, p in law["refund"].items():
        ledger.note(f"refund {name}", trace & REFUND > 0, p, cleared & (channel == name))
    # In small amounts a share can round up to the whole: forty price steps leave room.
    decimals = by_label(
        f["currency"], dict(zip(*(sample.of_world("fx_rates_3A")[k] for k in ("currency", "decimals")), strict=True))
    )
    wide = (decimals == 2) & (f["amount_ref_minor"] >= 4000) & (f["cleared_minor"] >= 4000)
    ledger.note("partial refund", trace & PART > 0, 1.0 - law["refund_full"], cleared & (trace & REFUND > 0) & wide)


def all_branches(sample: Sample) -> Ledger:
    """Every branch of S2."""
    ledger = Ledger()
    for judge in (grouping, payees, requests, decisions, settlement):
        judge(sample, ledger)
    return ledger
