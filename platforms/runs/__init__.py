"""Runs of a service: a queue of runs, and workers that drive them."""
