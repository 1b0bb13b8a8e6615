"""World, policies and keys of S2 compiled in plain Python, as contracts/laws/s2.md reads them."""

from itertools import pairwise
from types import SimpleNamespace

from naive.fmath import log, ndtr
from naive.payment_codes import DAY, FEATURES, RC
from naive.streams import uniform

WORLD = (
    "merchants_1A",
    "cities_1B",
    "fx_rates_3A",
    "calendar_3B",
    "merchant_class_profile_5A",
    "arrival_events_5B",
    "issuers_6A",
    "s1_party_base_6A",
    "s2_account_base_6A",
    "s3_instrument_base_6A",
    "s4_ip_base_6A",
    "payees_6A",
)
SETS = ("NOT_PRESENT", "PRESENT", "CASH", "RAIL")
GROUPS = ("AUTHENTICATED", "NOT_AUTHENTICATED", "MERCHANT_INITIATED", "PRESENT", "CASH", "RAIL")
HAZARDS = ("05", "14", "54", "55", "N7", "61", "65", "75", "41", "43", "04", "96", "R0", "R1")
SHARED = ("MOBILE_CARRIER", "PUBLIC_SHARED", "HOSTING_DATACENTRE", "ANONYMIZER_PROXY")
SECONDS, MINUTES, HOURS, DAYS = 1e6, 6e7, 3.6e9, 8.64e10


def running(weights):
    """Sums from the left."""
    out = []
    for w in weights:
        out.append(out[-1] + w if out else w)
    return out


def law_of(doc, unit):
    """median, sigma, lo, hi in microseconds."""
    return [doc["median"] * unit, doc["sigma"], doc["lo"] * unit, doc["hi"] * unit]


