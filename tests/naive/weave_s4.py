"""S4 as a whole in plain Python: published flows and events of a shard in, every published column of S4 out.

Written from contracts/laws/s4.md. The flows and events are dictionaries of lists; null is None, instants are
microseconds, enums are labels.
"""

from types import SimpleNamespace

from naive.bank import (
    ALERT,
    BLOCK,
    CANDIDATE,
    COLLATERAL,
    D_AMBIGUITY,
    D_SERVICE,
    draws,
    find_collateral,
    screen_flow,
    work_flow,
)
from naive.cases import close_cases, group_cases, member_events
from naive.idmap import decode_id, encode_id
from naive.plan_s4 import micros, rows_of
from naive.streams import draw
from naive.truth import label_events, match_truth_rules

ANOMALIES = ("AMOUNT", "TIME", "DEVICE", "ADDRESS", "ROUTING", "MERCHANT", "REFUND_INSERTED")
STEPS = [
    "DETECTION_EVENT_ATTACHED",
    "ANALYST_REVIEW",
    "CUSTOMER_DISPUTE_FILED",
    "PROVISIONAL_CREDIT",
    "ANALYST_REVIEW",
    "CHARGEBACK_INITIATED",
    "REPRESENTMENT_RECEIVED",
    "PRE_ARBITRATION",
    "CHARGEBACK_DECISION",
    "RECOVERY",
]
INSTANTS = (
    "detection_ts_utc",
    "alert_ts_utc",
    "dispute_ts_utc",
    "chargeback_ts_utc",
    "representment_ts_utc",
    "pre_arbitration_ts_utc",
    "decision_ts_utc",
)
BANK = [
    "flow_id",
    "is_fraud_bank_view",
    "bank_label",
    "auth_decision",
    "detection_outcome",
    "detection_ts_utc",
    "report_source",
    "alert_ts_utc",
    "dispute_reason",
    "dispute_ts_utc",
    "chargeback_type",
    "chargeback_outcome",
    "chargeback_ts_utc",
    "representment_ts_utc",
    "pre_arbitration_ts_utc",
    "decision_ts_utc",
    "liability_party",
    "loss_minor",
    "recovered_minor",
    "case_id",
    "case_open_ts_utc",
    "case_close_ts_utc",
    "label_available_at_utc",
    "label_final_at_utc",
    "label_status",
]
TRUTH = [
    "flow_id",
    "is_fraud_truth",
    "fraud_label",
    "truth_subtype",
    "fraud_class",
    "pattern_source",
    "label_rule_id",
    "campaign_id",
    "incident_id",
    "never_reported",
    "false_positive",
]
HISTORY = ["flow_id", "label_seq", "known_from_utc", "bank_label", "source", "is_final"]
CASES = [
    "case_id",
    "case_event_seq",
    "flow_id",
    "case_event_type",
    "ts_utc",
    "case_type",
    "case_key_type",
    "case_key_id",
    "case_outcome",
]
LINKS = ["case_id", "flow_id", "member_rank", "joined_ts_utc"]
EVENTS = [
    "flow_id",
    "event_seq",
    "is_fraud_truth",
    "is_fraud_bank_view",
    "is_fraud_event_truth",
    "truth_event_role",
    "is_detection_action",
    "is_case_event",
]


def table_of(rows, names):
    """Columns of dictionaries."""
    return {name: [row[name] for row in rows] for name in names}


