"""Realism corridors: figures over all rows of all scenarios, against the policy's bounds."""

from __future__ import annotations

from collections.abc import Mapping

from fraudloom.states.s5.plan import CORRIDOR_OF, S5Plan


def _ratio(sums: Mapping[str, int], part: str, whole: str, scale: float = 1.0) -> float | None:
    """part over whole, or None when either was not counted or the whole is zero."""
    if part not in sums or not sums.get(whole):
        return None
    return sums[part] / scale / sums[whole]


def figures(sums: Mapping[str, int], full: bool) -> dict[str, dict[str, float | None]]:
    """Every figure by corridor group and name; None where the profile does not publish what it needs."""
    flows = {"baseline": sums.get("s2_flows", 0), "all": sums.get("s3_flows", 0)}
    types = sum(1 for k, n in sums.items() if k.startswith("pattern_") and n)
    axes = sum(1 for k, n in sums.items() if k.startswith("axis_") and k != "axis_128" and n)
    return {
        "baseline": {
            "decline_share_ecom": _ratio(sums, "declined_ECOM", "flows_ECOM"),
            "decline_share_pos": _ratio(sums, "declined_POS", "flows_POS"),
            "decline_share_atm": _ratio(sums, "declined_ATM", "flows_ATM"),
            "decline_share_rail": _ratio(sums, "declined_BANK_RAIL", "flows_BANK_RAIL"),
            "refund_share": _ratio(sums, "refunded", "cleared"),
            "single_arrival_sessions": _ratio(sums, "single_sessions", "sessions"),
            "multi_flow_sessions": _ratio(sums, "multi_flow_sessions", "sessions"),
            "step_up_share": _ratio(sums, "challenged", "s2_flows"),
        },
        "fraud": {
            "fraud_share": _ratio(sums, "truth_FRAUD", "s3_flows"),
            "abuse_share": _ratio(sums, "truth_ABUSE", "s3_flows"),
            "pattern_types": float(types) if full and flows["all"] else None,
            "mutation_axes": float(axes) if full and flows["all"] else None,
            "origin_new_share": _ratio(sums, "flows_new", "s3_flows"),
        },
        "bank": {
            "legit_flagged": _ratio(sums, "legit_flagged", "truth_LEGIT"),
            "detection_fraud": _ratio(sums, "known_FRAUD", "truth_FRAUD"),
            "detection_abuse": _ratio(sums, "known_ABUSE", "truth_ABUSE"),
        },
        "cases": {
            "involved_share": _ratio(sums, "case_members", "s3_flows"),
            "flows_per_case": _ratio(sums, "case_members", "cases"),
            "duration_mean_s": _ratio(sums, "case_duration_us", "cases", 1e6),
            "chargeback_share": _ratio(sums, "cases_charged", "cases"),
            "zero_gap_share": _ratio(sums, "case_zero_gaps", "case_gaps"),
        },
    }


def read(
    plan: S5Plan, values: Mapping[str, Mapping[str, float | None]], check: str
) -> tuple[list[str], dict[str, float]]:
    """Figures of a check outside their corridors (as messages), and all figures that could be read."""
    group = CORRIDOR_OF[check]
    outside = []
    shown = {}
    for name, (low, high) in plan.corridors[group].items():
        value = values[group][name]
        if value is None:
            continue
        shown[name] = value
        if not low <= value <= high:
            outside.append(f"{name} is {value:.6g}, corridor {low:g} to {high:g}")
    return outside, shown
