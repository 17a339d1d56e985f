"""The session of one agent: its connection, plans and files, and the runs that it begins."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from actions.contract import catalog
from actions.contract.action import Action
from connectors.call_log import LOGGER
from connectors.connection import Connection
from core.clock import Clock, SystemClock
from core.errors import ApprovalRefused, ConnectionSettingsError, ParameterError
from core.json_values import Json
from core.private_files import NotPrivate, make_private_directory
from core.state_directory import private_directory
from platforms.http.action_calls import ActionCalls, Caller
from platforms.http.local_runs import LocalRuns, Where
from platforms.http.served_files import ServedFiles
from platforms.http.settings import HttpSettings
from platforms.http.thread_stores import ThreadStores
from platforms.mcp.human_approval import (
    approved_action,
    approved_playbook,
    inputs_need_person,
    is_approved_run,
    needs_person,
    require_plan,
)
from platforms.mcp.plans import Plans
from platforms.mcp.results import ToolResult
from platforms.mcp.schemas import LEAST_RESULT_BYTES, MOST_RESULT_BYTES, RESULT_LIMITS
from platforms.mcp.tools import HIDDEN
from platforms.playbook_session import account_of, open_store, scope_of
from platforms.runs.queue import QueuedRun, RunQueue
from platforms.runs.workers import RunSource, RunWorkers
from platforms.shared_connection import SharedConnection
from platforms.workspace.file_parameters import file_parameters, names_files
from platforms.workspace.playbook_files import check_file_inputs
from platforms.workspace.workspace import OTHER_RUN
from playbooks import library
from playbooks.language.format import Playbook

# Many clients end a call after 60 seconds. A wait then answers `done: false`.
CALL_SECONDS = 50.0

# How long the end of the session waits for runs. The next session resumes them.
STOP_SECONDS = 10.0

# Runs at the same time.
RUN_WORKERS = 4

PREVIEW = "preview-job"


class AgentSession:
    """What the tools of one client share. Thread-safe. Raises: ConnectionSettingsError for settings.

    environment: that of the process.
    """

    def __init__(self, environment: Mapping[str, str], clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.settings = Connection.from_environment(environment)
        self._environment = environment
        self._http = HttpSettings.from_environment(environment)
        self._directory = private_directory(self.settings.state_directory, environment)
        self._stores = ThreadStores(lambda: open_store(environment, self.clock))
        self._connection = SharedConnection(environment)
        self.plans = Plans()
        self.workspace_id = f"agent-{self.clock.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        self.files = self._open_files()
        self._actions = ActionCalls(self._connection, self.files, self.clock)
        self._queue = RunQueue(self._own_directory(), self.clock)
        account = account_of(self.settings)
        self._workers = RunWorkers(
            self._queue, RunSource(self._stores, self._run_action, account, self.clock), workers=RUN_WORKERS
        )
        where = Where(scope_of(self.settings), account)
        self.runs = LocalRuns(self._stores, self._queue, self.files, self.clock, where, self._workers.wake)

    @cached_property
    def playbooks(self) -> dict[str, Playbook]:
        """Return the shipped playbooks by ID."""
        return {playbook.id: playbook for playbook in library.available()}

    def start(self) -> None:
        """Drive the runs that an earlier session left, and those of this one."""
        self._workers.start()

    def close(self) -> bool:
        """Leave each run after its current action. Return whether all were left in time; the others stay resumable."""
        left = self._workers.stop(STOP_SECONDS)
        if left:
            self._connection.close()
            self._queue.close()
        else:
            LOGGER.warning("%d runs were left in an action: the next session resumes them", self._workers.driving)
        return left

    def call_action(self, action: Action[Any, Any], arguments: Mapping[str, Any]) -> ToolResult:
        """Run an action, or begin the run that asks a person first. Raises: PackError."""
        for name in HIDDEN & arguments.keys():
            raise ParameterError.at(
                f"/{name}", "an agent can't set this: people approve, and settings name the requester"
            )
        params = bounded(action, self.plans.with_plan(arguments) if "plan" in action.params.model_fields else arguments)
        action.check(params)
        require_plan(action, params)
        if needs_person(action, params):
            return self._ask_person(action, params)
        try:
            return self._call(action, params)
        except ApprovalRefused:
            # The policy requires approvals. People sign them for the run.
            if self._plan_of(action, params).get("approvals_needed"):
                return self._ask_person(action, params)
            raise

    def begin(self, playbook_id: str, inputs: Mapping[str, Json]) -> dict[str, Any]:
        """Begin a run of a playbook, and return it. It asks a person first where its inputs need that.

        Raises: ParameterError, and as `platforms.runs.begin.begin_run`.
        """
        playbook = self.playbooks.get(playbook_id) or library.find(playbook_id)
        if "approvals" in inputs:
            raise ParameterError.at("/inputs/approvals", "an agent can't set this: people approve")
        inputs = self.plans.with_plan(inputs, "/inputs/plan")
        check_file_inputs(playbook, inputs, self.files.new_workspace())
        if inputs_need_person(inputs):
            playbook = approved_playbook(playbook, inputs)
        begun = self.runs.begin(playbook, inputs, self.settings.requested_by)
        return self.runs.show(begun.run_id)

    def directory_of(self, run_id: str | None) -> Path:
        """Return the folder of a run's files; None: those of this session. Raises: NotFound."""
        if run_id is None:
            return self.files.open_workspace(self.workspace_id).directory
        return self.files.directory_of(run_id)

    def _call(self, action: Action[Any, Any], params: Mapping[str, Any]) -> ToolResult:
        workspace = self.files.open_workspace(self.workspace_id) if names_files(action, params) else None
        result = self._actions.call(action, params, Caller(None, workspace, CALL_SECONDS))
        if action.id == PREVIEW:
            self.plans.add(result)
        if workspace is None:
            return ToolResult(result)
        note = f"Read files with read_file. For a playbook, a file is run://{self.workspace_id}/NAME."
        return ToolResult(result, (note,))

    def _ask_person(self, action: Action[Any, Any], params: Mapping[str, Any]) -> ToolResult:
        has_plan = {"plan", "plan_hash"} & action.params.model_fields.keys()
        plan = self._plan_of(action, params) if has_plan else None
        # The run has a workspace of its own.
        params = self._with_full_names(action, params)
        playbook = approved_action(action, params, plan)
        inputs = dict(params) if plan is None else {**params, "shown_plan": plan}
        begun = self.runs.begin(playbook, inputs, self.settings.requested_by)
        signed = plan is not None and bool(plan.get("approvals_needed"))
        document = {
            "needs_approval": True,
            "run_id": begun.run_id,
            "message": f"Nothing was changed. The run {begun.run_id} waits for a person. Tell the user.",
            "how_a_person_approves": how_to_approve(begun.run_id, signed=signed),
        }
        return ToolResult(document, ("Follow the run with show_run.",))

    def _with_full_names(self, action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with `run://` names of this session's files, which the run can read."""
        named = dict(params)
        for parameter in file_parameters(action.id):
            given = params.get(parameter.name)
            if not parameter.writes and isinstance(given, str) and "://" not in given:
                named[parameter.name] = f"{OTHER_RUN}{self.workspace_id}/{given}"
        return named

    def _plan_of(self, action: Action[Any, Any], params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plan of a call, or the dry run that has its plan_hash. Raises: PackError."""
        plan = params.get("plan")
        if isinstance(plan, dict):
            return plan
        dry = {name: value for name, value in params.items() if name != "plan_hash"}
        found = self._call(action, {**dry, "dry_run": True}).document
        if found.get("plan_hash") != params.get("plan_hash"):
            raise ParameterError.at(
                "/plan_hash",
                "the messages of this call have another plan_hash now",
                help="Nothing was changed. Call the tool with `dry_run: true` again, and check its numbers.",
            )
        return found

    def _run_action(self, run: QueuedRun, action_id: str, params: dict[str, Any]) -> dict[str, Any]:
        summary = self._stores().read(run.run_id).summary
        action = catalog.find(action_id)
        approved = is_approved_run(summary.playbook_id) or bool(params.get("approvals"))
        if not approved and needs_person(action, params):
            raise ApprovalRefused(
                f"{action.id} needs a person's approval here: it can't be undone, or it lifts a guardrail",
                help=f"Nothing was changed. A person can run the playbook: cfes playbook run {summary.playbook_id}",
            )
        return self._actions.call_for_run(action_id, params, run.requested_by, Path(summary.directory))

    def _own_directory(self) -> Path:
        """Return the folder of the queue. The runs of agents are not driven by `cfes serve`, which asks nobody."""
        directory = self._directory / "mcp"
        return _private(directory, "CFES_STATE_DIR")

    def _open_files(self) -> ServedFiles:
        root = Path(self._http.files) if self._http.files else self._directory / "files"
        return ServedFiles(_private(root, "CFES_HTTP_FILES"), self._http.store_prefixes, self._directory_of_run)

    def _directory_of_run(self, run_id: str) -> Path | None:
        return self.runs.directory_of(run_id)


def bounded(action: Action[Any, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with a small result. Raises: ParameterError for a larger one."""
    params = dict(arguments)
    for name in RESULT_LIMITS.keys() & action.params.model_fields.keys():
        given = params.setdefault(name, LEAST_RESULT_BYTES)
        if isinstance(given, int | float) and given > MOST_RESULT_BYTES:
            raise ParameterError.at(f"/{name}", f"must be at most {MOST_RESULT_BYTES}")
    return params


def how_to_approve(run_id: str, *, signed: bool) -> list[str]:
    """Return the commands with which a person looks at a run and approves it, or ends it."""
    approve = f"approve {run_id} --key FILE" if signed else f"signal {run_id} approval '\"approved\"'"
    return [
        f"cfes playbook show {run_id}",
        f"cfes playbook {approve}",
        f"cfes playbook cancel {run_id}",
    ]


def _private(directory: Path, variable: str) -> Path:
    try:
        make_private_directory(directory)
    except NotPrivate as error:
        raise ConnectionSettingsError(
            f"a folder of the MCP server can't be used: {error}",
            help=f"Nothing was started. Set {variable} to an absolute path that only this user can use.",
        ) from None
    return directory
