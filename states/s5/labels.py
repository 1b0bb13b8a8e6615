"""Checks of S4 on one shard: truth, the bank's view, its history, and the labels of events."""

from __future__ import annotations

import numpy as np

from fraudloom.states.s5.context import Context
from fraudloom.states.s5.joins import Array, Groups, IdIndex, Table, take
from fraudloom.states.s5.tally import Tally
from fraudloom.tables import Columns

COVERAGE, TRUTH, BANK = "REQ_FLOW_LABEL_COVERAGE", "REQ_CRITICAL_TRUTH_REALISM", "REQ_BANK_CONSISTENCY"
#: Columns of S3's flows that the checks below read; the scan lets go of the others.
FLOWS_READ = (
    "flow_id",
    "ts_utc",
    "channel_group",
    "auth_decision",
    "alerted",
    "campaign_id",
    "incident_id",
    "fraud_pattern_type",
    "fraud_class",
    "mutation_flags",
    "cleared_minor",
    "pinned_label",
)
#: Instants of the bank that may not come before another: (earlier, later).
BANK_ORDER = (
    ("ts_utc", "detection_ts_utc"),
    ("ts_utc", "alert_ts_utc"),
    ("ts_utc", "dispute_ts_utc"),
    ("ts_utc", "case_open_ts_utc"),
    ("ts_utc", "label_available_at_utc"),
    ("detection_ts_utc", "case_open_ts_utc"),
    ("alert_ts_utc", "case_open_ts_utc"),
    ("dispute_ts_utc", "chargeback_ts_utc"),
    ("chargeback_ts_utc", "representment_ts_utc"),
    ("representment_ts_utc", "pre_arbitration_ts_utc"),
    ("chargeback_ts_utc", "decision_ts_utc"),
    ("case_open_ts_utc", "case_close_ts_utc"),
    ("label_available_at_utc", "label_final_at_utc"),
)
#: Instant and code that are there together or not at all.
BANK_PAIRS = (
    ("detection_ts_utc", "detection_outcome", "detection_outcome", "NOT_DETECTED"),
    ("dispute_ts_utc", "dispute_reason", "dispute_reason", "NONE"),
    ("chargeback_ts_utc", "chargeback_type", "chargeback_type", "NONE"),
)


def aligned(tally: Tally, dataset: str, mine: Table, theirs: Table, names: tuple[str, ...]) -> bool:
    """Whether two tables have the same keys row by row; noted as coverage and order."""
    f = tally.findings
    same = len(mine[names[0]]) == len(theirs[names[0]])
    f.one(COVERAGE, f"{dataset} has a row per row", same, f"{dataset}: {len(mine[names[0]])} rows")
    if not same:
        return False
    wrong = np.zeros(len(mine[names[0]]), dtype=np.bool_)
    for name in names:
        wrong |= mine[name] != theirs[name]
    return f.rows("REQ_ROW_ORDER", f"{dataset} aligned", wrong, {"flow_id": mine["flow_id"]})


