"""An object in a store: settings, proxies, TLS, and the stores other than S3."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from core.errors import ConnectionSettingsError, OutputError, ParameterError
from remediation.exports.destinations.object_store import ObjectStore
from remediation.exports.destinations.object_store_settings import endpoint
from remediation.exports.destinations.object_url import parse
from remediation.exports.destinations.place import open_place
from remediation.exports.files.atomic_file import atomic_file
from remediation.exports.row_file import RowFile
from remediation.reports.file_hashes import recorded_file
from tests.clock import FakeClock
from tests.connectors.test_network_settings import TLS, listening
from tests.object_stores import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, Answer, Bucket, Door, Request, refusal

OpenDoor = Callable[..., Door]
ROOT = Path(__file__).parents[3]

# An emulator needs no token, so the key is empty.
SERVICE_ACCOUNT = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}


class OneObjectStore:
    """A fake store of one object, with the operations that gs:// and az:// need."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def __call__(self, request: Request) -> Answer:
        path = unquote(request.path.split("?")[0])
        if path.endswith("bucket-of-evidence") and request.method == "POST":
            return self._batch(request)
        stored = self.objects.get(path)
        dated = {"last-modified": "Fri, 20 Nov 2026 16:04:01 GMT", "etag": '"1"'}
        match request.method:
            case "PUT":
                conditional = {"if-none-match", "x-goog-if-generation-match"} & set(request.headers)
                if stored is not None and conditional:
                    return refusal(412, "ConditionNotMet")
                self.objects[path] = request.body
                return Answer(201, headers={**dated, "x-goog-generation": "1"})
            case "DELETE":
                return Answer(204) if self.objects.pop(path, None) is not None else refusal(404, "NoSuchKey")
            case _ if stored is None:
                return refusal(404, "NoSuchKey")
            case "HEAD":
                return Answer(200, headers={**dated, "content-length": str(len(stored))})
            case _:
                first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
                piece = stored[int(first) : int(last) + 1]
                if not piece:
                    return refusal(416, "InvalidRange")
                place = f"bytes {first}-{int(first) + len(piece) - 1}/{len(stored)}"
                return Answer(206, piece, {**dated, "content-range": place})

    def _batch(self, request: Request) -> Answer:
        """Delete the object that a batch of one Azure delete names."""
        named = re.search(r"DELETE (/\S+) HTTP", request.body.decode())
        assert named is not None
        existed = self.objects.pop(unquote(named[1]), None) is not None
        status = "202 Accepted" if existed else "404 The specified blob does not exist."
        part = f"Content-Type: application/http\r\nContent-ID: 0\r\n\r\nHTTP/1.1 {status}\r\nx-ms-version: 2\r\n\r\n"
        return Answer(202, f"--b\r\n{part}\r\n--b--\r\n".encode(), {"content-type": "multipart/mixed; boundary=b"})


