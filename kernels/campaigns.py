"""Campaigns on a shard: who is picked, how long episodes are, and the chains that the plan scripts.

Law: contracts/laws/s3.md, sections 4 to 6. Rows of decisions in `keys`, `slots` and evidence follow
fraud_rng_policy_6B.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.amounts import half_even
from fraudloom.kernels.census import ONE, domain_bits
from fraudloom.kernels.fmath import log
from fraudloom.kernels.jit import kernel
from fraudloom.kernels.sampling import geometric, lognormal_truncated
from fraudloom.kernels.streams import draw, split_remap

ACTIVATE, SCHEDULE, CHAIN_LENGTH, CHAIN_LEG, SELECT, EPISODE = 0, 1, 2, 3, 4, 5
PARAM, ROUTING, SWAP, REFUND, REPORT_INCIDENT, REPORT_FLOW = 6, 7, 8, 9, 10, 11
CHAIN_LENGTH_SLOTS, CHAIN_LEG_SLOTS, REPORT_SLOTS = 4, 3, 4
REFUND_SLOTS = 3


class Streams(NamedTuple):
    """keys: uint64[decisions]; evidence: uint64[decisions, 2] (draws, checksum)."""

    keys: np.ndarray
    evidence: np.ndarray


class Candidates(NamedTuple):
    """Baseline flows of a shard: ts int64[n]; ordinal int64[n]; account, party, device int64[n] ids; channel, kind
    int8[n]; fits int32[n], bit set of the types that the flow's own outcome allows."""

    ts: np.ndarray
    ordinal: np.ndarray
    account: np.ndarray
    party: np.ndarray
    device: np.ndarray
    channel: np.ndarray
    kind: np.ndarray
    fits: np.ndarray


class Weights(NamedTuple):
    """party: float64[parties]; device: float64[devices]: factors of the selection weight."""

    party: np.ndarray
    device: np.ndarray


class Chains(NamedTuple):
    """Numbers of mule chains. median, sigma, lo, hi of the first amount (reference minor units); pass_lo, pass_hi;
    gap_* in microseconds; legs_lo, legs_hi; start, end: first and last instant (exclusive) of the horizon."""

    median: float
    sigma: float
    lo: float
    hi: float
    pass_lo: float
    pass_hi: float
    gap_median: float
    gap_sigma: float
    gap_lo: float
    gap_hi: float
    legs_lo: int
    legs_hi: int
    start: int
    end: int


class Legs(NamedTuple):
    """Legs of chains: campaign int32; incident, ordinal, ts, first_ts int64; layer int8 (1..); payer, payee int64
    account ids (payee 0: to be drawn outside); amount float64, reference minor units."""

    campaign: np.ndarray
    incident: np.ndarray
    ordinal: np.ndarray
    ts: np.ndarray
    first_ts: np.ndarray
    layer: np.ndarray
    payer: np.ndarray
    payee: np.ndarray
    amount: np.ndarray


@kernel
def campaign_select(rows, domain, weights, streams, campaign, score):
    """Race of the flows: which campaign a flow could start or join, and its exponential score.

    rows: Candidates; domain: census.Domain; weights: Weights; streams: Streams; campaign: int32[n], -1 where none;
    score: float64[n], -log(u) / (party weight * device weight), 0 where none. Every row draws once.
    """
    for i in range(rows.ts.shape[0]):
        u = draw(streams.keys, SELECT, rows.ordinal[i], streams.evidence)
        campaign[i] = -1
        score[i] = 0.0
        c = domain.campaign_of[rows.account[i] - 1]
        if c < 0 or rows.ts[i] < domain.anchor_from[c] or rows.ts[i] >= domain.anchor_to[c]:
            continue
        bits = domain_bits(domain, rows.account[i], rows.channel[i], rows.kind[i]) & rows.fits[i]
        if (bits >> domain.type_of[c]) & ONE:
            campaign[i] = c
            score[i] = -log(u) / (weights.party[rows.party[i] - 1] * weights.device[rows.device[i] - 1])


class Groups(NamedTuple):
    """Candidates grouped by account, groups in the order in which they are taken.

    campaign: int32[g]; anchor: int64[g], row of the group's smallest score; member_at, members: int64[g], the window of
    `member_row` that holds the group's rows from the anchor on, in (ts, ordinal) order; member_row: int64[m].
    """

    campaign: np.ndarray
    anchor: np.ndarray
    member_at: np.ndarray
    members: np.ndarray
    member_row: np.ndarray


class Episodes(NamedTuple):
    """By campaign: quota int64 (of this shard), base int64 (ordinal of its next new flow), fresh bool (its flows are
    new), p float64 and cap int64 of the geometric law."""

    quota: np.ndarray
    base: np.ndarray
    fresh: np.ndarray
    p: np.ndarray
    cap: np.ndarray


