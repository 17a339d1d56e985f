"""How answers are read: tolerant of what is new, strict about what a decision rests on."""

from __future__ import annotations

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from core.errors import UnexpectedAnswer

_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_IS_UUID = re.compile(_UUID, re.ASCII).fullmatch


def uuid_of(value: object) -> str | None:
    """Return a UUID in its one form, lower case (RFC 9562, section 4); None for anything else."""
    return value.lower() if isinstance(value, str) and _IS_UUID(value) else None


def _a_uuid(text: str) -> str:
    uuid = uuid_of(text)
    if uuid is None:
        raise ValueError("is not a valid UUID")
    return uuid


# An ID from an answer goes into the path of the next call: nothing but a UUID may pass. Read in one form, two IDs are
# the same job where they are equal.
Uuid = Annotated[str, AfterValidator(_a_uuid), Field(json_schema_extra={"format": "uuid", "pattern": _UUID})]


class ApiObject(BaseModel):
    """Something the API sent. Unknown fields and unknown enum values are kept and passed on (the API is in beta)."""

    model_config = ConfigDict(extra="allow", strict=True, defer_build=True, populate_by_name=True)

    @classmethod
    def read(cls, value: Any, what: str) -> Self:
        """The object in `value`. Raises: UnexpectedAnswer naming the field that does not fit."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
            field = ".".join(str(part) for part in problem["loc"] if isinstance(part, int) or str(part).islower())
        raise UnexpectedAnswer(f"{what}: field {field[:200] or '(all of it)'}: {problem['msg']}")

    def document(self) -> dict[str, Any]:
        """The object as the API sent it: the same fields, none added."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)
