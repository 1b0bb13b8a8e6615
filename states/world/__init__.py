"""The sealed upstream world (1A to 6A): build, import, verify, read."""

from fraudloom.states.world.build import WorldManifest, build_world
from fraudloom.states.world.imports import import_world
from fraudloom.states.world.spec import WorldSpec
from fraudloom.states.world.verify import Finding, VerifyReport, verify_world
from fraudloom.states.world.view import World, load_world

__all__ = [
    "Finding",
    "VerifyReport",
    "World",
    "WorldManifest",
    "WorldSpec",
    "build_world",
    "import_world",
    "load_world",
    "verify_world",
]
