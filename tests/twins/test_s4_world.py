"""S4 of a whole run, recomputed in plain Python from published flows and events, world rows, policies and keys."""

import pytest

from naive.plan_s4 import DECISIONS, WORLD, Bank
from naive.weave_s4 import weave_s4
from twins.published import differences

DATASETS = (
    "s4_flow_truth_labels_6B",
    "s4_flow_bank_view_6B",
    "s4_event_labels_6B",
    "s4_label_history_6B",
    "s4_case_timeline_6B",
    "s4_case_flow_link_6B",
)


@pytest.fixture(scope="module")
def woven(published):
    """The twin's S4: what it was compiled to, and its tables, one dictionary per shard."""
    p = published
    world = {name: p.world_table(name) for name in WORLD}
    bank = Bank(world, p.manifest, p.docs, p.enums, p.seed, p.scenario)
    flows, events = p.groups("s3_flow_anchor_with_fraud_6B"), p.groups("s3_event_stream_with_fraud_6B")
    return bank, [weave_s4(bank, *shard) for shard in zip(flows, events, strict=True)]


def labels_of(woven, dataset, column):
    """Distinct values of a column over all shards."""
    return {value for tables in woven[1] for value in tables[dataset][column]}


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_value_is_that_of_the_law(published, woven, dataset):
    """Broken: a published value, null, row or order of S4 is not what law, policies and keys say."""
    groups = published.groups(dataset)
    assert len(groups) == published.manifest["shards"]
    for found, tables in zip(groups, woven[1], strict=True):
        assert not differences(found, tables[dataset])


def test_evidence_is_that_of_the_law(published, woven):
    """Broken: the trace log counts other draws than the law makes, or of other rows."""
    counted = dict(zip(DECISIONS, woven[0].evidence, strict=True))
    assert published.draws("6B.S4") == {name: made for name, made in counted.items() if made[0]}


def test_the_run_has_every_case(woven):
    """Broken: a rule of S4 never acts in the small run, so that nothing above would see a mistake in it."""
    view = "s4_flow_bank_view_6B"
    assert labels_of(woven, "s4_flow_truth_labels_6B", "fraud_class") == {
        *("NONE", "THIRD_PARTY", "AUTHORISED_SCAM", "FIRST_PARTY", "MERCHANT", "MULE"),
    }
    assert len(labels_of(woven, view, "bank_label")) == 5
    assert labels_of(woven, view, "report_source") >= {"AUTH_BLOCK", "ALERT", "CUSTOMER", "NETWORK", "ANALYST"}
    assert labels_of(woven, view, "label_status") >= {"FINAL", "BLOCKED_UNVERIFIED"}
    assert labels_of(woven, view, "chargeback_outcome") == {"NONE", "BANK_WIN", "BANK_LOSS", "PARTIAL"}
    assert len(labels_of(woven, "s4_case_timeline_6B", "case_event_type")) >= 11
    assert len(labels_of(woven, "s4_case_timeline_6B", "case_type")) == 4
    assert len(labels_of(woven, "s4_event_labels_6B", "truth_event_role")) == 3
