"""One part: its row groups, columns pruned, into counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from fraudloom.states.score.plan import GatePlan
from fraudloom.states.score.surfaces import (
    ARRIVALS,
    BANK,
    BASE_EVENTS,
    BASE_FLOWS,
    CASES,
    FLOWS,
    SESSIONS,
    TRUTH,
    Surfaces,
    Task,
    WorldFacts,
    check_ids,
)
from fraudloom.states.score.tally import I64, Sharing, Sizes, Tally
from fraudloom.tables import Columns, iter_groups

#: Datasets that lie in parts.
PARTED = (ARRIVALS, SESSIONS, BASE_FLOWS, BASE_EVENTS, FLOWS, TRUTH, BANK, CASES)
AMOUNT_SHIFT, REF_SHIFT, RULE_SHIFT = 44, 48, 8


@dataclass(frozen=True)
class Context:
    """What every part's scan needs; `sharing` alone is written, under its lock."""

    surfaces: Surfaces
    world: WorldFacts
    plan: GatePlan
    sharing: Sharing

    @property
    def sizes(self) -> Sizes:
        """Lengths of vocabularies."""
        names = ("fraud_label", "bank_label", "demand_class", "tzid", "campaign_type")
        return Sizes(*(len(self.surfaces.contracts.enum(n)) for n in names))


def scan_tasks(surfaces: Surfaces) -> list[Task]:
    """Every (scenario, part) of which some table has a file."""
    return sorted({task for name in PARTED if name not in surfaces.missing for task in surfaces.files[name]})


def pack_rule(pattern: Any, campaign: Any, anomaly: Any, pinned: Any, rule: Any, label: Any) -> Any:
    """A flow's full predicate and what matched, in one integer.

    From the lowest bit: anomaly, campaign, pattern (4 bits), pinned label plus one (2 bits), rule (8 bits), label.
    """
    anomaly = np.where(campaign, False, anomaly)  # a campaign's rules do not ask for an anomaly
    anomaly = np.where(pinned >= 0, False, anomaly)  # nor does the label of an imported log
    predicate = (pinned.astype(np.int64) + 1) * 64 + pattern.astype(np.int64) * 4 + campaign * 2 + anomaly
    return (label.astype(np.int64) << 16) | (rule.astype(np.int64) << RULE_SHIFT) | predicate


def unpack_rule(packed: I64) -> tuple[I64, I64]:
    """(predicate, outcome) of packed integers; the outcome is rule and label."""
    return packed & ((1 << RULE_SHIFT) - 1), packed >> RULE_SHIFT


