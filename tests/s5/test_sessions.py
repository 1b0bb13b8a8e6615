"""S5 looks at S1 again: sessions are cut from published rows in every mode; what waits in 6A is not used."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fraudloom.states.s5.validation import published_evidence
from fraudloom.states.world import load_world
from fraudloom.tables import Columns
from s5.bench import SCENARIO, Bench, failed, make_bench, rules

S1, POLICY = "s1_arrival_entities_6B", "sessionisation_policy_6B"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A sealed run, never changed."""
    return make_bench(tmp_path_factory.mktemp("s5"), "default", 1200)


def test_sessions_of_another_policy_fail(whole: Bench) -> None:
    """Sessions are cut again from published rows: those that another policy would have cut elsewhere are found."""
    doc = whole.pack.doc(POLICY)
    for change in ({"timeout_s": 60}, {"mode": "tumbling", "hard_break_s": None}, {"break_on_channel": True}):
        block = {k: v for k, v in {**doc["PARTY_DEVICE"], **change}.items() if v is not None}
        pack = replace(whole.pack, docs={**whole.pack.docs, POLICY: {**doc, "PARTY_DEVICE": block}})
        result = whole.validate(pack)
        assert "cut as the policy says" in rules(result, "REQ_SESSION_AGGREGATES")
        assert ("REQ_RNG_BUDGETS" in failed(result)) == ("mode" in change), "windows draw no boundaries"


@pytest.mark.parametrize("kinds", [("PARTY_DEVICE",), ("PARTY_DEVICE", "PARTY_INSTRUMENT")])
def test_tumbling_windows_pass(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """A run by tumbling windows is woven, proven and sealed; only keys that are cut at gaps draw boundaries."""
    folder = tmp_path / "pack"
    shutil.copytree(Path(__file__).resolve().parents[2] / "policies" / "default", folder)
    doc = yaml.safe_load((folder / f"{POLICY}.yaml").read_text("utf-8"))
    for kind in kinds:
        del doc[kind]["hard_break_s"]
        doc[kind] |= {"mode": "tumbling", "timeout_s": 86400, "break_on_local_day": True}
    (folder / f"{POLICY}.yaml").write_text(yaml.safe_dump(doc), "utf-8")
    bench = make_bench(tmp_path, str(folder), 600)
    result = bench.validate()
    assert result.verdict == "PASS", failed(result)
    rows = published_evidence(bench.root, bench.contracts, bench.spec)[SCENARIO]
    drawn = sum(r["draws"] for r in rows if r["decision"] == "SESSION_BOUNDARY")
    arrivals = [bench.rows(S1, part) for part in range(bench.spec.parts)]
    tills = sum(int(np.isin(a["channel_group"], (1, 2)).sum()) for a in arrivals)
    assert drawn == (tills if len(kinds) == 1 else 0)


def test_spares_and_successors_fail(whole: Bench, tmp_path: Path) -> None:
    """An arrival that is paid with a card that waits is found, although the card is the account's own."""
    bench = whole.copy(tmp_path)
    cards = load_world(bench.world_root, bench.contracts).tables["s3_instrument_base_6A"]
    waits = np.flatnonzero(cards["instrument_status"] == bench.contracts.code("instrument_status", "SUCCESSOR"))

    def change(c: Columns) -> None:
        row = np.flatnonzero(np.isin(c["account_id"], cards["account_id"][waits]) & (c["instrument_id"] > 0))[0]
        c["instrument_id"][row] = waits[cards["account_id"][waits] == c["account_id"][row]][0] + 1

    bench.rewrite(S1, change)
    assert "S1 instrument is no spare or successor" in rules(bench.validate(), "REQ_ENTITY_LINKS")
