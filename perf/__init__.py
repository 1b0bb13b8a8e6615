"""Measurement: microbenchmarks, end-to-end benchmarks, budgets and the profiler."""
