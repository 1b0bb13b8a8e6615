"""S3 of a shard in plain Python: its S1 sessions and S2 flows in, campaigns' flows, marks and sessions out.

Written from contracts/laws/s3.md. Tables are dictionaries of lists; null is None, instants are microseconds, enums are
labels.
"""

from collections import defaultdict
from types import SimpleNamespace

from naive.campaigns import campaign_select, fill_quotas, insert_refunds, report_times
from naive.idmap import decode_id, encode_id
from naive.overlay import price_script, script_details, script_identities, script_places, script_times
from naive.plan_s3 import DAY, FORMS
from naive.plan_s4 import rows_of
from naive.scripts_s3 import micros

DEVICE, ADDRESS, ROUTING, MERCHANT, REFUND, REDONE = 4, 8, 16, 32, 64, 128
ENTRIES = {"REMOTE": ("ECOM", "COF", "KEYED"), "PRESENT": ("CHIP", "CONTACTLESS", "MAGSTRIPE_FALLBACK", "KEYED")}
ENTRIES["CASH"] = ENTRIES["PRESENT"][:3]
CHANNELS = {"REMOTE": ("ECOM", "HYBRID"), "PRESENT": ("POS",), "CASH": ("ATM",), "TRANSFER": ("BANK_RAIL",)}
MARKS = {
    "fraud_flag": False,
    "campaign_id": None,
    "incident_id": None,
    "incident_rank": 0,
    "fraud_class": "NONE",
    "fraud_pattern_type": "NONE",
    "tactic": "NONE",
    "mule_layer": 0,
    "planned_dispute": False,
    "report_ts_utc": None,
    "report_door": "NONE",
}
DECIDED = (
    *("flow_type", "flow_outcome", "three_ds", "auth_sent_utc", "issuer_latency_ms", "risk_score", "auth_decision"),
    *("first_response_code", "response_code", "responder", "attempts", "step_up_result", "block_state", "alerted"),
    *("response_ts_utc", "clear_ts_utc", "refund_ts_utc", "reversal_ts_utc", "cleared_minor", "refunded_minor"),
    *("reversed_minor", "payment_state", "branch_trace"),
)
RAIL = {"payee_account_id": None, "payee_bank_id": None, "payee_country": None, "is_new_payee": False}
RAIL |= {"purpose": "NONE", "confirmation_of_payee": "NOT_APPLICABLE"}


def columns(rows, **names):
    """A namespace of lists, one per name, from a function or an attribute of each row."""
    return SimpleNamespace(**{k: [f(r) if callable(f) else getattr(r, f) for r in rows] for k, f in names.items()})


def lists(count, *names):
    """A namespace of lists to be written."""
    return SimpleNamespace(**{name: [0] * count for name in names})


def may_tag(plan, template, flow):
    """Whether a flow's own outcome allows its type."""
    if flow.flow_type == "CARD_CREDIT":
        return False
    if template["mode"] not in ("DISPUTE", "REFUND"):
        return True
    settled = flow.flow_outcome == "AUTH_SETTLED" and flow.cleared_minor > 0 and flow.pinned_label is None
    return settled and (template["mode"] == "DISPUTE" or (flow.refunded_minor == 0 and not flow.is_pinned))


def race(scripts, flows, shard):
    """Campaign and score of each flow; 0 where it is no candidate."""
    plan, p = scripts.plan, scripts.people
    accounts, parties, devices = sorted(p.account), sorted(p.party), sorted(p.device)
    bits = {
        a: sum(plan.account_fits(t, a) << plan.type_row(t["campaign_type"]) for t in plan.templates) for a in accounts
    }
    place = {id(c): i for i, c in enumerate(plan.campaigns)}

    def among(section, label):
        return sum((label in t["domain"][section]) << plan.type_row(t["campaign_type"]) for t in plan.templates)

    domain = SimpleNamespace(
        account_bits=[bits[a] for a in accounts],
        campaign_of=[place[id(plan.fixed[a])] if plan.fixed[a] else -1 for a in accounts],
        channel_bits=[among("channels", x) for x in plan.enums["channel_group"]],
        kind_bits=[0, *(among("instrument_kinds", x) for x in plan.enums["instrument_kind"])],
        type_of=[plan.type_row(c.type) for c in plan.campaigns],
        anchor_from=[c.anchor_from for c in plan.campaigns],
        anchor_to=[c.anchor_to for c in plan.campaigns],
    )
    law = plan.overlay["selection"]
    weights = SimpleNamespace(
        party=[law["party_tier"][p.party[i].tier] for i in parties],
        device=[law["device_role"][p.device[i].role] for i in devices],
    )
    kinds = plan.enums["instrument_kind"]
    rows = columns(
        flows,
        ts="ts_utc",
        ordinal="ordinal",
        account="account_id",
        party="party_id",
        device="device_id",
        channel=lambda f: plan.enums["channel_group"].index(f.channel_group),
        kind=lambda f: kinds.index(p.instrument[f.instrument_id].instrument_kind) if f.instrument_id else -1,
        fits=lambda f: sum(may_tag(plan, t, f) << plan.type_row(t["campaign_type"]) for t in plan.templates),
    )
    campaign, score = [0] * len(flows), [0.0] * len(flows)
    campaign_select(rows, domain, weights, plan.streams, campaign, score)
    wanted = [c >= 0 and plan.campaigns[c].quota.get(shard, 0) > 0 for c in campaign]
    return [c if w else -1 for c, w in zip(campaign, wanted, strict=True)], score


