"""Playbooks: chains of actions in YAML with Jinja2 expressions.

*.yaml     the shipped playbooks
language/  the format, expressions, filters, and the checks before a run
engine/    computes the next command of a run, without input or output
drivers/   carry out the commands and keep the state of runs
"""
