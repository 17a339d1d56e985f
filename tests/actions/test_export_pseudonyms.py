"""A pseudonymized export holds no names in file, result or resume object, and still proves completeness."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actions import create_move_job, export_job_messages, restore_messages, wait_for_job
from connectors.email_security import EmailSecurity
from core.errors import ConnectionSettingsError, ParameterError
from sandbox.server import RunningSandbox
from tests.actions.test_export import INLINE, Listing, finished_job, one_second_per_call, pages_of
from tests.conftest import CAMPAIGN
from tests.connectors.scripted import JOB_ID, PSEUDONYM_KEY, connected
from tests.exhaustive import exhaustive_unless

Connect = Callable[..., EmailSecurity]

WITH_KEY: dict[str, Any] = {"pseudonym_key": PSEUDONYM_KEY}
NAMING_FIELDS = {
    "client_recipient", "email_message_id", "message_id", "subject", "from", "from_name", "to", "to_name", "replyto",
    "envelope_from", "envelope_to", "client_recipients", "sender", "recipient", "comment", "requested_by", "value",
    "attachment", "smtp_helo_server_ip",
}  # fmt: skip


@pytest.fixture
def api_with_key(sandbox: RunningSandbox, connect: Connect) -> EmailSecurity:
    """Return a connector with a pseudonym key to a sandbox whose messages include hostile subjects."""
    return connect(sandbox, **WITH_KEY)


def originals(document: Any, field: str = "") -> Iterator[str]:
    """Yield identifying texts of rows and jobs: complete values and the parts of addresses."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from originals(value, name)
    elif isinstance(document, list):
        for value in document:
            yield from originals(value, field)
    elif isinstance(document, str) and field in NAMING_FIELDS and not re.fullmatch(r"[0-9a-f-]{36}", document):
        yield document
        local, at, domain = document.strip("<>").partition("@")
        yield from (part for part in (local, domain) if at and len(part) > 5)


def names_in(names: set[str], text: str) -> Iterator[str]:
    """Yield the names that the text holds, plain or escaped as in JSON. A part of a longer word does not count."""
    for name in names:
        for form in {name, json.dumps(name)[1:-1]}:
            # The regular expression alone takes twenty seconds for a text of 1.5 MB and all its names.
            if form in text and re.search(rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])", text):
                yield name


def export_text(api: EmailSecurity, job_id: str, path: Path, **params: Any) -> tuple[dict[str, Any], str]:
    """Export rows to a file, and return the result and the file's text."""
    result = export_job_messages.run({"job_id": job_id, "destination": str(path), **params}, api)
    return result, path.read_bytes().decode()


def job_on_all_mail(api: EmailSecurity) -> str:
    """Run a job on all mail of the tenant, with a comment that names somebody, and return its ID."""
    search = {"domain": "corp.example", "start": "2026-10-21T00:00:00Z", "detections_only": False}
    params = {"search_params": search, "destination": "JunkEmail", "comment": "for Dana Weber", "idempotency_key": "k"}
    job_id = str(create_move_job.run(params, api)["job_id"])
    assert wait_for_job.run({"job_id": job_id, "timeout_seconds": 80_000}, api)["done"]
    return job_id


@pytest.mark.parametrize("row_format", exhaustive_unless({"csv"}, ["ndjson", "csv", "json"]))
def test_a_pseudonymized_export_holds_no_address_name_or_subject(
    row_format: str, api_with_key: EmailSecurity, tmp_path: Path
) -> None:
    job_id = job_on_all_mail(api_with_key)
    clear, clear_text = export_text(api_with_key, job_id, tmp_path / "clear.ndjson")
    known = {*originals([json.loads(line) for line in clear_text.splitlines()]), *originals(clear["job"])}
    assert len(known) > 300
    result, text = export_text(api_with_key, job_id, tmp_path / "rows", pseudonymize=True, format=row_format)
    assert any(names_in(known, clear_text))
    assert not list(names_in(known, text + json.dumps(result, ensure_ascii=False)))
    assert (result["written"], result["complete"]) == (clear["written"], True)
    assert result["counts_by_status"] == clear["counts_by_status"]


