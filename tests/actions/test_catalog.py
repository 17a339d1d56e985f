"""Rules for every action. A new action is covered as soon as it exists."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import jsonschema
import pytest
from pydantic import BaseModel

from actions.contract import catalog
from actions.contract.action import Action, BoundedParams, BoundedResult
from core.errors import ParameterError
from tests.actions.incomplete import incomplete_actions

ACTIONS = list(catalog.available().values())
ROOT = Path(__file__).parent.parent.parent

each_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: str(action.id))


def test_every_required_action_exists() -> None:
    assert set(catalog.available()) >= {
        "create-move-job", "release-job", "wait-for-job", "export-job-messages", "get-job", "list-jobs", "cancel-job",
        "delete-job", "search-messages", "test-connection",
    }  # fmt: skip


@each_action
def test_an_actions_examples_match_its_schemas(action: Action[Any, Any]) -> None:
    action.check(action.example_params)
    jsonschema.validate(dict(action.example_params), action.params.model_json_schema())
    example = action.result.model_validate(dict(action.example_result)).model_dump(mode="json", by_alias=True)
    assert example == action.example_result
    jsonschema.validate(dict(action.example_result), action.result.model_json_schema(mode="serialization"))


@each_action
def test_every_parameter_and_result_field_has_a_description(action: Action[Any, Any]) -> None:
    for schema in (action.params.model_json_schema(), action.result.model_json_schema(mode="serialization")):
        models = schema.get("$defs", {})
        for name, field in schema.get("properties", {}).items():
            assert has_description(field, models), f"{action.id}: give {name} a description"
        for model, inner in models.items():
            for name, field in inner.get("properties", {}).items():
                assert has_description(field, models), f"{action.id}: give {model}.{name} a description"


def has_description(field: Mapping[str, Any], models: Mapping[str, Any]) -> bool:
    """Return whether a field has a description, directly or through the model that it refers to."""
    parts = (field, *field.get("anyOf", ()), *field.get("allOf", ()))
    referenced = [models[part["$ref"].rpartition("/")[2]] for part in parts if "$ref" in part]
    return bool(field.get("description")) or any(model.get("description") for model in referenced) or "const" in field


def test_an_action_without_a_required_field_is_reported(tmp_path: Path) -> None:
    source = (ROOT / "actions" / "list_jobs.py").read_text(encoding="utf-8")
    for missing in ("effect", "params", "example_result"):
        (tmp_path / "new_action.py").write_text(re.sub(rf"\n    {missing}=", f"\n    _{missing}=", source))
        assert incomplete_actions(tmp_path) == [f"actions/new_action.py: give ACTION the field {missing}"]
    (tmp_path / "new_action.py").write_text(source)
    assert incomplete_actions(tmp_path) == []


@each_action
def test_an_action_declares_its_effect_approval_and_permissions(action: Action[Any, Any]) -> None:
    assert re.fullmatch("[a-z]+(-[a-z]+)*", action.id), f"{action.id}: write the ID in lower case with hyphens"
    assert action.effect in ("read", "write", "irreversible")
    if action.effect == "irreversible":
        assert action.approval == "required"
    if action.effect != "read":
        assert "Cloud Email Security: Write" in action.permissions


@each_action
def test_an_actions_module_has_a_docstring_and_runs_as_a_program(action: Action[Any, Any]) -> None:
    module = sys.modules[action.module]
    name = Path(str(module.__file__)).name
    first_line = (module.__doc__ or "").strip().split("\n")[0]
    assert first_line.endswith("."), f"{name}: begin with a docstring whose first line is a sentence"
    run = getattr(module, "run", None)
    assert getattr(run, "__self__", None) == action, f"{name}: add `run = ACTION.run`"
    assert getattr(run, "__name__", None) == "run", f"{name}: add `run = ACTION.run`"
    end = 'if __name__ == "__main__":\n    main(ACTION)\n'
    assert inspect.getsource(module).endswith(end), f"{name}: end with\n{end}"
    assert not (module.Params.__doc__ is None and issubclass(module.Params, dict))


@each_action
def test_an_unknown_parameter_is_refused(action: Action[Any, Any]) -> None:
    with pytest.raises(ParameterError, match="/no_such_parameter"):
        action.check({**action.example_params, "no_such_parameter": 1})


# Lists and objects of results that need no truncation, and why.
BOUNDED_FIELDS = {
    # Fewer than a hundred, each of bounded length.
    "warnings", "approved_by", "files", "missing_permissions", "refusals", "parity_notes", "by_kind", "by_status",
    "counts_by_status", "counters", "by_destination", "latest_polls",
    # At most 25 rows, 100 or 10 entries, or 100 kB. A sealed plan can't be truncated (remediation.guardrails.survey,
    # preview-job).
    "by_recipient_domain", "by_disposition", "by_delivery_status", "by_sender", "proved_clean", "sample", "protected",
    "own_senders",
    # Parameters of one request.
    "criteria", "plan", "search_params", "asked_search_params", "job",
    # PIVOTS_SHOWN and DOMAINS_SHOWN of remediation.alerts.meaning.
    "pivots", "own_domains of read-alert",
    # MOST_CHANNELS of remediation.notifications.channels.
    "channels",
    # The duplicates of one key, at most one for each concurrent worker.
    "duplicates",
    # Refused if larger than inline_limit_bytes, never truncated.
    "messages of export-job-messages", "disagreements",
}  # fmt: skip


def container_fields(model: type[BaseModel]) -> Iterator[str]:
    """Yield the fields of a result that can have many entries, including fields of nested models."""
    for name, field in model.model_fields.items():
        parts = list(flatten(field.annotation))
        if any(get_origin(part) in (list, dict, tuple, set) for part in parts):
            yield name
        for part in parts:
            for inner in (part, *get_args(part)):
                if isinstance(inner, type) and issubclass(inner, BaseModel):
                    yield from container_fields(inner)


def flatten(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from flatten(part)
    elif get_origin(annotation) is Annotated:
        yield from flatten(get_args(annotation)[0])
    else:
        yield annotation


@each_action
def test_every_list_of_a_result_is_bounded(action: Action[Any, Any]) -> None:
    truncated_fields: set[str] = set()
    if issubclass(action.result, BoundedResult):
        assert issubclass(action.params, BoundedParams)
        assert action.params.model_fields["max_result_bytes"].default == 200_000
        truncated_fields = {*action.result.cut_order, "truncated"}
        assert truncated_fields <= set(action.result.model_fields)
    for name in set(container_fields(action.result)) - truncated_fields:
        assert name in BOUNDED_FIELDS or f"{name} of {action.id}" in BOUNDED_FIELDS, (
            f"{action.id}: {name} can have any number of entries"
        )


def test_an_unknown_action_is_refused_with_the_known_actions() -> None:
    with pytest.raises(ParameterError, match="wait-for-job"):
        catalog.find("purge-everything")


def test_playbooks_load_no_client_and_no_action() -> None:
    files = sorted((ROOT / "playbooks").rglob("*.py"))
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    heavy = {
        "httpx",
        "connectors.connection",
        "connectors.email_security",
        "remediation.guardrails.policy.policy",
        "remediation",
        "actions",
    }
    code = f"import sys, {', '.join(modules)}; print(*({heavy} & set(sys.modules)))"
    completed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert completed.stdout.split() == []


@pytest.mark.parametrize(
    "action_id", ["", "__init__", "contract", "contract.action", "../core/errors", "get-job\n", "Get-Job", "a" * 300]
)
def test_only_an_action_is_found_by_its_id(action_id: str) -> None:
    with pytest.raises(ParameterError, match="unknown action"):
        catalog.find(action_id)