class Tagged(NamedTuple):
    """Tagged flows: campaign int32; incident, ordinal, anchor (row of the episode's anchor), row (baseline row or -1)
    int64; rank, length int16."""

    campaign: np.ndarray
    incident: np.ndarray
    ordinal: np.ndarray
    anchor: np.ndarray
    row: np.ndarray
    rank: np.ndarray
    length: np.ndarray


@kernel
def fill_quotas(groups, ordinal, episodes, streams, taken, out):
    """Take groups until each campaign's quota is met; the last episode is cut. Returns the number of tagged flows.

    groups: Groups, those of a campaign side by side; ordinal: int64[flows], of baseline flows; episodes: Episodes;
    streams: Streams; taken: int64[campaigns], zero on entry, tagged flows on exit; out: Tagged.
    """
    n = 0
    for g in range(groups.campaign.shape[0]):
        c = groups.campaign[g]
        left = episodes.quota[c] - taken[c]
        if left <= 0:
            continue
        anchor = groups.anchor[g]
        incident = episodes.base[c] + taken[c] if episodes.fresh[c] else ordinal[anchor]
        u = draw(streams.keys, EPISODE, incident, streams.evidence)
        length = min(geometric(u, episodes.p[c], episodes.cap[c]), left)
        if not episodes.fresh[c]:
            length = min(length, groups.members[g])
        for k in range(length):
            row = np.int64(-1)
            if not episodes.fresh[c]:
                row = groups.member_row[groups.member_at[g] + k]
            out.campaign[n] = c
            out.incident[n] = incident
            out.ordinal[n] = incident + k if row < 0 else ordinal[row]
            out.anchor[n] = anchor
            out.row[n] = row
            out.rank[n] = k
            out.length[n] = length
            n += 1
        taken[c] += length
    return n


@kernel
def mule_chains(campaign, quota, base, pools, chains, streams, legs):
    """Script the chains of one campaign: `quota` legs, the last chain cut.

    campaign: int32; quota, base: int64; pools: (victims int64[v], mules int64[m]) account ids; chains: Chains; streams:
    Streams; legs: Legs of quota rows. A chain's first leg goes from a victim to a mule, each later one from the last
    payee; the payee of the last leg is 0. Needs v >= 1 and m >= 1 when quota > 0.
    """
    victims, mules = pools
    n = np.int64(0)
    while n < quota:
        first = base + n
        at = first * CHAIN_LENGTH_SLOTS
        u = draw(streams.keys, CHAIN_LENGTH, at, streams.evidence)
        length = chains.legs_lo + np.int64(u * (chains.legs_hi - chains.legs_lo + 1))
        u = draw(streams.keys, CHAIN_LENGTH, at + 1, streams.evidence)
        payer = victims[np.int64(u * victims.shape[0])]
        # Room for all gaps at their longest keeps the start's law free of the ends of the horizon.
        room = max(chains.end - chains.start - np.int64(chains.legs_hi * chains.gap_hi), np.int64(1))
        u = draw(streams.keys, CHAIN_LENGTH, at + 2, streams.evidence)
        ts = chains.start + np.int64(u * room)
        u = draw(streams.keys, CHAIN_LENGTH, at + 3, streams.evidence)
        amount = lognormal_truncated(u, chains.median, chains.sigma, chains.lo, chains.hi)
        first_ts = ts
        for k in range(min(length, quota - n)):
            here = (first + k) * CHAIN_LEG_SLOTS
            u = draw(streams.keys, CHAIN_LEG, here, streams.evidence)
            v = draw(streams.keys, CHAIN_LEG, here + 1, streams.evidence)
            w = draw(streams.keys, CHAIN_LEG, here + 2, streams.evidence)
            if k > 0:
                hi = min(chains.gap_hi, np.float64(chains.end - 1 - ts))
                gap = chains.gap_lo
                if hi > chains.gap_lo:
                    gap = lognormal_truncated(u, chains.gap_median, chains.gap_sigma, chains.gap_lo, hi)
                ts = min(ts + np.int64(gap), chains.end - 1)
                amount = amount * (chains.pass_lo + v * (chains.pass_hi - chains.pass_lo))
            i = np.int64(w * mules.shape[0])
            payee = mules[i]
            if payee == payer:
                payee = mules[(i + 1) % mules.shape[0]]
            if k == length - 1 or n == quota - 1:
                payee = np.int64(0)
            legs.campaign[n] = campaign
            legs.incident[n] = first
            legs.ordinal[n] = first + k
            legs.ts[n] = ts
            legs.first_ts[n] = first_ts
            legs.layer[n] = k + 1
            legs.payer[n] = payer
            legs.payee[n] = payee
            legs.amount[n] = amount
            payer = payee
            n += 1


