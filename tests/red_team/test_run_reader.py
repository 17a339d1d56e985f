"""Attacks by a person who can read and write the run and state directories, but not the keys or the policy."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import product
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from actions import delete_job, preview_job, restore_messages
from actions.contract import catalog
from connectors.email_security import EmailSecurity
from core.errors import (
    ApprovalRefused,
    EvidenceRefused,
    MaliciousRelease,
    PackError,
    ParameterError,
    PlanRefused,
    PolicyRefused,
    ProtectedRefused,
)
from core.state_database import FILE
from platforms.seal_key import seal_key
from playbooks import library
from playbooks.drivers import local
from playbooks.drivers.drive import Hooks
from playbooks.drivers.outcome import Outcome
from playbooks.drivers.run_store import RunStore
from playbooks.drivers.seal_key import SealKey
from playbooks.drivers.store.records import sealed_run
from playbooks.language.errors import RunRecordRefused
from playbooks.language.inputs import accept
from remediation.guardrails.approvals.approval import approve
from remediation.guardrails.approvals.token import Signing
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN, PLAN_KEY
from tests.exhaustive import exhaustive_unless
from tests.playbooks import driving
from tests.red_team.forging import FORGERIES, Document
from tests.red_team.test_insider import APPROVED, Under, create, effects, jobs, single_message_searches, under
from tests.remediation.guardrails.test_approval import BOB, private_pem

# The messages of a campaign are looked up one by one.
CAMPAIGN_SIZE = 15

__all__ = ["under"]

Run = Callable[..., Outcome]
Edit = Callable[[Document], object]
OTHER_SENDER = "statements@partner-bank.example"


class Killed(BaseException):
    """An exception that no driver catches."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def key(state: Path) -> SealKey:
    """The seal key of a process without CFES_PLAN_KEY."""
    return seal_key({"CFES_STATE_DIR": str(state)})


@pytest.fixture
def run(alert: Document, key: SealKey, tmp_path: Path) -> Run:
    """Run phish-campaign-purge for the example alert, by default in the directory `case`."""

    def started(api: EmailSecurity, name: str = "case", dies_at: str | None = None, **inputs: Any) -> Outcome:
        playbook = library.find("phish-campaign-purge")

        def act(action: str, params: Document) -> Document:
            if action == dies_at:
                raise Killed
            return catalog.find(action).run(params, api)

        given = accept(playbook, {"alert": alert, "search_by": "sender", **inputs})
        directory = tmp_path / name
        return driving.run(playbook, given, run_action=act, clock=api.clock, key=key, run_id=name, directory=directory)

    return started


def acting(api: EmailSecurity) -> Callable[[str, Document], Document]:
    """Return a function that runs an action by ID."""
    return lambda action, params: catalog.find(action).run(params, api)


def resume_run(api: EmailSecurity, directory: Path, key: SealKey) -> Outcome:
    return driving.resume(directory, run_action=acting(api), clock=api.clock, key=key)


def run_until_killed(run: Run, api: EmailSecurity, at: str, **inputs: Any) -> None:
    with pytest.raises(Killed):
        run(api, dies_at=at, **inputs)


def edit_run(directory: Path, edit: Edit, key: SealKey | None = None) -> None:
    """Change the record of a run. With a key, seal it again."""
    path = driving.store_of(directory)
    with closing(sqlite3.connect(path)) as database, database:
        database.row_factory = sqlite3.Row
        row = dict(database.execute("SELECT * FROM run").fetchone())
        edited = {**row, "state": json.loads(row["state"])}
        edit(edited)
        row = {**edited, "state": json.dumps(edited["state"])}
        row |= sealed_run(row, key) if key is not None else {}
        database.execute(f"UPDATE run SET {', '.join(f'{name} = :{name}' for name in row)}", row)  # noqa: S608 -- names of the schema


