"""The API's objects: jobs, message rows, messages, searches."""
