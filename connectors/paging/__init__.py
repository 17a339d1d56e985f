"""Listings page by page: cursors, reading ahead, rows as raw text, row IDs that were seen."""
