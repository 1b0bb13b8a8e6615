"""Write tests/keys/COVERAGE.md: every key of the policies, the test that covers it, and what it changes."""

import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def main() -> int:
    """Move every key; the exit status is 1 when one changes nothing."""
    sys.path.insert(0, str(TESTS))
    from keys.cover import DOCUMENTS, Bench, Found, remember_zones, write_list

    out = Path(sys.argv[1]) if len(sys.argv) > 1 else TESTS / "keys" / "COVERAGE.md"
    remember_zones()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        found = []
        for doc_id in DOCUMENTS:
            leaves = bench.leaves(doc_id)
            found += [Found(leaf, "", ()) if leaf.fixed else bench.find(leaf) for leaf in leaves]
            print(doc_id, len(leaves), flush=True)
    write_list(out, found)
    unused = [f for f in found if not f.change and not f.leaf.fixed]
    for f in unused:
        print(f"without effect: {f.leaf.key} = {f.leaf.value!r}, tried {list(f.tried)}", file=sys.stderr)
    print(f"{out}: {len(found)} keys, {len(unused)} without effect")
    return int(bool(unused))


if __name__ == "__main__":
    sys.exit(main())
