"""Reads YAML as plain JSON data with line numbers, and refuses what makes YAML dangerous or surprising.

Refused: anchors and aliases (a page of text can mean gigabytes), duplicate keys (the last one would silently win),
tags, more than one document, and texts over 256 KiB. Only `true`, `false`, `null`, and decimal numbers are not text:
`no`, `12:30`, `0777` and `2026-11-20` stay what was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from playbooks.plain_json import MAX_DEPTH, Json, below, shown

MAX_BYTES = 256 * 1024


class YamlRefused(ValueError):
    """The text is not YAML that this reader takes. `pointer` and `line` (from 1) say where, as far as known."""

    def __init__(self, message: str, *, pointer: str = "", line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.line = line


@dataclass
class Source:
    """Plain JSON data, and the line (from 1) of every key and item by its JSON pointer."""

    data: Json = None
    lines: dict[str, int] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """SafeLoader that knows the scalars of JSON only, and no aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 -- PyYAML's own interface

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it untyped
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise YamlRefused(
                "anchors (&) and aliases (*) are not available; write the value out", line=event.start_mark.line + 1
            )
        if getattr(event, "tag", None) is not None:
            raise YamlRefused("tags (!) are not available", line=event.start_mark.line + 1)
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", "n~\0"),
    ("int", r"-?(?:0|[1-9][0-9]{0,30})", "-0123456789"),
    ("float", r"-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?", "-0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(rf"^(?:{_pattern})$"),
        ["" if character == "\0" else character for character in _first],
    )


def read(text: str) -> Source:
    """The one document of a YAML text. Raises YamlRefused."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise YamlRefused(f"longer than {MAX_BYTES // 1024} KiB")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            source = Source()
            if node is not None:
                source.data = _data(loader, node, "", source.lines, 0)
            return source
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlRefused(f"not valid YAML: {said}", line=mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise YamlRefused(f"not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise YamlRefused(f"nested deeper than {MAX_DEPTH} levels") from None


def line_of(lines: Mapping[str, int], pointer: str) -> int | None:
    """The line of a place, or of the nearest place around it that has one."""
    while pointer not in lines and pointer:
        pointer = pointer.rpartition("/")[0]
    return lines.get(pointer)


def _data(loader: _Loader, node: yaml.Node, pointer: str, lines: dict[str, int], depth: int) -> Json:
    line = node.start_mark.line + 1
    lines.setdefault(pointer, line)
    if depth > MAX_DEPTH:
        raise YamlRefused(f"nested deeper than {MAX_DEPTH} levels", pointer=pointer, line=line)
    if isinstance(node, yaml.SequenceNode):
        return [_data(loader, item, below(pointer, index), lines, depth + 1) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Json] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                raise YamlRefused("a key must be text", pointer=pointer, line=key_line)
            at = below(pointer, key)
            if key in found:
                raise YamlRefused(
                    f"the key {shown(key)} is there twice; the first is in line {lines[at]}", pointer=at, line=key_line
                )
            lines[at] = key_line
            found[key] = _data(loader, value_node, at, lines, depth + 1)
        return found
    return loader.construct_object(node)