def match_truth(bank, flows):
    """Rule, label, subtype, class and source of each flow."""
    listed = bank.truth["rules"]
    three = {"ANY": -1, "NOT": 0, "MUST": 1}
    patterns = [rule["when"]["pattern"] for rule in listed]
    rules = SimpleNamespace(
        pattern=[-1 if p == "ANY" else bank.code("campaign_type", p) for p in patterns],
        campaign=[three[rule["when"]["campaign"]] for rule in listed],
        anomaly=[three[rule["when"]["anomaly"]] for rule in listed],
    )
    mask = sum(1 << ANOMALIES.index(flag) for flag in bank.truth["anomaly_flags"])
    places, matches = [0] * len(flows), [0] * len(flows)
    match_truth_rules(
        bank.codes("campaign_type", [f.fraud_pattern_type for f in flows]),
        [f.campaign_id or 0 for f in flows],
        [f.mutation_flags for f in flows],
        mask,
        rules,
        places,
        matches,
    )
    assert matches == [1] * len(flows), "rules of truth are no partition"
    return [pinned_truth(f) if f.pinned_label else listed[place] for f, place in zip(flows, places, strict=True)]


def bad_credit(flow):
    """Whether a credit of an imported log is labelled bad: its refund is the act."""
    return flow.flow_type == "CARD_CREDIT" and flow.pinned_label in ("FRAUD", "ABUSE") and flow.refunded_minor > 0


def pinned_truth(flow):
    """What a label of an imported log makes of its flow."""
    assert flow.campaign_id is None, "a campaign tagged a labelled flow"
    found = {"rule": "RULE_PINNED_LABEL", "label": flow.pinned_label, "source": "IMPORTED"}
    return found | {"subtype": "NONE", "class": "NONE"}


def screen(bank, flow):
    """Signals of a published flow."""
    f = SimpleNamespace(
        report_ts=flow.report_ts_utc or 0,
        cleared=flow.cleared_minor,
        decision=bank.code("auth_decision", flow.auth_decision),
        code=bank.code("response_code", flow.response_code),
        block=bank.code("block_state", flow.block_state),
        payment=bank.code("payment_state", flow.payment_state),
        door=bank.code("report_source", flow.report_door),
        channel=bank.code("channel_group", flow.channel_group),
        layer=flow.mule_layer,
        alerted=flow.alerted,
    )
    marked = draws(bank.keys, D_AMBIGUITY, flow.ordinal, 2, bank.evidence)
    service = None
    if flow.flow_outcome == "AUTH_SETTLED" and not flow.fraud_flag:
        service = draw(bank.keys, D_SERVICE, flow.ordinal, bank.evidence)
    role, demand = bank.role[flow.party_id - 1], bank.demand[flow.merchant_id - 1]
    return screen_flow(f, role, demand, bank.screen_rules, marked, service)


def is_stopped(bank, flow):
    """Declined because the holder had stopped the card."""
    return flow.block_state == "REPORT" and flow.response_code not in bank.policy["block"]["codes"]


def money(flow):
    """What became of the money."""
    if flow.flow_outcome in ("AUTH_SETTLED", "CASH_DISPENSED") and flow.cleared_minor > 0:
        return 1
    if flow.flow_outcome in ("TRANSFER_RETURNED", "TRANSFER_RECALLED"):
        return 3
    return 2 if flow.flow_outcome == "TRANSFER_COMPLETED" else 0


def work(bank, flow, known=0):
    """The view of a flow with signals."""
    f = SimpleNamespace(
        ordinal=flow.ordinal,
        ts=flow.ts_utc,
        response_ts=flow.response_ts_utc,
        clear_ts=flow.clear_ts_utc or 0,
        report_ts=flow.report_ts_utc or 0,
        amount=flow.amount_minor,
        amount_ref=flow.amount_ref_minor,
        cleared=flow.cleared_minor,
        refunded=flow.refunded_minor,
        known_ts=known,
        signals=flow.signals,
        kind=bank.code("fraud_class", flow.rule["class"]),
        demand=bank.demand[flow.merchant_id - 1],
        moved=money(flow),
        entry=bank.code("entry_mode", flow.entry_mode),
        cvm=bank.code("cvm", flow.cvm),
        three_ds=bank.code("three_ds", flow.three_ds),
        series=flow.series_key is not None,
        stopped=is_stopped(bank, flow),
    )
    return work_flow(f, bank.rules, bank.claims, bank.windows[flow.issuer_id - 1], bank.keys, bank.evidence)


