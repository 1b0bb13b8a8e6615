"""From policies to arrays: what S2's kernels need, checked and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import PolicyError
from fraudloom.kernels.amounts import AmountRule, AmountTables, CurrencyTables
from fraudloom.kernels.events import SplitRule
from fraudloom.kernels.flows import SLOTS, GroupRule, ObserveRule, PayeeRule, PayeeTables
from fraudloom.kernels.fmath import ndtr
from fraudloom.kernels.issuer import DecideRule, HistoryRule
from fraudloom.kernels.settle import AuthTimes, SettleRule
from fraudloom.policies_api import Pack
from fraudloom.rng import Streams
from fraudloom.states.behaviour import Behaviour, behaviour
from fraudloom.states.decisions import Decisions
from fraudloom.states.s2.plan_issuer import block_laws, decide_rule, history_rule, usual_census
from fraudloom.states.s2.tables import Array, WorldTables, world_tables

Doc = Mapping[str, Any]

DECISIONS = (
    *("ARRIVAL_FLOW_ASSIGNMENT", "FLOW_OBSERVABLES", "PAYEE", "PAYEE_SERIES", "AMOUNT", "SERIES_AMOUNT"),
    *("ISSUER_DECIDE", "AUTH_TIME"),
    *("BRANCH_DECISION", "SETTLEMENT_TIME", "SETTLED_AMOUNT", "EVENT_SPLIT"),
)
#: How many of them a pack without settlement makes.
AUTH_DECISIONS = 8
SECOND, MINUTE, HOUR, DAY = 1e6, 6e7, 3.6e9, 8.64e10


@dataclass(frozen=True)
class S2Plan:
    """Everything S2 needs for one scenario of one world. `settlement` is False for packs of two events a flow."""

    decisions: Decisions
    keys: Array
    id_key: np.uint64
    contracts: Contracts
    world: WorldTables
    settlement: bool
    group: GroupRule
    observe: ObserveRule
    payee: PayeeRule
    payee_tables: PayeeTables
    amount: AmountRule
    amount_tables: AmountTables
    currency: CurrencyTables
    auth: AuthTimes
    settle: SettleRule
    split: SplitRule
    history: HistoryRule
    decide: DecideRule
    initial_spend: float
    reissue: Array
    risky: Array
    merchant_slot: Array
    ip_slot: Array
    usual: Array
    per_day: float
    days: int
    horizon_end: int

    def code(self, enum: str, label: str) -> int:
        """Code of a vocabulary's label."""
        return self.contracts.code(enum, label)


#: Settlement ends so many days after the last arrival.
SETTLEMENT_DAYS = 210


def labels(contracts: Contracts, enum: str, values: Mapping[str, Any], missing: float = 0.0) -> Array:
    """float64 by code of a vocabulary; labels that a policy does not list get `missing`."""
    return np.array([float(values.get(name, missing)) for name in contracts.enum(enum)], dtype=np.float64)


def members(contracts: Contracts, enum: str, names: list[str]) -> Array:
    """bool by code of a vocabulary; PolicyError when a name is not of it."""
    out = np.zeros(len(contracts.enum(enum)), np.bool_)
    for name in names:
        out[contracts.code(enum, name)] = True
    return out


def cumulative(weights: list[float] | Array) -> Array:
    """Running sums of weights, left to right, float64."""
    return np.cumsum(np.asarray(weights, np.float64))


def time_law(doc: Doc, unit: float) -> list[float]:
    """Row of a table of truncated lognormals, in microseconds."""
    return [float(doc["median"]) * unit, float(doc["sigma"]), float(doc["lo"]) * unit, float(doc["hi"]) * unit]


def _group(doc: Doc, contracts: Contracts, b: Behaviour) -> GroupRule:
    flows = doc["flows"]
    return GroupRule(
        merge=labels(contracts, "channel_group", flows["merge"] if b.multi_arrival_flows else {}),
        goodwill=labels(contracts, "channel_group", flows["goodwill_credit"] if b.refunds else {}),
        window_us=int(flows["merge_window_min"]) * 60_000_000,
        most=int(flows["max_arrivals"]),
    )


def _observe(doc: Doc, contracts: Contracts) -> ObserveRule:
    away, here, regions, payees = doc["not_present"], doc["present"], doc["regions"], doc["payees"]
    return ObserveRule(
        on_file=float(away["card_on_file"]),
        keyed=float(away["keyed"]),
        network_token=float(away["network_token_on_file"]),
        strong=float(away["three_ds"]["strong"]),
        exempt=float(away["three_ds"]["exempt"]),
        abroad=float(away["three_ds"]["abroad"]),
        attempted=float(away["attempted"]),
        low_value=float(away["exemption"]["low_value"]),
        tra=float(away["exemption"]["tra"]),
        trusted=float(away["exemption"]["trusted"]),
        low_value_max=int(away["low_value_max_ref"]),
        tra_max=int(away["tra_max_ref"]),
        cvv_present=float(away["cvv_present"]),
        cvv_mismatch=float(away["cvv_mismatch"]),
        address_mismatch=float(away["address_mismatch"]),
        contactless=float(here["contactless"]),
        contactless_max=int(here["contactless_max_ref"]),
        fallback=float(here["fallback"]),
        present_keyed=float(here["keyed"]),
        cash_contactless=float(here["cash_contactless"]),
        cash_fallback=float(here["cash_fallback"]),
        rail_trusted=float(payees["trusted"]),
        rail_low_value_max=int(payees["low_value_max_ref"]),
        sca=members(contracts, "country_iso", regions["sca"]),
        address=members(contracts, "country_iso", regions["address_check"]),
        signature=members(contracts, "country_iso", regions["signature"]),
    )


def _payees(doc: Doc, contracts: Contracts, w: WorldTables) -> tuple[PayeeRule, PayeeTables]:
    law = doc["payees"]
    longest = int(np.diff(w.payee_start).max(initial=0))
    weights = np.ones(max(1, longest))
    for r in range(1, longest):
        weights[r] = weights[r - 1] * float(law["rank_decay"])
    new, known = law["name_check_new"], law["name_check_known"]
    rule = PayeeRule(
        new_share=float(law["new_share"]),
        new_abroad=float(law["new_abroad"]),
        new_close=float(new["close"]),
        new_none=float(new["none"]),
        new_away=float(new["unavailable"]),
        known_close=float(known["close"]),
        known_away=float(known["unavailable"]),
        banks=int(law["new_banks"]),
        purpose_cum=cumulative(labels(contracts, "payment_purpose", law["new_purpose"])),
        abroad=np.flatnonzero(members(contracts, "country_iso", doc["regions"]["sca"])).astype(np.int8),
    )
    fresh = max(int(w.payees["payee_account_id"].max(initial=0)), len(w.account_issuer))
    tables = PayeeTables(
        start=w.payee_start,
        account=w.payees["payee_account_id"],
        bank=w.payees["payee_bank_id"],
        country=w.payees["payee_country"],
        purpose=w.payees["purpose"],
        home=w.parties["country_iso"],
        rank_cum=cumulative(weights),
        fresh=fresh,
    )
    return rule, tables


def currencies(fx: Doc, price_unit_ref: float, note_ref: float) -> CurrencyTables:
    """Minor units, reference values, price steps and notes by currency code; fx_rates_3A lists every code in order."""
    n = len(fx["currency"])
    minor = np.array([10 ** int(d) for d in fx["decimals"]], np.int64)
    major = np.asarray(fx["ref_per_major"], np.float64)
    unit, off99, off95, note = (np.ones(n, np.int64) for _ in range(4))
    for c in range(n):
        step = 1
        while step * major[c] < price_unit_ref and step < 10**6:
            step *= 10
        paper, k = 1, 0
        while paper * major[c] < note_ref and paper < 10**7:
            paper, k = (paper * 5 // 2, k + 1) if k % 3 == 1 else (paper * 2, k + 1)
        unit[c] = max(100, step * minor[c]) if minor[c] == 1 else step * minor[c]
        off99[c] = max(1, minor[c] // 100)
        off95[c] = minor[c] // 20 if minor[c] > 1 else 20
        note[c] = paper * minor[c]
    return CurrencyTables(
        minor.astype(np.float64), major, major * 100.0 / minor.astype(np.float64), unit, off99, off95, note
    )


def _amounts(doc: Doc, contracts: Contracts, w: WorldTables) -> tuple[AmountRule, AmountTables, CurrencyTables]:
    buy, cash = doc["purchase"], doc["cash"]
    ends = [doc["endings"][s] for s in contracts.enum("ending_style")]
    kinds = contracts.enum("party_type")
    transfer = np.zeros((len(contracts.enum("payment_purpose")), 3))
    for name, law in doc["transfers"].items():
        transfer[contracts.code("payment_purpose", name)] = [law["median"], law["sigma"], law["whole"]]
    rule = AmountRule(
        median=labels(contracts, "channel_group", buy["median"]),
        kind=np.array([float(buy["kind"][k]) for k in kinds]),
        sigma=np.array([float(buy["sigma"][k]) for k in kinds]),
        z_low=float(ndtr(float(buy["z_lo"]))),
        z_high=float(ndtr(float(buy["z_hi"]))),
        transfer=transfer,
        endings=np.array([cumulative([e["p99"], e["p95"], e["p00"]]) for e in ends]),
        round_step=int(doc["round_step"]),
        cash_median=float(cash["median"]),
        cash_sigma=float(cash["sigma"]),
        bundle=int(cash["bundle"]),
        bundle_share=float(cash["bundle_share"]),
        cash_max_ref=int(cash["max_ref"]),
        credit_lo=float(doc["credit"]["fraction_lo"]),
        credit_hi=float(doc["credit"]["fraction_hi"]),
    )
    of_class = labels(contracts, "demand_class", buy["class"])
    tables = AmountTables(
        merchant_median=of_class[w.merchants["demand_class"]] * w.merchants["amount_level"],
        style=w.merchants["ending_style"],
        party_kind=w.parties["party_type"],
        party_level=w.parties["amount_level"],
        price_level=w.price_level,
    )
    return rule, tables, currencies(w.fx, float(doc["price_unit_ref"]), float(cash["note_ref"]))


def _leg(law: Doc, z: float) -> Array:
    return np.array([float(law["median"]) * 1000.0, float(law["sigma"]), float(ndtr(-z)), float(ndtr(z))])


def _auth(doc: Doc, laws: Array) -> AuthTimes:
    network, step, issuer = doc["network"], doc["step_up"], doc["issuer"]
    return AuthTimes(
        send=_leg(network["send_ms"], float(network["z"])),
        back=_leg(network["return_ms"], float(network["z"])),
        laws=laws,
        step_us=int(float(step["base_s"]) * SECOND),
        timeout_us=int(float(step["timeout_s"]) * SECOND),
        timed_out=float(step["timed_out"]),
        timer_us=np.array([int(float(issuer[k]) * SECOND) for k in ("timer_s", "timer_cash_s")], np.int64),
    )


def _laws(doc: Doc) -> Array:
    """Truncated lognormals by `kernels.settle.L_*`; those of settlement stay zero in a pack without it."""
    step, retry = doc["step_up"], doc["retry_s"]
    laws = np.zeros((7, 4))
    for row, law in enumerate((step["cardholder_s"], step["give_up_s"], retry["unavailable"], retry["funds"])):
        laws[row] = time_law(law, SECOND)
    if doc["settlement"] is not None:
        s = doc["settlement"]
        laws[4:7] = [
            time_law(s["reversal_min"], MINUTE),
            time_law(s["return_h"], HOUR),
            time_law(s["refund_days"], DAY),
        ]
    return laws


def _settle(
    shape: Doc, amount: Doc, timing: Doc, laws: Array, contracts: Contracts, w: WorldTables, b: Behaviour
) -> SettleRule:
    branch, size, clock = shape["settlement"], amount["settlement"], timing["settlement"]
    reversal = np.zeros(len(contracts.enum("channel_group")))
    if b.reversals:
        reversal = labels(
            contracts, "channel_group", {k: branch["reversal"]["card"] for k in ("ECOM", "POS", "HYBRID")}
        )
        reversal[contracts.code("channel_group", "ATM")] = float(branch["reversal"]["ATM"])
    reversal[contracts.code("channel_group", "BANK_RAIL")] = float(branch["returned"])
    tips = members(contracts, "demand_class", branch["tip_classes"])
    return SettleRule(
        reversal=reversal,
        refund=labels(contracts, "channel_group", branch["refund"] if b.refunds else {}),
        recalled=float(branch["recalled"]),
        full=float(branch["refund_full"]),
        partial=float(branch["partial_clearing"]) if b.partial_clearing else 0.0,
        late=float(branch["late"]),
        fuel=float(branch["fuel_adjusted"]),
        tip=np.array([float(branch["tip"]["elsewhere"]), float(branch["tip"]["custom"])]),
        style=w.merchants["ending_style"],
        tips=tips[w.merchants["demand_class"]],
        tipping=members(contracts, "country_iso", branch["tip"]["countries"]),
        laws=laws,
        cutoff_us=int(float(clock["cutoff_hour"]) * HOUR),
        batch_us=int(float(clock["batch_hour"]) * HOUR),
        jitter_us=int(float(clock["jitter_min"]) * MINUTE),
        lag_cum=cumulative(clock["lag_weights"]),
        late_days=np.array([clock["late_days"]["lo"], clock["late_days"]["hi"]], np.int64),
        second_days=np.array([clock["second_days"]["lo"], clock["second_days"]["hi"]], np.int64),
        bounds=np.array([[size[k]["lo"], size[k]["hi"]] for k in ("tip", "fuel", "refund")], np.float64),
        first_day=w.first_day,
        day_slot=w.day_slot,
        business=w.business,
    )


def _split(timing: Doc, amount: Doc, timer_us: Array) -> SplitRule:
    split = timing["settlement"]["split"]
    places = [
        np.array([int(float(split[k][b]) * SECOND) for b in ("lo", "hi")], np.int64)
        for k in ("first_response_s", "challenge_s", "resend_s")
    ]
    shipment = amount["settlement"]["first_shipment"]
    first, challenge, resend = places
    return SplitRule(first, challenge, resend, np.array([float(shipment["lo"]), float(shipment["hi"])]), timer_us)


def _check(decisions: Decisions, settlement: bool) -> None:
    wanted = DECISIONS if settlement else DECISIONS[:AUTH_DECISIONS]
    decisions.order(*wanted)
    if tuple(decisions.slots.tolist()) != SLOTS[: len(wanted)]:
        raise PolicyError(
            "S2",
            "S2_RNG_POLICY_INVALID",
            what="flow_rng_policy_6B lists other slot counts than the kernels use",
            found=decisions.slots.tolist(),
            expected=SLOTS[: len(wanted)],
            action="correct the policy; `fraudloom policies check` names file and key",
        )


def compile_plan(pack: Pack, world: Any, streams: Streams, contracts: Contracts) -> S2Plan:
    """Compile the five policies of S2 against a loaded world. PolicyError when they do not fit together."""
    shape, amount = pack.doc("flow_shape_policy_6B"), pack.doc("amount_model_6B")
    timing, issuer = pack.doc("timing_policy_6B"), pack.doc("issuer_policy_6B")
    sections = [doc["settlement"] is not None for doc in (shape, amount, timing)]
    if len(set(sections)) != 1:
        raise PolicyError(
            "S2",
            "S2_SETTLEMENT_HALF",
            what="flow shape, amounts and timing must all have a settlement section, or none",
            found=sections,
            action="correct the policy; `fraudloom policies check` names file and key",
        )
    w, b = world_tables(world), behaviour(pack)
    decisions = Decisions(pack.doc("flow_rng_policy_6B"), streams)
    _check(decisions, sections[0])
    laws = _laws(timing)
    auth = _auth(timing, laws)
    payee, payee_tables = _payees(shape, contracts, w)
    amount_rule, amount_tables, currency = _amounts(amount, contracts, w)
    merchant_slot, ip_slot, usual = usual_census(issuer["census"], contracts, w)
    return S2Plan(
        decisions=decisions,
        keys=decisions.keys,
        id_key=streams.key("identity", "flow"),
        contracts=contracts,
        world=w,
        settlement=sections[0],
        group=_group(shape, contracts, b),
        observe=_observe(shape, contracts),
        payee=payee,
        payee_tables=payee_tables,
        amount=amount_rule,
        amount_tables=amount_tables,
        currency=currency,
        auth=auth,
        settle=_settle(shape, amount, timing, laws, contracts, w, b) if sections[0] else None,  # type: ignore[arg-type]
        split=_split(timing, amount, auth.timer_us) if sections[0] else None,  # type: ignore[arg-type]
        history=history_rule(issuer),
        decide=decide_rule(issuer, timing, contracts, streams, w),
        initial_spend=float(issuer["history"]["initial_spend"]),
        reissue=block_laws(issuer)[1:],
        risky=members(contracts, "demand_class", issuer["risk"]["risky_classes"])[w.merchants["demand_class"]],
        merchant_slot=merchant_slot,
        ip_slot=ip_slot,
        usual=usual,
        per_day=float(issuer["census"]["address_per_day"]),
        days=w.days,
        horizon_end=w.end_us + SETTLEMENT_DAYS * 86_400_000_000,
    )
