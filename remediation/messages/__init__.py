"""Named messages: select, look up, change in batches, and account for each."""