def quiet_view(bank, flow):
    """The view of a flow of which nothing was heard."""
    presumed = flow.ts_utc + bank.rules.presumed_us
    final = presumed if presumed <= bank.last else 0
    times = [0] * 15
    times[9], times[10] = presumed, final
    codes = [bank.code("bank_label", "NO_CASE_OPENED"), *[0] * 6]
    codes += [bank.code("label_status", "FINAL" if final else "PROVISIONAL"), 0]
    return SimpleNamespace(times=times, codes=codes, history=[])


def work_all(bank, flows):
    """Signals and views of all flows; neighbours of known bad flows last."""
    for flow in flows:
        flow.ordinal = decode_id(bank.flow_key, flow.flow_id)
        flow.signals = screen(bank, flow)
    for flow in flows:
        heard = flow.signals not in (0, CANDIDATE)
        flow.view = work(bank, flow) if heard else quiet_view(bank, flow)
    rule = bank.policy["collateral"]
    listed = [f for f in flows if f.fraud_pattern_type in rule["patterns"] and f.view.times[0]]
    sources = sorted((f.account_id, f.ts_utc, f.view.times[0]) for f in listed if f.signals != 0)
    near = [f for f in flows if f.signals == CANDIDATE]
    known = [0] * len(near)
    owner, at, since = zip(*sources, strict=True) if sources else ((), (), ())
    accounts, instants = [f.account_id for f in near], [f.ts_utc for f in near]
    find_collateral(accounts, instants, owner, at, since, micros(rule["window_s"]), known)
    for flow, first in zip(near, known, strict=True):
        flow.signals = COLLATERAL if first else 0
        if first:
            flow.view = work(bank, flow, first)


def bank_row(bank, flow):
    """Published columns but those of the case."""
    t, c = flow.view.times, flow.view.codes
    enums = bank.enums
    label = enums["bank_label"][c[0]]
    row = {"flow_id": flow.flow_id, "auth_decision": flow.auth_decision, "bank_label": label}
    row["is_fraud_bank_view"] = label in ("BANK_CONFIRMED_FRAUD", "CHARGEBACK_WRITTEN_OFF")
    row.update({name: t[k] or None for k, name in enumerate(INSTANTS)})
    row.update(loss_minor=t[7], recovered_minor=t[8], label_available_at_utc=t[9], label_final_at_utc=t[10] or None)
    row["detection_outcome"] = enums["detection_outcome"][c[1]]
    row["report_source"] = enums["report_source"][c[2]]
    row["dispute_reason"] = enums["dispute_reason"][c[3]]
    row["chargeback_type"] = enums["chargeback_type"][c[4]]
    row["chargeback_outcome"] = enums["chargeback_outcome"][c[5]]
    row["liability_party"] = enums["liability_party"][c[6]]
    row["label_status"] = enums["label_status"][c[7]]
    row.update(case_id=None, case_open_ts_utc=None, case_close_ts_utc=None)
    return row


def truth_row(bank, flow):
    """Published columns of truth."""
    bad = flow.rule["label"] != "LEGIT"
    alarmed = flow.signals & ALERT or (flow.signals & BLOCK and not is_stopped(bank, flow))
    return {
        "flow_id": flow.flow_id,
        "is_fraud_truth": bad,
        "fraud_label": flow.rule["label"],
        "truth_subtype": flow.rule["subtype"],
        "fraud_class": flow.rule["class"],
        "pattern_source": flow.rule["source"],
        "label_rule_id": flow.rule["rule"],
        "campaign_id": flow.campaign_id,
        "incident_id": flow.incident_id,
        "never_reported": bad and flow.bank["detection_ts_utc"] is None,
        "false_positive": not bad and bool(alarmed or flow.bank["is_fraud_bank_view"]),
    }


