"""Attacks on the pack over real HTTP, with only the attacker's own permissions."""
