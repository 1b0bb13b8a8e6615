"""Twins of the kernels of campaigns, written from contracts/laws/s3.md."""

from naive.fmath import log
from naive.sampling import geometric, lognormal_truncated
from naive.streams import draw, split_remap

CHAIN_LENGTH, CHAIN_LEG, SELECT, EPISODE, REFUND, REPORT_INCIDENT, REPORT_FLOW = 2, 3, 4, 5, 9, 10, 11


def slots(streams, decision, ordinal, count):
    """All slots of a row, accounted."""
    counters = range(int(ordinal) * count, int(ordinal) * count + count)
    return [draw(streams.keys, decision, c, streams.evidence) for c in counters]


def campaign_select(rows, domain, weights, streams, campaign, score):
    """Every row draws; candidates keep their account's campaign and their score."""
    for i in range(len(rows.ts)):
        (u,) = slots(streams, SELECT, rows.ordinal[i], 1)
        a = int(rows.account[i]) - 1
        c = int(domain.campaign_of[a])
        campaign[i], score[i] = -1, 0.0
        if c < 0:
            continue
        bits = int(domain.account_bits[a]) & int(domain.channel_bits[int(rows.channel[i])])
        bits &= int(domain.kind_bits[int(rows.kind[i]) + 1]) & int(rows.fits[i])
        inside = int(domain.anchor_from[c]) <= int(rows.ts[i]) < int(domain.anchor_to[c])
        if inside and bits >> int(domain.type_of[c]) & 1:
            party, device = int(rows.party[i]) - 1, int(rows.device[i]) - 1
            campaign[i] = c
            score[i] = -log(u) / (float(weights.party[party]) * float(weights.device[device]))


def fill_quotas(groups, ordinal, episodes, streams, taken, out):
    """Group after group, as long as its campaign wants more."""
    n = 0
    for g in range(len(groups.campaign)):
        c, anchor = int(groups.campaign[g]), int(groups.anchor[g])
        left = int(episodes.quota[c]) - int(taken[c])
        if left <= 0:
            continue
        fresh = bool(episodes.fresh[c])
        incident = int(episodes.base[c]) + int(taken[c]) if fresh else int(ordinal[anchor])
        (u,) = slots(streams, EPISODE, incident, 1)
        length = min(geometric(u, float(episodes.p[c]), int(episodes.cap[c])), left)
        if not fresh:
            length = min(length, int(groups.members[g]))
        for k in range(length):
            row = -1 if fresh else int(groups.member_row[int(groups.member_at[g]) + k])
            out.campaign[n], out.incident[n], out.anchor[n], out.row[n] = c, incident, anchor, row
            out.ordinal[n] = incident + k if fresh else int(ordinal[row])
            out.rank[n], out.length[n] = k, length
            n += 1
        taken[c] += length
    return n


def insert_refunds(ordinal, response, cleared, clear_ts, law, streams, horizon, refunded, refund_ts):
    """Full or partial amounts; delays after the clearing or the answer."""
    full, partial_lo, partial_hi, median, sigma, lo, hi = (float(x) for x in law)
    for i in range(len(ordinal)):
        u, v, w = slots(streams, REFUND, ordinal[i], 3)
        most = int(cleared[i])
        part = max(1, round((partial_lo + v * (partial_hi - partial_lo)) * most))
        refunded[i] = most if u < full else part
        after = max(int(clear_ts[i]), int(response[i]))
        top = min(hi, float(horizon - 1 - after))
        delay = 1 if top <= lo else int(lognormal_truncated(w, median, sigma, lo, top))
        refund_ts[i] = after + delay


def mule_chains(campaign, quota, base, pools, chains, streams, legs):
    """Chain after chain until the legs stand."""
    victims, mules = ([int(a) for a in pool] for pool in pools)
    n, last = 0, int(chains.end) - 1
    while n < quota:
        first = int(base) + n
        u, v, w, x = slots(streams, CHAIN_LENGTH, first, 4)
        wanted = int(chains.legs_lo) + int(u * (int(chains.legs_hi) - int(chains.legs_lo) + 1))
        payer = victims[int(v * len(victims))]
        room = max(int(chains.end) - int(chains.start) - int(chains.legs_hi * chains.gap_hi), 1)
        ts = start = int(chains.start) + int(w * room)
        amount = lognormal_truncated(x, chains.median, chains.sigma, chains.lo, chains.hi)
        count = min(wanted, int(quota) - n)
        for k in range(count):
            gap, share, place = slots(streams, CHAIN_LEG, first + k, 3)
            if k > 0:
                step, top = chains.gap_lo, min(chains.gap_hi, float(last - ts))
                if top > chains.gap_lo:
                    step = lognormal_truncated(gap, chains.gap_median, chains.gap_sigma, chains.gap_lo, top)
                ts = min(ts + int(step), last)
                amount = amount * (chains.pass_lo + share * (chains.pass_hi - chains.pass_lo))
            i = int(place * len(mules))
            payee = mules[(i + 1) % len(mules)] if mules[i] == payer else mules[i]
            legs.campaign[n], legs.incident[n], legs.ordinal[n] = campaign, first, first + k
            legs.ts[n], legs.first_ts[n], legs.layer[n] = ts, start, k + 1
            legs.payer[n], legs.payee[n], legs.amount[n] = payer, 0 if k == count - 1 else payee, amount
            payer, n = payee, n + 1


def report_times(rows, laws, streams, out):
    """Awareness and filing of the incident; a filing delay of its own for later flows."""
    for i in range(len(rows.ts)):
        u, v, w, x = slots(streams, REPORT_INCIDENT, rows.incident[i], 4)
        (y,) = slots(streams, REPORT_FLOW, rows.ordinal[i], 1)
        t, ts, horizon = int(rows.type[i]), int(rows.ts[i]), int(laws.horizon)
        out.report[i] = out.heard[i] = out.renewed[i] = 0
        if u >= float(laws.probability[t]):
            continue
        prompt, rest = split_remap(v, float(laws.prompt_share[t]))
        median, sigma = (laws.prompt_median, laws.prompt_sigma) if prompt else (laws.slow_median, laws.slow_sigma)
        filing = (laws.filing_median, laws.filing_sigma, 0.0, laws.filing_cut)
        heard = int(rows.first_ts[i]) + int(lognormal_truncated(rest, median, sigma, 0.0, laws.cut))
        heard += int(lognormal_truncated(w, *filing))
        if heard >= horizon:
            continue
        own = ts + int(lognormal_truncated(y, *filing)) if ts > heard else heard
        reissue = [float(z) for z in laws.reissue[1 if rows.virtual[i] else 0]]
        out.heard[i], out.renewed[i] = heard, heard + int(lognormal_truncated(x, *reissue))
        out.report[i] = own if own < horizon else 0
