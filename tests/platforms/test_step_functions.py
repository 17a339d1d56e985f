"""The Step Functions definitions, run by an interpreter of the Amazon States Language in a process of Node.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import PackError
from platforms import aws_lambda
from platforms.published.step_functions import FOLDER, REPEATED, definitions
from sandbox.server import RunningSandbox
from tests.clock import FakeClock
from tests.conftest import PLAN_KEY
from tests.object_stores import Bucket
from tests.platforms.test_aws_lambda import Context
from tests.slow import some_of

STATES = Path(os.environ.get("STATES") or Path(__file__).parents[2] / ".venv-states")
LONGEST_OUTPUT_BYTES = 262_144

Answer = Callable[[str, dict[str, Any]], Any]


class TaskFailed(Exception):
    """A Task state fails with this error name."""

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(message)
        self.name = name


class Interpreter:
    """A process that runs definitions. Every task is answered by `answer(state, input)`, which may raise TaskFailed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, definition: str, value: dict[str, Any], answer: Answer) -> dict[str, Any]:
        """Return {"output"} or {"error", "cause"}."""
        # This interpreter resolves the path of a timeout in the parameters, and AWS in the input.
        text = (
            (FOLDER / f"{definition}.asl.json")
            .read_text()
            .replace('"TimeoutSecondsPath": "$.seconds"', '"TimeoutSeconds": 60')
        )
        context = {"Execution": {"Name": "case-42"}, "State": {"RetryCount": 0}, "Task": {"Token": "token-of-the-task"}}
        first = {
            "definition": json.loads(text),
            "input": value,
            "tasks": ["Advance", "Split", "Ask"],
            "context": context,
        }
        for sent in self._messages(first):
            if "call" not in sent:
                return sent
            try:
                reply = {"output": answer(sent["state"], sent["input"])}
            except TaskFailed as error:
                reply = {"error": error.name, "message": str(error)}
            self._send({"call": sent["call"], **reply})
        raise AssertionError("the interpreter ended without a result")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _messages(self, first: dict[str, Any]) -> Iterator[dict[str, Any]]:
        assert self._process.stdout is not None
        self._send(first)
        while line := self._process.stdout.readline():
            yield json.loads(line)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    if not (STATES / "node_modules" / "aws-local-stepfunctions").is_dir():
        pytest.skip("aws-local-stepfunctions is not installed: `make test` sets up .venv-states (see its npm.log)")
    with subprocess.Popen(
        [shutil.which("node") or "node", str(Path(__file__).parent / "step_functions" / "run.cjs")],
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(STATES / "node_modules")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Interpreter(process)


class Function:
    """The function, as Step Functions calls it. lost: the numbers of the calls whose result is lost."""

    def __init__(self, sandbox: RunningSandbox, lost: frozenset[int] = frozenset()) -> None:
        self.clock = FakeClock(moved=sandbox.state.advance)
        self.events: list[dict[str, Any]] = []
        self.topic: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self._lost = lost

    def __call__(self, state: str, task: dict[str, Any]) -> Any:
        if state == "Ask":
            self.topic.append(task["Message"])
            answer = self.answers.pop(0)
            if isinstance(answer, TaskFailed):
                self.clock.sleep(600)
                raise answer
            return answer
        event = task["Payload"]
        self.events.append(event)
        try:
            payload = aws_lambda.run(event, Context(60, self.clock), self.clock)
        except PackError as error:
            raise TaskFailed(type(error).__name__, json.dumps(error.document())) from None
        if len(self.events) in self._lost:
            raise TaskFailed("Sandbox.Timedout", "the function timed out")
        assert len(json.dumps(payload)) < LONGEST_OUTPUT_BYTES
        if payload["next"] == "sleep":
            # The Wait state takes no time here.
            self.clock.sleep(payload["seconds"])
        return {"Payload": payload, "StatusCode": 200}


@pytest.fixture(autouse=True)
def connected(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**environment, "CFES_PLAN_KEY": PLAN_KEY}.items():
        monkeypatch.setenv(name, value)


def test_the_definitions_are_up_to_date() -> None:
    for file, text in definitions().items():
        assert file.read_text(encoding="utf-8") == text, "run `make manifest`"
    assert set(FOLDER.glob("*.asl.json")) == set(definitions())


@pytest.mark.parametrize("lost", [frozenset(), frozenset(range(1, 60, 2))])
def test_an_alert_runs_to_its_end_and_a_lost_call_is_made_again(
    lost: frozenset[int],
    alert: dict[str, Any],
    sandbox: RunningSandbox,
    interpreter: Interpreter,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CFES_RUNS_URL", bucket.url("runs"))
    function = Function(sandbox, lost)
    run = {"playbook": "phish-campaign-purge", "inputs": {"alert": alert}}
    ended = interpreter.run("run-playbook", {"run": run}, function)
    assert (ended["output"]["status"], ended["output"]["run_id"]) == ("completed", "case-42"), ended
    assert len(sandbox.state.truth()["jobs"]) == 1
    assert "runs/case-42/evidence.zip" in bucket.objects()


def test_a_run_that_does_not_complete_fails_the_execution(
    alert: dict[str, Any], sandbox: RunningSandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    inputs = {"alert": {**alert, "FinalDisposition": "bulk"}}
    run = {"playbook": "phish-campaign-purge", "inputs": inputs, "directory": str(tmp_path / "run")}
    ended = interpreter.run("run-playbook", {"run": run}, Function(sandbox))
    assert ended["error"] == "CheckRefused"
    assert "handles only malicious and suspicious messages" in ended["cause"]


def test_an_invalid_call_fails_the_execution_and_is_not_repeated(
    sandbox: RunningSandbox, interpreter: Interpreter
) -> None:
    function = Function(sandbox)
    ended = interpreter.run("run-playbook", {"run": {"playbook": "no-such-playbook", "inputs": {}}}, function)
    assert (ended["error"], len(function.events)) == ("PlaybookNotFound", 1)
    assert "PlaybookNotFound" not in REPEATED


PAUSING = {
    "playbook": 1,
    "id": "pausing",
    "title": "Ask first",
    "steps": [{"id": "ask", "pause": "go", "within": 600, "about": {"n": 1}, "otherwise": "Nobody answered."}],
    "outputs": {"by": "{{ steps.ask.value }}"},
}


def test_a_pause_asks_through_the_topic_until_a_valid_answer_comes(
    sandbox: RunningSandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    function = Function(sandbox)
    function.answers = ["yes", [{"name": "go", "value": "ann"}]]
    run = {"playbook": PAUSING, "inputs": {}, "directory": str(tmp_path / "run")}
    ended = interpreter.run("run-playbook", {"run": run}, function)
    assert ended["output"]["outputs"] == {"by": "ann"}
    first, second = function.topic
    assert (first["task_token"], first["waits_for"][0]["about"]) == ("token-of-the-task", {"n": 1})
    assert (first["refused_signals"], len(second["refused_signals"])) == ([], 1)


def test_a_pause_without_an_answer_ends_with_its_time(
    sandbox: RunningSandbox, interpreter: Interpreter, tmp_path: Path
) -> None:
    function = Function(sandbox)
    function.answers = [TaskFailed("States.Timeout")]
    run = {"playbook": PAUSING, "inputs": {}, "directory": str(tmp_path / "run")}
    ended = interpreter.run("run-playbook", {"run": run}, function)
    assert (ended["error"], ended["cause"]) == ("CheckRefused", "Nobody answered.")


@pytest.mark.parametrize(
    ("dispositions", "error"), some_of([(["MALICIOUS"], None), (["BULK", "MALICIOUS"], "NotCompleted")], 1)
)
def test_a_list_of_alerts_starts_one_run_each_and_reports_those_that_did_not_complete(
    dispositions: list[str],
    error: str | None,
    alert: dict[str, Any],
    sandbox: RunningSandbox,
    interpreter: Interpreter,
    tmp_path: Path,
) -> None:
    alerts = [{**alert, "AlertID": f"a{n}", "FinalDisposition": found} for n, found in enumerate(dispositions)]
    run = {
        "playbook": "phish-campaign-purge",
        "inputs_list": [{"alert": one} for one in alerts],
        "directory": str(tmp_path),
    }
    function = Function(sandbox)
    ended = interpreter.run("run-playbook-for-each", {"run": run}, function)
    assert ended.get("error") == error, ended
    last = f"case-42-{len(dispositions)}"
    if error is None:
        [only] = ended["output"]["runs"]
        assert only == {"run_id": last, "directory": str(tmp_path / last), "status": "completed", "exit_code": 0}
    begun = [event["params"]["run_id"] for event in function.events if "inputs" in event["params"]]
    assert len(begun) == len(dispositions)
    assert (tmp_path / last / "evidence.zip").is_file()
    assert len(sandbox.state.truth()["jobs"]) == 1
