"""URLs of objects are accepted or refused with a reason that does not quote a secret."""

from __future__ import annotations

import pytest

from core.errors import ConnectionSettingsError, ParameterError
from remediation.exports.destinations.object_store_settings import Endpoint, client_options, endpoint
from remediation.exports.destinations.object_url import LONGEST_KEY_BYTES, is_url, parse

SECRET = "pass-word-in-a-url"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://evidence/case-42.ndjson", ("s3", "evidence", "case-42.ndjson")),
        ("gs://evidence_eu/2026/11/case 42.csv", ("gs", "evidence_eu", "2026/11/case 42.csv")),
        ("az://evidence/f\N{LATIN SMALL LETTER U WITH DIAERESIS}r.json", ("az", "evidence", "f\xfcr.json")),
        ("s3://a.b-c/" + "k" * LONGEST_KEY_BYTES, ("s3", "a.b-c", "k" * LONGEST_KEY_BYTES)),
    ],
)
def test_a_url_names_an_object(text: str, parts: tuple[str, str, str]) -> None:
    assert tuple(parse(text)) == parts
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text", ["case-42.csv", "/var/evidence/case.csv", "./s3:/x", "c:x", "s3:/bucket/key", "a b://c"]
)
def test_a_path_is_not_a_url(text: str) -> None:
    assert not is_url(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("file:///etc/passwd", "begins with s3"),
        ("http://127.0.0.1/x", "begins with s3"),
        ("https://bucket.s3.amazonaws.com/key", "begins with s3"),
        ("memory:///x", "begins with s3"),
        ("S3://bucket/key", "begins with s3"),
        ("s3a://bucket/key", "begins with s3"),
        ("s3://bucket", "not an object"),
        ("s3://bucket/", "not an object"),
        ("s3:///key", "not a valid bucket name"),
        ("s3://Bucket/key", "not a valid bucket name"),
        ("s3://b/key", "not a valid bucket name"),
        ("s3://bu..cket/key", "not a valid bucket name"),
        ("s3://bucket:9000/key", "not a valid bucket name"),
        (f"s3://user:{SECRET}@bucket/key", "user name"),
        (f"s3://bucket/key?X-Amz-Signature={SECRET}", "query"),
        (f"s3://bucket/key#{SECRET}", "fragment"),
        ("s3://bucket//key", "empty segment"),
        ("s3://bucket/a/../key", "empty segment"),
        ("s3://bucket/./key", "empty segment"),
        ("s3://bucket/key/", "empty segment"),
        ("s3://bucket/a%2Fb", "%"),
        ("s3://bucket/a\\b", "backslash"),
        ("s3://bucket/a\nb", "control"),
        ("s3://bucket/a\0b", "control"),
        ("s3://bucket/\N{RIGHT-TO-LEFT OVERRIDE}b", "control"),
        ("s3://bucket/\ud800", "control"),
        ("s3://bucket/" + "k" * (LONGEST_KEY_BYTES + 1), "longer"),
    ],
)
def test_a_url_that_names_no_object_is_refused_with_the_reason(text: str, why: str) -> None:
    assert is_url(text)
    with pytest.raises(ParameterError, match=why) as caught:
        parse(text)
    assert caught.value.problems[0]["pointer"] == "/destination"
    assert SECRET not in str(caught.value.document())


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_Endpoint", "AWS_STS_ENDPOINT"])
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://store.example", "plain http to another machine"),
        ("http://169.254.1.1:9000", "plain http to another machine"),
        (f"https://user:{SECRET}@store.example", "user name"),
        ("ftp://store.example", "not an http"),
        ("http://[::1", "not a valid URL"),
        ("https://store.example/ x", "not an http"),
    ],
)
def test_an_endpoint_that_would_expose_the_rows_is_refused(name: str, url: str, why: str) -> None:
    with pytest.raises(ConnectionSettingsError, match=f"{name.upper()}: .*{why}") as caught:
        endpoint("s3", {"AWS_ALLOW_HTTP": "true", name: url})
    assert url not in str(caught.value.document())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Endpoint(None, False)),
        ({"AWS_ENDPOINT_URL": "", "AWS_ALLOW_HTTP": "true"}, Endpoint(None, False)),
        ({"AWS_ENDPOINT_URL": "https://a.example"}, Endpoint("https://a.example", False)),
        ({"AWS_ENDPOINT_URL": "http://localhost:9000"}, Endpoint("http://localhost:9000", True)),
        ({"AWS_ENDPOINT_URL": "http://[::1]:9000"}, Endpoint("http://[::1]:9000", True)),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_ENDPOINT_URL_S3": "https://a.example"},
            Endpoint("https://a.example", False),
        ),
    ],
)
def test_plain_http_is_used_only_for_an_endpoint_on_this_machine(
    environment: dict[str, str], expected: Endpoint
) -> None:
    assert endpoint("s3", environment) == expected
    options = client_options(expected, 0)
    assert (options["allow_http"], options["allow_invalid_certificates"]) == (expected.loopback, False)