def copy_store(directory: Path, to: Path) -> None:
    """Copy the run store of a run with everything that SQLite has not yet moved into its file."""
    with closing(sqlite3.connect(driving.store_of(directory))) as database, closing(sqlite3.connect(to)) as copied:
        database.backup(copied)
    to.chmod(0o600)


def restore_store(copy: Path, directory: Path) -> None:
    """Replace the run store of a run by a copy."""
    path = driving.store_of(directory)
    for beside in ("", "-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    shutil.copy(copy, path)


def replace_text(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def sign_approval(api: EmailSecurity, plan: Document) -> str:
    signing = Signing(
        plan_hash=plan["plan_hash"], account_id=plan["account_id"], approver="bob", jti="approval-1",
        private_key_pem=private_pem(BOB), now=api.clock.now(), lifetime_seconds=3600,
    )  # fmt: skip
    return approve(signing).token


class TestReading:
    def test_neither_directory_contains_a_secret_that_can_move_mail(
        self, sandbox: RunningSandbox, under: Under, run: Run, key: SealKey, tmp_path: Path, state: Path
    ) -> None:
        api = under(APPROVED, requested_by="alice")
        plan = run(api, "first").steps["preview"]["result"]
        token = sign_approval(api, plan)
        assert run(api, plan=plan, approvals=[token]).status == "completed"
        case_and_store = (tmp_path / "case", driving.store_of(tmp_path / "case").parent)
        files = (path for place in case_and_store for path in place.rglob("*"))
        of_run = b"".join(path.read_bytes() for path in files if path.is_file())
        of_state = b"".join(path.read_bytes() for path in state.rglob("*") if path.name != "journal.key")
        assert plan["plan_hash"].encode() in of_run
        secrets = [sandbox.token, PLAN_KEY, key.secret.hex(), private_pem(BOB).decode().splitlines()[1]]
        for secret in secrets:
            assert secret.encode() not in of_run
            assert secret.encode() not in of_state
        # The run keeps its approval, which is spent: it is no longer valid for this plan or another.
        assert token.encode() not in of_state
        other = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "DeletedItems"}, api)
        for reuse in ({"plan": plan, "idempotency_key": "other"}, {"plan": other}):
            with pytest.raises(PackError):
                create(api, **reuse, approvals=[token])
        assert len(jobs(sandbox)) == 1
        for directory in (*case_and_store, state):
            assert all(path.stat().st_mode & 0o077 == 0 for path in (directory, *directory.rglob("*")))


RUN_EDITS: dict[str, Edit] = {
    "the folder": lambda run: run["state"]["inputs"].update(destination="RecoverableItemsPurges"),
    "the search of the plan": lambda run: run["state"]["steps"]["preview"]["result"]["search_params"].update(
        sender=OTHER_SENDER
    ),
    "the position": lambda run: run["state"].update(position=0),
    "the directory": lambda run: run["state"].update(directory="/"),
    "the action in flight": lambda run: run.update(in_flight="[]"),
}


