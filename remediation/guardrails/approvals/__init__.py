"""Approvals: tokens, keys, how many are needed, and which were used."""