def check_truth(ctx: Context, tally: Tally, flows: Columns, truth: Columns, bank: Columns) -> None:
    """Truth is what the overlay did: the rule of the pattern, the campaign's label, LEGIT where nothing happened."""
    f = tally.findings
    ids = {"flow_id": flows["flow_id"]}
    legit = ctx.code("fraud_label", "LEGIT")
    label = truth["fraud_label"]
    good = label == legit
    tagged = flows["campaign_id"] > 0
    f.rows(TRUTH, "is_fraud_truth says not LEGIT", truth["is_fraud_truth"] == good, ids)
    f.rows(TRUTH, "T4 campaign flow is not LEGIT", tagged & good, ids)
    book = ctx.campaigns
    place = IdIndex(book["campaign_id"]).rows(flows["campaign_id"])
    if "fraud_label" in book:
        f.rows(TRUTH, "label as catalogued", (place >= 0) & (take(book["fraud_label"], place) != label), ids)
    for name in ("FRAUD", "ABUSE", "LEGIT"):
        tally.add(f"truth_{name}", int((label == ctx.code("fraud_label", name)).sum()))
    flagged = bank["is_fraud_bank_view"]
    if "label_rule_id" not in truth:
        if ctx.labelled:
            f.skip(TRUTH, "T3 flow without campaign is LEGIT", "labels of the imported log are not published here")
        else:
            f.rows(TRUTH, "T3 flow without campaign is LEGIT", ~tagged & ~good, ids)
        f.skip(TRUTH, "T22 rule per flow", "label_rule_id is not published under this profile")
        return
    rule = truth["label_rule_id"]
    odd = (flows["mutation_flags"] & 127) != 0
    by_pattern = np.array([_rule(ctx, p) for p in ctx.code.enums["campaign_type"]], dtype=np.int8)
    want = by_pattern[flows["fraud_pattern_type"]]
    want = np.where(tagged, want, ctx.code("truth_rule", "RULE_NONE_NO_OVERLAY"))
    want = np.where(~tagged & odd, ctx.code("truth_rule", "RULE_OVERLAY_ANOMALY_NO_CAMPAIGN"), want)
    pinned = flows["pinned_label"] >= 0
    want = np.where(pinned, ctx.code("truth_rule", "RULE_PINNED_LABEL"), want)
    f.rows(TRUTH, "T22 rule is that of the pattern", rule != want, ids)
    f.rows(TRUTH, "T3 flow without campaign or anomaly is LEGIT", ~tagged & ~odd & ~good & ~pinned, ids)
    f.rows(TRUTH, "label as the imported log's", pinned & (tagged | (label != flows["pinned_label"])), ids)
    subtype = ctx.code("campaign_type", "NONE")
    f.rows(TRUTH, "subtype is the pattern", tagged & (truth["truth_subtype"] != flows["fraud_pattern_type"]), ids)
    f.rows(TRUTH, "LEGIT has no subtype", (good | pinned) != (truth["truth_subtype"] == subtype), ids)
    for name in ("campaign_id", "incident_id"):
        f.rows(TRUTH, f"{name} as on the flow", truth[name] != flows[name], ids)
    f.rows(TRUTH, "class as on the flow", tagged & (truth["fraud_class"] != flows["fraud_class"]), ids)
    source = np.where(tagged, ctx.code("pattern_source", "CAMPAIGN"), ctx.code("pattern_source", "NONE"))
    source = np.where(pinned, ctx.code("pattern_source", "IMPORTED"), source)
    f.rows(TRUTH, "pattern_source", (tagged | good | pinned) & (truth["pattern_source"] != source), ids)
    f.rows(TRUTH, "never_reported only on bad flows", truth["never_reported"] & good, ids)
    f.rows(TRUTH, "false_positive only on LEGIT flows", truth["false_positive"] & ~good, ids)
    missed = good & (flows["alerted"] | flagged) & ~truth["false_positive"]
    f.rows(TRUTH, "LEGIT and alerted or labelled fraud is a false positive", missed, ids)
    tally.add("legit_flagged", int((good & truth["false_positive"]).sum()))


def _rule(ctx: Context, pattern: str) -> int:
    name = "RULE_NONE_NO_OVERLAY" if pattern == "NONE" else f"RULE_{pattern}"
    return ctx.code("truth_rule", name)


