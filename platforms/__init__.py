"""Where the pack runs: the command line, AWS Lambda, and what they share. No logic of their own."""
