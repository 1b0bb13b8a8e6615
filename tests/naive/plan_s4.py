"""World, policies and keys of S4 compiled in plain Python, as contracts/laws/s4.md reads them."""

from types import SimpleNamespace

from naive.keys import run_keys

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
DECISIONS = [
    "BANK_AMBIGUITY",
    "SERVICE_DISPUTE",
    "BLOCK_CHECK",
    "ALERT_HANDLING",
    "NETWORK_CHECK",
    "COLLATERAL_MARK",
    "CLAIM",
    "CHARGEBACK",
    "CASE_MEMBER",
    "CASE_CLOSE",
]
LAWS = [
    "alert",
    "analyst_touch",
    "analyst_handle",
    "block_check",
    "network_check",
    "collateral",
    "service_dispute",
    "triage",
    "own_decision",
    "chargeback",
    "representment",
    "pre_arbitration",
    "decision",
    "recovery",
    "case_close",
    "case_entry",
]
WORLD = (
    "calendar_3B",
    "zone_offsets_2A",
    "cities_1B",
    "issuers_6A",
    "s5_party_fraud_roles_6A",
    "merchant_class_profile_5A",
)


def rows_of(table):
    """One namespace per row."""
    names = list(table)
    return [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in zip(*table.values(), strict=True)]


def micros(seconds):
    """Seconds of a policy as microseconds."""
    return int(seconds) * SECOND


def country_windows(world, hours):
    """Business windows (open, close) of each country, in UTC."""
    zone, weight = {}, {}
    for city in rows_of(world["cities_1B"]):
        if city.population_weight > weight.get(city.country_iso, -1.0):
            zone[city.country_iso], weight[city.country_iso] = city.tzid, city.population_weight
    offsets = {}
    for row in rows_of(world["zone_offsets_2A"]):
        offsets.setdefault(row.tzid, []).append((row.from_utc, row.offset_s * SECOND))
    windows = {}
    for day in rows_of(world["calendar_3B"]):
        known = offsets[zone.get(day.country_iso, "UTC")]
        ends = []
        for hour in (hours["open_hour"], hours["close_hour"]):
            local = day.day * DAY + hour * HOUR
            past = [offset for since, offset in known if since <= local]
            ends.append(local - (past[-1] if past else known[0][1]))
        if day.is_business_day:
            windows.setdefault(day.country_iso, []).append(tuple(ends))
    return windows


def compile_delays(models):
    """Two components per law, as the twins of the samplers read them."""
    table = []
    for name in LAWS:
        law = models[name]
        mixed = law["dist"] == "mixture"
        for part in (law["first"], law["second"]) if mixed else (law, law):
            kind = ("lognormal", "gamma", "uniform").index(part["dist"])
            a, b = [("median_s", "sigma"), ("shape", "scale_s"), (None, None)][kind]
            share = law["share"] if mixed else 1.0
            table.append([kind, share, part.get(a, 0.0), part.get(b, 0.0), law["min_s"], law["max_s"]])
    return table


def label_of(finding, claim, bearer):
    """Code of the bank's label: the first line of the law that holds."""
    if claim in (1, 2):
        return 4 if bearer in (1, 4) else 0
    if finding == 3:
        return 0
    if claim in (3, 6):
        return 3
    return 1 if finding in (1, 2) or claim != 0 else 2


def by_code(labels, values, default=0.0):
    """A list over the codes of an enum from a mapping by label."""
    return [values.get(label, default) for label in labels]


def among(labels, chosen):
    """Which codes of an enum are listed."""
    return [label in chosen for label in labels]


def screen_rules(bank, enums):
    """What `screen_flow` reads."""
    classes = [bank["demand_class"][label] for label in enums["demand_class"]]
    service = bank["service_dispute"]
    return SimpleNamespace(
        block_code=among(enums["response_code"], bank["block"]["codes"]),
        posture=by_code(enums["fraud_role_party"], bank["posture"]),
        detect=[c["detect"] for c in classes],
        dispute=[c["dispute"] for c in classes],
        channel=by_code(enums["channel_group"], service["channels"]),
        declined=enums["auth_decision"].index("DECLINE"),
        held=enums["payment_state"].index("HELD"),
        customer=enums["report_source"].index("CUSTOMER"),
        network=enums["report_source"].index("NETWORK"),
        collateral=bank["collateral"]["p_mark"],
        service=service["p"],
    )


