"""Moving every key of the policies and finding what it changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s5.bench import Bench as RunBench
from s5.bench import make_bench

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.errors import FraudloomError
from fraudloom.policies_api import Pack, check_document, load_pack
from fraudloom.states.world import WorldSpec, geo
from keys import crowd
from keys.crafted import crafted_for, fitted
from keys.leaves import CHOICE, MEMBER, NUMBER, SWITCH, Leaf, leaves, put
from keys.town import TownBuilder
from keys.weave import READ_BY, READ_UNTIL, Weaver

NEAR_ARRIVALS, FAR_ARRIVALS, TOWN_ARRIVALS = 6_000, 40_000, 2_000
WORLD, VALIDATION = "world_policy", "segment_validation_policy_6B"
GATES, FIGURES = "realism_gates_6B", "run_figures_6B"
CALIBRATION = "issuer_calibration_6B"
DOCUMENTS = (*READ_BY, VALIDATION, GATES, FIGURES, CALIBRATION, WORLD)
NUMBERS, CHOICES = (NUMBER, SWITCH), (CHOICE, MEMBER)
#: Where a key is read although moving it makes the pack inconsistent.
REFUSED = "(refused: the pack would not fit together)"


@dataclass(frozen=True)
class Found:
    """What moving one key did: `change` names a dataset or a crafted call, and is empty when nothing changed."""

    leaf: Leaf
    change: str
    tried: tuple[Any, ...]


class Bench:
    """Worlds and base packs, made when first asked for, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before: dict[tuple[str, str], Any] = {}

    @cached_property
    def contracts(self) -> Contracts:
        """The packaged contracts."""
        return load_contracts()

    @cached_property
    def pack(self) -> Pack:
        """The crowded default pack."""
        return crowd.crowded(load_pack("default", self.contracts), "pack", self.contracts)

    @cached_property
    def town_pack(self) -> Pack:
        """The crowded world pack."""
        return crowd.crowded(load_pack("world", self.contracts), "town", self.contracts)

    @cached_property
    def near(self) -> Weaver:
        """A small crowded world."""
        return Weaver(crowd.build(self.folder / "near", NEAR_ARRIVALS, self.contracts), self.contracts, self.pack)

    @cached_property
    def spread(self) -> Weaver:
        """The small world with labels dealt out in turn; S1 alone."""
        _ = self.near
        world = crowd.spread(crowd.reopen(self.folder / "near", self.contracts))
        return Weaver(world, self.contracts, self.pack, "S1")

    @cached_property
    def far(self) -> Weaver:
        """A larger crowded world."""
        return Weaver(crowd.build(self.folder / "far", FAR_ARRIVALS, self.contracts), self.contracts, self.pack)

    @cached_property
    def town(self) -> TownBuilder:
        """A world in memory."""
        doc = self.town_pack.doc(WORLD)
        spec = WorldSpec(TOWN_ARRIVALS, seed=3, days=60, scenarios=tuple(doc["scenarios"]))
        return TownBuilder(self.contracts, spec, doc)

    @cached_property
    def bare_town(self) -> TownBuilder:
        """The same with tills that do not take everything: the rest is bought elsewhere."""
        doc = crowd.bare(self.town_pack.doc(WORLD))
        spec = WorldSpec(TOWN_ARRIVALS, seed=3, days=60, scenarios=tuple(doc["scenarios"]))
        return TownBuilder(self.contracts, spec, doc)

    @cached_property
    def run(self) -> RunBench:
        """A finished run of a few arrivals."""
        folder = self.folder / "run"
        folder.mkdir()
        return make_bench(folder, "default", 600)

    def base(self, doc_id: str) -> Mapping[str, Any]:
        """The document from which keys are moved."""
        return (self.town_pack if doc_id == WORLD else self.pack).doc(doc_id)

    def leaves(self, doc_id: str) -> list[Leaf]:
        """Leaves of a document."""
        return list(leaves(doc_id, self.base(doc_id), crowd.schema_of(self.contracts, doc_id)))

    def ways(self, leaf: Leaf) -> Iterator[Callable[[Any], str | None]]:
        """Functions from a changed document to the first dataset that it changes, quickest first."""
        if leaf.doc_id in (VALIDATION, GATES, FIGURES, CALIBRATION):
            return
        if leaf.doc_id == WORLD:
            section = str(leaf.path[0])
            yield lambda doc: self.town.first_change(doc, section)
            if section == "channels":
                yield lambda doc: self.bare_town.first_change(crowd.bare(doc), "")
            return
        if leaf.doc_id in READ_UNTIL and crafted_for(leaf.key):
            return  # postures and filters of runs: no weave shows them
        alone = READ_BY[leaf.doc_id] == "S1" and leaf.doc_id not in READ_UNTIL
        weavers = ("spread", "near", "far") if alone else ("near", "far")
        for name in weavers:
            yield lambda doc, name=name: getattr(self, name).first_change(leaf.doc_id, doc)  # type: ignore[misc]

    def find(self, leaf: Leaf) -> Found:
        """Move one key until something changes."""
        base, refused = self.base(leaf.doc_id), False
        ways = [*self.ways(leaf), *self.crafted(leaf)]
        # Numbers are within their bounds, and large documents take long to check: there, check what counts.
        late = leaf.kind in NUMBERS or (leaf.doc_id == WORLD and leaf.kind == MEMBER)
        for way in ways:
            for other in leaf.others:
                doc = fitted(leaf.key, put(base, leaf.path, other))
                try:
                    if not late:
                        self._check(leaf, doc)
                    change = way(doc)
                    if change and late:
                        self._check(leaf, doc)
                except FraudloomError:
                    refused = True
                    continue
                if change:
                    return Found(leaf, change, leaf.others)
        return Found(leaf, REFUSED if refused and leaf.kind in CHOICES else "", leaf.others)

    def _check(self, leaf: Leaf, doc: Any) -> None:
        check_document(leaf.doc_id, doc, Path(leaf.doc_id), self.contracts)

    def crafted(self, leaf: Leaf) -> Iterator[Callable[[Any], str | None]]:
        """The crafted call for a key, if there is one, as a way."""
        call = crafted_for(leaf.key)
        if call is None:
            return
        if (call.__name__, leaf.doc_id) not in self._before:
            whole = self._whole(leaf.doc_id, self.base(leaf.doc_id))
            self._before[call.__name__, leaf.doc_id] = call(whole, self)
        before = self._before[call.__name__, leaf.doc_id]
        yield lambda doc: f"`{call.__name__}`" if call(self._whole(leaf.doc_id, doc), self) != before else None

    def _whole(self, doc_id: str, doc: Mapping[str, Any]) -> Any:
        return replace(self.pack, docs={**self.pack.docs, doc_id: doc}) if doc_id in READ_BY else doc


