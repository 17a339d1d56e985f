"""Drivers: they run what the engine asks for and keep the journal."""
