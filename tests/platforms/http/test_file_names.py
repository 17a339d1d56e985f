"""A remote caller never names a path on the server: every parameter of every action, with hostile file names."""

from __future__ import annotations

import copy
import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from actions.contract import catalog
from core.errors import OutputError
from platforms.playbook_session import RunPlace, prepare_run
from platforms.workspace.file_parameters import FileParameter, file_parameters
from playbooks.drivers.drive import Hooks
from playbooks.language.loading import from_document
from tests.exhaustive import exhaustive_unless
from tests.platforms.http.opened_files import opened_files, outside
from tests.platforms.http.serving import SharedService, wait_for_run

ROOT = Path(__file__).parents[3]

# Modules that an action imports when it first runs, and what the run store reads of its file system.
CODE = (
    *(ROOT, Path(sys.base_prefix), Path(sys.prefix), Path(sysconfig.get_path("stdlib"))),
    Path("/proc/self/mountinfo"),
)

WORKSPACE = "planted"
MISSING = "no-such-file-4f1d"

# Of the machine; the first two exist on every one.
ABSOLUTE = ("/etc/passwd", "/dev/null", "/dev/stdin", "/dev/fd/0", "/proc/self/environ", "//etc/passwd", "/")
TRAVERSAL = (
    *("../secret.ndjson", "a/../../secret.ndjson", "./rows.ndjson", "a//rows.ndjson", "a/./b", "..", ".", "a/"),
    *("..\\secret.ndjson", "C:\\secret.ndjson", "\\\\server\\share\\a", "~/secret.ndjson", "$HOME/a", "a/b/c/d/e"),
)
ENCODED = (
    *("%2e%2e%2fsecret.ndjson", "..%2fsecret.ndjson", "%2fetc%2fpasswd", "..%c0%afsecret.ndjson", "a%00.csv"),
    *(
        "\u2024\u2024/secret.ndjson",
        "\uff0e\uff0e/secret.ndjson",
        "\u2025/a",
        "a\u2215b",
        "rows\u202endjson",
        "ro\u0308",
    ),
)
URLS = (
    *("file:///etc/passwd", "file://localhost/etc/passwd", "FILE:///etc/passwd", "http://127.0.0.1:1/a", "ftp://h/a"),
    *("s3://other-bucket/rows.ndjson", "gs://other-bucket/a", "az://other/a", "s3://b", "data:text/plain,a", "fd://0"),
    *("run://", "run:///", "run://../secret.ndjson", "run://planted/../../secret.ndjson", "run://planted", "run://a/b"),
    *("run://planted/link.ndjson", "RUN://planted/rows.ndjson", "run://planted//etc/passwd", "run://./rows.ndjson"),
)
PLANTED = ("link.ndjson", "folder-link/secret.ndjson", "pipe", "folder-link", "dangling.ndjson", "loop")
ODD = (
    *(
        "rows\0.ndjson",
        "\0",
        "a" * 10_000,
        "a/" * 5_000,
        " rows.ndjson",
        "rows.ndjson ",
        "rows.ndjson\n",
        "\t",
        ".hidden",
    ),
    *("-o", "*", "a;id", "$(id)", "`id`", "|id", "a\ud800.ndjson", "", "a" * 129, "\x1b[2J", "rows.ndjson/inner"),
)
HOSTILE = (*ABSOLUTE, *TRAVERSAL, *ENCODED, *URLS, *PLANTED, *ODD)


_NO_STEPS = from_document(
    {
        "playbook": 1,
        "id": "no-action",
        "title": "Set a value",
        "inputs": {},
        "steps": [{"id": "one", "title": "Set it", "set": {"a": 1}}],
        "outputs": {},
    }
)


class Given(NamedTuple):
    """An action, the parameter that names a file, and its name in a test."""

    action: str
    parameter: FileParameter

    def body(self, name: str) -> dict[str, Any]:
        """Return the example parameters with this file name."""
        params = copy.deepcopy(dict(catalog.find(self.action).example_params))
        value: Any = name
        for key in reversed(self.parameter.at):
            value = [value] if key == "*" else {key: value}
        return {**params, self.parameter.name: value}


FILE_PARAMETERS = [Given(name, each) for name in catalog.available() for each in file_parameters(name)]


@pytest.fixture(scope="module")
def outer(shared: SharedService) -> Path:
    """A file beside the folder of all workspaces, which no caller may reach."""
    secret = shared.files / "secret.ndjson"
    secret.write_text('{"secret": "of-the-operator"}\n')
    return secret


@pytest.fixture(scope="module", autouse=True)
def planted(shared: SharedService, outer: Path) -> Path:
    """A workspace with links, a pipe and a folder in it."""
    folder = shared.files / WORKSPACE
    folder.mkdir(mode=0o700)
    (folder / "rows.ndjson").write_text("{}\n")
    (folder / "link.ndjson").symlink_to(outer)
    (folder / "folder-link").symlink_to(shared.files)
    (folder / "dangling.ndjson").symlink_to(shared.files / MISSING)
    (folder / "loop").symlink_to("loop")
    (folder / "folder").mkdir(mode=0o700)
    (folder / "folder" / "link.ndjson").symlink_to(outer)
    os.mkfifo(folder / "pipe")
    return folder


