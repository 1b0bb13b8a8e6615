"""Every switch, filter and cap of behaviour_config_6B acts in the state that it names, and in nothing before it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from keys.leaves import override
from keys.weave import Weaver
from s3.crafted import loud_pack

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.errors import DataError, FraudloomError, PolicyError, SealError
from fraudloom.policies_api import Pack
from fraudloom.states.behaviour import POLICY, Behaviour, Scope, behaviour, compile_behaviour
from fraudloom.states.s1.plan import cut_rule, restrict
from fraudloom.states.world import WorldSpec, build_world, load_world

pytestmark = pytest.mark.xdist_group("behaviour")
CATALOGUE = "s3_campaign_catalogue_6B"


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    """The packaged contracts."""
    return load_contracts()


@pytest.fixture(scope="module")
def pack() -> Pack:
    """The default pack with large shares of fraud."""
    return loud_pack()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, contracts: Contracts) -> Any:
    """A world of 6,000 arrivals in one shard."""
    root = tmp_path_factory.mktemp("behaviour") / "w"
    build_world(WorldSpec(arrivals=6000, seed=9, days=60), root, contracts=contracts)
    return load_world(root, contracts)


@pytest.fixture(scope="module")
def base(world: Any, contracts: Contracts, pack: Pack) -> Weaver:
    """The world woven without restrictions."""
    return Weaver(world, contracts, pack)


def with_(pack: Pack, changes: Mapping[str, Any]) -> Pack:
    """A pack with other restrictions: dotted paths to values."""
    doc = pack.docs[POLICY]
    for path, value in changes.items():
        doc = override(doc, path, value)
    return replace(pack, docs={**pack.docs, POLICY: doc})


@pytest.fixture
def woven(world: Any, contracts: Contracts, pack: Pack) -> Any:
    """A function from restrictions to the world woven under them."""
    return lambda changes: Weaver(world, contracts, with_(pack, changes))


def changed(base: Weaver, other: Weaver) -> list[str]:
    """Datasets that differ, in the order of weaving."""
    return [d for d in base.digests if base.digests[d] != other.digests[d]]


def test_shipped_restricts_nothing(base: Weaver, world: Any, contracts: Contracts, pack: Pack) -> None:
    """The shipped policy, and no policy at all, leave every byte where it was."""
    bare = replace(pack, docs={k: v for k, v in pack.docs.items() if k != POLICY})
    assert behaviour(bare) == Behaviour()
    assert Weaver(world, contracts, bare).digests == base.digests


def test_sessions_off(base: Weaver, woven: Any) -> None:
    """Without sessionisation every arrival is a session; the entities stay."""
    other = woven({"feature_flags.S1.sessionisation": False})
    assert (other.base.sessions["arrival_count"] == 1).all() and base.base.sessions["arrival_count"].max() > 1
    for name in ("party_id", "account_id", "instrument_id", "device_id", "ip_id"):
        assert np.array_equal(other.base.attached[name], base.base.attached[name])


def test_boundary_without_draw(base: Weaver, woven: Any, pack: Pack) -> None:
    """Without the stochastic boundary no gap above the timeout stays in a session, and some did before."""
    other = woven({"feature_flags.S1.stochastic_boundary": False})
    doc = pack.doc("sessionisation_policy_6B")
    timeout = np.array([doc[k]["timeout_s"] for k in ("PARTY_INSTRUMENT", "PARTY_DEVICE")]) * 1_000_000
    most = [s["gap_max_us"] - timeout[s["session_key_kind"]] for s in (base.base.sessions, other.base.sessions)]
    assert most[0].max() > 0 >= most[1].max()


def test_flows_of_one_arrival(base: Weaver, woven: Any) -> None:
    """Without orders of several arrivals there are as many flows as arrivals."""
    other = woven({"feature_flags.S2.multi_arrival_flows": False})
    arrivals = len(other.base.arrivals["party_id"])
    assert len(other.base.s2.flows["flow_id"]) == arrivals > len(base.base.s2.flows["flow_id"])
    assert not {"s1_arrival_entities_6B", "s1_session_index_6B"} & set(changed(base, other))


def test_refunds_off(base: Weaver, woven: Any, contracts: Contracts) -> None:
    """Without refunds no baseline flow is refunded and none is a goodwill credit."""
    other = woven({"feature_flags.S2.refunds": False})
    credit = contracts.code("flow_type", "CARD_CREDIT")
    for flows, some in ((base.base.s2.flows, True), (other.base.s2.flows, False)):
        assert bool((flows["refunded_minor"] > 0).any()) is some
        assert bool((flows["flow_type"] == credit).any()) is some


def test_reversals_off(base: Weaver, woven: Any, contracts: Contracts) -> None:
    """Without reversals no card or cash flow is reversed; returned transfers stay."""
    other = woven({"feature_flags.S2.reversals": False})
    rail = contracts.code("channel_group", "BANK_RAIL")
    for flows, some in ((base.base.s2.flows, True), (other.base.s2.flows, False)):
        assert bool(((flows["reversed_minor"] > 0) & (flows["channel_group"] != rail)).any()) is some


def test_partial_clearing_off(base: Weaver, woven: Any, contracts: Contracts) -> None:
    """Without partial clearing no flow is cleared twice."""
    other = woven({"feature_flags.S2.partial_clearing": False})
    kind = contracts.code("event_type", "CLEARING")
    most = []
    for events in (base.base.s2.events, other.base.s2.events):
        _, count = np.unique(events["flow_id"][events["event_type"] == kind], return_counts=True)
        most.append(int(count.max()))
    assert most == [2, 1]


def test_overlay_off(base: Weaver, woven: Any) -> None:
    """Without overlay S3 is S2: no campaign, no tag, no new flow, no fraud; S1 and S2 are untouched."""
    other = woven({"feature_flags.S3.overlay": False})
    flows = other.base.s3.flows
    assert not flows["fraud_flag"].any() and len(other.base.plan2.plan.campaigns.row) == 0
    assert np.array_equal(flows["flow_id"], other.base.s2.flows["flow_id"])
    assert not other.base.s4.truth["is_fraud_truth"].any() and base.base.s4.truth["is_fraud_truth"].any()
    assert not [d for d in changed(base, other) if d.startswith(("s1", "s2"))]


def test_label_history_off(base: Weaver, woven: Any) -> None:
    """Without label history that table is empty and no other one changes."""
    other = woven({"feature_flags.S4.label_history": False})
    assert len(other.base.s4.history["flow_id"]) == 0 < len(base.base.s4.history["flow_id"])
    assert changed(base, other) == ["s4_label_history_6B"]


def test_cases_off(base: Weaver, woven: Any) -> None:
    """Without cases both case tables are empty and no flow names one; labels, claims and losses stand."""
    other = woven({"feature_flags.S4.cases": False})
    frame, before = other.base.s4, base.base.s4
    assert len(frame.cases["case_id"]) == len(frame.case_links["case_id"]) == 0 < len(before.cases["case_id"])
    for name in ("case_id", "case_open_ts_utc", "case_close_ts_utc"):
        assert not frame.bank[name].any() and before.bank[name].any()
    assert not frame.event_labels["is_case_event"].any()
    for name in ("bank_label", "detection_ts_utc", "dispute_ts_utc", "chargeback_ts_utc", "loss_minor"):
        assert np.array_equal(frame.bank[name], before.bank[name])
    assert "s4_label_history_6B" not in changed(base, other)


@pytest.mark.parametrize("channel", ["ECOM", "POS", "ATM", "BANK_RAIL", "HYBRID"])
def test_blocked_channel(base: Weaver, woven: Any, contracts: Contracts, channel: str) -> None:
    """No overlay flow, tagged or new, acts in a blocked channel; before, some did; other channels keep theirs."""
    other = woven({"scope_filters.block_channels": [channel]})
    code = contracts.code("channel_group", channel)
    hit, left = (x.base.s3.flows["channel_group"][x.base.s3.flows["fraud_flag"]] for x in (base, other))
    assert (hit == code).any() and not (left == code).any() and len(left)


def test_blocked_country(base: Weaver, woven: Any, world: Any, contracts: Contracts) -> None:
    """No account whose holder lives in a blocked country has an overlay flow; holders elsewhere do."""
    home = world.tables["s1_party_base_6A"]["country_iso"]
    flows = base.base.s3.flows
    codes, count = np.unique(home[flows["party_id"][flows["fraud_flag"]] - 1], return_counts=True)
    assert len(codes) > 1
    worst = int(codes[np.argmax(count)])
    other = woven({"scope_filters.block_countries": [contracts.enum("country_iso")[worst]]})
    flows = other.base.s3.flows
    left = home[flows["party_id"][flows["fraud_flag"]] - 1]
    assert len(left) and not (left == worst).any()


@pytest.mark.parametrize("way", ["block", "allow"])
def test_campaign_types(base: Weaver, woven: Any, contracts: Contracts, way: str) -> None:
    """A blocked type has no campaign, an allow list leaves no other; what remains keeps windows, lanes and ids."""
    other = woven({f"scope_filters.{way}_campaign_types": ["ATO"]})
    code = contracts.code("campaign_type", "ATO")
    before, after = (x.base.plan2.plan.campaigns for x in (base, other))
    kept = before.row + 1 != code if way == "block" else before.row + 1 == code
    assert 0 < len(after.row) < len(before.row)
    for name in ("row", "slot", "start", "end", "lane_lo", "lane_hi", "id", "base"):
        assert np.array_equal(getattr(before, name)[kept], getattr(after, name))


def test_flows_per_session(base: Weaver, woven: Any) -> None:
    """The cap on flows per session holds, and is noted; not to be clamped, it fails the state."""
    from fraudloom.states import s1

    other = woven({"caps.flows_per_session": 2})
    assert base.base.sessions["arrival_count"].max() > 2 == other.base.sessions["arrival_count"].max()
    (note,) = other.base.plans["S1"].notes
    assert note.startswith("caps.flows_per_session") and not base.base.plans["S1"].notes
    strict = woven({"caps.flows_per_session": 2, "degrade.cap_hit": "FAIL"})
    assert strict.digests["s1_session_index_6B"] == base.digests["s1_session_index_6B"]
    with pytest.raises(DataError, match="S1_CAP_EXCEEDED"):
        s1.prove(strict.base.plans["S1"], strict.world, strict.base.arrivals, strict.base.sessions)


def test_overlay_share(base: Weaver, woven: Any) -> None:
    """The cap on the overlay's share of arrivals holds over all campaigns, chains too, and is noted; or it fails."""
    n = len(base.base.arrivals["party_id"])
    before = int(base.base.s3.flows["fraud_flag"].sum())
    for share in (0.02, 0.0005, 0.0):
        other = woven({"caps.overlay_share": share})
        assert int(other.base.plan2.planned.sum()) <= share * n < before
        assert int(other.base.s3.flows["fraud_flag"].sum()) <= share * n
        (note,) = other.base.plan2.notes
        assert note.startswith("caps.overlay_share")
    assert not base.base.plan2.notes
    with pytest.raises(DataError, match="S3_CAP_EXCEEDED"):
        woven({"caps.overlay_share": 0.02, "degrade.cap_hit": "FAIL"})


