"""`fraudloom contracts` and `fraudloom policies`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Annotated, Any

import typer

from fraudloom.cli_common import emit, say, settings

contracts_app = typer.Typer(no_args_is_help=True)
policies_app = typer.Typer(no_args_is_help=True)
#: A column of text narrower than this is not wrapped.
MIN_ROOM = 20


@contracts_app.command("check")
def contracts_check(
    ctx: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False
) -> None:
    """Prove that dictionary, registry and schema packs agree and that every anchor resolves."""
    from fraudloom.contract_check import check_contracts
    from fraudloom.contracts_api import load_contracts

    contracts = load_contracts(settings(ctx).contracts)
    counts = check_contracts(contracts)
    if as_json:
        emit({"root": str(contracts.root), "digest": contracts.digest, **counts})
    else:
        say("contracts agree: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
        say(f"digest {contracts.digest}")


@contracts_app.command("show")
def contracts_show(
    ctx: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="Dataset id; without it, all ids.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show one dataset: path, keys, order and columns; or list all datasets."""
    from fraudloom.contract_source import ContractSource
    from fraudloom.contracts_api import load_contracts

    contracts = load_contracts(settings(ctx).contracts)
    if dataset is None:
        if as_json:
            emit({d.id: {"owner": d.owner, "description": d.description} for d in contracts.datasets.values()})
            return
        for d in contracts.datasets.values():
            _wrapped(f"{d.owner:<7}{d.id:<36}", d.description)
        return
    d = contracts.dataset(dataset)
    ref = ContractSource(contracts.root).schema_ref(d.id)
    columns = [
        {
            "name": c.name,
            "type": (f"enum:{c.enum}" if c.enum else c.type) + ("?" if c.nullable else ""),
            "visibility": c.visibility,
            "profile": c.profile,
            "encoding": c.encoding,
            "doc": c.doc,
        }
        for c in d.columns
    ]
    facts = {
        "id": d.id,
        "owner": d.owner,
        "description": d.description,
        "path": d.path,
        "partitions": list(d.partitions),
        "key": list(d.key),
        "sort": list(d.sort),
        "aligned_with": d.aligned_with,
        "final": d.final,
        "schema_ref": ref,
    }
    if as_json:
        emit({**facts, "columns": columns})
        return
    for name, value in facts.items():
        if value is not None and value != []:
            _wrapped(f"{name:<14}", ", ".join(value) if isinstance(value, list) else str(value))
    say("")
    _columns([{**c, "type": str(c["type"])} for c in columns])
    enums = dict.fromkeys(c.enum for c in d.columns if c.enum)
    if enums:
        say("\nenums (`?` after a type: may be null)")
    for name in enums:
        _wrapped(f"  {name:<26}", ", ".join(contracts.enum(name)))


def _columns(columns: list[dict[str, Any]]) -> None:
    """A table of columns; in a terminal the meaning is wrapped in its own column."""
    names = ("name", "type", "visibility", "profile", "encoding")
    heads = {n: n for n in (*names, "doc")} | {"doc": "meaning"}
    wide = {n: max(len(str(row[n])) for row in (heads, *columns)) + 2 for n in names}
    for row in (heads, *columns):
        cells = [f"{row[n]!s:<{wide[n]}}" for n in names]
        if _fits("  " + "".join(cells)):
            _wrapped("  " + "".join(cells), str(row["doc"]))
        else:  # too narrow for six columns side by side: half of them stand below the others
            say("  " + "".join(cells[:3]).rstrip())
            _wrapped("      " + "".join(cells[3:]), str(row["doc"]))


def _fits(head: str) -> bool:
    """Whether a terminal has room beside `head`; what is no terminal has."""
    return not sys.stdout.isatty() or shutil.get_terminal_size().columns - len(head) >= MIN_ROOM


def _wrapped(head: str, text: str) -> None:
    """`head` and `text` on one line; in a terminal the text hangs below itself, elsewhere it stays whole."""
    room = shutil.get_terminal_size().columns - len(head) if sys.stdout.isatty() else 0
    if room >= MIN_ROOM:
        text = ("\n" + " " * len(head)).join(textwrap.wrap(text, room, break_on_hyphens=False)) or text
    say(head + text)


@policies_app.command("check")
def policies_check(
    ctx: typer.Context,
    pack: Annotated[str | None, typer.Argument(help="Pack name or folder; without it, all shipped packs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Check a pack (or all shipped ones) against the schemas of its policies."""
    from fraudloom.contracts_api import load_contracts
    from fraudloom.policies_api import load_pack, packs_root

    contracts = load_contracts(settings(ctx).contracts)
    names = [pack] if pack else sorted(p.parent.name for p in packs_root().glob("*/pack.yaml"))
    found = {}
    for name in names:
        p = load_pack(name, contracts)
        found[name] = {
            "profile": p.profile,
            "policies": sorted(p.docs),
            "digest": p.digest,
            "validation_digest": p.validation_digest,
        }
        if not as_json:
            say(f"{name}: {len(p.docs)} policies agree with their schemas, profile {p.profile}, digest {p.digest[:16]}")
    if as_json:
        emit(found)


@policies_app.command("show")
def policies_show(
    ctx: typer.Context,
    policy: Annotated[str | None, typer.Argument(help="Policy id; without it, all ids of the pack.")] = None,
    pack: Annotated[str, typer.Option(help="Pack name or folder.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Plain data as JSON.")] = False,
) -> None:
    """Show one policy of a pack as it stands, or list the policies."""
    from fraudloom.contracts_api import load_contracts
    from fraudloom.policies_api import load_pack

    contracts = load_contracts(settings(ctx).contracts)
    p = load_pack(pack, contracts)
    if policy is None:
        if as_json:
            emit({"name": p.name, "profile": p.profile, "policies": {k: str(v) for k, v in p.sources.items()}})
            return
        for name, path in sorted(p.sources.items()):
            say(f"{name:<40}{path}")
        return
    doc = p.doc(policy)
    if as_json:
        emit(doc)
    else:
        say(p.sources[policy].read_text("utf-8").rstrip("\n"))