def _post(shared: SharedService, action: str, body: dict[str, Any], workspace: str | None = WORKSPACE) -> Any:
    params = {} if workspace is None else {"workspace": workspace}
    text = json.dumps(body)
    return shared.client.post(
        f"/v1/actions/{action}", content=text, params=params, headers={"Content-Type": "application/json"}
    )


def _tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("given", FILE_PARAMETERS, ids=lambda given: f"{given.action}-{given.parameter.name}")
def test_a_file_parameter_refuses_everything_but_names(
    shared: SharedService, given: Given, outer: Path, pytestconfig: pytest.Config
) -> None:
    # One check serves all of them: every name is tried for the first one.
    every = given is FILE_PARAMETERS[0] or pytestconfig.getoption("--exhaustive")
    names = HOSTILE if every else HOSTILE[::6]
    before = _tree(shared.state.parent)
    with opened_files() as opened:
        for name in (str(outer), str(shared.files / WORKSPACE / ".." / "secret.ndjson"), *names):
            answer = _post(shared, given.action, given.body(name))
            assert answer.status_code in (404, 422), (name[:80], answer.text)
            problem = answer.json()
            assert problem["error"]["type"] in ("ParameterError", "NotFound"), name[:80]
            assert problem["error"]["applied"] == "no"
            assert str(shared.state) not in answer.text.replace(name, ""), name[:80]
            assert "of-the-operator" not in answer.text
    assert outside(opened, shared.state, *CODE) == set()
    assert [path for path in opened if "secret" in path or "/etc" in path] == []
    assert _tree(shared.state.parent) == before


@pytest.mark.parametrize("given", FILE_PARAMETERS, ids=lambda given: f"{given.action}-{given.parameter.name}")
def test_an_answer_does_not_tell_which_files_exist(shared: SharedService, given: Given, outer: Path) -> None:
    texts = set()
    for name in (
        str(outer),
        f"{outer}-{MISSING}",
        "/etc/passwd",
        f"/etc/{MISSING}",
        "/etc/ssh/ssh_host_rsa_key",
        "../secret.ndjson",
    ):
        texts.add(_post(shared, given.action, given.body(name)).text)
    assert len(texts) == 1, texts