class ReportRows(NamedTuple):
    """Tagged flows: type int8; first_ts (of the incident's first flow), ts, incident, ordinal int64; virtual bool, the
    instrument is a virtual card."""

    type: np.ndarray
    first_ts: np.ndarray
    ts: np.ndarray
    incident: np.ndarray
    ordinal: np.ndarray
    virtual: np.ndarray


class Reports(NamedTuple):
    """Laws of awareness and filing, in microseconds; probability, prompt_share: float64[types]; horizon: int64, end of
    the settlement horizon (exclusive); reissue: float64[2, 4] (median, sigma, lo, hi), of cards and virtual cards."""

    prompt_median: float
    prompt_sigma: float
    slow_median: float
    slow_sigma: float
    cut: float
    filing_median: float
    filing_sigma: float
    filing_cut: float
    probability: np.ndarray
    prompt_share: np.ndarray
    horizon: int
    reissue: np.ndarray


class Reported(NamedTuple):
    """Output: report (of the flow), heard (of the incident), renewed (instrument replaced after it) int64, 0 where
    never."""

    report: np.ndarray
    heard: np.ndarray
    renewed: np.ndarray


@kernel
def report_times(rows, laws, streams, out):
    """When each tagged flow is reported, when its incident is, and when the instrument is replaced after that.

    rows: ReportRows; laws: Reports; streams: Streams; out: Reported. A flow later than its incident's report is
    reported after a filing delay of its own.
    """
    for i in range(rows.ts.shape[0]):
        at = rows.incident[i] * REPORT_SLOTS
        u = draw(streams.keys, REPORT_INCIDENT, at, streams.evidence)
        v = draw(streams.keys, REPORT_INCIDENT, at + 1, streams.evidence)
        w = draw(streams.keys, REPORT_INCIDENT, at + 2, streams.evidence)
        x = draw(streams.keys, REPORT_INCIDENT, at + 3, streams.evidence)
        y = draw(streams.keys, REPORT_FLOW, rows.ordinal[i], streams.evidence)
        out.report[i] = 0
        out.heard[i] = 0
        out.renewed[i] = 0
        t = rows.type[i]
        if u >= laws.probability[t]:
            continue
        prompt, rest = split_remap(v, laws.prompt_share[t])
        if prompt:
            aware = lognormal_truncated(rest, laws.prompt_median, laws.prompt_sigma, 0.0, laws.cut)
        else:
            aware = lognormal_truncated(rest, laws.slow_median, laws.slow_sigma, 0.0, laws.cut)
        filing = lognormal_truncated(w, laws.filing_median, laws.filing_sigma, 0.0, laws.filing_cut)
        when = rows.first_ts[i] + np.int64(aware) + np.int64(filing)
        if when >= laws.horizon:
            continue
        out.heard[i] = when
        law = laws.reissue[1 if rows.virtual[i] else 0]
        out.renewed[i] = when + np.int64(lognormal_truncated(x, law[0], law[1], law[2], law[3]))
        if rows.ts[i] > when:
            when = rows.ts[i] + np.int64(
                lognormal_truncated(y, laws.filing_median, laws.filing_sigma, 0.0, laws.filing_cut)
            )
        if when < laws.horizon:
            out.report[i] = when


@kernel
def insert_refunds(ordinal, response, cleared, clear_ts, law, streams, horizon, refunded, refund_ts):
    """Refunds that an abuser obtains: amounts in minor units and instants.

    ordinal, response (ts of the answer), cleared (minor units), clear_ts: int64[n]; law: float64[7] = full share,
    partial lo, partial hi, delay median, sigma, lo, hi (microseconds); streams: Streams; horizon: int64 microseconds,
    exclusive; refunded (at least 1 where cleared is), refund_ts: int64[n], out.
    """
    for i in range(ordinal.shape[0]):
        at = ordinal[i] * REFUND_SLOTS
        u = draw(streams.keys, REFUND, at, streams.evidence)
        v = draw(streams.keys, REFUND, at + 1, streams.evidence)
        w = draw(streams.keys, REFUND, at + 2, streams.evidence)
        refunded[i] = cleared[i]
        if u >= law[0]:
            part = law[1] + v * (law[2] - law[1])
            refunded[i] = max(half_even(part * cleared[i]), np.int64(1))
        after = max(clear_ts[i], response[i])
        hi = min(law[6], np.float64(horizon - 1 - after))
        refund_ts[i] = after + 1
        if hi > law[5]:
            refund_ts[i] = after + np.int64(lognormal_truncated(w, law[3], law[4], law[5], hi))
