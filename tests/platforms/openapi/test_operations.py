"""The operations of the HTTP interface."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from actions.contract import catalog
from platforms.openapi.operation import Operation
from platforms.openapi.operations import operations
from playbooks import library

EVERY = operations(catalog.available().values(), library.available())


def of_id(operation_id: str) -> Operation:
    return next(operation for operation in EVERY if operation.id == operation_id)


def test_every_action_and_playbook_has_an_operation() -> None:
    assert {operation.action.id for operation in EVERY if operation.action} == set(catalog.titles())
    assert {operation.playbook.id for operation in EVERY if operation.playbook} == {
        playbook.id for playbook in library.available()
    }


NEW_ACTION = """\"Refuse every job.\"

from actions.contract.action import Action, ActionParams, ActionResult
from core.errors import PlanNeeded


def refuse(p):
    raise PlanNeeded("no plan")


ACTION = Action(
    id="new-action", title="Refuse", params=ActionParams, result=ActionResult, effect="write", permissions=[],
    function=refuse, example_params={}, example_result={}, connection=False,
)
"""


def test_a_new_action_has_an_operation_with_its_error_types(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("actions.new_action")
    exec(NEW_ACTION, vars(module))  # noqa: S102 -- the text above
    monkeypatch.setitem(sys.modules, module.__name__, module)
    operation, *_ = operations([module.ACTION], [])
    assert (operation.id, operation.path, operation.scopes) == ("new_action", "/v1/actions/new-action", ("write",))
    assert operation.description == "Refuse every job."
    assert operation.errors[403] == ["PermissionDenied", "PlanNeeded"]


def test_ids_and_routes_are_unique() -> None:
    assert len({operation.id for operation in EVERY}) == len(EVERY)
    assert len({(operation.method, operation.path) for operation in EVERY}) == len(EVERY)


@pytest.mark.parametrize("operation", EVERY, ids=lambda operation: str(operation.id))
def test_an_operation_is_complete(operation: Operation) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", operation.id)
    in_path = {parameter.name for parameter in operation.parameters if parameter.place == "path"}
    assert set(re.findall(r"{(\w+)}", operation.path)) == in_path
    assert operation.idempotent == ("Idempotency-Key" in {parameter.name for parameter in operation.parameters})
    assert operation.answers.keys() <= {200, 202, 503}
    assert operation.errors[500]


def changes(operation: Operation) -> bool:
    return operation.method == "post" and (operation.action is None or operation.action.effect != "read")


def test_what_changes_something_needs_more_than_the_scope_read() -> None:
    for operation in EVERY:
        if operation.path.startswith("/v1/") and operation.kind != "receive_webhook":
            assert ("read" in operation.scopes) != changes(operation), operation.id


@pytest.mark.parametrize(
    ("operation_id", "status", "types"),
    [
        ("delete_job", 403, {"ApprovalRefused", "EvidenceRefused", "PermissionDenied"}),
        ("create_move_job", 409, {"IdempotencyConflict", "PlanUsed"}),
        ("move_messages", 500, {"PartlyApplied", "OutcomeUnknown"}),
        ("get_job", 404, {"NotFound"}),
        ("get_job", 502, {"AuthenticationFailed", "ApiRefusal"}),
        ("get_job", 429, {"RateLimited"}),
        ("get_run", 404, {"RunNotFound"}),
        ("get_run", 429, {"RateLimited"}),
        ("send_signal", 403, {"ApprovalRefused"}),
        ("receive_webhook", 401, {"AuthenticationFailed"}),
    ],
)
def test_the_error_types_of_an_operation(operation_id: str, status: int, types: set[str]) -> None:
    assert types <= set(of_id(operation_id).errors[status])


@pytest.mark.parametrize(
    ("operation_id", "name"),
    [("get_job", "OutcomeUnknown"), ("get_job", "ReadOnlyMode"), ("read_alert", "NetworkFailure")],
)
def test_an_action_lacks_the_error_types_that_it_can_not_have(operation_id: str, name: str) -> None:
    assert name not in {each for names in of_id(operation_id).errors.values() for each in names}