def check_bank(ctx: Context, tally: Tally, flows: Columns, truth: Columns, bank: Columns) -> None:
    """The bank's view against the flow and itself: labels, pairs of instant and code, order of instants, amounts."""
    f = tally.findings
    ids = {"flow_id": flows["flow_id"]}
    label = bank["bank_label"]
    fraud = np.isin(label, ctx.code.many("bank_label", "BANK_CONFIRMED_FRAUD", "CHARGEBACK_WRITTEN_OFF"))
    f.rows(BANK, "is_fraud_bank_view follows the label", bank["is_fraud_bank_view"] != fraud, ids)
    _detection(ctx, tally, truth, bank)
    if "detection_ts_utc" not in bank:
        f.skip(BANK, "instants and outcomes", "not published under this profile")
        return
    f.rows(BANK, "auth_decision as on the flow", bank["auth_decision"] != flows["auth_decision"], ids)
    for ts, column, enum, none in BANK_PAIRS:
        f.rows(BANK, f"{column} with its instant", (bank[ts] != 0) != (bank[column] != ctx.code(enum, none)), ids)
    outcome = bank["chargeback_outcome"] != ctx.code("chargeback_outcome", "NONE")
    f.rows(BANK, "outcome needs a chargeback", outcome & (bank["chargeback_ts_utc"] == 0), ids)
    times = {**bank, "ts_utc": flows["ts_utc"]}
    for early, late in BANK_ORDER:
        bad = (times[late] != 0) & (times[late] < times[early])
        f.rows(BANK, f"{late} not before {early}", bad, ids)
        if early in ("dispute_ts_utc", "chargeback_ts_utc", "representment_ts_utc") and late != "decision_ts_utc":
            f.rows(BANK, f"{late} needs {early}", (times[late] != 0) & (times[early] == 0), ids)
        out = (times[late] != 0) & (times[late] >= ctx.horizon.settled)
        if late != "label_available_at_utc":
            f.rows("REQ_SCENARIO_OOB", f"{late} inside the settlement horizon", out, ids)
    in_case = bank["case_id"] != 0
    unlabelled = label == ctx.code("bank_label", "NO_CASE_OPENED")
    for name in ("case_open_ts_utc", "case_close_ts_utc"):
        f.rows(BANK, f"{name} exactly in cases", in_case != (bank[name] != 0), ids)
    if not ctx.plan.cases:
        f.rows(BANK, "no case where cases are switched off", in_case, ids)
        in_case = ~unlabelled  # what would be in a case
    f.rows(BANK, "a label exactly in cases", in_case == unlabelled, ids)
    detected = bank["detection_ts_utc"] != 0
    f.rows(BANK, "confirmed fraud was detected", fraud & ~detected, ids)
    f.rows(
        BANK,
        "never_reported = bad and never known",
        truth["never_reported"] != (truth["is_fraud_truth"] & ~detected),
        ids,
    )
    blocked = bank["label_status"] == ctx.code("label_status", "BLOCKED_UNVERIFIED")
    at_auth = bank["detection_outcome"] == ctx.code("detection_outcome", "DETECTED_AT_AUTH")
    f.rows(BANK, "BLOCKED_UNVERIFIED needs a block and no case", blocked & (~at_auth | in_case), ids)
    nothing = ~in_case & ~detected & ((bank["loss_minor"] != 0) | (bank["recovered_minor"] != 0))
    f.rows(BANK, "loss only of known flows", nothing, ids)
    cleared = flows["cleared_minor"] > 0
    rail = flows["channel_group"] == ctx.code("channel_group", "BANK_RAIL")
    charged = bank["chargeback_ts_utc"] != 0
    f.rows(BANK, "chargeback only of cleared flows", charged & ~cleared, ids)
    f.rows(BANK, "no chargeback on rails", charged & rail, ids)
    f.rows(BANK, "losses are not negative", (bank["loss_minor"] < 0) | (bank["recovered_minor"] < 0), ids)
    final = ctx.code("label_status", "FINAL")
    f.rows(BANK, "FINAL has its instant", (bank["label_status"] == final) != (bank["label_final_at_utc"] != 0), ids)
    tally.add("cases_flows", int(in_case.sum()))
    tally.add("chargebacks", int(charged.sum()))


def _detection(ctx: Context, tally: Tally, truth: Columns, bank: Columns) -> None:
    known = bank["is_fraud_bank_view"]
    if "detection_outcome" in bank:
        known = known | (bank["detection_outcome"] != ctx.code("detection_outcome", "NOT_DETECTED"))
    for name in ("FRAUD", "ABUSE"):
        mine = truth["fraud_label"] == ctx.code("fraud_label", name)
        tally.add(f"known_{name}", int((mine & known).sum()))


