"""Decisions that S3 has the issuer make again: S2 of a shard over baseline and new flows, from the decision on."""

from naive.busy import count_busy
from naive.idmap import decode_id
from naive.keys import run_keys
from naive.payment_codes import CREDIT
from naive.plan_s2 import Plan
from naive.weave_s2 import ENUM_OF, Shard, publish, whole
from naive.weave_s3 import DECIDED

STARTS = {
    "flow_type": "CARD_AUTH_CLEAR",
    "flow_outcome": "AUTH_SETTLED",
    "auth_decision": "APPROVE",
    "first_response_code": "NONE",
    "response_code": "NONE",
    "responder": "ISSUER",
    "step_up_result": "NONE",
    "block_state": "NONE",
    "payment_state": "NOT_APPLICABLE",
}
ID = "flow_id"


def issuer_plan(world, manifest, docs, enums, seed, scenario, arrivals):
    """S2's plan with its census of the arrivals of all shards."""
    plan = Plan(world, manifest, docs, enums, run_keys(manifest["manifest_fingerprint"], seed, scenario))
    places = plan.places
    for a in arrivals:
        slots = places.merchant_slot, places.ip_slot, places.merchant_hours, places.ip_days
        count_busy(a["ts_utc"], a["merchant_id"], a["ip_id"], plan.start, *slots)
    return plan


class Again(Shard):
    """Flows of a shard as codes, before their second decision."""

    def __init__(self, plan, names, rows):
        self.p, self.n, self.f = plan, len(rows), {}
        self.ordinal = [decode_id(plan.flow_key, r.flow_id) for r in rows]
        for name in names:
            values = [getattr(r, name, STARTS.get(name, 0)) for r in rows]
            enum = ENUM_OF.get(name, name)
            if enum in plan.enums:
                self.f[name] = [-1 if v is None else plan.enums[enum].index(v) for v in values]
            else:
                self.f[name] = whole(values)
        f = self.f
        self.credit = [kind == CREDIT for kind in f["flow_type"]]
        self.kind = self.world("s3_instrument_base_6A", "instrument_kind", f["instrument_id"], -1)
        self.scheme = self.world("s3_instrument_base_6A", "scheme", f["instrument_id"], -1)
        self.issuer_country = self.world("issuers_6A", "country_iso", f["issuer_id"])


def decide_again(plan, names, woven):
    """Decided and settled columns by flow id, of the new flows and the redone ones; `names`: S2's columns. The plan's
    evidence gains the draws of these rows."""
    mine = {f.flow_id for f in [*woven.new, *woven.redone]}
    shard = Again(plan, names, woven.rows)
    again = [i in mine for i in shard.f[ID]]
    shard.decide(again, woven.blocks)
    shard.settle([k for k, hit in enumerate(again) if hit])
    table = publish(plan, {name: shard.f[name] for name in (ID, *DECIDED)}, (ID,))
    rows = zip(*(table[name] for name in DECIDED), strict=True)
    found = dict(zip(table[ID], rows, strict=True))
    return {i: dict(zip(DECIDED, found[i], strict=True)) for i in mine}