class Without(Mapping[str, Any]):
    """Tables of a world but one."""

    def __init__(self, tables: Mapping[str, Any], name: str) -> None:
        self.tables, self.name = tables, name

    def __getitem__(self, name: str) -> Any:
        if name == self.name:
            raise KeyError(name)
        return self.tables[name]

    def __iter__(self) -> Any:
        return (n for n in self.tables if n != self.name)

    def __len__(self) -> int:
        return len(self.tables) - 1


def test_optional_input_missing(base: Weaver, world: Any, contracts: Contracts, pack: Pack) -> None:
    """Without device roles S3 weighs all devices alike and says so, or refuses, as the pack asks."""
    poor = replace(world, tables=Without(world.tables, "s5_device_fraud_roles_6A"))
    with pytest.raises(SealError, match="S3_SEALED_INPUTS_INCOMPLETE"):
        Weaver(poor, contracts, pack)
    other = Weaver(poor, contracts, with_(pack, {"degrade.optional_missing": "DISABLE"}))
    assert (other.base.plans["S3"].weights.device == 1.0).all()
    assert other.base.plan2.notes[0].startswith("s5_device_fraud_roles_6A is missing")
    assert base.base.plans["S3"].weights.device.max() > 1.0
    assert all(d.startswith(("s3", "s4")) for d in changed(base, other))


