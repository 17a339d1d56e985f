"""The parts of the run store: its place, its SQLite database, its records and the locks of its runs."""
