"""Destinations of an export: a path on this machine or an object store."""