def check_history(ctx: Context, tally: Tally, flows: Columns, bank: Columns, history: Columns, index: IdIndex) -> None:
    """Changes of labels: contiguous, in time, ending in the bank view; flows without one hold no label."""
    f = tally.findings
    ids = {"flow_id": history["flow_id"]}
    if not ctx.plan.history:
        f.rows(BANK, "no history where it is switched off", np.ones(len(ids["flow_id"]), dtype=np.bool_), ids)
        return
    row = index.rows(history["flow_id"])
    f.rows(BANK, "history's flow exists", row < 0, ids)
    n = len(flows["flow_id"])
    groups = Groups(row, n)
    order = groups.order[: int(groups.start[-1])] if n else groups.order[:0]
    place = np.arange(len(order)) - groups.start[row[order]]
    f.rows(BANK, "label_seq contiguous", history["label_seq"][order] != place, {"flow_id": history["flow_id"][order]})
    later = place[1:] > 0
    ts = history["known_from_utc"][order]
    f.rows(BANK, "history in time order", later & (ts[1:] < ts[:-1]))
    f.rows(BANK, "history after its flow", ts < flows["ts_utc"][row[order]], {"flow_id": history["flow_id"][order]})
    label = history["bank_label"][order]
    f.rows(BANK, "history changes the label", later & (label[1:] == label[:-1]))
    has = groups.sizes > 0
    last = order[groups.start[1:][has] - 1] if n else order
    where = {"flow_id": flows["flow_id"][has]}
    f.rows(BANK, "bank view holds the last label", history["bank_label"][last] != bank["bank_label"][has], where)
    f.rows(
        BANK,
        "label available since its change",
        history["known_from_utc"][last] != bank["label_available_at_utc"][has],
        where,
    )
    final = bank["label_status"][has] == ctx.code("label_status", "FINAL")
    f.rows(BANK, "is_final on the last change of a final label", history["is_final"][last] != final, where)
    ends = np.zeros(len(row), dtype=np.bool_)
    ends[last] = True
    f.rows(BANK, "is_final on the last change only", history["is_final"] & ~ends, ids)
    none = ctx.code("bank_label", "NO_CASE_OPENED")
    f.rows(BANK, "no history, no label", ~has & (bank["bank_label"] != none), {"flow_id": flows["flow_id"]})


def check_event_labels(ctx: Context, tally: Tally, labels: Columns, flow: Array, truth: Columns, bank: Columns) -> None:
    """Events carry their flow's labels; only bad flows have bad acts."""
    f = tally.findings
    at = {"flow_id": labels["flow_id"], "event_seq": labels["event_seq"]}
    known = flow >= 0
    for name, table in (("is_fraud_truth", truth), ("is_fraud_bank_view", bank)):
        f.rows(COVERAGE, f"event's {name} as on its flow", known & (take(table[name], flow) != labels[name]), at)
    if "truth_event_role" not in labels:
        f.skip(COVERAGE, "event roles", "not published under this profile")
        return
    context = labels["truth_event_role"] == ctx.code("truth_event_role", "LEGIT_CONTEXT")
    primary = labels["truth_event_role"] == ctx.code("truth_event_role", "PRIMARY_FRAUD_ACTION")
    f.rows(TRUTH, "LEGIT events are context, others are not", labels["is_fraud_truth"] == context, at)
    f.rows(TRUTH, "bad act is the primary action", labels["is_fraud_event_truth"] != primary, at)
    acts = np.bincount(flow[primary & known], minlength=len(truth["flow_id"]))
    f.rows(TRUTH, "bad flow has a bad act", truth["is_fraud_truth"] & (acts == 0), {"flow_id": truth["flow_id"]})
    detected = bank["detection_ts_utc"] != 0
    f.rows(
        BANK, "detection action needs a detection", labels["is_detection_action"] & known & ~take(detected, flow), at
    )
    in_case = bank["case_id"] != 0
    f.rows(BANK, "case event needs a case", labels["is_case_event"] & known & ~take(in_case, flow), at)
