"""The score for people: a table in the terminal, and the same as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from fraudloom.states.score import GateResult, MeasureResult, Report

WORDS = {
    "PASS_BPLUS": ("B+", "bold green"),
    "PASS_B": ("B", "green"),
    "FAIL": ("FAIL", "bold red"),
    "INSUFFICIENT": ("no evidence", "bold red"),
    "NOT_APPLICABLE": ("n/a", "dim"),
    "NOT_PUBLISHED": ("-", "dim"),
}
#: Narrower terminals get columns closer together.
WIDE = 96
VERDICTS = {
    "PASS_BPLUS": "every gate passes B+",
    "PASS_B": "every gate passes B",
    "PASS_STRUCTURE": "every gate of structure passes; gates of realism do not apply and were not judged",
    "PASS_HARD_ONLY": "the hard gates pass B; a stretch gate does not",
    "FAIL_REALISM": "a hard gate does not pass B",
}


def figure(x: float | None) -> str:
    """A figure with four significant digits; counts whole."""
    if x is None:
        return "-"
    return f"{x:,.0f}" if x == int(x) and abs(x) >= 10 else f"{x:.4g}"


def chance(p: float | None) -> str:
    """A chi-square probability; below 1e-9 it says so."""
    if p is None:
        return ""
    return "p < 1e-9" if p < 1e-9 else f"p {p:.2g}"


#: Parts of names of figures that people write otherwise.
NAMES = {
    "cramers v": "Cramer's V",
    "cohen d": "Cohen's d",
    "ks dist": "KS dist",
    "ato med": "ATO med",
    "app sc": "APP sc",
}


def _measure_name(r: MeasureResult) -> str:
    name = r.measure.name.replace("_", " ")
    for plain, written in NAMES.items():
        name = name.replace(plain, written)
    return name


def _word(status: str) -> Text:
    return Text(*WORDS[status])


def _table(report: Report, width: int) -> Table:
    table = Table(
        Column("gate", no_wrap=True),
        Column("class", no_wrap=True),
        Column("metric", ratio=1),
        Column("found", justify="right", no_wrap=True),
        Column("B", no_wrap=True),
        Column("B+", no_wrap=True),
        Column("verdict", no_wrap=True),
        Column("owner", min_width=5),
        box=SIMPLE_HEAD,
        expand=True,
        padding=(0, 1 if width >= WIDE else 0, 0, 0),
        pad_edge=False,
    )
    for g in report.gates:
        _add(table, g)
    return table


def _add(table: Table, g: GateResult) -> None:
    """The rows of a gate: one, or a head and one for each of its figures."""
    applies = g.status != "NOT_APPLICABLE"
    style = "" if applies else "dim"
    several = len(g.measures) > 1
    owners = " ".join(g.owners)
    if several:
        table.add_row(g.gate.id, g.gate.klass, escape(g.gate.metric), "", "", "", _word(g.status), owners, style=style)
    for r in g.measures:
        metric = f"  {_measure_name(r)}" if several else g.gate.metric
        found = "\n".join(x for x in (figure(r.found.value), chance(r.found.p)) if x)
        cells = (escape(metric), found, escape(str(r.measure.b)), escape(str(r.measure.b_plus)))
        word = _word(r.status if applies or r.status == "NOT_PUBLISHED" else g.status)
        head, tail = (("", ""), "") if several else ((g.gate.id, g.gate.klass), owners)
        table.add_row(*head, *cells, word, tail, style=style)


def _notes(g: GateResult) -> str:
    return "; ".join(
        f"{_measure_name(r)} {figure(r.found.value)}" + (f" ({note})" if (note := _reason(r)) else "")
        for r in g.measures
        if r.status in ("FAIL", "INSUFFICIENT")
    )


def _reason(r: MeasureResult) -> str:
    if r.status == "INSUFFICIENT":
        return r.found.note
    limit = r.measure.p_max
    by_chance = limit is not None and (r.found.p or 0.0) > limit
    wanted = f"{chance(r.found.p)}, may be chance: wanted p ≤ {limit:g}" if by_chance else f"wanted {r.measure.b}"
    return "; ".join(x for x in (wanted, r.found.note) if x)


def summary(value: Mapping[str, Any], report: Report) -> str:
    """One line: verdict, what it means, and how many gates came out how."""
    counts = {w: sum(g.status == s for g in report.gates) for s, (w, _) in WORDS.items()}
    told = ", ".join(f"{n} {w}" for w, n in counts.items() if n)
    return f"{value['verdict']}  {VERDICTS[value['verdict']]} ({told})"


def remarks(report: Report) -> list[str]:
    """What a reader should know of gates that do not fail: figures read from a stand-in or left out."""
    out = [report.why_not_applicable] if report.why_not_applicable else []
    for g in report.gates:
        out += [f"{g.gate.id}: {r.found.note}" for r in g.measures if "not published" in r.found.note and not g.failed]
    return list(dict.fromkeys(out))


def show(value: Mapping[str, Any], report: Report, console: Console | None = None) -> None:
    """Print the table; remarks; and last what fails, why, who must move and what to turn."""
    out = console or Console()
    head = f"{value['run_id']}  {value['arrivals']:,} arrivals, gates of pack {value['policies']}"
    out.print(head, markup=False, highlight=False)
    out.print(_table(report, out.width))
    for remark in remarks(report):
        out.print(f"note  {remark}", style="dim", markup=False, highlight=False)
    for g in report.failures:
        title = Text.assemble((f"{g.gate.id} fails", "bold red"), f"  {' and '.join(g.owners)} must move")
        body = Table.grid(padding=(0, 2, 0, 0))
        body.add_row("  found", Text(_notes(g)))
        body.add_row("  do", Text(g.gate.move))
        out.print(title, body, sep="\n")
    out.print(Text(summary(value, report), style="bold green" if report.passed else "bold red"))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def markdown(value: Mapping[str, Any], report: Report) -> str:
    """The whole report as Markdown, every figure with its note."""
    lines = [
        f"# Realism of run {value['run_id']}",
        "",
        f"**{value['verdict']}**: {summary(value, report).split('  ', 1)[1]}.",
        f"{value['arrivals']:,} arrivals, seed {value['axes']['seed']}, profile {value['profile']}, gates of pack "
        f"{value['policies']}.",
        "",
    ]
    lines += [f"- {remark}" for remark in remarks(report)]
    lines += [""] if remarks(report) else []
    heads = ("gate", "class", "metric", "found", "B", "B+", "verdict", "owner", "note")
    lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for g in report.gates:
        for k, r in enumerate(g.measures):
            metric = g.gate.metric if len(g.measures) == 1 else f"{g.gate.metric}: {_measure_name(r)}"
            found = ", ".join(x for x in (figure(r.found.value), chance(r.found.p)) if x)
            status = r.status if g.status != "NOT_APPLICABLE" else g.status
            cells = (metric, found, str(r.measure.b), str(r.measure.b_plus), WORDS[status][0], " ".join(g.owners))
            head = (g.gate.id, g.gate.klass) if k == 0 else ("", "")
            lines.append("| " + " | ".join(_cell(c) for c in (*head, *cells, r.found.note)) + " |")
    if report.failures:
        lines += ["", "## What must move", ""]
        lines += [
            f"- **{g.gate.id}** ({', '.join(g.owners)}): {_notes(g)}. To do: {g.gate.move}." for g in report.failures
        ]
    return "\n".join(lines) + "\n"
