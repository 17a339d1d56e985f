"""Applies faults to a response: replaces, changes or truncates it."""

import json
from typing import Any

from sandbox import envelope
from sandbox.answer import HTML, Answer
from sandbox.envelope import Notice, encode, failure
from sandbox.faults import Fault, Met

_PAGE = (
    '<!DOCTYPE html>\n<html lang="en-US"><head><title>api.cloudflare.com | {status}</title></head>'
    "<body><h1>Error {status}</h1><p>Cloudflare Ray ID: {ray}</p></body></html>\n"
)


def in_place_of(fault: Fault, ray: str) -> Answer | None:
    """Return the response of this fault in place of the API's, or None if the fault keeps the API's response."""
    notice = Notice(fault.code or envelope.BAD_REQUEST, fault.message or "")
    match fault.kind:
        case "status":
            return Answer(fault.status or 500, failure(notice), _retry_after(fault))
        case "html":
            status = fault.status or 502
            return Answer(status, _PAGE.format(status=status, ray=ray).encode(), content_type=HTML)
        case "rate_limit":
            return Answer(429, failure(Notice(envelope.TOO_MANY_REQUESTS, "Too many requests")), _retry_after(fault))
        case "success_false":
            return Answer(200, failure(notice))
        case "address_denied":
            denied = Notice(envelope.ADDRESS_NOT_ALLOWED, "Cannot use the access token from location: 192.0.2.1")
            return Answer(403, failure(denied))
    return None


def _retry_after(fault: Fault) -> list[tuple[str, str]]:
    return [] if fault.retry_after is None else [("retry-after", str(fault.retry_after))]


def reshape(answer: Answer, met: Met) -> None:
    """Change a successful response according to its faults."""
    notice, rewrite = met.shaping.get("notice"), met.shaping.get("rewrite")
    if answer.status >= 300 or (notice is None and rewrite is None):
        return
    body = json.loads(answer.body)
    if notice is not None:
        body["messages"].append({"code": notice.code, "message": notice.message})
    if rewrite is not None:
        result = body["result"]
        for item in result if isinstance(result, list) else [result]:
            for name, value in (rewrite.set or {}).items():
                _set(item, name, value)
            for name in rewrite.remove or []:
                _remove(item, name)
    answer.body = encode(body)


def _set(item: Any, dotted: str, value: object) -> None:
    *path, last = dotted.split(".")
    for name in path:
        item = item.setdefault(name, {}) if isinstance(item, dict) else None
    if isinstance(item, dict):
        item[last] = value


def _remove(item: Any, dotted: str) -> None:
    *path, last = dotted.split(".")
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    if isinstance(item, dict):
        item.pop(last, None)


def kept_bytes(fault: Fault, answer: Answer) -> int:
    """Return the number of bytes that remain of a truncated body. At least one byte is lost."""
    keep = len(answer.body) // 2 if fault.keep is None else fault.keep
    return max(0, min(keep, len(answer.body) - 1))
