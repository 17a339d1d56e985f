"""Reads the text of a policy as plain JSON data, and refuses what makes YAML dangerous or surprising.

Refused: anchors and aliases, tags, a key that is there twice, a second document, deep nesting. Only `true`, `false`,
`null` and decimal numbers are not text: `no` and `0777` stay what was written, as in a playbook.

PyYAML is loaded on the first use: a process without a policy does not pay for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from connectors.errors import Problem, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

# The format needs four levels: the policy, a list, a rule, a list in it.
DEEPEST = 8

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class SourceRefused(ValueError):
    """The text is no YAML that this reader takes; `problem` says where and why."""

    def __init__(self, message: str, *, pointer: str = "", line: int | None = None) -> None:
        said = message if line is None else f"line {line}: {message}"
        super().__init__(said)
        self.problem = Problem(pointer=pointer, message=said)


def read(text: str) -> Any:
    """The one document of the text as plain data. Raises: SourceRefused, also where there is none."""
    import yaml  # noqa: PLC0415 -- see the module's own words

    events = yaml.parse(text, Loader=yaml.SafeLoader)
    try:
        return _document(yaml, events)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise SourceRefused(f"is no YAML: {printable(said)}", line=mark.line + 1 if mark else None) from None
    except yaml.reader.ReaderError:
        raise SourceRefused("is no YAML: holds NUL or another character that no text has") from None
    except SourceRefused:
        raise
    except (ValueError, OverflowError):
        # PyYAML's scanner turns escapes and version numbers into numbers without a look at their size.
        raise SourceRefused("is no YAML: an escape or a version number is out of range") from None


def below(pointer: str, part: object) -> str:
    """The JSON pointer (RFC 6901) of what is below another; printable, and not endless."""
    return pointer + "/" + printable(str(part)[:100]).replace("~", "~0").replace("/", "~1").replace("\n", " ")


def _document(yaml: Any, events: Iterator[Any]) -> Any:
    found, documents = None, 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise SourceRefused("is more than one document", line=event.start_mark.line + 1)
        elif isinstance(event, yaml.NodeEvent):
            found = _value(yaml, event, events, "", 0)
    if found is None:
        raise SourceRefused("is empty: the least that a policy says is `policy: 1`")
    return found


def _value(yaml: Any, event: Any, events: Iterator[Any], pointer: str, depth: int) -> Any:
    """The value that begins with `event`; takes the events up to its end."""
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise SourceRefused("anchors (&) and aliases (*) are not taken: write it out", pointer=pointer, line=line)
    if event.tag is not None:
        raise SourceRefused("tags (!) are not taken", pointer=pointer, line=line)
    if isinstance(event, yaml.ScalarEvent):
        # Quoted text is text, whatever it looks like.
        return _scalar(event.value) if event.style is None else event.value
    if depth >= DEEPEST:
        raise SourceRefused(f"is nested deeper than {DEEPEST} levels", pointer=pointer, line=line)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_value(yaml, event, events, below(pointer, len(items)), depth + 1))
        return items
    found: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        line = event.start_mark.line + 1
        if not isinstance(event, yaml.ScalarEvent):
            raise SourceRefused("a key must be text", pointer=pointer, line=line)
        _value(yaml, event, events, pointer, depth)  # refuses an anchor or a tag on the key
        key, at = event.value, below(pointer, event.value)
        if key in found:
            raise SourceRefused("the key is there twice", pointer=at, line=line)
        found[key] = _value(yaml, next(events), events, at, depth + 1)
    return found


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