def test_scope_of_runs() -> None:
    """Scenarios and seeds: allow lists, block lists, skipping with a note, and refusal when nothing is left."""
    names = ("baseline_v1", "stress_peak_online_v1")
    assert Behaviour().in_scope(names, 7) == (names, [])
    for scope in (Scope(allow_scenarios=frozenset(names[:1])), Scope(block_scenarios=frozenset(names[1:]))):
        kept, notes = Behaviour(scope=scope).in_scope(names, 7)
        assert kept == names[:1] and names[1] in notes[0] and len(notes) == 1
        with pytest.raises(PolicyError, match="SCOPE_MISS"):
            Behaviour(scope=scope, skip_scope=False).in_scope(names, 7)
    for scope in (Scope(allow_seeds=frozenset({8})), Scope(block_seeds=frozenset({7}))):
        assert Behaviour(scope=scope).in_scope(names, 8) == (names, [])
        with pytest.raises(PolicyError, match="SCOPE_MISS"):
            Behaviour(scope=scope).in_scope(names, 7)


def test_both_lists_of_a_pair_are_refused(pack: Pack) -> None:
    """An allow list and a block list of one kind at once have no meaning."""
    for kind, value in (("scenarios", "baseline_v1"), ("seeds", 1), ("campaign_types", "ATO")):
        changes = {f"scope_filters.{way}_{kind}": [value] for way in ("allow", "block")}
        with pytest.raises(FraudloomError, match="BEHAVIOUR_INVALID"):
            compile_behaviour(with_(pack, changes).docs[POLICY])


def test_switches_of_sessions_are_arrays(pack: Pack) -> None:
    """The session rule under all restrictions is the policy's with three arrays changed."""
    rule = cut_rule(pack.doc("sessionisation_policy_6B"))
    off = Behaviour(sessionisation=False, stochastic_boundary=False)
    cut, most, notes = restrict(rule, off)
    assert cut.arrivals.tolist() == [1, 1] and (cut.break_us == rule.timeout_us + 1).all()
    assert (most, notes) == (None, ())
