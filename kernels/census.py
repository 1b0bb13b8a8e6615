"""The census: how many arrivals each campaign could start from, by shard.

Predicates are bit sets, one bit per campaign type (bit = code of campaign_type minus one), so that one AND of four
table entries decides all types at once. An account belongs to at most one campaign (`campaign_of`), so at most one
campaign is asked per row. Law: contracts/laws/s3.md, section 3.
"""

from typing import NamedTuple

import numpy as np

from fraudloom.kernels.jit import helper, kernel

ONE = np.int64(1)


class Domain(NamedTuple):
    """Who may be hit: bit sets by account, channel and instrument kind; each account's campaign; windows of anchors.

    account_bits: int32[accounts]; campaign_of: int32[accounts], -1 for none; channel_bits: int32[channels];
    kind_bits: int32[kinds + 1] (row 0: no instrument); type_of: int8[campaigns], bit number of the campaign's type;
    anchor_from, anchor_to: int64[campaigns], microseconds, half open.
    """

    account_bits: np.ndarray
    campaign_of: np.ndarray
    channel_bits: np.ndarray
    kind_bits: np.ndarray
    type_of: np.ndarray
    anchor_from: np.ndarray
    anchor_to: np.ndarray


@helper
def domain_bits(domain, account, channel, kind):
    """(Domain, int64 account id, int8 channel code, int8 kind code or -1) -> int32 bit set of the types that fit."""
    return domain.account_bits[account - 1] & domain.channel_bits[channel] & domain.kind_bits[kind + 1]


@kernel
def campaign_census(domain, ts, account, channel, kind, skip, shard, of_type, of_campaign):
    """Add a batch of arrivals to the census.

    domain: Domain; ts: int64[n] microseconds; account: int64[n] ids; channel, kind: int8[n] codes (kind -1: none);
    skip: bool[n], rows that are never anchors; shard: int32[n]; of_type: int64[types], arrivals in each type's domain;
    of_campaign: int64[campaigns, shards], those on the campaign's accounts and within its anchor window.
    """
    types = of_type.shape[0]
    for i in range(ts.shape[0]):
        if skip[i]:
            continue
        bits = domain_bits(domain, account[i], channel[i], kind[i])
        if bits == 0:
            continue
        for t in range(types):
            of_type[t] += (bits >> t) & ONE
        c = domain.campaign_of[account[i] - 1]
        if c >= 0 and (bits >> domain.type_of[c]) & ONE and domain.anchor_from[c] <= ts[i] < domain.anchor_to[c]:
            of_campaign[c, shard[i]] += ONE


@kernel
def largest_remainder(total, weight, out):
    """Split a whole number by weights: floors first, then one each to the largest remainders, ties to the lower index.

    total: int64 >= 0; weight: float64[n] >= 0; out: int64[n], all zero when the weights are. The quotient is
    weight[i] * total / sum, evaluated in this order, the sum taken upwards.
    """
    n = weight.shape[0]
    whole = 0.0
    for i in range(n):
        whole += weight[i]
        out[i] = 0
    if whole <= 0.0 or total <= 0:
        return
    left = total
    for i in range(n):
        out[i] = np.int64(weight[i] * total / whole)
        left -= out[i]
    # At most n remain, but for rounding; scanning for the best n times is enough, n is small.
    while left > 0:
        best = -1
        gap = -1.0
        for i in range(n):
            rest = weight[i] * total / whole - out[i]
            if weight[i] > 0.0 and rest > gap:
                gap = rest
                best = i
        out[best] += 1
        left -= 1
