"""Plans: what a preview counted, its seal, and whether it still holds."""
