"""S2 as a whole in plain Python: world rows, policies, keys and S1's rows in, every published column out.

Written from contracts/laws/s2.md. Tables are dictionaries of lists: null is None, instants are microseconds, enums are
labels; columns in between are codes and 0 for null.
"""

from types import SimpleNamespace

from naive.amounts import price_flows
from naive.busy import count_busy
from naive.events import build_auth_events, build_events, count_events
from naive.flows import assign_flows, choose_payees, observe_flows
from naive.idmap import encode_id
from naive.issuer import issuer_decide
from naive.issuer_risk import request_logits
from naive.keys import run_keys
from naive.payment_codes import BIT_GOODWILL, BIT_MERGED, CREDIT, REPORT
from naive.plan_s2 import Plan
from naive.settle import settle_flows, time_auth

ENUM_OF = {
    "merchant_country": "country_iso",
    "payee_country": "country_iso",
    "tz": "tzid",
    "first_response_code": "response_code",
    "cvv_result": "check_result",
    "avs_result": "check_result",
    "purpose": "payment_purpose",
}
NULLABLE = (
    "instrument_id",
    "terminal_id",
    "series_key",
    "clear_ts_utc",
    "refund_ts_utc",
    "reversal_ts_utc",
    "payee_account_id",
    "payee_bank_id",
)
SAME = (
    "merchant_id",
    "arrival_seq",
    "party_id",
    "account_id",
    "instrument_id",
    "device_id",
    "ip_id",
    "ts_utc",
    "session_id",
    "city_id",
    "terminal_id",
    "series_key",
)


def zeros(names, n, value=0):
    """Columns of zeros."""
    return SimpleNamespace(**{name: [value] * n for name in names.split()})


def whole(column):
    """Null as 0."""
    return [v or 0 for v in column]


