"""What must hold before anything is changed: counts, plans, approvals, the organisation's policy.

Arrows point one way: actions -> guardrails -> connectors.
"""