def _leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each string in a JSON value."""
    if isinstance(value, str):
        yield at
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, (*at, name))
    elif isinstance(value, list):
        for index, each in enumerate(value[:1]):
            yield from _leaves(each, (*at, index))


def _replaced(value: Any, at: tuple[Any, ...], by: Any) -> Any:
    if not at:
        return by
    copied = copy.copy(value)
    copied[at[0]] = _replaced(value[at[0]], at[1:], by)
    return copied


def _bodies(action: str, name: str) -> Iterator[dict[str, Any]]:
    """Yield the example parameters of an action with the name in place of each string, and in each other parameter."""
    params = dict(catalog.find(action).example_params)
    for at in _leaves(params):
        yield _replaced(params, at, name)
    for other in sorted(catalog.find(action).params.model_fields.keys() - params.keys()):
        for value in (name, [name], {"path": name}, {"files": [{"path": name}]}):
            yield {**params, other: value}


@pytest.mark.parametrize(
    "name", exhaustive_unless({"outer"}, ["outer", "../secret.ndjson", "file://outer", "link.ndjson"])
)
@pytest.mark.parametrize("action", catalog.available())
def test_no_parameter_of_any_action_opens_a_file_outside(
    shared: SharedService, action: str, name: str, outer: Path
) -> None:
    value = name.replace("outer", str(outer))
    with opened_files() as opened:
        for body in _bodies(action, value):
            answer = _post(shared, action, body)
            assert answer.status_code != 500, (body, answer.text)
            assert "of-the-operator" not in answer.text, body
    assert outside(opened, shared.state, *CODE) == set()
    assert [path for path in opened if path.endswith("secret.ndjson")] == []


@pytest.mark.parametrize("workspace", ["../x", "/etc", ".", "..", "a/b", "a" * 201, "a\0", "%2e%2e", "secret.ndjson"])
def test_a_workspace_is_named_by_an_id(shared: SharedService, workspace: str) -> None:
    before = _tree(shared.state.parent)
    answer = _post(shared, "restore-messages", {"export": "rows.ndjson", "dry_run": True}, workspace)
    assert answer.status_code == 422, answer.text
    assert str(shared.state) not in answer.text
    assert _tree(shared.state.parent) == before


@pytest.mark.parametrize(
    "name",
    ["link.ndjson", "folder-link%2Fsecret.ndjson", "pipe", "folder", "..%2Fsecret.ndjson", "%2Fetc%2Fpasswd", "a%00"],
)
def test_the_files_of_a_run_are_regular_files_in_its_folder(shared: SharedService, name: str) -> None:
    with opened_files() as opened:
        answer = shared.client.get(f"/v1/runs/{WORKSPACE}/files/{name}")
    assert answer.status_code in (404, 422), answer.text
    assert str(shared.state) not in answer.text
    assert not [path for path in opened if path.endswith(("secret.ndjson", "passwd"))]
    listed = [file["name"] for file in shared.client.get(f"/v1/runs/{WORKSPACE}/files").json()["files"]]
    assert listed == ["rows.ndjson"]


@pytest.mark.parametrize("export", ["/etc/passwd", "../secret.ndjson", "file:///etc/passwd", "run://no-such-run/a.zip"])
def test_a_playbooks_file_is_checked_before_its_run_begins(shared: SharedService, export: str) -> None:
    before = len(shared.client.get("/v1/runs").json()["runs"])
    with opened_files() as opened:
        answer = shared.client.post("/v1/playbooks/restore-from-evidence/runs", json={"inputs": {"export": export}})
    assert answer.status_code in (404, 422), answer.text
    if answer.status_code == 422:
        assert answer.json()["error"]["problems"][0]["pointer"] == "/inputs/export"
    assert len(shared.client.get("/v1/runs").json()["runs"]) == before
    assert outside(opened, shared.state, *CODE) == set()


def test_a_missing_file_is_named_as_the_caller_named_it(shared: SharedService) -> None:
    own = _post(shared, "restore-messages", {"export": "none.ndjson", "dry_run": True})
    other = _post(shared, "restore-messages", {"export": f"run://{WORKSPACE}/none.ndjson", "dry_run": True}, None)
    begun = shared.client.post(
        "/v1/playbooks/restore-from-evidence/runs", json={"inputs": {"export": f"run://{WORKSPACE}/none.ndjson"}}
    )
    ended = wait_for_run(shared.client, begun.json()["run_id"])
    events = shared.client.get(f"/v1/runs/{ended['run_id']}/events")
    for text in (own.text, other.text, json.dumps(ended), events.text):
        assert "none.ndjson" in text
        assert str(shared.state) not in text, text
        assert str(shared.files) not in text, text


def test_a_caller_reads_the_files_of_a_run_and_never_replaces_them(shared: SharedService) -> None:
    begun = shared.client.post("/v1/actions/list-jobs", json={}, headers={"Prefer": "respond-async"}).json()
    run = wait_for_run(shared.client, begun["run_id"])
    folder = shared.files / run["run_id"]
    before = _tree(folder)
    job = "7d9f3c1e-5b0a-4c55-9a57-0f6f3f0c9b1d"
    for name in ("new.ndjson", "calls.ndjson"):
        refused = _post(shared, "export-job-messages", {"job_id": job, "destination": name}, run["run_id"])
        assert refused.status_code == 422, refused.text
        assert refused.json()["error"]["problems"][0]["pointer"] == "/destination"
    assert _tree(folder) == before


def test_the_files_of_a_run_of_the_command_line_are_not_served(shared: SharedService, tmp_path: Path) -> None:
    service = shared.running.service
    elsewhere = tmp_path / "of-the-operator"
    prepared = prepare_run(
        service.stores(), _NO_STEPS, {}, RunPlace(directory=elsewhere, run_id="from-the-command-line")
    )
    prepared.start(Hooks(run_action=lambda _, params: params, clock=service.clock))
    (elsewhere / "private.txt").write_text("of-the-operator")
    shown = shared.client.get("/v1/runs/from-the-command-line")
    assert shown.json()["status"] == "completed"
    assert shown.json()["files"] == []
    answers = [
        shared.client.get("/v1/runs/from-the-command-line/files"),
        shared.client.get("/v1/runs/from-the-command-line/files/private.txt"),
        _post(shared, "restore-messages", {"export": "run://from-the-command-line/private.txt", "dry_run": True}),
        _post(shared, "restore-messages", {"export": "private.txt", "dry_run": True}, "from-the-command-line"),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 422]
    assert all("private.txt" not in file for file in _tree(shared.files))
    assert all(str(tmp_path) not in answer.text for answer in (shown, *answers))


@pytest.mark.parametrize("given", FILE_PARAMETERS, ids=lambda given: f"{given.action}-{given.parameter.name}")
def test_the_files_of_an_action_that_becomes_a_run_are_checked_before_it(shared: SharedService, given: Given) -> None:
    headers = {"Prefer": "respond-async"}
    body = given.body("/etc/passwd")
    refused = shared.client.post(f"/v1/actions/{given.action}", json=body, headers=headers)
    assert refused.status_code == 422, refused.text
    # The name of a file in another workspace would mean nothing in that of the run.
    other = shared.client.post(
        f"/v1/actions/{given.action}?workspace={WORKSPACE}", json=given.body("rows.ndjson"), headers=headers
    )
    assert other.json()["error"]["problems"][0]["pointer"] == "/workspace"


def test_no_error_of_the_service_shows_its_folders(shared: SharedService) -> None:
    service = shared.running.service
    for path in (service.directory, service.files.root / "other", service.files.root):
        error = service.without_paths(OutputError(f"{path}/rows.ndjson can't be written", help=f"See {path}/log"))
        assert str(service.directory) not in f"{error.message} {error.help}"
