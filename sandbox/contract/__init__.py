"""The API's requests and answers as types: what is validated, and what the OpenAPI document says."""
