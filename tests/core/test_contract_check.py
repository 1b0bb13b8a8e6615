"""`contracts check`: what ships agrees, and every kind of disagreement is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fraudloom.contract_check import check_contracts, findings, resolve_all, row_schema, schema_validator
from fraudloom.contract_source import PACKS, ContractSource
from fraudloom.contracts_api import load_contracts, packaged_root
from fraudloom.errors import ContractError


def test_shipped_contracts_agree() -> None:
    """Dictionary, registry and schema packs agree; every anchor resolves."""
    contracts = load_contracts()
    source = ContractSource()
    assert findings(contracts, source) == []
    counts = check_contracts(contracts)
    assert counts["datasets"] == len(contracts.datasets)
    assert counts["schema_packs"] == len(PACKS)
    resolve_all(source)


def edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    """An edit of one contract file."""

    def apply(root: Path) -> None:
        path = root / file
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")

    return apply


def without(file: str) -> Callable[[Path], None]:
    """The removal of one contract file."""

    def apply(root: Path) -> None:
        (root / file).unlink()

    return apply


BREAKS: list[tuple[Callable[[Path], None], str]] = [
    (edit("registry.yaml", "schemas.1A.yaml#/tables/merchants_1A", "schemas.1A.yaml#/tables/shops"), "no shops behind"),
    (edit("registry.yaml", "  cities_1B:", "  towns_1B:"), "registry/datasets/cities_1B: missing"),
    (edit("registry.yaml", '"owner": "6B.S1"', '"owner": "6B.S9"'), "6B.S9"),
    (without("schemas/schemas.6B.yaml"), "schemas.6B.yaml: a contract file is missing"),
    (edit("schemas/schemas.6B.yaml", '"x-type": "id"', '"x-type": "i64"'), "x-type: 'i64'"),
    (edit("schemas/schemas.6B.yaml", "      session_id:", "      sessions_id:"), "session_id: missing"),
    (edit("schemas/schemas.1A.yaml", '"enum": [', '"enum": ["XX", '), "XX"),
    (edit("dictionary/6B.yaml", '[session_id, id, KEY', '[session_id, "id?", KEY'), "session_id"),
    (edit("schemas/schemas.control.yaml", "  run_report_6B:", "  run_report_7B:"), "run_report_6B"),
    (edit("schemas/schemas.control.yaml", "#/$defs/state", "#/$defs/statte"), "does not resolve"),
    (without("schemas/policies/rng_policy_6B.schema.yaml"), "rng_policy_6B: a contract file is missing"),
    (edit("schemas/schemas.control.yaml", "$defs:", "$defs: ["), "schemas.control.yaml: while parsing"),
]  # fmt: skip


@pytest.mark.parametrize(("apply", "named"), BREAKS, ids=[b[1] for b in BREAKS])
def test_disagreements_are_named(tmp_path: Path, apply: Callable[[Path], None], named: str) -> None:
    """Each break of a copy of the contracts is a ContractError (exit 2) that names the place."""
    root = tmp_path / "contracts"
    shutil.copytree(packaged_root(), root)
    apply(root)
    with pytest.raises(ContractError) as caught:
        check_contracts(load_contracts(root))
    assert caught.value.exit_status == 2
    assert named in str(caught.value)


def test_references_that_lead_out_are_refused() -> None:
    """A schema reference names a file of the packs, by a pointer that is there."""
    source = ContractSource()
    for ref in ("", "#/tables/x", "../dictionary/6B.yaml#/datasets", "schemas.6B.yaml#/tables/none"):
        with pytest.raises(ContractError):
            source.resolve(ref)
    with pytest.raises(ContractError, match="LAYOUT_UNKNOWN"):
        ContractSource(layout="none")
    with pytest.raises(ContractError, match="NOT_REGISTERED"):
        source.schema_ref("nothing")


def test_row_schema_speaks_of_every_column() -> None:
    """A row's schema has the contract's columns in order, all required, none other allowed."""
    contracts = load_contracts()
    for ds in contracts.datasets.values():
        schema = row_schema(ds)
        assert list(schema["properties"]) == [c.name for c in ds.columns] == schema["required"]
        assert schema["additionalProperties"] is False


def test_control_schemas_validate() -> None:
    """A validator can be made for every control artefact; it refuses a stranger."""
    contracts, source = load_contracts(), ContractSource()
    for name in contracts.artefacts:
        schema_validator(source, name)
    validator = schema_validator(source, "run_report_6B")
    assert not validator.is_valid({"state": "S9"})
