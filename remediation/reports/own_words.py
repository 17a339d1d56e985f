"""The report's own words, and foreign text made safe for HTML, Markdown and chat.

A `Wording` is text that this pack wrote; templates show it unchanged. Any other `str` is foreign: it came out of a
mailbox or from the API, and every template disarms it by default.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from core.text import STEERING, limit_marks, shorten, visible, without_markup
from remediation.reports.commands import Command

SHOWN_LIMIT = 200
CELL_LIMIT = 32
CHAT_LIMIT = 80


class Wording(str):
    """Text written by this pack, without a foreign character in it."""

    __slots__ = ()


# Inside a code span nothing is Markdown, HTML, a link, a mention or an emoji name. The two characters that end a code
# span or a table's cell go outside it, as character references.
_ENDS_SPAN = re.compile(r"([`|])")
# A number and its unit, and a duration's units, stay on one line.
_WITHIN_DURATION = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d)\b|%)|(?<=\d [hd]) (?=\d)|(?<=\d min) (?=\d)")
_HARMLESS_TITLE = re.compile(r"[^\W_](?:[^\W_]|[ ,'():-])*")


def html(value: object) -> Markup:
    """Return a template's value as HTML, safe as an element's content and in a quoted attribute.

    Foreign text is isolated (`bdi`), so that its direction does not reorder the text around it. It is shortened to 200
    characters, and its steering characters become code points (`samp`).
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("<em>not known</em>")
    if isinstance(value, Command):
        # One click or double tap selects the complete line. It runs from left to right in every script.
        return Markup(f'<code class="command" dir="ltr">{escape(str(value))}</code>')  # noqa: S704 -- escaped
    if isinstance(value, Wording):
        return Markup(escape(_WITHIN_DURATION.sub("\u00a0", value)))  # noqa: S704 -- escaped
    if isinstance(value, str):
        text = str(escape(limit_marks(_one_line(value))))
        marked = STEERING.sub(lambda found: f"<samp>U+{ord(found[0]):04X}</samp>", text)
        return Markup(f"<bdi>{marked}</bdi>")  # noqa: S704 -- escaped
    return Markup(escape(_number(value)))  # noqa: S704 -- escaped


def html_title(value: object) -> Markup:
    """Return text for the `title` element, which cannot contain other elements."""
    return Markup(escape(visible(_one_line(str(value)))))  # noqa: S704 -- escaped


def markdown(value: object) -> Markup:
    """Return a template's value as GitHub-flavored Markdown, safe in a paragraph, a list and a table's cell.

    Foreign text becomes a code span of at most 200 characters, and its steering characters become code points.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("*not known*")
    if isinstance(value, Command):
        return Markup(f"`{value}`")  # noqa: S704 -- not HTML, and no command holds a backtick
    if isinstance(value, Wording):
        return Markup(value)  # noqa: S704 -- not HTML: marks it as safe
    if isinstance(value, str):
        return Markup(code_span(_one_line(value)))  # noqa: S704 -- not HTML: marks it as safe
    return Markup(_number(value))  # noqa: S704 -- not HTML: marks it as safe


def markdown_title(value: object) -> Markup:
    """Return a heading as Markdown. Letters, digits and plain punctuation need no code span."""
    if isinstance(value, str) and _HARMLESS_TITLE.fullmatch(shown := _one_line(value)):
        return Markup(shown)  # noqa: S704 -- not HTML: marks it as safe
    return markdown(value)


def markdown_cell(value: object) -> Markup:
    """Return a table's cell as Markdown. Foreign text is cut, because a long word would widen the table."""
    if isinstance(value, str) and not isinstance(value, Wording):
        return markdown(shorten(value.strip(), CELL_LIMIT))
    return markdown(value)


def code_span(text: str) -> str:
    """Return GitHub-flavored Markdown that shows exactly this text, on one line."""
    pieces = _ENDS_SPAN.split(visible(text).strip())
    return "".join(f"&#{ord(piece)};" if piece in {"`", "|"} else f"`{piece}`" for piece in pieces if piece)


def chat(text: str, limit: int = CHAT_LIMIT) -> str:
    """Return the text as a code span without a link, mention, emoji or markup, even where chat ignores code spans.

    The dots and the at sign of an address become `[.]` and `[@]`, as analysts write them.
    """
    return f"`{visible(without_markup(shorten(text.strip() or '(empty)', limit)))}`"


def _one_line(text: str) -> str:
    return shorten(text.strip() or "(empty)", SHOWN_LIMIT)


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