class Plan:
    """All that does not depend on arrivals of a shard."""

    def __init__(self, world, manifest, docs, enums, key):
        self.world, self.enums = world, enums
        self.shape, self.model = docs["flow_shape_policy_6B"], docs["amount_model_6B"]
        self.clock, self.issuer = docs["timing_policy_6B"], docs["issuer_policy_6B"]
        self.start, self.days = manifest["horizon"]["start_day"] * DAY, manifest["horizon"]["days"]
        self.key = key
        self.decisions = docs["flow_rng_policy_6B"]["decisions"]
        self.keys = [key(d["family"], d["decision"]) for d in self.decisions]
        self.evidence = [[0, 0] for _ in self.decisions]
        self.settles = self.shape["settlement"] is not None
        self.flow_key = key("identity", "flow")
        timer = (self.clock["issuer"]["timer_s"], self.clock["issuer"]["timer_cash_s"])
        self.timer_us, self.timer_ms = [int(t * 1e6) for t in timer], [int(t * 1000) for t in timer]
        self.group = SimpleNamespace(
            merge=self.per("channel_group", self.shape["flows"]["merge"]),
            goodwill=self.per("channel_group", self.shape["flows"]["goodwill_credit"]),
            window_us=self.shape["flows"]["merge_window_min"] * 60_000_000,
            most=self.shape["flows"]["max_arrivals"],
        )
        self.money = self.currency_tables()
        self.payee_tables, self.payee = self.payees()
        self.observe = self.observables()
        self.amount_tables, self.amount = self.amounts()
        self.memories, self.decide = self.history(), self.decisions_of_issuers()
        self.places = self.census()
        self.times = self.auth_times()
        self.settle = self.settlement() if self.settles else None
        self.split = self.splits() if self.settles else None

    def codes(self, enum, labels):
        """Codes of labels; -1 for None."""
        place = {label: i for i, label in enumerate(self.enums[enum])}
        return [-1 if label is None else place[label] for label in labels]

    def per(self, enum, values, default=0.0):
        """Values by code."""
        return [values.get(label, default) for label in self.enums[enum]]

    def among(self, enum, labels):
        """Whether a code is listed."""
        return [label in labels for label in self.enums[enum]]

    def currency_tables(self):
        """Prices and notes of each currency."""
        fx = dict(zip(self.world["fx_rates_3A"]["currency"], range(1000), strict=False))
        t = SimpleNamespace(minor=[], ref_major=[], ref_scale=[], unit=[], off99=[], off95=[], note=[])
        for label in self.enums["currency"]:
            row = fx.get(label)
            d = 10 ** self.world["fx_rates_3A"]["decimals"][row] if row is not None else 1
            v = self.world["fx_rates_3A"]["ref_per_major"][row] if row is not None else 1.0
            steps = [10**k for k in range(7)]
            step = next((s for s in steps if s * v >= self.model["price_unit_ref"]), 10**6)
            notes = [m * 10**k for k in range(7) for m in (1, 2, 5)] + [10**7]
            note = next((s for s in notes if s * v >= self.model["cash"]["note_ref"]), 10**7)
            t.minor.append(float(d))
            t.ref_major.append(v)
            t.ref_scale.append(v * 100.0 / d)
            t.unit.append(max(100, step) if d == 1 else step * d)
            t.off99.append(max(1, d // 100))
            t.off95.append(20 if d == 1 else d // 20)
            t.note.append(note * d)
        return t

    def payees(self):
        """Lists of payees, and how new ones are made."""
        listed, parties = self.world["payees_6A"], self.world["s1_party_base_6A"]
        names = ("party_id", "payee_rank", "payee_account_id", "payee_bank_id", "payee_country", "purpose")
        rows = sorted(zip(*(listed[name] for name in names), strict=True))
        start = [0]
        for party in parties["party_id"]:
            start.append(start[-1] + sum(1 for r in rows[start[-1] : start[-1] + 1000] if r[0] == party))
        weights, policy = [1.0], self.shape["payees"]
        for _ in range(max((b - a for a, b in pairwise(start)), default=0)):
            weights.append(weights[-1] * policy["rank_decay"])
        tables = SimpleNamespace(
            start=start,
            account=[r[2] for r in rows],
            bank=[r[3] for r in rows],
            country=self.codes("country_iso", [r[4] for r in rows]),
            purpose=self.codes("payment_purpose", [r[5] for r in rows]),
            home=self.codes("country_iso", parties["country_iso"]),
            rank_cum=running(weights),
            fresh=max([len(self.world["s2_account_base_6A"]["account_id"]), *listed["payee_account_id"]]),
        )
        rule = SimpleNamespace(
            new_share=policy["new_share"],
            new_abroad=policy["new_abroad"],
            new_close=policy["name_check_new"]["close"],
            new_none=policy["name_check_new"]["none"],
            new_away=policy["name_check_new"]["unavailable"],
            known_close=policy["name_check_known"]["close"],
            known_away=policy["name_check_known"]["unavailable"],
            banks=policy["new_banks"],
            purpose_cum=running(self.per("payment_purpose", policy["new_purpose"])),
            abroad=sorted(self.codes("country_iso", self.shape["regions"]["sca"])),
        )
        return tables, rule

    def observables(self):
        """What requests show."""
        n, p, rail = self.shape["not_present"], self.shape["present"], self.shape["payees"]
        return SimpleNamespace(
            on_file=n["card_on_file"],
            keyed=n["keyed"],
            network_token=n["network_token_on_file"],
            attempted=n["attempted"],
            **n["three_ds"],
            **n["exemption"],
            low_value_max=n["low_value_max_ref"],
            tra_max=n["tra_max_ref"],
            cvv_present=n["cvv_present"],
            cvv_mismatch=n["cvv_mismatch"],
            address_mismatch=n["address_mismatch"],
            contactless=p["contactless"],
            contactless_max=p["contactless_max_ref"],
            fallback=p["fallback"],
            present_keyed=p["keyed"],
            cash_contactless=p["cash_contactless"],
            cash_fallback=p["cash_fallback"],
            rail_trusted=rail["trusted"],
            rail_low_value_max=rail["low_value_max_ref"],
            sca=self.among("country_iso", self.shape["regions"]["sca"]),
            address=self.among("country_iso", self.shape["regions"]["address_check"]),
            signature=self.among("country_iso", self.shape["regions"]["signature"]),
        )

    def amounts(self):
        """Medians of merchants and parties, and the law."""
        merchants, parties = self.world["merchants_1A"], self.world["s1_party_base_6A"]
        m, purchase = self.model, self.model["purchase"]
        pairs = zip(merchants["demand_class"], merchants["amount_level"], strict=True)
        tables = SimpleNamespace(
            merchant_median=[purchase["class"][label] * level for label, level in pairs],
            style=self.codes("ending_style", merchants["ending_style"]),
            party_kind=self.codes("party_type", parties["party_type"]),
            party_level=parties["amount_level"],
            price_level=self.world["cities_1B"]["price_level"],
        )
        none = {"median": 0.0, "sigma": 0.0, "whole": 0.0}
        laws = self.per("payment_purpose", m["transfers"], none)
        rule = SimpleNamespace(
            median=self.per("channel_group", purchase["median"]),
            kind=self.per("party_type", purchase["kind"]),
            sigma=self.per("party_type", purchase["sigma"]),
            z_low=ndtr(purchase["z_lo"]),
            z_high=ndtr(purchase["z_hi"]),
            transfer=[[x["median"], x["sigma"], x["whole"]] for x in laws],
            endings=[running([m["endings"][s][p] for p in ("p99", "p95", "p00")]) for s in self.enums["ending_style"]],
            round_step=m["round_step"],
            cash_median=m["cash"]["median"],
            cash_sigma=m["cash"]["sigma"],
            bundle=m["cash"]["bundle"],
            bundle_share=m["cash"]["bundle_share"],
            cash_max_ref=m["cash"]["max_ref"],
            credit_lo=m["credit"]["fraction_lo"],
            credit_hi=m["credit"]["fraction_hi"],
        )
        return tables, rule

    def history(self):
        """Memories."""
        h = self.issuer["history"]
        return SimpleNamespace(
            hour_s=h["hour_s"],
            day_s=h["day_s"],
            burst_s=h["burst_s"],
            decline_s=h["decline_s"],
            spend_s=h["spend_days"] * 86400,
            mean_flows=float(h["mean_flows"]),
            trust=h["trust"],
            short_us=int(h["short_of_funds_h"] * 3.6e9),
            short_factor=h["short_of_funds_factor"],
            strikes_us=int(h["strikes_h"] * 3.6e9),
            travel_km=h["travel"]["km"],
            slow_kmh=h["travel"]["slow_kmh"],
            fast_kmh=h["travel"]["fast_kmh"],
        )

    def outages_of(self, k):
        """(from, to, end of the trouble) of an issuer."""
        law = self.issuer["outages"]
        key = self.key("rng_event_issuer_decision", "ISSUER_OUTAGE")
        lo, hi = law["per_90_days"]["lo"], law["per_90_days"]["hi"]
        count = lo + int(uniform(key, k * 65536) * (hi - lo + 1))
        rows = []
        for j in range(min(30000, round(count * self.days / 90.0))):
            begin = self.start + int(uniform(key, k * 65536 + 1 + 2 * j) * self.days * 86400000000)
            bounds = law["minutes"]
            minutes = bounds["lo"] + uniform(key, k * 65536 + 2 + 2 * j) * (bounds["hi"] - bounds["lo"])
            length = int(minutes * 6e7)
            rows.append([begin, begin + length, begin + length + int(length * law["after_factor"])])
        return rows

    def decisions_of_issuers(self):
        """Scores, thresholds, shares, clocks and outages."""
        p, clock = self.issuer, self.clock["issuer"]
        issuers = range(len(self.world["issuers_6A"]["issuer_id"]))
        law, key = clock["latency_ms"], self.key("rng_event_issuer_decision", "ISSUER_LATENCY")
        sigma, latency = law["sigma"], []
        for k in issuers:
            median = law["median"] * (1.0 + clock["spread"] * (2.0 * uniform(key, k) - 1.0))
            low = ndtr(log(law["lo"] / median) / sigma)
            card, cash = (ndtr(log(ms / median) / sigma) for ms in self.timer_ms)
            latency.append([median, low, card, low, cash])
        outages = [self.outages_of(k) for k in issuers]
        steps = ("intercept", "large", "risk", "exempt", "regulated", "new_payee")
        declines, blocks, out = p["declines"], p["blocks"], p["outages"]
        retries = [p["retries"][name] for name in ("unavailable", "funds")]
        return SimpleNamespace(
            coef=[[float(p["risk"][name].get(f, 0.0)) for f in FEATURES] for name in SETS],
            thresholds=[[p["thresholds"][name][t] for t in ("alert", "decline", "again", "block")] for name in SETS],
            step=[[x.get(s, 0.0) for s in steps] for x in self.per("channel_group", p["step_up"], {})],
            abandoned=p["step_up"]["abandoned"],
            soft_retry=p["step_up"]["soft_retry"],
            after_share=out["after_share"],
            timeout=out["timeout"],
            floor_ref=out["floor_ref"],
            approve=out["approve"],
            outside=out["outside_floor"],
            retry_share=[r["share"] for r in retries],
            retry_success=[r["success"] for r in retries],
            funds=[declines[g]["funds"] for g in GROUPS],
            soft=[declines[g].get("soft", 0.0) for g in GROUPS],
            hazard_cum=[running([declines[g].get(c, 0.0) for c in HAZARDS]) for g in GROUPS],
            hazard_code=[[RC[c] for c in HAZARDS] for _ in GROUPS],
            check_failed=p["check_failed_decline"],
            hold=[law_of(blocks["hold_h"], HOURS), law_of(blocks["reissue_virtual_min"], MINUTES)],
            lost_share=blocks["lost_share"],
            latency=latency,
            latency_sigma=sigma,
            stand_in_ms=int(clock["stand_in_ms"]),
            timer_ms=self.timer_ms,
            outage_start=running([0] + [len(rows) for rows in outages]),
            outage=[row for rows in outages for row in rows],
        )

    def census(self):
        """What is watched, and empty counts."""
        law = self.issuer["census"]
        merchants, ips = self.world["merchants_1A"], self.world["s4_ip_base_6A"]
        total = dict(
            zip(*(self.world["merchant_class_profile_5A"][c] for c in ("merchant_id", "arrivals_total")), strict=True)
        )
        busy = sorted((m for m in total if total[m] > 0), key=lambda m: (-total[m], m))[: law["merchants"]]
        shared = [i for i, group in enumerate(ips["ip_group"]) if group in SHARED][: law["addresses"]]
        merchant_slot, ip_slot = [-1] * len(merchants["merchant_id"]), [-1] * len(ips["ip_id"])
        for slot, m in enumerate(busy):
            merchant_slot[m - 1] = slot
        for slot, i in enumerate(shared):
            ip_slot[i] = slot
        return SimpleNamespace(
            ip_group=self.codes("ip_group", ips["ip_group"]),
            ip_country=self.codes("country_iso", ips["country_iso"]),
            risky=[label in self.issuer["risk"]["risky_classes"] for label in merchants["demand_class"]],
            merchant_slot=merchant_slot,
            ip_slot=ip_slot,
            merchant_hours=[[0] * (24 * self.days) for _ in busy],
            ip_days=[[0] * self.days for _ in shared],
            usual=[total[m] / (self.days * 24.0) for m in busy],
            per_day=law["address_per_day"],
            start_us=self.start,
        )

    def auth_times(self):
        """Ways through the network, and delays."""
        c = self.clock
        z = c["network"]["z"]
        step, s = c["step_up"], c["settlement"]
        ways = []
        for name in ("send_ms", "return_ms"):
            way = c["network"][name]
            ways.append([way["median"] * 1000.0, way["sigma"], ndtr(-z), ndtr(z)])
        laws = [law_of(step["cardholder_s"], SECONDS), law_of(step["give_up_s"], SECONDS)]
        laws += [law_of(c["retry_s"][name], SECONDS) for name in ("unavailable", "funds")]
        if s is not None:
            laws += [law_of(s["reversal_min"], MINUTES), law_of(s["return_h"], HOURS), law_of(s["refund_days"], DAYS)]
        return SimpleNamespace(
            send=ways[0],
            back=ways[1],
            laws=laws,
            step_us=int(step["base_s"] * 1e6),
            timeout_us=int(step["timeout_s"] * 1e6),
            timed_out=step["timed_out"],
            timer_us=self.timer_us,
        )

    def settlement(self):
        """Shares, days and the calendar."""
        s, clock, model = self.shape["settlement"], self.clock["settlement"], self.model["settlement"]
        merchants, calendar = self.world["merchants_1A"], self.world["calendar_3B"]
        back = {"ATM": s["reversal"]["ATM"], "BANK_RAIL": s["returned"]}
        by_country = {label: [] for label in self.enums["country_iso"]}
        for label, day, works in zip(*(calendar[c] for c in ("country_iso", "day", "is_business_day")), strict=True):
            by_country[label].append((day, works))
        days = {label: [d for d, works in sorted(rows) if works] for label, rows in by_country.items()}
        before = {
            label: [sum(1 for e in days[label] if e < d) for d, _ in sorted(rows)] for label, rows in by_country.items()
        }
        return SimpleNamespace(
            reversal=self.per("channel_group", back, s["reversal"]["card"]),
            refund=self.per("channel_group", s["refund"]),
            recalled=s["recalled"],
            full=s["refund_full"],
            partial=s["partial_clearing"],
            late=s["late"],
            fuel=s["fuel_adjusted"],
            tip=[s["tip"]["elsewhere"], s["tip"]["custom"]],
            style=self.codes("ending_style", merchants["ending_style"]),
            tips=[label in s["tip_classes"] for label in merchants["demand_class"]],
            tipping=self.among("country_iso", s["tip"]["countries"]),
            laws=self.times.laws,
            cutoff_us=int(clock["cutoff_hour"] * 3.6e9),
            batch_us=int(clock["batch_hour"] * 3.6e9),
            jitter_us=int(clock["jitter_min"] * 6e7),
            lag_cum=running(clock["lag_weights"]),
            late_days=[clock["late_days"]["lo"], clock["late_days"]["hi"]],
            second_days=[clock["second_days"]["lo"], clock["second_days"]["hi"]],
            bounds=[[model[k]["lo"], model[k]["hi"]] for k in ("tip", "fuel", "refund")],
            first_day=min(calendar["day"]),
            day_slot=[before[label] for label in self.enums["country_iso"]],
            business=[days[label] for label in self.enums["country_iso"]],
        )

    def splits(self):
        """Places of events between two instants."""
        split, share = self.clock["settlement"]["split"], self.model["settlement"]["first_shipment"]

        def bounds(name):
            return [int(split[name][end] * 1e6) for end in ("lo", "hi")]

        return SimpleNamespace(
            first_us=bounds("first_response_s"),
            challenge_us=bounds("challenge_s"),
            resend_us=bounds("resend_s"),
            shipment=[share["lo"], share["hi"]],
            timer_us=self.timer_us,
        )
