"""One walk over every action: a new one is covered by being there."""

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


def test_every_action_of_the_issue_is_there() -> None:
    assert set(catalog.available()) >= {
        "create-move-job", "release-job", "wait-for-job", "export-job-messages", "get-job", "list-jobs", "cancel-job",
        "delete-job", "search-messages", "test-connection",
    }  # fmt: skip


@each_action
def test_its_examples_fit_its_own_schemas(action: Action[Any, Any]) -> None:
    action.check(action.example_params)
    jsonschema.validate(dict(action.example_params), action.params.model_json_schema())
    example = action.result.model_validate(dict(action.example_result)).model_dump(mode="json", by_alias=True)
    assert example == action.example_result
    jsonschema.validate(dict(action.example_result), action.result.model_json_schema(mode="serialization"))


@each_action
def test_every_parameter_and_result_says_what_it_is(action: Action[Any, Any]) -> None:
    for schema in (action.params.model_json_schema(), action.result.model_json_schema(mode="serialization")):
        models = schema.get("$defs", {})
        for name, field in schema.get("properties", {}).items():
            assert described(field, models), f"{action.id}: give {name} a description"
        for model, inner in models.items():
            for name, field in inner.get("properties", {}).items():
                assert described(field, models), f"{action.id}: give {model}.{name} a description"


def described(field: Mapping[str, Any], models: Mapping[str, Any]) -> bool:
    """Whether a field says what it is, by itself or by the model that it holds."""
    parts = (field, *field.get("anyOf", ()), *field.get("allOf", ()))
    held = [models[part["$ref"].rpartition("/")[2]] for part in parts if "$ref" in part]
    return bool(field.get("description")) or any(model.get("description") for model in held) or "const" in field


def test_an_action_without_a_field_is_named_with_the_field(tmp_path: Path) -> None:
    whole = (ROOT / "actions" / "list_jobs.py").read_text(encoding="utf-8")
    for missing in ("effect", "params", "example_result"):
        (tmp_path / "new_action.py").write_text(re.sub(rf"\n    {missing}=", f"\n    _{missing}=", whole))
        assert incomplete_actions(tmp_path) == [f"actions/new_action.py: give ACTION the field {missing}"]
    (tmp_path / "new_action.py").write_text(whole)
    assert incomplete_actions(tmp_path) == []


@each_action
def test_it_says_what_it_may_change_and_what_it_needs(action: Action[Any, Any]) -> None:
    assert action.effect in ("read", "write", "irreversible")
    if action.effect == "irreversible":
        assert action.approval == "required"
    if action.effect != "read":
        assert "Cloud Email Security: Write" in action.permissions


@each_action
def test_its_module_says_what_it_does_and_runs_by_itself(action: Action[Any, Any]) -> None:
    module = sys.modules[action.module]
    assert (module.__doc__ or "").strip().split("\n")[0].endswith(".")
    assert (module.run.__self__, module.run.__name__) == (action, "run")
    source = inspect.getsource(module)
    assert source.endswith('if __name__ == "__main__":\n    main(ACTION)\n')
    assert not (module.Params.__doc__ is None and issubclass(module.Params, dict))


@each_action
def test_an_unknown_parameter_is_refused(action: Action[Any, Any]) -> None:
    with pytest.raises(ParameterError, match="/no_such_parameter"):
        action.check({**action.example_params, "no_such_parameter": 1})


# Lists and objects of results that need no cutting, and why.
SMALL = {
    # Fewer than a hundred, each of bounded length.
    "warnings", "approved_by", "files", "missing_permissions", "refusals", "parity_notes", "by_kind", "by_status",
    "counts_by_status", "counters", "by_destination", "looks",
    # At most 25 rows, 100 or 10 entries, or 100 kB: what is sealed can't be cut (remediation.guardrails.survey,
    # preview-job).
    "by_recipient_domain", "by_disposition", "by_delivery_status", "by_sender", "proved_clean", "sample", "protected",
    "own_senders",
    # What one request asks for.
    "search_params", "asked_search_params", "job",
    # The duplicates of one key: as many as there were workers at once.
    "duplicates",
    # Refused where they are larger than inline_limit_bytes, never cut.
    "messages of export-job-messages", "disagreements",
}  # fmt: skip


def containers(model: type[BaseModel]) -> Iterator[str]:
    """The fields of a result that can have many entries, those of its parts included."""
    for name, field in model.model_fields.items():
        parts = list(flattened(field.annotation))
        if any(get_origin(part) in (list, dict, tuple, set) for part in parts):
            yield name
        for part in parts:
            for inner in (part, *get_args(part)):
                if isinstance(inner, type) and issubclass(inner, BaseModel):
                    yield from containers(inner)


def flattened(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from flattened(part)
    elif get_origin(annotation) is Annotated:
        yield from flattened(get_args(annotation)[0])
    else:
        yield annotation


@each_action
def test_every_list_of_its_result_is_bounded(action: Action[Any, Any]) -> None:
    cut: set[str] = set()
    if issubclass(action.result, BoundedResult):
        assert issubclass(action.params, BoundedParams)
        assert action.params.model_fields["max_result_bytes"].default == 200_000
        cut = {*action.result.cut_order, "truncated"}
        assert cut <= set(action.result.model_fields)
    for name in set(containers(action.result)) - cut:
        assert name in SMALL or f"{name} of {action.id}" in SMALL, f"{action.id}: {name} can have any number of entries"


def test_an_unknown_action_is_refused_and_the_known_are_named() -> None:
    with pytest.raises(ParameterError, match="wait-for-job"):
        catalog.find("purge-everything")


def test_playbooks_load_no_client_and_nothing_that_acts() -> None:
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
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


@pytest.mark.parametrize(
    "action_id", ["", "__init__", "contract", "contract.action", "../core/errors", "get-job\n", "Get-Job", "a" * 300]
)
def test_only_an_action_is_found_by_its_id(action_id: str) -> None:
    with pytest.raises(ParameterError, match="unknown action"):
        catalog.find(action_id)
