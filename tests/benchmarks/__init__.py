"""The benchmarks themselves: whether they run, not what they measure."""
