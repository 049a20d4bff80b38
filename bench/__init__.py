"""Benchmarks; each prints ratios relative to a baseline of the same run."""
