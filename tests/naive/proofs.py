"""Twins of the proof of events against their flows."""

CARD_CREDIT = 5
REQUEST, RESPONSE, COMPLETE, CLEARING, REFUND, REVERSAL = 0, 1, 3, 4, 5, 6


def _holds(e, f, scale, end_us, out, j):
    flow = int(e.flow[j])
    if not 0 <= flow < len(f.ident) or f.ident[flow] != e.ident[j] or e.ts[j] >= end_us:
        return False
    keys = [tuple(int(c[k]) for c in (e.ts, e.ident, e.seq)) for k in (j - 1, j)]
    if j and keys[0] >= keys[1]:
        return False
    if e.seq[j] != out[flow][0] or float(e.amount[j]) != int(e.minor[j]) / float(scale[f.currency[flow]]):
        return False
    if out[flow][0] and e.ts[j] <= out[flow][3]:
        return False
    return e.kind[j] > COMPLETE or e.minor[j] == f.minor[flow]


def fold_proven(e, f, scale, end_us, out):
    """Row by row: first whether it holds, then what it adds to its flow."""
    for j in range(len(e.ts)):
        if not _holds(e, f, scale, end_us, out, j):
            return j
        row, kind, ts, minor = out[int(e.flow[j])], int(e.kind[j]), int(e.ts[j]), int(e.minor[j])
        if row[0] == 0:
            row[1], row[2] = kind, ts
        row[0] += 1
        row[3] = ts
        if kind == REQUEST:
            row[4] += 1
        if kind == RESPONSE:
            row[5] += 1
            if row[5] == 1:
                row[6] = e.code[j]
            row[7], row[8] = e.code[j], ts
        for at, (of, place) in enumerate(((CLEARING, 9), (REFUND, 10), (REVERSAL, 11))):
            if kind == of:
                row[place] = ts
                row[12 + at] += minor
    return -1


def check_folds(folds, f, out):
    """Every column of the flow that its events tell."""
    for i in range(len(f.ts)):
        row = [int(x) for x in folds[i]]
        credit = int(f.flow_type[i]) == CARD_CREDIT
        good = [
            row[0] > 0,
            row[1] == (REFUND if credit else REQUEST),
            row[2] == f.ts[i],
            f.ts[i] <= f.sent[i] <= f.response_ts[i],
            row[4] == f.attempts[i],
            credit or (row[6], row[7], row[8]) == (f.first[i], f.response[i], f.response_ts[i]),
            (row[9], row[10], row[11]) == (f.clear_ts[i], f.refund_ts[i], f.reversal_ts[i]),
            (row[12], -row[13], -row[14]) == (f.cleared[i], f.refunded[i], f.reversed[i]),
            credit or f.refunded[i] <= f.cleared[i],
            f.reversed[i] == 0 or (f.cleared[i], f.refunded[i]) == (0, 0),
        ]
        if not all(good):
            return i
        out[0] += 1
    return -1
