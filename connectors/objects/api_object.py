"""The base model of API responses: it accepts new fields, and is strict about the fields that the pack needs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from core.errors import UnexpectedAnswer

_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_IS_UUID = re.compile(_UUID, re.ASCII).fullmatch


def uuid_of(value: object) -> str | None:
    """Return a UUID in lower case (RFC 9562, section 4), or None for any other value."""
    return value.lower() if isinstance(value, str) and _IS_UUID(value) else None


def _a_uuid(text: str) -> str:
    uuid = uuid_of(text)
    if uuid is None:
        raise ValueError("is not a valid UUID")
    return uuid


# An ID from a response becomes part of the next call's path, so it must be a UUID. In one form, equal IDs mean the
# same job.
Uuid = Annotated[str, AfterValidator(_a_uuid), Field(json_schema_extra={"format": "uuid", "pattern": _UUID})]


class ApiObject(BaseModel):
    """An object that the API sent. Unknown fields and enum values are kept, because the API is in beta."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True, populate_by_name=True)

    @classmethod
    def read(cls, value: Any, what: str) -> Self:
        """Return the object in `value`. Raises: UnexpectedAnswer that names the invalid field."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
            field = ".".join(str(part) for part in problem["loc"] if isinstance(part, int) or str(part).islower())
        raise UnexpectedAnswer(f"{what}: field {field[:200] or '(all of it)'}: {problem['msg']}")

    def document(self) -> dict[str, Any]:
        """Return the object as the API sent it, without added fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
