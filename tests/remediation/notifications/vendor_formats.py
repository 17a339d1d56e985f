"""The formats of the receivers, written by hand from the vendors' public documents, not from the pack's code.

Each check raises an AssertionError for a request that the vendor would refuse, or that gives a text an effect. It
returns what a person sees: the texts and the links.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

from tests.remediation.notifications.receivers import API_KEY, BEARER, WEBHOOK_SECRET, Request


class Seen(NamedTuple):
    """What a person sees. links: the URLs that can be clicked."""

    texts: list[str]
    links: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


# What a client would make a link of in a plain text: a scheme, a host name, an address.
LINK = re.compile(r"\w://|\w\.[^\W\d]|\w@\w|(?<!\S)@\w")
# The commands that answer a run. Nothing in them is from a mailbox.
COMMAND = re.compile(
    r"cfes playbook (?:show [\w.-]+|approve [\w.-]+ --key KEY|signal [\w.-]+ (?:\w+|'[\w\[\]/-]+') @FILE)", re.ASCII
)
# Zero-width characters, and those that reorder a line.
INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
MOST_TEAMS_BYTES = 28 * 1024


def check_plain(text: str) -> str:
    """Return the text of a mailbox after the check that it is readable and has no effect anywhere."""
    assert text.strip()
    assert_readable(text)
    assert not LINK.search(text), ascii(text)
    return text


def assert_readable(text: str) -> None:
    """Check that no character but a line break controls a display, reorders the text or is invisible."""
    found = {unicodedata.category(character) for character in text.replace("\n", "")}
    assert not found & {"Cc", "Cs", "Zl", "Zp"}, ascii(text)
    assert not INVISIBLE.search(text), ascii(text)


def utf16_units(text: str) -> int:
    return sum(2 if ord(character) > 0xFFFF else 1 for character in text)


def json_of(request: Request) -> Any:
    assert request.headers["content-type"] == "application/json"
    return request.document


# Slack: https://docs.slack.dev/reference/block-kit/blocks


def check_slack(request: Request) -> Seen:
    message = json_of(request)
    assert message.keys() == {"text", "blocks", "unfurl_links", "unfurl_media"}
    assert (message["unfurl_links"], message["unfurl_media"]) == (False, False)
    assert utf16_units(message["text"]) <= 40_000
    check_plain(_unescaped(message["text"]))
    assert 1 <= len(message["blocks"]) <= 50
    texts: list[str] = []
    links: list[str] = []
    for block in message["blocks"]:
        for found in _slack_texts(block):
            link = re.fullmatch(r"<(https?://[^|<>\s]+)\|Open the run>", found["text"])
            if found["type"] == "mrkdwn" and link:
                links.append(html.unescape(link[1]))
            elif found["type"] == "mrkdwn":
                commands = re.fullmatch(r"```(.+)```", found["text"], re.DOTALL)
                assert commands
                texts += _commands(commands[1])
            else:
                texts.append(_unescaped(found["text"]))
                if block["type"] != "context":
                    check_plain(texts[-1])
    return Seen(texts, links)


def _slack_texts(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    match block["type"]:
        case "header":
            assert block.keys() == {"type", "text"}
            assert block["text"]["type"] == "plain_text"
            yield _text_object(block["text"], 150)
        case "section":
            assert block.keys() in ({"type", "text"}, {"type", "fields"})
            if "text" in block:
                yield _text_object(block["text"], 3000)
            assert len(block.get("fields", ())) <= 10
            for one in block.get("fields", ()):
                yield _text_object(one, 2000)
        case "context":
            assert block.keys() == {"type", "elements"}
            assert 1 <= len(block["elements"]) <= 10
            for one in block["elements"]:
                yield _text_object(one, 3000)
        case other:
            raise AssertionError(f"unknown block {other}")


def _text_object(found: dict[str, Any], most: int) -> dict[str, Any]:
    allowed = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}[found["type"]]
    assert found.keys() <= allowed
    assert 1 <= utf16_units(found["text"]) <= most
    return found


def _unescaped(text: str) -> str:
    """Return the text as Slack shows it. Every & begins one of the three entities, and < and > are entities."""
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text), ascii(text)
    return html.unescape(text)


def _commands(text: str) -> list[str]:
    lines = text.splitlines()
    assert all(COMMAND.fullmatch(line) for line in lines), lines
    return lines


# Teams: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors and the schema of adaptive cards


def check_teams(request: Request) -> Seen:
    assert len(request.body) <= MOST_TEAMS_BYTES
    message = json_of(request)
    assert message.keys() == {"type", "attachments"}
    assert message["type"] == "message"
    [attachment] = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert card.keys() <= {"$schema", "type", "version", "body", "actions"}
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    texts: list[str] = []
    for block in card["body"]:
        # A TextBlock or a FactSet would read Markdown.
        assert block.keys() == {"type", "inlines"}
        assert block["type"] == "RichTextBlock"
        texts.append("".join(_text_run(run) for run in block["inlines"]))
    links = []
    for action in card.get("actions", ()):
        assert action.keys() == {"type", "title", "url"}
        assert action["type"] == "Action.OpenUrl"
        links.append(action["url"])
    return Seen(texts, links)


def _text_run(run: dict[str, Any]) -> str:
    assert run.keys() <= {"type", "text", "size", "weight", "isSubtle", "fontType"}
    assert run["type"] == "TextRun"
    assert run.get("size", "Default") in ("Default", "Small", "Medium", "Large", "ExtraLarge")
    assert run.get("weight", "Default") in ("Default", "Lighter", "Bolder")
    assert run.get("fontType", "Default") in ("Default", "Monospace")
    text: str = run["text"]
    # {{DATE(...)}} and {{TIME(...)}} are functions of cards.
    assert "{{" not in text
    if "fontType" in run:
        _commands(text)
    elif "isSubtle" not in run:
        check_plain(text)
    return text


# TheHive 5: https://docs.strangebee.com, POST /api/v1/case/{id}/comment


def check_thehive(request: Request) -> Seen:
    assert re.fullmatch(r"/api/v1/case/(~?[A-Za-z0-9_-]+)/comment", request.path), request.path
    assert request.headers["authorization"] == f"Bearer {API_KEY}"
    comment = json_of(request)
    assert comment.keys() == {"message"}
    return read_markdown(comment["message"])


def read_markdown(text: str) -> Seen:
    """Read CommonMark with HTML allowed, so that markup which gets through is found."""
    texts: list[str] = []
    links: list[str] = []
    for token in MarkdownIt("commonmark", {"html": True}).parse(text):
        if token.type == "fence":
            texts += _commands(token.content)
        elif token.type == "inline":
            line = ""
            for child in token.children or ():
                match child.type:
                    case "text":
                        line += child.content
                    case "hardbreak":
                        line += "\n"
                    case "code_inline":
                        assert re.fullmatch(r"[\w.-]+", child.content, re.ASCII)
                        texts.append(f"Run {child.content}")
                    case "link_open":
                        links.append(str(child.attrs["href"]))
                    case "link_close":
                        pass
                    case other:
                        raise AssertionError(f"the comment has {other}")
            if line.strip() not in ("", "Run", "Open the run"):
                texts.append(check_plain(line))
        else:
            assert re.fullmatch("(heading|paragraph|bullet_list|list_item)_(open|close)", token.type), token.type
    return Seen(texts, links)


# A ticket system: one flat object

# Markup of some ticket or chat system.
ACTIVE = re.compile(r"[<>{}|\\`*~^#!&$@]|(?<![^\W_])_|_(?![^\W_])|:(?=\S)")


def check_ticket(request: Request) -> Seen:
    assert request.headers["authorization"] == f"Bearer {BEARER}"
    ticket = json_of(request)
    assert ticket.keys() == {"id", "event", "severity", "title", "description", "run_id", "url"}
    assert all(value is None or isinstance(value, str) for value in ticket.values())
    assert ticket["severity"] in ("low", "medium", "high")
    texts = [ticket["title"]]
    for line in ticket["description"].splitlines():
        texts.append(line)
        if not COMMAND.fullmatch(line):
            check_plain(line)
            shown = re.sub(r"\[(?:@|\.|:|U\+[0-9A-F]{4,6}|[0-9,]+ more marks?)\]", "", line)
            # The label of a fact has a colon and a blank behind it.
            assert not ACTIVE.search(shown), ascii(shown)
            assert not re.search(r"[\[\]]", shown), ascii(shown)
    check_plain(ticket["title"])
    return Seen(texts, [ticket["url"]] if ticket["url"] else [])


# Standard Webhooks 1.0.0: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md


def signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def check_webhook(request: Request) -> Seen:
    message_id, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,256}", message_id)
    assert re.fullmatch(r"[1-9][0-9]{9}", timestamp)
    expected = signature(WEBHOOK_SECRET, message_id, timestamp, request.body)
    assert hmac.compare_digest(expected, request.headers["webhook-signature"])
    # The recommended size of a payload.
    assert len(request.body) <= 20 * 1024
    event = json_of(request)
    assert event.keys() == {"type", "timestamp", "data"}
    assert re.fullmatch(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+", event["type"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", event["timestamp"])
    data = event["data"]
    assert data["id"] == message_id
    texts = [data["title"], *data["message"].splitlines(), *(f"{k}: {v}" for k, v in data["facts"].items())]
    assert_readable("\n".join(texts))
    return Seen([*texts, *data["commands"]], [data["url"]] if data["url"] else [])


CHECKS = {
    "slack": check_slack,
    "teams": check_teams,
    "thehive": check_thehive,
    "ticket": check_ticket,
    "webhook": check_webhook,
}
