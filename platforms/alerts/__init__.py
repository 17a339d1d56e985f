"""Alerts in: batches that Logpush or a webhook sends are stored, and rules say which alerts start which playbook."""
