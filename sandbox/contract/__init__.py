"""The API's requests and responses as types, for validation and for the OpenAPI document."""
