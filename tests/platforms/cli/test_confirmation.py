"""On a terminal, a command that changes mail shows a preview and asks for confirmation. Without one it never asks."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actions.contract import catalog
from actions.contract.action import Action
from core.errors import RateLimited
from platforms.cli import step_approval as approval
from platforms.cli.preview import bind_parameters
from platforms.published.manifest import ROOT
from remediation.guardrails.plans.plan import new_plan
from sandbox.server import RunningSandbox
from tests.actions.named_messages import delivered
from tests.conftest import CAMPAIGN, EXAMPLE_ALERT
from tests.platforms.cli.conftest import Cfes
from tests.platforms.cli.test_action_commands import FIND
from tests.platforms.cli.test_display import ESCAPE, HOSTILE
from tests.platforms.cli.test_playbook_commands import PURGE, only_for
from tests.slow import some_of

COLOR_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
CREATE = ("create-move-job", *FIND, "--destination", "JunkEmail")
ACTIONS_WITH_APPROVAL = [action for action in catalog.available().values() if action.approval == "required"]


def effects(sandbox: RunningSandbox) -> list[Any]:
    found: list[Any] = sandbox.state.truth()["effects"]
    return found


def add_mail(sandbox: RunningSandbox) -> None:
    """Add a mail to the campaign that was scanned before the question but appears only now."""
    like = sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[0]
    delivered(sandbox, "late@corp.example", number=60, sender=like.sender, disposition="MALICIOUS")


@pytest.fixture
def answer_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """A function that runs a callback between the question and a yes."""

    def answer(meanwhile: Callable[[], object]) -> None:
        def type_answer() -> str:
            meanwhile()
            return "y\n"

        monkeypatch.setattr(approval, "typed_answer", type_answer)

    return answer


@pytest.fixture
def exported_rows(connected: Cfes, tmp_path: Path) -> str:
    """The file with the rows of a job that moved the campaign to JunkEmail."""
    job_id = connected(*CREATE).document["job_id"]
    connected("wait-for-job", "--job-id", job_id)
    connected("export-job-messages", "--job-id", job_id, "--destination", str(tmp_path / "rows.ndjson"))
    return "rows.ndjson"


@pytest.mark.parametrize("action", ACTIONS_WITH_APPROVAL, ids=lambda action: str(action.id))
def test_every_action_with_approval_has_a_preview_that_changes_nothing(action: Action[Any, Any]) -> None:
    assert action.preview is not None
    preview = action.preview(action.check(action.example_params))
    shows = catalog.find(preview.action)
    assert not shows.asks_first(preview.params)
    assert shows.effect == "read" or preview.params["dry_run"] is True
    shows.check({name: value for name, value in preview.params.items() if name in shows.params.model_fields})


@pytest.mark.parametrize("action", ACTIONS_WITH_APPROVAL, ids=lambda action: str(action.id))
def test_the_help_explains_the_confirmation(action: Action[Any, Any], cfes: Cfes) -> None:
    text = " ".join(cfes(action.id, "--help").out.split())
    assert "On a terminal the command previews the change and asks for confirmation" in text
    assert "Without a terminal it never asks" in text
    assert "--yes" in text
    flags = set(re.findall(r"--[a-z-]+", text.partition("On a terminal")[2].partition("Without")[0]))
    assert flags <= {f"--{name.replace('_', '-')}" for name in (*action.params.model_fields, "yes")}


def test_a_create_shows_the_preview_and_uses_its_plan(connected: Cfes, sandbox: RunningSandbox) -> None:
    plan = connected("preview-job", "--action", "MOVE", *FIND, "--destination", "JunkEmail").document
    ended = connected(*CREATE, "--output", "json", terminal=True, typed="y\n")
    screen = COLOR_CODES.sub("", ended.err)
    assert ended.code == 0
    [job] = connected("list-jobs").document["jobs"]
    assert json.loads(ended.out)["job_id"] == job["job_id"]
    assert json.loads(ended.out)["plan_hash"] is not None
    effect = f"Move {plan['messages']} messages of {plan['recipients']} recipients to Junk Email; can be undone"
    assert screen.count(effect) == 1
    assert f"{effect}. Continue? [y/N] " in screen
    for shown in (str(CAMPAIGN["sender"]), plan["sample"][0]["subject"][:20], "verdict", "recipient domain"):
        assert shown in screen
    assert re.search(r"recipients +" + str(plan["recipients"]), screen)
    assert "irreversible" not in screen
    assert re.search(r"allowed drift +0 percent", screen)


@pytest.mark.parametrize(
    ("folder", "effect"),
    some_of(
        [
            ("JunkEmail", "to Junk Email; can be undone"),
            ("DeletedItems", "to Deleted Items; can be undone"),
            ("RecoverableItemsPurges", "to Recoverable Items (Purges); can't be undone"),
            ("Inbox", "to Inbox; can't be undone"),
        ],
        0,
        3,
    ),
)
def test_the_question_names_the_effect_of_the_call(connected: Cfes, folder: str, effect: str) -> None:
    ended = connected("create-move-job", *FIND, "--destination", folder, terminal=True, typed="n\n")
    assert re.search(rf"recipients {re.escape(effect)}\. Continue\?", COLOR_CODES.sub("", ended.err))


def test_a_confirmed_preview_satisfies_plan_needed(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("policy: 1\nplan_needed: [{more_than_messages: 1}]\n")
    (tmp_path / "policy.yaml").chmod(0o600)
    monkeypatch.setenv("CFES_POLICY", str(tmp_path / "policy.yaml"))
    monkeypatch.setenv("CFES_PLAN_KEY", "0123456789abcdef" * 4)
    assert connected(*CREATE, "--yes", terminal=True).code == 3
    assert connected(*CREATE, terminal=True, typed="y\n").code == 0


def test_a_release_asks_for_confirmation(connected: Cfes, sandbox: RunningSandbox) -> None:
    ended = connected("release-job", *FIND, terminal=True, typed="n\n")
    text = COLOR_CODES.sub("", ended.err)
    refused = "This call would be refused. .*"
    assert re.search(rf"{refused}\nRelease \d+ messages of \d+ recipients; can't be undone. Continue\?", text)
    assert (ended.code, effects(sandbox)) == (3, [])
    allowed = connected("release-job", *FIND, "--allow-malicious", terminal=True, typed="n\n")
    assert "would be refused" not in allowed.err


@pytest.mark.parametrize("answer", some_of(["n\n", "\n", "", "ye\n", "yess\n", "Y E S\n"], 0, 2, 4))
def test_an_answer_other_than_yes_changes_nothing_and_exits_3(
    connected: Cfes, sandbox: RunningSandbox, answer: str
) -> None:
    ended = connected(*CREATE, "--output", "json", terminal=True, typed=answer)
    error = json.loads(ended.out)["error"]
    assert (ended.code, error["type"], error["applied"]) == (3, "NotConfirmed", "no")
    assert "Nothing was changed." in error["help"]
    assert effects(sandbox) == []


@pytest.mark.parametrize("answer", some_of(["y\n", "Y\n", " yes \n", "YES\n", "y"], 0, 2))
def test_y_and_yes_confirm(connected: Cfes, answer: str) -> None:
    assert connected(*CREATE, terminal=True, typed=answer).code == 0


def test_yes_a_plan_or_max_messages_skip_the_question(connected: Cfes, tmp_path: Path) -> None:
    plan = connected("preview-job", "--action", "MOVE", *FIND, "--destination", "JunkEmail")
    (tmp_path / "plan.json").write_text(plan.out)
    for given in (
        (*CREATE, "--yes"),
        (*CREATE, "--max-messages", "500"),
        ("create-move-job", "--plan", "@plan.json"),
    ):
        ended = connected(*given, terminal=True)
        assert ended.code == 0
        assert "Continue?" not in ended.err


@pytest.mark.parametrize("streams", [{}, {"out": True}, {"err": True}])
def test_a_command_without_a_terminal_does_not_ask(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, streams: dict[str, bool]
) -> None:
    monkeypatch.setattr(approval, "TERMINAL", str(tmp_path / "no-such-terminal"))
    ended = connected(*CREATE, "--output", "json", **streams)
    assert (ended.code, ended.document["created"], ended.document["plan_hash"]) == (0, True, None)
    assert "Continue?" not in ended.out + ended.err


def test_parameters_from_standard_input_are_confirmed_on_the_terminal(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sandbox: RunningSandbox
) -> None:
    (tmp_path / "terminal").write_text("n\n")
    monkeypatch.setattr(approval, "TERMINAL", str(tmp_path / "terminal"))
    params = json.dumps({"search_params": CAMPAIGN, "destination": "JunkEmail"})
    ended = connected("create-move-job", "--params", "-", err=True, typed=params)
    assert (ended.code, ended.error["type"], effects(sandbox)) == (3, "NotConfirmed", [])


def test_run_never_asks(connected: Cfes) -> None:
    params = json.dumps({"search_params": CAMPAIGN, "destination": "JunkEmail"})
    ended = connected("run", "create-move-job", err=True, out=True, typed=params)
    assert (ended.code, "Continue?" in ended.err) == (0, False)


def test_a_search_that_grew_during_the_question_is_refused(
    connected: Cfes, sandbox: RunningSandbox, answer_after: Callable[[Callable[[], object]], None]
) -> None:
    answer_after(lambda: add_mail(sandbox))
    ended = connected(*CREATE, "--output", "json", terminal=True)
    error = json.loads(ended.out)["error"]
    assert (ended.code, error["type"]) == (3, "PlanDrifted")
    assert effects(sandbox) == []


def test_a_search_that_grew_within_max_drift_is_accepted(
    connected: Cfes, sandbox: RunningSandbox, answer_after: Callable[[Callable[[], object]], None]
) -> None:
    answer_after(lambda: add_mail(sandbox))
    assert connected(*CREATE, "--max-drift", "10", terminal=True).code == 0


def test_an_uncountable_search_warns_and_asks(connected: Cfes, sandbox: RunningSandbox) -> None:
    given = (*CREATE, "--submissions")
    ended = connected(*given, terminal=True, typed="n\n")
    screen = COLOR_CODES.sub("", ended.err)
    assert "The messages can't be counted, so this call may reach any number of them." in screen
    assert "Move an unknown number of messages to Junk Email; can be undone. Continue? [y/N]" in screen
    assert (ended.code, effects(sandbox)) == (3, [])
    assert connected(*given, terminal=True, typed="y\n").code == 0


def test_bad_parameters_and_read_only_mode_are_reported_without_a_question(
    connected: Cfes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = connected("create-move-job", "--destination", "Trash", terminal=True, typed="y\n")
    assert (ended.code, "Continue?" in ended.err) == (2, False)
    monkeypatch.setenv("CFES_READ_ONLY", "1")
    ended = connected(*CREATE, terminal=True, typed="y\n")
    assert (ended.code, "Continue?" in ended.err) == (3, False)


def test_ctrl_c_at_the_question_changes_nothing(connected: Cfes, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(approval, "typed_answer", interrupt)
    ended = connected(*CREATE, terminal=True)
    assert ended.code == 130
    assert "Interrupted. Nothing was changed." in COLOR_CODES.sub("", ended.err)


def test_named_messages_show_their_count_and_a_dry_run(connected: Cfes, sandbox: RunningSandbox) -> None:
    known = [sandbox.state.tenant.id_of(m) for m in sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"]))[:3]]
    Path("ids.json").write_text(json.dumps(known))
    move = ("move-messages", "--ids", "@ids.json", "--destination", "JunkEmail")
    ended = connected(*move, terminal=True, typed="n\n")
    screen = COLOR_CODES.sub("", ended.err)
    assert (ended.code, effects(sandbox)) == (3, [])
    assert re.search(r"Move 3 messages( of \d recipients?)? to Junk Email; can be undone\. Continue\? \[y/N\]", screen)
    assert "--no-dry-run" not in screen
    assert "Release 3 messages" in COLOR_CODES.sub(
        "",
        connected("release-messages", "--ids", "@ids.json", "--allow-malicious", terminal=True, typed="n\n").err,
    )
    assert connected(*move, terminal=True, typed="y\n").code == 0
    assert effects(sandbox) != []


def test_an_export_that_grew_during_the_question_is_refused(
    connected: Cfes, sandbox: RunningSandbox, exported_rows: str, answer_after: Callable[[Callable[[], object]], None]
) -> None:
    rows = Path(exported_rows).read_text().splitlines(keepends=True)
    assert len({json.loads(row)["message"]["id"] for row in rows}) > 2
    Path(exported_rows).write_text(rows[0])
    answer_after(lambda: Path(exported_rows).write_text("".join(rows)))
    before = effects(sandbox)
    ended = connected(
        *("move-messages", "--export", exported_rows, "--destination", "DeletedItems", "--output", "json"),
        terminal=True,
    )
    assert json.loads(ended.out)["error"]["type"] == "TooManyMessages"
    assert effects(sandbox) == before


def test_a_restore_without_dry_run_asks(connected: Cfes, sandbox: RunningSandbox, exported_rows: str) -> None:
    before = effects(sandbox)
    dry = connected("restore-messages", "--export", exported_rows, terminal=True)
    assert (dry.code, "Continue?" in dry.err) == (0, False)
    restore = ("restore-messages", "--export", exported_rows, "--no-dry-run", "--allow-malicious")
    ended = connected(*restore, terminal=True, typed="n\n")
    assert re.search(
        r"Move \d+ messages( of \d+ recipients)? to Inbox; can.*\. Continue\?", COLOR_CODES.sub("", ended.err)
    )
    assert (ended.code, effects(sandbox)) == (3, before)


def test_a_retry_and_a_delete_ask(connected: Cfes, sandbox: RunningSandbox, exported_rows: str) -> None:
    [job] = connected("list-jobs").document["jobs"]
    for command in ("retry-failed-messages", "delete-job"):
        ended = connected(command, "--job-id", job["job_id"], terminal=True, typed="n\n")
        assert (ended.code, ended.err.count("Continue?")) == (3, 1)
    screen = COLOR_CODES.sub("", ended.err)
    assert job["job_id"] in screen
    assert "Delete an ended bulk job; can't be undone. Continue? [y/N]" in screen
    assert connected("list-jobs").document["count"] == 1
    assert connected("delete-job", "--job-id", job["job_id"], "-y", terminal=True).code == 0


@pytest.mark.parametrize("columns", some_of(["40", "80", "140"], 0))
def test_hostile_text_at_the_question_is_escaped(
    connected: Cfes, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for message in sandbox.state.tenant.from_sender(str(CAMPAIGN["sender"])):
        message.subject = HOSTILE
    ended = connected(*CREATE, terminal=True, typed="n\n")
    assert not ESCAPE.search(ended.err)
    assert not set("\x07\u202e\r") & set(ended.err)
    assert "Continue?" in ended.err
    # On a terminal the answer ends the line of the question.
    lines = COLOR_CODES.sub("", ended.err).replace("[y/N] ", "[y/N]\n").splitlines()
    assert max(len(line) for line in lines) <= max(int(columns), 80)


@pytest.mark.parametrize(
    ("action", "params", "shown", "expected"),
    [
        ("create-move-job", {"plan": {"a": 1}}, {"messages": 3, "search_params": {}}, {"plan": {"a": 1}}),
        (
            "create-move-job",
            {"search_params": {"sender": "a"}, "max_drift": 5},
            {"messages": 0, "search_params": {}},
            {"plan": {"messages": 0, "search_params": {}}, "max_drift": 5},
        ),
        ("create-move-job", {"x": 1}, {"messages": None, "search_params": {}}, {"x": 1}),
        ("move-messages", {}, {"messages": 0, "dry_run": True}, {"max_messages": 1}),
        ("delete-job", {"job_id": "j"}, {"job": {}}, {"job_id": "j"}),
        ("delete-job", {"job_id": "j"}, None, {"job_id": "j"}),
    ],
)
def test_a_call_is_bound_to_its_preview(
    action: str, params: dict[str, Any], shown: dict[str, Any] | None, expected: dict[str, Any]
) -> None:
    assert bind_parameters(catalog.find(action), params, shown) == expected


class TestPlaybooks:
    """The question of `cfes playbook run`."""

    def test_a_given_plan_is_counted_again_and_its_texts_are_not_shown(self, connected: Cfes) -> None:
        plan = connected("preview-job", "--action", "MOVE", *FIND, "--destination", "JunkEmail").document
        forged = {**plan, "messages": 6, "recipients": 6, "sample": [], "by_sender": {"nobody@else.example": 6}}
        Path("plan.json").write_text(new_plan({k: v for k, v in forged.items() if k != "plan_hash"}).model_dump_json())
        run = ("playbook", "run", "phish-campaign-purge", "-i", str(EXAMPLE_ALERT), "--set", "plan=@plan.json")
        ended = connected(*run, "--set", "search_by=sender", terminal=True, typed="n\n")
        screen = COLOR_CODES.sub("", ended.err)
        assert ended.code == 3
        assert "the given plan has 6 messages" in screen
        assert (
            f"Move {plan['messages']} messages of {plan['recipients']} recipients to Junk Email; can be undone"
            in screen
        )
        assert "nobody@else.example" not in screen

    def test_a_plan_of_the_run_is_counted_once(self, connected: Cfes, sandbox: RunningSandbox) -> None:
        before = sandbox.state.truth()["calls"]
        connected(*("playbook", "run", "phish-campaign-purge", "-i", str(EXAMPLE_ALERT)), terminal=True, typed="n\n")
        calls_with_question = sandbox.state.truth()["calls"]
        connected("playbook", "run", "phish-campaign-purge", "-i", str(EXAMPLE_ALERT), "--plan-only")
        calls_with_plan = sandbox.state.truth()["calls"]
        assert {k: v - before.get(k, 0) for k, v in calls_with_question.items()} == {
            k: v - calls_with_question[k] for k, v in calls_with_plan.items()
        }

    def test_a_step_without_a_plan_is_bound_to_its_preview(
        self, connected: Cfes, sandbox: RunningSandbox, answer_after: Callable[[Callable[[], object]], None]
    ) -> None:
        Path("purge.yaml").write_text(PURGE)
        answer_after(lambda: add_mail(sandbox))
        ended = connected("playbook", "run", "purge.yaml", "-i", str(EXAMPLE_ALERT), "--output", "json", terminal=True)
        assert json.loads(ended.out)["error"]["type"] == "PlanDrifted"
        assert effects(sandbox) == []

    def test_a_failed_preview_is_reported_and_the_question_is_asked(
        self, connected: Cfes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def raise_rate_limited(*_: object) -> None:
            raise RateLimited("slow down")

        Path("purge.yaml").write_text(PURGE)
        monkeypatch.setattr(Action, "run", only_for("preview-job", raise_rate_limited))
        ended = connected("playbook", "run", "purge.yaml", "-i", str(EXAMPLE_ALERT), terminal=True, typed="n\n")
        screen = COLOR_CODES.sub("", ended.err)
        assert "The preview failed: slow down" in screen
        assert str(CAMPAIGN["sender"]) in screen
        assert (ended.code, "Continue?" in screen) == (3, True)


# Tests that run in the background inherit an ignored SIGINT.
ON_A_TERMINAL = """
import fcntl, signal, sys, termios
signal.signal(signal.SIGINT, signal.default_int_handler)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from platforms.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("answer", "code"), some_of([(b"y\n", 0), (b"\x04", 3), (b"\xff\n", 3), (b"\x03", 130)], 0))
def test_the_answer_on_a_real_terminal_decides(
    environment: dict[str, str], sandbox: RunningSandbox, answer: bytes, code: int
) -> None:
    our_end, their_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, *map(str, CREATE), "--wait-follows"],
        cwd=ROOT, stdin=their_end, stdout=their_end, stderr=their_end, start_new_session=True,
        env={**os.environ, **environment, "TERM": "xterm", "CFES_LISTING_LAG_SECONDS": "0"},
    )  # fmt: skip
    os.close(their_end)
    seen = b""
    try:
        while b"Continue? [y/N]" not in seen:
            assert select.select([our_end], [], [], 60)[0], seen.decode()
            seen += os.read(our_end, 65_536)
        os.write(our_end, answer)
        seen += _read_rest(our_end)
        assert process.wait(60) == code, seen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(our_end)
    assert len(sandbox.state.truth()["jobs"]) == (code == 0)


