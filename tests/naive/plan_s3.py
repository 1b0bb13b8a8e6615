"""World, policies and keys of S3 compiled in plain Python: campaigns, census, quotas, pools (contracts/laws/s3.md)."""

from collections import defaultdict
from types import SimpleNamespace

from naive.campaigns import mule_chains
from naive.census import largest_remainder
from naive.idmap import encode_id
from naive.keys import run_keys
from naive.plan_s4 import rows_of
from naive.sampling import lognormal_truncated, poisson
from naive.streams import draw, mix64, pick_cdf

SECOND, DAY = 1_000_000.0, 86_400_000_000
FORMS = ("REMOTE", "PRESENT", "CASH", "TRANSFER")
WORLD = (
    "arrival_events_5B",
    "cities_1B",
    "cohorts_6A",
    "fx_rates_3A",
    "issuers_6A",
    "merchants_1A",
    "payees_6A",
    "terminals_2B",
    "s1_party_base_6A",
    "s2_account_base_6A",
    "s3_instrument_base_6A",
    "s4_device_base_6A",
    "s4_device_links_6A",
    "s4_ip_base_6A",
    "s4_ip_links_6A",
    "s5_device_fraud_roles_6A",
    "s5_merchant_fraud_roles_6A",
    "s5_party_fraud_roles_6A",
)


def running(weights):
    """Sums from left to right."""
    total, out = 0.0, []
    for w in weights:
        total += w
        out.append(total)
    return out


def first_by(rows, key, value):
    """Value of the first row of each key."""
    found = {}
    for row in rows:
        found.setdefault(getattr(row, key), getattr(row, value))
    return found


class People:
    """World rows by id, and what hangs on them."""

    def __init__(self, world):
        table = {name: rows_of(world[name]) for name in WORLD}
        self.party = {p.party_id: p for p in table["s1_party_base_6A"]}
        for r in table["s5_party_fraud_roles_6A"]:
            self.party[r.party_id].role, self.party[r.party_id].tier = r.fraud_role_party, r.risk_tier
        self.account = {a.account_id: a for a in table["s2_account_base_6A"]}
        self.instrument = {n.instrument_id: n for n in table["s3_instrument_base_6A"]}
        handles = [n for n in table["s3_instrument_base_6A"] if n.instrument_kind == "BANK_HANDLE"]
        self.handle = first_by(handles, "account_id", "instrument_id")
        self.device = {d.device_id: d for d in table["s4_device_base_6A"]}
        for r in table["s5_device_fraud_roles_6A"]:
            self.device[r.device_id].role = r.fraud_role_device
        self.own_device = first_by(table["s4_device_links_6A"], "party_id", "device_id")
        self.own_address = first_by(table["s4_ip_links_6A"], "device_id", "ip_id")
        self.address = {i.ip_id: i for i in table["s4_ip_base_6A"]}
        self.head = {c.cohort_id: c.first_party_id for c in table["cohorts_6A"]}
        self.city = {c.city_id: c for c in table["cities_1B"]}
        self.issuer_country = {i.issuer_id: i.country_iso for i in table["issuers_6A"]}
        self.rate = {r.currency: r for r in table["fx_rates_3A"]}
        self.terminal = {t.terminal_id: t for t in table["terminals_2B"]}
        self.merchant = {m.merchant_id: m for m in table["merchants_1A"]}
        for r in table["s5_merchant_fraud_roles_6A"]:
            self.merchant[r.merchant_id].role = r.fraud_role_merchant
        self.tills = defaultdict(list)
        for t in sorted(self.terminal):
            self.tills[self.terminal[t].merchant_id].append(t)
        self.mules = [
            a for a, row in self.account.items() if row.ledger_class == "DEPOSIT" and self.owner(a).role == "MULE"
        ]
        self.strangers = [d for d, row in self.device.items() if row.device_origin == "UNOWNED"]
        self.outside = max([len(self.account), *(p.payee_account_id for p in table["payees_6A"])])

    def owner(self, account):
        """Row of an account's owner."""
        return self.party[self.account[account].owner_party_id]

    def pool(self, groups):
        """Addresses of the five groups before MERCHANT, and where each group begins."""
        out, at = [], [0]
        for group in groups[:5]:
            out += sorted(i for i, row in self.address.items() if row.ip_group == group)
            at.append(len(out))
        return out, at

    def able(self, merchant, form):
        """Whether a merchant can do a form."""
        m = self.merchant[merchant]
        if form == "REMOTE":
            return m.channel_group in ("ECOM", "HYBRID")
        if form == "PRESENT":
            return m.channel_group == "POS" and bool(self.tills[merchant])
        if form == "TRANSFER":
            rails = any(x.channel_group == "BANK_RAIL" for x in self.merchant.values())
            return m.channel_group == "BANK_RAIL" or not rails
        return False