def free(found: Iterable[Leaf], kinds: tuple[str, ...]) -> list[Leaf]:
    """Leaves of the given kinds for which the schema allows other values."""
    return [x for x in found if x.kind in kinds and not x.fixed]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The worlds on which keys are moved."""
    remember_zones()
    return Bench(tmp_path_factory.mktemp("keys"))


def remember_zones() -> None:
    """Zone offsets depend on the horizon alone and take most of the time of a small build: find them once."""
    original, held = geo.build_zone_offsets, dict[tuple[int, int], dict[str, np.ndarray[Any, Any]]]()

    def remembered(ctx: Any) -> dict[str, np.ndarray[Any, Any]]:
        key = (ctx.start_day, ctx.spec.days)
        if key not in held:
            held[key] = original(ctx)
        return {k: v.copy() for k, v in held[key].items()}

    if geo.build_zone_offsets.__name__ != "remembered":
        geo.build_zone_offsets = remembered


# --- the generated list ----------------------------------------------------------------------------------------------

HEAD = """# Which test covers which key

Generated by `python tests/tools/policy_keys.py`; a test compares its keys with those of the policies. `*` stands for
places in lists, *count* is the number of keys behind a row. Moved to a clearly different valid value, each of them
changes the content digest of a dataset named, or the output of a crafted call named (tests/keys/crafted.py). A choice
may also be refused, because the rest of the pack then would not fit; a number never.

"""
TESTS = {
    NUMBER: "test_every_number_counts",
    SWITCH: "test_every_number_counts",
    CHOICE: "test_every_choice_counts",
    MEMBER: "test_every_choice_counts",
}
FIXED = "test_other_values_of_fixed_keys_are_refused"


def pattern(leaf: Leaf) -> str:
    """A leaf's path with places of lists as stars."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", ".".join(map(str, leaf.path)))


def row_keys(found: Iterable[Leaf]) -> dict[tuple[str, str, str], int]:
    """Rows of the list: (policy, pattern, test) to the number of keys."""
    out: dict[tuple[str, str, str], int] = {}
    for leaf in found:
        key = (leaf.doc_id, pattern(leaf), FIXED if leaf.fixed else TESTS[leaf.kind])
        out[key] = out.get(key, 0) + 1
    return out


def write_list(path: Path, found: Iterable[Found]) -> None:
    """Write the list of keys."""
    changes: dict[tuple[str, str, str], list[str]] = {}
    everything = list(found)
    counts = row_keys(f.leaf for f in everything)
    for f in everything:
        key = (f.leaf.doc_id, pattern(f.leaf), FIXED if f.leaf.fixed else TESTS[f.leaf.kind])
        seen = changes.setdefault(key, [])
        what = "-" if f.leaf.fixed else f.change or "NOTHING"
        if what not in seen:
            seen.append(what)
    lines = ["| policy | key | count | test | changes |", "|---|---|---|---|---|"]
    for (doc, key, test), n in counts.items():
        lines.append(f"| {doc} | {key} | {n} | {test} | {', '.join(sorted(changes[doc, key, test]))} |")
    path.write_text(HEAD + "\n".join(lines) + "\n", "utf-8")


def read_list(path: Path) -> dict[tuple[str, str, str], int]:
    """Rows of a written list."""
    out = {}
    for line in path.read_text("utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if len(cells) >= 5 and cells[2].isdigit():
            out[cells[0], cells[1], cells[3]] = int(cells[2])
    return out
