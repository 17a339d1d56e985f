"""A strict YAML reader. It returns plain JSON data with line numbers, and refuses dangerous or surprising YAML.

Refused are anchors and aliases (a page of text can expand to gigabytes), duplicate keys (other readers use the last
one silently), tags, more than one document, deep nesting, halves of surrogate pairs, and texts over 256 KiB. Only
`true`, `false`, `null` and decimal numbers are not text: `no`, `12:30`, `0777` and `2026-11-20` are text.

PyYAML is imported on first use, because most processes read no YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import printable
from core.json_values import below

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,30})\.[0-9]{1,30}(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class YamlRefused(ValueError):
    """The text is not valid strict YAML. `pointer` and `line` (from 1) are the place, if known."""

    def __init__(self, message: str, *, pointer: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.line = line


@dataclass
class Source:
    """Plain JSON data (None for an empty text), and the line (from 1) of every key and item by its pointer."""

    data: Any = None
    lines: dict[str, int] = field(default_factory=dict)


def read(text: str) -> Source:
    """Return the document of a YAML text. Raises: YamlRefused."""
    import yaml  # noqa: PLC0415 -- see the docstring of the module

    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise YamlRefused(f"longer than {MAX_BYTES // 1024} KiB")
    try:
        return _Reader(yaml, text).source()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlRefused(f"not valid YAML: {printable(reason)}", line=mark.line + 1 if mark else None) from None
    except yaml.YAMLError:
        raise YamlRefused("not valid YAML: has NUL or another forbidden control character") from None
    except YamlRefused:
        raise
    except (ValueError, OverflowError):
        # PyYAML converts escapes and version numbers without a check of their size.
        raise YamlRefused("not valid YAML: an escape or a version number is out of range") from None


def line_of(lines: Mapping[str, int], pointer: str) -> int | None:
    """Return the line of a pointer, or of the nearest parent with a line."""
    while pointer not in lines and pointer:
        pointer = pointer.rpartition("/")[0]
    return lines.get(pointer)


class _Reader:
    """Reads the parser's events one by one, and checks each before it builds a value."""

    def __init__(self, yaml: Any, text: str) -> None:
        self._yaml = yaml
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._lines: dict[str, int] = {}

    def source(self) -> Source:
        data, documents = None, 0
        for event in self._events:
            if isinstance(event, self._yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise YamlRefused("more than one document", line=event.start_mark.line + 1)
            elif isinstance(event, self._yaml.NodeEvent):
                data = self._value(event, "", 0)
        return Source(data, self._lines)

    def _value(self, event: Any, pointer: str, depth: int) -> Any:
        """Return the value that begins with `event`. Consume the events up to its end."""
        line = event.start_mark.line + 1
        self._lines.setdefault(pointer, line)
        if depth > MAX_DEPTH:
            raise YamlRefused(f"nested deeper than {MAX_DEPTH} levels", pointer=pointer, line=line)
        if isinstance(event, self._yaml.AliasEvent) or event.anchor is not None:
            message = "anchors (&) and aliases (*) are not supported; write the value out"
            raise YamlRefused(message, pointer=pointer, line=line)
        if event.tag is not None:
            raise YamlRefused("tags (!) are not supported", pointer=pointer, line=line)
        if isinstance(event, self._yaml.ScalarEvent):
            if any("\ud800" <= character <= "\udfff" for character in event.value):
                message = "has half of a surrogate pair, which is not a valid character"
                raise YamlRefused(message, pointer=pointer, line=line)
            # Quoted text is always text, even if it looks like a number.
            return _scalar(event.value) if event.style is None else event.value
        if isinstance(event, self._yaml.SequenceStartEvent):
            return self._sequence(pointer, depth)
        return self._mapping(pointer, depth)

    def _sequence(self, pointer: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), self._yaml.SequenceEndEvent):
            items.append(self._value(event, below(pointer, len(items)), depth + 1))
        return items

    def _mapping(self, pointer: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), self._yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, self._yaml.ScalarEvent):
                raise YamlRefused("a key must be text", pointer=pointer, line=line)
            self._value(event, pointer, depth)  # refuses an anchor or a tag on the key
            key, at = event.value, below(pointer, event.value)
            if key in found:
                message = f"duplicate key {printable(key)[:80]!r}; the first is on line {self._lines[at]}"
                raise YamlRefused(message, pointer=at, line=line)
            self._lines[at] = line
            found[key] = self._value(next(self._events), at, depth + 1)
        return found


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
