"""The OpenAPI documents in three versions: valid, complete, and true to the examples of the actions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft202012Validator
from jsonschema.protocols import Validator
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator
from pydantic import Field

from actions.contract import catalog
from actions.contract.action import ActionParams
from platforms.openapi.components import Components
from platforms.openapi.document import at_server, document
from platforms.openapi.older_documents import as_2_0, as_3_0
from platforms.openapi.operation import Shape
from platforms.openapi.operations import operations
from playbooks import library

ACTIONS = catalog.available()
EVERY = operations(ACTIONS.values(), library.available())
LATEST = document(EVERY)
DOCUMENTS = {"3.1": LATEST, "3.0": as_3_0(LATEST), "2.0": as_2_0(LATEST)}
SCHEMAS = {"3.1": ("components", "schemas"), "3.0": ("components", "schemas"), "2.0": ("definitions",)}
VALIDATORS = {"3.1": OpenAPIV31SpecValidator, "3.0": OpenAPIV30SpecValidator, "2.0": OpenAPIV2SpecValidator}

each_version = pytest.mark.parametrize("version", DOCUMENTS)
each_action = pytest.mark.parametrize("action_id", ACTIONS)


def at(found: Any, *path: str) -> Any:
    for name in path:
        found = found[name]
    return found


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield every object in a document with its path. Examples are data, and are left out."""
    if isinstance(value, Mapping):
        yield path, value
        for key, inner in value.items():
            if key not in ("example", "examples", "default") or path[-1:] == ("properties",):
                yield from walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, (*path, str(index)))


@cache
def definitions(version: str) -> Any:
    """Return the schemas of a document. `nullable` and `x-nullable` mean that null is valid too."""
    schemas = at(DOCUMENTS[version], *SCHEMAS[version])
    text = json.dumps(schemas).replace(f"#/{'/'.join(SCHEMAS[version])}/", "#/definitions/")
    return with_null(json.loads(text))


def validator(version: str, name: str) -> Validator:
    root = {"$ref": f"#/definitions/{name}", "definitions": definitions(version)}
    return Draft202012Validator(root) if version == "3.1" else Draft4Validator(root)