def history_rows(bank, flow):
    """Changes of the label."""
    rows = []
    for seq, (instant, label, source) in enumerate(flow.view.history):
        last = seq + 1 == len(flow.view.history)
        rows.append(
            {
                "flow_id": flow.flow_id,
                "label_seq": seq,
                "known_from_utc": instant,
                "bank_label": bank.enums["bank_label"][label],
                "source": bank.enums["report_source"][source],
                "is_final": last and flow.bank["label_status"] == "FINAL",
            }
        )
    return rows


def case_key(bank, flow):
    """(key type code, key id)."""
    kind = bank.cases["key_by_channel"][flow.channel_group]
    if kind == "INSTRUMENT" and flow.instrument_id is None:
        kind = "ACCOUNT"
    ids = {"INSTRUMENT": flow.instrument_id, "ACCOUNT": flow.account_id, "PARTY": flow.party_id}
    return bank.code("case_key_type", kind), ids[kind]


def group_members(bank, flows):
    """Lists of members, case by case, with their rank, and whether each case is reopened."""
    members = sorted((*case_key(bank, f), f.view.times[11], f.ordinal, f) for f in flows if f.view.times[11])
    n = len(members)
    case, rank, mark = [0] * n, [0] * n, [False] * n
    policy = bank.cases
    limits = SimpleNamespace(
        same_us=micros(policy["same_case_s"]), reopen_us=micros(policy["reopen_after_s"]), cap=policy["max_flows"]
    )
    kinds, ids, anchors = [m[0] for m in members], [m[1] for m in members], [m[2] for m in members]
    group_cases(kinds, ids, anchors, limits, case, rank, mark)
    found = [[] for _ in range(case[-1] + 1)] if members else []
    reopened = [False] * len(found)
    for i, member in enumerate(members):
        found[case[i]].append(member[4])
        reopened[case[i]] = reopened[case[i]] or mark[i]
    return found, reopened


def case_outcome(members):
    """Outcome of a case: the first line of the law that holds."""
    if any(f.bank["label_status"] == "CENSORED" for f in members):
        return "UNKNOWN"
    if any(f.bank["loss_minor"] > 0 for f in members):
        return "BANK_LOSS"
    if any(f.bank["chargeback_ts_utc"] is not None for f in members):
        return "BANK_WIN"
    return "CONFIRMED_FRAUD" if any(f.bank["is_fraud_bank_view"] for f in members) else "CONFIRMED_LEGIT"


def case_type(members):
    """Type of a case."""
    if any(f.bank["chargeback_ts_utc"] is not None for f in members):
        return "CHARGEBACK_CASE"
    if any(f.bank["dispute_ts_utc"] is not None for f in members):
        return "DISPUTE_CASE"
    return "DETECTION_CASE" if any(f.bank["is_fraud_bank_view"] for f in members) else "REVIEW_CASE"


