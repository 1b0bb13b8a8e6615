"""RNG accounting: what every decision's domain implies, compared with the evidence that states left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import ContractError
from fraudloom.kernels.checks import sum_counters
from fraudloom.kernels.streams import fill_uniforms
from fraudloom.policies_api import Pack
from fraudloom.rng import DOMAIN, StreamOverlapError, Streams, prove_disjoint, substream_key
from fraudloom.states.s1.plan import CHANNELS, gap_channels
from fraudloom.states.s5.findings import Findings
from fraudloom.states.s5.joins import Array, decode
from fraudloom.states.s5.tally import MASK, Tally
from fraudloom.tables import Columns

CHECK = "REQ_RNG_BUDGETS"
#: RNG policy of each state.
POLICIES = {
    "S1": "rng_policy_6B",
    "S2": "flow_rng_policy_6B",
    "S3": "fraud_rng_policy_6B",
    "S4": "label_rng_policy_6B",
}
CATALOGUE = "s3_campaign_catalogue_6B"
#: Column whose id decodes to the ordinal of a counter.
COUNTED_IDS = {"flow": "flow_id", "session": "session_id", "incident": "incident_id", "case": "case_id"}
#: Column that is the ordinal itself.
COUNTED_VALUES = {"visit": "visit_key", "series": "series_key", "campaign": "slot"}
GAMMA = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Expected:
    """One decision of a state's RNG policy, as plain data."""

    state: str
    family: str
    decision: str
    domain: str
    where: tuple[tuple[str, tuple[Any, ...]], ...]
    counter: str
    slots: int

    @property
    def stream(self) -> tuple[str, str, str]:
        """(state, family, decision)."""
        return (self.state, self.family, self.decision)


def _restricted(decision: Mapping[str, Any], pack: Pack) -> dict[str, tuple[str, ...]]:
    """What another policy takes from a decision's domain: sessions in tumbling windows draw no boundaries."""
    if decision["decision"] != "SESSION_BOUNDARY":
        return {}
    channels = gap_channels(pack.doc("sessionisation_policy_6B"))
    return {} if len(channels) == len(CHANNELS) else {"channel_group": channels}


def expected_decisions(pack: Pack) -> tuple[Expected, ...]:
    """All decisions of the pack's RNG policies."""
    found = []
    for state, policy_id in POLICIES.items():
        if policy_id not in pack.docs:
            continue
        for d in pack.doc(policy_id)["decisions"]:
            where = tuple(sorted((str(k), tuple(v)) for k, v in {**d["where"], **_restricted(d, pack)}.items()))
            found.append(
                Expected(state, d["family"], d["decision"], d["domain"], where, str(d["counter"]), int(d["slots"]))
            )
    return tuple(found)


def readable(decision: Expected, contracts: Contracts, profile: str) -> bool:
    """Whether the profile publishes the columns that the decision's domain and counter need."""
    have = {c.name for c in contracts.dataset(decision.domain).columns_for(profile)}
    need = {c for c, _ in decision.where}
    if decision.counter == "arrival":
        need |= {"merchant_id", "arrival_seq"}
    else:
        need.add((COUNTED_IDS | COUNTED_VALUES)[decision.counter])
    return need <= have


def domain_mask(decision: Expected, contracts: Contracts, cols: Mapping[str, Array]) -> Array | None:
    """Rows of the domain, bool[n]; None when all rows are."""
    mask: Array | None = None
    for name, allowed in decision.where:
        column = contracts.dataset(decision.domain).column(name)
        values = cols[name]
        hit = np.zeros(len(values), dtype=np.bool_)
        for v in allowed:
            if v == "NULL":
                hit |= values == column.null_value
            elif v == "NOT_NULL":
                hit |= values != column.null_value
            elif column.enum:
                hit |= values == contracts.code(column.enum, str(v))
            else:
                hit |= values == v
        mask = hit if mask is None else mask & hit
    return mask


@dataclass
class ShardBudgets:
    """Budgets of one shard; equal (domain, predicate, counter, slots) are summed once."""

    contracts: Contracts
    keys: Mapping[str, int]
    profile: str
    _ordinals: dict[tuple[str, str], Array] = field(default_factory=dict)
    _done: dict[tuple[Any, ...], tuple[tuple[int, int, int], int, Array]] = field(default_factory=dict)

    def _ordinals_of(self, decision: Expected, cols: Columns) -> Array:
        key = (decision.domain, decision.counter)
        if key not in self._ordinals:
            if decision.counter == "arrival":
                self._ordinals[key] = cols["_ordinal"]
            elif decision.counter in COUNTED_VALUES:
                self._ordinals[key] = cols[COUNTED_VALUES[decision.counter]].astype(np.int64)
            else:
                ids = cols[COUNTED_IDS[decision.counter]]
                self._ordinals[key] = decode(self.keys[decision.counter], ids)
        return self._ordinals[key]

    def _budget(self, d: Expected, cols: Columns, loci: int) -> tuple[tuple[int, int, int], int, Array]:
        """(events, draws, checksum), highest counter, a few counters."""
        signature = (d.domain, d.where, d.counter, d.slots)
        if signature not in self._done:
            ordinals = self._ordinals_of(d, cols)
            mask = domain_mask(d, self.contracts, cols)
            ordinals = np.maximum(ordinals if mask is None else ordinals[mask], 0)
            out = np.zeros(1, dtype=np.uint64)
            sum_counters(ordinals, d.slots, out)
            n = len(ordinals)
            picks = np.unique(np.linspace(0, n - 1, min(n, loci)).astype(np.int64)) if n else np.zeros(0, np.int64)
            top = int(ordinals.max()) * d.slots + d.slots - 1 if n else -1
            self._done[signature] = ((n, n * d.slots, int(out[0])), top, ordinals[picks] * d.slots)
        return self._done[signature]

    def add(
        self, tally: Tally, decisions: Iterable[Expected], domain: str, cols: Columns, shard: int, loci: int
    ) -> None:
        """Budgets of the decisions whose domain is this table."""
        for d in decisions:
            if d.domain != domain or not readable(d, self.contracts, self.profile):
                continue
            budget, top, counters = self._budget(d, cols, loci)
            tally.budgets[(*d.stream, shard)] = budget
            tally.highest[d.stream] = max(tally.highest.get(d.stream, -1), top)
            picked = tally.loci.setdefault(d.stream, [])
            picked.extend(int(x) for x in counters[: max(0, loci - len(picked))])


