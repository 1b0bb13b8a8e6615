"""S1 as a whole in plain Python: world rows, policies and keys in, every published column of both tables out.

Written from contracts/laws/s1.md with dictionaries by party, account, device and merchant; labels, not codes. `world`
holds a dictionary of lists per dataset (null is None, instants are microseconds), `manifest` what world.json says.
"""

from collections import defaultdict
from itertools import pairwise

from naive.attach import choose, window_weight
from naive.idmap import encode_id
from naive.keys import run_keys
from naive.sessions import most_frequent
from naive.streams import MASK, mix64, pick_cdf, split_remap, uniform

DAY = 86_400_000_000
TILLS = ("POS", "ATM")
DOMINANT = ("device_id", "account_id", "instrument_id", "merchant_id", "ip_id")


def rows_of(table):
    """One dictionary per row of a dictionary of lists."""
    names = list(table)
    return [dict(zip(names, values, strict=True)) for values in zip(*table.values(), strict=True)]


def grouped(table, *key):
    """Rows by the values of some columns, in the order of the table."""
    found = defaultdict(list)
    for row in rows_of(table):
        found[tuple(row[k] for k in key) if len(key) > 1 else row[key[0]]].append(row)
    return found


class Draws:
    """Draws by decision, with their number and checksum as the trace log has them."""

    def __init__(self, policy, key):
        self.slots = {d["decision"]: d["slots"] for d in policy["decisions"]}
        self.key = {d["decision"]: key(d["family"], d["decision"]) for d in policy["decisions"]}
        self.made = {name: [0, 0] for name in self.slots}

    def all(self, decision, ordinal):
        """Every slot of a row."""
        counters = [ordinal * self.slots[decision] + j for j in range(self.slots[decision])]
        made = self.made[decision]
        made[0] += len(counters)
        made[1] = (made[1] + sum(mix64(c) for c in counters)) & MASK
        return [uniform(self.key[decision], c) for c in counters]

    def step(self, decision, arrival):
        """The slots of a step, by visit, or by series where there is one."""
        if arrival["series_key"]:
            return self.all(decision + "_SERIES", arrival["series_key"])
        return self.all(decision, arrival["visit_key"])