class Shard:
    """Flows of one shard, column by column."""

    def __init__(self, plan, arrivals, ordinals):
        self.p, self.a = plan, arrivals
        place = zip(arrivals["merchant_id"], arrivals["arrival_seq"], strict=True)
        self.ordinals = [ordinals[key] for key in place]
        self.channels = plan.codes("channel_group", arrivals["channel_group"])

    def world(self, table, column, ids, default=0):
        """Values of a table by id; the default for 0."""
        values = self.p.world[table][column]
        if column in self.p.enums or column in ENUM_OF:
            values = self.p.codes(ENUM_OF.get(column, column), values)
        return [values[i - 1] if i else default for i in ids]

    def group(self):
        """Flows and links; columns that the first arrival and the world give."""
        a, p, n = self.a, self.p, len(self.ordinals)
        numbers = {}
        rows = SimpleNamespace(
            ordinal=self.ordinals,
            ts=a["ts_utc"],
            session=[numbers.setdefault(s, len(numbers)) for s in a["session_id"]],
            merchant=a["merchant_id"],
            instrument=whole(a["instrument_id"]),
            series=whole(a["series_key"]),
            channel=self.channels,
            pinned=[bool(v) for v in a["pinned_instrument_id"]],
        )
        out = zeros("flow rank first size goodwill", n)
        count = assign_flows(rows, p.group, p.keys, p.evidence, [-1] * len(numbers), out)
        first = self.first = out.first[:count]
        self.n, self.goodwill = count, out.goodwill[:count]
        self.ordinal = [8 * self.ordinals[i] for i in first]
        f = {name: [a[name][i] or 0 for i in first] for name in SAME}
        f["flow_id"] = [encode_id(p.flow_key, x) for x in self.ordinal]
        f["tz"] = p.codes("tzid", [a["zone_representation"][i] for i in first])
        f["channel_group"] = [self.channels[i] for i in first]
        f["arrival_count"] = out.size[:count]
        f["is_pinned"] = [rows.pinned[i] for i in first]
        f["pinned_label"] = [a["pinned_label"][i] for i in first]
        pairs = zip(self.goodwill, first, strict=True)
        self.credit = [bool(g or (rows.pinned[i] and a["pinned_is_credit"][i])) for g, i in pairs]
        self.pinned_amount = [(a["pinned_amount_minor"][i] or 0) if rows.pinned[i] else 0 for i in first]
        f["branch_trace"] = [
            (BIT_MERGED if size > 1 else 0) | (BIT_GOODWILL if good else 0)
            for size, good in zip(f["arrival_count"], self.goodwill, strict=True)
        ]
        for name in ("mcc", "acquirer_id", "currency"):
            f[name] = self.world("merchants_1A", name, f["merchant_id"])
        f["merchant_country"] = self.world("cities_1B", "country_iso", f["city_id"])
        cards = f["instrument_id"]
        of_account = self.world("s2_account_base_6A", "issuer_id", f["account_id"])
        of_card = self.world("s3_instrument_base_6A", "issuer_id", cards)
        f["issuer_id"] = [i or j for i, j in zip(of_card, of_account, strict=True)]
        f["bin"] = self.world("s3_instrument_base_6A", "bin", cards)
        self.kind = self.world("s3_instrument_base_6A", "instrument_kind", cards, -1)
        self.product = self.world("s3_instrument_base_6A", "instrument_type", cards, -1)
        self.scheme = self.world("s3_instrument_base_6A", "scheme", cards, -1)
        self.issuer_country = self.world("issuers_6A", "country_iso", f["issuer_id"])
        self.f = f
        links = {name: a[name] for name in ("merchant_id", "arrival_seq")}
        links["flow_id"] = [f["flow_id"][k] for k in out.flow]
        return {**links, "session_id": a["session_id"], "link_rank": out.rank}

    def request(self):
        """Payees, amounts and what the request shows."""
        f, p, n = self.f, self.p, self.n
        to = zeros("account bank country fresh purpose check", n)
        columns = self.ordinal, f["channel_group"], f["party_id"], f["series_key"]
        choose_payees(*columns, p.payee_tables, p.payee, p.keys, p.evidence, to)
        f.update(payee_account_id=to.account, payee_bank_id=to.bank, payee_country=to.country)
        f.update(is_new_payee=to.fresh, purpose=to.purpose, confirmation_of_payee=to.check)
        keys = SimpleNamespace(
            ordinal=self.ordinal,
            series=f["series_key"],
            merchant=f["merchant_id"],
            party=f["party_id"],
            city=f["city_id"],
            pinned=self.pinned_amount,
            channel=f["channel_group"],
            currency=f["currency"],
            purpose=to.purpose,
            goodwill=self.goodwill,
        )
        minor, ref = [0] * n, [0] * n
        price_flows(keys, p.amount_tables, p.money, p.amount, p.keys, p.evidence, minor, ref)
        f.update(amount_minor=minor, amount_ref_minor=ref, amount=self.major(minor, f["currency"]))
        shown = zeros("entry cvm three_ds exemption cvv avs token", n)
        keys = SimpleNamespace(
            ordinal=self.ordinal,
            series=f["series_key"],
            amount_ref=ref,
            channel=f["channel_group"],
            kind=self.kind,
            product=self.product,
            issuer_country=self.issuer_country,
            merchant_country=f["merchant_country"],
            purpose=to.purpose,
            new_payee=to.fresh,
        )
        observe_flows(keys, p.observe, p.keys, p.evidence, shown)
        f.update(entry_mode=shown.entry, cvm=shown.cvm, three_ds=shown.three_ds, sca_exemption=shown.exemption)
        f.update(cvv_result=shown.cvv, avs_result=shown.avs, token_wallet=shown.token)

    def major(self, minor, currency):
        """Minor units in major ones."""
        return [x / self.p.money.minor[c] for x, c in zip(minor, currency, strict=True)]

    def logits(self):
        """The part of the score that does not depend on history."""
        f = self.f
        observed = SimpleNamespace(
            ts=f["ts_utc"],
            merchant=f["merchant_id"],
            ip=f["ip_id"],
            amount_ref=f["amount_ref_minor"],
            channel=f["channel_group"],
            entry=f["entry_mode"],
            cvm=f["cvm"],
            three_ds=f["three_ds"],
            cvv=f["cvv_result"],
            avs=f["avs_result"],
            issuer_country=self.issuer_country,
            merchant_country=f["merchant_country"],
            payee_country=f["payee_country"],
            name_check=f["confirmation_of_payee"],
            new_payee=f["is_new_payee"],
        )
        out = [0.0] * self.n
        request_logits(observed, self.p.places, self.p.decide.coef, out)
        return out

    def decide(self, redo=None, blocks=()):
        """The issuer, over all flows in time; rows outside `redo` stay. `blocks`: (instrument, begin, end)."""
        f, p, n = self.f, self.p, self.n
        numbers = {"account": {}, "card": {}, "device": {}}

        def number(kind, key):
            return numbers[kind].setdefault(key, len(numbers[kind]))

        account = [number("account", x) for x in f["account_id"]]
        pairs = zip(f["instrument_id"], f["account_id"], strict=True)
        card = [number("card", ("card", i) if i else ("account", x)) for i, x in pairs]
        device = [number("device", x) for x in f["device_id"]]
        requests = SimpleNamespace(
            logit=self.logits(),
            ordinal=self.ordinal,
            ts=f["ts_utc"],
            merchant=f["merchant_id"],
            city=f["city_id"],
            amount_ref=f["amount_ref_minor"],
            issuer=f["issuer_id"],
            channel=f["channel_group"],
            entry=f["entry_mode"],
            exemption=f["sca_exemption"],
            cvv=f["cvv_result"],
            kind=self.kind,
            scheme=self.scheme,
            new_payee=f["is_new_payee"],
            pinned=f["is_pinned"],
            credit=self.credit,
            account=account,
            card=card,
            device=device,
            device_id=f["device_id"],
            unit=list(zip(*(p.world["cities_1B"][c] for c in ("unit_x", "unit_y", "unit_z")), strict=True)),
        )
        funds = [float(max(1, x)) for x in self.world("s2_account_base_6A", "funds_ref_minor", numbers["account"])]
        cards, accounts, devices = len(numbers["card"]), len(numbers["account"]), len(numbers["device"])
        spent = p.issuer["history"]["initial_spend"]
        history = SimpleNamespace(
            card_f=[[0.0] * 4 for _ in range(cards)],
            card_i=[[0] * 5 for _ in range(cards)],
            seen=[[0] * 4 for _ in range(cards)],
            account_f=[[spent * x, 0.0, 0.0] for x in funds],
            account_i=[[0, 0] for _ in range(accounts)],
            devices=[0] * accounts,
            device_f=[0.0] * devices,
            device_i=[0] * devices,
            funds=funds,
        )
        names = "score decision first response responder attempts step block flow_type outcome payment alerted"
        o = zeros(names + " latency_ms", n)
        if redo:
            o.response, o.attempts = list(f["response_code"]), list(f["attempts"])
        o.three_ds, o.trace = f["three_ds"], f["branch_trace"]
        order = sorted(range(n), key=lambda i: (f["ts_utc"][i], self.ordinal[i]))
        walls = SimpleNamespace(begin=[], end=[], kind=[], lo=[0] * cards, hi=[0] * cards)
        for instrument in {b[0] for b in blocks}:
            c, held = numbers["card"].get(("card", instrument)), sorted(b[1:] for b in blocks if b[0] == instrument)
            if c is not None:
                walls.lo[c], walls.hi[c] = len(walls.begin), len(walls.begin) + len(held)
                walls.begin += [b[0] for b in held]
                walls.end += [b[1] for b in held]
                walls.kind += [REPORT] * len(held)
        rule = (p.memories, p.decide, walls, p.keys, p.evidence)
        issuer_decide(order, redo or [True] * n, requests, history, *rule, o)
        f.update(risk_score=o.score, auth_decision=o.decision, first_response_code=o.first, response_code=o.response)
        f.update(responder=o.responder, attempts=o.attempts, step_up_result=o.step, block_state=o.block)
        f.update(flow_type=o.flow_type, flow_outcome=o.outcome, payment_state=o.payment, alerted=o.alerted)
        f["issuer_latency_ms"] = o.latency_ms

    def settle(self, rows=None):
        """Times of the authorisation, and what follows it, of the given rows (all by default)."""
        f, p, n = self.f, self.p, self.n
        rows = range(n) if rows is None else rows
        columns = SimpleNamespace(
            ordinal=self.ordinal,
            ts=f["ts_utc"],
            channel=f["channel_group"],
            flow_type=f["flow_type"],
            first=f["first_response_code"],
            step=f["step_up_result"],
            latency_ms=f["issuer_latency_ms"],
        )
        f.update(auth_sent_utc=[0] * n, response_ts_utc=[0] * n)
        out = f["auth_sent_utc"], f["response_ts_utc"], f["branch_trace"]
        time_auth(rows, columns, p.times, p.keys, p.evidence, *out)
        o = zeros("clear_ts refund_ts reversal_ts cleared refunded reversed", n)
        o.outcome, o.payment, o.trace = f["flow_outcome"], f["payment_state"], f["branch_trace"]
        pairs = zip(f["response_code"], f["flow_type"], strict=True)
        columns = SimpleNamespace(
            ordinal=self.ordinal,
            response_ts=f["response_ts_utc"],
            amount=f["amount_minor"],
            merchant=f["merchant_id"],
            series=f["series_key"],
            channel=f["channel_group"],
            currency=f["currency"],
            country=f["merchant_country"],
            pinned=f["is_pinned"],
            alerted=f["alerted"],
            settled=[code == 1 and kind != CREDIT for code, kind in pairs],
        )
        if p.settles:
            settle_flows(rows, columns, p.settle, p.money, p.amount, p.keys, p.evidence, o)
        f.update(clear_ts_utc=o.clear_ts, refund_ts_utc=o.refund_ts, reversal_ts_utc=o.reversal_ts)
        f.update(cleared_minor=o.cleared, refunded_minor=o.refunded, reversed_minor=o.reversed)

    def events(self):
        """Events in (ts_utc, flow_id, event_seq) order."""
        f, p = self.f, self.p
        columns = SimpleNamespace(
            ordinal=self.ordinal,
            ts=f["ts_utc"],
            sent=f["auth_sent_utc"],
            response_ts=f["response_ts_utc"],
            clear_ts=f["clear_ts_utc"],
            refund_ts=f["refund_ts_utc"],
            reversal_ts=f["reversal_ts_utc"],
            amount=f["amount_minor"],
            cleared=f["cleared_minor"],
            refunded=f["refunded_minor"],
            reversed=f["reversed_minor"],
            flow_type=f["flow_type"],
            first=f["first_response_code"],
            response=f["response_code"],
            step=f["step_up_result"],
            attempts=f["attempts"],
            channel=f["channel_group"],
            trace=f["branch_trace"],
        )
        start = [0] * (self.n + 1)
        count_events(columns, not p.settles, start)
        o = zeros("flow seq kind ts amount code attempt", start[-1])
        if p.settles:
            build_events(columns, p.split, start, p.keys, p.evidence, o)
        else:
            build_auth_events(columns, start, o)
        e = {"flow_id": [f["flow_id"][k] for k in o.flow], "event_seq": o.seq, "event_type": o.kind, "ts_utc": o.ts}
        e["amount"] = self.major(o.amount, [f["currency"][k] for k in o.flow])
        e.update(amount_minor=o.amount, response_code=o.code, attempt=o.attempt)
        return e


