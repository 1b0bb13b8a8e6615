"""Twins of the kernels of cases, written from contracts/laws/s4.md."""

from naive.delays import sample_delay
from naive.streams import draw

D_MEMBER, D_CLOSE = 8, 9
L_CLOSE, L_ENTRY = 14, 15
CUSTOMER = 3


def group_cases(key_type, key_id, anchor, limits, out_case, out_rank, out_mark):
    """Members one after the other, each into the case of the one before or into a new one."""
    case = rank = -1
    for i in range(len(anchor)):
        same = i > 0 and key_type[i] == key_type[i - 1] and key_id[i] == key_id[i - 1]
        gap = int(anchor[i]) - int(anchor[i - 1]) if same else 0
        stays = same and gap <= limits.same_us and rank + 1 < limits.cap
        case, rank = (case, rank + 1) if stays else (case + 1, 0)
        out_case[i], out_rank[i] = case, rank
        out_mark[i] = same and not stays and gap > limits.reopen_us


def member_events(times, source, ordinal, delays, last_us, keys, evidence, out):
    """The ten places from left to right, each not before the one before it."""
    for i in range(len(ordinal)):
        t = [int(v) for v in times[i]]
        dispute, chargeback, represented, arbitrated, decision = t[2:7]
        joined, review, credit, recovery = t[11:15]
        u = draw(keys, D_MEMBER, int(ordinal[i]), evidence)
        entry = min(joined + sample_delay(u, delays, L_ENTRY), last_us)
        told = int(source[i]) == CUSTOMER and dispute != 0
        own = dispute != 0 and chargeback == 0 and review == 0
        places = [
            0 if told else entry,
            review,
            dispute,
            credit,
            decision if own else 0,
            chargeback,
            represented,
            arbitrated,
            decision if chargeback != 0 else 0,
            recovery,
        ]
        before = entry
        for k, instant in enumerate(places):
            if instant != 0:
                before = max(before, instant)
            out[i][k] = before if instant != 0 else 0


def close_cases(ordinal, last_event, delays, last_us, keys, evidence, out):
    """A delay after the last event, cut at the horizon."""
    for i in range(len(ordinal)):
        end = int(last_event[i])
        u = draw(keys, D_CLOSE, int(ordinal[i]), evidence)
        out[i] = max(end, min(end + sample_delay(u, delays, L_CLOSE), last_us))