class _Part:
    def __init__(self, ctx: Context, task: Task) -> None:
        self.ctx, self.task = ctx, task
        self.tally = Tally(ctx.sizes)

    def groups(self, dataset: str, *columns: str) -> Iterator[Columns]:
        """Row groups of this part of a dataset; none when the dataset cannot be read whole."""
        surfaces = self.ctx.surfaces
        path = None if dataset in surfaces.missing else surfaces.files[dataset].get(self.task)
        if path is not None:
            yield from iter_groups(path, surfaces.contracts.dataset(dataset), columns)

    def arrivals(self) -> None:
        for rows in self.groups(ARRIVALS, "party_id", "account_id", "instrument_id", "device_id", "ip_id"):
            world = self.ctx.world
            for name, n in (("device_id", world.devices), ("ip_id", world.addresses), ("account_id", world.accounts)):
                check_ids(rows[name], n, name)
            self.ctx.sharing.add(rows)

    def sessions(self) -> None:
        for rows in self.groups(SESSIONS, "arrival_count"):
            self.tally.add("sessions", len(rows["arrival_count"]))
            self.tally.add("single_sessions", (rows["arrival_count"] == 1).sum())

    def amounts(self) -> None:
        """Amounts of S2 in minor units by currency; where only major units are published they are scaled back."""
        world = self.ctx.world
        full = self.ctx.surfaces.has(BASE_FLOWS, "amount_minor", "currency")
        for rows in self.groups(BASE_FLOWS, *(("amount_minor", "currency") if full else ("amount", "merchant_id"))):
            if full:
                currency, minor = rows["currency"], rows["amount_minor"]
            else:
                currency = world.of(world.merchant_currency, rows["merchant_id"], "merchant_id")
                minor = np.rint(rows["amount"] * world.minor_units[currency]).astype(np.int64)
            self.tally.amounts.add((currency.astype(np.int64) << AMOUNT_SHIFT) + minor)

    def latencies(self) -> None:
        code = self.ctx.surfaces.contracts.code
        request, response = code("event_type", "AUTH_REQUEST"), code("event_type", "AUTH_RESPONSE")
        for rows in self.groups(BASE_EVENTS, "flow_id", "event_seq", "event_type", "ts_utc"):
            asked = _by_flow(rows, rows["event_type"] == request)
            answered = _by_flow(rows, rows["event_type"] == response)
            took = _paired(asked, answered)
            self.tally.add("authorisations", len(took))
            self.tally.add("zero_latencies", (took == 0).sum())
            self.tally.latency_ms.add(took // 1000)

    def cases(self) -> None:
        for rows in self.groups(CASES, "case_id", "case_event_seq", "ts_utc"):
            case, seq, ts = rows["case_id"], rows["case_event_seq"], rows["ts_utc"]
            same = case[1:] == case[:-1]
            if (case[1:] < case[:-1]).any() or (same & (seq[1:] <= seq[:-1])).any():
                order = np.lexsort((seq, case))
                case, ts = case[order], ts[order]
                same = case[1:] == case[:-1]
            gaps = np.diff(ts)[same]
            behind = case[1:][same][gaps < 0]
            self.tally.add("cases", len(case) and 1 + int((~same).sum()))
            self.tally.add("gaps", len(gaps))
            self.tally.add("negative_gaps", (gaps < 0).sum())
            self.tally.add("round_gaps", np.isin(gaps, self.ctx.plan.round_gaps_us).sum())
            self.tally.add("negative_cases", len(np.unique(behind)))

    # --- flows, truth and the bank side by side -----------------------------------------------------------------------

    def flows(self) -> None:
        has = self.ctx.surfaces.has
        full = has(FLOWS, "amount_ref_minor", "tz", "fraud_pattern_type", "mutation_flags")
        more = ["amount_ref_minor", "tz", "fraud_pattern_type", "mutation_flags"] if full else ["amount", "party_id"]
        more.append("pinned_label" if has(FLOWS, "pinned_label") else "arrival_seq")
        rule = ("label_rule_id",) if has(TRUTH, "label_rule_id") else ()
        tables = (
            self.groups(FLOWS, "flow_id", "merchant_id", "campaign_id", *more),
            self.groups(TRUTH, "flow_id", "fraud_label", "is_fraud_truth", *rule),
            self.groups(BANK, "flow_id", "bank_label", "is_fraud_bank_view"),
        )
        for flows, truth, bank in zip_longest(*tables):
            if truth is not None:
                self.tally.add("truth_flows", len(truth["flow_id"]))
                self.tally.add("bad_flows", truth["is_fraud_truth"].sum())
                self.tally.labels += np.bincount(truth["fraud_label"], minlength=len(self.tally.labels))
            if flows is not None:
                self._group(flows, self._beside(flows, truth, "truth"), self._beside(flows, bank, "bank"))
            else:
                for name, rows in (("truth", truth), ("bank", bank)):
                    self.tally.add(f"{name}_astray", 0 if rows is None else len(rows["flow_id"]))

    def _beside(self, flows: Columns, rows: Columns | None, name: str) -> Columns | None:
        """Rows that stand row by row beside the flows, as the contract says; else none, and their number is noted."""
        if rows is not None and np.array_equal(flows["flow_id"], rows["flow_id"]):
            return rows
        self.tally.add(f"{name}_astray", len(flows["flow_id"]))
        return None

    def _group(self, flows: Columns, truth: Columns | None, bank: Columns | None) -> None:
        world = self.ctx.world
        classes = world.of(world.merchant_class, flows["merchant_id"], "merchant_id")
        tagged = flows["campaign_id"] != 0
        none = np.zeros(len(tagged), np.int8)
        pattern = flows.get("fraud_pattern_type", none)
        zone = flows["tz"] if "tz" in flows else world.of(world.party_zone, flows["party_id"], "party_id")
        self.tally.add("flows", len(tagged))
        self.tally.patterns += np.bincount(pattern, minlength=len(self.tally.patterns))
        if truth is not None:
            anomaly = (flows.get("mutation_flags", none) & self.ctx.plan.anomaly_mask) != 0
            pinned = flows.get("pinned_label")
            if pinned is None:
                pinned = world.pinned_label(flows["merchant_id"], flows["arrival_seq"])
            self._truth(tagged, anomaly, pattern, pinned, truth)
        labels = None if truth is None else truth["fraud_label"]
        self._campaigns(flows["campaign_id"][tagged], classes[tagged], zone[tagged], labels, tagged)
        if bank is not None:
            self._bank(flows, classes, pattern, tagged, bank)

    def _truth(self, tagged: Any, anomaly: Any, pattern: Any, pinned: Any, truth: Columns) -> None:
        legit = self.ctx.surfaces.contracts.code("fraud_label", "LEGIT")
        good = truth["fraud_label"] == legit
        told = pinned >= 0  # an imported log says itself what its rows are
        free = ~tagged & ~told
        clean = ~tagged & (told | ~anomaly)
        right = np.where(told, truth["fraud_label"] == pinned, good)
        self.tally.add("clean_flows", clean.sum())
        self.tally.add("clean_legit", (clean & right).sum())
        self.tally.add("campaign_flows", tagged.sum())
        self.tally.add("campaign_labelled", (tagged & ~good).sum())
        self.tally.free_labels += np.bincount(truth["fraud_label"][free], minlength=self.tally.sizes.labels)
        if "label_rule_id" in truth:
            rule, label = truth["label_rule_id"], truth["fraud_label"]
            self.tally.rules.add(pack_rule(pattern, tagged, anomaly, pinned, rule, label))

    def _campaigns(self, campaign: I64, classes: Any, zone: Any, labels: Any, tagged: Any) -> None:
        ids, place = np.unique(campaign, return_inverse=True)
        s = self.tally.sizes
        by_class = _cross(place, classes, len(ids), s.classes)
        by_zone = _cross(place, zone, len(ids), s.zones)
        by_label = None if labels is None else _cross(place, labels[tagged], len(ids), s.labels)
        for k, campaign_id in enumerate(ids.tolist()):
            counts = self.tally.campaign(campaign_id)
            counts.classes += by_class[k]
            counts.zones += by_zone[k]
            if by_label is not None:
                counts.labels += by_label[k]

    def _bank(self, flows: Columns, classes: Any, pattern: Any, tagged: Any, bank: Columns) -> None:
        flag = bank["is_fraud_bank_view"]
        s = self.tally.sizes
        self.tally.bank_classes += _cross(bank["bank_label"], classes, s.bank_labels, s.classes)
        self.tally.flag_classes += _cross(flag, classes, 2, s.classes)
        if "amount_ref_minor" in flows:
            ref = flows["amount_ref_minor"]
        else:
            world = self.ctx.world
            currency = world.of(world.merchant_currency, flows["merchant_id"], "merchant_id")
            minor = np.rint(flows["amount"] * world.minor_units[currency])
            ref = np.maximum(1, np.rint(minor * world.ref_scale[currency])).astype(np.int64)
        kind = np.where(tagged, 1 + pattern.astype(np.int64), 0)
        self.tally.refs.add(((2 * kind + flag) << REF_SHIFT) + ref)


def _cross(a: Any, b: Any, rows: int, columns: int) -> I64:
    """Contingency table int64[rows, columns] of two code arrays."""
    cells = np.bincount(a.astype(np.int64) * columns + b, minlength=rows * columns)
    return cells.reshape(rows, columns)


def _by_flow(rows: Columns, wanted: npt.NDArray[np.bool_]) -> tuple[I64, I64, I64]:
    """(flow, rank of the event among its flow's, instant) of the wanted events, by flow and event_seq."""
    flow, seq, ts = rows["flow_id"][wanted], rows["event_seq"][wanted], rows["ts_utc"][wanted]
    order = np.argsort(flow, kind="stable")
    flow, seq = flow[order], seq[order]
    same = flow[1:] == flow[:-1]
    if (same & (seq[1:] <= seq[:-1])).any():  # rows of a group stand in time order, seldom not in event order
        order = np.lexsort((rows["event_seq"][wanted], rows["flow_id"][wanted]))
        flow = rows["flow_id"][wanted][order]
        same = flow[1:] == flow[:-1]
    first = np.concatenate([[True], ~same]) if len(flow) else np.zeros(0, np.bool_)
    start = np.maximum.accumulate(np.where(first, np.arange(len(flow)), 0))
    return flow, np.arange(len(flow)) - start, ts[order]


def _paired(asked: tuple[I64, I64, I64], answered: tuple[I64, I64, I64]) -> I64:
    """Microseconds from the k-th request of a flow to its k-th response, for pairs of which both are there."""
    if np.array_equal(asked[0], answered[0]):
        return answered[2] - asked[2]
    flows, place = np.unique(np.concatenate([asked[0], answered[0]]), return_inverse=True)
    n = len(asked[0])
    width = 1 + max((int(side[1].max()) for side in (asked, answered) if len(side[1])), default=0)
    key = (place[:n] * width + asked[1], place[n:] * width + answered[1])
    _, a, b = np.intersect1d(*key, assume_unique=True, return_indices=True)
    del flows
    took: I64 = answered[2][b] - asked[2][a]
    return took


def scan_part(work: tuple[Context, Task]) -> Tally:
    """Counts of one (scenario, part) over all its tables; devices, addresses and accounts go into `sharing`."""
    part = _Part(*work)
    part.arrivals()
    part.sessions()
    part.amounts()
    part.latencies()
    part.cases()
    part.flows()
    return part.tally
