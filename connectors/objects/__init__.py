"""The objects of the API: jobs, message rows, messages and searches."""