class TestWritingARun:
    def test_an_edited_run_is_not_resumed_even_if_sealed_with_another_key(
        self, sandbox: RunningSandbox, api: EmailSecurity, run: Run, key: SealKey, tmp_path: Path
    ) -> None:
        run_until_killed(run, api, "create-job")
        copy_store(tmp_path / "case", tmp_path / "honest.db")
        for edit, seal in product(RUN_EDITS.values(), (None, SealKey(b"guessed by the writer", "the writer"))):
            edit_run(tmp_path / "case", edit, seal)
            with pytest.raises(RunRecordRefused):
                resume_run(api, tmp_path / "case", key)
            restore_store(tmp_path / "honest.db", tmp_path / "case")
        assert effects(sandbox) == []
        assert resume_run(api, tmp_path / "case", key).status == "completed"

    def test_an_older_run_store_creates_no_second_job(
        self, sandbox: RunningSandbox, api: EmailSecurity, run: Run, key: SealKey, tmp_path: Path
    ) -> None:
        run_until_killed(run, api, "create-job")
        copy_store(tmp_path / "case", tmp_path / "early.db")
        first = resume_run(api, tmp_path / "case", key)
        # The older record is not detected, but the existing job is found by its stamp.
        restore_store(tmp_path / "early.db", tmp_path / "case")
        assert resume_run(api, tmp_path / "case", key).outputs["job_id"] == first.outputs["job_id"]
        assert len(jobs(sandbox)) == 1

    def test_a_copied_run_store_beside_the_first_creates_no_second_job(
        self, sandbox: RunningSandbox, api: EmailSecurity, run: Run, key: SealKey, tmp_path: Path
    ) -> None:
        run_until_killed(run, api, "create-job")
        (tmp_path / "copied").mkdir(mode=0o700)
        copy_store(tmp_path / "case", tmp_path / "copied" / "runs.db")
        first = resume_run(api, tmp_path / "case", key)
        with RunStore(tmp_path / "copied" / "runs.db", key, api.clock) as store:
            again = local.resume("case", store=store, hooks=Hooks(acting(api), api.clock))
        assert again.outputs["job_id"] == first.outputs["job_id"]
        assert len(jobs(sandbox)) == 1

    @pytest.mark.parametrize("kind", exhaustive_unless({"link"}, ["link", "second name"]))
    def test_a_link_out_of_the_directory_stops_the_resume(
        self, kind: str, api: EmailSecurity, run: Run, key: SealKey, tmp_path: Path
    ) -> None:
        run_until_killed(run, api, "export-job-messages")
        victim = tmp_path / "victim"
        victim.write_text("kept")
        for name in ("messages.ndjson", "evidence.zip", "report.html", "calls.ndjson", "anything"):
            planted = tmp_path / "case" / name
            planted.unlink(missing_ok=True)
            planted.symlink_to(victim) if kind == "link" else planted.hardlink_to(victim)
            with pytest.raises(RunRecordRefused, match="can't be trusted"):
                resume_run(api, tmp_path / "case", key)
            assert victim.read_text() == "kept"
            planted.unlink()
        assert resume_run(api, tmp_path / "case", key).status == "completed"

    @pytest.mark.parametrize(
        "forgeries",
        [list(FORGERIES)[::5], pytest.param(list(FORGERIES), marks=pytest.mark.exhaustive)],
        ids=["some", "all"],
    )
    def test_a_plan_edited_in_the_directory_creates_no_job_if_approval_is_needed(
        self, forgeries: list[str], sandbox: RunningSandbox, under: Under, run: Run
    ) -> None:
        api = under(APPROVED, requested_by="alice")
        waiting = run(api, "first")
        assert waiting.waits_for is not None
        for name in forgeries:
            forged = FORGERIES[name](waiting.waits_for["about"]["plan"])
            with suppress(ParameterError):
                assert run(api, name, plan=forged, approvals=[sign_approval(api, forged)]).exit_code != 0, name
            assert effects(sandbox) == [], name

    def test_edited_rows_restore_no_other_mail(
        self, sandbox: RunningSandbox, api: EmailSecurity, under: Under, run: Run, tmp_path: Path
    ) -> None:
        run(api)
        rows = tmp_path / "rows.ndjson"
        with ZipFile(tmp_path / "case" / "evidence.zip") as bundle:
            rows.write_bytes(bundle.read("rows.ndjson"))
        before = effects(sandbox)
        for verdict in ("SPAM", "NONE", ""):
            text = rows.read_text()
            rows.write_text(text.replace('"MALICIOUS"', json.dumps(verdict)))
            with pytest.raises(MaliciousRelease):
                restore_messages.run({"export": str(rows), "dry_run": False}, api)
            rows.write_text(text)
        replace_text(rows, CAMPAIGN["sender"], "harmless@elsewhere.example")  # type: ignore[arg-type]
        guarded = under(f"protected_senders: [{CAMPAIGN['sender']}]\noverrides: [allow_malicious]")
        with pytest.raises(ProtectedRefused):
            restore_messages.run({"export": str(rows), "dry_run": False, "allow_malicious": True}, guarded)
        replace_text(rows, '"action_type":"MOVE"', '"action_type":"RELEASE"')
        with pytest.raises(ParameterError):
            restore_messages.run({"export": str(rows), "dry_run": False, "allow_malicious": True}, api)
        assert effects(sandbox) == before

    def test_an_edited_bundle_deletes_no_job(self, api: EmailSecurity, run: Run, tmp_path: Path) -> None:
        job_id = run(api).outputs["job_id"]
        bundle = tmp_path / "case" / "evidence.zip"
        original = bundle.read_bytes()
        with ZipFile(bundle) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        for edited, content in members.items():
            # The manifest has no hash of itself: its content is compared with the job, or it is signed.
            others = {name: text for name, text in members.items() if name != edited}
            broken = [others, *([{**others, edited: content + b" "}] if edited != "evidence.json" else [])]
            for files in broken:
                with ZipFile(bundle, "w") as archive:
                    for name, text in files.items():
                        archive.writestr(name, text)
                with pytest.raises((EvidenceRefused, ParameterError)):
                    delete_job.run({"job_id": job_id, "evidence": str(bundle)}, api)
        bundle.write_bytes(original)
        assert delete_job.run({"job_id": job_id, "evidence": str(bundle)}, api)["deleted"]


