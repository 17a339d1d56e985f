"""A message of the search with only the fields for counts, parsed in one pass over the page.

A page that can't be parsed this way is parsed in full, as connectors.objects.message.MessageDetails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from connectors.objects.message import MessageDetails


class FoundValidation(msgspec.Struct, gc=False):
    """The results of the sender checks."""

    dmarc: str | None = None
    spf: str | None = None


class FoundMessage(msgspec.Struct, gc=False, rename={"from_": "from"}):
    """The fields of MessageDetails that a count, a sample or a filter uses."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    subject: str | None = None
    from_: str | None = None
    envelope_from: str | None = None
    client_recipients: list[str] | None = None
    scanned_at: str | None = None
    final_disposition: str | None = None
    delivery_status: list[str] | None = None
    validation: FoundValidation | None = None

    @property
    def copies(self) -> int:
        """Return the number of mailboxes with the message. A job has one row for each."""
        return max(1, len(self.client_recipients or ()))


class _Envelope(msgspec.Struct):
    success: bool
    result: list[FoundMessage]
    result_info: Any = None


_decoder = msgspec.json.Decoder(_Envelope)


def found_envelope(data: Buffer) -> dict[str, Any] | None:
    """Return an envelope whose `result` is FoundMessages, or None if the page needs a full parse."""
    try:
        envelope = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # A failure needs a full parse for its errors.
    if not envelope.success:
        return None
    return {"success": True, "result": envelope.result, "result_info": envelope.result_info}


def messages_of(found: Any) -> Sequence[FoundMessage | MessageDetails] | None:
    """Return the messages of a page, or None if its result is not a list. Raises: UnexpectedAnswer."""
    if isinstance(found, list) and all(isinstance(item, FoundMessage) for item in found):
        return found
    from connectors.objects.message import details_of  # noqa: PLC0415 -- only for a full parse

    return details_of(found)
