"""Every figure moves when what it measures is changed in the published rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from figures.bench import Change, Figured
from fraudloom.contracts_api import load_contracts
from fraudloom.states.figures import Outcome, figure_names
from fraudloom.tables import Columns

pytestmark = pytest.mark.xdist_group("figures")

ARRIVALS, SESSIONS, LINKS = "s1_arrival_entities_6B", "s1_session_index_6B", "s2_arrival_flow_link_6B"
FLOWS, EVENTS, BANK = "s2_flow_anchor_baseline_6B", "s2_event_stream_baseline_6B", "s4_flow_bank_view_6B"
CODE = load_contracts().code
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
RAIL = CODE("channel_group", "BANK_RAIL")


def rows_of(c: Columns) -> Any:
    """0, 1, 2, ... for each row."""
    return np.arange(len(next(iter(c.values()))))


def put(**values: Any) -> Change:
    """Set columns; a function is called with the rows."""

    def change(c: Columns) -> None:
        new = {k: v(c) if callable(v) else v for k, v in values.items()}
        for name, value in new.items():
            c[name][:] = value

    return change


def where(rows: Callable[[Columns], Any], **values: Any) -> Change:
    """Set columns in some rows."""

    def change(c: Columns) -> None:
        at = rows(c)
        new = {k: v(c) if callable(v) else v for k, v in values.items()}
        for name, value in new.items():
            c[name][at] = value[at] if isinstance(value, np.ndarray) else value

    return change


def more(column: str, amount: Any) -> Callable[[Columns], Any]:
    """A column and something more."""
    return lambda c: c[column] + (amount(c) if callable(amount) else amount)


def settled(c: Columns) -> Any:
    """Flows that clear."""
    return c["clear_ts_utc"] > 0


def rails(c: Columns) -> Any:
    """Transfers."""
    return c["channel_group"] == RAIL


def events(kind: str) -> Callable[[Columns], Any]:
    """Events of a type."""
    return lambda c: c["event_type"] == CODE("event_type", kind)


def names(prefix: str, *but: str) -> set[str]:
    """Figures whose names begin so."""
    return {n for n in figure_names() if n.startswith(prefix)} - set(but)


#: A change of the published rows, and the figures that must see it.
BREAKS: list[tuple[dict[str, Change], set[str]]] = [
    ({ARRIVALS: put(party_id=lambda c: c["party_id"] % 40 + 1)}, names("parties.")),
    ({ARRIVALS: put(merchant_id=rows_of)}, {"merchants.top3", "merchants.top3_pooled"}),
    ({ARRIVALS: put(attach_rule_id=CODE("attach_rule", "VISIT_POOL"))}, {"merchants.regulars"}),
    ({ARRIVALS: put(device_id=lambda c: rows_of(c) % 300 + 1)}, names("devices.") | {"sharing.devices"}),
    ({ARRIVALS: put(ip_id=lambda c: rows_of(c) % 300 + 1)}, {"sharing.residential"}),
    ({ARRIVALS: put(instrument_id=lambda c: c["account_id"])}, {"sharing.accounts"}),
    ({ARRIVALS: put(channel_group=lambda c: rows_of(c) % 5)}, names("channels.")),
    ({ARRIVALS: put(city_id=1)}, names("borders.")),
    ({ARRIVALS: put(ts_local_primary=more("ts_local_primary", 12 * HOUR))}, {"clock.night"}),
    ({ARRIVALS: put(city_id=lambda c: rows_of(c) % 9 + 1)}, names("speed.")),
    ({SESSIONS: put(arrival_count=1)}, {"sessions.single"}),
    ({FLOWS: put(session_id=lambda c: rows_of(c) // 4)}, {"sessions.multi_flow"}),
    ({ARRIVALS: put(session_id=lambda c: c["party_id"])}, {"sessions.mixed", "sessions.late_joins", "sessions.ramp"}),
    ({ARRIVALS: put(session_id=rows_of)}, {"sessions.early_breaks", "sessions.ramp"}),
    ({ARRIVALS: put(merchant_id=more("merchant_id", 1))}, {"flows.joined_wrongly"}),
    ({FLOWS: put(ts_utc=more("ts_utc", -HOUR))}, {"flows.joined_wrongly"}),
    ({LINKS: put(flow_id=more("flow_id", 1))}, {"flows.joined_wrongly"}),
    ({FLOWS: put(auth_decision=CODE("auth_decision", "DECLINE"))}, names("declines.")),
    ({FLOWS: put(first_response_code=lambda c: rows_of(c) % 20)}, names("codes.")),
    (
        {
            FLOWS: put(
                response_code=lambda c: rows_of(c) % 20, auth_decision=CODE("auth_decision", "DECLINE"), attempts=2
            )
        },
        names("last_codes."),
    ),
    (
        {FLOWS: put(attempts=1, branch_trace=lambda c: c["branch_trace"] & ~16)},
        names("retries.", "retries.never", "retries.outage_late", "retries.funds_late"),
    ),
    ({FLOWS: put(attempts=2)}, {"retries.never"}),
    (
        {EVENTS: where(lambda c: c["attempt"] == 2, ts_utc=more("ts_utc", HOUR))},
        {"retries.outage_late", "retries.funds_late"},
    ),
    ({FLOWS: put(response_code=CODE("response_code", "59"))}, {"genuine.suspected", "genuine.suspected_or_blocked"}),
    ({FLOWS: put(response_code=CODE("response_code", "62"))}, {"genuine.suspected_or_blocked"}),
    ({FLOWS: put(alerted=True)}, {"genuine.alerted"}),
    ({FLOWS: put(issuer_latency_ms=lambda c: c["issuer_latency_ms"] * 40)}, names("latency.")),
    (
        {FLOWS: where(lambda c: c["ts_utc"] % (40 * DAY) < 20 * DAY, branch_trace=lambda c: c["branch_trace"] | 32)},
        names("stand_in.") | names("outages."),
    ),
    ({FLOWS: put(step_up_result=CODE("step_up_result", "ABANDONED"))}, names("step_up.", "step_up.soft_astray")),
    (
        {FLOWS: put(auth_sent_utc=lambda c: c["ts_utc"] + (5 + rows_of(c) % 900) * SECOND)},
        {"step_up.median_s", "step_up.sigma"},
    ),
    (
        {EVENTS: where(events("STEP_UP_COMPLETE"), event_type=CODE("event_type", "STEP_UP_CHALLENGE"))},
        {"step_up.soft_astray"},
    ),
    ({FLOWS: put(branch_trace=lambda c: c["branch_trace"] | 8)}, {"step_up.soft_astray"}),
    (
        {EVENTS: where(events("AUTH_RESPONSE"), ts_utc=more("ts_utc", 100 * SECOND))},
        names("end_to_end."),
    ),
    ({EVENTS: put(ts_utc=more("ts_utc", 400 * DAY))}, {"horizon.events_late"}),
    ({FLOWS: put(amount_ref_minor=lambda c: c["amount_ref_minor"] ** 2)}, names("amounts.")),
    ({FLOWS: put(amount_minor=2500)}, {"prices.top8_least", "prices.top8_most", *names("endings.")}),
    ({FLOWS: put(amount_minor=2499)}, names("endings.", "endings.ECOM") | {"cash.in_coins"}),
    ({FLOWS: put(amount_minor=2451)}, names("endings.")),
    ({FLOWS: put(currency=lambda c: rows_of(c) % 26)}, {"prices.decimals", "prices.top8_least", "prices.top8_most"}),
    ({FLOWS: put(amount_minor=more("amount_minor", rows_of))}, {"prices.series_changes"}),
    ({FLOWS: where(rails, purpose=CODE("payment_purpose", "RENT"))}, {"rails.purposes"}),
    (
        {FLOWS: where(settled, clear_ts_utc=more("clear_ts_utc", 6 * DAY))},
        names("clearing.T") | {"clearing.off_batch", "clearing.on_holidays"},
    ),
    (
        {FLOWS: where(settled, clear_ts_utc=more("clear_ts_utc", lambda c: rows_of(c) % 20 * -HOUR))},
        {"clearing.batch_h"},
    ),
    ({FLOWS: put(branch_trace=lambda c: c["branch_trace"] | 1024 | 2048)}, {"clearing.partial", "clearing.late"}),
    ({FLOWS: put(cleared_minor=lambda c: c["amount_minor"] * 2)}, {"clearing.tips", "clearing.fuel", "refunds.full"}),
    ({FLOWS: put(cleared_minor=lambda c: c["amount_minor"] // 2)}, {"clearing.tips", "clearing.fuel"}),
    ({FLOWS: where(lambda c: rows_of(c) % 5 == 0, clear_ts_utc=0)}, {"clearing.missing"}),
    (
        {FLOWS: put(reversal_ts_utc=more("response_ts_utc", 9 * DAY))},
        {"reversals.share", "reversals.after_clearing"},
    ),
    ({FLOWS: put(refund_ts_utc=0)}, {"refunds.share", "refunds.share_BUSINESS"}),
    ({FLOWS: put(flow_type=CODE("flow_type", "CARD_CREDIT"))}, {"refunds.credits", "refunds.share"}),
    ({FLOWS: put(refunded_minor=lambda c: c["cleared_minor"] + 1)}, {"refunds.full", "refunds.above_cleared"}),
    ({FLOWS: put(refund_ts_utc=more("clear_ts_utc", 99 * DAY))}, {"refunds.p50_days", "refunds.p95_days"}),
    *(
        ({FLOWS: put(**{c: more(c, 400 * DAY)})}, {"horizon.settled_late"})
        for c in ("clear_ts_utc", "refund_ts_utc", "reversal_ts_utc")
    ),
    *(
        ({FLOWS: where(rails, **{c: null})}, {"rails.incomplete"})
        for c, null in (
            ("payee_account_id", 0),
            ("payee_bank_id", 0),
            ("payee_country", -1),
            ("purpose", 0),
            ("confirmation_of_payee", 0),
            ("payment_state", 0),
        )
    ),
    (
        {FLOWS: put(payment_state=CODE("payment_state", "ACCEPTED"))},
        {"rails.states", "rails.accepted", "rails.payees_elsewhere"},
    ),
    (
        {FLOWS: put(is_new_payee=True)},
        {"rails.payees_elsewhere", "rails.new_payee", "rails.new_again", "rails.new_but_listed"},
    ),
    ({FLOWS: where(rails, confirmation_of_payee=1)}, {"rails.name_checks"}),
    ({FLOWS: where(rails, payee_account_id=more("flow_id", 0))}, {"rails.paid_before", "rails.unlisted"}),
    ({BANK: put(chargeback_type=1)}, {"rails.chargebacks"}),
]


@pytest.mark.parametrize("place", range(len(BREAKS)))
def test_figures_move(whole: Figured, sound: dict[str, Outcome], monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """A figure that stays where it was does not measure what it says; a violation that stays inside is none."""
    changes, wanted = BREAKS[place]
    assert wanted
    found = whole.changed(monkeypatch, changes)
    stayed = {n for n in wanted if found[n].value == sound[n].value}
    assert not stayed, {n: (sound[n].value, found[n].value) for n in stayed}
    for name in wanted:
        if sound[name].low == sound[name].high:
            assert {sound[name].status, found[name].status} == {"inside", "outside"}, name


def test_every_figure_is_moved() -> None:
    """A figure that no change above touches could measure nothing at all."""
    assert set().union(*(wanted for _, wanted in BREAKS)) == set(figure_names())


def test_sound_run_keeps_its_structure(sound: dict[str, Outcome]) -> None:
    """A violation is found where there is none, or a figure has no value on a run that has everything."""
    # A world of a few thousand arrivals has the currencies of a few countries.
    assert [n for n, o in sound.items() if o.low == o.high and o.status != "inside"] == ["prices.decimals"]
    assert {n for n, o in sound.items() if o.value is None} == set()
