"""The playbook language: format, expressions, filters, checks."""
