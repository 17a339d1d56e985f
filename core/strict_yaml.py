"""Reads YAML as plain JSON data with line numbers, and refuses what makes YAML dangerous or surprising.

Refused: anchors and aliases (a page of text can mean gigabytes), duplicate keys (the last one would silently win),
tags, more than one document, deep nesting, halves of surrogate pairs, and texts over 256 KiB. Only `true`, `false`,
`null` and decimal numbers are not text: `no`, `12:30`, `0777` and `2026-11-20` stay what was written.

PyYAML is loaded on the first use: a process that reads no YAML does not pay for it.
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
    """The text is not YAML that this reader takes. `pointer` and `line` (from 1) say where, as far as known."""

    def __init__(self, message: str, *, pointer: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.line = line


@dataclass
class Source:
    """Plain JSON data (None where the text is empty), and the line (from 1) of every key and item by its pointer."""

    data: Any = None
    lines: dict[str, int] = field(default_factory=dict)


def read(text: str) -> Source:
    """The one document of a YAML text. Raises: YamlRefused."""
    import yaml  # noqa: PLC0415 -- see the module's own words

    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise YamlRefused(f"longer than {MAX_BYTES // 1024} KiB")
    try:
        return _Reader(yaml, text).source()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlRefused(f"not valid YAML: {printable(said)}", line=mark.line + 1 if mark else None) from None
    except yaml.YAMLError:
        raise YamlRefused("not valid YAML: holds NUL or another character that no text has") from None
    except YamlRefused:
        raise
    except (ValueError, OverflowError):
        # PyYAML's scanner turns escapes and version numbers into numbers without a look at their size.
        raise YamlRefused("not valid YAML: an escape or a version number is out of range") from None


def line_of(lines: Mapping[str, int], pointer: str) -> int | None:
    """The line of a place, or of the nearest place around it that has one."""
    while pointer not in lines and pointer:
        pointer = pointer.rpartition("/")[0]
    return lines.get(pointer)


class _Reader:
    """Takes the parser's events one by one: nothing is built before it was looked at."""

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
        """The value that begins with `event`; takes the events up to its end."""
        line = event.start_mark.line + 1
        self._lines.setdefault(pointer, line)
        if depth > MAX_DEPTH:
            raise YamlRefused(f"nested deeper than {MAX_DEPTH} levels", pointer=pointer, line=line)
        if isinstance(event, self._yaml.AliasEvent) or event.anchor is not None:
            message = "anchors (&) and aliases (*) are not available; write the value out"
            raise YamlRefused(message, pointer=pointer, line=line)
        if event.tag is not None:
            raise YamlRefused("tags (!) are not available", pointer=pointer, line=line)
        if isinstance(event, self._yaml.ScalarEvent):
            if any("\ud800" <= character <= "\udfff" for character in event.value):
                message = "holds half of a surrogate pair, which is no character"
                raise YamlRefused(message, pointer=pointer, line=line)
            # Quoted text is text, whatever it looks like.
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
                message = f"the key {printable(key)[:80]!r} is there twice; the first is in line {self._lines[at]}"
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
