"""Every branch of S1 and S2 is taken as often as the policies say, over a world of a default run.

One seed with every suite, twenty more with `--long`: `pytest tests/chance --long`. Seeds are fixed and never chosen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chance import branches_s1, branches_s2
from chance.branch import SIGMAS, Ledger, exact_tail
from chance.conftest import ARRIVALS
from chance.tables import Sample, weave

pytestmark = pytest.mark.xdist_group("chance")
UNSEEN = tuple(range(1001, 1021))
#: Kinds of branches; each has a judge, so that none is forgotten when a judge is changed.
FAMILIES = (
    *("regular of", "instrument ", "ledger ", "terminal ", "address ", "first device ", "typical address "),
    *(
        "session broken ",
        "goodwill credit ",
        "order joined ",
        "payee new",
        "payee place ",
        "name check ",
        "card on file",
    ),
    *("keyed ", "network token", "exemption ", "3-D Secure ", "cvv ", "address mismatch", "fallback ", "contactless "),
    *("trusted payee", "challenge ", "abandoned by timeout", "stand-in ", "request timed out", "51 ", "05 ", "14 "),
    *("54 ", "55 ", "N7 ", "61 ", "65 ", "75 ", "41 ", "43 ", "04 ", "96 ", "R0 ", "R1 ", "soft decline ", "retry "),
    *("transfer returned", "reversal ", "tip ", "fuel adjusted", "two shipments", "late presentment", "refund "),
    *("partial refund",),
)


def judged(sample: Sample) -> Ledger:
    """All branches of both states."""
    first, second = branches_s1.all_branches(sample), branches_s2.all_branches(sample)
    return Ledger(first.verdicts + second.verdicts)


@pytest.fixture(scope="session")
def ledger(sample: Sample) -> Ledger:
    """Its branches."""
    return judged(sample)


def test_every_branch_is_taken_as_often_as_its_law_says(ledger: Ledger) -> None:
    """A branch would be taken with another probability than the policy's, for the rows in which it is in force."""
    assert not ledger.failures(), "\n".join(ledger.failures())


def test_every_branch_has_rows(ledger: Ledger) -> None:
    """A branch would pass because nothing could take it."""
    assert not ledger.untried(), "\n".join(ledger.untried())
    names = [v.name for v in ledger.verdicts]
    assert len(names) == len(set(names)) > 120
    assert [f for f in FAMILIES if not any(n.startswith(f) for n in names)] == []


def test_branches_judged_by_another_policy_fail(sample: Sample) -> None:
    """The tests would not see a probability that is off by a third."""
    moved = Sample(sample.seed, sample.world_root, sample.run_root)
    docs = {k: dict(v) for k, v in sample.policies.items()}
    shape, prior = docs["flow_shape_policy_6B"], docs["behaviour_prior_pack_6B"]
    shape["not_present"] = {**shape["not_present"], "card_on_file": shape["not_present"]["card_on_file"] * 1.33}
    shape["settlement"] = {
        **shape["settlement"],
        "refund": {k: v * 1.33 for k, v in shape["settlement"]["refund"].items()},
    }
    docs["attachment_policy_6B"]["party"] = {"p_regular": 0.6}
    prior["p_terminal_device"] = {"POS": 0.86, "ATM": 0.95}
    vars(moved)["policies"] = docs
    found = Ledger()
    for judge in (branches_s1.parties, branches_s1.terminals, branches_s2.grouping, branches_s2.requests):
        judge(moved, found)
    branches_s2.settlement(moved, found)
    failed = {f.split(":")[0] for f in found.failures()}
    assert {"card on file", "refund ECOM", "regular of the visit", "terminal POS"} <= failed
    assert not {"order joined ECOM", "keyed order", "reversal ECOM"} & failed


@pytest.mark.long
@pytest.mark.parametrize("seed", UNSEEN)
def test_branches_hold_for_unseen_seeds(tmp_path: Path, seed: int) -> None:
    """The branches would hold for the seed of the suite alone."""
    found = judged(weave(tmp_path, seed, ARRIVALS))
    assert not found.failures(), "\n".join(found.failures())


@pytest.mark.long
def test_differences_are_spread_as_chance_spreads_them(tmp_path: Path) -> None:
    """Draws would be correlated: differences over many worlds far smaller or larger than chance makes them."""
    z = []
    for seed in UNSEEN[:8]:
        z += [v.z for v in judged(weave(tmp_path / str(seed), seed, 20_000)).verdicts if v.tail is None]
    spread = float(np.std(z))
    assert 0.9 < spread < 1.1
    wide = np.abs(z) > 3.0
    assert exact_tail(int(wide.sum()), np.full(len(z), 0.0027)) > 1e-6
    assert max(map(abs, z)) <= SIGMAS
