"""What an action is, how it runs as a process, and which actions exist."""
