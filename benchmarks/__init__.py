"""`python -m benchmarks` (make bench): each result is a ratio to a baseline of the same run."""
