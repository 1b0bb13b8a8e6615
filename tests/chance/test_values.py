"""Every value that the contract declares for a column of S1 and S2 occurs in a default run, or is named here with why.

What an overlay alone makes is looked for in S3's tables of the same run; what an import alone makes, in a run of a log.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from chance.tables import ARRIVALS as ENTITIES
from chance.tables import CONTRACTS, EVENTS, FLOWS, SESSIONS, Sample
from fraudloom.run import run_world
from fraudloom.spec import RunOptions
from fraudloom.states.world import import_world

pytestmark = pytest.mark.xdist_group("chance")
#: The world's places are no branches: which countries and zones a small world has is a matter of its size.
PLACES = {"country_iso", "currency", "tzid"}
#: Made by the overlay: found in S3's flows and sessions.
OVERLAY = {(FLOWS, "block_state", "REPORT"), (SESSIONS, "session_key_kind", "OVERLAY")}
OVERLAID = {FLOWS: "s3_flow_anchor_with_fraud_6B", SESSIONS: "s3_session_index_with_fraud_6B"}
#: Made by an import: facts that a log pins.
PINNED = {(ENTITIES, "attach_rule_id", "PINNED")} | {
    (table, "pinned_label", label) for table in (ENTITIES, FLOWS) for label in ("LEGIT", "FRAUD", "ABUSE")
}
#: One vocabulary names the draw families of all states; S1 draws entities by one of them.
FAMILIES = {(ENTITIES, "attach_rng_family", f) for f in CONTRACTS.enum("rng_family")} - {
    (ENTITIES, "attach_rng_family", "rng_event_entity_attach")
}
#: Accounts of these ledgers have no instrument in a built world (loans, savings): nothing pays from them.
NO_CARDS = {(ENTITIES, "ledger_class", label) for label in ("CREDIT_INSTALLMENT", "SETTLEMENT")}
#: Declared for the analyst's own blocks, which no state puts on a card yet.
UNMADE = {(FLOWS, "block_state", "ANALYST")}


def declared(dataset: str) -> set[tuple[str, str, str]]:
    """(dataset, column, value) of every enum column."""
    columns = [c for c in CONTRACTS.dataset(dataset).columns if c.enum and c.enum not in PLACES]
    return {(dataset, c.name, label) for c in columns for label in CONTRACTS.enum(str(c.enum))}


def found(sample: Sample, dataset: str, published: str = "") -> set[tuple[str, str, str]]:
    """Those that occur in the published table."""
    table = sample.table(published or dataset)
    names = {name for _, name, _ in declared(dataset)} & set(table)
    return {(dataset, name, str(v)) for name in names for v in set(table[name].tolist()) if v}


@pytest.mark.parametrize("dataset", [ENTITIES, SESSIONS, FLOWS, EVENTS])
def test_every_declared_value_occurs(sample: Sample, dataset: str) -> None:
    """The contract would promise values that nothing makes, or the list of exceptions would hide a lost branch."""
    missing = declared(dataset) - found(sample, dataset)
    excused = OVERLAY | PINNED | FAMILIES | NO_CARDS | UNMADE
    assert missing == {x for x in excused if x[0] == dataset}


def test_values_of_the_overlay_occur_there(sample: Sample) -> None:
    """A value that only fraud brings would not come at all."""
    there = set.union(*(found(sample, dataset, published) for dataset, published in OVERLAID.items()))
    assert there >= OVERLAY
    assert not there & UNMADE, "now made: take it off the list"


def test_accounts_of_these_ledgers_have_no_instrument(sample: Sample) -> None:
    """Accounts would have cards that nobody uses."""
    accounts, cards = sample.of_world("s2_account_base_6A"), sample.of_world("s3_instrument_base_6A")
    live = cards["account_id"][cards["instrument_status"] == "ACTIVE"]
    ledgers = set(accounts["ledger_class"][live - 1].tolist())
    assert not ledgers & {label for _, _, label in NO_CARDS}
    assert set(accounts["ledger_class"].tolist()) >= ledgers


def test_values_of_an_import_occur_there(tmp_path: Path) -> None:
    """Pinned rows of a log would not be marked as such."""
    log, plan = tmp_path / "log.csv", tmp_path / "map.yaml"
    with log.open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(("at", "shop", "pan", "value", "bad"))
        for i in range(300):
            label = ("LEGIT", "FRAUD", "ABUSE")[i % 3]
            rows.writerow((f"2026-01-{1 + i % 28:02d} {i % 24:02d}:00:00", f"m{i % 9}", f"c{i % 20}", 500 + i, label))
    columns = {"timestamp": "at", "merchant": "shop", "card": "pan", "amount": "value", "fraud_label": "bad"}
    source = {"format": "csv", "timezone": "Europe/London", "currency": "GBP", "country": "GB"}
    plan.write_text(
        yaml.safe_dump({"source": source, "columns": columns, "amount": {"unit": "minor", "credit_sign": "negative"}}),
        "utf-8",
    )
    world = tmp_path / "world"
    import_world(log, plan, world)
    done = run_world(RunOptions(world=world, runs_root=tmp_path / "runs", last="S2", quiet=True, workers=1))
    sample = Sample(42, world, Path(done.values["run_root"]))
    assert found(sample, ENTITIES) | found(sample, FLOWS) >= PINNED
