"""Drivers run the commands of the engine and keep the journal."""
