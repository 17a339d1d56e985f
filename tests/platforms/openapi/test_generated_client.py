"""A client generated from the OpenAPI document sends what an action takes, and reads what it returns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from actions.contract import catalog
from platforms.openapi.document import at_server, document
from platforms.openapi.older_documents import as_3_0
from platforms.openapi.operations import operations
from playbooks import library
from tests.platforms.openapi.generated_client import PACKAGE, GeneratedClient, generate_client

ACTIONS = catalog.available()
EVERY = operations(ACTIONS.values(), library.available())
TOKEN = "client-token"

CALL_EVERY_ACTION = f"""\
import importlib, json, sys
from {PACKAGE} import AuthenticatedClient

calls = json.load(open(sys.argv[2]))
client = AuthenticatedClient(base_url=sys.argv[1], token="{TOKEN}")
returned = {{}}
for name, body in calls.items():
    module = importlib.import_module(f"{PACKAGE}.api.actions.{{name}}")
    model = getattr(module, "".join(part.title() for part in name.split("_")) + "Params")
    returned[name] = module.sync(client=client, body=model.from_dict(body)).to_dict()
print(json.dumps(returned))
"""

IMPORT_EVERY_MODULE = f"""\
import importlib, json, pkgutil
import {PACKAGE}

names = [found.name for found in pkgutil.walk_packages({PACKAGE}.__path__, "{PACKAGE}.")]
for name in names:
    importlib.import_module(name)
print(json.dumps(names))
"""


class Service(BaseHTTPRequestHandler):
    """Answers each action's path with the result of its example. Keeps the requests."""

    requests: dict[str, Any] = {}  # noqa: RUF012 -- emptied by the fixture

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        action_id = self.path.rpartition("/")[2]
        self.requests[action_id] = (self.headers["Authorization"], json.loads(self.rfile.read(length)))
        data = json.dumps(dict(ACTIONS[action_id].example_result)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep standard error empty."""


@pytest.fixture
def service_url() -> Iterator[str]:
    Service.requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["3.1", pytest.param("3.0", marks=pytest.mark.exhaustive)])
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> GeneratedClient:
    found = at_server(document(EVERY), "http://127.0.0.1:8096")
    return generate_client(found if request.param == "3.1" else as_3_0(found), tmp_path_factory.mktemp("client"))


def test_the_generator_understands_every_operation(generated: GeneratedClient) -> None:
    warnings = [line for line in generated.output.splitlines() if line.startswith(("WARNING", "ERROR"))]
    # It knows no NDJSON, which Logpush alone sends.
    assert warnings == ["WARNING parsing POST /v1/logpush/{dataset} within alerts."]
    names = json.loads(generated.run(IMPORT_EVERY_MODULE))
    for operation in EVERY:
        if operation.kind != "receive_logpush":
            assert f"{PACKAGE}.api.{operation.tag}.{operation.id}" in names


def test_every_action_can_be_called(generated: GeneratedClient, service_url: str, tmp_path: Path) -> None:
    calls = {action_id.replace("-", "_"): dict(action.example_params) for action_id, action in ACTIONS.items()}
    (tmp_path / "calls.json").write_text(json.dumps(calls))
    returned = json.loads(generated.run(CALL_EVERY_ACTION, service_url, str(tmp_path / "calls.json")))
    for action_id, action in ACTIONS.items():
        token, given = Service.requests[action_id]
        assert token == f"Bearer {TOKEN}"
        assert action.check(given) == action.check(action.example_params)
        assert returned[action_id.replace("-", "_")] == json.loads(json.dumps(dict(action.example_result)))
