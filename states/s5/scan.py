"""The scan of one part: its row groups, one shard at a time, through every check."""

from __future__ import annotations

from contextlib import suppress

from fraudloom.memory import TRIM_ABOVE, trim_memory
from fraudloom.states.s5 import arrivals as s1
from fraudloom.states.s5 import cases, flows, labels, overlay
from fraudloom.states.s5.context import Context
from fraudloom.states.s5.evidence import ShardBudgets
from fraudloom.states.s5.findings import Findings
from fraudloom.states.s5.joins import Array, IdIndex, unsorted
from fraudloom.states.s5.parts import PartReader, ShardUnreadableError, published
from fraudloom.states.s5.tally import Tally
from fraudloom.tables import Columns

ARRIVALS, SESSIONS, LINK = "s1_arrival_entities_6B", "s1_session_index_6B", "s2_arrival_flow_link_6B"
FLOWS2, EVENTS2 = "s2_flow_anchor_baseline_6B", "s2_event_stream_baseline_6B"
FLOWS3, EVENTS3 = "s3_flow_anchor_with_fraud_6B", "s3_event_stream_with_fraud_6B"
SESSIONS3 = "s3_session_index_with_fraud_6B"
TRUTH, BANK, EVENT_LABELS = "s4_flow_truth_labels_6B", "s4_flow_bank_view_6B", "s4_event_labels_6B"
HISTORY, TIMELINE, MEMBERS = "s4_label_history_6B", "s4_case_timeline_6B", "s4_case_flow_link_6B"


def _keep(cols: Columns, *names: str) -> None:
    """Let go of all columns but some."""
    for name in set(cols) - set(names):
        del cols[name]


