"""Test cases of playbooks: each runs a playbook against a sandbox of its own, with faults, signals and expectations."""
