"""Plan 1: campaigns, windows, lanes, fixed merchants and mule chains, from world tables and policies alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import PolicyError, SealError
from fraudloom.kernels import campaigns as kc
from fraudloom.kernels.census import Domain
from fraudloom.kernels.idmap import encode_ids
from fraudloom.kernels.overlay import Details, Forms, Identities, Places
from fraudloom.kernels.sampling import lognormal_truncated, poisson
from fraudloom.kernels.streams import draw, pick_cdf
from fraudloom.policies_api import Pack
from fraudloom.rng import Streams
from fraudloom.states.behaviour import Behaviour, behaviour
from fraudloom.states.decisions import Decisions, EvidenceArray
from fraudloom.states.s3.chains import Legs, plan_chains
from fraudloom.states.s3.policy import CHAIN, DAY_US, MAX_CAMPAIGNS, NEW, Array, Laws, Template, compile_laws, running
from fraudloom.states.s3.pools import Pools, build_places, build_pools, fixed_pool, table

DECISIONS = (
    "ACTIVATE_TEMPLATE",
    "SCHEDULE_CAMPAIGN",
    "CHAIN_LENGTH",
    "CHAIN_LEG",
    "SELECT_TARGET",
    "EPISODE_LENGTH",
    "APPLY_MUTATION_PARAM",
    "SELECT_ROUTING_ANOMALY",
    "SELECT_SWAP_CANDIDATE",
    "INSERT_REFUND",
    "REPORT_INCIDENT",
    "REPORT_FLOW",
)
#: Decisions of S2 that shards draw again, at S2's loci and of its streams, after S3's own in the policy's order. A pack
#: without settlement makes the first two.
AGAIN = ("ISSUER_DECIDE", "AUTH_TIME", "BRANCH_DECISION", "SETTLEMENT_TIME", "SETTLED_AMOUNT", "EVENT_SPLIT")
AUTH_AGAIN = 2
SCHEDULE_SLOTS = 6
SETTLEMENT_US = 210 * DAY_US
#: A mean above this would leave the range of the Poisson sampler; the cap is far below it.
LARGEST_MEAN = 600.0


@dataclass(frozen=True)
class Campaigns:
    """Campaigns in slot order, arrays of c rows: row (type), slot, instance; start, end (us); lane_lo, lane_hi; fixed
    merchant (0 none); size weight; device_at, address_at offsets; base, ordinal of the first new flow; id."""

    row: Array
    slot: Array
    instance: Array
    start: Array
    end: Array
    lane_lo: Array
    lane_hi: Array
    fixed: Array
    size: Array
    device_at: Array
    address_at: Array
    base: Array
    id: Array


@dataclass(frozen=True)
class S3Plan:
    """Plan 1 of one scenario. `evidence` holds the plan's own draws; shards have theirs. `again`: rows of S2's evidence
    whose draws are those of the last decisions of S3's, int64."""

    laws: Laws
    contracts: Contracts
    decisions: Decisions
    s2: Any
    scenario: str
    n_arrivals: int
    shards: int
    start_us: int
    end_us: int
    keys: dict[str, np.uint64]
    lane_key: np.uint64
    again: Array
    pools: Pools
    places: Places
    campaigns: Campaigns
    domain: Domain
    forms: Forms
    identities: Identities
    details: Details
    weights: kc.Weights
    legs: Legs
    evidence: EvidenceArray
    behaviour: Behaviour
    notes: tuple[str, ...]


def account_lanes(key: np.uint64, n: int, lanes: int) -> Array:
    """Lane of accounts 1..n: mix64(key xor id) mod lanes, int32[n]."""
    x = np.uint64(key) ^ np.arange(1, n + 1, dtype=np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) % np.uint64(lanes)).astype(np.int32)


