"""The routes of the API's operations, and of the sandbox's own controls."""
