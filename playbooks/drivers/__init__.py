"""Drivers carry out the commands of the engine and keep the state of runs."""
