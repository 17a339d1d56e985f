"""Named messages: select, look up, change in batches, and report what happened to each."""
