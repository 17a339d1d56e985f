"""restore-messages moves messages of a job back to Inbox: a dry run by default, and never purged messages."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from actions import move_messages, release_job, restore_messages, wait_for_job
from actions.export_job_messages import ACTION as EXPORT
from connectors.email_security import EmailSecurity
from core.errors import NotRestorable, ParameterError, PartlyApplied
from sandbox.server import RunningSandbox
from tests.actions.named_messages import SMOOTH, campaign, folders, moved_by_job, sent
from tests.conftest import CAMPAIGN
from tests.exhaustive import exhaustive_unless
from tests.object_stores import Bucket

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15


@pytest.fixture
def sandbox(start_sandbox: Callable[..., RunningSandbox]) -> RunningSandbox:
    return start_sandbox(**SMOOTH)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return tmp_path / "case-42.ndjson"


def restore(api: EmailSecurity, export: Path, **params: Any) -> dict[str, Any]:
    # The moved mail is malicious, so the tests allow its return.
    return restore_messages.run({"export": str(export), "allow_malicious": True, **params}, api)


def edit_rows(export: Path, change: Callable[[list[dict[str, Any]]], Any]) -> Path:
    rows = [json.loads(line) for line in export.read_text().splitlines()]
    change(rows)
    export.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return export


def test_the_default_is_a_dry_run_that_changes_nothing(
    sandbox: RunningSandbox, api: EmailSecurity, export: Path
) -> None:
    exported = moved_by_job(api, export)
    result = restore(api, export)
    assert (result["dry_run"], result["done"], sent(sandbox)) == (True, False, [])
    assert result["by_destination"] == {"JunkEmail": exported["counts_by_status"]["COMPLETED"]}
    assert result["rows"] == exported["counts_by_status"]["COMPLETED"]
    assert result["rows_left_alone"] == exported["written"] - result["rows"]
    assert result["messages"] == len(folders(sandbox))
    assert result["recipients"] > 0
    assert len(result["plan_hash"]) == 64


def test_a_dry_run_mentions_malicious_messages_once(api: EmailSecurity, export: Path) -> None:
    moved_by_job(api, export)
    refused = restore(api, export, allow_malicious=False)
    assert [refusal["type"] for refusal in refused["refusals"]] == ["MaliciousRelease"]
    assert not any("MALICIOUS" in warning for warning in refused["warnings"])
    allowed = restore(api, export)
    assert allowed["refusals"] == []
    assert sum("MALICIOUS" in warning for warning in allowed["warnings"]) == 1


def test_messages_are_restored_to_inbox_with_a_warning_about_the_original_folder(
    sandbox: RunningSandbox, api: EmailSecurity, export: Path
) -> None:
    moved_by_job(api, export)
    dry = restore(api, export)
    result = restore(api, export, dry_run=False)
    assert set(folders(sandbox).values()) == {"Inbox"}
    assert (result["succeeded"], result["destination"], result["done"]) == (result["messages"], "Inbox", True)
    assert result["original_folder"] == "not known"
    assert any("original folder of the messages is not known" in warning for warning in result["warnings"])
    assert sum("verdict MALICIOUS" in warning for warning in result["warnings"]) == 1
    assert result["plan_hash"] == dry["plan_hash"]
    again = restore(api, export, dry_run=False)
    # The log does not name the mailbox of a restored copy, so messages in several mailboxes are moved again.
    shared = [message.id for message in campaign(api) if message.copies > 1 and message.id in folders(sandbox)]
    assert (again["already"], again["succeeded"]) == (result["messages"] - len(shared), len(shared))
    assert sent(sandbox)[1:] == [shared]


def test_a_lost_answer_leaves_messages_in_several_mailboxes_unknown(
    sandbox: RunningSandbox, api: EmailSecurity, export: Path
) -> None:
    moved_by_job(api, export)
    sandbox.state.faults.add("moveMessages", "drop_after")
    with pytest.raises(PartlyApplied) as caught:
        restore(api, export, dry_run=False)
    shared = [message.id for message in campaign(api) if message.copies > 1 and message.id in folders(sandbox)]
    assert caught.value.resume == {"ids": shared}
    assert len(sent(sandbox)) == 1
    assert restore(api, export, dry_run=False)["done"]


def test_a_lost_request_is_sent_again_for_all_messages(
    sandbox: RunningSandbox, api: EmailSecurity, export: Path
) -> None:
    moved_by_job(api, export)
    sandbox.state.faults.add("moveMessages", "drop_before")
    result = restore(api, export, dry_run=False)
    assert (result["succeeded"], result["unknown"]) == (result["messages"], 0)
    assert set(folders(sandbox).values()) == {"Inbox"}
    assert len(sent(sandbox)) == 1


def test_one_purged_row_refuses_the_whole_call(sandbox: RunningSandbox, api: EmailSecurity, export: Path) -> None:
    moved_by_job(api, export)
    completed = edit_rows(
        export, lambda rows: next(r for r in rows if r["status"] == "COMPLETED")["action_params"].update(
            destination="RecoverableItemsPurges"
        )
    )  # fmt: skip
    for dry_run in (True, False):
        with pytest.raises(NotRestorable, match="1 of") as caught:
            restore(api, completed, dry_run=dry_run)
        assert caught.value.exit_code == 3
    assert sent(sandbox) == []


def test_a_failed_purge_does_not_prevent_a_restore(sandbox: RunningSandbox, api: EmailSecurity, export: Path) -> None:
    moved_by_job(api, export)
    edit_rows(
        export, lambda rows: rows[0].update(status="FAILED", action_params={"destination": "RecoverableItemsPurges"})
    )
    assert restore(api, export, dry_run=False)["succeeded"] > 0


def test_a_restore_from_the_deletions_folder_is_warned_about(api: EmailSecurity, export: Path) -> None:
    moved_by_job(api, export, destination="RecoverableItemsDeletions", allow_irreversible=True)
    result = restore(api, export)
    assert list(result["by_destination"]) == ["RecoverableItemsDeletions"]
    assert any("not documented" in warning for warning in result["warnings"])


def test_rows_of_a_release_job_are_refused(sandbox: RunningSandbox, api: EmailSecurity, export: Path) -> None:
    moved_by_job(api, export)
    edit_rows(export, lambda rows: rows[0].update(status="COMPLETED", action_type="RELEASE"))
    with pytest.raises(ParameterError, match="is of a RELEASE job") as caught:
        restore(api, export, dry_run=False)
    assert caught.value.problems[0]["pointer"] == "/export"
    assert sent(sandbox) == []


def test_an_export_of_a_release_job_restores_nothing(sandbox: RunningSandbox, api: EmailSecurity, export: Path) -> None:
    job_id = release_job.run({"search_params": CAMPAIGN, "allow_malicious": True}, api)["job_id"]
    wait_for_job.run({"job_id": job_id}, api)
    EXPORT.run({"job_id": job_id, "destination": str(export)}, api)
    # None of its rows is COMPLETED, because no message of the campaign was held.
    result = restore(api, export, dry_run=False)
    assert (result["messages"], result["rows"], sent(sandbox)) == (0, 0, [])


def test_rows_without_a_message_or_a_folder_are_counted(api: EmailSecurity, export: Path) -> None:
    moved_by_job(api, export)

    def remove_fields(rows: list[dict[str, Any]]) -> None:
        completed = [row for row in rows if row["status"] == "COMPLETED"]
        completed[0].update(message=None)
        completed[1].update(action_params=None)

    result = restore(api, edit_rows(export, remove_fields))
    assert (result["without_id"], len(result["rows_without_id"])) == (1, 1)
    assert result["by_destination"]["(not reported)"] == 1
    assert any("1 row does not name the folder" in warning for warning in result["warnings"])


def test_an_unknown_folder_is_refused_with_a_safe_message(
    sandbox: RunningSandbox, api: EmailSecurity, export: Path
) -> None:
    moved_by_job(api, export)
    before = sandbox.state.truth()["effects"]
    for folder in ("\x1b[31m" + "x" * 5000, "recoverableitemspurges"):

        def set_folder(rows: list[dict[str, Any]], folder: str = folder) -> None:
            for row in rows:
                row["action_params"]["destination"] = folder

        with pytest.raises(ParameterError) as caught:
            restore(api, edit_rows(export, set_folder), dry_run=False)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 600
    assert sandbox.state.truth()["effects"] == before


def test_messages_purged_after_the_job_are_not_restored(
    sandbox: RunningSandbox, api: EmailSecurity, export: Path
) -> None:
    moved_by_job(api, export)
    ids = restore(api, export)["ids"]
    move_messages.run({"ids": ids, "destination": "RecoverableItemsPurges", "allow_irreversible": True}, api)
    before = sandbox.state.truth()["effects"]
    with pytest.raises(NotRestorable, match="were purged"):
        restore(api, export, dry_run=False)
    assert sandbox.state.truth()["effects"] == before


def test_an_export_without_rows_is_refused(api: EmailSecurity, tmp_path: Path) -> None:
    (tmp_path / "none.ndjson").write_text("")
    with pytest.raises(ParameterError, match="has no row"):
        restore(api, tmp_path / "none.ndjson")


@pytest.mark.parametrize(
    "params", [{}, {"export": ""}, {"export": "/nowhere"}, {"export": "x", "destination": "Inbox"}]
)
def test_bad_parameters_are_refused(api: EmailSecurity, params: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        restore_messages.run(params, api)


@pytest.fixture
def bundle(api: EmailSecurity, tmp_path: Path) -> Path:
    """The evidence bundle of a job that moved the campaign."""
    moved = moved_by_job(api, tmp_path / "rows.ndjson")
    EXPORT.run({"job_id": moved["job_id"], "evidence": "bundle", "destination": str(tmp_path / "case-42.zip")}, api)
    return tmp_path / "case-42.zip"


def test_a_bundle_restores_the_messages_of_its_rows(api: EmailSecurity, bundle: Path) -> None:
    assert restore(api, bundle)["plan_hash"] == restore(api, bundle.with_name("rows.ndjson"))["plan_hash"]


def test_a_bundle_in_an_object_store_is_read(api: EmailSecurity, bundle: Path, bucket: Bucket) -> None:
    bucket.put("case-42.zip", bundle.read_bytes())
    url = bucket.url("case-42.zip")
    assert restore_messages.run({"export": url}, api)["plan_hash"] == restore(api, bundle)["plan_hash"]
    bucket.put("damaged.zip", bundle.read_bytes()[:1000])
    for name, why in (("none.zip", "there is no object"), ("damaged.zip", "damaged.zip' can't be read")):
        with pytest.raises(ParameterError, match=why):
            restore_messages.run({"export": bucket.url(name)}, api)


def test_a_zip_file_without_rows_is_refused(api: EmailSecurity, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.png", b"x")
    with pytest.raises(ParameterError, match=r"is a zip file without rows\.ndjson, not an evidence bundle"):
        restore(api, tmp_path / "photos.zip")


@pytest.mark.parametrize("keep", exhaustive_unless({40, 0.99}, [4, 40, 0.5, 0.99]))
def test_a_truncated_bundle_is_refused(keep: float, api: EmailSecurity, sandbox: RunningSandbox, bundle: Path) -> None:
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(ParameterError, match="can't be read"):
        restore(api, bundle, dry_run=False)
    assert sent(sandbox) == []


def test_damaged_rows_in_a_bundle_restore_nothing(api: EmailSecurity, sandbox: RunningSandbox, bundle: Path) -> None:
    with ZipFile(bundle) as archive:
        at = archive.getinfo("rows.ndjson").header_offset
    data = bytearray(bundle.read_bytes())
    data[at + 200] ^= 0xFF
    bundle.write_bytes(data)
    with pytest.raises(ParameterError):
        restore(api, bundle, dry_run=False)
    assert sent(sandbox) == []


def test_a_bundle_whose_rows_grow_without_end_is_refused_in_bounded_memory(api: EmailSecurity, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive, archive.open("rows.ndjson", "w") as rows:
        for _ in range(64):
            rows.write(b" " * 1024 * 1024)
    tracemalloc.start()
    try:
        with pytest.raises(ParameterError, match="line 1 is longer than 4194304 bytes"):
            restore(api, tmp_path / "bomb.zip")
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()