def test_inline_rows_hold_no_names(api_with_key: EmailSecurity) -> None:
    job_id = finished_job(api_with_key)
    clear = export_job_messages.run({"job_id": job_id, **INLINE}, api_with_key)
    result = export_job_messages.run({"job_id": job_id, "pseudonymize": True, **INLINE}, api_with_key)
    assert not list(names_in({*originals(clear["messages"]), *originals(clear["job"])}, json.dumps(result)))
    assert [row["message_id"] for row in result["messages"]] == [row["message_id"] for row in clear["messages"]]


def test_two_exports_and_two_jobs_have_the_same_pseudonyms(api_with_key: EmailSecurity, tmp_path: Path) -> None:
    first_job, second_job = finished_job(api_with_key), finished_job(api_with_key)
    first, text = export_text(api_with_key, first_job, tmp_path / "first", pseudonymize=True)
    again, text_again = export_text(api_with_key, first_job, tmp_path / "again", pseudonymize=True)
    other, other_text = export_text(api_with_key, second_job, tmp_path / "other", pseudonymize=True)
    assert text == text_again
    assert first["pseudonyms"] == again["pseudonyms"] == other["pseudonyms"]
    recipients = [
        {json.loads(line)["action_params"]["client_recipient"] for line in lines.splitlines()}
        for lines in (text, other_text)
    ]
    assert recipients[0] == recipients[1]
    assert first["job"]["search_params"]["sender"] == json.loads(text.splitlines()[0])["message"]["from"]


def test_another_key_gives_other_pseudonyms(
    sandbox: RunningSandbox, connect: Connect, api_with_key: EmailSecurity, tmp_path: Path
) -> None:
    job_id = finished_job(api_with_key)
    _, text = export_text(api_with_key, job_id, tmp_path / "first", pseudonymize=True)
    other_api = connect(sandbox, pseudonym_key=PSEUDONYM_KEY[::-1])
    result, other_text = export_text(other_api, job_id, tmp_path / "second", pseudonymize=True)

    def pseudonyms(text: str) -> set[str]:
        return set(re.findall(r"\b[pdnsxtm]-[0-9a-f]{20}\b", text))

    assert len(pseudonyms(text)) == len(pseudonyms(other_text)) > 50
    assert pseudonyms(text) & pseudonyms(other_text + json.dumps(result)) == set()


def test_domains_can_still_be_ranked(api_with_key: EmailSecurity, tmp_path: Path) -> None:
    job_id = job_on_all_mail(api_with_key)

    def domains(text: str) -> list[int]:
        found = Counter(json.loads(line)["message"]["from"].partition("@")[2] for line in text.splitlines()
                        if "message" in json.loads(line))  # fmt: skip
        return sorted(found.values())

    _, clear = export_text(api_with_key, job_id, tmp_path / "clear")
    _, text = export_text(api_with_key, job_id, tmp_path / "rows", pseudonymize=True)
    assert domains(text) == domains(clear)


def test_a_missing_key_is_refused_before_any_call(api: EmailSecurity, tmp_path: Path) -> None:
    with pytest.raises(ConnectionSettingsError, match="CFES_PSEUDONYM_KEY is not set"):
        export_job_messages.run({"job_id": JOB_ID, "pseudonymize": True, "destination": str(tmp_path / "x")}, api)
    assert list(tmp_path.iterdir()) == []