def lane_bounds(laws: Laws) -> dict[int, tuple[int, int]]:
    """Runs of lanes by type: disjoint ones in policy order, bounds floor(lanes x cumulative weight / total); types that
    have party roles to themselves take all lanes."""
    shared = [t for t in laws.templates if t.lanes > 0.0]
    cum = running(np.array([t.lanes for t in shared]))
    bounds = [0, *(int(laws.lanes * c / cum[-1]) for c in cum)]
    runs = {t.row: (bounds[i], bounds[i + 1]) for i, t in enumerate(shared)}
    return runs | {t.row: (0, laws.lanes) for t in laws.templates if t.lanes == 0.0}


def campaign_count(t: Template, laws: Laws, keys: Array, evidence: EvidenceArray, n_arrivals: int) -> int:
    """Campaigns of a type: Poisson of its mean, at least one, at most 64 and its lanes."""
    u = draw(keys, kc.ACTIVATE, np.int64(t.row * MAX_CAMPAIGNS), evidence)
    mean = min(t.per_million * n_arrivals / 1_000_000.0, LARGEST_MEAN)
    lo, hi = lane_bounds(laws)[t.row]
    return max(1, min(int(poisson(u, mean, np.int64(MAX_CAMPAIGNS))), hi - lo))


def capacity(n_arrivals: int) -> int:
    """Ordinals reserved for each slot: above any quota, since no share exceeds one fifth."""
    return n_arrivals // 4 + MAX_CAMPAIGNS


def _window(t: Template, plan_keys: Array, slot: int, evidence: EvidenceArray, start: int, end: int) -> tuple[int, int]:
    u = draw(plan_keys, kc.SCHEDULE, np.int64(slot * SCHEDULE_SLOTS), evidence)
    v = draw(plan_keys, kc.SCHEDULE, np.int64(slot * SCHEDULE_SLOTS + 1), evidence)
    if t.window is None:
        return start, end
    w = t.window
    hi = min(w["days_hi"] * DAY_US, float(end - start))
    lo = min(w["days_lo"] * DAY_US, hi / 2.0)
    length = int(lognormal_truncated(u, w["days_median"] * DAY_US, w["days_sigma"], lo, hi))
    earliest = start + int(w["earliest"] * (end - start))
    room = max(end - length - earliest, 0)
    begin = end - length - room + int(v * room)
    return begin, begin + length


