"""A test file with a mistake is refused before anything runs, with the line of each mistake."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from core.errors import ParameterError
from core.strict_yaml import read
from platforms.cli.commands.playbook_test import FOLDER
from platforms.playbook_cases.case_run import run_cases
from platforms.playbook_cases.format import SCHEMA_PATH, schema_document, schema_text
from platforms.playbook_cases.loading import load
from playbooks import library
from playbooks.language.errors import PlaybookInvalid, PlaybookNotFound

PLAYBOOK = """\
playbook: 1
id: small
title: Read an alert
inputs: {text: {type: string, default: a}, list: {type: array, default: []}}
steps: [{id: read, action: read-alert, with: {alert: {}}}, {id: note, set: {all: "{{ inputs }}"}}]
outputs: {text: "{{ inputs.text }}", list: "{{ inputs.list }}"}
"""
CASE = "- {name: a, expect: {}}\n"


def problems_of(folder: Path, text: str) -> dict[str, str]:
    (folder / "small.yaml").write_text(PLAYBOOK)
    (folder / "small.test.yaml").write_text(text)
    with pytest.raises(ParameterError) as caught:
        load(folder / "small.test.yaml")
    assert caught.value.exit_code == 2
    assert "Nothing was run." in (caught.value.help or "")
    return {problem["pointer"]: problem["message"] for problem in caught.value.problems}


def case(text: str) -> str:
    return f"test: 1\nplaybook: small.yaml\ncases:\n- name: a\n  {text}\n"


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        ("", "", "must be a map of keys and values"),
        ("a: [", "", "line 1: not valid YAML"),
        ("test: 2\nplaybook: small.yaml\ncases:\n" + CASE, "/test", "line 1: must be 1"),
        ("test: 1\nplaybook: small.yaml\ncases: []\n", "/cases", "line 3: must have at least 1 item"),
        (case("expects: {}"), "/cases/0/expects", "line 5: unknown key 'expects'; did you mean 'expect'?"),
        (case("jobs: 1"), "/cases/0/jobs", "line 5: unknown key 'jobs'; it belongs into `expect`"),
        (case("expect: {token: read}"), "/cases/0/expect/token", "line 5: unknown key 'token'; it belongs into a case"),
        (case("signals: [{nme: go}]"), "/cases/0/signals/0/nme", "line 5: unknown key 'nme'; did you mean 'name'?"),
        (
            case("steps: {read: {crsh: after}}"),
            "/cases/0/steps/read/crsh",
            "line 5: unknown key 'crsh'; did you mean 'c",
        ),
        (case("inputs: {}"), "/cases/0/expect", "line 4: the key 'expect' is missing"),
        (case("expect: {outputz: {}}"), "/cases/0/expect/outputz", "line 5: unknown key 'outputz'; did you mean 'outp"),
        (case("expect: {status: done}"), "/cases/0/expect/status", "line 5: must be 'completed', 'refused'"),
        (
            case("{expect: {}, sandbox: {mesages: 3}}")
            .replace("  {", "  ")
            .replace("}}\n", "}\n")
            .replace(", sandbox", "\n  sandbox"),
            "/cases/0/sandbox/mesages",
            "line 6: unknown setting 'mesages'; did you mean 'messages'?",
        ),
        (
            case("expect: {}\n  sandbox: {messages: many}"),
            "/cases/0/sandbox/messages",
            "line 6: must be a whole numbe",
        ),
        (case("expect: {}\n  sandbox: {port: 1}"), "/cases/0/sandbox/port", "line 6: unknown setting 'port'"),
        (
            case("expect: {}\n  steps: {raed: {}}"),
            "/cases/0/steps/raed",
            "line 6: step 'raed' does not exist; did you m",
        ),
        (case("expect: {}\n  steps: {note: {}}"), "/cases/0/steps/note", "line 6: step 'note' runs no action"),
        (case("expect: {steps: {raed: failed}}"), "/cases/0/expect/steps/raed", "line 5: step 'raed' does not exist"),
        (
            case("expect: {}\n  faults: [{operation: createJob, kind: drop_after}]"),
            "/cases/0/faults/0/operation",
            "line 6: unknown operation; known: *, ",
        ),
        (
            case("expect: {}\n  faults: [{kind: lost}]"),
            "/cases/0/faults/0/kind",
            "line 6: unknown kind 'lost'; known: drop_before, ",
        ),
        (
            case("expect: {}\n  faults: [{kind: delay}]"),
            "/cases/0/faults/0/kind",
            "line 6: delay waits in real time, and a test does not",
        ),
        (
            case("expect: {}\n  faults: [{kind: drop_after, status: 500}]"),
            "/cases/0/faults/0",
            "line 6: status: not a",
        ),
        (
            case("expect: {}\n  steps: {read: {error: {type: NotFond}}}"),
            "/cases/0/steps/read/error/type",
            "line 6: unknown error type 'NotFond'; did you mean 'NotFound'?",
        ),
        (
            case("expect: {that: ['{{ outpts.a }}']}"),
            "/cases/0/expect/that/0",
            "line 5: unknown name 'outpts'; did yo",
        ),
        (case("expect: {}"), "/cases/0/expect", "line 5: expects nothing, so the case can't fail"),
        (
            case("expect: {calls: {createBulkjob: 0}}"),
            "/cases/0/expect/calls/createBulkjob",
            "line 5: unknown operation",
        ),
        (
            case("expect: {jobs: 0}\n  signals: [{name: go}]"),
            "/cases/0/signals/0/name",
            "line 6: no pause waits for th",
        ),
        (case("expect: {jobs: 0}\n  sandbox: {alert: 3}"), "/cases/0/sandbox/alert", "line 6: must be a map, the path"),
        (case("expect: {that: [moved > 3]}"), "/cases/0/expect/that/0", "line 5: must be exactly one {{ expression }}"),
    ],
)
def test_a_mistake_has_its_place_and_line(tmp_path: Path, text: str, pointer: str, message: str) -> None:
    found = problems_of(tmp_path, text)
    assert pointer in found, found
    assert found[pointer].startswith(message)


def test_a_playbook_with_an_error_is_not_tested(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(PLAYBOOK.replace("read-alert", "raed-alert"))
    (tmp_path / "small.test.yaml").write_text(case("expect: {}"))
    with pytest.raises(PlaybookInvalid, match="did you mean 'read-alert'"):
        load(tmp_path / "small.test.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An error shows the beginning of a long path.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlaybookNotFound, match="No such file"):
        load(tmp_path / "absent.test.yaml")
    (tmp_path / "small.test.yaml").write_text(case("expect: {jobs: 0}"))
    with pytest.raises(PlaybookNotFound, match=r"small\.yaml"):
        load(Path("small.test.yaml"))


@pytest.mark.parametrize(
    ("inputs", "text", "list_"),
    [
        ('{text: "@note.txt", list: "@list.json"}', "[1]\n", "[1]\n"),
        ('{text: "@@note.txt", list: [2]}', "@note.txt", None),
    ],
)
def test_an_input_can_be_a_file_beside_the_test(tmp_path: Path, inputs: str, text: str, list_: str | None) -> None:
    (tmp_path / "small.yaml").write_text(PLAYBOOK)
    for name in ("note.txt", "list.json"):
        (tmp_path / name).write_text("[1]\n")
    result = "{result: {id: a}}"
    (tmp_path / "small.test.yaml").write_text(
        f"test: 1\nplaybook: small.yaml\ninputs: {inputs}\nsandbox: {{messages: 0}}\n"
        f"cases: [{{name: a, steps: {{read: {result}}}, expect: {{status: completed}}}}]\n"
    )
    (ended,) = run_cases(load(tmp_path / "small.test.yaml"))
    assert ended.passed, ended.differences
    assert ended.ended.outputs == {"text": text, "list": [1] if list_ else [2]}


@pytest.mark.parametrize("content", [None, "{", b"\xff"])
def test_an_input_file_that_can_not_be_read_is_an_error(
    tmp_path: Path, content: str | bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An error shows the beginning of a long path.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PLAYBOOK)
    (tmp_path / "small.test.yaml").write_text(case('expect: {jobs: 0}\n  inputs: {list: "@list.json"}'))
    if content is not None:
        (tmp_path / "list.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ParameterError, match=r"list\.json"):
        list(run_cases(load(Path("small.test.yaml"))))


def test_the_schema_for_editors_is_current_and_accepts_the_shipped_tests() -> None:
    assert SCHEMA_PATH.read_text(encoding="utf-8") == schema_text(), "run: make manifest"
    for path in FOLDER.glob("*.test.yaml"):
        jsonschema.validate(read(path.read_text()).data, schema_document())


def test_a_test_file_is_not_a_playbook() -> None:
    names = {playbook.id for playbook in library.available()}
    assert names == {path.stem for path in library.FOLDER.glob("*.yaml")}
    assert {path.name.removesuffix(".test.yaml") for path in FOLDER.glob("*")} <= names