def take_episodes(scripts, flows, shard):
    """Tagged rows: (campaign, incident, ordinal, anchor, row or None, rank, length)."""
    plan = scripts.plan
    campaign, score = race(scripts, flows, shard)
    order = {i: (score[i], f.ts_utc, f.flow_id) for i, f in enumerate(flows) if campaign[i] >= 0}
    groups = defaultdict(list)
    for i in sorted(order, key=lambda i: order[i][1:]):
        groups[flows[i].account_id].append(i)
    found = []
    for members in groups.values():
        anchor = min(members, key=order.__getitem__)
        found.append((campaign[anchor], order[anchor], anchor, members[members.index(anchor) :]))
    found.sort(key=lambda g: g[:2])
    listed = SimpleNamespace(campaign=[], anchor=[], member_at=[], members=[], member_row=[])
    for c, _, anchor, members in found:
        listed.campaign.append(c)
        listed.anchor.append(anchor)
        listed.member_at.append(len(listed.member_row))
        listed.members.append(len(members))
        listed.member_row += members
    law = [c.template.get("episode", {"p": 1.0, "cap": 1}) for c in plan.campaigns]
    episodes = SimpleNamespace(
        quota=[c.quota.get(shard, 0) for c in plan.campaigns],
        base=[c.first.get(shard, 0) for c in plan.campaigns],
        fresh=[c.template["mode"] == "NEW" for c in plan.campaigns],
        p=[e["p"] for e in law],
        cap=[e["cap"] for e in law],
    )
    out = lists(sum(episodes.quota), "campaign", "incident", "ordinal", "anchor", "row", "rank", "length")
    n = fill_quotas(listed, [f.ordinal for f in flows], episodes, plan.streams, [0] * len(plan.campaigns), out)
    rows = [SimpleNamespace(**{name: column[i] for name, column in vars(out).items()}) for i in range(n)]
    for row in rows:
        row.anchor = flows[row.anchor]
    return rows


def own_pair(p, anchor, party):
    """Own device and address of an anchor's owner."""
    if p.device[anchor.device_id].device_origin == "OWNED":
        return anchor.device_id, anchor.ip_id
    device = p.own_device.get(party, anchor.device_id)
    return device, p.own_address.get(device, anchor.ip_id)


def victim_of(p, row):
    """What a new flow starts from: an anchor's, or for a leg its payer's."""
    if row.leg:
        party = p.account[row.leg.payer].owner_party_id
        device = p.own_device.get(party, 1)
        v = SimpleNamespace(account=row.leg.payer, instrument=None, merchant=0, terminal=0, place=0, rail=False)
        v.device, v.address, v.ref = device, p.own_address.get(device, 1), row.leg.amount
    else:
        a = row.anchor
        v = SimpleNamespace(account=a.account_id, instrument=a.instrument_id, merchant=a.merchant_id, place=a.city_id)
        v.terminal, v.rail, v.ref = a.terminal_id or 0, a.channel_group == "BANK_RAIL", float(a.amount_ref_minor)
        party = a.party_id
        v.device, v.address = own_pair(p, a, party)
    v.party, v.city = party, p.party[party].city_id
    head = p.own_device.get(p.head[p.party[party].cohort_id])
    v.shared = head or p.own_device.get(party, v.device)
    return v


