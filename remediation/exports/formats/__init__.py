"""The formats of an export: NDJSON, CSV, JSON, Parquet."""
