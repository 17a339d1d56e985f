"""Attacks on the pack, each played over real HTTP with nothing but what the attacker has."""
