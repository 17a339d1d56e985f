"""Measurements, run by `make bench`; the figures and what they mean are in README.md beside this file."""
