"""Probabilities in force of every branch of S1, per row, from published columns, the world's tables and the policies.

Draws of one visit are shared by its arrivals, so a visit counts once: by its first arrival in the domain. Plain NumPy
and Python: no kernel, no plan.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from chance.branch import Ledger
from chance.tables import DAY, Sample, Table

Array = np.ndarray[Any, Any]
Rows = dict[Any, list[int]]


def rows_by(values: Array) -> Rows:
    """Rows of each value, ascending."""
    out: Rows = defaultdict(list)
    for i, v in enumerate(values.tolist()):
        out[v].append(i)
    return out


def chance_of(weights: Array, mine: Array) -> float:
    """Share of the weights of some candidates; 0.0 when there is no weight."""
    total = float(weights.sum())
    return float(weights[mine].sum()) / total if total > 0.0 else 0.0


def firsts(a: Table, where: Array) -> Array:
    """Rows of a mask that are the first of their visit, or of their series."""
    rows = np.flatnonzero(where)
    key = np.where(a["series_key"] > 0, -a["series_key"], a["visit_key"])[rows]
    return np.sort(rows[np.unique(key, return_index=True)[1]])


class Away:
    """Who is away on which day, and weights of those who are not."""

    def __init__(self, sample: Sample) -> None:
        self.first = int(sample.world.start_us) // DAY
        self.days = (int(sample.world.end_us) - int(sample.world.start_us)) // DAY
        parties = sample.of_world("s1_party_base_6A")
        self.weight = parties["activity_weight"]
        self.out = np.zeros((len(self.weight), self.days), np.bool_)
        trips = sample.of_world("trips_6A")
        for party, start, end in zip(trips["party_id"], trips["from_day"], trips["to_day"], strict=True):
            self.out[party - 1, max(0, start) : end + 1] = True
        self.residents = rows_by(parties["city_id"])

    def share(self, people: Array, weights: Array, day: int) -> float:
        """Share of the weight that is away."""
        return chance_of(weights, self.out[people, day])


def parties(sample: Sample, ledger: Ledger) -> None:
    """Regular of the anchor merchant or resident of the city, by visit and by series."""
    a, p = sample.arrivals, sample.policies["attachment_policy_6B"]["party"]["p_regular"]
    (slots,) = (d["slots"] for d in sample.policies["rng_policy_6B"]["decisions"] if d["decision"] == "ATTACH_PARTY")
    table, away = sample.of_world("regulars_6A"), Away(sample)
    regulars: Rows = defaultdict(list)
    for i, key in enumerate(zip(table["merchant_id"].tolist(), table["home_city_id"].tolist(), strict=True)):
        regulars[key].append(i)
    everyone = list(range(len(away.weight)))
    taken, chances = [], []
    for i in firsts(a, (a["series_key"] == 0) & ~a["trip"] & (a["pinned_instrument_id"] == 0)):
        mine = regulars.get((int(a["visit_merchant_id"][i]), int(a["home_city_id"][i])), [])
        if not mine:
            continue
        day = (int(a["ts_local_primary"][i]) // DAY - away.first) % away.days
        pool = np.array(away.residents.get(int(a["home_city_id"][i]), everyone))
        gone = away.share(table["party_id"][mine] - 1, table["weight"][mine], day)
        missing = p * gone + (1.0 - p) * away.share(pool, away.weight[pool], day)
        # All candidates but the last may be regulars; the rule is that of the first who is at home.
        chances.append(p * (1.0 - gone) * sum(missing**j for j in range(max(1, slots - 1))))
        taken.append(a["attach_rule_id"][i] == "VISIT_REGULAR")
    ledger.note("regular of the visit", np.array(taken), np.array(chances))
    rows = firsts(a, a["series_key"] > 0)
    has = np.array([(int(a["visit_merchant_id"][i]), int(a["home_city_id"][i])) in regulars for i in rows])
    ledger.note("regular of the series", a["attach_rule_id"][rows] == "SERIES_REGULAR", p, has)


def holdings(sample: Sample, ledger: Ledger) -> None:
    """Ledger of the account and kind of the instrument, among what the payer could use."""
    a, prior = sample.arrivals, sample.policies["behaviour_prior_pack_6B"]
    kinds = sample.policies["attachment_policy_6B"]["instrument"]["eligible_kinds"]
    accounts, cards = sample.of_world("s2_account_base_6A"), sample.of_world("s3_instrument_base_6A")
    owner = sample.of_world("s1_party_base_6A")["party_type"]
    of_party = rows_by(cards["owner_party_id"])
    active = cards["instrument_status"] == "ACTIVE"
    noted: dict[str, tuple[list[bool], list[float]]] = defaultdict(lambda: ([], []))
    for i in firsts(a, a["instrument_id"] > 0):
        party, channel, ts = int(a["party_id"][i]), str(a["channel_group"][i]), a["ts_utc"][i]
        mine = np.array(of_party[party])
        usable = active[mine] & np.isin(cards["instrument_kind"][mine], kinds[channel])
        mine = mine[usable & (cards["valid_from"][mine] <= ts) & (ts < cards["valid_to"][mine])]
        kind = str(owner[party - 1])
        held = np.unique(cards["account_id"][mine])
        ledgers = accounts["ledger_class"][held - 1]
        weights = np.array([prior["ledger_weights"][kind][channel][str(k)] for k in ledgers])
        for label in np.unique(ledgers):
            if len(np.unique(ledgers)) > 1:
                noted[f"ledger {label}"][0].append(bool(a["ledger_class"][i] == label))
                noted[f"ledger {label}"][1].append(chance_of(weights, ledgers == label))
        mine = mine[cards["account_id"][mine] == a["account_id"][i]]
        sorts = cards["instrument_kind"][mine]
        weights = np.array([prior["instrument_weights"][kind][channel].get(str(k), 0.0) for k in sorts])
        for label in np.unique(sorts):
            if len(np.unique(sorts)) > 1:
                noted[f"instrument {label}"][0].append(bool(a["instrument_kind"][i] == label))
                noted[f"instrument {label}"][1].append(chance_of(weights, sorts == label))
    for name in sorted(noted):
        ledger.note(name, np.array(noted[name][0]), np.array(noted[name][1]))


def terminals(sample: Sample, ledger: Ledger) -> None:
    """The merchant's terminal, or the customer's own device."""
    a, has = sample.arrivals, sample.of_world("terminals_2B")["merchant_id"]
    for channel, p in sample.policies["behaviour_prior_pack_6B"]["p_terminal_device"].items():
        where = (a["channel_group"] == channel) & np.isin(a["merchant_id"], has)
        ledger.note(f"terminal {channel}", a["terminal_id"] > 0, p, where)


def devices(sample: Sample, ledger: Ledger) -> None:
    """The payer's first own device or another one; a typical address of it or any, and the group of the address."""
    a, prior = sample.arrivals, sample.policies["behaviour_prior_pack_6B"]
    most = sample.policies["attachment_policy_6B"]["ip"]["share_max"]
    links, gear = sample.of_world("s4_device_links_6A"), sample.of_world("s4_device_base_6A")
    owner = sample.of_world("s1_party_base_6A")["party_type"]
    ips, groups = sample.of_world("s4_ip_links_6A"), sample.of_world("s4_ip_base_6A")["ip_group"]
    of_party, of_device = rows_by(links["party_id"]), rows_by(ips["device_id"])
    noted: dict[str, tuple[list[bool], list[float]]] = defaultdict(lambda: ([], []))

    def note(name: str, taken: Any, p: float) -> None:
        noted[name][0].append(bool(taken))
        noted[name][1].append(p)

    for i in firsts(a, a["terminal_id"] == 0):
        party, channel, ts = int(a["party_id"][i]), str(a["channel_group"][i]), a["ts_utc"][i]
        kind = str(owner[party - 1])
        mine = np.array(of_party[party])
        mine = mine[np.argsort(links["device_id"][mine], kind="stable")]
        row = links["device_id"][mine] - 1
        mine = mine[(gear["valid_from"][row] <= ts) & (ts < gear["valid_to"][row])]
        phones = gear["device_type"][links["device_id"][mine] - 1] == "MOBILE_PHONE"
        if channel in ("POS", "ATM") and phones.any():
            mine = mine[phones]
        own = np.flatnonzero(links["link_role"][mine] == "PRIMARY_OWNER")
        wallet = a["instrument_kind"][i] == "WALLET_TOKEN"  # its phone, with no choice
        if len(own) and len(mine) > 1 and not wallet:
            main = links["device_id"][mine[own[0]]]
            note(f"first device {channel}", a["device_id"][i] == main, prior["p_primary_device"][kind][channel])
        at = np.array(of_device[int(a["device_id"][i])])
        weights = prior["ip_group_weights"][kind][channel]
        total = sum(weights.values())
        share = {g: min(w / total, most.get(g, 1.0)) for g, w in weights.items()}
        group = groups[ips["ip_id"][at] - 1]
        weight = np.array([share.get(str(g), 0.0) for g in group])
        usual = ips["link_role"][at] == "TYPICAL_DEVICE_IP"
        typical = prior["p_typical_ip"][kind][channel] if weight[usual].sum() > 0.0 else 0.0
        chance = (1.0 - typical) * weight / weight.sum()
        if typical > 0.0:
            chance = chance + typical * np.where(usual, weight, 0.0) / weight[usual].sum()
        chosen = ips["ip_id"][at] == a["ip_id"][i]
        if 0.0 < float(chance[usual].sum()) < 1.0 - 1e-9:
            note(f"typical address {channel}", chosen[usual].any(), float(chance[usual].sum()))
        for label in np.unique(group):
            p = float(chance[group == label].sum())
            if 0.0 < p < 1.0 - 1e-9:
                note(f"address {label}", a["ip_group"][i] == label, p)
    for name in sorted(noted):
        ledger.note(name, np.array(noted[name][0]), np.array(noted[name][1]))