@pytest.fixture(params=["gs", "az"])
def other_store(request: pytest.FixtureRequest, door: OpenDoor, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that serves gs:// or az:// with a handler and returns a URL in that store."""

    def configure(decide: Callable[[Request], Answer]) -> str:
        opened = door(decide)
        account = {**SERVICE_ACCOUNT, "gcs_base_url": opened.url}
        for name, value in {
            "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account),
            "GOOGLE_BASE_URL": opened.url,
            "AZURE_STORAGE_ACCOUNT_NAME": "evidence",
            "AZURE_STORAGE_ACCOUNT_KEY": "a2V5LW9mLW5vLWFjY291bnQ=",
            "AZURE_STORAGE_ENDPOINT": opened.url,
        }.items():
            monkeypatch.setenv(name, value)
        return f"{request.param}://bucket-of-evidence/case/rows"

    return configure


def test_google_and_azure_behave_like_amazon(other_store: Callable[..., str]) -> None:
    one_object_store = OneObjectStore()
    url = other_store(one_object_store)
    with open_place(url, overwrite=False) as place, RowFile.create(place) as file:
        file.append([b'{"message_id": "1"}'])
        kept = file.checkpoint()
    assert [path.rsplit("/", 1)[1] for path in one_object_store.objects] == ["rows.partial"]
    with (
        open_place(url, overwrite=False, resumed=True) as place,
        RowFile.reopen(place, kept["rows"], kept["sha256"]) as file,
    ):
        file.append([b'{"message_id": "2"}'])
        record = file.finish("ndjson")
    assert (record["path"], record["rows"]) == (url, 2)
    [(path, data)] = one_object_store.objects.items()
    assert (path.rsplit("/", 1)[1], data) == ("rows", b'{"message_id": "1"}\n{"message_id": "2"}\n')
    with pytest.raises(ParameterError, match="already exists"), open_place(url, overwrite=False):
        pass


def test_google_and_azure_do_not_replace_an_object_made_in_the_meantime(other_store: Callable[..., str]) -> None:
    one_object_store = OneObjectStore()
    url = other_store(one_object_store)
    with open_place(url, overwrite=False) as place, RowFile.create(place) as file:
        file.append([b"{}"])
        with open_place(url, overwrite=False) as first:
            Path(first.path).write_bytes(b"the other one's evidence")
            first.deliver()
        with pytest.raises(ParameterError, match="already exists"):
            file.finish("json")
    assert list(one_object_store.objects.values()) == [b"the other one's evidence"]


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (403, "AccessDenied", ParameterError, "permission denied"),
        (403, "AuthenticationFailed", ParameterError, "does not accept the credentials"),
        (404, "ContainerNotFound", ParameterError, "no such bucket"),
        (404, "NoSuchBucket", ParameterError, "no such bucket"),
        (503, "ServerBusy", OutputError, "HTTP 503, ServerBusy"),
    ],
)
def test_google_and_azure_errors_have_the_packs_messages(
    status: int, code: str, kind: type[Exception], message: str, other_store: Callable[..., str]
) -> None:
    url = other_store(lambda _: refusal(status, code))
    with pytest.raises(kind, match=message), open_place(url, overwrite=False, clock=FakeClock()):
        pass


@pytest.mark.parametrize(
    ("url", "variables", "named"),
    [
        ("az://container/key", {}, "AZURE_STORAGE_ACCOUNT_NAME"),
        ("az://container/key", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": SECRET_KEY}, "AZURE_"),
        ("gs://bucket/key", {"GOOGLE_SERVICE_ACCOUNT_KEY": "{" + SECRET_KEY}, "GOOGLE_"),
        ("gs://bucket/key", {"GOOGLE_APPLICATION_CREDENTIALS": f"/nowhere/{SECRET_KEY}"}, "GOOGLE_"),
    ],
)
def test_unusable_settings_are_named_and_not_quoted(
    url: str, variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionSettingsError, match=named) as caught, open_place(url, overwrite=False):
        pass
    assert SECRET_KEY not in str(caught.value.document())
    assert caught.value.__context__ is None


DATED = {"last-modified": "Fri, 20 Nov 2026 16:04:01 GMT", "content-range": "bytes 0-0/5"}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>sign in</html>", {"content-type": "text/html"}),
        Answer(200, b"<html>sign in</html>", {**DATED, "etag": '"1"'}),
        Answer(204),
        Answer(206, b"x"),
        Answer(206, b"x", DATED),
        Answer(206, b"x", {**DATED, "content-range": "bytes 7-9/50", "etag": '"1"'}),
    ],
)
def test_a_response_that_is_not_from_a_store_is_an_error(answer: Answer, door: OpenDoor) -> None:
    door(lambda _: answer)
    with pytest.raises(OutputError, match="could not be read"):
        ObjectStore(parse("s3://bucket/rows"), clock=FakeClock()).exists()


def test_an_incomplete_block_is_an_error(door: OpenDoor, tmp_path: Path) -> None:
    headers = {"etag": '"1"', "content-range": "bytes 0-3/4", "last-modified": DATED["last-modified"]}
    head = Answer(200, headers={**headers, "content-length": "4"})
    door(lambda request: head if request.method == "HEAD" else Answer(206, b"x", headers))
    with pytest.raises(OutputError, match="could not be read"):
        ObjectStore(parse("s3://bucket/rows"), clock=FakeClock()).fetch(tmp_path / "rows")


