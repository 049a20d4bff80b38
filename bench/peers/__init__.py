"""Benchmarks of the portal beside other products; `python -m bench.peers --help`, docs/performance.md."""
