"""Read the code blocks of a documentation page, and turn them into one script that runs them in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<info>\w+[^\n]*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced code block: "```sh", "```sh no-run", or "```yaml FILE" for the content of a file."""

    language: str
    label: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.split("\n", 1)[0]

    @property
    def lines(self) -> list[str]:
        """Return the lines of the block; a line that ends in a backslash is joined with the next."""
        return self.text.replace("\\\n", " ").splitlines()

    @property
    def runs(self) -> bool:
        return self.language in ("sh", "python") and self.label == ""

    @property
    def file(self) -> str | None:
        """The name of the file in which the reader saves the block."""
        return self.label if self.label not in ("", "no-run") else None


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in their order, without the indentation of a list."""
    return list(_blocks(page.read_text()))


def _blocks(text: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        language, _, label = found["info"].partition(" ")
        lines = found["text"].splitlines()
        yield Block(language, label.strip(), "\n".join(line.removeprefix(found["indent"]) for line in lines) + "\n")


def write_script(blocks: list[Block], folder: Path, exits: dict[str, int]) -> str:
    """Write each block to a file, and return a bash script that runs them in order in one shell.

    `exits` names the blocks that must end with another exit code than 0, by their first line. Such a block holds one
    command. Every command of another block must succeed.
    """
    folder.mkdir()
    script = ["set -eu"]
    for number, block in enumerate(blocks):
        path = folder / f"{number}.{block.language}"
        path.write_text(block.text)
        if block.file is not None:
            script.append(f"mkdir -p '{Path(block.file).parent}' && cp '{path}' '{block.file}'")
        elif block.runs and block.first_line in exits:
            expected = exits[block.first_line]
            script.append(f"set +e; . '{path}'; code=$?; set -e")
            script.append(f"test $code = {expected} || {{ echo 'exit' $code 'in block {number}' >&2; exit 99; }}")
        elif block.runs:
            script.append(f"python3 '{path}'" if block.language == "python" else f". '{path}'")
    return "\n".join(script)
