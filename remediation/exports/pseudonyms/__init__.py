"""Pseudonyms: keyed replacements for names and addresses."""
