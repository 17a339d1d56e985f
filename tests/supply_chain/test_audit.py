"""`make audit`: the output and exit code for each kind of response of a vulnerability service."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from supply_chain.audit import main
from supply_chain.vulnerability_service import CANARY, ServiceAnswer, Vulnerability, VulnerabilityService
from tests.supply_chain.fake_osv import CANARY_ADVISORY, FakeOsv, serve
from tests.supply_chain.tools import run_tool

PINS = "# a comment\nhttpx==0.28.1\nPyJWT==2.15.1\n"
PYPROJECT = '[project]\ndependencies = ["httpx>=0.28,<0.29"]\n[project.optional-dependencies]\na = ["PyJWT[crypto]"]\n'
BAD_PYJWT = ("pyjwt", "2.15.1", "GHSA-aaaa-bbbb-cccc", "2.15.2")


@pytest.fixture
def osv() -> Iterator[FakeOsv]:
    with serve(FakeOsv()) as fake:
        yield fake


class Audit:
    def __init__(self, folder: Path) -> None:
        self.constraints = folder / "constraints.txt"
        self.pyproject = folder / "pyproject.toml"
        self.accepted = folder / "accepted_advisories.toml"
        self.constraints.write_text(PINS)
        self.pyproject.write_text(PYPROJECT)
        self.accepted.write_text("")

        files = ["--constraints", self.constraints, "--pyproject", self.pyproject, "--accepted", self.accepted]
        self.options = [str(option) for option in files]

    def run(self, url: str, *options: str) -> subprocess.CompletedProcess[str]:
        return run_tool("supply_chain.audit", *self.options, "--service", "osv", "--osv-url", url, *options)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return Audit(tmp_path)


def accept(identifier: str, package: str = "PyJWT", days_ago: int = 0) -> str:
    day = datetime.now(UTC).date() - timedelta(days=days_ago)
    return f'[[accepted]]\nid = "{identifier}"\npackage = "{package}"\nreason = "never called"\nreviewed = {day}\n'


def test_each_pinned_version_is_checked(audit: Audit, osv: FakeOsv) -> None:
    ended = audit.run(osv.url, "--required")
    assert ended.returncode == 0, ended.stderr
    assert "2 of 2 packages checked. Vulnerabilities that are not accepted: 0." in ended.stdout
    assert "NOT CHECKED" not in ended.stdout
    assert set(osv.queries) == {("jinja2", "2.10"), ("httpx", "0.28.1"), ("pyjwt", "2.15.1")}


def test_a_known_vulnerability_fails_and_names_the_fix(audit: Audit, osv: FakeOsv) -> None:
    """Each package has an advisory, and an acceptance that does not apply to it."""
    names = ("pyjwt", "other", "lapsed", "unreadable")
    audit.constraints.write_text(PINS + "".join(f"{name}==1\n" for name in names[1:]))
    osv.advisories += [
        BAD_PYJWT,
        ("other", "1", "GHSA-dddd-eeee-ffff", "2"),
        ("lapsed", "1", "GHSA-aaaa-bbbb-cccc", "2"),
        ("unreadable", "1", "GHSA\u001b[2J\nno vulnerabilities", "2"),
    ]
    audit.accepted.write_text(
        accept("GHSA-aaaa-bbbb-cccc", "httpx")
        + accept("GHSA-aaaa-bbbb-cccc", "other")
        + accept("GHSA-aaaa-bbbb-cccc", "lapsed", days_ago=181)
    )
    ended = audit.run(osv.url)
    assert ended.returncode == 1
    assert "VULNERABLE pyjwt 2.15.1: CVE-OF-GHSA-aaaa-bbbb-cccc, GHSA-aaaa-bbbb-cccc; fixed in 2.15.2\n" in ended.stdout
    assert "VULNERABLE other 1: CVE-OF-GHSA-dddd-eeee-ffff" in ended.stdout
    assert re.search("VULNERABLE lapsed 1: .*review it again", ended.stdout)
    assert "VULNERABLE unreadable 1: (unreadable)" in ended.stdout
    assert "\x1b" not in ended.stdout
    for package in ("httpx", "other"):
        assert f"No longer needed in accepted_advisories.toml: GHSA-aaaa-bbbb-cccc for {package}" in ended.stdout
    assert "5 of 5 packages checked. Vulnerabilities that are not accepted: 4." in ended.stdout
    assert "constraints.txt" in ended.stdout


def test_an_unreachable_service_is_not_a_clean_result(audit: Audit) -> None:
    ended = audit.run("http://somebody:secret-of-the-proxy@127.0.0.1:9", "--required")
    assert ended.returncode == 2
    assert ended.stdout.startswith("NOT CHECKED")
    assert "None of the 2 packages was checked" in ended.stdout
    assert "Vulnerabilities that are not accepted" not in ended.stdout
    # The credentials of the service are not printed.
    assert "secret-of-the-proxy" not in ended.stdout + ended.stderr


@pytest.mark.exhaustive
def test_without_a_network_the_default_service_reports_not_checked() -> None:
    ended = run_tool("supply_chain.audit")
    assert ended.returncode == 0
    assert ended.stdout.startswith("NOT CHECKED")


def test_a_service_without_any_advisory_is_not_a_clean_result(audit: Audit, osv: FakeOsv) -> None:
    osv.advisories.clear()
    ended = audit.run(osv.url)
    assert ended.returncode == 0
    assert "NOT CHECKED: the service osv returns no advisory for jinja2 2.10" in ended.stdout
    assert osv.queries == [("jinja2", "2.10")]


@pytest.mark.exhaustive
@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"vulns": [{"id": "X"}]}'])
def test_an_invalid_response_is_not_a_clean_result(audit: Audit, osv: FakeOsv, body: bytes) -> None:
    osv.body = body
    ended = audit.run(osv.url)
    assert ended.returncode == 0
    assert "NOT CHECKED" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("status", [404, 500])
def test_an_error_response_is_not_a_clean_result(audit: Audit, osv: FakeOsv, status: int) -> None:
    osv.status = status
    assert "NOT CHECKED" in audit.run(osv.url).stdout


def test_a_service_that_never_answers_ends_the_audit_in_time(audit: Audit, osv: FakeOsv) -> None:
    osv.silent = True
    ended = audit.run(osv.url, "--time-limit", "1.5")
    assert ended.returncode == 0
    assert "NOT CHECKED: the service osv did not answer within 1.5 seconds" in ended.stdout


def test_accepted_advisories_do_not_fail_and_show_their_reason(
    audit: Audit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        Vulnerability("pyjwt", "2.15.1", ("CVE-OF-GHSA-aaaa-bbbb-cccc", "GHSA-aaaa-bbbb-cccc"), ("2.15.2",)),
        Vulnerability("httpx", "0.28.1", ("CVE-OF-GHSA-dddd-eeee-ffff", "GHSA-dddd-eeee-ffff"), ("0.28.2",)),
    ]
    monkeypatch.setattr(VulnerabilityService, "ask", lambda *_: ServiceAnswer(tuple(found), ()))
    audit.accepted.write_text(accept("GHSA-aaaa-bbbb-cccc") + accept("CVE-OF-GHSA-dddd-eeee-ffff", "httpx"))
    assert main(audit.options) == 0
    printed = capsys.readouterr().out
    for accepted in ("pyjwt 2.15.1", "httpx 0.28.1"):
        assert re.search(f"ACCEPTED {accepted}: .*never called", printed)


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("constraints", "httpx>=0.28\n", "constraints.txt: line 1 is not of the form name==version"),
        ("constraints", "httpx==0.28.*\nPyJWT==2.15.1\n", "constraints.txt: line 1"),
        ("constraints", "httpx==0.28.1\nHTTPX==0.28.0\n", "line 2 pins httpx again"),
        ("constraints", "httpx @ https://files.example/httpx.whl\n", "line 1"),
        ("constraints", "httpx==0.28.1\n", "constraints.txt does not pin pyjwt, which pyproject.toml requires"),
        ("pyproject", "[project", "pyproject.toml"),
        ("accepted", '[[accepted]]\nid = "GHSA-x"\n', "accepted_advisories.toml: entry 1 needs exactly these keys"),
    ],
)
def test_an_invalid_file_is_named_before_any_request(
    audit: Audit, file: str, text: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    getattr(audit, file).write_text(text)
    assert main(audit.options) == 2
    assert problem in capsys.readouterr().out


def test_the_canary_of_the_fake_is_the_canary_of_the_audit() -> None:
    assert {CANARY_ADVISORY[0]: CANARY_ADVISORY[1]} == CANARY
