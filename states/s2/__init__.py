"""S2: sessions become payment flows with amounts, decisions, times and events. All of them are genuine.

The steps stand alone, so that an overlay can repeat them on rows that it changed or added (`flows` is always the flow
frame: every column of s2_flow_anchor_baseline_6B, or more, and `_ordinal`):

- `derive(plan, flows)`: routing columns from ids (mcc, acquirer, currency, merchant_country, issuer, bin);
- `choose_payees`, `price`, `observe` (plan, flows, ..., evidence): payees, amounts, what the request shows;
- `ending_amounts(plan, merchant, currency, minor, u)`, `set_amounts(plan, flows, minor, ref)`: a changed amount;
- `decide(plan, world, flows, redo, blocks, busy, evidence)`: the issuer, in time order, rows of `redo` only;
- `settle(plan, world, flows, rows, evidence)`: times and settlement of decided rows;
- `build_events(plan, flows, evidence)`: events of any rows;
- `prove_events(flows, events, settlement)`: invariants 1 to 4, for an overlay's frame too.
"""

from fraudloom.states.s2.busy import busy_add, busy_add_places, busy_merge, busy_new
from fraudloom.states.s2.decide import DECIDED, BlockList, decide, no_blocks
from fraudloom.states.s2.frame import (
    S2Frame,
    choose_payees,
    derive,
    ending_amounts,
    observe,
    plan_flows,
    price,
    requested_three_ds,
    set_amounts,
)
from fraudloom.states.s2.plan import S2Plan, compile_plan
from fraudloom.states.s2.prove import expected_draws, prove, prove_draws, prove_events
from fraudloom.states.s2.settle import build_events, settle
from fraudloom.states.s2.weave import weave

__all__ = [
    "DECIDED",
    "BlockList",
    "S2Frame",
    "S2Plan",
    "build_events",
    "busy_add",
    "busy_add_places",
    "busy_merge",
    "busy_new",
    "choose_payees",
    "compile_plan",
    "decide",
    "derive",
    "ending_amounts",
    "expected_draws",
    "no_blocks",
    "observe",
    "plan_flows",
    "price",
    "prove",
    "prove_draws",
    "prove_events",
    "requested_three_ds",
    "set_amounts",
    "settle",
    "weave",
]