class Plan:
    """Plan 1 and 2; `evidence` counts the draws of the plan and of all shards."""

    def __init__(self, world, manifest, docs, enums, seed, scenario):
        self.docs, self.enums, self.people = docs, enums, People(world)
        self.catalogue = docs["fraud_campaign_catalogue_config_6B"]
        self.overlay = docs["fraud_overlay_policy_6B"]
        self.script = {s["campaign_type"]: s for s in self.overlay["scripts"]}
        self.arrivals = len(world["arrival_events_5B"]["ts_utc"])
        self.start, self.end = manifest["horizon"]["start_us"], manifest["horizon"]["end_us"]
        self.settled = self.end + 210 * DAY
        self.shards, self.cohort_key = manifest["shards"], int(manifest["cohort_key"], 16)
        key = run_keys(manifest["manifest_fingerprint"], seed, scenario)
        self.ids = {kind: key("identity", kind) for kind in ("flow", "session", "campaign", "incident", "lane")}
        decisions = docs["fraud_rng_policy_6B"]["decisions"]
        self.names = [d["decision"] for d in decisions]
        self.slots = [d["slots"] for d in decisions]
        self.keys = [key(d["family"], d["decision"]) for d in decisions]
        self.evidence = [[0, 0] for _ in decisions]
        self.streams = SimpleNamespace(keys=self.keys, evidence=self.evidence)
        self.templates = self.catalogue["templates"]
        self.weights = {t["campaign_type"]: self.merchant_weights(t) for t in self.templates}
        self.addresses, self.group_at = self.people.pool(enums["ip_group"])
        self.campaigns = self.activate() if self.arrivals else []
        self.fixed = {a: self.campaign_at(a) for a in self.people.account}
        self.legs = []

    def u(self, decision, ordinal, j):
        """An accounted uniform."""
        return draw(self.keys, decision, ordinal * self.slots[decision] + j, self.evidence)

    def type_row(self, name):
        """Row of a type in arrays by type."""
        return self.enums["campaign_type"].index(name) - 1

    def merchant_weights(self, template):
        """Weight of every merchant for the scripts of a type."""
        law = self.script[template["campaign_type"]].get("merchant", {})
        merchants = self.people.merchant.values()
        weights = {m.merchant_id: m.planned_weight for m in merchants}
        if law.get("choice") == "COLLUSIVE":
            inside = {m.merchant_id for m in merchants if m.role == "COLLUSIVE"}
        else:
            inside = {m.merchant_id for m in merchants if m.demand_class in law.get("classes", ())}
            for m in merchants:
                if m.role in ("HIGH_RISK_MCC", "MSB", "COLLUSIVE"):
                    weights[m.merchant_id] *= law.get("risk_factor", 1.0)
        return {m: w if not inside or m in inside else 0.0 for m, w in weights.items()}

    def runs(self):
        """Run of lanes of each template."""
        lanes, out = self.catalogue["lanes"], {}
        numbered = [t for t in self.templates if t["lanes"] != "ALL"]
        cum = running([t["lanes"] for t in numbered])
        bounds = [0, *(int(lanes * c / cum[-1]) for c in cum)]
        for i, t in enumerate(numbered):
            out[t["template_id"]] = bounds[i], bounds[i + 1]
        return {t["template_id"]: out.get(t["template_id"], (0, lanes)) for t in self.templates}

    def activate(self):
        """Instances of all templates, with windows, sizes, offsets and fixed merchants."""
        runs, out = self.runs(), []
        for template in self.templates:
            t, (lo, hi) = self.type_row(template["campaign_type"]), runs[template["template_id"]]
            mean = min(template["per_million"] * self.arrivals / 1000000.0, 600.0)
            n = max(1, min(poisson(self.u(0, t * 64, 0), mean, 64), hi - lo))
            if template["campaign_type"] == "MULE_ACTIVITY":
                n = min(n, max(1, len(self.people.mules) // 2))
            taken = set()
            for k in range(n):
                lanes = lo + (hi - lo) * k // n, lo + (hi - lo) * (k + 1) // n
                out.append(self.schedule(template, k, n, t * 64 + k, lanes, taken))
        return out

    def schedule(self, template, k, n, slot, lanes, taken):
        """One campaign."""
        u = [self.u(1, slot, j) for j in range(6)]
        start, end = self.window(template["window"], u)
        strangers, addresses = len(self.people.strangers), len(self.addresses)
        since, until = self.anchors(template, start, end)
        return SimpleNamespace(
            template=template,
            type=template["campaign_type"],
            index=k,
            of=n,
            slot=slot,
            lanes=lanes,
            start=start,
            end=end,
            anchor_from=since,
            anchor_to=until,
            size=0.25 + u[3],
            device_at=int(u[4] * max(strangers, 1)),
            address_at=int(u[5] * max(addresses, 1)),
            merchant=self.fixed_merchant(template, u[2], taken),
            id=encode_id(self.ids["campaign"], slot),
            base=8 * self.arrivals + slot * (self.arrivals // 4 + 64),
            eligible=defaultdict(int),
            planned=0,
            quota={},
            first={},
        )

    def window(self, law, u):
        """First instant, and the first after."""
        if law["kind"] == "WHOLE":
            return self.start, self.end
        hi = min(law["days_hi"] * DAY, float(self.end - self.start))
        lo = min(law["days_lo"] * DAY, hi / 2.0)
        length = int(lognormal_truncated(u[0], law["days_median"] * DAY, law["days_sigma"], lo, hi))
        earliest = self.start + int(law["earliest"] * (self.end - self.start))
        room = max(self.end - length - earliest, 0)
        start = self.end - length - room + int(u[1] * room)
        return start, start + length

    def anchors(self, template, start, end):
        """Window in which an anchor may lie."""
        clock = template["clock"]
        if clock["kind"] == "CAMPAIGN":
            return self.start, self.end
        if template["mode"] == "NEW" and clock["kind"] == "VICTIM":
            cap = template["episode"]["cap"]
            return start, end - int(clock["delay_lo_s"] * SECOND + (cap - 1) * (clock["gap_lo_s"] * SECOND)) - 2
        return start, end

    def fixed_merchant(self, template, u, taken):
        """The campaign's merchant, not one of its type's earlier campaigns while others are left."""
        script = self.script[template["campaign_type"]]
        if script.get("merchant", {}).get("choice") not in ("FIXED", "COLLUSIVE"):
            return None
        forms = [script["form"][place] for place in ("first", "second") if place in script["form"]]
        weights = self.weights[template["campaign_type"]]
        able = [m for m, w in weights.items() if w > 0.0 and any(self.people.able(m, f) for f in forms)]
        if not able:
            return None
        j = pick_cdf(running([weights[m] for m in able]), u, 0, len(able))
        while able[j] in taken and len(taken) < len(able):
            j = (j + 1) % len(able)
        taken.add(able[j])
        return able[j]

    def campaign_at(self, account):
        """The campaign whose run holds the account's lane, or None."""
        role = self.people.owner(account).role
        lane = mix64(self.ids["lane"] ^ account) % self.catalogue["lanes"]
        whole = [t for t in self.templates if t["lanes"] == "ALL" and role in t["domain"]["party_roles"]]
        among = whole or [t for t in self.templates if t["lanes"] != "ALL"]
        names = {t["template_id"] for t in among}
        held = [c for c in self.campaigns if c.template["template_id"] in names and c.lanes[0] <= lane < c.lanes[1]]
        return held[0] if held else None

    def account_fits(self, template, account):
        """Whether an account and its owner fit a type."""
        domain, owner = template["domain"], self.people.owner(account)
        return (
            self.people.account[account].ledger_class in domain["ledgers"]
            and owner.party_type in domain["party_types"]
            and owner.role in domain["party_roles"]
        )

    def fits(self, template, account, channel, kind):
        """Whether a row fits a type."""
        domain = template["domain"]
        inside = channel in domain["channels"] and kind in domain["instrument_kinds"]
        return inside and self.account_fits(template, account)

    def census(self, shards):
        """Count the arrivals of all shards, then set all quotas."""
        domain = defaultdict(int)
        for s, arrivals in enumerate(shards):
            for a in rows_of(arrivals):
                if a.pinned_is_credit:
                    continue
                c, row = self.fixed[a.account_id], (a.account_id, a.channel_group, a.instrument_kind)
                for template in self.templates:
                    domain[template["campaign_type"]] += self.fits(template, *row)
                if c and self.fits(c.template, *row) and c.anchor_from <= a.ts_utc < c.anchor_to:
                    c.eligible[s] += 1
        for template in self.templates:
            self.share_out(template, domain[template["campaign_type"]])
        self.plan_chains()

    def share_out(self, template, count):
        """Planned flows of a type's campaigns, their quotas and first ordinals by shard."""
        mine = [c for c in self.campaigns if c.template is template]
        if not mine:
            return
        chain = template["mode"] == "CHAIN"
        total = round(template["share"] * (self.arrivals if chain else count))
        weights = [c.size if chain else float(sum(c.eligible.values())) * c.size for c in mine]
        planned = [0] * len(mine)
        largest_remainder(total, weights, planned)
        if not any(w > 0.0 for w in weights):
            planned[0] = total
        for c, q in zip(mine, planned, strict=True):
            c.planned, quota, at = q, [0] * self.shards, c.base
            if not chain:
                largest_remainder(q, [float(c.eligible[s]) for s in range(self.shards)], quota)
            for s in range(self.shards):
                c.quota[s], c.first[s] = quota[s], at
                at += quota[s]

    def plan_chains(self):
        """Legs of all mule campaigns."""
        for c in (c for c in self.campaigns if c.template["mode"] == "CHAIN"):
            mine = [a for a, held in self.fixed.items() if held is c]
            victims = [a for a in mine if self.account_fits(c.template, a)]
            mules = self.people.mules[c.index :: c.of]
            if not victims or not mules or not c.planned:
                continue
            clock, amount = c.template["clock"], self.script[c.type]["amount"]
            law = SimpleNamespace(**clock, start=self.start, end=self.end, sigma=amount["sigma"])
            law.gap_median, law.gap_lo, law.gap_hi = (clock[f"gap_{x}_s"] * SECOND for x in ("median", "lo", "hi"))
            law.median, law.lo, law.hi = (amount[x] * 100.0 for x in ("median", "lo", "hi"))
            names = ("campaign", "incident", "ordinal", "ts", "first_ts", "layer", "payer", "payee", "amount")
            legs = SimpleNamespace(**{name: [0] * c.planned for name in names})
            mule_chains(0, c.planned, c.base, (victims, mules), law, self.streams, legs)
            for i in range(c.planned):
                leg = SimpleNamespace(**{name: getattr(legs, name)[i] for name in names})
                leg.campaign = c
                self.legs.append(leg)

    def shard_of(self, account):
        """Shard of an account's owner."""
        return mix64(self.cohort_key ^ self.people.owner(account).cohort_id) % self.shards
