"""Every published row of a small run, recomputed in plain Python."""
