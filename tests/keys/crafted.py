"""Named kernels on crafted input, for keys whose branch is too rare, or too quiet, for a small world.

`CRAFTED` maps a pattern of keys to a function of the whole pack (or world policy, or validation policy): what it
returns must change when the key is moved.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from s5.bench import failed

from fraudloom.calibration import TARGETS, calibrate, near_enough
from fraudloom.errors import DataError, PolicyError, SealError
from fraudloom.kernels import campaigns as kc
from fraudloom.kernels import sessions as ks
from fraudloom.kernels.claims import fraud_right
from fraudloom.kernels.issuer_risk import block_until
from fraudloom.kernels.truth import match_truth_rules
from fraudloom.policies_api import Pack
from fraudloom.states import s1, s3
from fraudloom.states.behaviour import POLICY, behaviour
from fraudloom.states.s1.plan import S1Plan, cut_rule, restrict
from fraudloom.states.s1.weave import cut
from fraudloom.states.s2.plan_issuer import block_laws
from fraudloom.states.s4.plan import claim_rules, truth_table
from fraudloom.states.world import WorldSpec, build_world, import_world
from fraudloom.states.world.arrivals import plan_buckets
from fraudloom.states.world.parties import region_codes
from fraudloom.states.world.spec import make_context
from keys.figured import defined_figures, judged_figures
from keys.gates import defined, weighed
from keys.leaves import REMOVED, override, put
from keys.validation import judged

Result = Any
DAY_US = 86_400_000_000
N = 64


def reissued(pack: Pack, bench: Any) -> Result:
    """`report_times`: when blocked cards, plastic and virtual, are replaced."""
    del bench
    k = np.arange(N, dtype=np.int64)
    rows = kc.ReportRows(np.zeros(N, np.int8), k * 0, k * 0, k, k, k % 2 == 1)
    laws = (1e9, 1.0, 1e9, 1.0, 1e12, 1e9, 1.0, 1e12)
    reports = kc.Reports(*laws, np.ones(1), np.ones(1), 1 << 60, block_laws(pack.doc("issuer_policy_6B"))[1:])
    streams = kc.Streams(np.arange(1, 13, dtype=np.uint64), np.zeros((12, 2), np.uint64))
    out = kc.Reported(*(np.zeros(N, np.int64) for _ in range(3)))
    kc.report_times(rows, reports, streams, out)
    return (out.renewed - out.heard).tolist()


def held(pack: Pack, bench: Any) -> Result:
    """`block_until`: when score blocks of cards end."""
    del bench
    law = block_laws(pack.doc("issuer_policy_6B"))[0]
    return [int(block_until(0, (k + 0.5) / N, *law)) for k in range(N)]


def solved(doc: Mapping[str, Any], bench: Any) -> Result:
    """`calibrate`: numbers solved on a pilot of a hundredth of the arrivals, for targets that it can show."""
    pilot = {**doc["pilot"], "arrivals": doc["pilot"]["arrivals"] // 100}

    def larger(node: Any) -> Any:
        return {k: larger(v) for k, v in node.items()} if isinstance(node, Mapping) else min(0.25, 80.0 * node)

    wanted = {**doc, "pilot": pilot, **{k: larger(doc[k]) for k in ("thresholds", "funds")}}
    pack = replace(bench.pack, docs={**bench.pack.docs, TARGETS: wanted})
    with tempfile.TemporaryDirectory() as name:
        found = calibrate(pack, bench.contracts, Path(name))
    limits = doc["tolerance"]
    points = sum(near_enough("thresholds.", 500 + k, 500, limits) for k in range(200))
    shares = sum(near_enough("declines.", 1.0 + k / 1000.0, 1.0, limits) for k in range(1000))
    return [(n.solved, n.target) for n in found.numbers], points, shares


def midnight(pack: Pack, bench: Any) -> Result:
    """`cut_sessions`: two arrivals of one payer a minute before and after local midnight, at a till and online."""
    plan: S1Plan = s1.compile_plan(pack, bench.near.world, bench.near.streams, bench.contracts)
    ts = np.array([DAY_US - 60_000_000, DAY_US - 59_000_000, DAY_US + 60_000_000, DAY_US + 61_000_000], np.int64)
    one = np.ones(4, np.int64)
    channel = np.array([ks.POS, 0, ks.POS, 0], np.int8)
    timeline = ks.Timeline(one, one, one, channel, ts, ts, np.arange(4, dtype=np.int64))
    out = ks.Cuts(*(np.zeros(4, np.int64) for _ in ks.Cuts._fields))
    evidence, table = plan.decisions.new_evidence(), np.empty(16, np.int64)
    found = ks.cut_sessions(timeline, plan.cut, plan.decisions.keys, plan.decisions.slots, evidence, table, out)
    return int(found), out.session.tolist()


def crowded_key(pack: Pack, bench: Any) -> Result:
    """`cut` on 120 arrivals of one card and one device, each pair far apart: more sessions than days."""
    near = bench.near
    plan = s1.compile_plan(pack, near.world, near.streams, near.contracts)
    ts = np.arange(240, dtype=np.int64) // 2 * DAY_US // 4
    one = np.ones(240, np.int64)
    names = ("party_id", "instrument_id", "device_id", "ts_utc", "ts_local_primary", "_ordinal")
    rows = dict(zip(names, (one, one, one, ts, ts, np.arange(240, dtype=np.int64)), strict=True))
    rows["channel_group"] = np.tile(np.array([ks.POS, 0], np.int8), 120)
    try:
        return cut(plan, rows, plan.decisions.new_evidence()).session.tolist()
    except DataError as e:
        return str(e)


def truths(pack: Pack, bench: Any) -> Result:
    """`match_truth_rules` on every pattern, with and without campaign, under every single mutation flag."""
    table = truth_table(pack.doc("truth_labelling_policy_6B"), bench.contracts)
    patterns = len(bench.contracts.enum("campaign_type"))
    grid = np.array([(p, c, f) for p in range(patterns) for c in (0, 9) for f in (0, *(1 << b for b in range(8)))])
    rule, matches = np.zeros(len(grid), np.int8), np.zeros(len(grid), np.int8)
    columns = grid[:, 0].astype(np.int8), grid[:, 1].astype(np.int64), grid[:, 2].astype(np.int16)
    match_truth_rules(*columns, table.anomaly_mask, table.rules, rule, matches)
    shown = [c[rule].tolist() for c in (table.label, table.subtype, table.kind, table.source, table.rule_id)]
    return rule.tolist(), matches.tolist(), shown


def rights(pack: Pack, bench: Any) -> Result:
    """`fraud_right`: whether fraud gives a chargeback right, for every entry mode, verification and 3-D Secure."""
    contracts = bench.contracts
    claims = claim_rules(pack.doc("bank_view_policy_6B"), contracts)
    sizes = [len(contracts.enum(e)) for e in ("entry_mode", "cvm", "three_ds")]
    return [bool(fraud_right(*map(int, place), claims)) for place in np.ndindex(*sizes)]


def rails_without_handle(pack: Pack, bench: Any) -> Result:
    """`attach` when only handles may pay on rails, in a world in which many accounts have none."""
    doc = pack.doc("attachment_policy_6B")
    kinds = {**doc["instrument"]["eligible_kinds"], "BANK_RAIL": ["BANK_HANDLE"]}
    doc = {**doc, "instrument": {**doc["instrument"], "eligible_kinds": kinds}}
    try:
        return bench.spread.first_change("attachment_policy_6B", doc), bench.spread.last_digest
    except DataError as e:
        return str(e)


def _policy_folder(folder: Path, doc: Mapping[str, Any]) -> Path:
    (folder / "world_policy.yaml").write_text(yaml.safe_dump(doc, sort_keys=False), "utf-8")
    (folder / "pack.yaml").write_text("name: moved\nprofile: full\ndescription: one number moved\n", "utf-8")
    return folder


def built_files(doc: Mapping[str, Any], bench: Any) -> Result:
    """A whole build of 600 arrivals in small parts: parts and content digests of the published arrivals."""
    del bench
    with tempfile.TemporaryDirectory() as name:
        folder = _policy_folder(Path(name), doc)
        manifest = build_world(WorldSpec(600, seed=3, days=20, policy=folder), folder / "world")
    files = [f for f in manifest.document["files"] if f["dataset"] == "arrival_events_5B"]
    return [(f["rows"], f["content_digest"]) for f in files]


def buckets(doc: Mapping[str, Any], bench: Any) -> Result:
    """`plan_buckets`: how merchants are cut into units of sorting. It must not change what is published."""
    with tempfile.TemporaryDirectory() as name:
        context = make_context(WorldSpec(600, seed=3, policy=_policy_folder(Path(name), doc)), bench.contracts)
    plan = plan_buckets(context, np.array([9.0, 40.0, 0.5, 7.0]) * 10_000)
    return plan.bucket.tolist(), plan.parts.tolist(), plan.count


def regions(doc: Mapping[str, Any], bench: Any) -> Result:
    """`region_codes`: the region of every country, whether somebody lives there or not."""
    return region_codes(replace(bench.town.ctx, policy=doc)).tolist()


def imported(doc: Mapping[str, Any], bench: Any) -> Result:
    """An imported log of three rows without merchant category and time of day."""
    del bench
    rows = "when,shop,card,value\n2014-03-03,A,1,10.50\n2014-03-05,B,2,3.00\n2014-03-06,A,2,7.25\n"
    source = {"format": "csv", "timezone": "Europe/London", "currency": "GBP", "country": "GB"}
    columns = {"timestamp": "when", "merchant": "shop", "card": "card", "amount": "value"}
    amount = {"unit": "major", "credit_sign": "negative"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack = folder / "policy"
        pack.mkdir()
        _policy_folder(pack, doc)
        (folder / "log.csv").write_text(rows, "utf-8")
        (folder / "map.yaml").write_text(yaml.safe_dump({"source": source, "columns": columns, "amount": amount}))
        manifest = import_world(folder / "log.csv", folder / "map.yaml", folder / "world", policy=pack)
    return sorted((f["dataset"], f["content_digest"]) for f in manifest.document["files"])


def of_a_run(doc: Mapping[str, Any], bench: Any) -> Result:
    """S5 on a finished run of a few arrivals, whole, and with one byte of an upstream file changed."""
    run = bench.run
    pack = replace(run.pack, docs={**run.pack.docs, "segment_validation_policy_6B": doc})
    with tempfile.TemporaryDirectory() as name:
        broken = run.copy(Path(name))
        path = next(broken.world_root.rglob("fx_rates_3A.parquet"))
        path.write_bytes(path.read_bytes().replace(b"parquet-cpp", b"parquet-cpq"))
        return sorted(failed(run.validate(pack))), sorted(failed(broken.validate(pack)))


def _restricted(pack: Pack, path: str, value: Any) -> Pack:
    """The pack with one restriction more."""
    return replace(pack, docs={**pack.docs, POLICY: override(pack.docs[POLICY], path, value)})


def scoped(pack: Pack, bench: Any) -> Result:
    """`Behaviour.in_scope`: which of two scenarios may be woven, as the pack is, and with one scenario blocked."""
    del bench
    found: list[Result] = []
    names = ("baseline_v1", "stress_peak_online_v1")
    packs = [pack]
    if not pack.docs[POLICY]["scope_filters"]["allow_scenarios"]:
        packs.append(_restricted(pack, "scope_filters.block_scenarios", list(names[1:])))
    for each in packs:
        for seed in (7, 8):
            try:
                found.append(behaviour(each).in_scope(names, seed))
            except PolicyError as e:
                found.append(e.code)
    return found


def capped(pack: Pack, bench: Any) -> Result:
    """`restrict`: sessions under a cap of one flow, and what fails the state."""
    del bench
    rule, most, notes = restrict(
        cut_rule(pack.doc("sessionisation_policy_6B")), behaviour(_restricted(pack, "caps.flows_per_session", 1))
    )
    return rule.arrivals.tolist(), most, notes


def poorer(pack: Pack, bench: Any) -> Result:
    """`s3.compile_plan`: the weights of devices in a world that does not know their roles."""
    near = bench.near
    tables = {n: t for n, t in near.world.tables.items() if n != "s5_device_fraud_roles_6A"}
    world = replace(near.world, tables=tables)
    try:
        plan = s3.compile_plan(pack, world, near.streams, near.contracts, near.base.plans["S2"])
    except SealError as e:
        return e.code
    return plan.weights.device.tolist(), plan.notes


#: Key pattern to function; the first that fits.
CRAFTED: dict[str, Callable[[Any, Any], Result]] = {
    "behaviour_config_6B:scope_filters.*_scenarios": scoped,
    "behaviour_config_6B:scope_filters.*_seeds": scoped,
    "behaviour_config_6B:degrade.scope_miss": scoped,
    "behaviour_config_6B:degrade.cap_hit": capped,
    "behaviour_config_6B:degrade.optional_missing": poorer,
    "issuer_policy_6B:blocks.reissue_*": reissued,
    "issuer_policy_6B:blocks.hold_*": held,
    "issuer_calibration_6B:*": solved,
    "sessionisation_policy_6B:*.break_on_local_day": midnight,
    "sessionisation_policy_6B:*.max_sessions_per_day": crowded_key,
    "truth_labelling_policy_6B:*": truths,
    "bank_view_policy_6B:chargeback_right.*": rights,
    "attachment_policy_6B:instrument.requiredness.*": rails_without_handle,
    "world_policy:sizes.part_rows": built_files,
    "world_policy:sizes.group_rows": built_files,
    "world_policy:sizes.bucket_rows": buckets,
    "world_policy:imports.*": imported,
    "world_policy:countries.*.region": regions,
    "segment_validation_policy_6B:sealing.rehash_upstream": of_a_run,
    "segment_validation_policy_6B:horizon.*": of_a_run,
    "segment_validation_policy_6B:*": judged,
    "realism_gates_6B:definitions.*": defined,
    "realism_gates_6B:*": weighed,
    "run_figures_6B:definitions.*": defined_figures,
    "run_figures_6B:*": judged_figures,
}


def fitted(key: str, doc: Any) -> Any:
    """A document with a choice moved, made whole: tumbling windows have no hard break."""
    name, _, path = key.partition(":")
    if name == "sessionisation_policy_6B" and path.endswith(".mode"):
        kind = path.partition(".")[0]
        return put(doc, (kind, "hard_break_s"), REMOVED) if doc[kind]["mode"] == "tumbling" else doc
    return doc


def crafted_for(key: str) -> Callable[[Any, Any], Result] | None:
    """The crafted call that covers a key, or None."""
    return next((f for pattern, f in CRAFTED.items() if fnmatchcase(key, pattern)), None)
