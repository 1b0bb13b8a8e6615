"""Every code of S0 is produced by breaking exactly one thing; the table is compared with the codes that there are."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fraudloom import gates
from fraudloom.contract_source import ContractSource
from fraudloom.contracts_api import Contracts, load_contracts, packaged_root
from fraudloom.errors import FraudloomError
from fraudloom.policies_api import Pack
from fraudloom.run import run_world
from fraudloom.spec import RunOptions
from fraudloom.states import s0
from fraudloom.states.s0.codes import Code
from s0 import breaking as br

pytestmark = pytest.mark.xdist_group("s0_gate")


@dataclass
class Place:
    """What a case may break: a copy of a world, contracts, a pack, a folder of runs, and code in the middle of one."""

    world: Path
    contracts: Contracts
    pack: Pack
    pack_folder: Path
    folder: Path
    patch: pytest.MonkeyPatch

    def gate(self, **more: Any) -> s0.Gate:
        """The gate over the place as it is."""
        return s0.gate(self.world, more.pop("contracts", self.contracts), more.pop("pack", self.pack), **more)

    def run(self) -> Path:
        """S0 of a run; returns its folder."""
        options = RunOptions(
            world=self.world, policies=str(self.pack_folder), runs_root=self.folder / "runs", run_id="r", last="S0",
            workers=1, quiet=True,
        )  # fmt: skip
        run_world(options)
        return self.folder / "runs" / "r"

    def edit_contracts(self, file: str, old: str, new: str) -> Contracts:
        """A copy of the contracts with one edit."""
        root = Path(shutil.copytree(packaged_root(), self.folder / "contracts"))
        text = (root / file).read_text("utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new, 1), "utf-8")
        return load_contracts(root)


Case = Callable[[Place], object]


def broken(change: Callable[[Path], object]) -> Case:
    """Break the world, then ask the gate."""

    def case(place: Place) -> object:
        change(place.world)
        return place.gate()

    return case


def rows(change: Callable[[dict[str, Any]], None], nulls: str = "") -> Case:
    """Break rows of the arrivals, every digest agreeing with them."""
    return broken(lambda w: br.rewrite(w, change, nulls))


def bad_policy(place: Place) -> object:
    """A policy with a key that its schema does not know."""
    name = "segment_validation_policy_6B"
    return place.gate(pack=replace(place.pack, docs={name: {**place.pack.docs[name], "surprise": 1}}))


def unknown_policy(place: Place) -> object:
    """A policy without schema."""
    path = place.folder / "strange_policy_6B.yaml"
    path.write_text("a: 1\n")
    hashes = {**place.pack.hashes, path.stem: br.file_sha256(path)}
    docs, sources = {**place.pack.docs, path.stem: {"a": 1}}, {**place.pack.sources, path.stem: path}
    return place.gate(pack=replace(place.pack, docs=docs, sources=sources, hashes=hashes))


def edited_policy(place: Place) -> object:
    """A policy file that changes between loading and sealing."""
    name = "segment_validation_policy_6B"
    path = Path(shutil.copy(place.pack.sources[name], place.folder))
    path.write_text(path.read_text() + "# later\n")
    return place.gate(pack=replace(place.pack, sources={name: path}))


def edited_contract(place: Place) -> object:
    """A contract that changes between loading and sealing."""
    contracts = place.edit_contracts("registry.yaml", "# Written", "# written")
    (contracts.root / "registry.yaml").write_text("# other\n")
    return place.gate(contracts=contracts)


def repeated_row(place: Place) -> object:
    """An inventory that names something twice."""
    found = place.gate(verify="metadata").sealed_inputs
    return s0.check_rows(ContractSource(place.contracts.root), [found[0], *found])


def torn_inventory(place: Place) -> object:
    """An inventory of which half reaches the disk."""
    whole = gates.write_atomic
    place.patch.setattr(gates, "write_atomic", lambda path, data: whole(path, data[: len(data) // 2]))
    return place.run()


def odd_receipt(place: Place) -> object:
    """A receipt with a key that its schema does not know."""
    return s0.check_receipt(place.contracts, {**place.gate(verify="metadata").receipt("0" * 64), "surprise": 1})


def no_folder(place: Place) -> object:
    """A file where the receipt's folder should be."""
    folder = place.folder / "runs" / "r" / "data" / "layer3" / "6B"
    folder.mkdir(parents=True)
    (folder / "s0_gate_receipt").write_text("a file")
    return place.run()


def other_receipt(place: Place) -> object:
    """A published receipt that says something else."""
    path = br.only(place.run(), "data/layer3/6B/s0_gate_receipt/**/*.json")
    value = json.loads(path.read_bytes())
    value["upstream_segments"]["6A"]["bundle_sha256"] = "0" * 64
    path.write_text(json.dumps(value))
    return place.run()