def bank_rules(bank, delays, enums, last):
    """What `work_flow` reads of the bank."""
    classes = [bank["demand_class"][label] for label in enums["demand_class"]]
    return SimpleNamespace(
        delays=delays,
        label_map=[[[label_of(f, c, b) for b in range(5)] for c in range(7)] for f in range(4)],
        confirm=[bank["verdict"]["confirm"][label] for label in enums["fraud_class"]],
        detect=[c["detect"] for c in classes],
        false_positive=[c["false_positive"] for c in classes],
        block_checked=bank["block"]["asked"],
        network_confirm=bank["verdict"]["network"],
        stretch=bank["business_hours"]["out_of_hours_factor"],
        presumed_us=bank["presumed_genuine_days"] * DAY,
        last_us=last,
    )


def claim_rules(bank, enums):
    """What `work_flow` reads of claims."""
    claim, right, charge = bank["claim"], bank["chargeback_right"], bank["chargeback"]
    reasons, total = [], 0.0
    for weights in (bank["service_dispute"]["reasons"], claim["first_party_reasons"]):
        for weight in by_code(enums["dispute_reason"], weights):
            total += weight
            reasons.append(total)
    chances = []
    for kind in ("fraud", "friendly", "service"):
        c = charge[kind]
        whole = (c["win"] + c["loss"]) + c["partial"]
        lost = c["loss"] / whole
        chances.append([lost, lost + c["partial"] / whole, c["representment"]])
    return SimpleNamespace(
        reasons=reasons,
        refuse=[claim["refuse"][label] for label in enums["fraud_class"]],
        chances=chances,
        absent=among(enums["entry_mode"], right["absent_entry_modes"]),
        no_shift=among(enums["three_ds"], right["no_shift_three_ds"]),
        fallback=among(enums["entry_mode"], right["present_entry_modes"]),
        weak_cvm=among(enums["cvm"], right["present_cvm"]),
        arbitrate=charge["pre_arbitration"],
        recall=claim["recall"],
        issuer_share=charge["issuer_share"],
        write_off=claim["write_off_below_ref_minor"],
    )


class Bank:
    """World, policies and keys, compiled once for all shards; `evidence` counts the draws of all of them."""

    def __init__(self, world, manifest, docs, enums, seed, scenario):
        bank = docs["bank_view_policy_6B"]
        self.policy, self.truth, self.cases = bank, docs["truth_labelling_policy_6B"], docs["case_policy_6B"]
        self.enums = enums
        self.last = manifest["horizon"]["end_us"] + bank["settlement_days"] * DAY - 1
        key = run_keys(manifest["manifest_fingerprint"], seed, scenario)
        family = {d["decision"]: d["family"] for d in docs["label_rng_policy_6B"]["decisions"]}
        self.keys = [key(family[name], name) for name in DECISIONS]
        self.flow_key, self.case_key = key("identity", "flow"), key("identity", "case")
        self.evidence = [[0, 0] for _ in DECISIONS]
        self.delays = compile_delays(docs["delay_models_6B"]["models"])
        windows = country_windows(world, bank["business_hours"])
        self.windows = [windows.get(country, []) for country in world["issuers_6A"]["country_iso"]]
        self.role = self.codes("fraud_role_party", world["s5_party_fraud_roles_6A"]["fraud_role_party"])
        self.demand = self.codes("demand_class", world["merchant_class_profile_5A"]["primary_demand_class"])
        self.screen_rules = screen_rules(bank, enums)
        self.rules = bank_rules(bank, self.delays, enums, self.last)
        self.claims = claim_rules(bank, enums)

    def codes(self, enum, labels):
        """Codes of labels."""
        return [self.enums[enum].index(label) for label in labels]

    def code(self, enum, label):
        """Code of a label."""
        return self.enums[enum].index(label)
