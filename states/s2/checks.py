"""What S2 proves, check by check: the table of contracts/laws/s2.md, section 9."""

from __future__ import annotations

from fraudloom.states.proofs import Check, Proofs

FLOWS, EVENTS = "FLOW_ANCHOR_SCHEMA_VIOLATION", "EVENT_STREAM_SCHEMA_VIOLATION"
PARITY, SEQUENCE = "FLOW_EVENT_MISMATCH", "EVENT_SEQUENCE_INVALID"
TIMES, AMOUNTS = "FLOW_EVENT_TEMPORAL_MISMATCH", "FLOW_EVENT_AMOUNT_MISMATCH"
ARRIVALS, SESSIONS = "ARRIVAL_LINKAGE_INVALID", "SESSION_LINKAGE_INVALID"
ENTITIES, ROUTES = "ENTITY_CONTEXT_INCONSISTENT", "ROUTING_CONTEXT_INCONSISTENT"
HORIZON, DRAWS = "EVENT_OUTSIDE_HORIZON", "RNG_EVENT_COUNT_MISMATCH"
MINOR = ("amount_minor", "cleared_minor", "refunded_minor", "reversed_minor")
LINK = ("flow_id", "session_id", "link_rank")

PROOFS = Proofs(
    "S2",
    Check(0, "a column of the flows is missing, or has another type or length", FLOWS, "the contract's column"),
    Check(0, "a column of the events is missing, or has another type or length", EVENTS, "the contract's column"),
    Check(0, "a flow_id is not its ordinal's", FLOWS, "encode_id of 8 x the first arrival's ordinal"),
    Check(0, "flows are not in (ts_utc, flow_id) order", FLOWS, "ascending, each once", ("ts_utc",)),
    Check(0, "events are not in (ts_utc, flow_id, event_seq) order", EVENTS, "ascending, each once", ("ts_utc",)),
    Check(1, "an event has no flow", PARITY, "a flow of the shard"),
    Check(1, "an event names another flow than its row", PARITY, "flow_id of its flow"),
    Check(1, "a flow has no event", PARITY, "at least one"),
    Check(
        2, "event_seq is not 0, 1, ... in its flow", SEQUENCE, "the number of the flow's events before", ("event_type",)
    ),
    Check(2, "a flow opens with another event", SEQUENCE, "AUTH_REQUEST; REFUND for a credit", ("flow_type",)),
    Check(2, "attempts are not the requests made", SEQUENCE, "the number of AUTH_REQUEST events", ("attempts",)),
    Check(2, "a flow has not one answer", SEQUENCE, "one AUTH_RESPONSE in a pack without settlement"),
    Check(3, "times do not rise with event_seq", TIMES, "a later instant than the flow's event before", ("ts_utc",)),
    Check(3, "the first event is not at the flow's time", TIMES, "ts_utc of the flow", ("ts_utc",)),
    Check(3, "an anchor is not the time of the last such event", TIMES, "the event's ts_utc, null without one"),
    Check(3, "the request is sent outside its flow's times", TIMES, "ts_utc <= auth_sent_utc <= response_ts_utc"),
    Check(3, "a response code is not its answer's", TIMES, "that of the first and of the last AUTH_RESPONSE"),
    Check(4, "an amount is not positive", AMOUNTS, "amount_minor of at least 1", MINOR),
    Check(
        4,
        "amount is not amount_minor in major units",
        AMOUNTS,
        "amount_minor / 10^decimals",
        ("amount", "amount_minor"),
    ),
    Check(
        4,
        "an event's amount is not its amount_minor in major units",
        AMOUNTS,
        "amount_minor / 10^decimals",
        ("amount", "amount_minor"),
    ),
    Check(
        4,
        "amount_ref_minor is not the amount in reference currency",
        AMOUNTS,
        "amount_minor at the sealed rate, at least 1",
        ("amount_minor", "amount_ref_minor", "currency"),
    ),
    Check(4, "an anchor is not the sum of its events", AMOUNTS, "the sum over the flow's events of the kind", MINOR),
    Check(4, "an authorisation event has another amount than its flow", AMOUNTS, "amount_minor of the flow"),
    Check(4, "more is refunded than cleared", AMOUNTS, "refunded_minor <= cleared_minor, but on credits", MINOR),
    Check(4, "a reversed flow is cleared or refunded", AMOUNTS, "nothing beside the reversal", MINOR),
    Check(4, "a settlement is there in a pack without settlement", AMOUNTS, "null", MINOR),
    Check(5, "links are not aligned with arrivals", ARRIVALS, "a row per arrival, in the order of S1", LINK),
    Check(5, "flows and first arrivals differ in number", ARRIVALS, "a link of rank 0 per flow"),
    Check(5, "a first arrival belongs to another flow", ARRIVALS, "flow_id of the flow that it opens", LINK),
    Check(5, "a column is not the first arrival's", ARRIVALS, "the value in s1_arrival_entities_6B"),
    Check(5, "arrival_count is not the number of members", ARRIVALS, "the links of the flow", ("arrival_count",)),
    Check(5, "an arrival belongs to no flow", ARRIVALS, "a flow of several arrivals", LINK),
    Check(5, "an arrival is not at its flow's merchant", ARRIVALS, "merchant_id of the flow", LINK),
    Check(5, "link_rank is not 0, 1, ... in its flow", ARRIVALS, "the number of the flow's arrivals before", LINK),
    Check(5, "a link names another session than its arrival", SESSIONS, "session_id of the arrival", LINK),
    Check(5, "a flow is in another session than its arrivals", SESSIONS, "session_id of the arrivals", ("session_id",)),
    Check(5, "a flow's session is not in the index", SESSIONS, "a row of s1_session_index_6B", ("session_id",)),
    Check(6, "an entity is not the first arrival's", ENTITIES, "the value in s1_arrival_entities_6B"),
    Check(6, "a routing column does not follow from the flow's ids", ROUTES, "the value in the world's tables"),
    Check(7, "a flow begins outside the horizon", HORIZON, "an instant of the world's horizon", ("ts_utc",)),
    Check(7, "an event lies beyond the settlement horizon", HORIZON, "an instant before it", ("ts_utc",)),
    Check(8, "draws made are not the draws due", DRAWS, "slots of the decision x rows of its domain"),
    keys=(("event_seq", "flow_id"), ("flow_id",)),
)