def _schedule(
    laws: Laws, pools: Pools, contracts: Contracts, keys: Array, evidence: EvidenceArray, facts: Sequence[int],
    allowed: Collection[int],
) -> dict[str, list[Any]]:  # fmt: skip
    n_arrivals, start, end = facts
    out: dict[str, list[Any]] = {k: [] for k in Campaigns.__dataclass_fields__ if k != "id"}
    bounds = lane_bounds(laws)
    for t in sorted(laws.templates, key=lambda t: t.row):
        if t.row not in allowed:
            continue
        count = campaign_count(t, laws, keys, evidence, n_arrivals)
        if t.mode == CHAIN:
            count = min(count, max(1, len(pools.mules) // 2))
        lo, hi = bounds[t.row]
        merchants, cum = fixed_pool(t, laws, pools, contracts)
        taken: set[int] = set()
        for k in range(count):
            slot = t.row * MAX_CAMPAIGNS + k
            u = [draw(keys, kc.SCHEDULE, np.int64(slot * SCHEDULE_SLOTS + j), evidence) for j in range(2, 6)]
            begin, stop = _window(t, keys, slot, evidence, start, end)
            fixed = 0
            if len(merchants):
                at = int(pick_cdf(cum, u[0], 0, len(merchants)))
                while at in taken and len(taken) < len(merchants):
                    at = (at + 1) % len(merchants)
                taken.add(at)
                fixed = int(merchants[at])
            row = {
                "row": t.row,
                "slot": slot,
                "instance": k,
                "start": begin,
                "end": stop,
                "lane_lo": lo + (hi - lo) * k // count,
                "lane_hi": lo + (hi - lo) * (k + 1) // count,
                "fixed": fixed,
                "size": 0.25 + u[1],
                "device_at": int(u[2] * max(len(pools.strangers), 1)),
                "address_at": int(u[3] * max(len(pools.addresses), 1)),
                "base": 8 * n_arrivals + slot * capacity(n_arrivals),
            }
            for name, value in row.items():
                out[name].append(value)
    return out


_TYPES = {"row": np.int8, "slot": np.int32, "instance": np.int32, "lane_lo": np.int32, "lane_hi": np.int32}


def plan_campaigns(
    laws: Laws, pools: Pools, contracts: Contracts, keys: Array, id_key: np.uint64, evidence: EvidenceArray,
    facts: Sequence[int], allowed: Collection[int],
) -> Campaigns:  # fmt: skip
    """Campaigns of a scenario; none without arrivals. `facts`: (arrivals, start, end of the horizon); `allowed`: rows
    of types that the pack's restrictions leave."""
    if facts[0]:
        raw = _schedule(laws, pools, contracts, keys, evidence, facts, allowed)
    else:
        raw = {k: [] for k in Campaigns.__dataclass_fields__ if k != "id"}
    kinds = {k: _TYPES.get(k, np.float64 if k == "size" else np.int64) for k in raw}
    arrays = {k: np.array(v, dtype=kinds[k]) for k, v in raw.items()}
    ids = np.empty(len(arrays["slot"]), np.int64)
    encode_ids(id_key, arrays["slot"].astype(np.int64), ids)
    return Campaigns(**arrays, id=ids)


def allowed_types(laws: Laws, b: Behaviour, contracts: Contracts) -> frozenset[int]:
    """Rows of the types that may be scheduled."""
    names = contracts.enum("campaign_type")
    rows = set()
    for t in laws.templates:
        form = t.script.get("form", {})
        if b.campaign_type(names[t.row + 1], [form[k] for k in ("first", "second") if k in form]):
            rows.add(t.row)
    return frozenset(rows)


def _blocked_holders(b: Behaviour, world: Any, contracts: Contracts) -> Array:
    """bool by account row: whether the holder lives in a blocked country."""
    codes = [contracts.code("country_iso", k) for k in sorted(b.scope.block_countries)]
    home = table(world, "s1_party_base_6A")["country_iso"]
    return np.asarray(np.isin(home, codes)[table(world, "s2_account_base_6A")["owner_party_id"] - 1])


def restrict_domain(domain: Domain, b: Behaviour, blocked: Array, contracts: Contracts) -> Domain:
    """Arrivals of blocked channels and accounts of blocked holders are in no domain."""
    channels = domain.channel_bits.copy()
    for name in b.scope.block_channels:
        channels[contracts.code("channel_group", name)] = 0
    accounts = np.where(blocked, np.int32(0), domain.account_bits)
    return domain._replace(channel_bits=channels, account_bits=accounts)


def _device_weights(laws: Laws, b: Behaviour, world: Any) -> tuple[Array, tuple[str, ...]]:
    """Weight of each device in the choice of victims, and notes: 1 where the world does not know their roles."""
    name = "s5_device_fraud_roles_6A"
    if name in world.tables:
        return laws.device_role[table(world, name)["fraud_role_device"]], ()
    if not b.degrade:
        raise SealError(
            "S3",
            "S3_SEALED_INPUTS_INCOMPLETE",
            what=f"the world has no {name}",
            expected="the table, or degrade.optional_missing DISABLE in behaviour_config_6B",
            where=getattr(world, "root", None),
            action="build the world again with this version of fraudloom",
        )
    weights = np.ones(len(table(world, "s4_device_base_6A")["device_id"]))
    return weights, (f"{name} is missing: every device weighs the same in the choice of victims",)


def _bits(templates: Sequence[Template], field: str, n: int, none: bool = False) -> Array:
    """Bit set of the types whose domain lists code k: int32[n], or [n + 1] with row 0 for none."""
    out = np.zeros(n + int(none), np.int32)
    for t in templates:
        for k in t.domain[field]:
            out[k + int(none)] |= np.int32(1 << t.row)
    return out


def build_domain(laws: Laws, world: Any, contracts: Contracts, campaigns: Campaigns, lane_key: np.uint64) -> Domain:
    """Predicates as bit sets, each account's campaign, and windows of anchors."""
    parties, accounts = table(world, "s1_party_base_6A"), table(world, "s2_account_base_6A")
    roles = table(world, "s5_party_fraud_roles_6A")["fraud_role_party"]
    sizes = {k: len(contracts.enum(k)) for k in ("party_type", "fraud_role_party", "ledger_class", "channel_group")}
    by = laws.templates
    party = _bits(by, "party_types", sizes["party_type"])[parties["party_type"]]
    party = party & _bits(by, "party_roles", sizes["fraud_role_party"])[roles]
    owner = accounts["owner_party_id"] - 1
    bits = party[owner] & _bits(by, "ledgers", sizes["ledger_class"])[accounts["ledger_class"]]
    modes = {t.row: t for t in by}
    of_lane = {row: np.full(laws.lanes, -1, np.int32) for row in (-1, *(t.row for t in by if not t.lanes))}
    for c, row in enumerate(campaigns.row):
        run = of_lane.get(int(row), of_lane[-1])
        run[campaigns.lane_lo[c] : campaigns.lane_hi[c]] = c
    lane = account_lanes(lane_key, len(accounts["account_id"]), laws.lanes)
    campaign_of = of_lane[-1][lane]
    for t in by:
        if not t.lanes:
            own = np.isin(roles[owner], t.domain["party_roles"])
            campaign_of[own] = of_lane[t.row][lane[own]]
    anchor_from, anchor_to = campaigns.start.copy(), campaigns.end.copy()
    for c, row in enumerate(campaigns.row):
        t = modes[int(row)]
        if laws.clock[t.row] == 1:
            anchor_from[c], anchor_to[c] = int(world.start_us), int(world.end_us)
        elif t.mode == NEW:
            room = laws.delay[t.row, 2] + (t.longest - 1) * laws.gap[t.row, 2]
            anchor_to[c] -= int(room) + 2
    return Domain(
        account_bits=bits.astype(np.int32),
        campaign_of=campaign_of,
        channel_bits=_bits(by, "channels", sizes["channel_group"]),
        kind_bits=_bits(by, "instrument_kinds", len(contracts.enum("instrument_kind")), none=True),
        type_of=campaigns.row,
        anchor_from=anchor_from,
        anchor_to=anchor_to,
    )


def _identities(laws: Laws, pools: Pools, campaigns: Campaigns) -> Identities:
    terminals = pools.tables["terminals_2B"]
    return Identities(
        device=laws.device,
        address=laws.address,
        device_own=laws.device_own,
        address_own=laws.address_own,
        device_spread=laws.device_spread,
        address_spread=laws.address_spread,
        groups=laws.groups,
        token=laws.token,
        device_at=campaigns.device_at,
        address_at=campaigns.address_at,
        strangers=pools.strangers,
        addresses=pools.addresses,
        group_at=pools.group_at,
        terminal_device=np.asarray(terminals["device_id"], np.int64),
        terminal_address=np.asarray(terminals["ip_id"], np.int64),
    )


def again_rows(decisions: Decisions, s2: Decisions) -> Array:
    """Rows of S2's decisions that S3 makes again, in the order of S3's policy; PolicyError unless they are the same
    decisions: of one family, and so of one stream, with equal slots."""
    mine = decisions.items[len(DECISIONS) :]
    rows = [s2.index(d.decision) for d in mine]
    found = [(d.family, d.slots) for d in mine]
    expected = [(s2.items[r].family, s2.items[r].slots) for r in rows]
    if found != expected:
        raise PolicyError(
            "S3",
            "S3_RNG_POLICY_INVALID",
            what="fraud_rng_policy_6B lists S2's decisions with other families or slots than flow_rng_policy_6B",
            found=found,
            expected=expected,
            action="correct the policy; `fraudloom policies check` names file and key",
        )
    return np.array(rows, np.int64)


def overlay_budget(b: Behaviour, n_arrivals: int) -> int | None:
    """Most overlay flows of a scenario, None without a cap."""
    return None if b.overlay_share is None else int(b.overlay_share * n_arrivals)


def chain_budget(b: Behaviour, n_arrivals: int) -> int:
    """Most legs of chains: the overlay's budget where caps are clamped, else no less than there can be."""
    budget = overlay_budget(b, n_arrivals) if b.clamp else None
    return n_arrivals if budget is None else budget


def compile_plan(pack: Pack, world: Any, streams: Streams, contracts: Contracts, s2plan: Any) -> S3Plan:
    """Compile the fraud policies against a loaded world (plan 1). PolicyError when they do not fit together."""
    laws = compile_laws(pack, contracts)
    decisions = Decisions(pack.doc("fraud_rng_policy_6B"), streams)
    decisions.order(*DECISIONS, *(AGAIN if s2plan.settlement else AGAIN[:AUTH_AGAIN]))
    evidence = decisions.new_evidence()
    pools = build_pools(world, contracts)
    b = behaviour(pack)
    blocked = _blocked_holders(b, world, contracts)
    pools = replace(pools, mules=pools.mules[~blocked[pools.mules - 1]])
    n = int(world.n_arrivals(streams.scenario))
    keys = {k: streams.key("identity", k) for k in ("flow", "session", "campaign", "incident")}
    lane_key = streams.key("identity", "lane")
    facts = (n, int(world.start_us), int(world.end_us))
    allowed = allowed_types(laws, b, contracts)
    campaigns = plan_campaigns(laws, pools, contracts, decisions.keys, keys["campaign"], evidence, facts, allowed)
    domain = build_domain(laws, world, contracts, campaigns, lane_key)
    domain = restrict_domain(domain, b, blocked, contracts)
    weights, notes = _device_weights(laws, b, world)
    return S3Plan(
        laws=laws,
        contracts=contracts,
        decisions=decisions,
        s2=s2plan,
        scenario=streams.scenario,
        n_arrivals=n,
        shards=int(world.shards),
        start_us=facts[1],
        end_us=facts[2],
        keys=keys,
        lane_key=lane_key,
        again=again_rows(decisions, s2plan.decisions),
        pools=pools,
        places=build_places(laws, pools, contracts),
        campaigns=campaigns,
        domain=domain,
        forms=Forms(
            first=laws.form_first,
            second=laws.form_second,
            share=laws.form_share,
            choice=laws.choice,
            fixed=campaigns.fixed,
            remote=pools.remote,
            present=pools.present,
        ),
        identities=_identities(laws, pools, campaigns),
        details=Details(
            entry_first=laws.entry_first,
            entry_second=laws.entry_second,
            entry_share=laws.entry_share,
            three_ds=laws.three_ds,
            cvv=laws.cvv,
            avs=laws.avs,
            purposes=laws.purposes,
            checks=laws.checks,
            internal=laws.internal,
            amount=laws.amount,
            relative=laws.relative,
            given=laws.given,
            mules=pools.mules,
            outside=pools.outside,
        ),
        weights=kc.Weights(party=laws.tier[table(world, "s5_party_fraud_roles_6A")["risk_tier"]], device=weights),
        legs=plan_chains(laws, pools, campaigns, domain, decisions.keys, evidence, (*facts, chain_budget(b, n)), world),
        evidence=evidence,
        behaviour=b,
        notes=notes,
    )