class TestWritingTheState:
    def test_with_a_plan_key_the_key_in_the_state_directory_is_not_accepted(
        self, sandbox: RunningSandbox, api: EmailSecurity, run: Run, key: SealKey, state: Path, tmp_path: Path
    ) -> None:
        run_until_killed(run, api, "create-job")
        edit_run(tmp_path / "case", RUN_EDITS["the folder"], key)
        settings = {"CFES_STATE_DIR": str(state), "CFES_PLAN_KEY": PLAN_KEY}
        with pytest.raises(RunRecordRefused, match="another key"):
            resume_run(api, tmp_path / "case", seal_key(settings))
        assert effects(sandbox) == []

    def test_deleting_the_record_does_not_restore_the_budget(
        self, sandbox: RunningSandbox, under: Under, state: Path
    ) -> None:
        api = under("budgets:\n  - {hours: 24, jobs: 1}")
        first, second = single_message_searches(sandbox, 2)
        assert create(api, search_params=first, destination="JunkEmail", idempotency_key="one")["created"]
        (state / FILE).unlink()
        with pytest.raises(PolicyRefused, match="1 was made in that time"):
            create(api, search_params=second, destination="JunkEmail", idempotency_key="two")

    @pytest.mark.parametrize("damage", ["garbage", "a link", "a directory", "open to others"])
    def test_a_damaged_or_unsafe_record_stops_every_job(
        self, damage: str, sandbox: RunningSandbox, under: Under, state: Path, tmp_path: Path
    ) -> None:
        api = under(f"{APPROVED}\nbudgets:\n  - {{hours: 24, jobs: 5}}", requested_by="alice")
        plan = preview_job.run({"action": "MOVE", "search_params": CAMPAIGN, "destination": "JunkEmail"}, api)
        record = state / FILE
        state.mkdir(mode=0o700, exist_ok=True)
        if damage == "a directory":
            record.mkdir(mode=0o700)
        elif damage == "a link":
            record.symlink_to(tmp_path / "elsewhere")
        else:
            record.write_text("no record of this pack\n" * 100 if damage == "garbage" else "")
            record.chmod(0o600 if damage == "garbage" else 0o666)
        with pytest.raises((ApprovalRefused, PolicyRefused)) as refused:
            create(api, plan=plan, approvals=[sign_approval(api, plan)])
        assert not isinstance(refused.value, PlanRefused)
        assert effects(sandbox) == []
        assert not (tmp_path / "elsewhere").exists()
