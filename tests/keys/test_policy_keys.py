"""No key of a pack is without effect: each is moved, and something that is published must change."""

from pathlib import Path

import pytest

from fraudloom.errors import PolicyError
from fraudloom.policies_api import check_document
from keys.cover import CHOICES, DOCUMENTS, NUMBERS, WORLD, Bench, Found, free, read_list, row_keys
from keys.leaves import put

LIST = Path(__file__).parent / "COVERAGE.md"
#: Documents by the group that one worker takes; the groups take about equally long.
GROUPS = {
    "keys-overlay": ("fraud_campaign_catalogue_config_6B", "fraud_overlay_policy_6B", "fraud_rng_policy_6B"),
}
SHARES = 8


def group(doc_id: str, share: int = 0) -> str:
    """The group of a share of a document."""
    if doc_id == WORLD:
        return f"keys-world-{share % 2}"
    return next((name for name, docs in GROUPS.items() if doc_id in docs), "keys-weave")


def cases(shares: int = 1) -> list[object]:
    """(policy, share) by group."""
    marks = [(d, k) for d in DOCUMENTS for k in range(shares if d == WORLD else 1)]
    return [pytest.param(d, k, marks=pytest.mark.xdist_group(group(d, k)), id=f"{d}-{k}") for d, k in marks]


def told(found: list[Found]) -> str:
    """Keys that changed nothing, with the values tried."""
    return "\n".join(f"{f.leaf.key} = {f.leaf.value!r}, tried {list(f.tried)}" for f in found if not f.change)


@pytest.mark.parametrize(("doc_id", "share"), cases(SHARES))
def test_every_number_counts(bench: Bench, doc_id: str, share: int) -> None:
    """A number or switch that nothing reads, or that a branch never reaches, shows as a key that changes no digest."""
    leaves = free(bench.leaves(doc_id), NUMBERS)
    mine = leaves[share::SHARES] if doc_id == WORLD else leaves
    unused = told([bench.find(leaf) for leaf in mine])
    assert not unused, f"keys without effect:\n{unused}"


@pytest.mark.parametrize(("doc_id", "share"), cases())
def test_every_choice_counts(bench: Bench, doc_id: str, share: int) -> None:
    """A choice whose alternatives all do the same, or a list member that nobody misses, is a decoration."""
    unused = told([bench.find(leaf) for leaf in free(bench.leaves(doc_id), CHOICES)])
    assert not unused, f"choices without effect:\n{unused}"


@pytest.mark.parametrize("doc_id", DOCUMENTS)
def test_other_values_of_fixed_keys_are_refused(bench: Bench, doc_id: str) -> None:
    """A key with one valid value (slots of a decision that kernels count on) must refuse every other one."""
    base = bench.base(doc_id)
    for leaf in bench.leaves(doc_id):
        if leaf.fixed:
            other = not leaf.value if isinstance(leaf.value, bool) else leaf.value + 1
            with pytest.raises(PolicyError):
                check_document(doc_id, put(base, leaf.path, other), Path(doc_id), bench.contracts)


def test_numbers_have_room(bench: Bench) -> None:
    """A number whose bounds leave no clearly different value could never be shown to count."""
    for doc_id in DOCUMENTS:
        for leaf in free(bench.leaves(doc_id), NUMBERS):
            assert leaf.others, leaf.key


def test_the_list_names_every_key(bench: Bench) -> None:
    """A key that was added, renamed or dropped since COVERAGE.md was generated stands there wrongly."""
    now = row_keys(leaf for doc_id in DOCUMENTS for leaf in bench.leaves(doc_id))
    assert read_list(LIST) == now, "run: python tests/tools/policy_keys.py"


@pytest.mark.xdist_group("keys-weave")
def test_weaving_leaves_its_inputs_alone(bench: Bench) -> None:
    """A state that changed the tables before it would make the comparisons of this folder meaningless."""
    from keys.weave import frame_digests

    assert frame_digests(bench.near) == bench.near.digests
