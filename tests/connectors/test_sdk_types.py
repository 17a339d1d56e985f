"""Our models know every field and every enum value of the official SDK's types."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from cloudflare.types.email_security import investigate
from cloudflare.types.email_security.investigate import bulk
from pydantic import BaseModel

from actions import export_job_messages, list_jobs
from connectors.objects.end_of_life import ACTION_LOG, EXPECTED_DISPOSITION
from connectors.objects.job import BulkJob, BulkJobRequest
from connectors.objects.message import JobMessage, MessageDetails
from connectors.objects.search import SearchParams

# Our model and the SDK's type. search_params of a response stays unparsed; its fields are those of the request.
PAIRS: list[tuple[type[BaseModel], Any]] = [
    (BulkJobRequest, investigate.bulk_create_params.BulkCreateParams),
    (BulkJob, investigate.BulkCreateResponse),
    (BulkJob, investigate.BulkGetResponse),
    (BulkJob, investigate.BulkListResponse),
    (BulkJob, bulk.CancelCreateResponse),
    (JobMessage, bulk.MessageListResponse),
    (list_jobs.Params, investigate.bulk_list_params.BulkListParams),
    (export_job_messages.Params, bulk.message_list_params.MessageListParams),
]
# Parameters that the connector fills in: the path and the position in a listing.
PATH_PARAMETERS = {"account_id", "page", "per_page"}
# Fields of the SDK that the API has removed or is about to remove.
ENDED = {EXPECTED_DISPOSITION.path[-1], ACTION_LOG.path[-1]}


def fields(theirs: Any) -> dict[str, Any]:
    """Return the fields of an SDK model or TypedDict by their JSON names."""
    if isinstance(theirs, type) and hasattr(theirs, "model_fields"):
        return {(field.alias or name): field.annotation for name, field in theirs.model_fields.items()}
    return typing.get_type_hints(theirs, include_extras=False)


def members(annotation: Any) -> Iterator[Any]:
    """Yield the types inside unions, lists and Required."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, list, typing.Required) or origin is typing.Annotated:
        for argument in typing.get_args(annotation):
            yield from members(argument)
    else:
        yield annotation


def literals(annotation: Any) -> set[str]:
    return {
        value
        for member in members(annotation)
        if typing.get_origin(member) is typing.Literal
        for value in typing.get_args(member)
    }


def structures(annotation: Any) -> list[Any]:
    return [
        m for m in members(annotation) if isinstance(m, type) and (hasattr(m, "model_fields") or typing.is_typeddict(m))
    ]


def find_unknown(ours: type[BaseModel], theirs: Any, at: str) -> list[str]:
    """Return the fields and enum values that the SDK has and our model lacks."""
    found = []
    known = {field.alias or name: field.annotation for name, field in ours.model_fields.items()}
    for name, annotation in fields(theirs).items():
        if name in PATH_PARAMETERS:
            continue
        if name not in known and name in ENDED:
            continue
        if name not in known:
            found.append(f"{at}.{name}")
            continue
        mine = known[name]
        missing = literals(annotation) - literals(mine)
        found += [f"{at}.{name}={value}" for value in sorted(missing)]
        for structure in structures(annotation):
            models = [SearchParams] if name == "search_params" else structures(mine)
            if models:
                found += find_unknown(models[0], structure, f"{at}.{name}")
            elif dict not in {typing.get_origin(m) or m for m in members(mine)}:
                found.append(f"{at}.{name} has no structure")
    return found


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda value: value.__name__)
def test_every_sdk_field_and_enum_value_is_known(ours: type[BaseModel], theirs: Any) -> None:
    assert find_unknown(ours, theirs, theirs.__name__) == []


def test_the_fields_of_the_search_response_are_known() -> None:
    from cloudflare.types.email_security import InvestigateListResponse  # noqa: PLC0415

    assert find_unknown(MessageDetails, InvestigateListResponse, "InvestigateListResponse") == []


def test_the_check_finds_unknown_fields() -> None:
    class Narrow(BaseModel):
        job_id: str
        status: typing.Literal["PENDING"]

    missing = find_unknown(Narrow, investigate.BulkGetResponse, "job")
    assert "job.status=COMPLETED" in missing
    assert "job.search_params" in missing
