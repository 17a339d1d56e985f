"""Plans and changes of named messages on a terminal: important facts are shown, hostile text is escaped."""

from __future__ import annotations

from pathlib import Path

from platforms.cli.views.plan import undo_of
from sandbox.server import RunningSandbox
from tests.conftest import CAMPAIGN
from tests.platforms.cli.conftest import Cfes

PREVIEW = (
    "preview-job", "--action", "MOVE", "--destination", "JunkEmail", "--sender", CAMPAIGN["sender"],
    "--start", CAMPAIGN["start"], "--no-detections-only",
)  # fmt: skip


def test_a_plan_shows_its_counts_refusals_and_hash(connected: Cfes) -> None:
    plan = connected(*PREVIEW).document
    shown = connected(*PREVIEW, "--max-messages", "3", "--output", "table")
    assert shown.code == 0
    assert "MOVE to JunkEmail" in shown.out
    assert f"messages                 {plan['messages']}" in shown.out
    assert "corp.example" in shown.out
    assert "percent until the job is created" in shown.out
    assert "plan_hash" in shown.out
    assert "would be refused: TooManyMessages" in shown.err
    assert "raise --max-messages if you expect this number" in " ".join(shown.err.split())


def test_a_plan_from_a_file_is_created_and_followed(connected: Cfes, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(connected(*PREVIEW).out)
    made = connected("create-move-job", "--plan", "@plan.json")
    assert (made.code, made.document["created"]) == (0, True)
    waited = connected("wait-for-job", "--job-id", made.document["job_id"], "--plan", "@plan.json")
    assert waited.document["discovery_limit"]["tripped"] is False


def test_an_edited_plan_is_refused_with_a_message(connected: Cfes, tmp_path: Path) -> None:
    text = connected(*PREVIEW).out
    (tmp_path / "plan.json").write_text(text.replace('"JunkEmail"', '"DeletedItems"'))
    ended = connected("create-move-job", "--plan", "@plan.json", terminal=True)
    assert ended.code == 3
    assert "was changed after it was made" in ended.err + ended.out


def test_failures_come_first_and_a_dry_run_is_marked(sandbox: RunningSandbox, connected: Cfes, tmp_path: Path) -> None:
    message = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[2]
    sandbox.state.delivery.mailboxes[message.recipients[0]] = "gone"
    known = [sandbox.state.tenant.id_of(m) for m in sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[:3]]
    (tmp_path / "ids.json").write_text(str(known).replace("'", '"'))
    move = ("move-messages", "--ids", "@ids.json", "--destination", "JunkEmail")
    dry = connected(*move, "--dry-run", terminal=True)
    assert "a dry run: nothing was changed" in dry.err + dry.out
    for shown in ("billing@invoice-portal.example", message.subject[:20], "MALICIOUS", "corp.example"):
        assert shown in dry.out
    assert sandbox.state.truth()["effects"] == []
    done = connected(*move, "--yes", terminal=True)
    rows = [line for line in done.out.splitlines() if line.startswith(("yes", "no "))]
    assert rows[0].startswith("no")
    assert "Mailbox not found" in rows[0]


def test_a_hostile_subject_is_escaped(sandbox: RunningSandbox, connected: Cfes) -> None:
    now = sandbox.clock.now()
    for message in sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"])):
        if message.time <= now:
            message.subject = "\x1b[2J[red]\u202e{{ 7*7 }}"
    shown = connected(*PREVIEW, terminal=True)
    assert "\x1b[2J" not in shown.out
    assert "\u202e" not in shown.out
    assert "{{ 7*7 }}" in shown.out


def test_a_change_of_named_messages_names_its_undo_action() -> None:
    undo = undo_of(None, {"action": "MOVE", "destination": "DeletedItems", "dry_run": True})
    assert (undo.reversible, undo.how.startswith("move-messages")) == (True, True)
    assert not undo_of(None, {"action": "MOVE", "destination": "Inbox", "dry_run": True}).reversible
    assert undo_of(None, {"action": "MOVE", "destination": "DeletedItems"}).how.startswith("restore-messages")
