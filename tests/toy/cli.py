"""The command line over toy states, for tests that kill the process."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fraudloom.cli import main
from toy import states

if __name__ == "__main__":
    states.install()
    main()
