"""Read a model's fields from the environment variables that the fields name with `variable`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from core.errors import ConnectionSettingsError, Problem
from core.settings import read_setting
from core.validation_text import problems_of

M = TypeVar("M", bound=BaseModel)


def variable(name: str) -> Any:
    """Return the mark of a field that the environment variable `name` sets."""
    return {"environment": name}


def variables_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the environment variable of each field."""
    fields = model.model_fields.items()
    return {name: str(field.json_schema_extra["environment"]) for name, field in fields}  # type: ignore[index]


def read_model(model: type[M], environment: Mapping[str, str], what: str) -> M:
    """Return the settings in `environment`; an empty variable counts as not set. what: names settings without a field.

    Raises: ConnectionSettingsError that names each invalid variable but never its value.
    """
    variables = variables_of(model)
    values = {name: read_setting(environment, setting) for name, setting in variables.items()}
    try:
        # Lax: a variable has its number as text.
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        problems = [_named(each, variables, what) for each in problems_of(error)]
    raise ConnectionSettingsError("; ".join(p["message"] for p in problems), problems=problems)


def _named(problem: Problem, variables: Mapping[str, str], what: str) -> Problem:
    """Return a problem whose message begins with the variable that it is about."""
    field = problem["pointer"].removeprefix("/").partition("/")[0]
    return Problem(pointer=problem["pointer"], message=f"{variables.get(field, what)}: {problem['message']}")