def new_flows(scripts, tagged, shard):
    """New flows of a shard, as requested: every column before the issuer's decision."""
    plan, p = scripts.plan, scripts.people
    rows = [r for r in tagged if plan.campaigns[r.campaign].template["mode"] == "NEW"]
    for r in rows:
        r.leg, r.anchor_ts = None, r.anchor.ts_utc
    for leg in plan.legs:
        if plan.shard_of(leg.payer) == shard:
            c = plan.campaigns.index(leg.campaign)
            row = SimpleNamespace(campaign=c, incident=leg.incident, ordinal=leg.ordinal, rank=leg.layer - 1, length=1)
            row.leg, row.anchor, row.anchor_ts = leg, None, leg.ts
            rows.append(row)
    for r in rows:
        r.type = plan.type_row(plan.campaigns[r.campaign].type)
        r.victim = victim_of(p, r)
    n = len(rows)
    names = ("type", "campaign", "incident", "ordinal", "rank", "length", "anchor_ts")
    new = columns(rows, **{name: name for name in names})
    parts = ("city", "merchant", "terminal", "place", "rail", "device", "address", "shared", "ref")
    victims = columns([r.victim for r in rows], **{name: name for name in parts})
    ts, device, address = [0] * n, [0] * n, [0] * n
    script_times(new, scripts.clocks, plan.streams, ts)
    for r, t in zip(rows, ts, strict=True):
        r.ts = t
    placed = lists(n, "form", "merchant", "terminal", "city")
    script_places(new, scripts.forms, scripts.places, victims, plan.streams, placed)
    script_identities(new, scripts.identities, placed, victims, plan.streams, device, address)
    shown = ("amount", "ending", "entry", "secure", "cvv", "avs", "purpose", "check", "payee", "bank", "fresh")
    out = lists(n, *shown)
    out.payee = [r.leg.payee if r.leg else 0 for r in rows]
    script_details(new, scripts.details, placed, victims, plan.streams, out)
    for i, r in enumerate(rows):
        r.placed = SimpleNamespace(**{name: column[i] for name, column in vars(placed).items()})
        r.shown = SimpleNamespace(**{name: column[i] for name, column in vars(out).items()})
        r.device, r.address = device[i], address[i]
    return [new_flow(scripts, r) for r in rows]


def new_flow(scripts, r):
    """The row of a new flow."""
    plan, p, v, placed = scripts.plan, scripts.people, r.victim, r.placed
    form, merchant, terminal = FORMS[placed.form], p.merchant[placed.merchant], placed.terminal or None
    suits = merchant.channel_group in CHANNELS[form] and form in ("REMOTE", "PRESENT")
    near = placed.city if form in ("PRESENT", "CASH") else p.address[r.address].city_id
    instrument = p.handle.get(v.account) if form == "TRANSFER" else v.instrument
    card = p.instrument.get(instrument)
    token = scripts.identities.token[r.type] and form in ("PRESENT", "CASH")
    flow = SimpleNamespace(
        flow_id=encode_id(plan.ids["flow"], r.ordinal),
        merchant_id=placed.merchant,
        arrival_seq=None,
        party_id=v.party,
        account_id=v.account,
        instrument_id=instrument,
        device_id=r.device,
        ip_id=r.address,
        ts_utc=r.ts,
        session_id=encode_id(plan.ids["session"], r.ordinal),
        channel_group=merchant.channel_group if suits else CHANNELS[form][0],
        currency=merchant.currency,
        mcc=merchant.mcc,
        merchant_country=p.city[placed.city].country_iso,
        city_id=placed.city,
        tz=p.city[near].tzid,
        issuer_id=card.issuer_id if card else p.account[v.account].issuer_id,
        acquirer_id=merchant.acquirer_id,
        bin=card.bin if card else 0,
        token_wallet="DEVICE_TOKEN" if token else "NONE",
        terminal_id=terminal,
        series_key=None,
        arrival_count=0,
        is_pinned=False,
        pinned_label=None,
        origin_flow_id=None,
        origin_type="PURE_FRAUD_FLOW",
        mutation_flags=0,
    )
    flow.ordinal, flow.row, flow.form = r.ordinal, r, form
    if not terminal or scripts.identities.token[r.type]:
        flow.mutation_flags += DEVICE * (r.device != v.device) + ADDRESS * (r.address != v.address)
    flow.mutation_flags += ROUTING * (terminal is not None and placed.city != v.city)
    flow.mutation_flags += MERCHANT * (r.leg is None and placed.merchant != v.merchant)
    price(scripts, flow, merchant)
    request(scripts, flow, token)
    flow.__dict__.update(payee(scripts, flow) if form == "TRANSFER" else RAIL)
    return flow


