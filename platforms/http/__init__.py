"""The HTTP service: actions, runs of playbooks, signals, alerts and files over HTTP."""
