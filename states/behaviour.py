"""behaviour_config_6B: scope filters, switches, caps and what happens when they bite. It can only take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fraudloom.errors import DataError, PolicyError
from fraudloom.policies_api import Pack

POLICY = "behaviour_config_6B"
#: Channels in which a form of a script may act.
FORM_CHANNELS = {
    "REMOTE": ("ECOM", "HYBRID"),
    "PRESENT": ("POS",),
    "CASH": ("ATM",),
    "TRANSFER": ("BANK_RAIL",),
}


@dataclass(frozen=True)
class Scope:
    """Scope filters; an empty allow list allows everything."""

    allow_scenarios: frozenset[str] = frozenset()
    block_scenarios: frozenset[str] = frozenset()
    allow_seeds: frozenset[int] = frozenset()
    block_seeds: frozenset[int] = frozenset()
    allow_campaign_types: frozenset[str] = frozenset()
    block_campaign_types: frozenset[str] = frozenset()
    block_channels: frozenset[str] = frozenset()
    block_countries: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Behaviour:
    """What a pack lets states do. The defaults restrict nothing, as a pack without the policy does."""

    scope: Scope = Scope()
    sessionisation: bool = True
    stochastic_boundary: bool = True
    multi_arrival_flows: bool = True
    refunds: bool = True
    reversals: bool = True
    partial_clearing: bool = True
    overlay: bool = True
    label_history: bool = True
    cases: bool = True
    flows_per_session: int | None = None
    overlay_share: float | None = None
    skip_scope: bool = True
    clamp: bool = True
    degrade: bool = False

    def campaign_type(self, name: str, forms: Sequence[str]) -> bool:
        """Whether campaigns of a type may be scheduled; `forms`: those of its script."""
        scope = self.scope
        acts = {channel for form in forms for channel in FORM_CHANNELS[form]}
        allowed = not scope.allow_campaign_types or name in scope.allow_campaign_types
        return self.overlay and allowed and name not in scope.block_campaign_types and not acts & scope.block_channels

    def in_scope(self, scenarios: Sequence[str], seed: int) -> tuple[tuple[str, ...], list[str]]:
        """(scenarios that may be woven with this run seed, notes); PolicyError when none may, or one is missed."""
        s = self.scope
        good_seed = (not s.allow_seeds or seed in s.allow_seeds) and seed not in s.block_seeds
        kept = tuple(
            x
            for x in scenarios
            if good_seed and (not s.allow_scenarios or x in s.allow_scenarios) and x not in s.block_scenarios
        )
        missed = [x for x in scenarios if x not in kept]
        if missed and (not kept or not self.skip_scope):
            raise PolicyError(
                "RUN",
                "SCOPE_MISS",
                what="the pack's scope filters leave out what the run asks for",
                found=f"scenarios {', '.join(missed)}, seed {seed}",
                expected=f"scenarios {sorted(s.allow_scenarios) or 'any'} but {sorted(s.block_scenarios) or 'none'}, "
                f"seeds {sorted(s.allow_seeds) or 'any'} but {sorted(s.block_seeds) or 'none'}",
                where=POLICY,
                action="name other --scenario or --seed, or change the scope filters",
            )
        return kept, [f"scope_filters: scenario {x} is out of scope and left out" for x in missed]


def compile_behaviour(doc: Mapping[str, Any]) -> Behaviour:
    """Compile the policy; PolicyError when both lists of a pair are used."""
    filters = doc["scope_filters"]
    for kind in ("scenarios", "seeds", "campaign_types"):
        if filters[f"allow_{kind}"] and filters[f"block_{kind}"]:
            raise PolicyError(
                "POLICY",
                "BEHAVIOUR_INVALID",
                what=f"allow_{kind} and block_{kind} are both used",
                found=(filters[f"allow_{kind}"], filters[f"block_{kind}"]),
                expected="one of them empty",
                where=f"{POLICY} at scope_filters",
                action="keep one of the two lists",
            )
    flags = {name: bool(on) for state in doc["feature_flags"].values() for name, on in state.items()}
    caps, degrade = doc["caps"], doc["degrade"]
    return Behaviour(
        scope=Scope(**{name: frozenset(values) for name, values in filters.items()}),
        flows_per_session=int(caps["flows_per_session"]),
        overlay_share=float(caps["overlay_share"]),
        skip_scope=degrade["scope_miss"] == "SKIP",
        clamp=degrade["cap_hit"] == "CLAMP",
        degrade=degrade["optional_missing"] == "DISABLE",
        **flags,
    )


def behaviour(pack: Pack) -> Behaviour:
    """The restrictions of a pack."""
    return compile_behaviour(pack.docs[POLICY]) if POLICY in pack.docs else Behaviour()


def cap_exceeded(state: str, cap: str, found: object, expected: object) -> DataError:
    """A cap that may not be clamped is exceeded."""
    return DataError(
        state,
        f"{state}_CAP_EXCEEDED",
        what=f"{cap} is exceeded, and caps are not to be clamped",
        found=found,
        expected=expected,
        where=f"{POLICY} at caps.{cap}",
        action="raise the cap, or set degrade.cap_hit to CLAMP",
    )
