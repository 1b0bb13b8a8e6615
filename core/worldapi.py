"""Looking at a world in the terminal: what is in it, with small histograms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from fraudloom.contracts_api import Contracts, load_contracts
from fraudloom.tables import iter_groups

if TYPE_CHECKING:
    from fraudloom.states.figures import Outcome
    from fraudloom.states.world import World
    from fraudloom.states.world.figures import Figure

BARS, PLAIN_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
HOUR_US = 3_600_000_000
#: Visits with more arrivals than this are not drawn.
LONGEST = 12
#: From this width on the table of figures says what each measures.
WIDE = 150
SCANNED = ("channel_group", "ts_local_primary", "merchant_id", "trip", "visit_rank", "series_key", "home_city_id")


def sparkline(values: np.ndarray[Any, Any], bars: str = BARS) -> str:
    """One character per value, by its share of the largest; bars: nine characters from nothing to full."""
    top = float(values.max()) if len(values) else 0.0
    return "".join(bars[round(8 * float(v) / top)] if top > 0 else bars[0] for v in values)


def bar(share: float, width: int = 24, bars: str = BARS) -> str:
    """A bar of `width` characters at share 1."""
    return bars[-1] * round(share * width)


def bars_of(console: Console) -> str:
    """What a console's encoding can draw with."""
    return PLAIN_BARS if console.options.ascii_only else BARS