def with_null(value: Any) -> Any:
    if isinstance(value, list):
        return [with_null(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: with_null(each) for key, each in value.items() if key not in ("nullable", "x-nullable")}
    return {"anyOf": [found, {"type": "null"}]} if "nullable" in value or "x-nullable" in value else found


def camel(action_id: str) -> str:
    return "".join(part.title() for part in action_id.split("-"))


@each_version
def test_a_document_is_valid(version: str) -> None:
    VALIDATORS[version](json.loads(json.dumps(DOCUMENTS[version]))).validate()


@each_version
def test_a_document_fits_the_importers(version: str) -> None:
    """Power Automate takes less than 1 MB, a title of 30 characters, and paths that differ in more than their case."""
    found = DOCUMENTS[version]
    assert len(json.dumps(found)) < 400_000
    assert len(found["info"]["title"]) <= 30
    assert len({path.lower() for path in found["paths"]}) == len(found["paths"])


def test_a_definition_of_swagger_has_at_most_512_schemas() -> None:
    """Power Automate counts them with every reference followed."""
    definitions = DOCUMENTS["2.0"]["definitions"]

    def count(schema: Any) -> int:
        if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
            return count(definitions[schema["$ref"].rpartition("/")[2]])
        inner = schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ()
        return isinstance(schema, Mapping) + sum(count(each) for each in inner)

    assert max(count(schema) for schema in definitions.values()) <= 512


@each_version
@each_action
def test_an_example_is_valid(version: str, action_id: str) -> None:
    action = ACTIONS[action_id]
    for kind, example in (("Params", action.example_params), ("Result", action.example_result)):
        problems = list(validator(version, f"{camel(action_id)}{kind}").iter_errors(dict(example)))
        assert not problems, f"{kind}: {problems[0].message}"


@each_version
@each_action
def test_an_unknown_parameter_is_not_valid(version: str, action_id: str) -> None:
    given = {**ACTIONS[action_id].example_params, "unknown": 1}
    assert not validator(version, f"{camel(action_id)}Params").is_valid(given)


@each_version
def test_every_reference_leads_to_a_value(version: str) -> None:
    for _, found in walk(DOCUMENTS[version]):
        if isinstance(found.get("$ref"), str):
            assert at(DOCUMENTS[version], *found["$ref"].removeprefix("#/").split("/"))


@each_version
def test_every_schema_is_used(version: str) -> None:
    text = json.dumps(DOCUMENTS[version])
    for name in at(DOCUMENTS[version], *SCHEMAS[version]):
        assert f'/{name}"' in text, name


@each_version
def test_a_document_has_every_operation(version: str) -> None:
    paths = DOCUMENTS[version]["paths"]
    found = {operation["operationId"]: operation for methods in paths.values() for operation in methods.values()}
    assert set(found) == {operation.id for operation in EVERY}
    for operation in EVERY:
        statuses = {str(status) for status in (*operation.answers, *operation.errors)}
        assert set(found[operation.id]["responses"]) == statuses
        assert found[operation.id].get("security") == (None if operation.scopes else [])


@each_version
def test_an_operation_has_a_short_summary_and_a_description(version: str) -> None:
    for methods in DOCUMENTS[version]["paths"].values():
        for operation in methods.values():
            assert re.fullmatch(r"[^/]{1,79}[A-Za-z0-9]", operation["summary"])
            assert operation["description"]


@each_version
def test_no_schema_has_a_generated_title(version: str) -> None:
    for path, found in walk(DOCUMENTS[version]):
        if path[-1:] != ("properties",) and path != ("info",):
            assert not isinstance(found.get("title"), str), path


def test_an_optional_parameter_is_not_given_instead_of_null() -> None:
    comment = LATEST["components"]["schemas"]["CreateMoveJobParams"]["properties"]["comment"]
    assert comment == {"type": "string", "maxLength": 1000, "description": comment["description"]}


@each_version
def test_parameters_of_which_one_is_required_are_named(version: str) -> None:
    schema = at(DOCUMENTS[version], *SCHEMAS[version])["CreateMoveJobParams"]
    assert schema["description"].endswith("Required: `search_params` or `plan`.")
    assert "anyOf" not in schema


def test_a_result_that_can_be_null_says_so() -> None:
    for version, expected in (
        ("3.1", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ("3.0", {"type": "string", "nullable": True}),
        ("2.0", {"type": "string", "x-nullable": True}),
    ):
        schema = at(DOCUMENTS[version], *SCHEMAS[version])["RunSummary"]["properties"]["at_step"]
        assert {key: value for key, value in schema.items() if key != "description"} == expected


def test_a_parameter_that_names_a_file_says_what_a_remote_caller_gives() -> None:
    class Params(ActionParams):
        source: str = Field(description="The rows.", json_schema_extra={"x-cfes-file": "read"})

    components = Components()
    reference = components.reference(Shape.of_model(Params, is_result=False))
    assert reference == {"$ref": "#/components/schemas/Params"}
    source = components.schemas["Params"]["properties"]["source"]
    assert source["x-cfes-file"] == "read"
    assert source["description"].startswith("The rows. Over HTTP: a file's name in the run's workspace")


def test_actions_share_the_schemas_that_are_equal() -> None:
    schemas = LATEST["components"]["schemas"]
    assert "SearchParams" in schemas
    assert not [name for name in schemas if name != "SearchParams" and name.endswith("SearchParams")]
    assert schemas["ExportJobMessagesResume"] != schemas["WaitForJobResume"]


@each_version
def test_the_error_types_of_each_status_are_named(version: str) -> None:
    responses = DOCUMENTS[version]["paths"]["/v1/actions/delete-job"]["post"]["responses"]
    assert "Error types: ApprovalRefused, EvidenceRefused, " in responses["403"]["description"]
    assert "JobStillRunning" in responses["409"]["description"]


@pytest.mark.parametrize(
    ("version", "unknown"),
    [
        ("3.0", {"const", "prefixItems", "$defs", "propertyNames"}),
        (
            "2.0",
            {
                *{"const", "prefixItems", "$defs", "propertyNames", "nullable", "deprecated"},
                *{"anyOf", "oneOf", "allOf", "not"},
            },
        ),
    ],
)
def test_an_older_document_has_no_newer_keyword(version: str, unknown: set[str]) -> None:
    for path, found in walk(DOCUMENTS[version]):
        if path[-1:] != ("properties",):
            assert not unknown & set(found), path
            assert not isinstance(found.get("type"), list), path
            assert not isinstance(found.get("exclusiveMinimum"), float | int) or found["exclusiveMinimum"] is True, path
            assert "$ref" not in found or len(found) == 1, path


@each_version
def test_a_document_names_the_server_that_its_reader_sees(version: str) -> None:
    for url in ("https://cfes.corp.example/email/", "http://127.0.0.1:8096"):
        found = at_server(DOCUMENTS[version], url)
        assert found["paths"] == DOCUMENTS[version]["paths"]
        # Its operations are valid without the server too: see above.
        VALIDATORS[version]({**found, "paths": {}, SCHEMAS[version][0]: {}}).validate()
        if version == "2.0":
            assert f"{found['schemes'][0]}://{found['host']}{found['basePath']}".rstrip("/") == url.rstrip("/")
        else:
            assert found["servers"] == [{"url": url.rstrip("/")}]


def test_swagger_has_one_body_for_each_operation() -> None:
    for methods in DOCUMENTS["2.0"]["paths"].values():
        for operation in methods.values():
            bodies = [each for each in operation.get("parameters", ()) if each["in"] == "body"]
            assert len(bodies) <= 1
            assert all(each["name"] == "body" for each in bodies)


@each_version
def test_streams_and_bytes_keep_their_media_types(version: str) -> None:
    paths = DOCUMENTS[version]["paths"]
    for path, media_type in (
        ("/v1/runs/{run_id}/events", "text/event-stream"),
        ("/v1/runs/{run_id}/files/{name}", "application/octet-stream"),
    ):
        operation = paths[path]["get"]
        found = operation["produces"] if version == "2.0" else operation["responses"]["200"]["content"]
        assert media_type in found


@each_version
def test_a_pattern_has_no_syntax_of_one_language_alone(version: str) -> None:
    for _, found in walk(DOCUMENTS[version]):
        if isinstance(found.get("pattern"), str):
            assert not re.search(r"\(\?P|\(\?<|\\A|\\Z", found["pattern"]), found["pattern"]
