"""Leaves of policy documents: where the numbers, switches and choices are, and which other values they may take.

A path is a tuple of mapping keys and list places; written with dots. Bounds come from the policy's JSON schema.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
Schema = Mapping[str, Any]

#: Keys whose labels name a thing rather than choose a behaviour.
IDENTITY = {"campaign_type", "template_id", "rule", "subtype", "policy_id", "family", "decision", "domain", "counter"}
NUMBER, SWITCH, CHOICE, MEMBER = "number", "switch", "choice", "member"


class _Removed:
    def __repr__(self) -> str:
        return "(left out)"


#: Instead of a label in a list: the list without it.
REMOVED = _Removed()


@dataclass(frozen=True)
class Leaf:
    """One value of a document. `others`: values to try instead, in order; `fixed`: the schema allows no other."""

    doc_id: str
    path: Path
    kind: str
    value: Any
    others: tuple[Any, ...]
    fixed: bool = False

    @property
    def key(self) -> str:
        """`doc:dotted.path`."""
        return f"{self.doc_id}:{dotted(self.path)}"


def dotted(path: Path) -> str:
    """A path as text."""
    return ".".join(str(p) for p in path)


def walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (path, value) of every scalar, in document order."""
    if isinstance(node, Mapping):
        for k, v in node.items():
            yield from walk(v, (*path, k))
    elif isinstance(node, list | tuple):
        for i, v in enumerate(node):
            yield from walk(v, (*path, i))
    else:
        yield path, node


def get(node: Any, path: Path) -> Any:
    """The value at a path."""
    for p in path:
        node = node[p]
    return node


def put(doc: Any, path: Path, value: Any) -> Any:
    """A copy of the document with one value replaced; what is not on the path is shared."""
    if not path:
        return value
    out = copy.copy(doc)
    if value is REMOVED and len(path) == 1:
        del out[path[0]]
        return out
    out[path[0]] = put(doc[path[0]], path[1:], value)
    return out


def override(doc: Any, pattern: str, value: Any) -> Any:
    """A copy with the value at a dotted path replaced; `*` stands for every key or place; what is absent stays so."""

    def go(node: Any, parts: Sequence[str]) -> Any:
        if not parts:
            return value
        if isinstance(node, Mapping):
            names: list[Any] = list(node) if parts[0] == "*" else [parts[0]] if parts[0] in node else []
        elif isinstance(node, list):
            names = list(range(len(node))) if parts[0] == "*" else [int(parts[0])]
        else:
            names = []
        out = copy.copy(node)
        for name in names:
            out[name] = go(node[name], parts[1:])
        return out

    return go(doc, pattern.split("."))


def schemas_at(root: Schema, schema: Schema, path: Path, node: Any) -> list[Schema]:
    """Every subschema that speaks about the value at a path, references resolved; branches that do not fit left out."""
    if "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        return schemas_at(root, target, path, node)
    found: list[Schema] = []
    for word in ("allOf", "oneOf", "anyOf"):
        for branch in schema.get(word, ()):
            if word == "allOf" or _fits(root, branch, node):
                found += schemas_at(root, branch, path, node)
    if not path:
        return [schema, *found]
    step, rest, inner = path[0], path[1:], node[path[0]]
    if isinstance(node, Mapping):
        below = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
    else:
        first = schema.get("prefixItems", ())
        below = first[step] if isinstance(step, int) and step < len(first) else schema.get("items")
    if isinstance(below, Mapping):
        found += schemas_at(root, below, rest, inner)
    return [schema, *found] if "const" in schema else found


def _fits(root: Schema, schema: Schema, node: Any) -> bool:
    """Whether a node may be an instance of a branch: its type, constants of its keys, and no key that it refuses."""
    if "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        return _fits(root, target, node)
    if "const" in schema and schema["const"] != node:
        return False
    if "enum" in schema and node not in schema["enum"]:
        return False
    kinds = {"object": Mapping, "array": list, "number": int | float, "integer": int, "string": str}
    if "type" in schema and schema["type"] in kinds and not isinstance(node, kinds[schema["type"]]):
        return False
    if isinstance(node, Mapping):
        known = schema.get("properties", {})
        if schema.get("additionalProperties") is False and set(node) - set(known):
            return False
        return all(_fits(root, known[k], v) for k, v in node.items() if k in known)
    return True


