"""Counts to figures: one function per gate, from what was scanned and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from fraudloom.states.score.plan import GatePlan
from fraudloom.states.score.scan import AMOUNT_SHIFT, REF_SHIFT, unpack_rule
from fraudloom.states.score.stats import association, cohen_d, ks_distance, quantile, top_share
from fraudloom.states.score.surfaces import (
    ARRIVALS,
    BANK,
    BASE_EVENTS,
    BASE_FLOWS,
    CASES,
    CATALOGUE,
    FLOWS,
    SESSIONS,
    TRUTH,
    Surfaces,
)
from fraudloom.states.score.tally import I64, Counts, Sharing, Tally


@dataclass(frozen=True)
class Found:
    """A figure, its chi-square p if it is an association, and a note for the reader.

    `value` None: it could not be computed, and `note` says why; `unpublished`: the profile has no column for it.
    """

    value: float | None
    p: float | None = None
    note: str = ""
    unpublished: bool = False


Figures = dict[str, Found]


@dataclass(frozen=True)
class Evidence:
    """Everything that figures are made of."""

    plan: GatePlan
    surfaces: Surfaces
    tally: Tally
    sharing: Sharing

    def share(self, part: str, whole: str, what: str) -> Found:
        """part over whole; without any of the whole, the reason."""
        n = self.tally.sums.get(whole, 0)
        if not n:
            return Found(None, note=f"no {what}")
        found = self.tally.sums.get(part, 0)
        return Found(found / n, note=f"{found:,} of {n:,} {what}")

    def labels(self, enum: str) -> tuple[str, ...]:
        """A vocabulary."""
        return self.surfaces.contracts.enum(enum)


def _association(table: Any, what: str) -> Found:
    found = association(np.asarray(table))
    return Found(None, note=f"no {what} to compare") if found is None else Found(found[0], p=found[1])


def _t1(e: Evidence) -> Figures:
    legit = int(e.tally.labels[e.labels("fraud_label").index("LEGIT")])
    n = int(e.tally.labels.sum())
    return {"legit_share": Found(legit / n, note=f"{legit:,} of {n:,} flows") if n else Found(None, note="no flows")}


def _t2(e: Evidence) -> Figures:
    return {"fraud_share": e.share("bad_flows", "truth_flows", "flows")}


def _t3(e: Evidence) -> Figures:
    found = e.share("clean_legit", "clean_flows", "flows without campaign or anomaly")
    if found.value is not None and not e.surfaces.has(FLOWS, "mutation_flags"):
        found = Found(found.value, note=f"{found.note}; anomaly flags are not published: every flow without campaign")
    return {"clean_legit_share": found}


def _t4(e: Evidence) -> Figures:
    return {"campaign_labelled_share": e.share("campaign_labelled", "campaign_flows", "campaign flows")}


def _t5(e: Evidence) -> Figures:
    return {"cramers_v": _association(e.tally.bank_classes, "bank labels or classes")}


def _t5b(e: Evidence) -> Figures:
    return {"cramers_v": _association(e.tally.flag_classes, "flags or classes")}


def _refs(e: Evidence, keys: list[int]) -> Counts:
    """Reference amounts of the given `2 * kind + flag`."""
    out, mask = Counts(), (1 << REF_SHIFT) - 1
    for key in keys:
        part = e.tally.refs.between(key << REF_SHIFT, (key + 1) << REF_SHIFT)
        counts = Counts()
        counts.values, counts.counts = part.values & mask, part.counts
        out.merge(counts)
    return out


def _by_flag(e: Evidence) -> tuple[Counts, Counts]:
    """Reference amounts of flows that the bank holds for fraud, and of the rest."""
    kinds = range(len(e.labels("campaign_type")) + 1)
    return _refs(e, [2 * k + 1 for k in kinds]), _refs(e, [2 * k for k in kinds])


def _t6(e: Evidence) -> Figures:
    found = cohen_d(*_by_flag(e))
    return {"cohen_d": Found(found, note="" if found is not None else "no bank fraud, or no spread of amounts")}


def _t6b(e: Evidence) -> Figures:
    fraud, rest = _by_flag(e)
    distance = ks_distance(fraud, rest)
    out = {"ks_distance": Found(distance, note="" if distance is not None else "no bank fraud")}
    genuine = quantile(_refs(e, [0, 1]), 1, 2)
    for name in ("CARD_TESTING", "ATO", "APP_SCAM"):
        kind = 1 + e.labels("campaign_type").index(name)
        own = quantile(_refs(e, [2 * kind, 2 * kind + 1]), 1, 2)
        if not e.surfaces.has(FLOWS, "fraud_pattern_type"):
            found = Found(None, note="medians of types left out: fraud_pattern_type is not published", unpublished=True)
        elif own is None or not genuine:
            found = Found(None, note=f"no {name} flows" if own is None else "no genuine flows")
        else:
            found = Found(own / genuine, note=f"median {own / 100:,.2f} against {genuine / 100:,.2f} EUR")
        out[f"{name.lower()}_median_ratio"] = found
    return out


def _rates(e: Evidence) -> list[tuple[float, str]]:
    """Bank-fraud rate and name of the merchant classes that are large enough, ascending."""
    flows = e.tally.flag_classes.sum(axis=0)
    enough = (flows > 0) & (flows >= e.plan.class_share_min * flows.sum())
    names = e.labels("demand_class")
    return sorted((int(e.tally.flag_classes[1, k]) / int(flows[k]), names[k]) for k in np.flatnonzero(enough).tolist())


def _ends(rates: list[tuple[float, str]]) -> str:
    return f"{rates[0][1]} {rates[0][0]:.2%} to {rates[-1][1]} {rates[-1][0]:.2%}"


def _ratio_of_rates(e: Evidence) -> Found:
    rates = _rates(e)
    if len(rates) < 2 or not rates[0][0]:
        return Found(None, note="a class without bank fraud" if len(rates) > 1 else "fewer than two merchant classes")
    return Found(rates[-1][0] / rates[0][0], note=_ends(rates))


def _t7(e: Evidence) -> Figures:
    rates = _rates(e)
    spread = Found(None, note="fewer than two merchant classes")
    if len(rates) > 1:
        spread = Found(rates[-1][0] - rates[0][0], note=_ends(rates))
    return {"rate_spread": spread, "rate_ratio": _ratio_of_rates(e)}


def _t7b(e: Evidence) -> Figures:
    return {"rate_ratio": _ratio_of_rates(e)}


def _t8(e: Evidence) -> Figures:
    return {"negative_gap_share": e.share("negative_gaps", "gaps", "gaps in cases")}


def _t9(e: Evidence) -> Figures:
    return {"round_gap_share": e.share("round_gaps", "gaps", "gaps in cases")}


def _t10(e: Evidence) -> Figures:
    return {"negative_case_share": e.share("negative_cases", "cases", "cases")}


def _worst(e: Evidence, figure: Callable[[Counts], float], worst: Callable[..., Any]) -> Found:
    """The worst currency's figure, among those with enough flows."""
    found = []
    for code, name in enumerate(e.labels("currency")):
        part = e.tally.amounts.between(code << AMOUNT_SHIFT, (code + 1) << AMOUNT_SHIFT)
        if part.total >= e.plan.currency_flows_min:
            counts = Counts()
            counts.values, counts.counts = part.values - (code << AMOUNT_SHIFT), part.counts
            found.append((figure(counts), name))
    if not found:
        return Found(None, note=f"no currency with {e.plan.currency_flows_min:,} flows")
    value, name = worst(found)
    return Found(float(value), note=f"{name}, the worst of {len(found)} currencies")


