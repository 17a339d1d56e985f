"""The client asks its gate before each write, and sends no write if a policy is configured without a gate."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import connectors.email_security
from connectors.email_security import EmailSecurity
from connectors.objects.job import BulkJobRequest
from connectors.objects.search import SearchParams
from core.errors import ObserveMode, PolicyRefused, PolicyUnusable
from remediation.guardrails.policy.gate import attach_policy
from tests.connectors.scripted import JOB_ID, Scripted, connected, job, ok

REQUEST = BulkJobRequest(
    action="MOVE", destination="JunkEmail", search_params=SearchParams.model_validate({"sender": "a@phish.example"})
)
WRITES: dict[str, Callable[[EmailSecurity], object]] = {
    "create_job": lambda api: api.create_job(REQUEST),
    "cancel_job": lambda api: api.cancel_job(JOB_ID),
    "delete_job": lambda api: api.delete_job(JOB_ID),
    "move_messages": lambda api: api.move_messages(["4Njp3P0STMz2c02Q"], "JunkEmail"),
    "release_messages": lambda api: api.release_messages(["4Njp3P0STMz2c02Q"]),
}
each_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


@pytest.fixture
def policy(tmp_path: Path) -> Callable[[str], str]:
    def written(text: str) -> str:
        path = tmp_path / "policy.yaml"
        path.write_text(f"policy: 1\n{text}\n")
        path.chmod(0o600)
        return str(path)

    return written


def test_every_call_that_is_not_a_get_is_a_write_of_a_method_listed_here() -> None:
    source = inspect.getsource(connectors.email_security)
    calls = re.findall(r'\bCall\(\s*"(\w+)", .*?, "(read|write)"', source)
    assert len(calls) == source.count("Call(") > len(WRITES)
    assert {effect for method, effect in calls if method != "GET"} == {"write"}
    methods = inspect.getmembers(EmailSecurity, inspect.isfunction)
    writing = {name for name, method in methods if re.search(r'\bCall\(.*"write"', inspect.getsource(method))}
    assert writing == set(WRITES)


@each_write
def test_a_configured_policy_without_a_gate_stops_every_write(
    write: Callable[[EmailSecurity], object], policy: Callable[[str], str]
) -> None:
    script = Scripted()
    with pytest.raises(PolicyUnusable, match="no write gate") as caught:
        write(connected(script, policy_file=policy("")))
    assert script.requests == []
    assert "attach_policy" in caught.value.help


@each_write
def test_a_policy_in_observe_mode_stops_every_write(
    write: Callable[[EmailSecurity], object], policy: Callable[[str], str]
) -> None:
    script = Scripted()
    api = connected(script, policy_file=policy("observe: true"))
    attach_policy(api)
    with pytest.raises(ObserveMode):
        write(api)
    assert script.requests == []


def test_the_gate_checks_destinations_and_deletions(policy: Callable[[str], str]) -> None:
    script = Scripted()
    api = connected(script, policy_file=policy("destinations: [Inbox]\ndelete: {refused: true}"))
    attach_policy(api)
    with pytest.raises(PolicyRefused, match="JunkEmail"):
        WRITES["create_job"](api)
    with pytest.raises(PolicyRefused, match="deleted"):
        WRITES["delete_job"](api)
    assert script.requests == []


def test_without_a_policy_no_gate_is_needed() -> None:
    assert connected(Scripted(ok(job()))).create_job(REQUEST).job_id == JOB_ID


def test_a_gate_of_another_kind_is_refused() -> None:
    class Open:
        observes = False

        def check_usable(self) -> None: ...
        def check_destination(self, destination: object) -> None: ...
        def check_deletion(self) -> None: ...

    api = connected(Scripted())
    api.gate = Open()
    with pytest.raises(PolicyUnusable, match="another kind"):
        attach_policy(api)