def scan(world: World, scenario: str) -> dict[str, Any]:
    """Counts over all arrivals of a scenario, a row group at a time."""
    contracts = world.contracts
    channels = np.zeros(len(contracts.enum("channel_group")), np.int64)
    places = np.zeros(LONGEST + 2, np.int64)
    hours, days = np.zeros(24, np.int64), np.zeros(world.days + 2, np.int64)
    merchants = np.zeros(int(world.manifest["rows"]["merchants_1A"]) + 1, np.int64)
    countries = np.zeros(len(contracts.enum("country_iso")), np.int64)
    trips = firsts = series = 0
    country_of = world.tables["cities_1B"]["country_iso"]
    for path in world.arrival_paths(scenario):
        for a in iter_groups(path, contracts.dataset("arrival_events_5B"), SCANNED):
            local = a["ts_local_primary"] // HOUR_US
            channels += np.bincount(a["channel_group"], minlength=len(channels))
            hours += np.bincount(local % 24, minlength=24)
            days += np.bincount(np.clip(local // 24 - world.start_day + 1, 0, len(days) - 1), minlength=len(days))
            merchants += np.bincount(a["merchant_id"], minlength=len(merchants))
            countries += np.bincount(country_of[a["home_city_id"] - 1], minlength=len(countries))
            trips += int(a["trip"].sum())
            firsts += int((a["visit_rank"] == 0).sum())
            series += int((a["series_key"] > 0).sum())
            places += np.bincount(np.minimum(a["visit_rank"], LONGEST + 1), minlength=len(places))
    return {
        "channels": channels,
        "hours": hours,
        "days": days[1:-1],
        "merchants": np.sort(merchants)[::-1],
        "countries": countries,
        "trips": trips,
        "visits": firsts,
        "series": series,
        "lengths": -np.diff(places),
    }


def _facts(world: World) -> Mapping[str, object]:
    m = world.manifest
    origin = f"{m['origin']}, spec {m['spec'].get('generator_spec')}, seed {m['seed']}, tzdata {m['tzdata']}"
    return {
        "world": world.root,
        "fingerprint": world.fingerprint,
        "origin": origin,
        "horizon": f"{world.days} days from {np.datetime64(world.start_day, 'D')}",
        "shards": f"{world.shards} of at most about {m['shard_target_arrivals']:,} arrivals",
        "pinned": ", ".join(m["pinned"]) or "nothing",
        "made": ", ".join(m["made"]),
        "unusable rows": len(m.get("unusable_rows", [])),
    }


def show_world(root: Path, contracts: Contracts | None = None, console: Console | None = None) -> None:
    """Print what a world holds: identity, tables, and per scenario the channels, hours, days, merchants, countries."""
    from fraudloom.states.world import load_world

    contracts = contracts or load_contracts()
    out = console or Console()
    world = load_world(root, contracts)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(world).items():
        facts.add_row(name, escape(str(value)))
    out.print(facts)
    if "log_columns" in world.manifest:
        _show_log(world.manifest, out)
    rows = Table("table", Column("rows", justify="right"), box=SIMPLE)
    for name, count in world.manifest["rows"].items():
        rows.add_row(name, f"{count:,}")
    out.print(rows)
    sizes = np.bincount(world.tables["cohorts_6A"]["party_count"])[1:]
    out.print(f"households of 1, 2, ...  {sparkline(sizes, bars_of(out))}  parties; {sizes.sum():,} households")
    for scenario in world.scenarios:
        _show_scenario(world, scenario, out)


def _show_log(manifest: Mapping[str, Any], out: Console) -> None:
    """What an imported log pins, in how many rows and where, and what was made of the rest."""
    facts, told = manifest["log_columns"], manifest["pinned"]
    columns = Table("of the log", *(Column(c, justify="right") for c in ("pinned", "made")), "how made", box=SIMPLE)
    for ours in (*told, *(c for c in facts if c not in told)):
        fact = facts[ours]
        name = f"{ours} ({fact['log_column']})" if ours in told else ours
        how = fact["otherwise"] if fact["made_rows"] else ""
        columns.add_row(escape(name), f"{fact['pinned_rows']:,}", f"{fact['made_rows']:,}", escape(how))
    out.print(columns)
    tables = Table("table", "pinned columns; the others were made", box=SIMPLE)
    for name, c in manifest["table_columns"].items():
        if c["pinned"]:
            tables.add_row(name, escape(", ".join(c["pinned"])))
    made = [name for name, c in manifest["table_columns"].items() if not c["pinned"]]
    tables.add_row("made as a whole", escape(", ".join(made)))
    out.print(tables)
    if "labels" in manifest:
        counted = ", ".join(f"{label} {n:,}" for label, n in manifest["labels"]["rows"].items())
        out.print(escape(f"labels of the log: {counted}. {manifest['labels']['meaning']}"))


def _show_scenario(world: World, scenario: str, out: Console) -> None:
    seen, bars = scan(world, scenario), bars_of(out)
    n = max(int(seen["channels"].sum()), 1)
    out.print(f"[bold]{escape(scenario)}[/bold]  {world.n_arrivals(scenario):,} arrivals in {seen['visits']:,} visits")
    for label, count in zip(world.contracts.enum("channel_group"), seen["channels"], strict=True):
        out.print(f"  {label:<10}{count:>14,}  {count / n:6.2%}  {bar(count / n, bars=bars)}")
    out.print(f"  local hour 0-23     {sparkline(seen['hours'], bars)}")
    step = -(-len(seen["days"]) // min(90, max(out.width - 24, 20)))
    padded = np.pad(seen["days"], (0, -len(seen["days"]) % step)).reshape(-1, step).sum(axis=1)
    out.print(f"  {'days' if step == 1 else f'{step} days each':<20}{sparkline(padded, bars)}")
    ones = seen["lengths"][0] / max(seen["visits"], 1)
    out.print(f"  visits of 1, 2, ..  {sparkline(seen['lengths'], bars)}  arrivals; {ones:.1%} have one")
    ranks = np.unique(np.concatenate([np.arange(10), np.arange(10, 100, 10), [99, 999, 9999]]))
    top = seen["merchants"][ranks[ranks < len(seen["merchants"])]]
    out.print(f"  merchants by rank   {sparkline(top, bars)}  the first has {seen['merchants'][0] / n:.2%} of arrivals")
    order = np.argsort(-seen["countries"], kind="stable")[:8]
    names = world.contracts.enum("country_iso")
    shares = "  ".join(f"{names[c]} {seen['countries'][c] / n:.1%}" for c in order if seen["countries"][c])
    out.print(f"  payers from         {shares}", soft_wrap=True)
    out.print(f"  on trips {seen['trips'] / n:.2%}, in subscriptions and standing orders {seen['series'] / n:.2%}")


def gauge(figure: Figure | Outcome, width: int = 9) -> str:
    """Where a value lies in its corridor: a dot between two ends, or beyond one of them."""
    if figure.value is None:
        return ""
    span = figure.high - figure.low
    if figure.value < figure.low or figure.value > figure.high:
        return "o|" + "-" * width + "|" if figure.value < figure.low else "|" + "-" * width + "|o"
    at = round((width - 1) * (figure.value - figure.low) / span) if span > 0 else width // 2
    return "|" + "-" * at + "o" + "-" * (width - 1 - at) + "|"


def figure_facts(world: World, figures: list[Figure]) -> dict[str, Any]:
    """The object of `world show --figures --json`."""
    return {
        "world_root": str(world.root),
        "manifest_fingerprint": world.fingerprint,
        "origin": world.manifest["origin"],
        "arrivals": dict(world.manifest["arrivals"]),
        "outside": [f"{f.scenario}/{f.name}" if f.scenario else f.name for f in figures if f.status == "outside"],
        "figures": [f.as_dict() for f in figures],
    }


def show_figures(world: World, figures: list[Figure], console: Console | None = None) -> None:
    """Print figures by scenario: value, corridor, where in it, and, where there is room, what is measured."""
    out = console or Console()
    if not out.is_terminal:
        out.width = max(out.width, 190)
    for scenario in ("", *world.scenarios):
        table = Table(scenario or "the world", Column("value", justify="right"), box=SIMPLE)
        for name in ("corridor", "", ""):
            table.add_column(name, no_wrap=True)
        if out.width >= WIDE:
            table.add_column("measured")
        for f in (f for f in figures if f.scenario == scenario):
            value = "none" if f.value is None else f"{f.value:.5g}"
            style = {"outside": "bold red", "inside": ""}.get(f.status, "dim")
            cells = (f.name, value, f"{f.low:g} - {f.high:g}", gauge(f), f.status, f.means)
            table.add_row(*cells[: len(table.columns)], style=style)
        out.print(table)
    counts = {s: sum(f.status == s for f in figures) for s in ("inside", "outside", "not applicable")}
    out.print(", ".join(f"{n} {s}" for s, n in counts.items()))