def start_export(path: Path, *, key: str | None, pseudonymize: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run an export until its time budget ends, and return its parameters and resume object."""
    params = {"job_id": JOB_ID, "destination": str(path), "time_budget_seconds": 0.001, "pseudonymize": pseudonymize}
    settings: dict[str, Any] = {} if key is None else {"pseudonym_key": key}
    result = export_job_messages.run(params, one_second_per_call(connected(Listing(2500, pages_of(2500)), **settings)))
    assert not result["done"]
    return params, result["resume"]


def test_a_resumed_export_gives_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    api = connected(Listing(2500, pages_of(2500)), **WITH_KEY)
    export_job_messages.run({"job_id": JOB_ID, "destination": str(whole), "pseudonymize": True}, api)
    params, resume = start_export(tmp_path / "pieces", key=PSEUDONYM_KEY, pseudonymize=True)
    params.pop("time_budget_seconds")
    result = export_job_messages.run({**params, "resume": resume}, api)
    assert (result["complete"], result["written"]) == (True, 2500)
    assert (tmp_path / "pieces").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("started_with", "resumed_with"),
    [
        ((PSEUDONYM_KEY, True), (PSEUDONYM_KEY[::-1], True)),
        ((PSEUDONYM_KEY, True), (PSEUDONYM_KEY, False)),
        ((None, False), (PSEUDONYM_KEY, True)),
    ],
)
def test_a_resume_with_other_pseudonyms_is_refused_and_keeps_the_rows(
    started_with: tuple[str | None, bool], resumed_with: tuple[str | None, bool], tmp_path: Path
) -> None:
    params, resume = start_export(tmp_path / "rows", key=started_with[0], pseudonymize=started_with[1])
    kept = (tmp_path / "rows.partial").read_bytes()
    api = connected(Listing(2500, pages_of(2500)), pseudonym_key=resumed_with[0])
    with pytest.raises(ParameterError, match="other pseudonyms"):
        export_job_messages.run({**params, "pseudonymize": resumed_with[1], "resume": resume}, api)
    assert (tmp_path / "rows.partial").read_bytes() == kept


def test_a_resume_object_without_pseudonyms_of_an_earlier_version_is_accepted(tmp_path: Path) -> None:
    params, resume = start_export(tmp_path / "rows", key=None, pseudonymize=False)
    assert resume.pop("pseudonyms") is None
    result = export_job_messages.run({**params, "resume": resume}, connected(Listing(2500, pages_of(2500))))
    assert result["complete"]
    assert result["pseudonyms"] is None


def test_hostile_rows_are_exported_without_their_names() -> None:
    hostile: list[dict[str, Any]] = [
        {"message_id": "dana@corp.example", "status": "Dana Weber", "retry_count": 2**70, "new": {"Dana": "Weber"}},
        {"message_id": "row-2", "status": "COMPLETED", "message": ["Dana"], "action_params": "Dana"},
    ]
    listing = Listing(2, lambda number: hostile if number == 1 else [], messages_successful=1, messages_failed=1)
    params = {"job_id": JOB_ID, "pseudonymize": True, "require_complete": False, **INLINE}
    result = export_job_messages.run(params, connected(listing, **WITH_KEY))
    assert result["written"] == 2
    assert "Dana" not in json.dumps(result)
    assert "corp" not in json.dumps(result)


def test_messages_can_be_restored_from_a_pseudonymized_export(api_with_key: EmailSecurity, tmp_path: Path) -> None:
    job_id = finished_job(api_with_key)
    path = tmp_path / "rows.ndjson"
    result, _ = export_text(api_with_key, job_id, path, pseudonymize=True)
    restored = restore_messages.run({"export": str(path), "dry_run": False, "allow_malicious": True}, api_with_key)
    assert (restored["unknown"], restored["not_sent"]) == (0, 0)
    assert restored["succeeded"] > 30
    assert restored["rows"] == result["counts_by_status"]["COMPLETED"]


def test_an_export_with_names_does_not_load_the_pseudonyms_module(
    sandbox: RunningSandbox, environment: dict[str, str], api: EmailSecurity
) -> None:
    job_id = create_move_job.run({"search_params": CAMPAIGN, "destination": "JunkEmail"}, api)["job_id"]
    program = (
        "import sys; from actions import export_job_messages as e;"
        f"r = e.run({{'job_id': '{job_id}', 'inline_limit_bytes': 10**6}});"
        "assert 'remediation.exports.pseudonyms.pseudonyms' not in sys.modules and r['pseudonyms'] is None"
    )
    subprocess.run([sys.executable, "-c", program], env={**environment, "CFES_LOG": "off"}, check=True, timeout=60)
