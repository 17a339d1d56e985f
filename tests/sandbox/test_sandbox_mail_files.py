"""Loading real mail: valid, broken and refused files."""

import mailbox
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sandbox.account import open_account
from sandbox.clock import iso, parse_instant
from sandbox.mail_files import NoMailError, load
from sandbox.message import CLEAN, Message
from sandbox.search import Criteria, find
from sandbox.settings import Settings
from sandbox.tenant import Tenant

NOW = parse_instant("2026-11-20T16:02:35Z")

RICH = b"""\
Received: from mx2 (mx2.corp.example [198.51.100.7]) by mail.corp.example; Fri, 20 Nov 2026 15:00:03 +0000
Received: from mx1.phish.test (mx1.phish.test [203.0.113.5]) by mx2; Fri, 20 Nov 2026 15:00:01 +0000
Authentication-Results: mx.corp.example; spf=fail smtp.mailfrom=x; dkim=pass header.d=y; dmarc=fail
Delivered-To: dana@corp.example
From: =?utf-8?q?B=C3=BCro?= <billing@phish.test>
Reply-To: pay@phish.test
To: "Dana" <dana@corp.example>, lee@corp.example
Subject: =?utf-8?b?w5xiZXJmw6RsbGlnZQ==?= Rechnung
 {{ 7*7 }}
Date: Fri, 20 Nov 2026 16:00:00 +0100
Message-ID: <real-1@phish.test>
X-Spam-Flag: YES
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<a href=3D"https://login.portal.test/open?u=3D1">Pay</a>
--b
Content-Type: application/pdf
Content-Disposition: attachment; filename="bill.pdf"
Content-Transfer-Encoding: base64

eA==
--b--
"""

BROKEN = [
    b"Message-ID: only this\n\n",
    b"From: <<<>>>\nTo: ,,;\nDate: the 45th of Never\nSubject: =?klingon?q?=FF?= =?utf-8?b?####?=\n\nbody\n",
    b"From: a@b.test\nSubject: \xff\xfe\x00\nContent-Type: text/plain; charset=no-such\n\n\xff\xfe https://x.test/\n",
    b"From: a@b.test\nContent-Type: multipart/mixed\n\nno boundary\n",
    b"From: a@b.test\nDate: Mon, 01 Jan 9999999 00:00:00 +9999\n\n",
    b"From: a@b.test\nSubject: " + b"x" * 200_000 + b"\n\n",
    b"From: a@b.test\nTo: " + b", ".join(b"u%d@c.test" % n for n in range(5000)) + b"\n\n",
    b"From: a@b.test\nContent-Type: multipart/mixed; boundary=b\n\n"
    + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 50,
    b"From: a@b.test\nContent-Type: text/plain; name*=utf-8''%FF\nContent-Transfer-Encoding: base64\n\n!!!!\n",
]


def _load(path: Path, verdict: str | None = None) -> tuple[Tenant, list[Message]]:
    tenant = Tenant(seed=1)
    load(tenant, path, undated=NOW, verdict=verdict)
    return tenant, tenant.messages


