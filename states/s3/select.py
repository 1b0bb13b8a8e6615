"""From baseline flows of a shard to tagged flows: the race of accounts, and episodes until quotas are full."""

from __future__ import annotations

import numpy as np

from fraudloom.kernels import campaigns as kc
from fraudloom.kernels import payment_codes as pc
from fraudloom.states.decisions import EvidenceArray
from fraudloom.states.s3.policy import DISPUTE, NEW, REFUND, Array
from fraudloom.states.s3.quotas import Plan2
from fraudloom.tables import Columns


def instrument_kinds(p2: Plan2, instrument: Array) -> Array:
    """Kind code of each instrument id, -1 where there is none: int8[n]."""
    kinds = p2.plan.pools.tables["s3_instrument_base_6A"]["instrument_kind"]
    out = np.full(len(instrument), -1, np.int8)
    held = instrument > 0
    out[held] = kinds[instrument[held] - 1]
    return out


def fitting_types(p2: Plan2, flows: Columns) -> Array:
    """Types that each flow's own outcome allows, as a bit set: int32[n].

    Credits fit none. Disputes and refunds need a cleared purchase that was not reversed (approved is enough in a pack
    without settlement); refunds one without a refund that no import has pinned. A flow that an imported log labels is
    never made another's dispute or refund: its truth is the log's.
    """
    bits = np.full(len(flows["flow_id"]), (1 << p2.plan.laws.types) - 1, np.int32)
    settled = flows["flow_outcome"] == pc.AUTH_SETTLED
    if p2.plan.s2.settlement:
        settled = settled & (flows["cleared_minor"] > 0)
    whole = settled & (flows["refunded_minor"] == 0) & ~flows["is_pinned"]
    for t in p2.plan.laws.templates:
        if t.mode in (DISPUTE, REFUND):
            fits = (settled if t.mode == DISPUTE else whole) & (flows["pinned_label"] < 0)
            bits[~fits] &= np.int32(~(1 << t.row))
    bits[flows["flow_type"] == pc.CARD_CREDIT] = 0
    return bits


def group_candidates(flows: Columns, rows: Array, campaign: Array, score: Array) -> kc.Groups:
    """Candidate rows grouped by account, groups by (campaign, smallest score, row of it).

    `rows`: int64[m], candidates, ascending; campaign, score: by flow row. An account has one campaign. Members of a
    group are its rows from the anchor on, in the order of rows, which is (ts_utc, flow_id).
    """
    account = flows["account_id"][rows]
    by_account = np.argsort(account, kind="stable")
    member, account = rows[by_account], account[by_account]
    heads = np.flatnonzero(np.r_[np.ones(min(len(rows), 1), np.bool_), account[1:] != account[:-1]])
    if not len(heads):
        none = np.zeros(0, np.int64)
        return kc.Groups(np.zeros(0, np.int32), none, none, none, none)
    ends = np.append(heads[1:], len(rows))
    values = score[member]
    least = np.repeat(np.minimum.reduceat(values, heads), ends - heads)
    found = np.flatnonzero(values == least)
    at = found[np.searchsorted(found, heads)]
    anchor = member[at]
    order = np.lexsort((anchor, score[anchor], campaign[anchor]))
    return kc.Groups(campaign[anchor][order], anchor[order], at[order], (ends - at)[order], member)


def tag_flows(p2: Plan2, shard: int, flows: Columns, evidence: EvidenceArray) -> kc.Tagged:
    """Tagged flows of a shard, those of an episode side by side in rank order."""
    plan, laws = p2.plan, p2.plan.laws
    n = len(flows["flow_id"])
    streams = kc.Streams(plan.decisions.keys, evidence)
    campaign, score = np.empty(n, np.int32), np.empty(n)
    rows = kc.Candidates(
        ts=flows["ts_utc"],
        ordinal=flows["_ordinal"],
        account=flows["account_id"],
        party=flows["party_id"],
        device=flows["device_id"],
        channel=flows["channel_group"],
        kind=instrument_kinds(p2, flows["instrument_id"]),
        fits=fitting_types(p2, flows),
    )
    kc.campaign_select(rows, plan.domain, plan.weights, streams, campaign, score)
    quota = np.ascontiguousarray(p2.quota[:, shard]) if len(p2.quota) else np.zeros(0, np.int64)
    modes = np.zeros(laws.types, np.int8)
    p, longest = np.ones(laws.types), np.ones(laws.types, np.int64)
    for t in laws.templates:
        modes[t.row], p[t.row], longest[t.row] = t.mode, t.p, t.longest
    kind = modes[plan.campaigns.row]
    wanted = np.flatnonzero(campaign >= 0)
    wanted = wanted[quota[campaign[wanted]] > 0]
    groups = group_candidates(flows, wanted, campaign, score)
    episodes = kc.Episodes(
        quota=quota,
        base=np.ascontiguousarray(p2.base[:, shard]) if len(p2.base) else np.zeros(0, np.int64),
        fresh=kind == NEW,
        p=p[plan.campaigns.row],
        cap=longest[plan.campaigns.row],
    )
    most = int(quota.sum())
    types = (np.int32, np.int64, np.int64, np.int64, np.int64, np.int16, np.int16)
    out = kc.Tagged(*(np.zeros(most, k) for k in types))
    found = int(kc.fill_quotas(groups, flows["_ordinal"], episodes, streams, np.zeros(len(quota), np.int64), out))
    return kc.Tagged(*(a[:found] for a in out))
