"""Exports: rows of a job to files."""