def price(scripts, flow, merchant):
    """Amounts of a new flow."""
    enums, (tables, rule), r = scripts.plan.enums, scripts.prices, flow.row
    c = enums["currency"].index(flow.currency)
    x = r.shown.amount / tables.ref_scale[c]
    minor, ref = [0], [0]
    if flow.form in ("REMOTE", "PRESENT"):
        rounded = scripts.script[r.type]["amount"]["ending"] == "ROUND"
        minor[0] = scripts.snap(x, "ROUND" if rounded else merchant.ending_style, r.shown.ending, flow.currency)
        ref[0] = max(1, round(minor[0] * tables.ref_scale[c]))
    rows = SimpleNamespace(form=[r.placed.form], currency=[c], purpose=[r.shown.purpose], amount=[x])
    rows.ending = [r.shown.ending]
    price_script(rows, tables, rule, minor, ref)
    flow.amount_minor, flow.amount_ref_minor, flow.amount = minor[0], ref[0], minor[0] / tables.minor[c]


def request(scripts, flow, token):
    """Entry, verification and checks of a new flow."""
    plan, form, shown = scripts.plan, flow.form, flow.row.shown
    shape = plan.docs["flow_shape_policy_6B"]
    entry = "NONE"
    if form != "TRANSFER":
        entry = plan.enums["entry_mode"][shown.entry]
        entry = entry if entry in ENTRIES[form] else ENTRIES[form][0]
    ref = flow.amount_ref_minor
    above = ref > shape["present"]["contactless_max_ref"]
    if form == "PRESENT" and entry == "CONTACTLESS" and not token and above:
        entry = "CHIP"
    cvms = {"CHIP": "PIN", "MAGSTRIPE_FALLBACK": "SIGNATURE", "CONTACTLESS": "NO_CVM"}
    flow.cvm = {"PRESENT": "DEVICE" if token else cvms.get(entry, "NONE"), "CASH": "PIN"}.get(form, "NONE")
    online, remote = form == "REMOTE" and entry != "KEYED", form == "REMOTE"
    flow.entry_mode, flow.three_ds = entry, "NOT_APPLICABLE"
    if online:
        flow.three_ds = "FRICTIONLESS" if shown.secure else "NOT_USED"
    issuer = scripts.people.issuer_country[flow.issuer_id]
    both = issuer in shape["regions"]["sca"] and flow.merchant_country in shape["regions"]["sca"]
    flow.sca_exemption = "OUT_OF_SCOPE"
    if both and not (remote and entry == "KEYED"):
        low = form == "PRESENT" and entry == "CONTACTLESS" and not token
        tra = online and flow.three_ds == "NOT_USED" and ref <= shape["not_present"]["tra_max_ref"]
        flow.sca_exemption = "LOW_VALUE" if low else "TRA" if tra else "NONE"
    flow.cvv_result = flow.avs_result = "NOT_PRESENT"
    if remote and entry != "COF":
        flow.cvv_result = "MATCH" if shown.cvv else "NO_MATCH"
        if issuer in shape["regions"]["address_check"]:
            flow.avs_result = "MATCH" if shown.avs else "NO_MATCH"


def payee(scripts, flow):
    """Payee columns of a transfer."""
    plan, p, shown = scripts.plan, scripts.people, flow.row.shown
    inside = p.account.get(shown.payee)
    banks = plan.docs["flow_shape_policy_6B"]["payees"]["new_banks"]
    return {
        "payee_account_id": shown.payee,
        "payee_bank_id": inside.issuer_id if inside else 1000 + int(shown.bank * banks),
        "payee_country": inside.country_iso if inside else p.party[flow.party_id].country_iso,
        "is_new_payee": bool(shown.fresh),
        "purpose": plan.enums["payment_purpose"][shown.purpose],
        "confirmation_of_payee": plan.enums["confirmation_of_payee"][shown.check],
    }


def mark(scripts, tags):
    """Marks and reports of tagged flows; tags: (flow, campaign, incident, rank, layer, first instant)."""
    plan, p = scripts.plan, scripts.people
    for tag in tags:
        card = p.instrument.get(tag.flow.instrument_id)
        tag.virtual = card is not None and card.instrument_kind == "CARD_VIRTUAL"
        tag.type, tag.ts, tag.ordinal = plan.type_row(tag.campaign.type), tag.flow.ts_utc, tag.flow.ordinal
    rows = columns(tags, **{x: x for x in ("type", "first_ts", "ts", "incident", "ordinal", "virtual")})
    out = lists(len(tags), "report", "heard", "renewed")
    report_times(rows, scripts.reports, plan.streams, out)
    for i, tag in enumerate(tags):
        template, script = tag.campaign.template, plan.script[tag.campaign.type]
        tag.flow.__dict__.update(
            fraud_flag=True,
            campaign_id=tag.campaign.id,
            incident_id=encode_id(plan.ids["incident"], tag.incident),
            incident_rank=tag.rank,
            fraud_class=template["fraud_class"],
            fraud_pattern_type=tag.campaign.type,
            tactic=template["tactic"],
            mule_layer=tag.layer,
            planned_dispute=template["mode"] == "DISPUTE",
            report_ts_utc=out.report[i] or None,
            report_door=script["report"]["door"] if out.report[i] else "NONE",
        )
        blocked = script["report"].get("blocks", False) and out.heard[i]
        tag.block = (tag.flow.instrument_id, out.heard[i], out.renewed[i]) if blocked else None