def test_a_store_on_this_machine_is_reached_without_a_proxy(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert not ObjectStore(parse(bucket.url("key"))).exists()


def test_no_variable_allows_plain_http_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
    with (
        pytest.raises(ConnectionSettingsError, match="AWS_ENDPOINT_URL"),
        open_place("s3://bucket/key", overwrite=False),
    ):
        pass


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://store.example/credentials?of=me"),
        ("AWS_METADATA_ENDPOINT", "http://192.0.2.2"),
        ("IDENTITY_ENDPOINT", "http://192.0.2.2/msi"),
    ],
)
def test_credentials_are_not_requested_over_plain_http_from_another_machine(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(ConnectionSettingsError, match=variable), open_place("s3://bucket/key", overwrite=False):
        pass
    for endpoint_url in (
        "http://169.254.170.23/v1/credentials?of=me",
        "http://127.0.0.1:8/x",
        "https://store.example/x?y=z",
    ):
        endpoint("s3", {variable: endpoint_url})


def test_an_emulator_is_not_called_instead_of_the_store(monkeypatch: pytest.MonkeyPatch, door: OpenDoor) -> None:
    opened = door(lambda _: Answer(404))
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", opened.url)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "https://127.0.0.1:9")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    with pytest.raises(OutputError):
        ObjectStore(parse("az://container/rows"), clock=FakeClock()).exists()
    assert opened.seen == []


def test_a_store_that_refuses_everything_is_an_error_after_few_requests(door: OpenDoor, tmp_path: Path) -> None:
    opened = door(lambda request: refusal(404 if request.method == "GET" else 501, "NotImplemented"))
    (tmp_path / "rows").write_bytes(b"{}")
    with pytest.raises(OutputError, match="HTTP 501, NotImplemented"):
        ObjectStore(parse("s3://bucket/rows")).put(tmp_path / "rows", create=True)
    assert len(opened.seen) < 20


def test_an_untrusted_certificate_is_reported(settings: Callable[..., None]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "certificate.pem", TLS / "test_only_key.pem")
    with listening(b"", context) as store:
        settings(f"https://127.0.0.1:{store.port}")
        with pytest.raises(OutputError, match="certificate is not trusted"):
            ObjectStore(parse("s3://bucket/rows")).exists()


def test_a_bundle_is_uploaded_when_it_is_delivered(bucket: Bucket) -> None:
    with open_place(bucket.url("case.zip"), overwrite=False) as place:
        with atomic_file(Path(place.path), name=place.name) as file:
            file.write(b"PK")
        assert bucket.objects() == []
        place.deliver()
    assert (bucket.objects(), bucket.get("case.zip")) == (["case.zip"], b"PK")


def test_a_missing_extra_is_reported_for_a_url_and_not_for_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ParameterError, match=r"extra `objectstore`.*pip install -e '\.\[objectstore\]'"):
        open_place("s3://bucket/key", overwrite=False).__enter__()
    with open_place(str(tmp_path / "rows"), overwrite=False) as place, RowFile.create(place) as file:
        assert file.finish("ndjson")["path"] == str(tmp_path / "rows")


def test_a_file_in_an_unreadable_store_has_an_unknown_state() -> None:
    record = {"path": "s3://bucket/key", "format": "csv", "bytes": 1, "sha256": "0" * 64, "rows": 1}
    assert recorded_file(record, {}).state == "unknown"


def test_memory_does_not_grow_with_the_file(door: OpenDoor, tmp_path: Path) -> None:
    size = 30_000_000
    one_object_store = OneObjectStore()
    opened = door(one_object_store)
    source = tmp_path / "rows"
    with source.open("wb") as file:
        file.truncate(size)
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from remediation.exports.destinations import object_store\n"
        "from remediation.exports.destinations.object_url import parse\n"
        "object_store.PART_BYTES = object_store.BLOCK_BYTES = 1 << 20\n"
        "store = object_store.ObjectStore(parse('s3://bucket/rows'))\n"
        "store.exists()\n"
        "held = int(next(line for line in open('/proc/self/status') if line.startswith('VmData')).split()[1]) * 1024\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, (held + {size * 2 // 3}, held + {size * 2 // 3}))\n"
        f"store.put(Path({str(source)!r}), create=True)\n"
        f"store.fetch(Path({str(tmp_path / 'fetched')!r}))\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": opened.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": SESSION_TOKEN,
    }
    completed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    assert (tmp_path / "fetched").stat().st_size == len(one_object_store.objects["/bucket/rows"]) == size
