"""Tokens, permissions, the envelope and the rate limit, which apply to every call."""

from collections.abc import Callable

import httpx
import pytest

from sandbox.operations import BASE_PATH, OPERATIONS
from sandbox.server import RunningSandbox

Run = Callable[..., RunningSandbox]
Connect = Callable[..., httpx.Client]

JOB_ID = "3f0b8a4e-6a0e-4c57-9d5e-0a3c9a1f2b4d"


Call = Callable[..., httpx.Response]


@pytest.fixture
def call(wire: httpx.Client) -> Call:
    """Make a call with only these headers."""

    def made(sandbox: RunningSandbox, method: str, path: str, **headers: str) -> httpx.Response:
        body: dict[str, object] | None = {} if method == "POST" else None
        return wire.request(method, sandbox.origin + path, headers=headers, json=body)

    return made


def _path(sandbox: RunningSandbox, template: str) -> str:
    filled = template.format(account_id=sandbox.account_id, job_id=JOB_ID, investigate_id="4-x")
    return BASE_PATH + filled


def _code(answer: httpx.Response) -> int:
    body = answer.json()
    assert body["success"] is False
    assert body["result"] is None
    assert body["messages"] == []
    code: int = body["errors"][0]["code"]
    return code


def test_every_operation_requires_credentials(run: Run, call: Call) -> None:
    sandbox = run()
    for operation in OPERATIONS:
        path = _path(sandbox, operation.path)
        missing = call(sandbox, operation.method, path)
        assert (missing.status_code, _code(missing)) == (400, 9106), operation.id
        malformed = call(sandbox, operation.method, path, Authorization="Basic eA==")
        assert (malformed.status_code, _code(malformed)) == (400, 6003), operation.id
        for token in ("no-such-token", sandbox.revoked_token):
            bad = call(sandbox, operation.method, path, Authorization=f"Bearer {token}")
            assert bad.status_code == 401, operation.id
            assert _code(bad) == (1000 if "verify" in operation.id else 10000)


def test_a_read_token_can_read_but_not_write(run: Run, call: Call) -> None:
    sandbox = run()
    for operation in OPERATIONS:
        path = _path(sandbox, operation.path)
        answer = call(sandbox, operation.method, path, Authorization=f"Bearer {sandbox.read_token}")
        if operation.permission == "write":
            assert (answer.status_code, _code(answer)) == (403, 10000), operation.id
        else:
            assert answer.status_code in (200, 404), operation.id


def test_an_api_key_with_its_email_is_accepted(run: Run, call: Call) -> None:
    sandbox = run()
    path = _path(sandbox, "/accounts/{account_id}/email-security/investigate/bulk")
    good = {"X-Auth-Email": sandbox.email, "X-Auth-Key": sandbox.email_key}
    assert call(sandbox, "GET", path, **good).status_code == 200
    wrong = call(sandbox, "GET", path, **{**good, "X-Auth-Key": "wrong"})
    assert (wrong.status_code, _code(wrong)) == (403, 9103)
    half = call(sandbox, "GET", path, **{"X-Auth-Email": sandbox.email})
    assert (half.status_code, _code(half)) == (400, 9106)


def test_verifying_a_valid_token_returns_code_10000_in_messages(run: Run, call: Call) -> None:
    sandbox = run()
    for path in ("/user/tokens/verify", f"/accounts/{sandbox.account_id}/tokens/verify"):
        for token in (sandbox.token, sandbox.read_token):
            body = call(sandbox, "GET", BASE_PATH + path, Authorization=f"Bearer {token}").json()
            assert body["success"] is True
            assert body["result"]["status"] == "active"
            assert [message["code"] for message in body["messages"]] == [10000]


@pytest.mark.parametrize(
    ("account_id", "status", "code"),
    [("0" * 32, 403, 10000), ("a", 403, 10000), ("a" * 33, 404, 7003)],
)
def test_another_account_is_refused(run: Run, account_id: str, status: int, code: int, call: Call) -> None:
    sandbox = run()
    for rest in ("/email-security/investigate", "/email-security/investigate/bulk", "/tokens/verify"):
        path = f"{BASE_PATH}/accounts/{account_id}{rest}"
        answer = call(sandbox, "GET", path, Authorization=f"Bearer {sandbox.token}")
        assert (answer.status_code, _code(answer)) == (status, code)