def _t11(e: Evidence) -> Figures:
    return {"distinct_amounts": _worst(e, lambda c: len(c.values), min)}


def _p99_over_p50(counts: Counts) -> float:
    return (quantile(counts, 99, 100) or 0) / (quantile(counts, 1, 2) or 1)


def _t12(e: Evidence) -> Figures:
    return {"p99_over_p50": _worst(e, _p99_over_p50, min)}


def _t13(e: Evidence) -> Figures:
    return {"top_amounts_share": _worst(e, lambda c: top_share(c, e.plan.top_amounts) or 0.0, max)}


def _seconds(e: Evidence, numerator: int, denominator: int) -> Found:
    found = quantile(e.tally.latency_ms, numerator, denominator)
    n = e.tally.latency_ms.total
    return Found(None, note="no authorisations") if found is None else Found(found / 1000, note=f"{n:,} authorisations")


def _t14(e: Evidence) -> Figures:
    return {"median_s": _seconds(e, 1, 2)}


def _t15(e: Evidence) -> Figures:
    return {"p99_s": _seconds(e, 99, 100)}


def _t16(e: Evidence) -> Figures:
    return {"zero_share": e.share("zero_latencies", "authorisations", "authorisations")}


def _templates(e: Evidence) -> dict[int, str]:
    """Template of every campaign of the catalogue: its label without the number of the instance."""
    rows = e.surfaces.read(CATALOGUE, ("campaign_id", "campaign_label"))
    return {int(k): str(v).split("#")[0] for k, v in zip(rows["campaign_id"], rows["campaign_label"], strict=True)}


def _types(e: Evidence) -> Found:
    if e.surfaces.has(FLOWS, "fraud_pattern_type"):
        return Found(float(np.count_nonzero(e.tally.patterns[1:])))
    if not e.surfaces.has(CATALOGUE):
        return Found(None, note=e.surfaces.why_not([CATALOGUE]))
    names = _templates(e)
    seen = {names.get(c, "") for c in e.tally.campaigns} - {""}
    return Found(float(len(seen)), note="types are not published: templates of the catalogue")


def _t17(e: Evidence) -> Figures:
    if not e.tally.campaigns:
        return dict.fromkeys(("campaigns", "types", "cramers_v"), Found(None, note="no campaign flows"))
    return {
        "campaigns": Found(float(len(e.tally.campaigns))),
        "types": _types(e),
        "cramers_v": _association([c.classes for c in e.tally.campaigns.values()], "campaigns or classes"),
    }


def _t18(e: Evidence) -> Figures:
    if not e.tally.campaigns:
        return dict.fromkeys(("cramers_v", "zones_median"), Found(None, note="no campaign flows"))
    found = _association([c.zones for c in e.tally.campaigns.values()], "campaigns or zones")
    if not e.surfaces.has(FLOWS, "tz"):
        found = Found(found.value, found.p, note=found.note or "tz is not published: the payer's home zone")
    zones = median(int(np.count_nonzero(c.zones)) for c in e.tally.campaigns.values())
    return {"cramers_v": found, "zones_median": Found(float(zones))}


def _t19(e: Evidence) -> Figures:
    return {"single_arrival_share": e.share("single_sessions", "sessions", "sessions")}


def _t20(e: Evidence) -> Figures:
    pairs = [x.figures() for x in (e.sharing.devices, e.sharing.addresses, e.sharing.accounts)]
    if not all(seen for _, seen in pairs):
        return {"shared_mean": Found(None, note="no arrivals")}
    shares = [several / seen for several, seen in pairs]
    note = "devices {:.3f}, addresses {:.3f}, accounts {:.3f}".format(*shares)
    return {"shared_mean": Found(sum(shares) / 3, note=note)}


def _minority(keys: I64, outcomes: I64, counts: I64) -> int:
    """Flows that have another outcome than most of their key."""
    lost = 0
    for key in np.unique(keys):
        mine = keys == key
        by_outcome = [int(counts[mine][outcomes[mine] == o].sum()) for o in np.unique(outcomes[mine])]
        lost += sum(by_outcome) - max(by_outcome)
    return lost


def _t22(e: Evidence) -> Figures:
    """Two rules for one full predicate are a collision; one rule for two predicates has lost a condition."""
    if e.surfaces.has(TRUTH, "label_rule_id") and e.surfaces.has(FLOWS, "fraud_pattern_type"):
        if not e.tally.rules.total:
            return {"collisions": Found(None, note="no flows")}
        predicate, outcome = unpack_rule(e.tally.rules.values)
        collided = _minority(predicate, outcome, e.tally.rules.counts)
        lost = _minority(outcome, predicate, e.tally.rules.counts)
        return {"collisions": Found(float(collided + lost), note=f"{collided:,} collided, {lost:,} lost their rule")}
    why = e.surfaces.why_not([CATALOGUE])
    if why or not e.tally.labels.sum():
        return {"collisions": Found(None, note=why or "no flows")}
    names = _templates(e)
    by_name = [(names.get(c, str(c)), x.labels) for c, x in e.tally.campaigns.items()] + [("", e.tally.free_labels)]
    rows = [(name, label, int(n)) for name, labels in by_name for label, n in enumerate(labels)]
    index = {name: k for k, name in enumerate(sorted({r[0] for r in rows}))}
    keys, outcomes, counts = np.array([(index[r[0]], r[1], r[2]) for r in rows if r[2]], np.int64).T
    note = "rules are not published: flows whose label is not that of their template"
    return {"collisions": Found(float(_minority(keys, outcomes, counts)), note=note)}


#: Gate to the tables that it reads and its figures. T21 is read off the others.
FIGURES: dict[str, tuple[tuple[str, ...], Callable[[Evidence], Figures]]] = {
    "T1": ((TRUTH,), _t1),
    "T2": ((TRUTH,), _t2),
    "T3": ((FLOWS, TRUTH), _t3),
    "T4": ((FLOWS, TRUTH), _t4),
    "T5": ((FLOWS, BANK), _t5),
    "T5b": ((FLOWS, BANK), _t5b),
    "T6": ((FLOWS, BANK), _t6),
    "T6b": ((FLOWS, BANK), _t6b),
    "T7": ((FLOWS, BANK), _t7),
    "T7b": ((FLOWS, BANK), _t7b),
    "T8": ((CASES,), _t8),
    "T9": ((CASES,), _t9),
    "T10": ((CASES,), _t10),
    "T11": ((BASE_FLOWS,), _t11),
    "T12": ((BASE_FLOWS,), _t12),
    "T13": ((BASE_FLOWS,), _t13),
    "T14": ((BASE_EVENTS,), _t14),
    "T15": ((BASE_EVENTS,), _t15),
    "T16": ((BASE_EVENTS,), _t16),
    "T17": ((FLOWS,), _t17),
    "T18": ((FLOWS,), _t18),
    "T19": ((SESSIONS,), _t19),
    "T20": ((ARRIVALS,), _t20),
    "T22": ((FLOWS, TRUTH), _t22),
}


def measure(evidence: Evidence) -> dict[str, Figures]:
    """All figures of all gates but T21. A gate whose table is missing or out of line has none, with the reason."""
    out: dict[str, Figures] = {}
    astray = {TRUTH: "truth_astray", BANK: "bank_astray"}
    for gate in evidence.plan.gates:
        if gate.id not in FIGURES:
            continue
        tables, figures = FIGURES[gate.id]
        why = evidence.surfaces.why_not(tables)
        for table in tables if FLOWS in tables and not why else ():
            n = evidence.tally.sums.get(astray.get(table, ""), 0)
            if n:
                why = f"{n:,} flows without their row of {table} beside them"
        found = {m.name: Found(None, note=why) for m in gate.measures} if why else figures(evidence)
        out[gate.id] = {m.name: found[m.name] for m in gate.measures}
    return out
