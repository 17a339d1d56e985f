"""Tests that the benchmarks run, whatever they measure."""
