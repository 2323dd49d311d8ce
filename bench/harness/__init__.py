"""What the benchmarks share: a fresh environment, load, figures of processes, and how results are written."""
