"""Write the golden digests anew, after a change of output that is meant (and a higher SPEC in core/spec.py).

    python tests/tools/write_golden.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from e2e.conftest import cli, weave

from fraudloom.spec import SPEC

GOLDEN = Path(__file__).resolve().parents[1] / "e2e" / "golden.json"


def main() -> None:
    """Weave the golden world once and write what came out."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "w"
        cli("world", "build", "--arrivals", 2_000, "--seed", 42, "--days", 90, "--out", world)
        woven = weave(world, Path(folder) / "runs")
        fingerprint = json.loads((world / "world.json").read_text("utf-8"))["manifest_fingerprint"]
    content = {name: digests[1] for name, digests in woven.digests.items()}
    golden = {"spec": SPEC, "manifest_fingerprint": fingerprint, "content": content}
    GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