class ShardScan:
    """One shard: tables are read once, in the order of states, and let go when nothing needs them."""

    def __init__(self, ctx: Context, reader: PartReader, tally: Tally, group: int, shard: int) -> None:
        self.ctx, self.reader, self.tally = ctx, reader, tally
        self.group, self.shard = group, shard
        self.budgets = ShardBudgets(ctx.contracts, ctx.keys, ctx.profile)
        self.seen: set[str] = set()

    def read(self, dataset: str) -> Columns:
        """A table's rows, their order checked and counted."""
        self.seen.add(dataset)
        cols = self.reader.read(dataset, self.group)
        ds = self.reader.files[dataset].ds
        names = tuple(c for c in ds.sort if c in cols)
        if ds.sort and names == ds.sort:
            self.tally.findings.rows("REQ_ROW_ORDER", f"{dataset} sorted", unsorted(cols, names))
        rows = len(next(iter(cols.values())))
        self.tally.rows[dataset] = self.tally.rows.get(dataset, 0) + rows
        return cols

    def account(self, dataset: str, cols: Columns) -> None:
        """Budgets of the decisions whose loci are these rows."""
        loci = self.ctx.plan.loci_per_decision
        self.budgets.add(self.tally, self.ctx.decisions, dataset, cols, self.shard, loci)

    def rest(self) -> None:
        """Read what the checks did not come to, for its digest, order and budgets."""
        for dataset in sorted(set(self.reader.files) - self.seen):
            try:
                cols = self.read(dataset)
            except ShardUnreadableError:
                continue
            if dataset != ARRIVALS:
                self.account(dataset, cols)

    def run(self) -> None:
        """All checks of the shard."""
        ctx, tally = self.ctx, self.tally
        arrivals = self.read(ARRIVALS)
        ordinals = s1.check_arrivals(ctx, tally, arrivals)
        arrivals["_ordinal"] = ordinals
        self.account(ARRIVALS, arrivals)
        sessions = self.read(SESSIONS)
        s1.check_sessions(ctx, tally, arrivals, sessions, ordinals)
        self.account(SESSIONS, sessions)
        base, base_index = self._baseline(arrivals, ordinals)
        del arrivals
        base_events = self.read(EVENTS2)
        base_flow = flows.check_anchors(ctx, tally, "S2", base, base_events, base_index)
        self._overlay(base, base_index, base_events, base_flow, sessions)

    def _baseline(self, arrivals: Columns, ordinals: Array) -> tuple[Columns, IdIndex]:
        ctx, tally = self.ctx, self.tally
        base = self.read(FLOWS2)
        index = IdIndex(base["flow_id"])
        tally.findings.one("REQ_PK_UNIQUENESS", "S2 flow once", not index.repeats, f"{index.repeats} flows repeated")
        first = flows.check_baseline(ctx, tally, base, arrivals, ordinals)
        flows.baseline_figures(ctx, tally, base)
        self.account(FLOWS2, base)
        if self.reader.has(LINK):
            flows.check_links(tally, self.read(LINK), arrivals, base, index, first)
        else:
            tally.findings.skip("REQ_FLOW_SESSION_LINKS", "arrival-flow link", "not published under this profile")
        return base, index

    def _overlay(
        self, base: Columns, base_index: IdIndex, base_events: Columns, base_flow: Array, sessions: Columns
    ) -> None:
        ctx, tally = self.ctx, self.tally
        anchors = self.read(FLOWS3)
        index = IdIndex(anchors["flow_id"])
        tally.findings.one("REQ_PK_UNIQUENESS", "S3 flow once", not index.repeats, f"{index.repeats} flows repeated")
        joined = overlay.check_flows(ctx, tally, anchors, base, base_index)
        base.clear()
        overlay.check_entities(ctx, tally, anchors, joined)
        overlay.check_tags(ctx, tally, anchors, joined)
        self.account(FLOWS3, anchors)
        if self.reader.has(SESSIONS3):
            overlay.check_sessions(ctx, tally, anchors, self.read(SESSIONS3), sessions, joined)
        sessions.clear()
        events = self.read(EVENTS3)
        flow = flows.check_anchors(ctx, tally, "S3", anchors, events, index)
        overlay.check_events(ctx, tally, anchors, events, flow, base_events, base_flow, joined)
        # Most of a shard's bytes are in columns that nothing below reads.
        base_events.clear()
        _keep(events, "flow_id", "event_seq")
        _keep(anchors, *labels.FLOWS_READ, *cases.FLOWS_READ)
        self._labels(anchors, index, events, flow)

    def _labels(self, anchors: Columns, index: IdIndex, events: Columns, flow: Array) -> None:
        ctx, tally = self.ctx, self.tally
        truth, bank = self.read(TRUTH), self.read(BANK)
        good = labels.aligned(tally, TRUTH, truth, anchors, ("flow_id",))
        if not (labels.aligned(tally, BANK, bank, anchors, ("flow_id",)) and good):
            return
        labels.check_truth(ctx, tally, anchors, truth, bank)
        labels.check_bank(ctx, tally, anchors, truth, bank)
        self.account(BANK, bank)
        marks = self.read(EVENT_LABELS)
        if labels.aligned(tally, EVENT_LABELS, marks, events, ("flow_id", "event_seq")):
            labels.check_event_labels(ctx, tally, marks, flow, truth, bank)
        del marks, events
        if self.reader.has(HISTORY):
            labels.check_history(ctx, tally, anchors, bank, self.read(HISTORY), index)
        timeline = self.read(TIMELINE)
        cases.check_timeline(ctx, tally, timeline, anchors, index)
        self.account(TIMELINE, timeline)
        if self.reader.has(MEMBERS):
            members = self.read(MEMBERS)
            cases.check_members(ctx, tally, timeline, members, anchors, bank, index)
            self.account(MEMBERS, members)
        else:
            tally.findings.skip("REQ_CRITICAL_CASE_TIMELINE", "members", "not published under this profile")


def scan_part(task: tuple[Context, int]) -> Tally:
    """Check part `k` of all datasets of a scenario. A part that cannot be read is a finding, never an exception."""
    ctx, part = task
    findings = Findings(ctx.plan.rows_per_rule, ctx.scenario, f"{ctx.scenario} part {part}")
    tally = Tally(findings, ctx.upstream.rows)
    datasets = [d for d in published(ctx.contracts, ctx.profile) if d.part == "shards"]
    reader = PartReader(ctx.root, datasets, ctx.profile, ctx.tokens(part), ctx.axes(), findings)
    groups = reader.groups()
    expected = ctx.first_shard[part + 1] - ctx.first_shard[part]
    findings.one(
        "REQ_SCHEMA", "row groups = shards of the part", groups == expected, f"{groups} row groups, {expected} shards"
    )
    for group in range(groups):
        findings.place = f"{ctx.scenario} part {part} shard {ctx.first_shard[part] + group}"
        shard = ShardScan(ctx, reader, tally, group, ctx.first_shard[part] + group)
        with suppress(ShardUnreadableError):
            shard.run()
        shard.rest()
        trim_memory(TRIM_ABOVE)
    findings.place = f"{ctx.scenario} part {part}"
    reader.close(ctx.journal, ctx.scenario, part)
    return tally
