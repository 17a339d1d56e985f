"""Plans: the counts of a preview, their seal, and the checks before a job is made from them."""
