"""The report's own words, kept apart from text that came out of a mailbox or over the wire.

A `Wording` was written by this pack and is shown as it is. Any other `str` is foreign and gets disarmed wherever a
template shows it: that is the default, and nothing has to be remembered for it.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from core.text import STEERING, limit_marks, shorten, visible
from remediation.reports.commands import Command

SHOWN_LIMIT = 200
CELL_LIMIT = 32


class Wording(str):
    """Text written by this pack, without a foreign character in it."""

    __slots__ = ()


# Between two marks nothing is Markdown, HTML, a link, a mention or an emoji name. The two characters that end a code
# span or a table's cell stand outside as references.
_ENDS_SPAN = re.compile(r"([`|])")
# A number and its unit, and a duration's units, stay on one line.
_WITHIN_DURATION = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d)\b|%)|(?<=\d [hd]) (?=\d)|(?<=\d min) (?=\d)")
_HARMLESS_TITLE = re.compile(r"[^\W_](?:[^\W_]|[ ,'():-])*")


def html(value: object) -> Markup:
    """A template's value as HTML: safe as an element's content and in a quoted attribute.

    Foreign text is isolated (`bdi`), so that its direction does not reorder what is around it, shortened to 200
    characters, and its steering characters are shown as code points (`samp`).
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("<em>not known</em>")
    if isinstance(value, Command):
        # One click or one double tap selects the whole line. From left to right, whatever script a value is in.
        return Markup(f'<code class="command" dir="ltr">{escape(str(value))}</code>')  # noqa: S704 -- escaped
    if isinstance(value, Wording):
        return Markup(escape(_WITHIN_DURATION.sub("\u00a0", value)))  # noqa: S704 -- escaped
    if isinstance(value, str):
        text = str(escape(limit_marks(_one_line(value))))
        marked = STEERING.sub(lambda found: f"<samp>U+{ord(found[0]):04X}</samp>", text)
        return Markup(f"<bdi>{marked}</bdi>")  # noqa: S704 -- escaped
    return Markup(escape(_number(value)))  # noqa: S704 -- escaped


def html_title(value: object) -> Markup:
    """Text for the `title` element, which holds no other elements."""
    return Markup(escape(visible(_one_line(str(value)))))  # noqa: S704 -- escaped


def markdown(value: object) -> Markup:
    """A template's value as GitHub-flavoured Markdown, safe in a paragraph, a list and a table's cell.

    Foreign text becomes a code span, its steering characters code points, and is shortened to 200 characters.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("*not known*")
    if isinstance(value, Command):
        return Markup(f"`{value}`")  # noqa: S704 -- not HTML, and no command holds a backtick
    if isinstance(value, Wording):
        return Markup(value)  # noqa: S704 -- not HTML: marks it as done
    if isinstance(value, str):
        return Markup(code_span(_one_line(value)))  # noqa: S704 -- not HTML: marks it as done
    return Markup(_number(value))  # noqa: S704 -- not HTML: marks it as done


def markdown_title(value: object) -> Markup:
    """The same for a heading: words of letters, digits and plain punctuation stand without a code span."""
    if isinstance(value, str) and _HARMLESS_TITLE.fullmatch(shown := _one_line(value)):
        return Markup(shown)  # noqa: S704 -- not HTML: marks it as done
    return markdown(value)


def markdown_cell(value: object) -> Markup:
    """The same for a table's cell, where a long word would make the table wider than the page: foreign text is cut."""
    if isinstance(value, str) and not isinstance(value, Wording):
        return markdown(shorten(value.strip(), CELL_LIMIT))
    return markdown(value)


def code_span(text: str) -> str:
    """Any text as GitHub-flavoured Markdown that shows exactly this text, on one line."""
    pieces = _ENDS_SPAN.split(visible(text).strip())
    return "".join(f"&#{ord(piece)};" if piece in {"`", "|"} else f"`{piece}`" for piece in pieces if piece)


def _one_line(text: str) -> str:
    return shorten(text.strip() or "(empty)", SHOWN_LIMIT)


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
