"""Guardrails: the checks before anything is changed, by counts, plans, approvals and the organization's policy."""
