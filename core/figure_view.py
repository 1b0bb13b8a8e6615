"""The figures of a run for people: a table per scenario, by section, that fits its terminal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fraudloom.worldapi import WIDE, gauge

if TYPE_CHECKING:
    from fraudloom.states.figures import Outcome

#: From this width on there is room to draw where in its corridor a figure lies.
ROOMY = 90
STYLES = {"outside": "bold red", "inside": "green"}
STATUSES = ("inside", "outside", "not applicable")
SHORT = {"not applicable": "n/a"}


def _value(x: float | None) -> str:
    if x is None:
        return "-"
    return f"{x:,.0f}" if x == int(x) and (x == 0 or abs(x) >= 10) else f"{x:.4g}"


def _table(section: str, rows: list[Outcome], width: int) -> Table:
    table = Table(
        Column(section, no_wrap=True, width=33, header_style="bold"),
        Column("value", justify="right", no_wrap=True, width=9),
        Column("corridor", no_wrap=True, width=17),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    if width >= ROOMY:
        table.add_column("", no_wrap=True, width=12)
    table.add_column("", no_wrap=True, width=7)
    if width >= WIDE:
        table.add_column("measured")
    for o in rows:
        cells = [o.name, _value(o.value), f"{o.low:g}" if o.low == o.high else f"{o.low:g} - {o.high:g}"]
        cells += [gauge(o)] if width >= ROOMY else []
        word = Text(SHORT.get(o.status, o.status), STYLES.get(o.status, "dim"))
        style = "dim" if o.status == "not applicable" else ""
        table.add_row(*cells, word, *([o.means] if width >= WIDE else []), style=style)
    return table


def _explained(o: Outcome) -> Text:
    return Text.assemble((f"{o.name} is outside", "bold red"), f"  {o.means}")


def show(value: Mapping[str, Any], found: list[Outcome], console: Console | None = None) -> None:
    """Print figures by scenario and section; then why some have no value, what lies outside, and how many did what."""
    out = console or Console()
    if not out.is_terminal:
        out.width = max(out.width, WIDE + 40)
    out.print(f"{value['run_id']}  corridors of pack {value['policies']}", markup=False, highlight=False)
    for scenario, of_scenario in groupby(found, lambda o: o.scenario):
        rows = list(of_scenario)
        out.print(Text.assemble((scenario, "bold"), f"  {value['arrivals'][scenario]:,} arrivals"))
        for section, own in groupby(rows, lambda o: o.section):
            out.print(_table(section, list(own), out.width))
        for note, noted in groupby(sorted((o for o in rows if o.note), key=lambda o: o.note), lambda o: o.note):
            out.print(Text(f"no value: {', '.join(o.name for o in noted)}: {note}", "dim"))
        for o in rows:
            if o.status == "outside":
                out.print(_explained(o))
    counts = {s: sum(o.status == s for o in found) for s in STATUSES}
    out.print(", ".join(f"{n} {s}" for s, n in counts.items()), highlight=False)