def _parse(row: Mapping[str, Any]) -> tuple[tuple[str, str, str], str, int, tuple[int, int, int]]:
    state = str(row.get("state", str(row.get("module", "")).removeprefix("6B.")))
    scope = str(row.get("scope", "shard"))
    index = int(row.get("index", row.get("shard", -1)))
    checksum = row["checksum"]
    value = int(checksum, 16) if isinstance(checksum, str) else int(checksum)
    stream = (state, str(row["family"]), str(row["decision"]))
    return stream, scope, index, (int(row["events"]), int(row["draws"]), value)


def _plus(a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
    return a[0] + b[0], a[1] + b[1], (a[2] + b[2]) & MASK


def compare(
    findings: Findings, tally: Tally, decisions: Iterable[Expected], rows: Iterable[Mapping[str, Any]], profile: str
) -> None:
    """Evidence of a scenario against the budgets that published rows imply, in total and, where kept so, per shard."""
    totals: dict[tuple[str, str, str], tuple[int, int, int]] = {}
    shards: dict[tuple[str, str, str], dict[int, tuple[int, int, int]]] = {}
    scopes: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        stream, scope, index, value = _parse(row)
        totals[stream] = _plus(totals.get(stream, (0, 0, 0)), value)
        own = shards.setdefault(stream, {})
        own[index] = _plus(own.get(index, (0, 0, 0)), value)
        scopes.setdefault(stream, set()).add(scope)
    known = {d.stream for d in decisions}
    for stream in sorted(set(totals) - known):
        findings.one(CHECK, "decision is in the policy", False, f"evidence of an unknown decision {'/'.join(stream)}")
    wanted: dict[tuple[str, str, str], dict[int, tuple[int, int, int]]] = {}
    for (state, family, decision, shard), value in tally.budgets.items():
        wanted.setdefault((state, family, decision), {})[shard] = value
    for d in decisions:
        name = "/".join(d.stream)
        if d.stream not in wanted:
            findings.skip(CHECK, f"{name} budget", f"its domain is not published under {profile}")
            continue
        want = (0, 0, 0)
        for value in wanted[d.stream].values():
            want = _plus(want, value)
        got = totals.get(d.stream, (0, 0, 0))
        for i, what in enumerate(("events", "draws", "checksum")):
            findings.one(CHECK, what, got[i] == want[i], f"{name}: {what} {got[i]}, its domain implies {want[i]}")
        if scopes.get(d.stream) == {"shard"}:
            off = [s for s, v in wanted[d.stream].items() if shards[d.stream].get(s, (0, 0, 0)) != v]
            findings.one(CHECK, "per shard", not off, f"{name}: shards {off[:5]} differ")


def _python_uniform(key: int, i: int) -> float:
    z = (key + (i + 1) * GAMMA) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    return min(((z >> 11) + 0.5) * 2.0**-53, 1.0 - 2.0**-53)


def replay(findings: Findings, streams: Streams, tally: Tally, loci: int) -> None:
    """Draw loci of every decision again, in plain Python from a SHA-256 key, and compare with the kernel."""
    out = np.empty(1, dtype=np.float64)
    for stream, counters in sorted(tally.loci.items()):
        key = substream_key(DOMAIN, streams.world, streams.seed, streams.scenario, stream[1], stream[2])
        for counter in counters[:loci]:
            fill_uniforms(streams.key(stream[1], stream[2]), counter, out)
            mine = _python_uniform(key, counter)
            findings.one(
                CHECK,
                "locus replays",
                float(out[0]) == mine,
                f"{'/'.join(stream)} at {counter}: {out[0]}, plain {mine}",
            )


def check_disjoint(findings: Findings, streams: Mapping[str, Streams], tops: Mapping[str, Mapping[Any, int]]) -> None:
    """No two streams of any scenario share an output, over the counters in use."""
    keys: dict[str, int] = {}
    lengths: dict[str, int] = {}
    for scenario, highest in tops.items():
        for (_, family, decision), top in highest.items():
            name = f"{scenario}/{family}/{decision}"
            keys[name] = int(streams[scenario].key(family, decision))
            lengths[name] = max(lengths.get(name, 0), top + 1)
    try:
        prove_disjoint(keys, lengths)
    except (StreamOverlapError, ContractError) as e:
        findings.one("REQ_STREAMS_DISJOINT", "streams do not overlap", False, str(e))
    else:
        findings.one("REQ_STREAMS_DISJOINT", "streams do not overlap", True)
