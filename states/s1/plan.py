"""From policies to arrays: what attachment and sessionisation need, checked and frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import PolicyError
from fraudloom.kernels.attach import HoldingPriors
from fraudloom.kernels.attach import Streams as DrawStreams
from fraudloom.kernels.attach_device import DevicePriors
from fraudloom.kernels.sessions import CutRule
from fraudloom.policies_api import Pack
from fraudloom.rng import Streams
from fraudloom.states.behaviour import Behaviour, behaviour
from fraudloom.states.decisions import Decisions
from fraudloom.states.s1.index import WorldIndex, world_index
from fraudloom.states.s1.ledger import carried_columns, carried_factors
from fraudloom.states.world.view import World

FAMILIES = ("RETAIL", "BUSINESS", "OTHER")
CHANNELS = ("ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID")
LEDGERS = ("DEPOSIT", "CREDIT_REVOLVING", "CREDIT_INSTALLMENT", "SETTLEMENT")
KINDS = ("CARD_PHYSICAL", "CARD_VIRTUAL", "BANK_HANDLE", "WALLET_TOKEN")
GROUPS = ("RESIDENTIAL", "MOBILE_CARRIER", "PUBLIC_SHARED", "HOSTING_DATACENTRE", "ANONYMIZER_PROXY", "MERCHANT")
KEY_KINDS = ("PARTY_INSTRUMENT", "PARTY_DEVICE")
STEPS = ("PARTY", "ACCOUNT", "INSTRUMENT", "DEVICE", "IP")
ATTACH_FAMILY = "rng_event_entity_attach"
US_PER_S = 1_000_000

#: Vocabularies whose codes kernels know by position.
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "party_type": FAMILIES,
    "channel_group": CHANNELS,
    "ledger_class": LEDGERS,
    "instrument_kind": KINDS,
    "ip_group": GROUPS,
    "device_link_role": ("PRIMARY_OWNER", "SECONDARY_USER"),
    "ip_link_role": ("TYPICAL_DEVICE_IP",),
    "session_key_kind": KEY_KINDS,
    "attach_rule": ("PINNED", "SERIES_REGULAR", "SERIES_POOL", "VISIT_REGULAR", "VISIT_POOL", "TRIP_VISITOR"),
}

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class S1Plan:
    """Everything S1 needs for one scenario of one world. `sessions_max`: int64[2], sessions of one key, by kind, above
    which S1 refuses; `carried`: columns that a shard must hold as they
    were read, with the factors of their checksum; `session_max`: arrivals above which a session fails S1."""

    decisions: Decisions
    streams: DrawStreams
    id_key: np.uint64
    index: WorldIndex
    p_regular: float
    holding: HoldingPriors
    device: DevicePriors
    cut: CutRule
    sessions_max: Ints
    attach_family: int
    contracts: Contracts
    carried: Mapping[str, np.uint64]
    session_max: int | None = None
    notes: tuple[str, ...] = ()


def _cells(doc: Mapping[str, Any], inner: Sequence[str]) -> Floats:
    """doc[family][channel][name] as float64[family, channel, name]; a name that is not listed weighs 0."""
    return np.array([[[float(doc[f][c].get(k, 0.0)) for k in inner] for c in CHANNELS] for f in FAMILIES])


def _shares(doc: Mapping[str, Any]) -> Floats:
    """doc[family][channel] as float64[family, channel]."""
    return np.array([[float(doc[f][c]) for c in CHANNELS] for f in FAMILIES])


def group_weights(doc: Mapping[str, Any], share_max: Mapping[str, float]) -> Floats:
    """Weights of address groups: each weight over the cell's sum (left to right), at most the group's `share_max`."""
    weights = _cells(doc, GROUPS)
    total = np.add.accumulate(weights, axis=2)[:, :, -1:]
    share = weights / total
    for k, name in enumerate(GROUPS):
        if name in share_max:
            share[:, :, k] = np.minimum(share[:, :, k], float(share_max[name]))
    return share


def _holding_priors(attachment: Mapping[str, Any], priors: Mapping[str, Any]) -> HoldingPriors:
    rules = attachment["instrument"]
    return HoldingPriors(
        ledger=_cells(priors["ledger_weights"], LEDGERS),
        kind=_cells(priors["instrument_weights"], KINDS),
        eligible=np.array([[k in rules["eligible_kinds"][c] for k in KINDS] for c in CHANNELS]),
        optional=np.array([rules["requiredness"][c] == "OPTIONAL" for c in CHANNELS]),
    )


def _device_priors(attachment: Mapping[str, Any], priors: Mapping[str, Any]) -> DevicePriors:
    roles = attachment["device"]["other_device_weights"]
    terminal = priors["p_terminal_device"]
    return DevicePriors(
        primary=_shares(priors["p_primary_device"]),
        role=np.array([float(roles["PRIMARY_OWNER"]), float(roles["SECONDARY_USER"])]),
        terminal=np.array([float(terminal.get(c, 0.0)) for c in CHANNELS]),
        typical=_shares(priors["p_typical_ip"]),
        group=group_weights(priors["ip_group_weights"], attachment["ip"]["share_max"]),
    )


def cut_rule(doc: Mapping[str, Any]) -> CutRule:
    """Session rule per key kind, times in microseconds."""

    def numbers(name: str, unit: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([int(doc[k][name]) * unit for k in KEY_KINDS], dtype=np.int64)

    def switches(name: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.array([bool(doc[k][name]) for k in KEY_KINDS])

    tumbling = np.array([doc[k]["mode"] == "tumbling" for k in KEY_KINDS])
    rule = CutRule(
        timeout_us=numbers("timeout_s", US_PER_S),
        break_us=np.array([int(doc[k].get("hard_break_s", doc[k]["timeout_s"])) * US_PER_S for k in KEY_KINDS]),
        duration_us=numbers("max_duration_s", US_PER_S),
        arrivals=numbers("max_arrivals", 1),
        on_day=switches("break_on_local_day"),
        on_channel=switches("break_on_channel"),
        tumbling=tumbling,
    )
    if (~tumbling & (rule.break_us <= rule.timeout_us)).any():
        raise PolicyError(
            "S1",
            "S1_POLICY_INVALID",
            what="a session's hard break must lie above its timeout",
            found=f"timeouts {rule.timeout_us.tolist()}, breaks {rule.break_us.tolist()} (microseconds)",
            where="sessionisation_policy_6B",
            action="correct the policy; `fraudloom policies check` names file and key",
        )
    return rule


def sessions_max(doc: Mapping[str, Any], days: int) -> Ints:
    """Most sessions of one key, by kind: int64[2]."""
    return np.array([int(doc[k]["max_sessions_per_day"]) * days for k in KEY_KINDS], dtype=np.int64)


def gap_channels(doc: Mapping[str, Any]) -> tuple[str, ...]:
    """Channels whose sessions are cut at gaps: those that draw boundaries."""
    kinds = {"POS": "PARTY_INSTRUMENT", "ATM": "PARTY_INSTRUMENT"}
    return tuple(c for c in CHANNELS if doc[kinds.get(c, "PARTY_DEVICE")]["mode"] == "gap")


def restrict(rule: CutRule, b: Behaviour) -> tuple[CutRule, int | None, tuple[str, ...]]:
    """(session rule under the switches and caps, arrivals above which a session fails the state, notes)."""
    if not b.sessionisation:
        rule = rule._replace(arrivals=np.ones_like(rule.arrivals))
    if not b.stochastic_boundary:
        rule = rule._replace(break_us=np.where(rule.tumbling, rule.break_us, rule.timeout_us + 1))
    cap = b.flows_per_session
    if cap is None or (rule.arrivals <= cap).all():
        return rule, None, ()
    if not b.clamp:
        return rule, cap, ()
    note = f"caps.flows_per_session: sessions end at {cap} arrivals, the policy allows {int(rule.arrivals.max())}"
    return rule._replace(arrivals=np.minimum(rule.arrivals, cap)), None, (note,)


def _check_vocabularies(contracts: Contracts) -> None:
    for name, labels in VOCABULARIES.items():
        found = contracts.enum(name)[: len(labels)]
        if found != labels:
            raise PolicyError(
                "S1",
                "S1_VOCABULARY",
                what=f"{name} has other codes",
                found=found,
                expected=labels,
                where="enums.yaml",
                action="restore the contracts; see `fraudloom contracts check`",
            )


def compile_plan(pack: Pack, world: World, streams: Streams, contracts: Contracts) -> S1Plan:
    """Compile the four policies of S1 against a loaded world. PolicyError when they do not fit together."""
    _check_vocabularies(contracts)
    pack.doc("rng_profile_layer3")
    decisions = Decisions(pack.doc("rng_policy_6B"), streams)
    names = [f"ATTACH_{step}{variant}" for step in STEPS for variant in ("", "_SERIES")]
    decisions.order(*names, "ATTACH_TERMINAL", "SESSION_BOUNDARY")
    sessions = pack.doc("sessionisation_policy_6B")
    cut, most, notes = restrict(cut_rule(sessions), behaviour(pack))
    attachment, priors = pack.doc("attachment_policy_6B"), pack.doc("behaviour_prior_pack_6B")
    return S1Plan(
        decisions=decisions,
        streams=DrawStreams(decisions.keys, decisions.slots),
        id_key=streams.key("identity", "session"),
        index=world_index(world),
        p_regular=float(attachment["party"]["p_regular"]),
        holding=_holding_priors(attachment, priors),
        device=_device_priors(attachment, priors),
        cut=cut,
        sessions_max=sessions_max(sessions, world.days),
        attach_family=contracts.code("rng_family", ATTACH_FAMILY),
        contracts=contracts,
        carried=carried_factors((*carried_columns(contracts), "_ordinal")),
        session_max=most,
        notes=notes,
    )
