"""Schemathesis checks the service against its own /openapi.json: no 5xx, no undocumented answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples

from actions.contract import catalog
from platforms.openapi.operations import operations
from playbooks import library
from tests.platforms.http.serving import SharedService, wait_for_run

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.specs.openapi.schemas import OpenApiSchema

# follow_run streams until its run has ended: the test of runs follows one.
OPERATIONS = [
    operation
    for operation in operations(catalog.available().values(), library.available())
    if operation.kind != "follow_run"
]

# An operation without parameters and a body can be sent in one way only.
CASES = [
    (operation.id, mode)
    for operation in OPERATIONS
    for mode in ("sense", "nonsense")
    if mode == "sense" or operation.parameters or operation.body is not None
]


@pytest.fixture(scope="module")
def document(shared: SharedService) -> dict[str, Any]:
    answer: dict[str, Any] = shared.client.get("/openapi.json").json()
    return answer


@pytest.fixture(scope="module")
def schema(document: dict[str, Any]) -> OpenApiSchema:
    import schemathesis  # noqa: PLC0415 -- it takes a second to load

    return schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="module")
def existing(shared: SharedService) -> dict[str, str]:
    """The path parameters of a run that has ended."""
    begun = shared.client.post("/v1/actions/list-jobs", json={}, headers={"Prefer": "respond-async"}).json()
    run = wait_for_run(shared.client, begun["run_id"])
    return {"run_id": run["run_id"], "name": run["files"][0]["name"] if run["files"] else "calls.ndjson"}


@pytest.mark.parametrize("number", [1, pytest.param(25, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("operation_id", "mode"), CASES)
def test_every_answer_is_documented(
    shared: SharedService,
    schema: OpenApiSchema,
    existing: dict[str, str],
    operation_id: str,
    mode: Literal["sense", "nonsense"],
    number: int,
) -> None:
    from schemathesis import GenerationMode  # noqa: PLC0415 -- it takes a second to load
    from schemathesis.specs.openapi import checks  # noqa: PLC0415

    every = [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    kind = GenerationMode.POSITIVE if mode == "sense" else GenerationMode.NEGATIVE
    operation = schema.find_operation_by_id(operation_id)
    named = {parameter.name for parameter in operation.path_parameters}
    names = {name: value for name, value in existing.items() if name in named}
    headers = {"Authorization": shared.client.headers["authorization"]}

    @examples(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(kind, path_parameters=names) | operation.as_strategy(kind))
    def check(case: Case[Any]) -> None:
        answer = case.call(base_url=shared.running.url, headers=headers)
        case.validate_response(answer, checks=every)
        # 502 and 503 are answers of the remote API, such as its refusal of a value.
        assert answer.status_code != 500, answer.text

    check()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "POST", "TRACE", "BREW"])
def test_another_method_is_refused_with_those_that_are_allowed(shared: SharedService, method: str) -> None:
    for path, allowed in (
        ("/v1/actions/get-job", {"POST"}),
        ("/v1/runs", {"GET", "HEAD"}),
        ("/healthz", {"GET", "HEAD"}),
    ):
        answer = shared.client.request(method, path)
        if method in allowed:
            assert answer.status_code != 405
            continue
        assert answer.status_code == 405, (method, path, answer.text)
        assert {each.strip() for each in answer.headers["allow"].split(",")} == allowed
        assert answer.headers["content-type"] == "application/problem+json"
        if method != "HEAD":
            assert answer.json()["error"]["applied"] == "no"


def test_head_is_get_without_its_body(shared: SharedService, existing: dict[str, str]) -> None:
    for path in ("/healthz", "/v1/runs", "/openapi.json", f"/v1/runs/{existing['run_id']}", "/v1/runs/none"):
        head, got = shared.client.head(path), shared.client.get(path)
        assert head.status_code == got.status_code
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.content == b""


@pytest.mark.parametrize(
    "path", ["/v1/runs/", "/v1/actions/get-job/", "//v1/runs", "/v1//runs", "/V1/runs", "/", "/v1/runs/a/b/c"]
)
def test_a_path_that_no_operation_has_is_not_found(shared: SharedService, path: str) -> None:
    answer = shared.client.get(f"{shared.running.url}{path}")
    assert answer.status_code in (404, 405), answer.text
    assert "location" not in answer.headers
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limits=3", "/limits"),
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("limit=a", "/limit"),
        ("limit=\u0663", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("status=open", "/status"),
        ("status=", "/status"),
        ("a" * 5000, "/" + "a" * 100),
    ],
)
def test_a_query_parameter_is_known_and_valid(shared: SharedService, query: str, pointer: str) -> None:
    answer = shared.client.get(f"/v1/runs?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["problems"][0]["pointer"] == pointer


def test_the_document_has_the_routes_that_are_served(shared: SharedService, document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        filled = (
            path.replace("{run_id}", "none").replace("{name}", "none").replace("{dataset}", "email_security_alerts")
        )
        for method in methods:
            answer = shared.client.request(method, filled)
            assert answer.status_code != 405, (method, path)
            if answer.status_code == 404:
                assert "there is no '/" not in json.dumps(answer.json()), (method, path)
    assert document["servers"] == [{"url": shared.running.url}] or document["servers"][0]["url"] == shared.running.url
