"""Twins of the census kernels, written from contracts/laws/s3.md."""


def campaign_census(domain, ts, account, channel, kind, skip, shard, of_type, of_campaign):
    """Every type whose sets hold the row counts it; its account's campaign too, within the anchor window."""
    for i in range(len(ts)):
        if skip[i]:
            continue
        a = int(account[i]) - 1
        bits = int(domain.account_bits[a]) & int(domain.channel_bits[int(channel[i])])
        bits &= int(domain.kind_bits[int(kind[i]) + 1])
        for t in range(len(of_type)):
            of_type[t] += bits >> t & 1
        c = int(domain.campaign_of[a])
        if c >= 0 and bits >> int(domain.type_of[c]) & 1:
            of_campaign[c, int(shard[i])] += int(domain.anchor_from[c]) <= int(ts[i]) < int(domain.anchor_to[c])


def largest_remainder(total, weight, out):
    """Whole parts, then one each to the largest rests until the total stands."""
    weights, whole = [float(w) for w in weight], 0.0
    for w in weights:
        whole += w
    out[:] = [0] * len(weights)
    if whole <= 0.0 or total <= 0:
        return
    exact = [w * total / whole for w in weights]
    for i, x in enumerate(exact):
        out[i] = int(x)
    for _ in range(total - sum(int(q) for q in out)):
        able = [i for i, w in enumerate(weights) if w > 0.0]
        best = max(able, key=lambda i: (exact[i] - int(out[i]), -i))
        out[best] += 1
