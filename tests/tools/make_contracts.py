"""Write `contracts/registry.yaml` and the table packs `contracts/schemas/schemas.<segment>.yaml` from the dictionary.

The dictionary is the source; these files are checked in so that other tools can read them, and `fraudloom contracts
check` proves that they agree. Control schemas (`schemas.control.yaml`) and policy schemas are written by hand.

Usage: python tests/tools/make_contracts.py [contracts folder]
"""

import json
import sys
from pathlib import Path
from typing import Any

from fraudloom.contract_check import expected_registry, table_pack
from fraudloom.contract_source import SEGMENTS
from fraudloom.contracts_api import load_contracts

ROOT = Path(__file__).resolve().parents[2] / "contracts"

POLICIES = {
    "world_policy": "world",
    "world_figures": "world",
    "import_map": "world",
    "rng_profile_layer3": "6B",
    "behaviour_config_6B": "6B",
    "attachment_policy_6B": "6B.S1",
    "sessionisation_policy_6B": "6B.S1",
    "behaviour_prior_pack_6B": "6B.S1",
    "rng_policy_6B": "6B.S1",
    "flow_shape_policy_6B": "6B.S2",
    "amount_model_6B": "6B.S2",
    "timing_policy_6B": "6B.S2",
    "issuer_policy_6B": "6B.S2",
    "flow_rng_policy_6B": "6B.S2",
    "fraud_campaign_catalogue_config_6B": "6B.S3",
    "fraud_overlay_policy_6B": "6B.S3",
    "fraud_rng_policy_6B": "6B.S3",
    "truth_labelling_policy_6B": "6B.S4",
    "bank_view_policy_6B": "6B.S4",
    "delay_models_6B": "6B.S4",
    "case_policy_6B": "6B.S4",
    "label_rng_policy_6B": "6B.S4",
    "segment_validation_policy_6B": "6B.S5",
    "realism_gates_6B": "6B.S5",
    "run_figures_6B": "6B.S5",
    "issuer_calibration_6B": "6B.S2",
}
HEAD = "# Written by tests/tools/make_contracts.py from contracts/dictionary; `fraudloom contracts check` compares.\n"


def _emit(value: Any, indent: int, depth: int) -> str:
    """YAML: block mappings down to `depth`, one line of flow style below (strings quoted as in JSON)."""
    if depth == 0 or not isinstance(value, dict) or not value:
        return " " + json.dumps(value, ensure_ascii=False) + "\n"
    pad = "  " * indent
    names = {k: json.dumps(k) if k.startswith("$") else k for k in value}
    lines = [f"{pad}{names[k]}:{_emit(v, indent + 1, depth - 1)}" for k, v in value.items()]
    return "\n" * bool(indent) + "".join(lines)


def main(arguments: list[str]) -> int:
    """Write the files below the given contracts folder."""
    root = Path(arguments[0]) if arguments else ROOT
    contracts = load_contracts(root)
    (root / "registry.yaml").write_text(HEAD + _emit(expected_registry(contracts, POLICIES), 0, 2), "utf-8")
    for segment in SEGMENTS:
        pack = table_pack(contracts, segment)
        body = _emit({k: pack[k] for k in ("$schema", "$id")}, 0, 1)
        body += _emit({"$defs": pack["$defs"]}, 0, 2) + _emit({"tables": pack["tables"]}, 0, 4)
        (root / "schemas" / f"schemas.{segment}.yaml").write_text(HEAD + body, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