def sessions(sample: Sample, ledger: Ledger) -> None:
    """A new session between the timeout and the hard break."""
    a, law = sample.arrivals, sample.policies["sessionisation_policy_6B"]
    last: dict[tuple[int, int, int], tuple[int, int, int]] = {}  # of a key: instant, session, its first instant
    noted: dict[str, tuple[list[bool], list[float]]] = defaultdict(lambda: ([], []))
    counts: dict[int, int] = defaultdict(int)
    for i in range(len(a["ts_utc"])):
        till = a["channel_group"][i] in ("POS", "ATM")
        name = "PARTY_INSTRUMENT" if till else "PARTY_DEVICE"
        key = (int(till), int(a["party_id"][i]), int(a["instrument_id" if till else "device_id"][i]))
        rule, ts, session = law[name], int(a["ts_utc"][i]), int(a["session_id"][i])
        begun = ts
        if key in last:
            before, old, start = last[key]
            gap, span = ts - before, (rule["hard_break_s"] - rule["timeout_s"]) * 1e6
            forced = ts - start > rule["max_duration_s"] * 1_000_000 or counts[old] >= rule["max_arrivals"]
            p = (gap - rule["timeout_s"] * 1_000_000) / span
            if not forced and 0.0 < p < 1.0:
                noted[f"session broken {name}"][0].append(session != old)
                noted[f"session broken {name}"][1].append(p)
            begun = start if session == old else ts
        last[key] = (ts, session, begun)
        counts[session] += 1
    for name in sorted(noted):
        ledger.note(name, np.array(noted[name][0]), np.array(noted[name][1]))


def all_branches(sample: Sample) -> Ledger:
    """Every branch of S1."""
    ledger = Ledger()
    for judge in (parties, holdings, terminals, devices, sessions):
        judge(sample, ledger)
    return ledger
