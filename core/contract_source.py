"""Where contracts lie: a root and a layout, and the resolving of schema references (`schemas.6B.yaml#/tables/...`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from fraudloom.contracts_api import YamlLoader, packaged_root
from fraudloom.errors import ContractError


@dataclass(frozen=True)
class Layout:
    """Folders and files below a contracts root."""

    dictionary: str
    schemas: str
    registry: str


#: Layouts by name. `packaged` is how they ship; `flat` has all files in one folder.
LAYOUTS = {
    "packaged": Layout("dictionary", "schemas", "registry.yaml"),
    "flat": Layout(".", ".", "registry.yaml"),
}
SEGMENTS = ("1A", "1B", "2A", "2B", "3A", "3B", "5A", "5B", "6A", "6B")
#: Packs that hold schemas of rows and of control artefacts.
PACKS = (*(f"schemas.{s}.yaml" for s in SEGMENTS), "schemas.control.yaml")


def read_contract(path: Path) -> Any:
    """Plain data of a contract file; ContractError when it is missing or malformed."""
    try:
        text = path.read_text("utf-8")
    except OSError:
        raise ContractError(
            "CONTRACT",
            "CONTRACT_FILE_MISSING",
            what="a contract file is missing",
            where=path,
            action="point --contracts at a complete contracts folder",
        ) from None
    try:
        return yaml.load(text, Loader=YamlLoader)
    except yaml.YAMLError as e:
        raise ContractError(
            "CONTRACT",
            "CONTRACT_FILE_MALFORMED",
            what=" ".join(str(e).split()),
            where=path,
            action="restore the contracts; see `fraudloom contracts check`",
        ) from None


class ContractSource:
    """Contracts of one root. `layout` is a name of `LAYOUTS`."""

    def __init__(self, root: Path | None = None, layout: str = "packaged") -> None:
        self.root = (root or packaged_root()).resolve()
        if layout not in LAYOUTS:
            raise ContractError(
                "CONTRACT",
                "LAYOUT_UNKNOWN",
                what="no such contracts layout",
                found=layout,
                expected=", ".join(LAYOUTS),
                action="name a layout that is supported",
            )
        self.layout = LAYOUTS[layout]
        self._packs: dict[str, Any] = {}

    @cached_property
    def registry(self) -> Mapping[str, Any]:
        """The artefact registry, plain data."""
        found: Mapping[str, Any] = read_contract(self.root / self.layout.registry)
        return found

    def schema_file(self, name: str) -> Path:
        """Path of a schema file by its name in references."""
        return self.root / self.layout.schemas / name

    def pack(self, name: str) -> Any:
        """A schema file, loaded once."""
        if name not in self._packs:
            self._packs[name] = read_contract(self.schema_file(name))
        return self._packs[name]

    def schema_ref(self, artefact_id: str) -> str:
        """Schema reference of a dataset, artefact or policy; ContractError when the registry lacks it."""
        for section in ("datasets", "artefacts", "policies"):
            entry = self.registry.get(section, {}).get(artefact_id)
            if entry is not None:
                return str(entry["schema_ref"])
        raise ContractError(
            "CONTRACT",
            "NOT_REGISTERED",
            what=f"the registry lacks {artefact_id}",
            where=self.root / self.layout.registry,
            action="restore the contracts; see `fraudloom contracts check`",
        )

    def resolve(self, ref: str) -> Any:
        """The schema that a reference names: `file#/json/pointer`. ContractError when an anchor does not resolve."""
        name, _, pointer = ref.partition("#")
        if not name or ".." in name.split("/"):
            raise ContractError(
                "CONTRACT",
                "SCHEMA_REF",
                what="a schema reference names a file",
                found=ref,
                action="restore the contracts; see `fraudloom contracts check`",
            )
        node = self.pack(name)
        for step in pointer.strip("/").split("/") if pointer.strip("/") else ():
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or key not in node:
                raise ContractError(
                    "CONTRACT",
                    "SCHEMA_REF_UNRESOLVED",
                    what=f"no {key} behind {ref}",
                    found=ref,
                    where=self.schema_file(name),
                    action="run `fraudloom contracts check` and correct the registry or the schema pack",
                )
            node = node[key]
        return node
