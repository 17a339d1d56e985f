"""Schemathesis checks the sandbox against its OpenAPI document: no 5xx, no undocumented response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples

from sandbox.operations import OPERATIONS
from sandbox.server import RunningSandbox, start
from sandbox.settings import Settings
from tests.exhaustive import exhaustive_unless
from tests.plain_http import PLAIN

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.specs.openapi.schemas import OpenApiSchema

OPERATION_IDS = [operation.id for operation in OPERATIONS]
WITH_MANY_PARAMETERS = ("createBulkJob", "searchMessages", "listBulkJobs", "moveMessages")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with start(Settings(messages=300, manual_clock=True, quota=10_000_000)) as running:
        yield running


@pytest.fixture(scope="module")
def document(sandbox: RunningSandbox) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{sandbox.control_url}/openapi.json", trust_env=False, verify=PLAIN).json()
    return answer


@pytest.fixture(scope="module")
def schema(document: dict[str, Any]) -> OpenApiSchema:
    # Loading it takes a second, which the processes that run other files save.
    from schemathesis import openapi  # noqa: PLC0415

    return openapi.from_dict(document)


def _existing_path_parameters(sandbox: RunningSandbox) -> dict[str, str]:
    """Return path parameters that exist: an account, a job with rows in several states, a message."""
    investigate = f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security/investigate"
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    with httpx.Client(headers=headers, trust_env=False, verify=PLAIN) as client:
        job = {"action": "MOVE", "destination": "JunkEmail", "search_params": {"detections_only": False}}
        job_id = client.post(f"{investigate}/bulk", json=job).json()["result"]["job_id"]
        sandbox.state.advance(4.2)
        message_id = client.get(investigate).json()["result"][0]["id"]
    return {"account_id": sandbox.account_id, "job_id": job_id, "investigate_id": message_id}


@pytest.mark.parametrize("number", [2, pytest.param(30, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    ("operation_id", "mode"),
    exhaustive_unless(
        lambda case: case[1] == "POSITIVE" or case[0] in WITH_MANY_PARAMETERS,
        [(operation_id, mode) for operation_id in OPERATION_IDS for mode in ("POSITIVE", "NEGATIVE")],
    ),
)
def test_every_response_is_documented(
    sandbox: RunningSandbox,
    schema: OpenApiSchema,
    operation_id: str,
    mode: Literal["POSITIVE", "NEGATIVE"],
    number: int,
) -> None:
    from schemathesis import GenerationMode  # noqa: PLC0415
    from schemathesis.checks import not_a_server_error  # noqa: PLC0415
    from schemathesis.specs.openapi import checks  # noqa: PLC0415

    operation = schema.find_operation_by_id(operation_id)
    named = {parameter.name for parameter in operation.path_parameters}
    existing = {name: value for name, value in _existing_path_parameters(sandbox).items() if name in named}
    headers = {"Authorization": f"Bearer {sandbox.token}"}

    @examples(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=operation.as_strategy(GenerationMode[mode], path_parameters=existing)
        | operation.as_strategy(
            GenerationMode[mode], path_parameters={name: existing[name] for name in existing if name == "account_id"}
        )
        | operation.as_strategy(GenerationMode[mode])
    )
    def check(case: Case[Any]) -> None:
        answer = case.call(base_url=sandbox.origin, headers=headers)
        case.validate_response(
            answer,
            checks=[
                not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_headers_conformance,
                checks.response_schema_conformance,
            ],
        )

    check()


def test_a_slow_search_and_its_late_result_are_documented(sandbox: RunningSandbox, schema: OpenApiSchema) -> None:
    operation = schema.find_operation_by_id("searchMessages")
    sandbox.state.faults.add("searchMessages", "slow_search", seconds=5)
    path = f"{sandbox.base_url}/accounts/{sandbox.account_id}/email-security/investigate"
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    with httpx.Client(headers=headers, trust_env=False, verify=PLAIN) as client:
        slow = client.get(path)
        operation.validate_response(slow)
        sandbox.state.advance(5)
        late = client.get(slow.headers["location"])
        operation.validate_response(late)
    assert (slow.status_code, late.status_code) == (202, 200)


def test_the_document_lists_exactly_the_served_operations(document: dict[str, Any]) -> None:
    found = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert found == set(OPERATION_IDS)


def test_operations_that_need_a_confirmation_are_marked(document: dict[str, Any]) -> None:
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    marked = {one["operationId"] for one in operations if one.get("x-forge-require-confirmation")}
    assert marked == {"deleteBulkJob"}
    unnamed = {one["operationId"] for one in operations if "x-api-token-group" not in one}
    assert {"deleteBulkJob", "verifyUserToken", "verifyAccountToken"} == unnamed


def test_no_operation_documents_the_frameworks_own_validation_error(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            assert {"400", "401", "403", "404", "429"} <= operation["responses"].keys()
            assert "422" not in operation["responses"]
