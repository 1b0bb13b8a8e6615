"""Cases: grouping across flows, the events of each member in their legal order, closing.

Law: contracts/laws/s4.md.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.delays import sample_delay
from fraudloom.kernels.jit import kernel
from fraudloom.kernels.signals import (
    D_CLOSE,
    D_MEMBER,
    L_ATTACH,
    L_CLOSE,
    SOURCE_CUSTOMER,
    T_ARBITRATION,
    T_CHARGEBACK,
    T_CREDIT,
    T_DECISION,
    T_DISPUTE,
    T_JOIN,
    T_RECOVERY,
    T_REPRESENTMENT,
    T_REVIEW,
)
from fraudloom.kernels.streams import draw

#: Places of a member's events, in the order in which they may stand.
E_DETECTION, E_REVIEW, E_DISPUTE, E_CREDIT, E_OWN, E_CHARGEBACK, E_REPRESENTMENT, E_ARBITRATION = range(8)
E_DECISION, E_RECOVERY = 8, 9
E_WIDTH = 10


class CaseLimits(NamedTuple):
    """int64 each. same_us: a gap this long keeps a case; reopen_us: a longer one marks the new case; cap: flows."""

    same_us: int
    reopen_us: int
    cap: int


@kernel
def group_cases(key_type, key_id, anchor, limits, out_case, out_rank, out_mark):
    """Cut members, sorted by (key_type, key_id, anchor, ordinal), into cases.

    key_type int8[n]; key_id, anchor int64[n]; limits CaseLimits. out_case int64[n]: 0-based case, ascending;
    out_rank int16[n]: 0-based place in the case; out_mark bool[n]: first of a case that reopens its key's matter.
    """
    case = np.int64(-1)
    rank = 0
    for i in range(key_id.shape[0]):
        same = i > 0 and key_type[i] == key_type[i - 1] and key_id[i] == key_id[i - 1]
        gap = anchor[i] - anchor[i - 1] if same else np.int64(0)
        out_mark[i] = False
        if same and gap <= limits.same_us and rank + 1 < limits.cap:
            rank += 1
        else:
            out_mark[i] = same and gap > limits.reopen_us
            case += 1
            rank = 0
        out_case[i] = case
        out_rank[i] = rank


@kernel
def member_events(times, source, ordinal, delays, last_us, keys, evidence, out):
    """Instants of each member's events.

    times int64[n, T_WIDTH] and source int8[n] of the members (the bank's working arrays); ordinal int64[n]: flow
    ordinals; delays float64[2 laws, 6]; last_us int64; keys uint64[decisions], evidence uint64[decisions, 2]. out
    int64[n, E_WIDTH]: 0 where there is no event, else never decreasing from left to right. One draw per member: how
    long after the signal the first event is entered.
    """
    for i in range(ordinal.shape[0]):
        u = draw(keys, D_MEMBER, ordinal[i], evidence)
        join = times[i, T_JOIN]
        entry = min(join + sample_delay(u, delays, L_ATTACH), last_us)
        dispute = times[i, T_DISPUTE]
        chargeback = times[i, T_CHARGEBACK]
        decision = times[i, T_DECISION]
        for k in range(E_WIDTH):
            out[i, k] = 0
        if not (source[i] == SOURCE_CUSTOMER and dispute != 0):
            out[i, E_DETECTION] = entry
        out[i, E_REVIEW] = times[i, T_REVIEW]
        out[i, E_DISPUTE] = dispute
        out[i, E_CREDIT] = times[i, T_CREDIT]
        if dispute != 0 and chargeback == 0 and times[i, T_REVIEW] == 0:
            out[i, E_OWN] = decision
        out[i, E_CHARGEBACK] = chargeback
        out[i, E_REPRESENTMENT] = times[i, T_REPRESENTMENT]
        out[i, E_ARBITRATION] = times[i, T_ARBITRATION]
        if chargeback != 0:
            out[i, E_DECISION] = decision
        out[i, E_RECOVERY] = times[i, T_RECOVERY]
        before = entry
        for k in range(E_WIDTH):
            if out[i, k] != 0:
                before = max(before, out[i, k])
                out[i, k] = before


@kernel
def close_cases(ordinal, last_event, delays, last_us, keys, evidence, out):
    """out[c]: instant at which case c closes, last_event[c] + delay, not behind the horizon nor before last_event[c].

    ordinal int64[c]: flow ordinal of the first member; last_event int64[c]; delays float64[2 laws, 6]; last_us int64;
    keys uint64[decisions], evidence uint64[decisions, 2]: one draw per case.
    """
    for c in range(ordinal.shape[0]):
        u = draw(keys, D_CLOSE, ordinal[c], evidence)
        out[c] = max(last_event[c], min(last_event[c] + sample_delay(u, delays, L_CLOSE), last_us))
