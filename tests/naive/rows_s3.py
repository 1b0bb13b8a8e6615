"""What S3 publishes beside flows: events, sessions and the catalogue (contracts/laws/s3.md)."""

from collections import defaultdict
from types import SimpleNamespace

from naive.events import events_of
from naive.scripts_s3 import find

DEVICE, ADDRESS = 4, 8


def split_rule(plan):
    """Places of events between two anchors."""
    clock, model = plan.docs["timing_policy_6B"], plan.docs["amount_model_6B"]
    law = find(clock, "split")
    bounds = {k: [int(law[k + "_s"][x] * 1e6) for x in ("lo", "hi")] for k in ("first_response", "challenge", "resend")}
    share = model["settlement"]["first_shipment"]
    timers = [int(find(clock, name) * 1e6) for name in ("timer_s", "timer_cash_s")]
    return SimpleNamespace(
        first_us=bounds["first_response"],
        challenge_us=bounds["challenge"],
        resend_us=bounds["resend"],
        shipment=[share["lo"], share["hi"]],
        timer_us=timers,
    )


def built_events(scripts, flow, law):
    """Events of a flow whose facts the overlay made or changed."""
    enums = scripts.plan.enums

    def code(enum, label):
        return [enums[enum].index(label)]

    row = SimpleNamespace(
        ts=[flow.ts_utc],
        sent=[flow.auth_sent_utc],
        response_ts=[flow.response_ts_utc],
        clear_ts=[flow.clear_ts_utc],
        refund_ts=[flow.refund_ts_utc],
        reversal_ts=[flow.reversal_ts_utc],
        amount=[flow.amount_minor],
        cleared=[flow.cleared_minor],
        refunded=[flow.refunded_minor],
        reversed=[flow.reversed_minor],
        flow_type=code("flow_type", flow.flow_type),
        first=code("response_code", flow.first_response_code),
        response=code("response_code", flow.response_code),
        step=code("step_up_result", flow.step_up_result),
        attempts=[flow.attempts],
        channel=code("channel_group", flow.channel_group),
        trace=[flow.branch_trace],
    )
    split = scripts.plan.names.index("EVENT_SPLIT")
    u = [scripts.plan.u(split, flow.ordinal, j) for j in range(4)]
    d = scripts.prices[0].minor[enums["currency"].index(flow.currency)]
    for seq, (kind, ts, minor, answer, attempt) in enumerate(events_of(row, 0, law, u)):
        yield {
            "event_seq": seq,
            "event_type": enums["event_type"][kind],
            "ts_utc": ts,
            "amount": minor / d,
            "amount_minor": minor,
            "response_code": enums["response_code"][answer],
            "attempt": attempt,
        }


def event_rows(scripts, rows, baseline):
    """Events of a shard in published order; `baseline`: S2's, one dictionary each."""
    found, law, held = [], split_rule(scripts.plan), defaultdict(dict)
    for e in baseline:
        held[e["flow_id"]][e["event_seq"]] = e
    for f in rows:
        marks = {"flow_id": f.flow_id, "fraud_flag": f.fraud_flag, "campaign_id": f.campaign_id}
        marks["device_id"] = f.device_id if f.mutation_flags & DEVICE else None
        marks["ip_id"] = f.ip_id if f.mutation_flags & ADDRESS else None
        if f.origin_type == "BASELINE_FLOW":
            for seq, e in held[f.flow_id].items():
                found.append(e | marks | {"is_fraud_event": False, "origin_event_seq": seq + 1})
            continue
        for e in built_events(scripts, f, law):
            old = held[f.flow_id].get(e["event_seq"])
            old = old if old and old["event_type"] == e["event_type"] else None
            parts = ("ts_utc", "amount_minor", "response_code", "attempt")
            changed = old is None or any(old[x] != e[x] for x in parts)
            found.append(
                e | marks | {"is_fraud_event": changed, "origin_event_seq": old["event_seq"] + 1 if old else None}
            )
    return sorted(found, key=lambda e: (e["ts_utc"], e["flow_id"], e["event_seq"]))


def session_rows(rows, sessions):
    """S1's sessions and one for each new flow, in order."""
    old = [s | {"origin_type": "BASELINE_FLOW"} for s in sessions]
    for f in rows:
        if f.origin_type == "PURE_FRAUD_FLOW":
            names = ("session_id", "party_id", "device_id", "account_id", "instrument_id", "merchant_id", "ip_id")
            row = {name: getattr(f, name) for name in names} | {"channel_group": f.channel_group}
            row |= {"session_start_utc": f.ts_utc, "session_end_utc": f.ts_utc, "session_key_kind": "OVERLAY"}
            row |= {"arrival_count": 1, "channel_count": 1, "merchant_count": 1, "duration_us": 0}
            row |= {"gap_min_us": None, "gap_max_us": None, "gap_sum_us": None, "origin_type": f.origin_type}
            old.append(row)
    return sorted(old, key=lambda s: (s["session_start_utc"], s["session_id"]))


def catalogue_rows(plan, flows):
    """The catalogue, from the flows of all shards."""
    tagged, out = defaultdict(list), []
    for f in flows:
        tagged[f.campaign_id].append(f)
    for c in sorted(plan.campaigns, key=lambda c: c.id):
        template, mine = c.template, tagged[c.id]
        collusive = plan.script[c.type].get("merchant", {}).get("choice") == "COLLUSIVE"
        kinds = {"CHAIN": "CHAIN", "DISPUTE": "FLOW", "REFUND": "FLOW"}
        out.append(
            {
                "campaign_id": c.id,
                "campaign_label": f"{template['template_id']}#{c.index}",
                "fraud_rate": len(mine) / len(flows),
                "campaign_type": c.type,
                "template_id": template["template_id"],
                "instance_index": c.index,
                "slot": c.slot,
                "fraud_class": template["fraud_class"],
                "fraud_label": template["fraud_label"],
                "target_kind": "MERCHANT" if collusive else kinds.get(template["mode"], "ACCOUNT"),
                "window_start_utc": c.start,
                "window_end_utc": c.end,
                "lane_lo": c.lanes[0],
                "lane_hi": c.lanes[1],
                "merchant_id": c.merchant,
                "ordinal_base": c.base,
                "eligible_arrivals": sum(c.eligible.values()),
                "planned_flows": c.planned,
                "realised_flows": len(mine),
                "realised_new_flows": sum(f.origin_type == "PURE_FRAUD_FLOW" for f in mine),
                "unfilled_flows": c.planned - len(mine),
                "realised_incidents": len({f.incident_id for f in mine}),
            }
        )
    return out