def refund_all(scripts, tags):
    """Refunds of the flows tagged by campaigns that obtain them."""
    plan = scripts.plan
    flows = [t.flow for t in tags if t.campaign.template["mode"] == "REFUND"]
    law = plan.overlay["refunds"]
    numbers = [law["full_share"], law["partial_lo"], law["partial_hi"], *micros(law, "delay")]
    rows = columns(flows, ordinal="ordinal", response="response_ts_utc", cleared="cleared_minor", clear="clear_ts_utc")
    refunded, when = [0] * len(flows), [0] * len(flows)
    source = rows.ordinal, rows.response, rows.cleared, rows.clear
    insert_refunds(*source, numbers, plan.streams, plan.settled, refunded, when)
    for flow, minor, ts in zip(flows, refunded, when, strict=True):
        flow.refunded_minor, flow.refund_ts_utc = minor, ts
        flow.branch_trace |= 8192 | (16384 if minor < flow.cleared_minor else 0)
        flow.mutation_flags |= REFUND
        flow.origin_type = "BASELINE_FLOW_MUTATED"


def redone_rows(plan, flows, new):
    """Baseline flows of accounts with new flows that the issuer decides again."""
    span = {}
    for f in new:
        lo, hi = span.get(f.account_id, (f.ts_utc, f.ts_utc))
        span[f.account_id] = min(lo, f.ts_utc), max(hi, f.ts_utc)
    days = int(plan.catalogue["redo_days"] * DAY)
    out = []
    for f in flows:
        lo, hi = span.get(f.account_id, (1, 0))
        if f.flow_type != "CARD_CREDIT" and lo <= f.ts_utc <= hi + days and lo <= hi:
            out.append(f)
    return out


def weave_s3(scripts, shard, flows):
    """Flows of a shard with their marks, in published order; those to be decided (again); blocks that they meet."""
    plan = scripts.plan
    flows = rows_of(flows)
    for f in flows:
        f.ordinal = decode_id(plan.ids["flow"], f.flow_id)
        f.__dict__.update(MARKS, origin_flow_id=f.flow_id, origin_type="BASELINE_FLOW", mutation_flags=0)
    tagged = take_episodes(scripts, flows, shard)
    new = new_flows(scripts, tagged, shard)
    first, tags = {}, []
    for f in new:
        f.__dict__.update(MARKS)
        r = f.row
        tag = SimpleNamespace(flow=f, campaign=plan.campaigns[r.campaign], incident=r.incident, rank=r.rank)
        tag.layer = r.leg.layer if r.leg else 0
        tags.append(tag)
    for r in tagged:
        if r.row >= 0:
            tag = SimpleNamespace(flow=flows[r.row], campaign=plan.campaigns[r.campaign], incident=r.incident)
            tag.rank, tag.layer = r.rank, 0
            tags.append(tag)
    for tag in tags:
        first[tag.incident] = min(first.get(tag.incident, tag.flow.ts_utc), tag.flow.ts_utc)
    for tag in tags:
        leg = getattr(getattr(tag.flow, "row", None), "leg", None)
        tag.first_ts = leg.first_ts if leg else first[tag.incident]
    mark(scripts, tags)
    refund_all(scripts, tags)
    redone = redone_rows(plan, flows, new)
    for f in [*flows, *new]:
        f.is_redecided = False
    for f in [*redone, *new]:
        f.is_redecided = True
    rows = sorted([*flows, *new], key=lambda f: (f.ts_utc, f.flow_id))
    return SimpleNamespace(rows=rows, redone=redone, new=new, blocks=[t.block for t in tags if t.block])


def put_decisions(woven, decided):
    """Decisions made again, by flow id: columns of new flows and of redone ones, which thereby may be mutated."""
    for f in woven.new:
        f.__dict__.update(decided[f.flow_id])
    for f in woven.redone:
        again = decided[f.flow_id]
        if any(getattr(f, name) != again[name] for name in DECIDED):
            f.origin_type = "BASELINE_FLOW_MUTATED"
            f.mutation_flags |= REDONE
        f.__dict__.update(again)
