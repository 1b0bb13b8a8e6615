"""The validation policy as frozen scalars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fraudloom.errors import PolicyError
from fraudloom.states.behaviour import Behaviour
from fraudloom.states.corridors import corridor_ends

#: One sentence per check: what a PASS proves.
PROVES: dict[str, str] = {
    "REQ_UPSTREAM_HASHGATES": "the nine upstream bundles still carry the digests of their flags",
    "REQ_SEALED_INPUTS_PRESENT": "receipt, inventory and policies are those that S0 sealed",
    "REQ_SCHEMA": "every part has the contract's schema, axes, row groups, vocabularies and nullability",
    "REQ_CONTENT_DIGESTS": "every part holds the rows that its state published",
    "REQ_PK_UNIQUENESS": "every key is unique over all parts, and every id decodes to an ordinal of its domain",
    "REQ_ROW_ORDER": "every row group is sorted as declared, aligned datasets row by row",
    "REQ_ARRIVAL_COVERAGE": "S1 holds each 5B arrival once, upstream fields unchanged",
    "REQ_ENTITY_LINKS": "accounts, instruments, devices, addresses and terminals belong together as 6A says",
    "REQ_SESSION_AGGREGATES": "sessions partition the arrivals, and every aggregate recomputes exactly",
    "REQ_FLOW_SESSION_LINKS": "every arrival is in one flow, every flow carries its arrival's session and entities",
    "REQ_FLOW_EVENT_PARITY": "baseline flows and events survive the overlay or say what changed; the rest is new",
    "REQ_ANCHOR_EVENTS": "amounts, instants and codes of anchors equal those of their events, in S2 and S3",
    "REQ_CAMPAIGN_INTEGRITY": "the catalogue counts what rows are tagged with, inside windows and ordinal ranges",
    "REQ_FLOW_LABEL_COVERAGE": "each flow and event has one truth and one bank label, row by row",
    "REQ_CRITICAL_TRUTH_REALISM": "truth is what the overlay did: one rule per flow, none lost (T3, T4, T22)",
    "REQ_BANK_CONSISTENCY": "the bank's view, its history and its instants agree with flow, truth and each other",
    "REQ_CRITICAL_CASE_TIMELINE": "cases are contiguous, never go back in time and keep the state machine",
    "REQ_RNG_BUDGETS": "events, draws and checksums of decisions follow from published rows; loci replay in Python",
    "REQ_STREAMS_DISJOINT": "no two streams in use share an output",
    "REQ_TIME_MONOTONE": "instants never decrease within a flow",
    "REQ_SCENARIO_OOB": "arrivals lie in the arrival horizon, everything else in the settlement horizon",
    "WARN_BASELINE_REALISM": "declines, refunds, sessions and step-ups lie in their corridors",
    "WARN_FRAUD_REALISM": "prevalence, patterns and mutations lie in their corridors",
    "WARN_BANK_VIEW_REALISM": "false positives and detection lie in their corridors",
    "WARN_CASE_REALISM": "case involvement, size, duration and gaps lie in their corridors",
}

#: Group of corridors that a realism check reads.
CORRIDOR_OF = {
    "WARN_BASELINE_REALISM": "baseline",
    "WARN_FRAUD_REALISM": "fraud",
    "WARN_BANK_VIEW_REALISM": "bank",
    "WARN_CASE_REALISM": "cases",
}


@dataclass(frozen=True)
class S5Plan:
    """Compiled segment_validation_policy_6B: severities, tolerances, caps, corridors; and which tables of S4 the pack's
    restrictions leave (`history`, `cases`)."""

    severity: Mapping[str, str]
    violations_max: Mapping[str, int]
    corridors: Mapping[str, Mapping[str, tuple[float, float]]]
    warnings_block: bool
    rehash_upstream: bool
    table_rows_max: int
    rows_per_rule: int
    arrivals_min: int
    gate_imports: bool
    loci_per_decision: int
    settlement_us: int
    history: bool = True
    cases: bool = True


def compile_plan(doc: Mapping[str, Any], allowed: Behaviour | None = None) -> S5Plan:
    """Compile the policy, under a pack's restrictions; PolicyError (VALIDATION_POLICY_INVALID) when a corridor is empty
    or a check is unknown."""
    corridors: dict[str, dict[str, tuple[float, float]]] = {}
    for group, body in doc["corridors"].items():
        for name, ends in body.items():
            told = f"{group}.{name}", ends, "segment_validation_policy_6B", "S5", "S5_VALIDATION_POLICY_INVALID"
            corridors.setdefault(group, {})[name] = corridor_ends(*told)
    if set(doc["checks"]) != set(PROVES):
        raise PolicyError(
            "S5",
            "S5_VALIDATION_POLICY_INVALID",
            what="the policy lists other checks than there are",
            found=sorted(set(doc["checks"]) ^ set(PROVES)),
            expected="the same set",
            where="segment_validation_policy_6B",
            action="correct the policy; `fraudloom policies check` names file and key",
        )
    return S5Plan(
        severity={c: str(doc["checks"][c]["severity"]) for c in PROVES},
        violations_max={c: int(doc["checks"][c]["violations_max"]) for c in PROVES},
        corridors=corridors,
        warnings_block=bool(doc["sealing"]["warnings_block"]),
        rehash_upstream=bool(doc["sealing"]["rehash_upstream"]),
        table_rows_max=int(doc["issues"]["table_rows_max"]),
        rows_per_rule=int(doc["issues"]["rows_per_rule"]),
        arrivals_min=int(doc["realism"]["arrivals_min"]),
        gate_imports=bool(doc["realism"]["imports"]),
        loci_per_decision=int(doc["replay"]["loci_per_decision"]),
        settlement_us=int(doc["horizon"]["settlement_days"]) * 86_400_000_000,
        history=allowed is None or allowed.label_history,
        cases=allowed is None or allowed.cases,
    )
