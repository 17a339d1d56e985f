"""Advance a playbook's run by one step. The caller keeps the state between two calls, so that no process has to wait.

The first call has `playbook`, `inputs` and `run_id`. Every further call has the parameters in `run` of the result
before it. A call runs at most one action of the playbook; the remote operations are those of that action. Call until
`next` is `done`, and wait `seconds` before each call. A call that fails, or whose result is lost, can be repeated as it
was, with `repeated: true`: actions that create jobs reuse the earlier job.

With `inputs_list` no run begins: the result has a first call for each entry in `runs`. Every entry is checked first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from actions.contract import catalog
from actions.contract.action import READ, WRITE, Action, ActionParams, ActionResult
from actions.contract.process import main
from connectors.email_security import EmailSecurity
from core.errors import ParameterError, Problem
from core.json_values import below
from core.quantity import counted
from platforms.playbook_checks import require_sound
from platforms.playbook_session import traits
from platforms.run_files import PlacedRunFiles
from platforms.seal_key import seal_key
from playbooks import library
from playbooks.drivers import tick
from playbooks.drivers.tick_state import Run, open_run
from playbooks.engine.commands import RunAction
from playbooks.engine.engine import begin, run_key
from playbooks.engine.signals import Signal
from playbooks.engine.state import refuse_other_account
from playbooks.language.bundling import bundled
from playbooks.language.format import Playbook
from playbooks.language.inputs import accept
from playbooks.language.loading import from_document

MOST_RUNS = 100
MOST_SIGNALS = 100

# Never a path: a remote caller names no file of this machine.
_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")

# A part of a path or of a URL's key.
RunId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class SignalParams(ActionParams):
    """A signal for a pause."""

    name: str = Field(min_length=1, max_length=500)
    value: Any = None


class Params(ActionParams):
    quoted = frozenset({"inputs", "inputs_list", "signals"})

    playbook: str | dict[str, Any] | None = Field(
        None, description="To begin: the ID of a shipped playbook, or the document of another one as JSON."
    )
    inputs: dict[str, Any] | None = Field(None, description="To begin: the playbook's inputs, by name.")
    inputs_list: list[dict[str, Any]] | None = Field(
        None, min_length=1, max_length=MOST_RUNS, description="Instead of `inputs`: the inputs of several runs."
    )
    run_id: RunId | None = Field(
        None, description="To begin: a name of your own for the run. A repeated first call needs the same one."
    )
    directory: str | None = Field(
        None,
        min_length=1,
        max_length=900,
        description="To begin: the folder for the run's files and for states of over 200,000 bytes: an absolute path, "
        "or a URL (s3://, gs://, az://). [default: a folder named after the run in CFES_RUNS_URL]",
    )
    state: dict[str, Any] | None = Field(None, description="To continue: `state` from `run` of the last result.")
    signals: Any = Field(
        None,
        description="Signals for pauses: a list of at most 100 objects with name (`signal` in `waits_for`) and value. "
        "A malformed entry is reported in `refused_signals`.",
    )
    cancel: str | None = Field(
        None, min_length=1, max_length=500, description="End the run before its next action, for this reason."
    )
    repeated: bool = Field(
        False, description="An earlier call with the same parameters may have run the action, and has no result."
    )


class Result(ActionResult):
    next: Literal["again", "sleep", "signal", "done", "each"] = Field(
        description="`again`: call again now. `sleep`: call again after `seconds`. `signal`: call again with a signal, "
        "or after `seconds`. `done`: see `result`. `each`: make the calls in `runs`."
    )
    seconds: int = Field(description="The pause before the next call, in whole seconds, at least 1.")
    run: dict[str, Any] | None = Field(
        description="The parameters of the next call. Once done it is null, or resumes a failed run."
    )
    runs: list[dict[str, Any]] = Field(description="The parameters of a first call for each run; at most 100.")
    waits_for: list[dict[str, Any]] = Field(
        description="The signals that the run waits for: signal (the name), until, accepts (a JSON Schema or null), "
        "count, received and about (what the person who answers has to see). At most one for each running sub-playbook."
    )
    refused_signals: list[dict[str, Any]] = Field(
        description="The signals of this call that were not delivered: name, message, problems. At most 100."
    )
    result: dict[str, Any] | None = Field(
        description="How the run ended: playbook, run_id, directory, status, exit_code, outputs, error, message, "
        "started_at, resumable and moved (the file with the outputs, if they are too large; else null)."
    )


def advance_run(p: Params, api: EmailSecurity) -> Result:
    _check(p)
    if p.inputs_list is not None:
        return _each(p, p.inputs_list)
    key, files = seal_key(), PlacedRunFiles(api.clock)
    if p.state is not None:
        run = open_run(p.state, key=key, files=files, find=lambda source: _playbook(source)[1])
        refuse_other_account(run.state, api.connection.account_id.lower())
    else:
        run = _begin(p, api)
        files.open(run.state.directory)
        # A store that can't keep a large state is found before an action runs.
        tick.answer(run, [], key=key, files=files, now=api.clock.now())

    def run_action(command: RunAction) -> dict[str, Any]:
        # A sub-playbook may have a directory of its own.
        files.open(command.directory)
        return _run_step(command.action, command.params, api)

    signals, malformed = _signals(p.signals)
    run, refused = tick.advance_run(
        run,
        run_action=run_action,
        clock=api.clock,
        signals=signals,
        cancel=p.cancel,
        repeated=p.repeated,
    )
    return Result(runs=[], **tick.answer(run, [*malformed, *refused], key=key, files=files, now=api.clock.now()))


def _signals(given: Any) -> tuple[list[Signal], list[tick.RefusedSignal]]:
    """Return the signals, and the entries that are none."""
    entries = given if isinstance(given, list) else [] if given is None else [given]
    signals, malformed = [], []
    if len(entries) > MOST_SIGNALS:
        malformed.append(tick.RefusedSignal("", f"a call takes at most {MOST_SIGNALS} signals, the first ones", []))
    for entry in entries[:MOST_SIGNALS]:
        try:
            signal = SignalParams.model_validate(entry)
        except ValidationError:
            malformed.append(tick.RefusedSignal("", "not a signal: it must be {name, value}", []))
        else:
            signals.append(Signal(signal.name, signal.value))
    return signals, malformed


def _run_step(action_id: str, params: Mapping[str, Any], api: EmailSecurity) -> dict[str, Any]:
    """Run an action of the playbook. One that can be continued polls once: the caller waits, not this process."""
    action = catalog.find(action_id)
    once = {"timeout_seconds": 0} if action.resumable and "timeout_seconds" in action.params.model_fields else {}
    return action.run({**params, **once}, api if action.connection else None)


def _check(p: Params) -> None:
    """Raises: ParameterError unless the parameters begin a run or continue one."""
    begins = ("playbook", "inputs", "inputs_list", "run_id", "directory")
    if p.state is not None:
        problems = [
            Problem(pointer=f"/{name}", message="is not for a call with state") for name in begins if _given(p, name)
        ]
    else:
        needed = ("playbook", "run_id", *(() if p.inputs_list is not None else ("inputs",)))
        problems = [
            Problem(pointer=f"/{name}", message="is needed to begin a run") for name in needed if not _given(p, name)
        ]
        if p.inputs is not None and p.inputs_list is not None:
            problems.append(Problem(pointer="/inputs_list", message="give either inputs or inputs_list"))
        if isinstance(p.playbook, str) and not _ID.fullmatch(p.playbook):
            problems.append(Problem(pointer="/playbook", message="not the ID of a playbook"))
    if problems:
        raise ParameterError(problems=problems, help="Nothing was run. Correct the parameters.")


def _given(p: Params, name: str) -> bool:
    return getattr(p, name) is not None


def _playbook(source: str | dict[str, Any] | None) -> tuple[str | dict[str, Any], Playbook]:
    """Return a playbook with those that it runs, and its ID or document. Raises: PlaybookNotFound, PlaybookInvalid."""
    if isinstance(source, dict):
        playbook = bundled(from_document(source), library.find)
        return playbook.document(), playbook
    playbook = _shipped(str(source))
    return playbook.id, playbook


@cache
def _shipped(playbook_id: str) -> Playbook:
    """Return a shipped playbook. Reading one takes 0.1 s, and a warm function makes many calls."""
    return library.find(playbook_id)


def _begin(p: Params, api: EmailSecurity) -> Run:
    source, playbook = _playbook(p.playbook)
    require_sound(playbook)
    above = api.connection.runs_url
    directory = p.directory or (f"{above.rstrip('/')}/{p.run_id}" if above else None)
    if directory is None:
        raise ParameterError.at(
            "/directory", "is not given, and CFES_RUNS_URL is not set", help="Nothing was run. Give or set one of them."
        )
    state = begin(
        playbook,
        p.inputs or {},
        run_id=p.run_id or "",
        directory=directory.rstrip("/"),
        traits=traits(),
        now=api.clock.now(),
        account=api.connection.account_id.lower(),
    )
    return Run(source, playbook, state)


def _each(p: Params, inputs_list: list[dict[str, Any]]) -> Result:
    """Return a first call for each entry. Raises: ParameterError with the problems of every entry."""
    _, playbook = _playbook(p.playbook)
    problems = [problem for index, inputs in enumerate(inputs_list) for problem in _problems(playbook, inputs, index)]
    if problems:
        raise ParameterError(problems=problems, help="No run was begun. Correct the entries, and call again.")
    shared = {"playbook": p.playbook}
    runs = []
    for number, inputs in enumerate(inputs_list, 1):
        run_id = f"{p.run_id}-{number}"
        own = {} if p.directory is None else {"directory": f"{p.directory.rstrip('/')}/{run_id}"}
        runs.append({**shared, "inputs": inputs, "run_id": run_id, **own})
    if len(json.dumps(runs)) > tick.LARGEST_ANSWER_BYTES:
        raise ParameterError.at(
            "/inputs_list",
            f"has more than {counted(tick.LARGEST_ANSWER_BYTES, 'byte')}: split the list",
            help="No run was begun.",
        )
    return Result(next="each", seconds=1, run=None, runs=runs, waits_for=[], refused_signals=[], result=None)


def _problems(playbook: Playbook, inputs: dict[str, Any], index: int) -> list[Problem]:
    try:
        run_key(playbook, inputs)
        accept(playbook, inputs)
    except ParameterError as error:
        found = error.problems or [Problem(pointer="", message=error.message)]
        return [Problem(pointer=below("/inputs_list", index) + one["pointer"], message=one["message"]) for one in found]
    return []


ACTION = Action(
    id="advance-run",
    title="Advance a playbook's run by one step",
    params=Params,
    result=Result,
    effect="irreversible",
    permissions=[READ, WRITE],
    function=advance_run,
    package="platforms",
    example_params={
        "playbook": "phish-campaign-purge",
        "inputs": {"alert": {"AlertID": "case-42", "From": "billing@invoice-portal.example"}},
        "run_id": "case-42",
        "directory": "s3://evidence/runs/case-42",
    },
    example_result={
        "next": "sleep",
        "seconds": 12,
        "run": {"state": {"tick": 1, "content": "{...}", "key": "0123456789abcdef", "seal": "9f86d081884c7d65"}},
        "runs": [],
        "waits_for": [],
        "refused_signals": [],
        "result": None,
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
