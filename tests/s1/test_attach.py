"""Attachment on crafted worlds: rules, exact cases, pinned rows, splits into batches, refusals."""

import copy

import numpy as np
import pytest
from s1.crafted import (
    CONTRACTS,
    DAY_US,
    START,
    attach_all,
    compile_for,
    crafted_arrivals,
    crafted_world,
    made_world,
    s1_pack,
)

from fraudloom.errors import DataError, PolicyError
from fraudloom.kernels.attach import attach_holding, attach_party
from fraudloom.kernels.attach_device import attach_device, hold_links
from fraudloom.kernels.jit import KERNELS
from fraudloom.states import s1
from fraudloom.states.s1.plan import group_weights


@pytest.fixture(scope="module")
def world():
    """A crafted world."""
    return crafted_world()


@pytest.fixture(scope="module")
def attached(world):
    """(plan, arrivals, attached arrivals, evidence) of the crafted world."""
    plan = compile_for(world)
    arrivals = crafted_arrivals(world)
    return plan, arrivals, *attach_all(plan, world, arrivals)


def test_kernels_are_registered() -> None:
    """The kernels of S1 that these tests exercise are the registered ones."""
    for kernel in (attach_party, attach_holding, attach_device, hold_links):
        assert kernel in KERNELS.values()


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_do_not_show(world, attached, batch: int) -> None:
    """Any split into batches gives equal rows and equal evidence."""
    plan, arrivals, whole, evidence = attached
    n = 300 if batch == 1 else len(arrivals["merchant_id"])
    if n < len(arrivals["merchant_id"]):
        arrivals = {k: v[:n] for k, v in arrivals.items()}
        _, evidence = attach_all(plan, world, arrivals)
    split, counted = attach_all(plan, world, arrivals, batch)
    assert np.array_equal(counted, evidence)
    for name, values in split.items():
        assert values.dtype == whole[name].dtype
        assert np.array_equal(values, whole[name][:n]), name


def test_every_rule_occurs(attached) -> None:
    """The crafted arrivals reach each way of finding a party."""
    assert set(np.unique(attached[2]["attach_rule_id"])) == set(range(6))


def test_draws_follow_from_domains(attached) -> None:
    """Evidence counts every slot of every row of a decision's domain, whatever was drawn."""
    plan, arrivals, _, evidence = attached
    series = int((arrivals["series_key"] > 0).sum())
    n = len(arrivals["series_key"])
    tills = int(np.isin(arrivals["channel_group"], (1, 2)).sum())
    expected = {"ATTACH_TERMINAL": tills, "SESSION_BOUNDARY": 0}
    for item, row in zip(plan.decisions.items, evidence, strict=True):
        count = expected.get(item.decision, series if item.decision.endswith("_SERIES") else n - series)
        assert int(row[0]) == count * item.slots, item.decision


def test_visit_keeps_party_and_series_keeps_it_for_ever(attached) -> None:
    """Arrivals of a visit and local day share the party; arrivals of a series share it on any day."""
    got = attached[2]
    free = got["attach_rule_id"] != 0
    day = got["ts_local_primary"] // DAY_US
    for keys, where in (
        ((got["visit_key"], day), free & (got["series_key"] == 0)),
        ((got["series_key"],), free & (got["series_key"] > 0)),
    ):
        seen: dict = {}
        for row in np.flatnonzero(where):
            place = (int(got["visit_merchant_id"][row]), *(int(k[row]) for k in keys))
            assert seen.setdefault(place, got["party_id"][row]) == got["party_id"][row]


