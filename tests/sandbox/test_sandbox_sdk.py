"""Cloudflare's SDK can call every operation; only its base URL is changed."""

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import cloudflare
import httpx
import pytest
from cloudflare import Cloudflare

from sandbox.server import RunningSandbox

Run = Callable[..., RunningSandbox]


@pytest.fixture
def sandbox(run: Run, alert: dict[str, Any]) -> RunningSandbox:
    return run(messages=200, alert=alert, campaign_size=30, at=None)


@pytest.fixture
def client(sandbox: RunningSandbox) -> Iterator[Cloudflare]:
    with Cloudflare(api_token=sandbox.token, base_url=sandbox.base_url, max_retries=0) as made:
        yield made


def test_a_token_is_verified(sandbox: RunningSandbox, client: Cloudflare) -> None:
    user = client.user.tokens.verify()
    owned = client.accounts.tokens.verify(account_id=sandbox.account_id)
    assert user is not None
    assert owned is not None
    assert (user.status, owned.status) == ("active", "active")
    with (
        Cloudflare(api_token=sandbox.revoked_token, base_url=sandbox.base_url, max_retries=0) as revoked,
        pytest.raises(cloudflare.AuthenticationError) as refused,
    ):
        revoked.user.tokens.verify()
    assert [error.code for error in refused.value.errors] == [1000]


def test_a_move_job_is_created_read_listed_and_deleted(
    sandbox: RunningSandbox, client: Cloudflare, alert: dict[str, Any]
) -> None:
    bulk, account_id = client.email_security.investigate.bulk, sandbox.account_id
    start = datetime.fromisoformat(alert["Timestamp"]) - timedelta(hours=1)
    job = bulk.create(
        account_id=account_id,
        action="MOVE",
        destination="RecoverableItemsDeletions",
        comment="case 42",
        search_params={"sender": alert["From"], "start": start, "detections_only": False},
    )
    assert job is not None
    assert (job.status, job.action_params.type) == ("PENDING", "MOVE")
    assert job.search_params.start == start
    uuid.UUID(job.job_id)
    sandbox.state.advance(60)
    got = bulk.get(job.job_id, account_id=account_id)
    assert got is not None
    assert (got.status, got.comment, got.messages_failed) == ("COMPLETED", "case 42", 0)
    assert got.total_messages_discovered == got.messages_successful + got.messages_skipped
    rows = list(bulk.messages.list(job.job_id, account_id=account_id, per_page=7, status="COMPLETED"))
    assert len(rows) == got.messages_successful == len(sandbox.state.truth()["moved"])
    assert rows[0].message is not None
    assert rows[0].message.from_ == alert["From"]
    assert rows[0].processed_at is not None
    assert [listed.job_id for listed in bulk.list(account_id=account_id, action_type="MOVE")] == [job.job_id]
    deleted = bulk.delete(job.job_id, account_id=account_id)
    assert deleted is not None
    assert deleted.id == job.job_id
    with pytest.raises(cloudflare.NotFoundError):
        bulk.get(job.job_id, account_id=account_id)


def test_a_job_is_cancelled(sandbox: RunningSandbox, client: Cloudflare) -> None:
    bulk, account_id = client.email_security.investigate.bulk, sandbox.account_id
    job = bulk.create(account_id=account_id, action="RELEASE", search_params={})
    assert job is not None
    cancelled = bulk.cancel.create(job.job_id, account_id=account_id)
    assert cancelled is not None
    assert cancelled.status == "CANCELLED"
    with pytest.raises(cloudflare.ConflictError):
        bulk.cancel.create(job.job_id, account_id=account_id)


def test_messages_are_searched_moved_and_released(
    sandbox: RunningSandbox, client: Cloudflare, alert: dict[str, Any]
) -> None:
    investigate, account_id = client.email_security.investigate, sandbox.account_id
    found = list(investigate.list(account_id=account_id, sender=alert["From"], detections_only=False, per_page=7))
    assert len({message.id for message in found}) == len(found) == 30
    moved = list(investigate.move.bulk(account_id=account_id, destination="JunkEmail", ids=[found[0].id, found[1].id]))
    assert all(row.success and row.recipient for row in moved)
    again = list(investigate.move.create(found[0].id, account_id=account_id, destination="Inbox"))
    assert [row.destination for row in again] == ["Inbox"] * len(found[0].client_recipients)
    held = next(iter(investigate.list(account_id=account_id, delivery_status="quarantined")))
    released = list(investigate.release.bulk(account_id=account_id, ids=[held.id]))
    assert [(row.id, row.delivered) for row in released] == [(held.id, held.client_recipients)]
    actions = investigate.list(account_id=account_id, message_action="QUARANTINE_RELEASED")
    assert [message.id for message in actions] == [held.id]


def test_a_read_token_is_refused_for_writes(sandbox: RunningSandbox) -> None:
    with (
        Cloudflare(api_token=sandbox.read_token, base_url=sandbox.base_url, max_retries=0) as reading,
        pytest.raises(cloudflare.PermissionDeniedError) as refused,
    ):
        reading.email_security.investigate.bulk.create(
            account_id=sandbox.account_id, action="RELEASE", search_params={}
        )
    assert [error.code for error in refused.value.errors] == [10000]


def test_the_sdk_can_use_an_api_key_with_its_email(sandbox: RunningSandbox) -> None:
    with Cloudflare(api_email=sandbox.email, api_key=sandbox.email_key, base_url=sandbox.base_url) as older:
        assert list(older.email_security.investigate.bulk.list(account_id=sandbox.account_id)) == []


def test_the_sdk_creates_several_jobs_when_responses_are_lost(
    sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    sandbox.state.faults.add("createBulkJob", "drop_after", times=3)
    with (
        Cloudflare(api_token=sandbox.token, base_url=sandbox.base_url) as retrying,
        pytest.raises(cloudflare.APIConnectionError) as lost,
    ):
        retrying.email_security.investigate.bulk.create(
            account_id=sandbox.account_id, action="RELEASE", search_params={}
        )
    assert isinstance(lost.value.__cause__, httpx.RemoteProtocolError)
    assert len(sandbox.state.truth()["jobs"]) == 3
