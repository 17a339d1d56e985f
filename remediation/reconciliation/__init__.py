"""Reconciliation: message rows, job counters and Logpush events side by side."""
