"""From policies to arrays: everything that S4 needs, checked and frozen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import PolicyError
from fraudloom.kernels.bank import BankRules, ScreenRules
from fraudloom.kernels.cases import CaseLimits
from fraudloom.kernels.claims import ClaimRules
from fraudloom.kernels.delays import GAMMA, LOGNORMAL, UNIFORM
from fraudloom.kernels.truth import TruthRules
from fraudloom.policies_api import Pack
from fraudloom.rng import Streams
from fraudloom.states.behaviour import behaviour
from fraudloom.states.decisions import Decisions
from fraudloom.states.s4.hours import DAY_US, business_windows
from fraudloom.states.s4.labels import label_map

Array = np.ndarray[Any, Any]

US_PER_S = 1_000_000
#: Delay laws in the order in which kernels index them (kernels/signals.py, L_*).
LAWS = (
    "alert",
    "analyst_touch",
    "analyst_handle",
    "block_check",
    "network_check",
    "collateral",
    "service_dispute",
    "triage",
    "own_decision",
    "chargeback",
    "representment",
    "pre_arbitration",
    "decision",
    "recovery",
    "case_close",
    "case_entry",
)
DECISIONS = (
    "BANK_AMBIGUITY",
    "SERVICE_DISPUTE",
    "BLOCK_CHECK",
    "ALERT_HANDLING",
    "NETWORK_CHECK",
    "COLLATERAL_MARK",
    "CLAIM",
    "CHARGEBACK",
    "CASE_MEMBER",
    "CASE_CLOSE",
)
SLOTS = (2, 1, 3, 4, 2, 1, 7, 6, 1, 1)
ANOMALY_BITS = {"AMOUNT": 1, "TIME": 2, "DEVICE": 4, "ADDRESS": 8, "ROUTING": 16, "MERCHANT": 32, "REFUND_INSERTED": 64}
TERNARY = {"MUST": 1, "NOT": 0, "ANY": -1}
KINDS = ("fraud", "friendly", "service")

#: Vocabularies whose codes kernels know by position.
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "bank_label": (
        "BANK_CONFIRMED_FRAUD",
        "BANK_CONFIRMED_LEGIT",
        "NO_CASE_OPENED",
        "CUSTOMER_DISPUTE_REJECTED",
        "CHARGEBACK_WRITTEN_OFF",
    ),
    "detection_outcome": ("NOT_DETECTED", "DETECTED_AT_AUTH", "DETECTED_POST_AUTH"),
    "report_source": ("NONE", "AUTH_BLOCK", "ALERT", "CUSTOMER", "NETWORK", "ANALYST", "CHARGEBACK"),
    "dispute_reason": (
        "NONE",
        "FRAUD",
        "NOT_RECEIVED",
        "NOT_AS_DESCRIBED",
        "CREDIT_NOT_PROCESSED",
        "DUPLICATE",
        "CANCELLED_RECURRING",
    ),
    "chargeback_type": ("NONE", "UNAUTHORISED", "SERVICE_DISPUTE", "OTHER"),
    "chargeback_outcome": ("NONE", "BANK_WIN", "BANK_LOSS", "PARTIAL"),
    "liability_party": ("NONE", "ISSUER", "MERCHANT", "CUSTOMER", "SHARED"),
    "label_status": ("PROVISIONAL", "FINAL", "CENSORED", "BLOCKED_UNVERIFIED"),
    "fraud_class": ("NONE", "THIRD_PARTY", "AUTHORISED_SCAM", "FIRST_PARTY", "MERCHANT", "MULE"),
    "block_state": ("NONE",),
    "event_type": ("AUTH_REQUEST", "AUTH_RESPONSE", "STEP_UP_CHALLENGE", "STEP_UP_COMPLETE", "CLEARING", "REFUND"),
    "truth_event_role": ("LEGIT_CONTEXT", "PRIMARY_FRAUD_ACTION", "SUPPORTING_EVENT"),
    "fraud_label": ("LEGIT", "FRAUD", "ABUSE"),
    "case_key_type": ("INSTRUMENT", "ACCOUNT", "PARTY"),
}


@dataclass(frozen=True)
class TruthTable:
    """Truth rules and what they conclude: rules for the kernel; results int8[r] by rule; anomaly mask."""

    rules: TruthRules
    anomaly_mask: int
    rule_id: Array
    label: Array
    subtype: Array
    kind: Array
    source: Array


@dataclass(frozen=True)
class S4Plan:
    """Everything that S4 needs for one scenario of one world.

    `moved` int8[outcomes]: whether money left the payer (0 no, 1 card, 2 rail, 3 rail and returned); `case_key`
    int8[channels]; `sources` bool[patterns]: whose neighbours may be marked; windows in microseconds;
    `history`, `cases`: whether those tables have rows.
    """

    decisions: Decisions
    contracts: Contracts
    streams: Streams
    flow_key: np.uint64
    case_key_stream: np.uint64
    truth: TruthTable
    screen: ScreenRules
    bank: BankRules
    claims: ClaimRules
    limits: CaseLimits
    moved: Array
    case_key: Array
    sources: Array
    party_role: Array
    demand: Array
    collateral_us: int
    detection_us: int
    before_us: int
    after_us: int
    history: bool = True
    cases: bool = True

    @property
    def last_us(self) -> int:
        """The last instant of the settlement horizon."""
        return self.bank.last_us


def _refuse(what: str, **more: object) -> PolicyError:
    action = "correct the policy that is named; see contracts/laws/s4.md"
    return PolicyError("S4", "S4_LABEL_POLICY_INVALID", what=what, action=action, **more)


def _code(contracts: Contracts, enum: str, label: str, where: str) -> int:
    labels = contracts.enum(enum)
    if label not in labels:
        raise _refuse(f"no {enum} is called {label}", found=label, expected=", ".join(labels), where=where)
    return labels.index(label)


def _flags(contracts: Contracts, enum: str, chosen: Iterable[str], where: str) -> Array:
    """bool by code: whether the label is among `chosen`."""
    out = np.zeros(len(contracts.enum(enum)), dtype=np.bool_)
    for label in chosen:
        out[_code(contracts, enum, label, where)] = True
    return out


def _table(contracts: Contracts, enum: str, values: Mapping[str, Any], where: str, total: bool = True) -> Array:
    """float64 by code; a missing key of a total table is an error, of another one 0."""
    labels = contracts.enum(enum)
    missing = [x for x in labels if x not in values]
    unknown = [x for x in values if x not in labels]
    if unknown or (total and missing):
        raise _refuse(
            f"the table is not that of {enum}", found=unknown or missing, expected=", ".join(labels), where=where
        )
    return np.array([float(values.get(x, 0.0)) for x in labels], dtype=np.float64)


def truth_table(doc: Mapping[str, Any], contracts: Contracts) -> TruthTable:
    """Compile truth_labelling_policy_6B. PolicyError for unknown names and for a rule that is listed twice."""
    where = "truth_labelling_policy_6B"
    rules = doc["rules"]
    names = [r["rule"] for r in rules]
    if len(set(names)) != len(names):
        raise _refuse("a truth rule is listed twice", found=names, where=where)

    def codes(enum: str, key: str) -> Array:
        return np.array([_code(contracts, enum, str(r[key]), where) for r in rules], dtype=np.int8)

    def wanted(pattern: str) -> int:
        return -1 if pattern == "ANY" else _code(contracts, "campaign_type", pattern, where)

    return TruthTable(
        rules=TruthRules(
            pattern=np.array([wanted(str(r["when"]["pattern"])) for r in rules], dtype=np.int8),
            campaign=np.array([TERNARY[r["when"]["campaign"]] for r in rules], dtype=np.int8),
            anomaly=np.array([TERNARY[r["when"]["anomaly"]] for r in rules], dtype=np.int8),
        ),
        anomaly_mask=sum(ANOMALY_BITS[str(f)] for f in doc["anomaly_flags"]),
        rule_id=codes("truth_rule", "rule"),
        label=codes("fraud_label", "label"),
        subtype=codes("campaign_type", "subtype"),
        kind=codes("fraud_class", "class"),
        source=codes("pattern_source", "source"),
    )


def _component(doc: Mapping[str, Any]) -> tuple[float, float, float]:
    if doc["dist"] == "lognormal":
        return LOGNORMAL, float(doc["median_s"]), float(doc["sigma"])
    if doc["dist"] == "gamma":
        return GAMMA, float(doc["shape"]), float(doc["scale_s"])
    return UNIFORM, 0.0, 0.0


def delay_table(models: Mapping[str, Any]) -> Array:
    """float64[2 laws, 6] for `sample_delay`, laws in the order of `LAWS`."""
    out = np.zeros((2 * len(LAWS), 6), dtype=np.float64)
    for i, name in enumerate(LAWS):
        doc = models[name]
        low, high = float(doc["min_s"]), float(doc["max_s"])
        if low >= high:
            raise _refuse(f"the bounds of {name} are empty", found=[low, high], where="delay_models_6B")
        mixture = doc["dist"] == "mixture"
        parts = (doc["first"], doc["second"]) if mixture else (doc, doc)
        for k, part in enumerate(parts):
            kind, a, b = _component(part)
            out[2 * i + k] = kind, float(doc["share"]) if mixture else 1.0, a, b, low, high
    return out


def _reasons(doc: Mapping[str, Any], contracts: Contracts) -> Array:
    where = "bank_view_policy_6B"
    service = _table(contracts, "dispute_reason", doc["service_dispute"]["reasons"], where, total=False)
    friendly = _table(contracts, "dispute_reason", doc["claim"]["first_party_reasons"], where, total=False)
    return np.cumsum(np.concatenate([service, friendly]))


def claim_rules(doc: Mapping[str, Any], contracts: Contracts) -> ClaimRules:
    """Compile claims and chargebacks of bank_view_policy_6B; outcome weights are normalised here."""
    where = "bank_view_policy_6B"
    right, chargeback = doc["chargeback_right"], doc["chargeback"]
    chances = np.zeros((3, 3), dtype=np.float64)
    for i, kind in enumerate(KINDS):
        w = chargeback[kind]
        total = float(w["win"]) + float(w["loss"]) + float(w["partial"])
        lost = float(w["loss"]) / total
        chances[i] = lost, lost + float(w["partial"]) / total, float(w["representment"])
    return ClaimRules(
        reasons=_reasons(doc, contracts),
        refuse=_table(contracts, "fraud_class", doc["claim"]["refuse"], where),
        chances=chances,
        absent=_flags(contracts, "entry_mode", right["absent_entry_modes"], where),
        no_shift=_flags(contracts, "three_ds", right["no_shift_three_ds"], where),
        fallback=_flags(contracts, "entry_mode", right["present_entry_modes"], where),
        weak_cvm=_flags(contracts, "cvm", right["present_cvm"], where),
        arbitrate=float(chargeback["pre_arbitration"]),
        recall=float(doc["claim"]["recall"]),
        issuer_share=float(chargeback["issuer_share"]),
        write_off=int(doc["claim"]["write_off_below_ref_minor"]),
    )


def _demand(doc: Mapping[str, Any], contracts: Contracts, name: str) -> Array:
    return _table(
        contracts, "demand_class", {k: v[name] for k, v in doc["demand_class"].items()}, "bank_view_policy_6B"
    )


def screen_rules(doc: Mapping[str, Any], contracts: Contracts) -> ScreenRules:
    """Compile the screen of bank_view_policy_6B."""
    where = "bank_view_policy_6B"
    return ScreenRules(
        block_code=_flags(contracts, "response_code", doc["block"]["codes"], where),
        posture=_table(contracts, "fraud_role_party", doc["posture"], where, total=False),
        detect=_demand(doc, contracts, "detect"),
        dispute=_demand(doc, contracts, "dispute"),
        channel=_table(contracts, "channel_group", doc["service_dispute"]["channels"], where, total=False),
        settled=_flags(contracts, "flow_outcome", ["AUTH_SETTLED"], where),
        declined=contracts.code("auth_decision", "DECLINE"),
        held=contracts.code("payment_state", "HELD"),
        customer=contracts.code("report_source", "CUSTOMER"),
        network=contracts.code("report_source", "NETWORK"),
        collateral=float(doc["collateral"]["p_mark"]),
        service=float(doc["service_dispute"]["p"]),
    )


def _moved(contracts: Contracts) -> Array:
    out = np.zeros(len(contracts.enum("flow_outcome")), dtype=np.int8)
    kinds = {1: ("AUTH_SETTLED", "CASH_DISPENSED"), 2: ("TRANSFER_COMPLETED",)}
    for value, outcomes in (kinds | {3: ("TRANSFER_RETURNED", "TRANSFER_RECALLED")}).items():
        for label in outcomes:
            out[contracts.code("flow_outcome", label)] = value
    return out


def _check_vocabularies(contracts: Contracts) -> None:
    for name, labels in VOCABULARIES.items():
        found = contracts.enum(name)[: len(labels)]
        if found != labels:
            raise PolicyError(
                "S4",
                "S4_VOCABULARY",
                what=f"{name} has other codes",
                found=found,
                expected=labels,
                where="enums.yaml",
                action="restore the contracts; see `fraudloom contracts check`",
            )


def compile_plan(pack: Pack, world: Any, streams: Streams, contracts: Contracts) -> S4Plan:
    """Compile the five policies of S4 against a world. PolicyError when they do not fit together.

    `world` gives `tables` (by dataset id) and `end_us`.
    """
    _check_vocabularies(contracts)
    doc, case = pack.doc("bank_view_policy_6B"), pack.doc("case_policy_6B")
    decisions = Decisions(pack.doc("label_rng_policy_6B"), streams)
    decisions.order(*DECISIONS)
    if tuple(decisions.slots.tolist()) != SLOTS:
        raise _refuse("slots differ from the law", found=decisions.slots.tolist(), expected=SLOTS)
    hours = doc["business_hours"]
    opens, closes, window = business_windows(world.tables, contracts, int(hours["open_hour"]), int(hours["close_hour"]))
    bank = BankRules(
        delays=delay_table(pack.doc("delay_models_6B")["models"]),
        opens=opens,
        closes=closes,
        window=window,
        label_map=label_map(),
        confirm=_table(contracts, "fraud_class", doc["verdict"]["confirm"], "bank_view_policy_6B"),
        detect=_demand(doc, contracts, "detect"),
        false_positive=_demand(doc, contracts, "false_positive"),
        block_checked=float(doc["block"]["asked"]),
        network_confirm=float(doc["verdict"]["network"]),
        stretch=float(hours["out_of_hours_factor"]),
        presumed_us=int(doc["presumed_genuine_days"]) * DAY_US,
        last_us=int(world.end_us) + int(doc["settlement_days"]) * DAY_US - 1,
    )
    b = behaviour(pack)
    by_channel = case["key_by_channel"]
    keys = [contracts.code("case_key_type", by_channel[c]) for c in contracts.enum("channel_group")]
    windows = doc["event_windows"]
    return S4Plan(
        decisions=decisions,
        contracts=contracts,
        streams=streams,
        flow_key=streams.key("identity", "flow"),
        case_key_stream=streams.key("identity", "case"),
        truth=truth_table(pack.doc("truth_labelling_policy_6B"), contracts),
        screen=screen_rules(doc, contracts),
        bank=bank,
        claims=claim_rules(doc, contracts),
        limits=CaseLimits(
            int(case["same_case_s"]) * US_PER_S, int(case["reopen_after_s"]) * US_PER_S, int(case["max_flows"])
        ),
        moved=_moved(contracts),
        case_key=np.array(keys, dtype=np.int8),
        sources=_flags(contracts, "campaign_type", doc["collateral"]["patterns"], "bank_view_policy_6B"),
        party_role=world.tables["s5_party_fraud_roles_6A"]["fraud_role_party"].copy(),
        demand=world.tables["merchant_class_profile_5A"]["primary_demand_class"].copy(),
        collateral_us=int(doc["collateral"]["window_s"]) * US_PER_S,
        detection_us=int(windows["detection_s"]) * US_PER_S,
        before_us=int(windows["case_before_s"]) * US_PER_S,
        after_us=int(windows["case_after_s"]) * US_PER_S,
        history=b.label_history,
        cases=b.cases,
    )