class People:
    """Regulars, residents, visitors and absences."""

    def __init__(self, world, manifest):
        horizon = manifest["horizon"]
        self.first_day, self.days = horizon["start_day"], horizon["days"]
        parties = rows_of(world["s1_party_base_6A"])
        self.pool = self.window([(p["party_id"], p["activity_weight"]) for p in parties])
        place = [p["city_id"] for p in parties]
        self.residents = {c: (place.index(c), place.index(c) + place.count(c)) for c in set(place)}
        listed = rows_of(world["regulars_6A"])
        self.regular = self.window([(r["party_id"], r["weight"]) for r in listed])
        self.regulars = self.ranges([(r["merchant_id"], r["home_city_id"]) for r in listed])
        self.trips = grouped(world["trips_6A"], "party_id")
        weight = {p["party_id"]: p["activity_weight"] for p in parties}
        there = sorted(
            (t["city_id"], day, t["party_id"])
            for trips in self.trips.values()
            for t in trips
            for day in range(t["from_day"] + 1, t["to_day"])
        )
        self.visitor = self.window([(party, weight[party]) for _, _, party in there])
        self.visitors = self.ranges([(city, day) for city, day, _ in there])

    @staticmethod
    def window(items):
        """Ids, and the running sum of their weights."""
        total, cum = 0.0, []
        for _, w in items:
            total += w
            cum.append(total)
        return [i for i, _ in items], cum

    @staticmethod
    def ranges(keys):
        """First and last place of each key, in a list in which equal keys stand together."""
        found = {}
        for i, k in enumerate(keys):
            found[k] = (found.get(k, (i,))[0], i + 1)
        return found

    def away(self, party, day):
        """Whether a trip covers the day."""
        return any(t["from_day"] <= day <= t["to_day"] for t in self.trips.get(party, ()))

    def find(self, a, draws, p_regular):
        """Party, rule and score of an arrival that no card pins."""
        series = a["series_key"]
        u = draws.step("ATTACH_PARTY", a)
        day = (a["ts_local_primary"] // DAY - self.first_day) % self.days
        city, trip, kind = a["home_city_id"], a["trip"] and not series, "SERIES_" if series else "VISIT_"
        guests = self.visitors.get((city, day), (0, 0))
        if trip and window_weight(self.visitor[1], guests) > 0.0:
            return self.visitor[0][pick_cdf(self.visitor[1], u[0], *guests)], "TRIP_VISITOR", 1.0
        regulars = self.regulars.get((a["visit_merchant_id"], city), (0, 0))
        known = not trip and window_weight(self.regular[1], regulars) > 0.0
        lo, hi = self.residents.get(city, (0, 0))
        if not window_weight(self.pool[1], (lo, hi)) > 0.0:
            lo, hi = 0, len(self.pool[0])
        for j, uj in enumerate(u):
            regular, rest, score = False, uj, 1.0
            if known and (j == 0 or j < len(u) - 1):
                regular, rest = split_remap(uj, p_regular)
                score = p_regular if regular else 1.0 - p_regular
            if regular:
                party, rule = self.regular[0][pick_cdf(self.regular[1], rest, *regulars)], kind + "REGULAR"
            else:
                party, rule = self.pool[0][pick_cdf(self.pool[1], rest, lo, hi)], kind + "POOL"
            if series or trip or not self.away(party, day):
                return party, rule, score
        for k in range(1, hi - lo):
            row = lo + (party - 1 - lo + k) % (hi - lo)
            if window_weight(self.pool[1], (row, row + 1)) > 0.0 and not self.away(row + 1, day):
                return row + 1, rule, score
        return party, rule, score


def phones(world):
    """Device of each party in whose wallet its tokens live."""
    links = [r for r in rows_of(world["s4_device_links_6A"]) if r["party_id"] and r["instrument_id"]]
    return {r["party_id"]: r["device_id"] for r in sorted(links, key=lambda r: -r["device_id"])}


class Holdings:
    """Accounts by party and instruments by account."""

    def __init__(self, world, attachment, priors):
        self.account = {a["account_id"]: a for a in rows_of(world["s2_account_base_6A"])}
        self.instrument = {n["instrument_id"]: n for n in rows_of(world["s3_instrument_base_6A"])}
        self.accounts = grouped(world["s2_account_base_6A"], "owner_party_id")
        self.instruments = grouped(world["s3_instrument_base_6A"], "account_id")
        self.rule, self.priors = attachment["instrument"], priors
        self.phones = phones(world)
        self.device = {d["device_id"]: d for d in rows_of(world["s4_device_base_6A"])}

    def in_wallet(self, instrument, ts):
        """Whether an instrument needs no phone, or its phone is in use."""
        if instrument["instrument_kind"] != "WALLET_TOKEN":
            return True
        phone = self.device.get(self.phones.get(instrument["owner_party_id"]))
        return phone is not None and phone["valid_from"] <= ts < phone["valid_to"]

    def usable(self, account_id, party, channel, ts):
        """Instruments of an account that the party may use there and then."""
        kinds = self.rule["eligible_kinds"][channel]
        return [
            n
            for n in self.instruments.get(account_id, ())
            if n["instrument_kind"] in kinds
            and n["instrument_status"] == "ACTIVE"
            and n["valid_from"] <= ts < n["valid_to"]
            and n["owner_party_id"] == party
            and self.in_wallet(n, ts)
        ]

    def find(self, a, party, family, draws):
        """Account and instrument of an arrival; the instrument may be None."""
        (u_account,), (u_instrument,) = draws.step("ATTACH_ACCOUNT", a), draws.step("ATTACH_INSTRUMENT", a)
        if a["pinned_instrument_id"]:
            pinned = self.instrument[a["pinned_instrument_id"]]
            return self.account[pinned["account_id"]], pinned
        channel, ts, held = a["channel_group"], a["ts_utc"], self.accounts.get(party, [])
        able = [k for k in held if self.usable(k["account_id"], party, channel, ts)]
        if not able and self.rule["requiredness"][channel] == "OPTIONAL":
            able = held
        assert able, "S1_ENTITY_NO_CANDIDATES"
        ledger = self.priors["ledger_weights"][family][channel]
        account = able[choose([ledger[k["ledger_class"]] for k in able], u_account)]
        usable = self.usable(account["account_id"], party, channel, ts)
        if not usable:
            return account, None
        kind = self.priors["instrument_weights"][family][channel]
        return account, usable[choose([kind.get(n["instrument_kind"], 0.0) for n in usable], u_instrument)]


class Devices:
    """Terminals by merchant, devices by party, addresses by device."""

    def __init__(self, world, attachment, priors, groups):
        self.terminals = grouped(world["terminals_2B"], "merchant_id")
        self.device = {d["device_id"]: d for d in rows_of(world["s4_device_base_6A"])}
        self.group = dict(zip(world["s4_ip_base_6A"]["ip_id"], world["s4_ip_base_6A"]["ip_group"], strict=True))
        links = sorted(rows_of(world["s4_device_links_6A"]), key=lambda r: (r["party_id"] or 0, r["device_id"]))
        self.links = defaultdict(list)
        for r in links:
            self.links[r["party_id"]].append(r)
        self.phones = phones(world)
        self.addresses = grouped(world["s4_ip_links_6A"], "device_id")
        self.other, self.priors = attachment["device"]["other_device_weights"], priors
        self.share = {}
        for family, channels in priors["ip_group_weights"].items():
            for channel, weights in channels.items():
                total = 0.0
                for group in groups:
                    total += weights.get(group, 0.0)
                shares = {g: w / total for g, w in weights.items()}
                most = attachment["ip"]["share_max"]
                self.share[family, channel] = {g: min(s, most.get(g, s)) for g, s in shares.items()}

    def terminal(self, a, ordinal, draws):
        """The terminal of an arrival at a till or cash machine, or None."""
        (u,) = draws.all("ATTACH_TERMINAL", ordinal)
        used, rest = split_remap(u, self.priors["p_terminal_device"][a["channel_group"]])
        own = sorted(self.terminals.get(a["merchant_id"], ()), key=lambda t: (t["city_id"], t["terminal_id"]))
        near = [t for t in own if t["city_id"] == a["city_id"]] or own
        return near[min(int(rest * len(near)), len(near) - 1)] if used and near else None

    def customer_device(self, a, party, family, u):
        """A device of the party."""
        links = [r for r in self.links[party] if self.in_use(r["device_id"], a["ts_utc"])]
        if a["channel_group"] in TILLS:
            phones = [r for r in links if self.device[r["device_id"]]["device_type"] == "MOBILE_PHONE"]
            links = phones or links
        assert links, "S1_ENTITY_NO_CANDIDATES"
        main = next((r for r in links if r["link_role"] == "PRIMARY_OWNER"), None)
        others = [r for r in links if r is not main]
        if main:
            primary, u = split_remap(u, self.priors["p_primary_device"][family][a["channel_group"]])
            if primary or not others:
                return main["device_id"]
        return others[choose([self.other[r["link_role"]] for r in others], u)]["device_id"]

    def in_use(self, device_id, ts):
        """Whether a device is in use."""
        return self.device[device_id]["valid_from"] <= ts < self.device[device_id]["valid_to"]

    def customer_address(self, a, device_id, family, u):
        """An address of the device."""
        share = self.share[family, a["channel_group"]]
        links = sorted(self.addresses[device_id], key=lambda r: r["ip_id"])
        links = [r for r in links if self.group[r["ip_id"]] != "MERCHANT"]
        assert links, "S1_ENTITY_NO_CANDIDATES"
        typical, rest = split_remap(u, self.priors["p_typical_ip"][family][a["channel_group"]])
        usual = [r for r in links if r["link_role"] == "TYPICAL_DEVICE_IP"]
        if typical and usual:
            links = usual
        return links[choose([share[self.group[r["ip_id"]]] for r in links], rest)]["ip_id"]

    def wallet(self, a, party, instrument):
        """The phone of a wallet token, when it is in use."""
        phone = self.phones.get(party) if instrument and instrument["instrument_kind"] == "WALLET_TOKEN" else None
        return phone if phone and self.in_use(phone, a["ts_utc"]) else None

    def find(self, a, ordinal, party, family, instrument, draws):
        """Device, address and terminal (or None) of an arrival."""
        (u_device,), (u_ip,) = draws.step("ATTACH_DEVICE", a), draws.step("ATTACH_IP", a)
        terminal = self.terminal(a, ordinal, draws) if a["channel_group"] in TILLS else None
        device_id, ip_id = a["pinned_device_id"], a["pinned_ip_id"]
        if terminal and not device_id and not ip_id:
            return terminal["device_id"], terminal["ip_id"], terminal["terminal_id"]
        device_id = device_id or self.wallet(a, party, instrument)
        device_id = device_id or self.customer_device(a, party, family, u_device)
        return device_id, ip_id or self.customer_address(a, device_id, family, u_ip), None


def attach_all(world, manifest, policies, enums, draws):
    """Attached arrivals in the order of the arrivals, with their ordinals and shards."""
    attachment, priors = policies["attachment_policy_6B"], policies["behaviour_prior_pack_6B"]
    people, holdings = People(world, manifest), Holdings(world, attachment, priors)
    devices = Devices(world, attachment, priors, enums["ip_group"])
    party_type = dict(zip(world["s1_party_base_6A"]["party_id"], world["s1_party_base_6A"]["party_type"], strict=True))
    cohort = dict(zip(world["s1_party_base_6A"]["party_id"], world["s1_party_base_6A"]["cohort_id"], strict=True))
    cohort_key, found = int(manifest["cohort_key"], 16), []
    for ordinal, a in enumerate(rows_of(world["arrival_events_5B"])):
        party, rule, score = people.find(a, draws, attachment["party"]["p_regular"])
        if a["pinned_instrument_id"]:
            party = holdings.instrument[a["pinned_instrument_id"]]["owner_party_id"]
            rule, score = "PINNED", 1.0
        account, instrument = holdings.find(a, party, party_type[party], draws)
        device_id, ip_id, terminal_id = devices.find(a, ordinal, party, party_type[party], instrument, draws)
        row = a | {"party_id": party, "account_id": account["account_id"], "ledger_class": account["ledger_class"]}
        row["instrument_id"] = instrument["instrument_id"] if instrument else None
        row["instrument_kind"] = instrument["instrument_kind"] if instrument else None
        row |= {"device_id": device_id, "ip_id": ip_id, "terminal_id": terminal_id, "ip_group": devices.group[ip_id]}
        row |= {"attach_rule_id": rule, "attach_score": score, "attach_rng_family": "rng_event_entity_attach"}
        row["_ordinal"] = ordinal
        row["_shard"] = mix64(cohort_key ^ cohort[party]) % manifest["shards"]
        found.append(row)
    return sorted(found, key=lambda r: (r["ts_utc"], r["merchant_id"], r["arrival_seq"]))


def starts_session(a, left, members, law, u):
    """Whether an arrival opens a session although `left` precedes it in one of these members."""
    timeout = law["timeout_s"] * 1_000_000
    if law["mode"] == "tumbling":
        apart = a["ts_utc"] // timeout != left["ts_utc"] // timeout
    else:
        apart = u < float(a["ts_utc"] - left["ts_utc"] - timeout) / float(law["hard_break_s"] * 1_000_000 - timeout)
    return (
        (law["break_on_local_day"] and a["ts_local_primary"] // DAY != left["ts_local_primary"] // DAY)
        or (law["break_on_channel"] and a["channel_group"] != left["channel_group"])
        or len(members) >= law["max_arrivals"]
        or a["ts_utc"] - members[0]["ts_utc"] > law["max_duration_s"] * 1_000_000
        or apart
    )


def session_row(session_id, kind, members, channels):
    """The index row of a session; gaps of 0 read as null."""
    ts = [m["ts_utc"] for m in members]
    gaps = [b - a for a, b in pairwise(ts)]
    codes = [channels.index(m["channel_group"]) for m in members]
    row = {
        "session_id": session_id,
        "session_start_utc": ts[0],
        "session_end_utc": ts[-1],
        "arrival_count": len(members),
        "party_id": members[0]["party_id"],
        "session_key_kind": kind,
        "duration_us": ts[-1] - ts[0],
        "gap_min_us": min(gaps, default=0) or None,
        "gap_max_us": max(gaps, default=0) or None,
        "gap_sum_us": sum(gaps) or None,
        "channel_count": len(set(codes)),
        "merchant_count": len({m["merchant_id"] for m in members}),
        "channel_group": channels[most_frequent(codes)],
        "_shard": members[0]["_shard"],
        "_ordinal": 8 * members[0]["_ordinal"],
    }
    for name in DOMINANT:
        row[name] = most_frequent([m[name] for m in members if m[name] is not None]) or None
    return row


def cut_all(arrivals, policy, enums, draws, key):
    """Give every arrival its session; return the sessions in order."""
    last, sessions = {}, []
    for a in arrivals:
        till = a["channel_group"] in TILLS
        kind = "PARTY_INSTRUMENT" if till else "PARTY_DEVICE"
        u = None if policy[kind]["mode"] == "tumbling" else draws.all("SESSION_BOUNDARY", a["_ordinal"])[0]
        place = (kind, a["party_id"], a["instrument_id"] if till else a["device_id"])
        members = last.get(place)
        if members is None or starts_session(a, members[-1], members, policy[kind], u):
            members = last[place] = []
            sessions.append((kind, members))
        members.append(a)
    rows = []
    for kind, members in sessions:
        session_id = encode_id(key, 8 * members[0]["_ordinal"])
        for a in members:
            a["session_id"] = session_id
        rows.append(session_row(session_id, kind, members, enums["channel_group"]))
    return sorted(rows, key=lambda r: (r["session_start_utc"], r["session_id"]))


def weave_s1(world, manifest, policies, enums, seed, scenario):
    """(arrivals, sessions, draws): rows as dictionaries in published order, and {decision: [draws, checksum]}."""
    key = run_keys(manifest["manifest_fingerprint"], seed, scenario)
    draws = Draws(policies["rng_policy_6B"], key)
    arrivals = attach_all(world, manifest, policies, enums, draws)
    policy = policies["sessionisation_policy_6B"]
    sessions = cut_all(arrivals, policy, enums, draws, key("identity", "session"))
    return arrivals, sessions, draws.made
