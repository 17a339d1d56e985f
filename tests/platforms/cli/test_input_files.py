"""`--set NAME=@FILE` and `--input NAME=@FILE` keep inputs off the command line, which every user can read."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from actions.contract.action import Action
from platforms.cli.inputs.documents import LARGEST_BYTES
from platforms.cli.main import main
from platforms.published.manifest import ROOT
from tests.platforms.cli.conftest import Cfes

PROBE = """\
playbook: 1
id: probe
title: Give the inputs back
inputs:
  alert: {type: object, primary: true, default: {}}
  plan: {type: object, default: null}
  approvals: {type: array, default: [], items: {type: string}}
  note: {type: [string, "null"], default: null}
  most: {type: integer, default: 1}
steps:
  - {id: given, set: {all: "{{ inputs }}"}}
outputs:
  alert: "{{ inputs.alert }}"
  plan: "{{ inputs.plan }}"
  approvals: "{{ inputs.approvals }}"
  note: "{{ inputs.note }}"
  most: "{{ inputs.most }}"
"""

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJwbGFuIjoiMSJ9.c2lnbmF0dXJl"


@pytest.fixture
def probe(cfes: Cfes, tmp_path: Path) -> Any:
    """A function that runs the probe and returns its inputs."""
    (tmp_path / "probe.yaml").write_text(PROBE)

    def run_probe(*arguments: str, typed: str = "") -> Any:
        ended = cfes("playbook", "run", "probe.yaml", *arguments, typed=typed)
        assert ended.code == 0, ended.out
        return ended.document["outputs"]

    return run_probe


@pytest.mark.parametrize("option", ["--set", "--input"])
def test_a_file_is_read_by_the_inputs_type(probe: Any, tmp_path: Path, option: str) -> None:
    (tmp_path / "plan.json").write_text('{"messages": 3}\n')
    (tmp_path / "approvals.json").write_text(json.dumps([TOKEN]))
    (tmp_path / "note.txt").write_text("7\n@ two lines\r\n")
    (tmp_path / "most").write_text("5")
    outputs = probe(
        *(option, "plan=@plan.json", option, "approvals=@approvals.json"),
        *(option, "note=@note.txt", option, "most=@./most"),
    )
    assert outputs["plan"] == {"messages": 3}
    assert outputs["approvals"] == [TOKEN]
    assert outputs["note"] == "7\n@ two lines"
    assert outputs["most"] == 5


def test_an_approval_is_accepted_as_cfes_approve_prints_it(cfes: Cfes, tmp_path: Path) -> None:
    (tmp_path / "probe.yaml").write_text(PROBE.replace("items: {type: string}", "items: {type: [string, object]}"))
    (tmp_path / "approval.json").write_text(json.dumps({"approval": TOKEN, "approver": "bob"}))
    ended = cfes("playbook", "run", "probe.yaml", "--set", "approvals=@approval.json")
    assert ended.document["outputs"]["approvals"] == [{"approval": TOKEN, "approver": "bob"}]


def test_a_text_for_an_array_is_refused_with_an_example(cfes: Cfes, tmp_path: Path) -> None:
    (tmp_path / "probe.yaml").write_text(PROBE)
    ended = cfes("playbook", "run", "probe.yaml", "--set", "approvals=one")
    assert (ended.code, 'like ["first", "second"]' in ended.error["message"]) == (2, True)


def test_the_primary_input_is_a_file_name_with_or_without_its_name(probe: Any, tmp_path: Path) -> None:
    (tmp_path / "alert.json").write_text('{"AlertID": "1"}\n')
    (tmp_path / "plan=@alert.json").write_text('{"AlertID": "2"}')
    assert probe("--input", "alert.json")["alert"] == {"AlertID": "1"}
    assert probe("--input", "alert=@alert.json")["alert"] == {"AlertID": "1"}
    assert probe("--input", "./plan=@alert.json")["alert"] == {"AlertID": "2"}
    assert probe("-i", "alert.json", "-i", "plan=@alert.json")["plan"] == {"AlertID": "1"}


def test_a_double_at_sign_escapes_an_at_sign(probe: Any, tmp_path: Path) -> None:
    (tmp_path / "@odd").write_text("of the file")
    assert probe("--set", "note=@@corp.example")["note"] == "@corp.example"
    assert probe("--set", "note=@@@x")["note"] == "@@x"
    assert probe("--set", "note=a@b")["note"] == "a@b"
    assert probe("--set", "note=@./@odd")["note"] == "of the file"


def test_standard_input_is_read_once(probe: Any, cfes: Cfes) -> None:
    assert probe("--set", "plan=@-", typed='{"messages": 1}')["plan"] == {"messages": 1}
    for second in (("--input", "-"), ("--set", "approvals=@-"), ("--set", "approvals=@/dev/stdin")):
        ended = cfes("playbook", "run", "probe.yaml", "--set", "plan=@-", *second, typed="{}")
        assert ended.code == 2
        assert "standard input can be read only once" in ended.error["message"]


def test_a_closed_standard_input_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["playbook", "run", "phish-campaign-purge", "--input", "-"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "--input: standard input is closed"


def test_a_pipe_from_the_shell_is_read(probe: Any) -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"messages": 2}')
    os.close(writing)
    try:
        assert probe("--set", f"plan=@/dev/fd/{reading}")["plan"] == {"messages": 2}
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("missing.json", "No such file or directory"),
        ("folder", "is a directory"),
        ("pipe", "is a named pipe"),
        ("/dev/zero", "is a device"),
        ("/dev/null", "is a device"),
        ("large.json", f"larger than {LARGEST_BYTES:,} bytes"),
        ("latin.json", "is not UTF-8 text"),
        ("not.json", "must be JSON of type object; the text is not (line 1, column 1)"),
        ("twice.json", "the key 'a' appears twice in one object"),
        ("nan.json", "must be JSON of type"),
        ("list.json", "must be"),
        ("a\0b", "not a valid path"),
    ],
)
@pytest.mark.parametrize("option", ["--set", "--input"])
def test_a_bad_file_is_reported_before_anything_is_run(
    cfes: Cfes, tmp_path: Path, option: str, file: str, expected: str
) -> None:
    (tmp_path / "probe.yaml").write_text(PROBE)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    if file == "large.json":
        with (tmp_path / file).open("wb") as large:
            large.truncate(LARGEST_BYTES + 1)
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    (tmp_path / "not.json").write_text(TOKEN)
    (tmp_path / "twice.json").write_text('{"a": 1, "a": 2}')
    (tmp_path / "nan.json").write_text('{"a": NaN}')
    (tmp_path / "list.json").write_text("[1]")
    ended = cfes("playbook", "run", "probe.yaml", option, f"plan=@{file}")
    problems = [f"{p.get('flag')} {p['message']}" for p in ended.error.get("problems", ())]
    message = " ".join([ended.error["message"], *problems])
    assert (ended.code, ended.error["applied"]) == (2, "no")
    assert expected in message
    assert "plan" in message
    assert file.replace("\0", "") in message or "\0" in file or file == "list.json"
    assert TOKEN[:12] not in ended.out + ended.err
    assert not (tmp_path / "cfes-runs").exists()


@pytest.mark.parametrize("file", ["missing.json", "folder", "pipe", "/dev/zero"])
def test_every_file_option_refuses_devices_and_pipes(cfes: Cfes, tmp_path: Path, file: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for command in (
        ("create-move-job", "--plan", f"@{file}"),
        ("create-move-job", "--params", file),
        ("run", "create-move-job", "--params", file),
        ("playbook", "run", "phish-campaign-purge", "--input", file),
        ("approve", file, "--key", "key.pem"),
    ):
        ended = cfes(*command)
        assert ended.code == 2
        assert file in ended.out


def test_an_at_sign_without_a_file_explains_the_double_at_sign(cfes: Cfes, tmp_path: Path) -> None:
    (tmp_path / "probe.yaml").write_text(PROBE)
    ended = cfes("playbook", "run", "probe.yaml", "--set", "note=@")
    assert ended.code == 2
    assert "the file name after @ is missing" in ended.error["message"]
    assert "note=@@text" in ended.error["help"]


def test_a_misspelled_input_is_reported_before_its_file_is_read(cfes: Cfes, tmp_path: Path) -> None:
    (tmp_path / "probe.yaml").write_text(PROBE)
    ended = cfes("playbook", "run", "probe.yaml", "--set", "plans=@missing.json")
    assert "unknown input 'plans'" in ended.error["problems"][0]["message"]


@pytest.mark.parametrize("source", ["flag", "file of parameters", "standard input"])
def test_the_resume_command_names_files_and_contains_no_plan(
    cfes: Cfes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Action, "run", interrupt)
    secret, job_id = {"plan_hash": "f" * 64}, "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"
    (tmp_path / "my-plan.json").write_text(json.dumps(secret))
    params = json.dumps({"job_id": job_id, "plan": secret})
    (tmp_path / "params.json").write_text(params)
    run_probe = {
        "flag": ("--job-id", job_id, "--plan", "@my-plan.json"),
        "file of parameters": ("--params", "params.json"),
        "standard input": ("--params", "-"),
    }[source]
    ended = cfes("wait-for-job", *run_probe, typed=params)
    assert ended.code == 130
    assert "ffff" not in ended.err
    named = "my-plan.json" if source == "flag" else "plan.json"
    assert f"cfes wait-for-job --job-id {job_id} --plan @{named}" in ended.err
    assert ("Save the plan as plan.json first." in ended.err) == (source != "flag")


def test_no_documented_command_has_a_plan_or_a_token_as_an_argument() -> None:
    """Every user can read command-line arguments with `ps`."""
    pages = [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "manifest.json"]
    for folder in ("docs", "examples", "benchmarks", "playbooks", "platforms", "actions", "connectors", "guardrails"):
        pages += [page for page in (ROOT / folder).rglob("*") if page.suffix in (".md", ".py", ".yaml", ".json", ".sh")]
    assert len(pages) > 100
    # The ID of a run and the name of a signal are no secrets.
    read_by_the_shell = r"""\$\(\s*(?:cat|<|jq(?! -r '?\.(?:run_id|waits_for)))|="\$\(|`cat """
    secret_argument = re.compile(rf"""{read_by_the_shell}|--(?:plan|approvals?)[ =]["']?(?:\$|`|\{{|ey)""")
    found = [
        f"{page.relative_to(ROOT)}: {line.strip()}"
        for page in pages
        for line in page.read_text().splitlines()
        if secret_argument.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("type_", "content", "value"),
    [
        ("string", "find me\n", "find me"),
        ("string", '{"a": 1}', '{"a": 1}'),
        ("[string, object]", '{"a": 1}', '{"a": 1}'),
        ("array", '["a", {"b": 1}]', ["a", {"b": 1}]),
        ("array", "[]", []),
        ("number", "2.5\n", 2.5),
        ("[integer, boolean]", "true", True),
    ],
)
@pytest.mark.parametrize("option", [("--input", "{}"), ("--input", "main=@{}"), ("--set", "main=@{}")])
def test_an_input_of_any_type_can_be_primary(
    cfes: Cfes, tmp_path: Path, type_: str, content: str, value: Any, option: tuple[str, str]
) -> None:
    (tmp_path / "any.yaml").write_text(
        f"playbook: 1\nid: any\ntitle: t\ninputs: {{main: {{type: {type_}, primary: true}}}}\n"
        'steps: [{sleep: 0}]\noutputs: {main: "{{ inputs.main }}"}\n'
    )
    (tmp_path / "given").write_text(content)
    ended = cfes("playbook", "run", "any.yaml", option[0], option[1].format("given"))
    assert ended.code == 0, ended.out
    assert ended.document["outputs"]["main"] == value


@pytest.mark.parametrize(
    ("content", "message"), [("x", "'given': must be JSON of type array"), ("{}\n{}", "must be JSON of type array")]
)
def test_a_file_that_is_not_json_is_named(cfes: Cfes, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "any.yaml").write_text(
        "playbook: 1\nid: any\ntitle: t\ninputs: {main: {type: array, primary: true}}\n"
        'steps: [{sleep: 0}]\noutputs: {main: "{{ inputs.main }}"}\n'
    )
    (tmp_path / "given").write_text(content)
    ended = cfes("playbook", "run", "any.yaml", "--input", "given")
    assert ended.code == 2
    assert message in json.dumps(ended.error)
    assert "not a record" in cfes("playbook", "run", "any.yaml", "--input", "given", "--each").error["message"]
