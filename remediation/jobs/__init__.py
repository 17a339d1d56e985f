"""Jobs: create one per request, wait, cancel, and stop a job that finds more than planned."""
