"""Named messages: select, look up, change in batches, and report the outcome of each."""
