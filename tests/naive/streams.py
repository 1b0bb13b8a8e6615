"""Twin of the counter-based streams: SplitMix64 in Python integers."""

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix64(z):
    """The finaliser of SplitMix64."""
    z = int(z) & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def splitmix64(seed):
    """The generator as published, stepping a state: what `draw64` must equal at every place."""
    state = int(seed)
    while True:
        state = (state + GAMMA) & MASK
        yield mix64(state)


def draw64(key, i):
    """Output i of the generator seeded with the key, by skipping ahead."""
    return mix64(int(key) + (int(i) + 1) * GAMMA)


def uniform(key, i):
    """((x >> 11) + 0.5) * 2**-53 in doubles, kept below 1."""
    u = (float(draw64(key, i) >> 11) + 0.5) * 2.0**-53
    return u if u < 1.0 else 1.0 - 2.0**-53


def draw(keys, d, counter, evidence):
    """An accounted uniform; `evidence` is a list of [draws, checksum]."""
    evidence[d][0] += 1
    evidence[d][1] = (int(evidence[d][1]) + mix64(counter)) & MASK
    return uniform(keys[d], counter)


def pick_cdf(cum, u, lo, hi):
    """First i of [lo, hi) whose cumulative weight within the window exceeds u times the window's total, or hi - 1."""
    base = float(cum[lo - 1]) if lo > 0 else 0.0
    target = u * (float(cum[hi - 1]) - base)
    return next((i for i in range(lo, hi) if float(cum[i]) - base > target), hi - 1)


def clamp_open(u):
    """Into the range of `uniform`."""
    return min(max(u, 2.0**-54), 1.0 - 2.0**-53)


def split_remap(u, p):
    """Branch taken with probability p, and the rest of the uniform."""
    if u < p:
        return True, clamp_open(u / p)
    if p >= 1.0:
        return True, 1.0 - 2.0**-53
    return False, clamp_open((u - p) / (1.0 - p))


def pick_remap(cum, u, lo, hi):
    """`pick_cdf` and the rest of the uniform."""
    i = pick_cdf(cum, u, lo, hi)
    base = float(cum[lo - 1]) if lo > 0 else 0.0
    below = float(cum[i - 1]) - base if i > lo else 0.0
    weight = (float(cum[i]) - base) - below
    if weight <= 0.0:
        return i, u
    return i, clamp_open((u * (float(cum[hi - 1]) - base) - below) / weight)


def fill_uniforms(key, start, out):
    """out[j] = uniform(key, start + j)."""
    for j in range(len(out)):
        out[j] = uniform(key, start + j)
