"""Benchmarks, run by `make bench`. README.md next to this file explains the figures."""