def test_nobody_is_at_two_places(world, attached) -> None:
    """Who visits is on a full day of a trip there; who pays at home is not away."""
    got, trips = attached[2], world.tables["trips_6A"]
    day = (got["ts_local_primary"] // DAY_US - START // DAY_US) % world.days
    rows = {int(p): k for k, p in enumerate(trips["party_id"])}
    for row in range(len(day)):
        k = rows.get(int(got["party_id"][row]))
        if got["attach_rule_id"][row] == 5:
            assert k is not None and trips["city_id"][k] == got["home_city_id"][row]
            assert trips["from_day"][k] < day[row] < trips["to_day"][k]
    home = np.isin(got["attach_rule_id"], (3, 4)) & ~got["trip"]
    assert not [r for r in np.flatnonzero(home) if int(got["party_id"][r]) in rows and 3 <= day[r] <= 6]


def test_pinned_rows_keep_their_card(world, attached) -> None:
    """Pinned rows have the card, its account and its holder, whatever its kind or dates."""
    got, cards = attached[2], world.tables["s3_instrument_base_6A"]
    rows = np.flatnonzero(got["pinned_instrument_id"] > 0)
    assert len(rows)
    card = got["pinned_instrument_id"][rows] - 1
    assert np.array_equal(got["instrument_id"][rows], card + 1)
    assert np.array_equal(got["account_id"][rows], cards["account_id"][card])
    assert np.array_equal(got["party_id"][rows], cards["owner_party_id"][card])
    assert (got["attach_rule_id"][rows] == 0).all() and (got["attach_score"][rows] == 1.0).all()


TOKEN = 3  # code of WALLET_TOKEN


def test_wallet_tokens_are_on_their_phone(world, attached) -> None:
    """Whoever pays with a wallet token without a terminal does so with the phone that holds it, on every channel."""
    got = attached[2]
    token = (got["instrument_kind"] == TOKEN) & (got["pinned_instrument_id"] == 0)
    own = got["terminal_id"] == 0
    assert set(np.unique(got["channel_group"][token & own])) >= {0, 1, 3, 4} and (token & ~own).any()
    assert (got["device_id"][token & own] == 3 * got["party_id"][token & own]).all()
    terminals = world.tables["terminals_2B"]["device_id"]
    assert (got["device_id"][token & ~own] == terminals[got["terminal_id"][token & ~own] - 1]).all()
    assert (got["device_id"][~token & own] != 3 * got["party_id"][~token & own]).any()


@pytest.mark.parametrize("lost", ["device", "link"])
def test_tokens_rest_without_their_phone(lost: str) -> None:
    """A wallet token is not drawn while its phone is out of use, nor when no device holds it; cards are."""
    world = crafted_world()
    devices, links = world.tables["s4_device_base_6A"], world.tables["s4_device_links_6A"]
    last = START + 8 * DAY_US
    if lost == "device":
        devices["valid_to"][2:120:3] = last
    else:
        links["instrument_id"][:] = 0
        last = START
    got, _ = attach_all(compile_for(world), world, crafted_arrivals(world))
    free = got["pinned_instrument_id"] == 0
    token = free & (got["instrument_kind"] == TOKEN)
    after = got["ts_utc"] >= last
    assert not (token & after).any() and (free & after).any()
    assert (token & ~after).any() == (lost == "device")


def test_spares_and_successors_are_never_used(world, attached) -> None:
    """No arrival is paid with an instrument that waits, but where a log says so."""
    got, status = attached[2], world.tables["s3_instrument_base_6A"]["instrument_status"]
    free = (got["pinned_instrument_id"] == 0) & (got["instrument_id"] > 0)
    assert (status == 1).sum() > 100
    assert (status[got["instrument_id"][free] - 1] == 0).all()


def test_choices_follow_the_priors(world) -> None:
    """Over many visits: terminals, wallets on phones, first own devices and ledgers come at the policy's rates."""
    plan, prior = compile_for(world), s1_pack().doc("behaviour_prior_pack_6B")
    arrivals = crafted_arrivals(world, 40_000, seed=5)
    for name in ("series_key", "pinned_instrument_id"):
        arrivals[name][:] = 0
    arrivals["visit_key"] = np.arange(1, 40_001)
    got, _ = attach_all(plan, world, arrivals)
    family = world.tables["s1_party_base_6A"]["party_type"][got["party_id"] - 1]
    pos = (got["channel_group"] == 1) & (got["merchant_id"] <= 6)
    assert abs((got["terminal_id"][pos] > 0).mean() - prior["p_terminal_device"]["POS"]) < 0.02
    own_city = world.tables["terminals_2B"]["city_id"][got["terminal_id"][pos & (got["terminal_id"] > 0)] - 1]
    assert (own_city == got["city_id"][pos & (got["terminal_id"] > 0)])[
        np.isin(got["city_id"][pos & (got["terminal_id"] > 0)], (1, 2))
    ].all()
    wallet = np.isin(got["channel_group"], (1, 2)) & (got["terminal_id"] == 0)
    assert (world.tables["s4_device_base_6A"]["device_type"][got["device_id"][wallet] - 1] == 0).all()
    retail = (family == 0) & (got["channel_group"] == 0)
    cards = retail & (got["instrument_kind"] != TOKEN)
    first = got["device_id"][cards] == 3 * (got["party_id"][cards] - 1) + 1
    assert abs(first.mean() - prior["p_primary_device"]["RETAIL"]["ECOM"]) < 0.02
    share = np.bincount(got["ledger_class"][retail], minlength=4) / retail.sum()
    weights = np.array(list(prior["ledger_weights"]["RETAIL"]["ECOM"].values()))
    assert np.allclose(share, weights / weights.sum(), atol=0.02)


def _without(world, table: str, keep: np.ndarray):
    """The world with fewer rows of one table, or with other columns."""
    tables = dict(world.tables)
    tables[table] = {k: v[keep] for k, v in tables[table].items()}
    return made_world(tables)


def _with(world, table: str, column: str, values: np.ndarray):
    """The world with another column."""
    tables = dict(world.tables)
    tables[table] = {**tables[table], column: values}
    return made_world(tables)


def test_missing_candidates_name_the_arrival(world) -> None:
    """No usable card, no device in use, no address: S1_ENTITY_NO_CANDIDATES with the arrival and the step."""
    arrivals = crafted_arrivals(world, 50)
    arrivals["pinned_instrument_id"][:] = 0
    arrivals["channel_group"][:] = 0
    cards = world.tables["s3_instrument_base_6A"]
    cases = {
        "ACCOUNT": _with(world, "s3_instrument_base_6A", "instrument_status", np.ones_like(cards["instrument_status"])),
        "DEVICE": _with(world, "s4_device_base_6A", "valid_to", world.tables["s4_device_base_6A"]["valid_from"]),
        "IP": _without(world, "s4_ip_links_6A", np.zeros(len(world.tables["s4_ip_links_6A"]["ip_id"]), bool)),
    }
    for step, broken in cases.items():
        with pytest.raises(DataError, match=f"S1_ENTITY_NO_CANDIDATES.*{step}") as caught:
            attach_all(compile_for(broken), broken, arrivals)
        assert f"merchant_id {arrivals['merchant_id'][0]}, arrival_seq 1" in str(caught.value)


def test_rails_pay_without_an_instrument(world) -> None:
    """On BANK_RAIL an account without usable instruments pays alone; its kind is null."""
    cards = world.tables["s3_instrument_base_6A"]
    bare = _with(world, "s3_instrument_base_6A", "instrument_status", np.ones_like(cards["instrument_status"]))
    arrivals = crafted_arrivals(world, 50)
    arrivals["pinned_instrument_id"][:] = 0
    arrivals["channel_group"][:] = 3
    got, _ = attach_all(compile_for(bare), bare, arrivals)
    assert (got["instrument_id"] == 0).all() and (got["instrument_kind"] == -1).all() and (got["account_id"] > 0).all()


def test_city_without_residents_uses_the_world(world, attached) -> None:
    """The crafted world's last city has no residents: its visits go to anyone, with the pool's rule."""
    got = attached[2]
    rows = (got["home_city_id"] == 3) & ~got["trip"] & (got["attach_rule_id"] == 4)
    assert rows.any()
    assert len(np.unique(world.tables["s1_party_base_6A"]["city_id"][got["party_id"][rows] - 1])) > 1


def test_somebody_is_at_home(world) -> None:
    """When all regulars and a quarter of the residents are away, every visit still finds a payer who is at home."""
    regulars = world.tables["regulars_6A"]
    only = _without(world, "regulars_6A", np.isin(regulars["party_id"], world.tables["trips_6A"]["party_id"]))
    arrivals = crafted_arrivals(world, 4000, seed=9)
    for name in ("series_key", "pinned_instrument_id", "trip"):
        arrivals[name][:] = 0
    arrivals["ts_local_primary"][:] = START + 4 * DAY_US
    got, _ = attach_all(compile_for(only), only, arrivals)
    assert not np.isin(got["party_id"], world.tables["trips_6A"]["party_id"]).any()
    assert not np.isin(got["attach_rule_id"], (1, 3)).any(), "every regular was away"


def test_empty_batch_and_empty_world_table(world) -> None:
    """No arrivals give no rows, in the contract's types."""
    arrivals = {k: v[:0] for k, v in crafted_arrivals(world, 10).items()}
    got, evidence = attach_all(compile_for(world), world, arrivals)
    assert all(len(v) == 0 for v in got.values()) and not evidence.any()
    for column in CONTRACTS.dataset("s1_arrival_entities_6B").columns:
        if column.name != "session_id":
            assert got[column.name].dtype == column.memory_dtype, column.name


def test_scatter_partitions_stably(attached) -> None:
    """Rows of each shard in their own order, and every scratch column holds its values in its narrow type."""
    got = attached[2]
    order, ptr = s1.scatter(got, 3)
    for s in range(3):
        rows = order[ptr[s] : ptr[s + 1]]
        assert np.array_equal(rows, np.flatnonzero(got["_shard"] == s))
    for name, dtype in s1.SCRATCH_COLUMNS:
        assert np.array_equal(got[name].astype(dtype).astype(got[name].dtype), got[name]), name


def test_address_shares_are_capped() -> None:
    """A group weighs at most its share_max among the five groups of a cell; the others keep their share."""
    pack = s1_pack()
    doc = pack.doc("behaviour_prior_pack_6B")["ip_group_weights"]
    free = group_weights(doc, {})
    assert np.allclose(free.sum(axis=2), 1.0) and (free[:, :, 5] == 0.0).all()
    capped = group_weights(doc, {"HOSTING_DATACENTRE": 0.05})
    assert (capped[:, :, 3] <= 0.05).all() and np.array_equal(capped[:, :, :3], free[:, :, :3])


def numbers(doc, path=()):
    """(path, value) of every number of a document."""
    items = doc.items() if isinstance(doc, dict) else enumerate(doc) if isinstance(doc, list) else ()
    for key, value in items:
        if isinstance(value, dict | list):
            yield from numbers(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key), value


def moved(policy: str, path: tuple, value: float):
    """The default pack with one number moved."""
    pack = s1_pack()
    docs = {**pack.docs, policy: copy.deepcopy(pack.docs[policy])}
    place = docs[policy]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return type(pack)(pack.name, pack.profile, docs, {}, "", "")


def test_every_number_of_attachment_matters(world) -> None:
    """Moving any weight, probability or cap of attachment, or the number of candidates, changes attached rows."""
    arrivals = crafted_arrivals(world, 30_000, seed=4)
    arrivals["visit_key"] = np.arange(1, 30_001)
    arrivals["pinned_instrument_id"][:] = 0

    def chosen(pack) -> bytes:
        got, _ = attach_all(compile_for(world, pack=pack), world, arrivals)
        columns = ("party_id", "account_id", "instrument_id", "device_id", "ip_id", "attach_score")
        return b"".join(got[c].tobytes() for c in columns)

    reference = chosen(s1_pack())
    cases = [
        (policy, path, value * 0.5)
        for policy in ("behaviour_prior_pack_6B", "attachment_policy_6B")
        for path, value in numbers(s1_pack().doc(policy))
    ]
    cases.append(("rng_policy_6B", ("decisions", 0, "slots"), 5))
    assert len(cases) > 200
    still = [(policy, path) for policy, path, value in cases if chosen(moved(policy, path, value)) == reference]
    assert not still


def test_every_number_of_sessions_is_compiled(world) -> None:
    """Moving any number of the session policy changes the compiled rule (what each does: test_sessions)."""

    def compiled(plan):
        return (*plan.cut, plan.sessions_max)

    base = compiled(compile_for(world))
    for path, value in numbers(s1_pack().doc("sessionisation_policy_6B")):
        rule = compiled(compile_for(world, pack=moved("sessionisation_policy_6B", path, value * 2)))
        assert any(not np.array_equal(a, b) for a, b in zip(base, rule, strict=True)), path


def test_break_below_timeout_is_refused(world) -> None:
    """A hard break at or below the timeout cannot make a ramp."""
    pack = moved("sessionisation_policy_6B", ("PARTY_DEVICE", "hard_break_s"), 900)
    with pytest.raises(PolicyError, match="S1_POLICY_INVALID"):
        compile_for(world, pack=pack)
