"""Paged listings: cursors, prefetching, raw rows and sets of row IDs."""
