"""Short scenes, one for each action, that are recorded and replayed with the same calls.

A cassette contains no secret and no address of the recording machine: requests are stored with the URL of the real
service and without credentials.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import vcr

from actions.contract import catalog
from connectors.connection import Connection
from connectors.email_security import EmailSecurity
from connectors.http.client import httpx
from tests.clock import FakeClock
from tests.plain_http import PLAIN

FOLDER = Path(__file__).parent
ACCOUNT = "023e105f4ecef8ad9ca31a8372d0c353"
SEARCH = {"sender": "billing@invoice-portal.example", "start": "2026-11-13T15:32:35Z", "detections_only": False}
MOVE = {"search_params": SEARCH, "destination": "JunkEmail", "comment": "case 42", "idempotency_key": "case-42"}
RELEASE = {"search_params": {"sender": "statements@partner-bank.example", "start": "2026-11-13T00:00:00Z"}}

Call = Callable[..., dict[str, Any]]
Scene = Callable[[Call], dict[str, Any]]


def _create_job(call: Call) -> str:
    return str(call("create-move-job", MOVE)["job_id"])


def _export(call: Call) -> dict[str, Any]:
    job_id = _create_job(call)
    call("wait-for-job", {"job_id": job_id})
    return call("export-job-messages", {"job_id": job_id, "inline_limit_bytes": 1_000_000})


def _delete(call: Call) -> dict[str, Any]:
    job_id = _create_job(call)
    call("cancel-job", {"job_id": job_id})
    return call("delete-job", {"job_id": job_id})


def _ids(call: Call, search: dict[str, Any]) -> list[str]:
    found = call("search-messages", {"search_params": search, "sample": 2})
    return [message["id"] for message in found["messages"]]


def _plan(call: Call) -> dict[str, Any]:
    return call("preview-job", {"action": "MOVE", "search_params": SEARCH, "destination": "JunkEmail"})


def _create_from_plan(call: Call) -> dict[str, Any]:
    plan = _plan(call)
    call("create-move-job", {"plan": plan})
    return plan


def _retry(call: Call) -> dict[str, Any]:
    job_id = _create_job(call)
    call("wait-for-job", {"job_id": job_id})
    return call("retry-failed-messages", {"job_id": job_id})


def _restore(call: Call) -> dict[str, Any]:
    job_id = _create_job(call)
    call("wait-for-job", {"job_id": job_id})
    with TemporaryDirectory() as folder:
        rows = str(Path(folder) / "rows.ndjson")
        call("export-job-messages", {"job_id": job_id, "destination": rows})
        return call("restore-messages", {"export": rows, "dry_run": False, "allow_malicious": True})


def _reconcile(call: Call) -> dict[str, Any]:
    job_id = _create_job(call)
    call("wait-for-job", {"job_id": job_id})
    with TemporaryDirectory() as folder:
        events = Path(folder) / "events.ndjson"
        events.write_bytes(b"")
        return call("reconcile-job", {"job_id": job_id, "events": [str(events)]})


# One for each action that calls the API; a test fails when one is missing.
SCENES: dict[str, Scene] = {
    "create-job": lambda call: call("create-job", {"plan": _plan(call)}),
    "create-move-job": lambda call: call("create-move-job", {**MOVE, "max_messages": 100}),
    "release-job": lambda call: call("release-job", RELEASE),
    "wait-for-job": lambda call: call("wait-for-job", {"job_id": _create_job(call)}),
    "export-job-messages": _export,
    "get-job": lambda call: call("get-job", {"job_id": _create_job(call)}),
    "list-jobs": lambda call: (_create_job(call), call("list-jobs", {"action_type": "MOVE"}))[1],
    "cancel-job": lambda call: call("cancel-job", {"job_id": _create_job(call)}),
    "delete-job": _delete,
    "preview-job": _create_from_plan,
    "move-messages": lambda call: call("move-messages", {"ids": _ids(call, SEARCH), "destination": "JunkEmail"}),
    "release-messages": lambda call: call("release-messages", {"ids": _ids(call, RELEASE["search_params"])}),
    "reconcile-job": _reconcile,
    "retry-failed-messages": _retry,
    "restore-messages": _restore,
    "search-messages": lambda call: call("search-messages", {"search_params": SEARCH, "sample": 2}),
    "test-connection": lambda call: call("test-connection", {}),
}


def play_scene(scene: Scene, connection: Connection, clock: FakeClock) -> dict[str, Any]:
    """Run a scene with a fixed random seed.

    Skip the second check for duplicate jobs after a create: it advances the sandbox's clock, and scenes need a running
    job.
    """
    connection = connection.model_copy(update={"listing_lag_seconds": 0.0})
    # vcrpy records what goes through httpx's own transport.
    with EmailSecurity(connection, clock=clock, rng=random.Random(7), http=httpx.HTTPTransport(verify=PLAIN)) as api:
        return scene(lambda action_id, params: catalog.find(action_id).run(params, api))


def cassette(name: str, mode: str) -> Any:
    """Return the cassette of this name. mode: "all" to record, "none" to replay and fail on any other call."""
    recorder = vcr.VCR(
        cassette_library_dir=str(FOLDER),
        record_mode=vcr.mode(mode),
        match_on=["method", "scheme", "host", "port", "path", "query", "body"],
        filter_headers=["authorization", "x-auth-email", "x-auth-key", "user-agent", "host", "connection"],
        before_record_request=_use_real_url,
        before_record_response=_keep_needed_headers,
        decode_compressed_response=True,
    )
    return recorder.use_cassette(f"{name}.yaml", allow_playback_repeats=False)


def _use_real_url(request: Any) -> Any:
    parts = urlsplit(request.uri)
    if parts.hostname == "127.0.0.1":
        request.uri = urlunsplit(("https", "api.cloudflare.com", parts.path, parts.query, ""))
    return request


def _keep_needed_headers(response: dict[str, Any]) -> dict[str, Any]:
    kept = {"content-type", "location", "ratelimit", "ratelimit-policy", "retry-after", "cf-ray"}
    response["headers"] = {name: value for name, value in response["headers"].items() if name.lower() in kept}
    return response
