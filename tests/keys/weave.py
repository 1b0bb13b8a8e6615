"""S1 to S4 of one scenario in one shard, in memory: what a policy number changes, without publishing anything.

`Weaver` keeps what each state of a base pack left, so that a changed pack is woven again only from the state that reads
the changed policy, and only up to the first dataset whose content differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fraudloom.contracts_api import Contracts
from fraudloom.policies_api import Pack
from fraudloom.rng import Streams
from fraudloom.states import s1, s2, s3, s4
from fraudloom.tables import Columns, ContentHasher, concat, read_table

STATES = ("S1", "S2", "S3", "S4")
CATALOGUE = "s3_campaign_catalogue_6B"
ARRIVALS = "arrival_events_5B"
SEED = 7

#: The last state that reads what the first state's policies say (S3 decides again with S2's plan).
UNTIL = {"S1": "S1", "S2": "S3", "S3": "S3", "S4": "S4"}

#: Policies that more states read than UNTIL says.
READ_UNTIL = {"behaviour_config_6B": "S4"}

#: The first state that reads a policy.
READ_BY = {
    "behaviour_config_6B": "S1",
    "attachment_policy_6B": "S1",
    "sessionisation_policy_6B": "S1",
    "behaviour_prior_pack_6B": "S1",
    "rng_policy_6B": "S1",
    "flow_shape_policy_6B": "S2",
    "amount_model_6B": "S2",
    "timing_policy_6B": "S2",
    "issuer_policy_6B": "S2",
    "flow_rng_policy_6B": "S2",
    "fraud_campaign_catalogue_config_6B": "S3",
    "fraud_overlay_policy_6B": "S3",
    "fraud_rng_policy_6B": "S3",
    "truth_labelling_policy_6B": "S4",
    "bank_view_policy_6B": "S4",
    "delay_models_6B": "S4",
    "case_policy_6B": "S4",
    "label_rng_policy_6B": "S4",
}


@dataclass
class Woven:
    """What a weave leaves: plans by state, frames by state, counts of pass A."""

    plans: dict[str, Any] = field(default_factory=dict)
    attached: Columns = field(default_factory=dict)
    busy: Any = None
    census: Any = None
    plan2: Any = None
    arrivals: Columns = field(default_factory=dict)
    sessions: Columns = field(default_factory=dict)
    s2: Any = None
    s3: Any = None
    s4: Any = None


class Weaver:
    """Weaves of one world under packs that differ in single documents."""

    def __init__(self, world: Any, contracts: Contracts, pack: Pack, last: str = "S4") -> None:
        if int(world.shards) != 1:
            raise ValueError("the world has more than one shard")
        self.world, self.contracts, self.pack = world, contracts, pack
        scenario = world.scenarios[0]
        self.streams = Streams(world.fingerprint, SEED, scenario)
        ds = contracts.dataset(ARRIVALS)
        self.events = concat([read_table([p], ds) for p in world.arrival_paths(scenario)])
        self.base = Woven()
        self.last_digest = ""
        self.digests = {d: self.digest(d, table) for d, table in self.tables(pack, "S1", last, self.base)}

    def digest(self, dataset: str, table: Columns) -> str:
        """Content digest of one table."""
        hasher = ContentHasher(self.contracts.dataset(dataset), "full")
        hasher.update(table)
        return hasher.hexdigest()

    def first_change(self, doc_id: str, doc: Mapping[str, Any]) -> str | None:
        """The first dataset, in the order of weaving, that another document in the pack changes."""
        pack = replace(self.pack, docs={**self.pack.docs, doc_id: doc})
        woven = replace(self.base, plans=dict(self.base.plans))
        first = READ_BY[doc_id]
        for dataset, table in self.tables(pack, first, READ_UNTIL.get(doc_id, UNTIL[first]), woven):
            self.last_digest = self.digest(dataset, table)
            if self.last_digest != self.digests[dataset]:
                return dataset
        return None

    def tables(self, pack: Pack, first: str, last: str, woven: Woven) -> Iterator[tuple[str, Columns]]:
        """Weave states `first` to `last` into `woven`; yields the tables of each state when it is done."""
        for state in STATES[STATES.index(first) : STATES.index(last) + 1]:
            yield from getattr(self, f"_{state.lower()}")(pack, woven)

    def _compile(self, state: Any, pack: Pack, *more: Any) -> Any:
        return state.compile_plan(pack, self.world, self.streams, self.contracts, *more)

    def _s1(self, pack: Pack, w: Woven) -> Iterator[tuple[str, Columns]]:
        plan = w.plans["S1"] = self._compile(s1, pack)
        evidence = plan.decisions.new_evidence()
        w.attached = s1.attach(plan, self.world, self.events, 0, evidence)
        narrow = {n: w.attached[n].astype(t, copy=False) for n, t in s1.SCRATCH_COLUMNS}
        w.arrivals, w.sessions = s1.sessionise(plan, self.world, narrow, evidence)
        yield "s1_arrival_entities_6B", w.arrivals
        yield "s1_session_index_6B", w.sessions

    def _s2(self, pack: Pack, w: Woven) -> Iterator[tuple[str, Columns]]:
        plan = w.plans["S2"] = self._compile(s2, pack)
        w.busy = s2.busy_new(plan)
        s2.busy_add(plan, w.attached, w.busy)
        evidence = plan.decisions.new_evidence()
        w.s2 = s2.weave(plan, self.world, w.arrivals, w.sessions, w.busy, evidence)
        yield "s2_flow_anchor_baseline_6B", w.s2.flows
        yield "s2_event_stream_baseline_6B", w.s2.events
        yield "s2_arrival_flow_link_6B", w.s2.links

    def _s3(self, pack: Pack, w: Woven) -> Iterator[tuple[str, Columns]]:
        plan = w.plans["S3"] = self._compile(s3, pack, w.plans["S2"])
        w.census = s3.census_new(plan)
        s3.census_add(plan, self.world, w.attached, w.census)
        w.plan2 = s3.plan2(plan, w.census)
        evidence = plan.decisions.new_evidence()
        planned = s3.busy_planned(w.plan2, w.busy)
        w.s3 = s3.overlay(w.plan2, self.world, 0, w.arrivals, w.sessions, w.s2, planned, evidence)
        yield "s3_flow_anchor_with_fraud_6B", w.s3.flows
        yield "s3_event_stream_with_fraud_6B", w.s3.events
        yield "s3_session_index_with_fraud_6B", w.s3.sessions
        yield CATALOGUE, s3.catalogue(w.plan2, [w.s3.realised])

    def _s4(self, pack: Pack, w: Woven) -> Iterator[tuple[str, Columns]]:
        plan = w.plans["S4"] = self._compile(s4, pack)
        w.s4 = s4.weave(plan, self.world, w.s3, plan.decisions.new_evidence())
        yield "s4_flow_bank_view_6B", w.s4.bank
        yield "s4_flow_truth_labels_6B", w.s4.truth
        yield "s4_label_history_6B", w.s4.history
        yield "s4_case_timeline_6B", w.s4.cases
        yield "s4_case_flow_link_6B", w.s4.case_links
        yield "s4_event_labels_6B", w.s4.event_labels


def digests(world: Any, contracts: Contracts, pack: Pack) -> dict[str, str]:
    """Content digest of every S1 to S4 dataset of a world's first scenario."""
    return dict(Weaver(world, contracts, pack).digests)


def frame_digests(weaver: Weaver) -> dict[str, str]:
    """Digests of the tables that the base weave left, as they are now."""
    w = weaver.base
    tables = {
        "s1_arrival_entities_6B": w.arrivals,
        "s1_session_index_6B": w.sessions,
        "s2_flow_anchor_baseline_6B": w.s2.flows,
        "s2_event_stream_baseline_6B": w.s2.events,
        "s2_arrival_flow_link_6B": w.s2.links,
        "s3_flow_anchor_with_fraud_6B": w.s3.flows,
        "s3_event_stream_with_fraud_6B": w.s3.events,
        "s3_session_index_with_fraud_6B": w.s3.sessions,
        CATALOGUE: s3.catalogue(w.plan2, [w.s3.realised]),
        "s4_flow_bank_view_6B": w.s4.bank,
        "s4_flow_truth_labels_6B": w.s4.truth,
        "s4_label_history_6B": w.s4.history,
        "s4_case_timeline_6B": w.s4.cases,
        "s4_case_flow_link_6B": w.s4.case_links,
        "s4_event_labels_6B": w.s4.event_labels,
    }
    return {dataset: weaver.digest(dataset, table) for dataset, table in tables.items()}