@pytest.fixture(params=["mbox", "maildir", "folder", "file"])
def rich(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same mail in each of the forms that can be loaded."""
    path = tmp_path / "mail"
    if request.param == "mbox":
        with_box = mailbox.mbox(path)
        with_box.add(RICH)
        with_box.close()
    elif request.param == "maildir":
        mailbox.Maildir(path).add(RICH)
    elif request.param == "folder":
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "one.EML").write_bytes(RICH)
        (path / "notes.txt").write_text("no mail")
    else:
        path.write_bytes(RICH)
    return path


def test_a_mail_is_read_with_all_searchable_fields(rich: Path) -> None:
    tenant, (message,) = _load(rich)
    assert message.subject == "Überfällige Rechnung {{ 7*7 }}"
    assert (message.sender.address, message.sender.name) == ("billing@phish.test", "Büro")
    assert message.sender.reply_to == "pay@phish.test"
    assert message.sender.helo_ip == "203.0.113.5"
    assert (message.sender.spf, message.sender.dkim, message.sender.dmarc) == ("fail", "pass", "fail")
    assert message.recipients == ("dana@corp.example",)
    assert message.to == ("dana@corp.example", "lee@corp.example")
    assert iso(message.time) == "2026-11-20T15:00:00.000000Z"
    assert message.links == ("https://login.portal.test/open?u=1",)
    assert [(file.name, file.content_type) for file in message.attachments] == [("bill.pdf", "application/pdf")]
    assert message.attachments[0].md5 == "9dd4e461268c8034f5c8564e155c67a6"
    assert message.disposition == "SPAM"
    for criteria in (
        Criteria(query="BILL.pdf dana"),
        Criteria(query="9dd4e461268c8034f5c8564e155c67a6"),
        Criteria(domain="portal.test"),
        Criteria(subject="rechnung überfällige"),
        Criteria(message_id="<real-1@phish.test>"),
        Criteria(query="real-1@PHISH.test"),
    ):
        assert find(tenant, criteria, NOW) == [message]


def test_unmarked_mail_is_clean_unless_a_verdict_is_given(tmp_path: Path) -> None:
    path = tmp_path / "one.eml"
    path.write_bytes(b"From: a@b.test\nTo: dana@corp.example\nSubject: x\n\n")
    assert _load(path)[1][0].disposition == CLEAN
    assert _load(path, "MALICIOUS")[1][0].disposition == "MALICIOUS"


@pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
def test_broken_mail_is_read_as_far_as_possible(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "broken.eml"
    path.write_bytes(raw)
    _, (message,) = _load(path)
    assert message.recipients
    assert len(message.subject) <= 20_000
    assert len(message.recipients) <= 1000
    message.subject.encode()


@examples(max_examples=100, deadline=None, derandomize=True, database=None)
@given(raw=st.binary(max_size=400))
def test_any_bytes_are_read_as_mail_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "any.eml"
    path.write_bytes(raw)
    try:
        _, messages = _load(path)
    except NoMailError as refusal:
        assert str(path) in str(refusal)
    else:
        assert len(messages) == 1


def test_unreadable_mails_are_counted_and_skipped(tmp_path: Path) -> None:
    (tmp_path / "good.eml").write_bytes(RICH)
    (tmp_path / "empty.eml").write_bytes(b"")
    (tmp_path / "settings.eml").write_bytes(b"name: service\n\n")
    loaded = load(Tenant(seed=1), tmp_path, undated=NOW)
    assert (loaded.messages, loaded.unreadable) == (1, 2)


def test_a_mail_with_a_future_date_counts_as_undated(tmp_path: Path) -> None:
    (tmp_path / "future.eml").write_bytes(b"From: a@b.test\nDate: Fri, 20 Nov 2026 16:02:36 +0000\n\n")
    (tmp_path / "now.eml").write_bytes(b"From: c@d.test\nDate: Fri, 20 Nov 2026 16:02:35 +0000\n\n")
    (tmp_path / "undated.eml").write_bytes(b"From: e@f.test\n\n")
    tenant = Tenant(seed=1)
    loaded = load(tenant, tmp_path, undated=NOW)
    assert (loaded.messages, loaded.future, loaded.newest) == (3, 1, NOW)
    assert len(find(tenant, Criteria(detections_only=False), NOW)) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF\x02\x01\x01\x00",
        b'{"no": "mail"}',
        b"PK\x03\x04",
        b"just words\n",
        b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n",
        b"name: service\nversion: 3\n\nFrom: a@b.test\n",
    ],
)
def test_a_file_that_is_not_mail_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(NoMailError, match="neither an mbox"):
        _load(path)


def test_a_missing_path_or_one_without_mail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoMailError, match="No such file"):
        _load(tmp_path / "missing")
    with pytest.raises(NoMailError, match="neither a Maildir"):
        _load(tmp_path)
    (tmp_path / "cur").mkdir()
    with pytest.raises(NoMailError, match="Maildir has the folders"):
        _load(tmp_path)


def test_real_mail_replaces_the_generated_tenant(settings: Callable[..., Settings], tmp_path: Path) -> None:
    path = tmp_path / "one.eml"
    path.write_bytes(RICH)
    assert len(open_account(settings(mbox=path, messages=None)).account.tenant.messages) == 1
    assert len(open_account(settings(mbox=path, messages=50)).account.tenant.messages) == 51
