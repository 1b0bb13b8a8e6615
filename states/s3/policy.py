"""The two fraud policies as arrays, one row per campaign type (row = code of campaign_type minus one)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fraudloom.contracts_api import Contracts
from fraudloom.errors import PolicyError
from fraudloom.policies_api import Pack

Array = np.ndarray[Any, Any]
Doc = Mapping[str, Any]

CATALOGUE = "fraud_campaign_catalogue_config_6B"
OVERLAY = "fraud_overlay_policy_6B"
US = 1_000_000.0
DAY_US = 86_400_000_000
#: Campaigns per type at most; the slot of instance k of a type is row x this + k.
MAX_CAMPAIGNS = 64
NEW, DISPUTE, REFUND, CHAIN = range(4)
MODES = ("NEW", "DISPUTE", "REFUND", "CHAIN")
FORMS = ("REMOTE", "PRESENT", "CASH", "TRANSFER")
CHOICES = ("FIXED", "POOL", "CITY", "DISTANT", "COLLUSIVE")
CLOCKS = ("VICTIM", "CAMPAIGN", "CHAIN", "ANCHOR")
DEVICES = ("OWN", "STRANGER", "HOUSEHOLD", "TERMINAL")
GROUPS = ("RESIDENTIAL", "MOBILE_CARRIER", "PUBLIC_SHARED", "HOSTING_DATACENTRE", "ANONYMIZER_PROXY")
LAW = ("median", "sigma", "lo", "hi")


@dataclass(frozen=True)
class Template:
    """One campaign type: identity, domain, size and calendar, as codes and numbers. `lanes` 0: all lanes."""

    row: int
    template_id: str
    fraud_class: int
    fraud_label: int
    tactic: int
    mode: int
    domain: Mapping[str, tuple[int, ...]]
    share: float
    lanes: float
    per_million: float
    window: Mapping[str, float] | None
    p: float
    longest: int
    clock: Doc
    script: Doc


@dataclass(frozen=True)
class Laws:
    """Both policies: templates in policy order and arrays of all numbers that kernels read, by type."""

    templates: tuple[Template, ...]
    types: int
    lanes: int
    redo_us: int
    clock: Array
    delay: Array
    gap: Array
    step: Array
    jitter: Array
    form_first: Array
    form_second: Array
    form_share: Array
    choice: Array
    device: Array
    device_own: Array
    device_spread: Array
    address: Array
    address_own: Array
    address_spread: Array
    groups: Array
    token: Array
    entry_first: Array
    entry_second: Array
    entry_share: Array
    three_ds: Array
    cvv: Array
    avs: Array
    purposes: Array
    checks: Array
    internal: Array
    amount: Array
    relative: Array
    given: Array
    round_ending: Array
    probability: Array
    prompt_share: Array
    door: Array
    blocks: Array
    reports: tuple[float, ...]
    refund: Array
    tier: Array
    device_role: Array


def refuse(code: str, what: str, found: object, expected: object = None) -> PolicyError:
    """A PolicyError of S3."""
    return PolicyError(
        "S3",
        code,
        what=what,
        found=found,
        expected=expected,
        where=f"{CATALOGUE}, {OVERLAY}",
        action="correct the policy; `fraudloom policies check` names file and key",
    )


def running(weights: Array) -> Array:
    """Cumulative sums from left to right, float64."""
    return np.add.accumulate(np.asarray(weights, dtype=np.float64), axis=-1)


def _law(doc: Doc, prefix: str, unit: float, suffix: str = "_s") -> list[float]:
    """(median, sigma, lo, hi) of a truncated lognormal; times in microseconds."""
    numbers = [float(doc[f"{prefix}{k}{'' if k == 'sigma' else suffix}"]) for k in LAW]
    law = [n if k == "sigma" else n * unit for k, n in zip(LAW, numbers, strict=True)]
    if law[2] >= law[3]:
        raise refuse("S3_POLICY_INVALID", f"the law {prefix or 'amount'} is empty", law, "lo < hi")
    return law


def _template(doc: Doc, script: Doc, contracts: Contracts) -> Template:
    code = contracts.code
    domain = doc["domain"]
    vocabularies = {
        "channels": "channel_group",
        "party_types": "party_type",
        "party_roles": "fraud_role_party",
        "ledgers": "ledger_class",
        "instrument_kinds": "instrument_kind",
    }
    window = doc["window"]
    episode = doc.get("episode", {"p": 1.0, "cap": 1})
    return Template(
        row=code("campaign_type", doc["campaign_type"]) - 1,
        template_id=str(doc["template_id"]),
        fraud_class=code("fraud_class", doc["fraud_class"]),
        fraud_label=code("fraud_label", doc["fraud_label"]),
        tactic=code("tactic", doc["tactic"]),
        mode=MODES.index(doc["mode"]),
        domain={k: tuple(code(v, x) for x in domain[k]) for k, v in vocabularies.items()},
        share=float(doc["share"]),
        lanes=0.0 if doc["lanes"] == "ALL" else float(doc["lanes"]),
        per_million=float(doc["per_million"]),
        window=None if window["kind"] == "WHOLE" else {k: float(v) for k, v in window.items() if k != "kind"},
        p=float(episode["p"]),
        longest=int(episode["cap"]),
        clock=doc["clock"],
        script=script,
    )


#: Blocks that a script must have, by mode, and the mode's clocks.
_NEEDS = {
    "NEW": ({"form", "device", "address", "amount"}, {"VICTIM", "CAMPAIGN"}),
    "CHAIN": ({"form", "device", "address", "amount", "payee"}, {"CHAIN"}),
    "DISPUTE": (set(), {"ANCHOR"}),
    "REFUND": (set(), {"ANCHOR"}),
}


def _check_wording(name: str, script: Doc, forms: set[str]) -> None:
    """PolicyError when a script says what its forms make meaningless."""
    placed = bool(forms) and not forms - {"PRESENT", "CASH"}
    for block in ("device", "address"):
        kind = script.get(block, {}).get("kind")
        if kind in ("OWN", "TERMINAL") and (kind == "TERMINAL") != placed:
            raise refuse("S3_POLICY_INVALID", f"the {block} of {name} does not fit its forms", kind, "OWN or TERMINAL")
    if forms and ("ending" in script["amount"]) != bool(forms & {"REMOTE", "PRESENT"}):
        raise refuse("S3_POLICY_INVALID", f"the amounts of {name} have an ending law that no form uses, or none", name)


def _check(doc: Doc, script: Doc) -> None:
    """PolicyError when a template and its script do not fit, or when a block would not be used."""
    name = doc["campaign_type"]
    needed, clocks = set(_NEEDS[doc["mode"]][0]), _NEEDS[doc["mode"]][1]
    forms = {script["form"][k] for k in ("first", "second") if k in script.get("form", {})}
    if forms - {"TRANSFER"}:
        needed |= {"entry", "merchant"}
    if "REMOTE" in forms:
        needed.add("remote")
    if "TRANSFER" in forms:
        needed.add("payee")
    found = set(script) - {"campaign_type", "report"}
    if found != needed:
        raise refuse("S3_POLICY_INVALID", f"the script of {name} has other blocks than its forms use", found, needed)
    _check_wording(name, script, forms)
    if ("blocks" in script["report"]) != ("form" in script):
        raise refuse("S3_POLICY_INVALID", f"reports of {name} say `blocks` where nothing is redone, or do not", name)
    if doc["clock"]["kind"] not in clocks or ("episode" in doc) == (doc["mode"] == "CHAIN"):
        raise refuse("S3_POLICY_INVALID", f"clock or episode of {name} does not fit its mode", doc["mode"], clocks)
    choice = script.get("merchant", {}).get("choice")
    if "second" in script.get("form", {}) and ("second_share" in script["form"]) == (choice in ("FIXED", "COLLUSIVE")):
        raise refuse("S3_POLICY_INVALID", f"{name}: a fixed merchant decides the form, a share does elsewhere", choice)
    if (choice in ("CITY", "DISTANT")) and forms - {"PRESENT", "CASH"}:
        raise refuse("S3_POLICY_INVALID", f"{name} chooses terminals for forms without any", forms, "PRESENT, CASH")
    if choice not in (None, "CITY", "DISTANT") and "CASH" in forms:
        raise refuse("S3_POLICY_INVALID", f"{name} takes cash without choosing terminals", choice, "CITY, DISTANT")


def compile_laws(pack: Pack, contracts: Contracts) -> Laws:
    """Compile catalogue and overlay policies. PolicyError when they do not fit each other."""
    catalogue, overlay = pack.doc(CATALOGUE), pack.doc(OVERLAY)
    scripts = {s["campaign_type"]: s for s in overlay["scripts"]}
    names = [t["campaign_type"] for t in catalogue["templates"]]
    if len(set(names)) != len(names) or len(scripts) != len(overlay["scripts"]):
        raise refuse("S3_POLICY_INVALID", "a campaign type is listed twice", names)
    if set(scripts) != set(names):
        raise refuse("S3_POLICY_INVALID", "templates and scripts name other types", sorted(scripts), sorted(names))
    for t in catalogue["templates"]:
        _check(t, scripts[t["campaign_type"]])
    templates = tuple(_template(t, scripts[t["campaign_type"]], contracts) for t in catalogue["templates"])
    for t in templates:
        others = {r for o in templates if o is not t for r in o.domain["party_roles"]}
        if not t.lanes and others & set(t.domain["party_roles"]):
            raise refuse("S3_POLICY_INVALID", f"{t.template_id} takes ALL lanes but shares its party roles", t.domain)
    n = len(contracts.enum("campaign_type")) - 1
    arrays = _arrays(n, len(contracts.enum("payment_purpose")), len(contracts.enum("confirmation_of_payee")))
    for t in templates:
        _clock(t, arrays)
        _script(t, arrays, contracts)
    reports, refunds, chosen = overlay["reports"], overlay["refunds"], overlay["selection"]
    if refunds["partial_lo"] >= refunds["partial_hi"]:
        raise refuse("S3_POLICY_INVALID", "partial refunds have an empty range", dict(refunds), "lo < hi")
    part = [float(refunds[k]) for k in ("full_share", "partial_lo", "partial_hi")]
    seconds = ("prompt_median_s", "slow_median_s", "cut_s", "filing_median_s", "filing_cut_s")
    report = {k: float(v) * (US if k in seconds else 1.0) for k, v in reports.items()}
    order = ("prompt_median_s", "prompt_sigma", "slow_median_s", "slow_sigma", "cut_s")
    return Laws(
        templates=templates,
        types=n,
        lanes=int(catalogue["lanes"]),
        redo_us=int(float(catalogue["redo_days"]) * DAY_US),
        reports=tuple(report[k] for k in (*order, "filing_median_s", "filing_sigma", "filing_cut_s")),
        refund=np.array(part + _law(refunds, "delay_", US)),
        tier=np.array([float(chosen["party_tier"][k]) for k in contracts.enum("risk_tier")]),
        device_role=np.array([float(chosen["device_role"][k]) for k in contracts.enum("fraud_role_device")]),
        **arrays,
    )


def _arrays(n: int, purposes: int, checks: int) -> dict[str, Array]:
    """Zeroed arrays by type."""
    floats = (
        *("step", "jitter", "form_share", "device_own", "address_own", "entry_share", "three_ds", "cvv", "avs"),
        *("internal", "probability", "prompt_share"),
    )
    codes = ("clock", "form_first", "choice", "device", "address", "entry_first", "door")
    out: dict[str, Array] = {k: np.zeros(n) for k in floats}
    out |= {k: np.zeros(n, np.int8) for k in codes}
    out |= {k: np.full(n, -1, np.int8) for k in ("form_second", "entry_second")}
    out |= {k: np.zeros(n, np.int64) for k in ("device_spread", "address_spread")}
    out |= {k: np.zeros(n, np.bool_) for k in ("token", "relative", "given", "round_ending", "blocks")}
    out |= {k: np.zeros((n, 4)) for k in ("delay", "gap", "amount")}
    out |= {"groups": np.zeros((n, len(GROUPS))), "purposes": np.zeros((n, purposes)), "checks": np.zeros((n, checks))}
    return out


def _clock(t: Template, a: dict[str, Array]) -> None:
    doc, i = t.clock, t.row
    kind = CLOCKS.index(doc["kind"])
    a["clock"][i] = min(kind, 2)
    if doc["kind"] == "VICTIM":
        a["delay"][i] = _law(doc, "delay_", US)
        a["gap"][i] = _law(doc, "gap_", US)
    elif doc["kind"] == "CAMPAIGN":
        a["step"][i] = float(doc["gap_s"]) * US
        a["jitter"][i] = float(doc["jitter"])
    elif doc["kind"] == "CHAIN":
        a["gap"][i] = _law(doc, "gap_", US)


def _weights(doc: Doc, labels: tuple[str, ...]) -> Array:
    return running(np.array([float(doc.get(k, 0.0)) for k in labels]))


def _script(t: Template, a: dict[str, Array], contracts: Contracts) -> None:
    doc, i = t.script, t.row
    report = doc["report"]
    a["probability"][i] = float(report["probability"])
    a["prompt_share"][i] = float(report["prompt_share"])
    a["door"][i] = contracts.code("report_source", report["door"])
    a["blocks"][i] = bool(report.get("blocks", False))
    if "form" not in doc:
        return
    form, amount, device, address = doc["form"], doc["amount"], doc["device"], doc["address"]
    a["form_first"][i] = FORMS.index(form["first"])
    if "second" in form:
        a["form_second"][i] = FORMS.index(form["second"])
        a["form_share"][i] = float(form.get("second_share", 0.0))
    absolute = amount["of"] == "ABSOLUTE"
    a["amount"][i] = _law(amount, "", 100.0 if absolute else 1.0, "")
    a["relative"][i] = not absolute
    a["given"][i] = t.mode == CHAIN
    a["round_ending"][i] = amount.get("ending") == "ROUND"
    a["device"][i] = DEVICES.index(device["kind"]) % 3
    a["device_own"][i] = float(device.get("own_share", 0.0))
    a["device_spread"][i] = int(device.get("spread", 0))
    if address["kind"] == "GROUPS":
        a["address"][i] = 1
        a["address_own"][i] = float(address["own_share"])
        a["address_spread"][i] = int(address["spread"])
        a["groups"][i] = _weights(address["groups"], GROUPS)
    if "merchant" in doc:
        choice = doc["merchant"]["choice"]
        a["choice"][i] = 0 if choice == "COLLUSIVE" else CHOICES.index(choice)
    if "entry" in doc:
        entry = doc["entry"]
        a["entry_first"][i] = contracts.code("entry_mode", entry["first"])
        if "second" in entry:
            a["entry_second"][i] = contracts.code("entry_mode", entry["second"])
            a["entry_share"][i] = float(entry["second_share"])
        a["token"][i] = "token" in entry
    if "remote" in doc:
        for name, key in (("three_ds", "three_ds"), ("cvv", "cvv_match"), ("avs", "avs_match")):
            a[name][i] = float(doc["remote"][key])
    if "payee" in doc:
        payee = doc["payee"]
        a["purposes"][i] = _weights(payee["purposes"], contracts.enum("payment_purpose"))
        a["checks"][i] = _weights(payee["confirmation"], contracts.enum("confirmation_of_payee"))
        a["internal"][i] = float(payee.get("internal_share", 0.0))