def timeline(bank, members, reopened):
    """(instant, flow, type) of a case in order, first to last."""
    places = [[0] * len(STEPS) for _ in members]
    ordinals = [f.ordinal for f in members]
    times, sources = [f.view.times for f in members], [f.view.codes[2] for f in members]
    member_events(times, sources, ordinals, bank.delays, bank.last, bank.keys, bank.evidence, places)
    listed = sorted((t, rank, k) for rank, row in enumerate(places) for k, t in enumerate(row) if t)
    first, anchor = members[0], members[0].view.times[11]
    rows = [(anchor, first, "CASE_OPENED")]
    if reopened:
        rows.append((anchor + (listed[0][0] - anchor) // 2, first, "CASE_REOPENED"))
    rows += [(t, members[rank], STEPS[k]) for t, rank, k in listed]
    end = max([t for t, _, _ in rows] + [f.view.times[6] for f in members])
    closed = [0]
    close_cases([first.ordinal], [end], bank.delays, bank.last, bank.keys, bank.evidence, closed)
    return [*rows, (closed[0], first, "CASE_CLOSED")]


def build_cases(bank, flows):
    """Timelines and links; flows get the columns of their case."""
    rows, links = [], []
    for members, reopened in zip(*group_members(bank, flows), strict=True):
        ident = encode_id(bank.case_key, members[0].ordinal)
        kind, key_id = case_key(bank, members[0])
        steps = timeline(bank, members, reopened)
        about = {
            "case_id": ident,
            "case_type": case_type(members),
            "case_key_type": bank.enums["case_key_type"][kind],
            "case_key_id": key_id,
            "case_outcome": case_outcome(members),
        }
        for seq, (t, flow, name) in enumerate(steps):
            rows.append({**about, "case_event_seq": seq, "flow_id": flow.flow_id, "case_event_type": name, "ts_utc": t})
        for rank, flow in enumerate(members):
            joined = flow.view.times[11]
            flow.bank.update(case_id=ident, case_open_ts_utc=joined, case_close_ts_utc=steps[-1][0])
            links.append(
                {"case_id": ident, "flow_id": flow.flow_id, "member_rank": rank, "joined_ts_utc": joined},
            )
    rows.sort(key=lambda r: (r["case_id"], r["case_event_seq"]))
    links.sort(key=lambda r: (r["case_id"], r["member_rank"]))
    return rows, links


def event_table(bank, flows, events):
    """Labels of events."""
    place = {f.flow_id: k for k, f in enumerate(flows)}
    state = []
    for f in flows:
        bits = 1 * f.truth["is_fraud_truth"] + 2 * f.bank["is_fraud_bank_view"]
        bits += 4 * (f.bank["detection_ts_utc"] is not None) + 8 * (f.bank["case_id"] is not None)
        state.append(bits + (16 if f.mutation_flags & 64 or bad_credit(f) else 0))
    marks = SimpleNamespace(
        state=state,
        detected=[f.bank["detection_ts_utc"] or 0 for f in flows],
        opened=[f.bank["case_open_ts_utc"] or 0 for f in flows],
        closed=[f.bank["case_close_ts_utc"] or 0 for f in flows],
    )
    columns = SimpleNamespace(
        flow=[place[i] for i in events["flow_id"]],
        kind=bank.codes("event_type", events["event_type"]),
        changed=[
            e or bad_credit(flows[place[i]]) for i, e in zip(events["flow_id"], events["is_fraud_event"], strict=True)
        ],
        ts=events["ts_utc"],
    )
    n, windows = len(columns.flow), bank.policy["event_windows"]
    out = SimpleNamespace(**{name: [0] * n for name in ("fraud", "bank", "act", "role", "detection", "case")})
    spans = [micros(windows[name]) for name in ("detection_s", "case_before_s", "case_after_s")]
    label_events(columns, marks, *spans, out)
    roles = [bank.enums["truth_event_role"][code] for code in out.role]
    found = (events["flow_id"], events["event_seq"], out.fraud, out.bank, out.act, roles, out.detection, out.case)
    return dict(zip(EVENTS, found, strict=True))


def weave_s4(bank, flows, events):
    """Six tables of a shard by dataset, from its published flows and events (dictionaries of lists)."""
    flows = rows_of(flows)
    for flow, rule in zip(flows, match_truth(bank, flows), strict=True):
        flow.rule = rule
    work_all(bank, flows)
    for flow in flows:
        flow.bank = bank_row(bank, flow)
        flow.truth = truth_row(bank, flow)
    cases, links = build_cases(bank, flows)
    history = [row for f in sorted(flows, key=lambda f: f.flow_id) for row in history_rows(bank, f)]
    return {
        "s4_flow_truth_labels_6B": table_of([f.truth for f in flows], TRUTH),
        "s4_flow_bank_view_6B": table_of([f.bank for f in flows], BANK),
        "s4_event_labels_6B": event_table(bank, flows, events),
        "s4_label_history_6B": table_of(history, HISTORY),
        "s4_case_timeline_6B": table_of(cases, CASES),
        "s4_case_flow_link_6B": table_of(links, LINKS),
    }
