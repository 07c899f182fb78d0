"""`python -m benchmarks` (make bench): every figure a ratio against something named, in one run."""
