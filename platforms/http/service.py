"""The service: its settings, connection, run store, workers and files, for as long as it runs."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from actions.contract import catalog
from connectors.call_log import LOGGER
from connectors.connection import Connection
from core.clock import Clock, SystemClock
from core.errors import ConnectionSettingsError, OutputError, PackError
from core.private_files import NotPrivate
from core.state_directory import private_directory
from platforms.alerts.intake import AlertIntake
from platforms.alerts.rule_loading import load_rules
from platforms.alerts.rules import Match
from platforms.alerts.webhook import WebhookSecrets
from platforms.callers import audit
from platforms.callers.audit import AuditLog
from platforms.callers.callers import Callers
from platforms.callers.limits import CallerLimits
from platforms.callers.records import SCOPES, Caller
from platforms.http.action_calls import ActionCalls, without_paths
from platforms.http.idempotency import AnsweredRequests
from platforms.http.incoming import Incoming
from platforms.http.local_runs import LocalRuns, Where
from platforms.http.metrics import Metrics
from platforms.http.pools import Pool
from platforms.http.served_files import ServedFiles
from platforms.http.served_runs import ServedRuns
from platforms.http.settings import HttpSettings
from platforms.http.telemetry import NoTelemetry, Telemetry
from platforms.http.thread_stores import ThreadStores
from platforms.openapi.document import document
from platforms.openapi.older_documents import as_2_0, as_3_0
from platforms.openapi.operations import operations
from platforms.playbook_session import account_of, open_store, scope_of
from platforms.runs.queue import QueuedRun, RunQueue
from platforms.runs.workers import RunSource, RunWorkers
from platforms.shared_connection import SharedConnection
from platforms.temporal_extra import require_temporal
from platforms.workspace.playbook_files import check_file_inputs
from platforms.workspace.workspace import Workspace
from playbooks import library
from playbooks.drivers.outcome import Outcome

# How long a stop waits for actions of runs that have begun. After it their runs are resumed by the next start.
STOP_SECONDS = 10.0

# Streams of events at the same time: each one asks the run store once a second.
MOST_STREAMS = 100


class Service:
    """Everything that requests share. Thread-safe where threads use it.

    Raises: ConnectionSettingsError and AuthenticationFailed for settings, RunStoreUnusable.
    """

    def __init__(
        self, environment: Mapping[str, str], *, open_to_all: bool = False, clock: Clock | None = None
    ) -> None:
        """Prepare a service. open_to_all: serve callers without a token; only for a loopback address."""
        self.clock = clock or SystemClock()
        self.settings = HttpSettings.from_environment(environment)
        self.connection_settings = Connection.from_environment(environment)
        state = self.connection_settings.state_directory
        self.directory = private_directory(state, environment)
        self.callers = Callers(state, self.clock)
        self.limits = CallerLimits(self.settings.requests, clock=self.clock)
        audit_file = self.settings.audit_file or self.directory / "audit.ndjson"
        self.audit = AuditLog(audit_file, self.clock)
        self.anonymous = Caller("local", frozenset(SCOPES)) if open_to_all and not self.callers.records() else None
        self.playbooks = {playbook.id: playbook for playbook in library.available()}
        self.operations = operations(catalog.available().values(), self.playbooks.values())
        self.connection = SharedConnection(environment)
        self.stores = ThreadStores(lambda: open_store(environment, self.clock))
        self.stores()
        self.queue = RunQueue(self.directory, self.clock)
        self.requests = AnsweredRequests(self.directory, self.clock)
        self.files = self._open_files()
        webhooks = self.settings.alert_webhooks
        secrets_of = WebhookSecrets(None if webhooks is None else webhooks.get_secret_value())
        self.alerts = AlertIntake(self.directory, str(self.directory), secrets_of, self.clock)
        rules = self.settings.alert_rules
        self.alert_rules = load_rules(None if rules is None else Path(rules))
        self.actions = ActionCalls(self.connection, self.files, self.clock, self.alerts.events)
        account = account_of(self.connection_settings)
        self.workers = RunWorkers(
            self.queue,
            RunSource(self.stores, self._run_action, account, self.clock),
            workers=self.settings.run_workers,
            ended=self._ended,
        )
        self.runs = self._runs(environment, account)
        self.calls = Pool("calls", self.settings.calls, self.settings.queue)
        self.waits = Pool("waits", self.settings.waits, self.settings.queue)
        self.lookups = Pool("lookups", 16, self.settings.queue)
        self.streams = 0
        self.stopping = False
        self.telemetry = Telemetry(self.clock) if self.settings.otel == "on" else NoTelemetry()
        self.metrics = Metrics(self._gauges())

    @asynccontextmanager
    async def lifespan(self, _: Any) -> AsyncIterator[None]:
        """Start the workers with the application, and stop them with it."""
        self.workers.start()
        self.alerts.start(self.alert_rules, self._begin_for_alert)
        try:
            yield
        finally:
            self.stop()

    def begin_stop(self) -> None:
        """Begin no further action of a run, and report that the service is not ready."""
        self.stopping = True
        self.workers.begin_stop()

    def stop(self) -> None:
        """Leave each run after its current action. What does not end in time is resumed by the next start."""
        self.begin_stop()
        if not self.alerts.stop(STOP_SECONDS):
            LOGGER.warning("the processing of alerts did not stop in time: the next start goes on with it")
        all_left = self.workers.stop(STOP_SECONDS)
        if not all_left:
            LOGGER.warning("%d runs were left in an action: the next start resumes them", self.workers.driving)
        for pool in (self.calls, self.waits, self.lookups):
            pool.shutdown()
        if all_left:
            # Without its connection, an action under way would end its run as failed.
            self.connection.close()
            self.queue.close()
        self.telemetry.close()
        self.requests.close()
        self.audit.close()

    def finish(self, incoming: Incoming, status: int, seconds: float) -> None:
        """Count a request that was answered, and write it to the audit log."""
        self.metrics.request(incoming.operation.id, status, seconds)
        operation, failure = incoming.operation, incoming.failure
        client = incoming.request.client
        subject = operation.action or operation.playbook
        answered = audit.Request(
            method=operation.method.upper(),
            route=operation.path,
            status=status,
            duration_ms=round(seconds * 1000),
            caller=incoming.caller.name if incoming.caller else None,
            subject=subject.id if subject else None,
            run_id=incoming.run_id,
            error_type=type(failure).__name__ if failure else None,
            applied=failure.applied if failure else None,
            client=client.host if client else None,
            idempotency_key=incoming.keyed.key if incoming.keyed else None,
        )
        try:
            self.audit.write(answered)
        except OutputError as error:
            LOGGER.error("%s", error.message)

    @cache  # noqa: B019 -- a process has one service
    def documents(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the OpenAPI documents by the kind of their operation. They take a second to make."""
        newest = document(self.operations)
        return {"openapi_3_1": newest, "openapi_3_0": as_3_0(newest), "swagger_2_0": as_2_0(newest)}

    def new_workspace_id(self) -> str:
        """Return an ID for the files of a call that names no workspace."""
        return f"call-{self.clock.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(6)}"

    def without_paths(self, error: PackError) -> PackError:
        """Return an error with names in place of the paths of files and of the state directory."""
        for workspace in (self.files.new_workspace(), Workspace(self.directory)):
            error = without_paths(error, workspace)
        return error

    def readiness(self) -> str | None:
        """Return why the service can't take requests; None if it can."""
        if self.stopping:
            return "the service stops"
        if self.audit.problem is not None:
            return f"the audit log can't be written: {self.audit.problem}"
        try:
            self.stores().runs(limit=1)
            self.queue.depth()
        except PackError as error:
            return self.without_paths(error).message
        return None

    def _runs(self, environment: Mapping[str, str], account: str | None) -> ServedRuns:
        if self.settings.engine == "temporal":
            require_temporal()
            from platforms.http.temporal_runs import TemporalRuns  # noqa: PLC0415 -- the extra

            return TemporalRuns(environment, self.queue, self.files, self.clock, self.settings.store_prefixes)
        where = Where(scope_of(self.connection_settings), account, self.settings.queued_runs)
        return LocalRuns(self.stores, self.queue, self.files, self.clock, where, self.workers.wake)

    def _begin_for_alert(self, match: Match) -> str:
        check_file_inputs(match.playbook, match.inputs, self.files.new_workspace())
        return self.runs.begin(match.playbook, match.inputs, f"alert-rule-{match.rule_id}").run_id

    def _run_action(self, run: QueuedRun, action_id: str, params: dict[str, Any]) -> dict[str, Any]:
        directory = Path(self.stores().read(run.run_id).summary.directory)
        call = partial(self.actions.call_for_run, action_id, params, run.requested_by, directory)
        return self.telemetry.traced(action_id, call)()

    def _ended(self, run: QueuedRun, outcome: Outcome) -> None:
        self.metrics.runs.labels(outcome.status).inc()
        LOGGER.info("the run %s has ended: %s", run.run_id, outcome.status)

    def _open_files(self) -> ServedFiles:
        root = Path(self.settings.files) if self.settings.files else self.directory / "files"
        try:
            return ServedFiles(root, self.settings.store_prefixes, self._directory_of_run)
        except NotPrivate as error:
            raise ConnectionSettingsError(
                f"the folder for the files of runs can't be used: {error}",
                help="Nothing was started. Set CFES_HTTP_FILES to an absolute path that only this user can use.",
            ) from None

    def _directory_of_run(self, run_id: str) -> Path | None:
        return self.runs.directory_of(run_id)

    def _gauges(self) -> dict[str, tuple[str, Callable[[], float]]]:
        return {
            "cfes_runs_driving": ("Runs that are being driven.", lambda: self.workers.driving),
            "cfes_runs_due": ("Runs that are due, driven ones included.", self.queue.depth),
            "cfes_calls_in_use": ("Calls of actions under way or waiting.", lambda: self.calls.in_use),
            "cfes_waits_in_use": ("Waits and exports under way or waiting.", lambda: self.waits.in_use),
            "cfes_alert_batches": ("Batches of alerts that wait.", lambda: len(self.alerts.inbox.batches())),
            "cfes_alerts_refused": ("Alerts that were refused.", self.alerts.ledger.refused_count),
            "cfes_event_streams": ("Streams of events.", lambda: self.streams),
        }
