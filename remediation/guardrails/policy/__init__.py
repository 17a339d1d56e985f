"""The organization's policy: its format, its file, and who is who in it."""
