"""What S0 publishes of a whole world, what it lets later states read, and what each depth of verification sees."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from keys.leaves import override

from fraudloom import policies_api
from fraudloom.contract_check import schema_validator
from fraudloom.contract_source import ContractSource
from fraudloom.contracts_api import Contracts
from fraudloom.errors import FraudloomError, SealError
from fraudloom.policies_api import VALIDATION_POLICIES, Pack, load_pack, packs_root, read_yaml
from fraudloom.run import run_world
from fraudloom.spec import RunOptions, parameter_hash
from fraudloom.states import s0
from fraudloom.states.behaviour import POLICY
from fraudloom.states.s0.inventory import OPTIONAL_INPUTS
from fraudloom.states.world import WorldSpec, build_world, load_world
from fraudloom.states.world.spec import make_context
from s0 import breaking as br

SHIPPED = read_yaml(packs_root() / "default" / "behaviour_config_6B.yaml")
pytestmark = pytest.mark.xdist_group("s0_gate")


def test_gate_of_a_whole_world(sealed: Path, contracts: Contracts, pack: Pack) -> None:
    """Receipt and inventory name everything once, sorted, by their schemas; threads and a second call give the same."""
    gate = s0.gate(sealed, contracts, pack)
    keys = [r["manifest_key"] for r in gate.sealed_inputs]
    assert len(set(keys)) == len(keys)
    assert {d.id for d in contracts.datasets.values() if not d.owner.startswith("6B")} <= set(keys)
    receipt = gate.receipt(s0.sealed_digest(gate.sealed_inputs))
    s0.check_receipt(contracts, receipt)
    assert schema_validator(ContractSource(contracts.root), "sealed_inputs_6B").is_valid(gate.sealed_inputs)
    assert receipt["arrivals"] == {"baseline_v1": 300}
    assert receipt["parameter_hash"] == parameter_hash(pack, contracts)
    assert len(receipt["upstream_segments"]) == 9
    assert all(s["status"] == "PASS" for s in receipt["upstream_segments"].values())
    with ThreadPoolExecutor(2) as executor:
        again = s0.gate(sealed, contracts, pack, executor=executor)
    assert (again.facts, again.sealed_inputs) == (gate.facts, gate.sealed_inputs)


def test_inventory_holds_what_labels_and_amounts_need(sealed: Path, contracts: Contracts, pack: Pack) -> None:
    """Class profile, currency, zones and rates are sealed to be read by row, and nothing is sealed before it exists."""
    rows = {r["manifest_key"]: r for r in s0.gate(sealed, contracts, pack).sealed_inputs}
    for key in ("merchant_class_profile_5A", "merchants_1A", "zone_offsets_2A", "fx_rates_3A", "calendar_3B"):
        assert rows[key]["read_scope"] == "ROW_LEVEL" and len(rows[key]["sha256_hex"]) == 64
    made_later = {d.id for d in contracts.datasets.values() if d.owner.startswith("6B")}
    assert made_later and not made_later & set(rows)
    assert {k for k, r in rows.items() if r["status"] == "OPTIONAL"} == set(OPTIONAL_INPUTS)


def test_digest_is_over_the_rows_on_disk(sealed: Path, tmp_path: Path, pack_folder: Path) -> None:
    """The receipt's digest is that of the inventory as a reader finds it, and receipt and row name the same world."""
    options = RunOptions(world=sealed, policies=str(pack_folder), runs_root=tmp_path, run_id="r", last="S0", quiet=True)
    run_world(options)
    rows = s0.persisted_rows(br.only(tmp_path, "r/data/layer3/6B/sealed_inputs/**/*.json"))
    receipt = json.loads(br.only(tmp_path, "r/data/layer3/6B/s0_gate_receipt/**/*.json").read_bytes())
    assert receipt["sealed_inputs_digest_6B"] == s0.sealed_digest(rows)
    (line,) = br.only(tmp_path, "r/data/layer3/6B/run_report/**/*.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["state"], row["status"]) == ("S0", "PASS")
    assert row["manifest_fingerprint"] == receipt["manifest_fingerprint"]


def test_metadata_depth_trusts_bytes_and_says_so(world: Path, contracts: Contracts, pack: Pack) -> None:
    """`metadata` does not hash bulk data and stands in the receipt; sizes are checked all the same."""
    whole = s0.gate(world, contracts, pack)
    br.flip(world)
    gate = s0.gate(world, contracts, pack, verify="metadata")
    assert gate.facts["verify"] == "metadata" and gate.sealed_inputs == whole.sealed_inputs
    br.cut(world)
    with pytest.raises(SealError, match="another size"):
        s0.gate(world, contracts, pack, verify="metadata")


@pytest.mark.parametrize(
    "change",
    [
        br.edit_index,
        br.other_flag,
        lambda w: br.only(w, "data/layer3/6A/sealed_inputs/**/*.json").open("r+").write("{"),
    ],
    ids=["index", "flag", "list"],
)
def test_metadata_depth_checks_control_files(
    world: Path, contracts: Contracts, pack: Pack, change: Callable[[Path], object]
) -> None:
    """Indexes, flags and sealed lists are hashed at any depth: a change of equal size does not pass."""
    change(world)
    with pytest.raises(SealError):
        s0.gate(world, contracts, pack, verify="metadata")


def test_first_read_checks_what_the_gate_did_not_hash(world: Path, contracts: Contracts, pack: Pack) -> None:
    """Under `metadata` a flipped byte is found when the table is first read, with digests found and expected."""
    br.flip(world)
    gate = s0.gate(world, contracts, pack, verify="metadata")
    opened = load_world(world, contracts, gate.files)
    assert len(opened.tables["cities_1B"]["city_id"])
    with pytest.raises(SealError, match="SEALED_INPUTS_DRIFT") as caught:
        opened.tables["merchants_1A"]
    assert caught.value.where == br.only(world, "data/layer1/1A/merchants/**/*.parquet")
    assert caught.value.found != caught.value.expected


def test_first_read_checks_arrivals(world: Path, contracts: Contracts, pack: Pack) -> None:
    """Under `metadata` arrivals of equal size but other bytes are found before the first row is read."""
    path = br.only(world, br.ARRIVALS)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    gate = s0.gate(world, contracts, pack, verify="metadata")
    opened = load_world(world, contracts, gate.files)
    with pytest.raises(SealError, match="SEALED_INPUTS_DRIFT"):
        opened.arrival_paths("baseline_v1")


def test_full_depth_hashes_once(world: Path, contracts: Contracts, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What S0 has just hashed in this process is not hashed again at the first read."""
    gate = s0.gate(world, contracts, pack)
    hashed: list[Path] = []
    monkeypatch.setattr("fraudloom.sealed.file_sha256", lambda p: hashed.append(p) or "")
    opened = load_world(world, contracts, gate.files)
    assert len(opened.tables["merchants_1A"]["merchant_id"]) and opened.arrival_paths("baseline_v1") and opened.policy
    assert not hashed


def test_nothing_outside_the_inventory_is_opened(world: Path, contracts: Contracts, pack: Pack) -> None:
    """A part that S0 did not seal cannot be reached through the world that states are given."""
    gate = s0.gate(world, contracts, pack)
    opened = load_world(world, contracts, gate.files)
    stranger = Path(
        shutil.copy(br.only(world, br.ARRIVALS), br.only(world, br.ARRIVALS).with_name("part-00007.parquet"))
    )
    opened.files["arrival_events_5B"].append(stranger)
    with pytest.raises(SealError, match="SEALED_INPUTS_INCOMPLETE") as caught:
        opened.arrival_paths("baseline_v1")
    assert caught.value.where == stranger
    opened.files["strangers_1A"] = [stranger]
    with pytest.raises(SealError, match="SEALED_INPUTS_INCOMPLETE"):
        opened.tables["strangers_1A"]
    with pytest.raises(SealError, match="SEALED_INPUTS_INCOMPLETE"):
        gate.files.admit(Path("/etc/hostname"))


def test_a_later_start_goes_through_the_receipt(world: Path, contracts: Contracts, pack: Pack) -> None:
    """A call that starts behind S0 reads by the receipt: another inventory, manifest or bundle is refused."""
    gate = s0.gate(world, contracts, pack)
    rows = gate.sealed_inputs
    receipt = gate.receipt(s0.sealed_digest(rows))
    files = s0.reopen(world, contracts, receipt, rows)
    assert not files.seen and set(files.files) == set(gate.files.files)
    with pytest.raises(SealError, match="SEALED_INPUTS_DRIFT"):
        s0.reopen(world, contracts, receipt, rows[1:])
    br.drop_table(world)
    with pytest.raises(SealError, match="SEALED_INPUTS_DRIFT"):
        s0.reopen(world, contracts, receipt, rows)


def test_optional_input_may_be_missing(world: Path, contracts: Contracts, pack: Pack) -> None:
    """A world without an optional table passes when the pack lets states degrade, and only then."""
    br.drop_table(world, "data/layer3/6A/s5_device_fraud_roles_6A/**/*.parquet")
    with pytest.raises(SealError, match="REQUIRED_ARTIFACT_MISSING"):
        s0.gate(world, contracts, pack)
    docs = {**pack.docs, POLICY: override(SHIPPED, "degrade.optional_missing", "DISABLE")}
    gate = s0.gate(world, contracts, replace(pack, docs=docs))
    keys = {r["manifest_key"] for r in gate.sealed_inputs}
    assert len(gate.notes) == 1 and gate.notes[0].startswith("s5_device_fraud_roles_6A is missing")
    assert "s5_device_fraud_roles_6A" not in keys and "s5_party_fraud_roles_6A" in keys


def test_run_depth_is_recorded_and_binding(world: Path, tmp_path: Path, pack_folder: Path) -> None:
    """`--verify metadata` stands in the receipt of a run; a deeper look at the same run later is no conflict."""
    options: dict[str, Any] = {
        "world": world, "policies": str(pack_folder), "runs_root": tmp_path / "runs", "run_id": "r", "last": "S0",
        "quiet": True,
    }  # fmt: skip
    for verify in ("metadata", "full"):
        run_world(RunOptions(**options, verify=verify))
        receipt = json.loads(br.only(tmp_path, "runs/r/data/layer3/6B/s0_gate_receipt/**/*.json").read_bytes())
        assert receipt["verify"] == "metadata"
    br.flip(world)
    run_world(RunOptions(**options, verify="metadata"))
    with pytest.raises(FraudloomError, match="UPSTREAM_HASHGATE_INVALID"):
        run_world(RunOptions(**options, verify="full"))


POLICIES = [*sorted(p.name for p in (packs_root() / "default").glob("*_6B.yaml")), "rng_profile_layer3.yaml"]


def test_every_policy_byte_moves_its_hash(
    contracts: Contracts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte of an S1-S4 policy moves parameter_hash, one of a validation policy moves the validation hash alone."""
    parsed: dict[str, Any] = {}
    whole = policies_api.yaml.load

    def load(text: str, Loader: Any) -> Any:
        """Parsing takes most of the time, and a newline at the end says nothing new."""
        key = text.rstrip()
        if key not in parsed:
            parsed[key] = whole(text, Loader=Loader)
        return parsed[key]

    monkeypatch.setattr(policies_api.yaml, "load", load)
    base = load_pack("default", contracts)
    before = parameter_hash(base, contracts)
    for name in POLICIES:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pack.yaml").write_text("name: x\nprofile: full\nextends: default\ndescription: one byte\n")
        (folder / name).write_bytes((packs_root() / "default" / name).read_bytes() + b"\n")
        pack = load_pack(folder, contracts)
        moved = (parameter_hash(pack, contracts) != before, pack.validation_digest != base.validation_digest)
        assert moved == ((False, True) if name.removesuffix(".yaml") in VALIDATION_POLICIES else (True, False)), name


@pytest.mark.parametrize(
    "other",
    [
        {"arrivals": 301},
        {"seed": 4},
        {"days": 8},
        {"start": "2026-01-02"},
        {"scenarios": ("baseline_v1", "stress_peak_online_v1")},
    ],
    ids=lambda o: next(iter(o)),
)
def test_every_world_input_moves_the_fingerprint(contracts: Contracts, other: dict[str, Any]) -> None:
    """Arrivals, seed, days, start, scenarios: each is part of a world's identity."""
    given: dict[str, Any] = {"arrivals": 300, "seed": 3, "days": 7}
    assert make_context(WorldSpec(**given), contracts).mf != make_context(WorldSpec(**given | other), contracts).mf


def test_world_policy_byte_moves_the_fingerprint(contracts: Contracts, tmp_path: Path) -> None:
    """One byte of the world's policy is another world."""
    folder = Path(shutil.copytree(packs_root() / "world", tmp_path / "policy"))
    with (folder / "world_policy.yaml").open("a") as f:
        f.write("\n")
    spec = WorldSpec(arrivals=300, seed=3, days=7)
    other = WorldSpec(arrivals=300, seed=3, days=7, policy=folder)
    assert make_context(spec, contracts).mf != make_context(other, contracts).mf


def test_zero_arrivals_pass(tmp_path: Path, contracts: Contracts, pack: Pack) -> None:
    """An empty world is a world."""
    build_world(WorldSpec(arrivals=0, seed=1, days=7), tmp_path / "w", contracts=contracts)
    assert s0.gate(tmp_path / "w", contracts, pack).facts["arrivals"] == {"baseline_v1": 0}