IN_THE_BACKGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from platforms.cli.main import main
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.setpgid(0, 0)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("more", "code"), some_of([((), 3), (("--yes",), 0)], 0))
def test_a_background_process_changes_nothing_without_yes(
    environment: dict[str, str], sandbox: RunningSandbox, more: tuple[str, ...], code: int
) -> None:
    our_end, their_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", IN_THE_BACKGROUND, *map(str, CREATE), *more],
        cwd=ROOT, stdin=their_end, stdout=their_end, stderr=their_end, start_new_session=True,
        env={**os.environ, **environment, "TERM": "xterm", "CFES_LISTING_LAG_SECONDS": "0"},
    )  # fmt: skip
    os.close(their_end)
    try:
        seen = _read_rest(our_end)
        assert process.wait(60) == code, seen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(our_end)
    assert (b"in the background of a terminal" in b" ".join(seen.split())) == (code == 3)
    assert len(sandbox.state.truth()["jobs"]) == (code == 0)


def test_a_result_that_cannot_be_written_gives_no_traceback(
    environment: dict[str, str], sandbox: RunningSandbox
) -> None:
    command = shlex.join([sys.executable, "-m", "platforms.cli", *map(str, CREATE)])
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {command} >/dev/full"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**os.environ, **environment, "CFES_LOG": "off"},
    )  # fmt: skip
    assert (ended.returncode, "Traceback" in ended.stderr) == (7, False), ended.stderr
    [made] = sandbox.state.truth()["jobs"]
    assert "can't be written to standard output" in ended.stderr
    assert made["job_id"] in ended.stderr


def _read_rest(terminal: int) -> bytes:
    seen = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            more = os.read(terminal, 65_536)
        except OSError:
            break
        if not more:
            break
        seen += more
    return seen