def publish(plan, table, sort):
    """Rows in order, labels for codes, None for null."""
    n = len(next(iter(table.values())))
    order = sorted(range(n), key=lambda i: tuple(table[name][i] for name in sort))
    out = {}
    for name, column in table.items():
        labels = plan.enums.get(ENUM_OF.get(name, name))
        values = [column[i] for i in order]
        if labels:
            values = [None if v < 0 else labels[v] for v in values]
        elif name in NULLABLE:
            values = [v or None for v in values]
        out[name] = values
    return out


def weave_s2(world, manifest, docs, enums, seed, scenario, arrivals):
    """(flows, events, links) of each shard, and [draws, checksum] by decision. `arrivals`: S1's rows of each shard."""
    plan = Plan(world, manifest, docs, enums, run_keys(manifest["manifest_fingerprint"], seed, scenario))
    places = plan.places
    for a in arrivals:
        slots = places.merchant_slot, places.ip_slot, places.merchant_hours, places.ip_days
        count_busy(a["ts_utc"], a["merchant_id"], a["ip_id"], plan.start, *slots)
    sealed = world["arrival_events_5B"]
    ordinals = {key: i for i, key in enumerate(zip(sealed["merchant_id"], sealed["arrival_seq"], strict=True))}
    shards = []
    for a in arrivals:
        shard = Shard(plan, a, ordinals)
        links = shard.group()
        shard.request()
        shard.decide()
        shard.settle()
        events = publish(plan, shard.events(), ("ts_utc", "flow_id", "event_seq"))
        shards.append((publish(plan, shard.f, ("ts_utc", "flow_id")), events, publish(plan, links, ())))
    made = {d["decision"]: pair for d, pair in zip(plan.decisions, plan.evidence, strict=True)}
    return shards, made
