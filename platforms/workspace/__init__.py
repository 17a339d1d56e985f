"""Files of remote callers: names in a run's workspace, or objects of allowed stores. Never a path."""