def other_inventory(place: Place) -> object:
    """A published inventory that lets more be read."""
    path = br.only(place.run(), "data/layer3/6B/sealed_inputs/**/*.json")
    value = json.loads(path.read_bytes())
    value[0]["read_scope"] = "ROW_LEVEL"
    path.write_text(json.dumps(value))
    return place.run()


def surprise(place: Place) -> object:
    """Something nobody foresaw, in the middle of the gate."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the moon")

    place.patch.setattr(s0, "gate", fail)
    return place.run()


HASHGATE = Code.UPSTREAM_HASHGATE_INVALID
MISSING = Code.UPSTREAM_HASHGATE_MISSING
LIST = Code.UPSTREAM_SEALED_INPUTS_INVALID
DRIFT = Code.SEALED_INPUTS_DRIFT
TABLE: list[tuple[str, Case, Code]] = [
    ("one byte flipped", broken(br.flip), HASHGATE),
    ("member truncated", broken(br.cut), HASHGATE),
    ("member missing", broken(lambda w: br.only(w, br.ARRIVALS).unlink()), HASHGATE),
    ("index missing", broken(lambda w: br.only(w, "data/layer1/3A/validation/*/index.json").unlink()), MISSING),
    ("flag missing", broken(lambda w: br.only(w, "data/layer1/3A/validation/*/_passed.flag").unlink()), MISSING),
    ("flag of another segment", broken(br.other_flag), HASHGATE),
    ("flag is prose", broken(lambda w: br.only(w, "data/layer1/3B/**/_passed.flag").write_text("passed")), HASHGATE),
    ("flag of another world", broken(lambda w: br.json_flag(w, manifest_fingerprint="0" * 64)), HASHGATE),
    ("flag with a stranger", broken(lambda w: br.json_flag(w, mood="good")), HASHGATE),
    ("flag says FAIL", broken(lambda w: br.json_flag(w, overall_status="FAIL")), Code.UPSTREAM_VALIDATION_NONPASS),
    ("flag says WARN", broken(lambda w: br.json_flag(w, status="WARN")), Code.UPSTREAM_VALIDATION_NONPASS),
    ("index edited", broken(br.edit_index), HASHGATE),
    ("index with a space", broken(br.space_index), HASHGATE),
    ("index names an absent file", broken(br.name_absent), HASHGATE),
    ("index leads out", broken(br.name_outside), HASHGATE),
    ("index no JSON", broken(lambda w: br.only(w, "data/layer1/1A/**/index.json").write_text("[")), HASHGATE),
    ("part added", broken(lambda w: br.only(w, br.ARRIVALS).with_name("part-00009.parquet").touch()), HASHGATE),
    ("stranger at the root", broken(lambda w: (w / "notes.txt").write_text("x")), HASHGATE),
    ("policy copy edited", broken(lambda w: (w / "world_policy.yaml").open("a").write(" ")), HASHGATE),
    ("policy copy missing", broken(lambda w: (w / "world_policy.yaml").unlink()), MISSING),
    ("no manifest", broken(lambda w: (w / "world.json").unlink()), MISSING),
    ("manifest lacks keys", broken(lambda w: (w / "world.json").write_text("{}")), LIST),
    ("manifest edited", broken(lambda w: (w / "world.json").write_text(
        (w / "world.json").read_text().replace('"shards":1', '"shards":2'))), LIST),
    ("manifest with a space", broken(lambda w: (w / "world.json").open("a").write(" ")), LIST),
    ("sealed list missing", broken(br.unlist), Code.UPSTREAM_SEALED_INPUTS_MISSING),
    ("sealed list of another content", broken(lambda w: br.edit_list(w, "sha256_hex", "0" * 64)), LIST),
    ("sealed list of another world", broken(lambda w: br.edit_list(w, "manifest_fingerprint", "0" * 64)), LIST),
    ("sealed list malformed", broken(lambda w: br.edit_list(w, "status", "MAYBE")), LIST),
    ("sealed list with a loose anchor", broken(
        lambda w: br.edit_list(w, "schema_ref", "dictionary/upstream.yaml#/datasets/none")),
        Code.SCHEMA_ANCHOR_UNRESOLVED),
    ("contracts without artefacts", lambda p: p.gate(contracts=replace(p.contracts, artefacts={})),
        Code.CONTRACT_SET_INCOMPLETE),
    ("registry lacks a dataset", lambda p: p.gate(contracts=p.edit_contracts(
        "registry.yaml", "  cities_1B:", "  towns_1B:")), Code.CONTRACT_SET_INCOMPLETE),
    ("registry disagrees", lambda p: p.gate(contracts=p.edit_contracts(
        "registry.yaml", '"final": false', '"final": true')), Code.CONTRACT_SET_INCOMPLETE),
    ("loose anchor of the registry", lambda p: p.gate(contracts=p.edit_contracts(
        "registry.yaml", "schemas.1A.yaml#/tables/merchants_1A", "schemas.1A.yaml#/tables/shops")),
        Code.SCHEMA_ANCHOR_UNRESOLVED),
    ("policy without schema", unknown_policy, Code.SCHEMA_ANCHOR_UNRESOLVED),
    ("policy breaks its schema", bad_policy, Code.CONFIG_VALIDATION_FAILED),
    ("unknown depth", lambda p: p.gate(verify="none"), Code.CONFIG_VALIDATION_FAILED),
    ("table missing altogether", broken(br.drop_table), Code.SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING),
    ("inventory names something twice", repeated_row, Code.SEALED_INPUTS_SCHEMA_VIOLATION),
    ("inventory torn", torn_inventory, Code.SEALED_INPUTS_DIGEST_COMPUTE_FAILED),
    ("inventory row without JSON", lambda p: s0.sealed_digest([{"a": object()}]),
        Code.SEALED_INPUTS_DIGEST_COMPUTE_FAILED),
    ("manifest of other arrivals", broken(lambda w: br.edit_manifest(w, "arrivals", {"baseline_v1": 7})), DRIFT),
    ("manifest of another content", broken(br.restate), DRIFT),
    ("policy edited after loading", edited_policy, DRIFT),
    ("contract edited after loading", edited_contract, DRIFT),
    ("published inventory differs", other_inventory, DRIFT),
    ("receipt malformed", odd_receipt, Code.GATE_RECEIPT_SCHEMA_VIOLATION),
    ("receipt cannot be written", no_folder, Code.GATE_RECEIPT_WRITE_FAILED),
    ("published receipt differs", other_receipt, Code.GATE_RECEIPT_IDEMPOTENCE_VIOLATION),
    ("null", rows(lambda c: None, "ts_utc"), Code.ARRIVALS_UNREADABLE),
    ("arrival twice", rows(br.repeat_row), Code.ARRIVALS_DUPLICATE),
    ("rows exchanged", rows(br.swap_rows), Code.ARRIVALS_ORDER),
    ("time goes back", rows(br.turn_back), Code.ARRIVALS_ORDER),
    ("number left out", rows(br.skip_number), Code.ARRIVALS_NUMBERING),
    ("after the horizon", rows(br.too_late), Code.ARRIVALS_OUT_OF_HORIZON),
    ("before the horizon", rows(br.too_early), Code.ARRIVALS_OUT_OF_HORIZON),
    ("nobody foresaw it", surprise, Code.INTERNAL_ERROR),
]  # fmt: skip
STATUS = {
    Code.GATE_RECEIPT_WRITE_FAILED: 4,
    Code.GATE_RECEIPT_IDEMPOTENCE_VIOLATION: 3,
    Code.GATE_RECEIPT_SCHEMA_VIOLATION: 70,
    Code.INTERNAL_ERROR: 70,
}


@pytest.fixture
def place(
    world: Path, contracts: Contracts, pack: Pack, pack_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """A world to break, with everything that S0 reads."""
    return Place(world, contracts, pack, pack_folder, tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "case", "code"), TABLE, ids=[t[0].replace(" ", "-") for t in TABLE])
def test_each_code(place: Place, name: str, case: Case, code: Code) -> None:
    """Breaking exactly one thing gives exactly one code, its exit status, and a message that says what and where."""
    with pytest.raises(FraudloomError) as caught:
        case(place)
    error = caught.value
    assert (error.state, error.code) == ("S0", code.value), error
    assert error.exit_status == STATUS.get(code, 2)
    assert error.action
    if code is not Code.INTERNAL_ERROR:
        assert error.where is not None, error


def test_no_code_without_a_case() -> None:
    """A code that nothing in the table produces has never been seen to work."""
    assert {t[2] for t in TABLE} == set(Code)
    assert {c.value for c in Code} == {f"S0_{c.name}" for c in Code}


def test_codes_of_the_specification() -> None:
    """The codes that a consumer of the predecessor knows are all there."""
    known = """UPSTREAM_HASHGATE_MISSING UPSTREAM_HASHGATE_INVALID UPSTREAM_VALIDATION_NONPASS
        UPSTREAM_SEALED_INPUTS_MISSING UPSTREAM_SEALED_INPUTS_INVALID CONTRACT_SET_INCOMPLETE SCHEMA_ANCHOR_UNRESOLVED
        CONFIG_VALIDATION_FAILED SEALED_INPUTS_REQUIRED_ARTIFACT_MISSING SEALED_INPUTS_SCHEMA_VIOLATION
        SEALED_INPUTS_DIGEST_COMPUTE_FAILED SEALED_INPUTS_DRIFT GATE_RECEIPT_SCHEMA_VIOLATION
        GATE_RECEIPT_WRITE_FAILED GATE_RECEIPT_IDEMPOTENCE_VIOLATION INTERNAL_ERROR"""
    assert set(known.split()) | {c.name for c in Code if c.name.startswith("ARRIVALS_")} == {c.name for c in Code}
