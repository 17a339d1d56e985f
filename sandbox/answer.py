"""A complete response, held back before it is sent, so that faults can change or drop it."""

from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.envelope import ApiError, failure

JSON = "application/json"
HTML = "text/html; charset=UTF-8"


@dataclass(slots=True)
class Answer:
    """A response: status, body and headers. content-type and content-length are added when it is sent."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)
    content_type: str = JSON

    async def send_head(self, send: Send) -> None:
        headers = [("content-type", self.content_type), ("content-length", str(len(self.body))), *self.headers]
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})

    async def send_body(self, send: Send, *, length: int | None = None) -> None:
        """Send the body, or only its first `length` bytes without an end."""
        body = self.body if length is None else self.body[:length]
        await send({"type": "http.response.body", "body": body, "more_body": length is not None})


def refusal(error: ApiError) -> Answer:
    return Answer(error.status, failure(*error.notices), list(error.headers.items()))


async def collect(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    """Run an application and return its response."""
    answer = Answer(500, b"")
    parts: list[bytes] = []

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            for raw_name, raw_value in message["headers"]:
                name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
                if name == "content-type":
                    answer.content_type = value
                elif name != "content-length":
                    answer.headers.append((name, value))
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    answer.body = b"".join(parts)
    return answer