def numbers_beside(value: float, schemas: Sequence[Schema]) -> list[Any]:
    """Clearly different numbers within the bounds: near (half as much again, two thirds), then far, then bounds."""
    for s in schemas:
        if "enum" in s:
            return [x for x in s["enum"] if x != value]
    whole = isinstance(value, int) or any(s.get("type") == "integer" for s in schemas)
    lows = [s["minimum"] for s in schemas if "minimum" in s]
    highs = [s["maximum"] for s in schemas if "maximum" in s]
    open_low = [s["exclusiveMinimum"] for s in schemas if "exclusiveMinimum" in s]
    open_high = [s["exclusiveMaximum"] for s in schemas if "exclusiveMaximum" in s]
    lo = max(lows, default=None)
    hi = min(highs, default=None)
    tries: list[float] = []
    if value:
        tries += [value * 1.5, value / 1.5, value * 4.0, value / 4.0, value * 40.0, value / 40.0]
    else:
        tries += [1.0, -1.0, 0.1]
    if whole:
        tries += [value + 1, value - 1]
    if hi is not None:
        tries += [(value + hi) / 2, hi]
    if lo is not None:
        tries += [(value + lo) / 2, lo]
    out: list[Any] = []
    for t in tries:
        x: Any = round(t) if whole else float(t)
        if (lo is not None and x < lo) or (hi is not None and x > hi):
            continue
        if any(x <= b for b in open_low) or any(x >= b for b in open_high):
            continue
        wide = hi is not None and lo is not None and abs(x - value) >= 0.25 * (hi - lo)
        if x == value or x in out or not (whole or wide or abs(x - value) >= 0.15 * abs(value)):
            continue
        out.append(x)
    return out


def empty_lists(node: Any, path: Path = ()) -> Iterator[Path]:
    """Paths of lists without members."""
    if isinstance(node, list | tuple) and not node:
        yield path
    elif isinstance(node, Mapping):
        for k, v in node.items():
            yield from empty_lists(v, (*path, k))
    elif isinstance(node, list | tuple):
        for i, v in enumerate(node):
            yield from empty_lists(v, (*path, i))


def _filled(schemas: Sequence[Schema]) -> tuple[list[Any], ...]:
    """Lists of one member that a schema of lists allows: each label, or each of its examples."""
    items: Schema = next((s["items"] for s in schemas if "items" in s), {})
    return tuple([x] for x in items.get("enum", items.get("examples", ())))


def leaves(doc_id: str, doc: Any, schema: Schema) -> Iterator[Leaf]:
    """Every number, switch, choice and list member of a document, in its order; lists without members behind them."""
    yield from _scalars(doc_id, doc, schema)
    for path in empty_lists(doc):
        filled = _filled(schemas_at(schema, schema, path, doc))
        if filled:
            yield Leaf(doc_id, path, MEMBER, [], filled)


def _scalars(doc_id: str, doc: Any, schema: Schema) -> Iterator[Leaf]:
    for path, value in walk(doc):
        if path in (("version",), ("schema_version",)):
            continue
        schemas = schemas_at(schema, schema, path, doc)
        fixed = any("const" in s for s in schemas)
        if isinstance(value, bool):
            yield Leaf(doc_id, path, SWITCH, value, () if fixed else (not value,), fixed)
        elif isinstance(value, int | float):
            yield Leaf(doc_id, path, NUMBER, value, () if fixed else tuple(numbers_beside(value, schemas)), fixed)
        elif isinstance(value, str) and not fixed and not IDENTITY & set(map(str, path[-1:])):
            yield from _labels(doc_id, path, value, schemas, doc)


def _labels(doc_id: str, path: Path, value: str, schemas: Sequence[Schema], doc: Any) -> Iterator[Leaf]:
    choices = next((tuple(s["enum"]) for s in schemas if "enum" in s), ())
    if isinstance(path[-1], int):
        beside = get(doc, path[:-1])
        if all(isinstance(x, str) for x in beside):
            yield Leaf(doc_id, path, MEMBER, value, (REMOVED, *(c for c in choices if c not in beside)))
    elif len(choices) > 1:
        yield Leaf(doc_id, path, CHOICE, value, tuple(c for c in choices if c != value))
