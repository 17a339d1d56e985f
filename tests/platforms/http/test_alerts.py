"""Alerts over HTTP: Logpush batches and signed webhooks are stored, and start the playbooks of the rules."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from platforms.callers.callers import Callers
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.platforms.alerts.test_rules import NOTE
from tests.platforms.alerts.test_webhook import SECRET, signature
from tests.platforms.http.serving import RunningService, wait_for_run

ALERT: dict[str, Any] = json.loads(EXAMPLE_ALERT.read_text())
RULES = """
alert_rules: 1
rules:
  - id: bad
    when: "{{ alert.FinalDisposition == 'malicious' }}"
    playbook: note.yaml
    inputs: {alert_id: "{{ alert.AlertID }}", subject: "{{ alert.Subject }}"}
"""
LOGPUSH = "/v1/logpush/email_security_alerts"


@pytest.fixture
def settings(settings: dict[str, str], tmp_path: Path) -> dict[str, str]:
    (tmp_path / "note.yaml").write_text(NOTE)
    (tmp_path / "rules.yaml").write_text(RULES)
    webhooks = f"soc={SECRET.get_secret_value()}"
    return {**settings, "CFES_ALERT_RULES": str(tmp_path / "rules.yaml"), "CFES_ALERT_WEBHOOKS": webhooks}


def ndjson(*alerts: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(alert, ensure_ascii=False).encode() + b"\n" for alert in alerts)


def runs_of(client: httpx.Client, count: int) -> list[dict[str, Any]]:
    """Return the runs once there are so many, after they have ended."""
    end = time.monotonic() + 20
    while True:
        found: list[dict[str, Any]] = client.get("/v1/runs").raise_for_status().json()["runs"]
        if len(found) >= count:
            return [wait_for_run(client, run["run_id"]) for run in found]
        assert time.monotonic() < end, found
        threading.Event().wait(0.05)


def wait_until_empty(service: RunningService) -> None:
    end = time.monotonic() + 20
    while service.service.alerts.inbox.batches():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_batch_starts_one_run_for_each_alert_that_matches(
    service: RunningService, client: httpx.Client, encoding: str | None
) -> None:
    alerts = [{**ALERT, "AlertID": f"a{n}", "FinalDisposition": "spam" if n else "malicious"} for n in range(200)]
    body, headers = ndjson(*alerts), {} if encoding is None else {"Content-Encoding": encoding}
    for _ in range(2):
        answer = client.post(LOGPUSH, content=gzip.compress(body) if encoding else body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"received": 200, "test": False})
    wait_until_empty(service)
    [run] = runs_of(client, 1)
    assert (run["playbook"], run["status"], run["requested_by"]) == ("note", "completed", "alert-rule-bad")
    assert service.service.alerts.ledger.refused() == []


def test_the_test_upload_of_logpush_is_answered_with_200(client: httpx.Client) -> None:
    for body in (gzip.compress(b'{"content":"tests"}'), b"test"):
        answer = client.post(LOGPUSH, content=body)
        assert (answer.status_code, answer.json()) == (200, {"received": 0, "test": True})
    assert client.post(LOGPUSH, content=b"").json() == {"received": 0, "test": False}


@pytest.mark.parametrize(
    ("body", "headers", "status", "detail"),
    [
        (b'{"AlertID":"1"}\n[]', {}, 400, "line 2 is not a record"),
        (gzip.compress(b"{}", mtime=0)[:-4], {}, 400, "cut off"),
        (b"{}", {"Content-Encoding": "br"}, 415, "not supported"),
        (b'{"a":"' + b"x" * 5_000_000, {}, 413, "line 1 is longer"),
    ],
)
def test_a_batch_that_is_not_accepted_is_answered_with_the_reason(
    service: RunningService, client: httpx.Client, body: bytes, headers: dict[str, str], status: int, detail: str
) -> None:
    answer = client.post(LOGPUSH, content=body, headers=headers)
    assert answer.status_code == status
    assert detail in answer.json()["detail"]
    assert answer.json()["error"]["help"].startswith("Nothing was stored")
    assert service.service.alerts.inbox.batches() == []


def test_a_batch_needs_a_token_with_the_scope_alerts(service: RunningService, state: Path) -> None:
    reader = Callers(str(state)).create("reader", ["read", "write"], expires_at=None)
    for token, status in ((reader, 403), ("cfes_no", 401), (None, 401)):
        with service.client(token) as client:
            assert client.post(LOGPUSH, content=ndjson(ALERT)).status_code == status
    assert service.service.alerts.inbox.batches() == []


def test_an_alert_that_was_accepted_is_processed_after_a_restart(
    start: Callable[..., RunningService], token: str
) -> None:
    first = start()
    # As after a kill: the thread has ended, and the batch is on disk.
    first.service.alerts.stop(10)
    with first.client(token) as client:
        assert client.post(LOGPUSH, content=ndjson(ALERT)).status_code == 200
        assert client.get("/v1/runs").json() == {"runs": []}
    first.stop()
    with start().client(token) as client:
        [run] = runs_of(client, 1)
    assert run["status"] == "completed"


def test_events_are_kept_for_reconcile_job(service: RunningService, client: httpx.Client) -> None:
    event = {"Operation": "move", "Success": True, "MessageID": "<1@x>"}
    answer = client.post("/v1/logpush/email_security_post_delivery_events", content=ndjson(event))
    assert answer.json() == {"received": 1, "test": False}
    wait_until_empty(service)
    assert len(service.service.alerts.events.files()) == 1


def webhook(alert: dict[str, Any], webhook_id: str = "msg_1") -> dict[str, Any]:
    """Return the arguments of a POST."""
    body = json.dumps({"type": "alert", "data": alert}).encode()
    sent_at = str(int(datetime.now(UTC).timestamp()))
    headers = {"webhook-id": webhook_id, "webhook-timestamp": sent_at}
    signed = signature(SECRET, webhook_id, sent_at, body)
    return {"content": body, "headers": {**headers, "webhook-signature": signed}}


def test_a_signed_webhook_starts_a_run_once_and_needs_no_token(service: RunningService, client: httpx.Client) -> None:
    with service.client() as sender:
        assert sender.post("/v1/webhooks/soc", **webhook(ALERT)).json() == {"received": 1, "test": False}
        assert sender.post("/v1/webhooks/soc", **webhook(ALERT)).json() == {"received": 0, "test": False}
        assert sender.post("/v1/webhooks/soc", **webhook(ALERT, "msg_2")).json()["received"] == 1
    wait_until_empty(service)
    [run] = runs_of(client, 1)
    assert run["status"] == "completed"


def test_a_webhook_without_a_valid_signature_is_refused(service: RunningService) -> None:
    with service.client() as sender:
        sent = webhook(ALERT)
        answer = sender.post("/v1/webhooks/soc", content=sent["content"] + b" ", headers=sent["headers"])
        assert answer.status_code == 401
        assert "CLOUDFLARE" not in answer.text
        assert sender.post("/v1/webhooks/soc", content=b"{}").status_code == 422
        assert sender.post("/v1/webhooks/other", **webhook(ALERT)).status_code == 404
    assert service.service.alerts.inbox.batches() == []


def test_pushed_events_are_the_events_of_a_reconciliation(service: RunningService, client: httpx.Client) -> None:
    pushed = "logpush://email_security_post_delivery_events"
    created = client.post(
        "/v1/actions/create-move-job", json={"destination": "JunkEmail", "search_params": CAMPAIGN, "max_messages": 100}
    )
    job_id = created.raise_for_status().json()["job_id"]
    client.post("/v1/actions/wait-for-job", json={"job_id": job_id}).raise_for_status()
    none = client.post("/v1/actions/reconcile-job", json={"job_id": job_id, "events": pushed})
    assert none.status_code == 422
    assert "no events were pushed yet" in none.json()["detail"]
    event = {"Operation": "release", "Success": True, "MessageID": "<other@x>", "Recipient": "a@b.example"}
    client.post("/v1/logpush/email_security_post_delivery_events", content=ndjson(event, event)).raise_for_status()
    wait_until_empty(service)
    for events in (pushed, [pushed]):
        answer = client.post("/v1/actions/reconcile-job", json={"job_id": job_id, "events": events})
        assert answer.raise_for_status().json()["events"]["read"] == 2
        assert str(service.service.directory) not in answer.text


def test_a_refused_alert_is_listed_and_counted(service: RunningService, token: str) -> None:
    with service.client(token) as client:
        client.post(
            LOGPUSH, content=ndjson({**ALERT, "FinalDisposition": "malicious", "AlertID": ""})
        ).raise_for_status()
        wait_until_empty(service)
        listed = client.get("/v1/alerts/refused").raise_for_status().json()
        metrics = client.get("/metrics").text
    assert listed["total"] == 1
    [refused] = listed["refused"]
    assert refused["line"] == 1
    assert "AlertID" in refused["reason"]
    assert "cfes_alerts_refused 1.0" in metrics
