"""Policies and world of S3 as arrays by type, campaign and row, as the twins of its kernels read them."""

from math import gcd
from types import SimpleNamespace

from naive.plan_s3 import DAY, FORMS, SECOND, running


def micros(law, name):
    """Median, sigma and bounds of a law of seconds, in microseconds."""
    median, lo, hi = (law.get(f"{name}_{x}_s", 0.0) * SECOND for x in ("median", "lo", "hi"))
    return median, law.get(f"{name}_sigma", 0.0), lo, hi


class Scripts:
    """Policies as arrays by type, campaign and world row, as the twins of the kernels read them."""

    def __init__(self, plan):
        self.plan, self.people = plan, plan.people
        self.types = plan.enums["campaign_type"][1:]
        self.script = [plan.script.get(t, {}) for t in self.types]
        template = {t["campaign_type"]: t for t in plan.templates}
        self.template = [template.get(t, {}) for t in self.types]
        self.campaigns = plan.campaigns
        self.clocks, self.forms, self.places = self.make_clocks(), self.make_forms(), self.make_places()
        self.identities, self.details = self.make_identities(), self.make_details()
        self.reports, self.prices = self.make_reports(), self.make_prices()

    def numbers(self, section, name, default=0.0):
        """A number of a section of the scripts, by type."""
        return [s.get(section, {}).get(name, default) for s in self.script]

    def cums(self, section, name, labels):
        """Cumulative weights of labels, by type."""
        return [running([s.get(section, {}).get(name, {}).get(x, 0.0) for x in labels]) for s in self.script]

    def make_clocks(self):
        clocks, kinds = [t.get("clock", {}) for t in self.template], {"VICTIM": 0, "CAMPAIGN": 1}
        return SimpleNamespace(
            kind=[kinds.get(c.get("kind"), 2) for c in clocks],
            delay=[micros(c, "delay") for c in clocks],
            gap=[micros(c, "gap") for c in clocks],
            step=[c.get("gap_s", 0.0) * SECOND for c in clocks],
            jitter=[c.get("jitter", 0.0) for c in clocks],
            start=[c.start for c in self.campaigns],
            end=[c.end for c in self.campaigns],
            base=[c.base for c in self.campaigns],
            planned=[c.planned for c in self.campaigns],
            stride=[stride_of(max(c.planned, 1)) for c in self.campaigns],
        )

    def make_forms(self):
        choices = {"FIXED": 0, "COLLUSIVE": 0, "POOL": 1, "CITY": 2, "DISTANT": 3}
        ids = sorted(self.people.merchant)
        return SimpleNamespace(
            first=[FORMS.index(x) for x in self.numbers("form", "first", "REMOTE")],
            second=[FORMS.index(x) if x else -1 for x in self.numbers("form", "second", None)],
            share=self.numbers("form", "second_share"),
            choice=[choices[x] for x in self.numbers("merchant", "choice", "POOL")],
            fixed=[c.merchant or 0 for c in self.campaigns],
            remote=[self.people.able(m, "REMOTE") for m in ids],
            present=[self.people.able(m, "PRESENT") for m in ids],
        )

    def pool(self, name, form, used):
        """Merchants of a type for a form, and their weights."""
        if form not in used:
            return [], []
        weights = self.plan.weights[name]
        if form == "TRANSFER":
            weights = {m: row.planned_weight for m, row in self.people.merchant.items()}
        able = sorted(m for m in weights if self.people.able(m, form))
        held = [m for m in able if weights[m] > 0.0]
        return able, [weights[m] if held else self.people.merchant[m].planned_weight for m in able]

    def make_places(self):
        p, kinds = self.people, ("POS", "ATM")
        lo, hi = ([[0] * 4 for _ in self.types] for _ in range(2))
        merchants, weights = [], []
        for template in self.plan.templates:
            name = template["campaign_type"]
            form = self.plan.script[name].get("form", {})
            used = [form[x] for x in ("first", "second") if x in form]
            for f, label in enumerate(FORMS):
                able, held = self.pool(name, label, used) if label != "CASH" else ([], [])
                t = self.types.index(name)
                lo[t][f], hi[t][f] = len(merchants), len(merchants) + len(able)
                merchants, weights = merchants + able, weights + held
        listed, by_city, far, far_city = [], [], [0], []
        for kind in kinds:
            windows = []
            for city in sorted(p.city):
                windows.append(len(listed))
                near = [
                    i
                    for i, t in sorted(p.terminal.items())
                    if (t.terminal_type, t.city_id) == (kind, city)
                    and p.merchant[t.merchant_id].channel_group != "HYBRID"
                ]
                listed += near
                far_city += [city] if near else []
            by_city.append([*windows, len(listed)])
            far.append(len(far_city))
        of_merchant = [0]
        for m in sorted(p.merchant):
            of_merchant.append(of_merchant[-1] + len(p.tills[m]))
        terminals = [t for _, t in sorted(p.terminal.items())]
        return SimpleNamespace(
            lo=lo,
            hi=hi,
            merchant=merchants,
            cum=running(weights),
            of_merchant=of_merchant,
            by_city=by_city,
            listed=listed,
            far=far,
            far_city=far_city,
            far_cum=running([p.city[c].population_weight for c in far_city]),
            city=[t.city_id for t in terminals],
            owner=[t.merchant_id for t in terminals],
            home=[m.city_id for _, m in sorted(p.merchant.items())],
        )

    def make_identities(self):
        p, kinds = self.people, {"STRANGER": 1, "HOUSEHOLD": 2}
        terminals = [t for _, t in sorted(p.terminal.items())]
        return SimpleNamespace(
            device=[kinds.get(x, 0) for x in self.numbers("device", "kind", "OWN")],
            address=[1 if x == "GROUPS" else 0 for x in self.numbers("address", "kind", "OWN")],
            device_own=self.numbers("device", "own_share"),
            address_own=self.numbers("address", "own_share"),
            device_spread=self.numbers("device", "spread", 1),
            address_spread=self.numbers("address", "spread", 1),
            groups=self.cums("address", "groups", self.plan.enums["ip_group"][:5]),
            token=["token" in s.get("entry", {}) for s in self.script],
            device_at=[c.device_at for c in self.campaigns],
            address_at=[c.address_at for c in self.campaigns],
            strangers=p.strangers,
            addresses=self.plan.addresses,
            group_at=self.plan.group_at,
            terminal_device=[t.device_id for t in terminals],
            terminal_address=[t.ip_id for t in terminals],
        )

    def make_details(self):
        enums, modes = self.plan.enums, self.plan.enums["entry_mode"]
        absolute = [s.get("amount", {}).get("of") == "ABSOLUTE" for s in self.script]
        laws = [
            [s.get("amount", {}).get(x, 1.0) * (100.0 if whole and x != "sigma" else 1.0) for x in names]
            for s, whole in zip(self.script, absolute, strict=True)
            for names in [("median", "sigma", "lo", "hi")]
        ]
        return SimpleNamespace(
            entry_first=[modes.index(x) for x in self.numbers("entry", "first", "NONE")],
            entry_second=[modes.index(x) if x else -1 for x in self.numbers("entry", "second", None)],
            entry_share=self.numbers("entry", "second_share"),
            three_ds=self.numbers("remote", "three_ds"),
            cvv=self.numbers("remote", "cvv_match"),
            avs=self.numbers("remote", "avs_match"),
            purposes=self.cums("payee", "purposes", enums["payment_purpose"]),
            checks=self.cums("payee", "confirmation", enums["confirmation_of_payee"]),
            internal=self.numbers("payee", "internal_share"),
            amount=laws,
            relative=[not whole for whole in absolute],
            given=[t.get("mode") == "CHAIN" for t in self.template],
            mules=self.people.mules,
            outside=self.people.outside,
        )

    def make_reports(self):
        law = self.plan.overlay["reports"]
        names = ("prompt_sigma", "slow_sigma", "filing_sigma")
        spans = {"prompt_median", "slow_median", "cut", "filing_median", "filing_cut"}
        issuer = find(self.plan.docs["issuer_policy_6B"], "reissue_days"), DAY
        virtual = find(self.plan.docs["issuer_policy_6B"], "reissue_virtual_min"), 60.0 * SECOND
        return SimpleNamespace(
            **{name: law[name] for name in names},
            **{name: law[name + "_s"] * SECOND for name in spans},
            probability=self.numbers("report", "probability"),
            prompt_share=self.numbers("report", "prompt_share"),
            horizon=self.plan.settled,
            reissue=[[r["median"] * x, r["sigma"], r["lo"] * x, r["hi"] * x] for r, x in (issuer, virtual)],
        )

    def make_prices(self):
        model, out = self.plan.docs["amount_model_6B"], SimpleNamespace(minor=[], ref_scale=[], unit=[], note=[])
        for currency in self.plan.enums["currency"]:
            rate = self.people.rate[currency]
            d = 10**rate.decimals
            step = next(10**k for k in range(7) if 10**k * rate.ref_per_major >= model["price_unit_ref"] or k == 6)
            notes = sorted(m * 10**k for k in range(7) for m in (1, 2, 5))
            note = next(n for n in notes if n * rate.ref_per_major >= model["cash"]["note_ref"])
            out.minor.append(d)
            out.ref_scale.append(rate.ref_per_major * 100.0 / d)
            out.unit.append(max(step * d, 100 if d == 1 else 0))
            out.note.append(note * d)
        cash = model["cash"]
        wholes = [model["transfers"].get(x, {}).get("whole", 0.0) for x in self.plan.enums["payment_purpose"]]
        rule = SimpleNamespace(bundle=cash["bundle"], bundle_share=cash["bundle_share"], cash_max_ref=cash["max_ref"])
        rule.transfer = [(0.0, 0.0, w) for w in wholes]
        return out, rule

    def snap(self, x, style, w, currency):
        """The ending law of S2: whole minor units of an amount."""
        model, at = self.plan.docs["amount_model_6B"], self.plan.enums["currency"].index(currency)
        tables, step = self.prices[0], model["round_step"]
        d, unit = tables.minor[at], tables.unit[at]
        n = max(1, round(x / unit))
        if style == "ONLINE" and n >= 4 * step:
            n = round(n / step) * step
        e99, e95, e00 = running([model["endings"][style][k] for k in ("p99", "p95", "p00")])
        if w < e99:
            return n * unit - max(1, d // 100)
        if w < e95:
            return n * unit - (20 if d == 1 else d // 20)
        if w < e00:
            return (round(n / step) * step if style == "ROUND" and n >= step else n) * unit
        return max(1, round(x))


def find(doc, name):
    """A section of a document, wherever it stands."""
    if name in doc:
        return doc[name]
    return next((x for x in (find(v, name) for v in doc.values() if isinstance(v, dict)) if x), None)


def stride_of(planned):
    """A step around a campaign's places that meets each of them."""
    if planned < 3:
        return 1
    s = max(int(planned * 0.6180339887498949), 1)
    while gcd(s, planned) != 1:
        s += 1
    return s
