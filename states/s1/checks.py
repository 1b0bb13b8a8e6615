"""What S1 proves, check by check: the table of contracts/laws/s1.md, section Proofs."""

from __future__ import annotations

from fraudloom.states.proofs import Check, Proofs

COVERAGE, REFERENCE, LINKS = "ARRIVAL_COVERAGE_MISMATCH", "ENTITY_REFERENCE_INVALID", "ENTITY_ATTACHMENT_INCONSISTENT"
AXIS, IDS, INDEX, DRAWS = (
    "SESSION_AXIS_MISMATCH",
    "SESSION_ID_MISMATCH",
    "SESSION_AGGREGATE_MISMATCH",
    "RNG_EVENT_COUNT_MISMATCH",
)
HELD = ("party_id", "account_id", "instrument_id", "channel_group")
USED = ("party_id", "merchant_id", "device_id", "ip_id", "terminal_id")

PROOFS = Proofs(
    "S1",
    Check(0, "a column is missing, or has another type or length", "OUTPUT_SCHEMA_VIOLATION", "the contract's column"),
    Check(1, "a unit of the scatter attached fewer or more arrivals than it read", COVERAGE, "one row per arrival"),
    Check(1, "arrivals were lost or added on the way to their shard", COVERAGE, "as many as were scattered to it"),
    Check(
        1,
        "an arrival occurs twice or out of order",
        COVERAGE,
        "(ts_utc, merchant_id, arrival_seq) ascending",
        ("ts_utc", "merchant_id", "arrival_seq"),
    ),
    Check(2, "an upstream column was changed on the way to the shard", COVERAGE, "the checksum of the rows as read"),
    Check(
        3, "an id is not one of the world's", REFERENCE, "ids from 1 (0 for none, where allowed) to the world's last"
    ),
    Check(4, "the account is not the party's", LINKS, "owner_party_id of the account", HELD),
    Check(4, "the instrument is not of the account", LINKS, "account_id of the instrument", HELD),
    Check(4, "the instrument is not held by the party", LINKS, "owner_party_id of the instrument", HELD),
    Check(4, "the instrument is a spare or a successor", LINKS, "an ACTIVE instrument, but on pinned rows", HELD),
    Check(
        4, "the instrument is not in use at the instant", LINKS, "valid_from <= ts_utc < valid_to", (*HELD, "ts_utc")
    ),
    Check(4, "the party does not use the device", LINKS, "a party link of s4_device_links_6A", USED),
    Check(4, "the device is not in use at the instant", LINKS, "valid_from <= ts_utc < valid_to", (*USED, "ts_utc")),
    Check(4, "the device does not use the address", LINKS, "a row of s4_ip_links_6A", USED),
    Check(
        4,
        "a wallet token is not paid with its phone",
        LINKS,
        "the holder's device whose link names a token, but at terminals and on pinned rows",
        ("instrument_id", *USED),
    ),
    Check(4, "the terminal is not the merchant's", LINKS, "merchant_id of the terminal", USED),
    Check(4, "the device is not the terminal's", LINKS, "device_id of the terminal", USED),
    Check(4, "the address is not the terminal's", LINKS, "ip_id of the terminal", USED),
    Check(4, "a terminal is used off tills and cash machines", LINKS, "POS or ATM", ("terminal_id", "channel_group")),
    Check(5, "instrument_kind differs from 6A", LINKS, "kind of the instrument", ("instrument_id", "instrument_kind")),
    Check(5, "ledger_class differs from 6A", LINKS, "ledger of the account", ("account_id", "ledger_class")),
    Check(5, "ip_group differs from 6A", LINKS, "group of the address", ("ip_id", "ip_group")),
    Check(
        5,
        "a pinned row is not on its own card",
        LINKS,
        "instrument_id = pinned_instrument_id",
        ("instrument_id", "pinned_instrument_id"),
    ),
    Check(
        5,
        "attach_rule_id does not fit the arrival",
        LINKS,
        "PINNED with a pinned card and only then; SERIES_* with a series_key and only then; TRIP_VISITOR on trips",
        ("attach_rule_id", "pinned_instrument_id", "series_key", "trip"),
    ),
    Check(
        5,
        "attach_score is not that of its rule",
        LINKS,
        "p_regular for regulars; 1 or 1 - p_regular for pools; else 1",
        ("attach_rule_id", "attach_score"),
    ),
    Check(5, "attach_rng_family is not the attachment's", LINKS, "rng_event_entity_attach", ("attach_rng_family",)),
    Check(6, "the channel requires an instrument", LINKS, "an instrument, where requiredness is REQUIRED", HELD),
    Check(
        6, "the channel does not take such an instrument", LINKS, "a kind of eligible_kinds, but on pinned rows", HELD
    ),
    Check(7, "an arrival has no session", IDS, "a row of the session index", ("session_id",)),
    Check(7, "an arrival names another session", IDS, "session_id of its row of the index", ("session_id",)),
    Check(8, "arrival_count is not the number of members", INDEX, "the members' number", ("arrival_count",)),
    Check(8, "a column of the index does not recompute from the members", INDEX, "the value that the members give"),
    Check(8, "a session mixes keys", INDEX, "one party, and one instrument or device", HELD + USED[2:3]),
    Check(8, "a session is longer than its policy lets it be", INDEX, "the limits of sessionisation_policy_6B"),
    Check(8, "session_id is not its first arrival's", IDS, "encode_id of 8 x the first arrival's ordinal"),
    Check(8, "sessions are out of order or occur twice", IDS, "(session_start_utc, session_id) ascending"),
    Check(9, "a session has no arrival", INDEX, "at least one member", ("arrival_count",)),
    Check(10, "an arrival is of another shard", AXIS, "the shard of the party's household", ("party_id",)),
    Check(11, "draws made are not the draws due", DRAWS, "slots of the decision x rows of its domain"),
    keys=(("session_start_utc", "session_id"), ("merchant_id", "arrival_seq")),
)
