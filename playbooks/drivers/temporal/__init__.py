"""The Temporal driver: runs as workflows, for a fleet of workers. Needs the extra `temporal`."""