@pytest.mark.parametrize(
    "path", ["/client/v4/zones", "/client/v4", "/", "/client/v5/user/tokens/verify", "/_sandboxed"]
)
def test_an_unknown_path_returns_an_error_envelope(run: Run, path: str, call: Call) -> None:
    sandbox = run()
    answer = call(sandbox, "GET", path, Authorization=f"Bearer {sandbox.token}")
    assert (answer.status_code, _code(answer)) == (404, 7003)


def test_an_unsupported_method_returns_an_error_envelope(run: Run, call: Call) -> None:
    sandbox = run()
    path = _path(sandbox, "/accounts/{account_id}/email-security/investigate/bulk")
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = call(sandbox, method, path, Authorization=f"Bearer {sandbox.token}")
        assert (answer.status_code, _code(answer)) == (405, 7001)


def test_an_unknown_job_is_a_404_and_an_invalid_id_a_400(run: Run, connect: Connect, call: Call) -> None:
    client = connect(run())
    missing = client.get(f"investigate/bulk/{JOB_ID}")
    assert (missing.status_code, _code(missing)) == (404, 10404)
    nonsense = client.get("investigate/bulk/42")
    assert (nonsense.status_code, nonsense.json()["errors"][0]["source"]["pointer"]) == (400, "/job_id")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"action": NaN}',
        b"\xff\xfe",
        b'{"action": "MOVE", "comment": "\\ud800"}',
        b"1" * 5000,
    ],
)
def test_an_invalid_json_body_returns_an_error_envelope(run: Run, connect: Connect, sent: bytes, call: Call) -> None:
    answer = connect(run()).post("investigate/bulk", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert _code(answer) >= 1000


def test_every_response_has_the_rate_budget_and_a_unique_ray(run: Run, call: Call) -> None:
    sandbox = run(quota=1200)
    seen = []
    for number, path in enumerate(("/user/tokens/verify", "/nowhere", f"/accounts/{'x' * 40}/tokens/verify"), start=1):
        answer = call(sandbox, "GET", BASE_PATH + path, Authorization=f"Bearer {sandbox.token}")
        assert answer.headers["ratelimit"] == f'"default";r={1200 - number};t=300'
        assert answer.headers["ratelimit-policy"] == '"default";q=1200;w=300'
        assert "retry-after" not in answer.headers
        seen.append(answer.headers["cf-ray"])
    assert len(set(seen)) == 3
    assert all(len(ray) == 20 and ray.endswith("-AMS") for ray in seen)
    again = run(quota=1200)
    first = call(again, "GET", BASE_PATH + "/user/tokens/verify", Authorization=f"Bearer {again.token}")
    assert first.headers["cf-ray"] == seen[0]


def test_over_the_limit_calls_are_refused_until_the_window_ends(run: Run, connect: Connect, call: Call) -> None:
    sandbox = run(quota=3, window=300)
    client = connect(sandbox)
    assert [client.get("investigate/bulk").status_code for _ in range(3)] == [200, 200, 200]
    sandbox.state.advance(99.5)
    refused = client.post("investigate/bulk", json={"action": "RELEASE", "search_params": {}})
    assert (refused.status_code, _code(refused)) == (429, 10429)
    assert refused.headers["retry-after"] == "201"
    assert refused.headers["ratelimit"] == '"default";r=0;t=201'
    assert connect(sandbox, sandbox.read_token).get("investigate/bulk").status_code == 200
    sandbox.state.advance(200)
    assert client.get("investigate/bulk").status_code == 429
    sandbox.state.advance(1)
    assert client.get("investigate/bulk").headers["ratelimit"] == '"default";r=2;t=300'
    assert sandbox.state.truth()["jobs"] == []


def test_the_controls_are_not_rate_limited(run: Run, call: Call) -> None:
    sandbox = run(quota=1)
    for _ in range(5):
        answer = call(sandbox, "GET", "/_sandbox/health")
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers
