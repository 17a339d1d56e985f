"""Read a playbook's inputs: `--input FILE` for the primary input, `NAME=VALUE` and `NAME=@FILE` for any input.

Every user of the machine can see a command line, so plans and approvals are given as files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import ParameterError
from core.json_values import below
from core.quantity import counted
from platforms.cli.inputs.alert_records import named, records_of
from platforms.cli.inputs.documents import read_bytes, shown
from playbooks.language.format import InputSpec, Playbook
from playbooks.language.inputs import from_text, takes_text

SET, INPUT = "--set", "--input"

# `--input NAME=@FILE`. Any other value of `--input` is a file name.
_NAMED_FILE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(@[^@].*)", re.DOTALL)

HELP = "Nothing was run."


@dataclass(frozen=True)
class InputFlag:
    """The flag of a playbook's input. example: the flag with a file name, if the input is an object or a list."""

    option: str
    pointer: str
    example: str = ""


# The command runs alerts one after the other. More of them need a worker.
MOST_RECORDS = 100


def inputs_of(
    playbook: Playbook,
    documents: Sequence[str],
    settings: Sequence[str],
    *,
    option: str = INPUT,
    record: int | None = None,
    notes: list[str] | None = None,
) -> dict[str, Any]:
    """Return the inputs by name.

    option: the flag that gave the documents. record: which of several records to use as the primary input, from 1.
    notes: collects remarks about the file. Raises: ParameterError.
    """
    found = _read(playbook, documents, settings, option)
    if found.records and found.primary is not None:
        found.values[found.primary] = _one(found, record)
    elif record is not None:
        raise ParameterError("--record needs a file of alerts", help=f"{HELP} Add --input FILE.")
    if notes is not None:
        notes += found.notes
    return found.values


def inputs_of_each(
    playbook: Playbook, documents: Sequence[str], settings: Sequence[str], notes: list[str]
) -> list[dict[str, Any]]:
    """Return the inputs of one run for each record of the primary input. Raises: ParameterError."""
    primary = playbook.primary_input
    if primary is not None and not takes_records(playbook.inputs[primary]):
        raise ParameterError(
            f"--each runs one record after the other, and the input {primary} of {playbook.id} is not a record",
            help=f"{HELP} Leave out --each.",
        )
    found = _read(playbook, documents, settings, INPUT)
    if not found.records or found.primary is None:
        raise ParameterError("--each needs a file of alerts", help=f"{HELP} Add --input FILE.")
    if len(found.records) > MOST_RECORDS:
        raise ParameterError(
            f"{found.source} has {counted(len(found.records), 'record')}, and --each runs at most {MOST_RECORDS}",
            help=f"{HELP} Split the file.",
        )
    notes += found.notes
    return [{**found.values, found.primary: record} for record in found.records]


def _one(found: _Inputs, number: int | None) -> dict[str, Any]:
    """Return the chosen record, and add a note about it. Raises: ParameterError if the choice is missing or invalid."""
    many = len(found.records)
    if number is None and many > 1:
        raise ParameterError(
            f"{found.source} has {counted(many, 'record')}, and a run takes one",
            help=f"{HELP} Add --each to run all of them, or --record N (1 to {many}) to run one.",
        )
    if number is not None and not 1 <= number <= many:
        raise ParameterError(
            f"--record {number}: {found.source} has {counted(many, 'record')}",
            help=f"{HELP} Give 1 to {many}." if many > 1 else f"{HELP} Leave out --record.",
        )
    record = found.records[(number or 1) - 1]
    if many > 1:
        found.notes.append(f"Using record {number} of {many}{named(record)}.")
    return record


def _read(playbook: Playbook, documents: Sequence[str], settings: Sequence[str], option: str) -> _Inputs:
    found = _Inputs(playbook)
    for document in documents:
        named = _NAMED_FILE.fullmatch(document) if option == INPUT else None
        if named is not None:
            found.take(named[1], named[2], option)
        else:
            found.take_primary(document, option)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ParameterError.at("", f"--set {setting[:100]!r} is not NAME=VALUE")
        found.take(name, text, SET)
    return found


class _Inputs:
    """The inputs read so far, the flag that gave each one, and the flag that has read standard input.

    records: the records in the file of the primary input. source: the name of that file, for errors.
    """

    def __init__(self, playbook: Playbook) -> None:
        self.values: dict[str, Any] = {}
        self.primary = playbook.primary_input
        self.records: list[dict[str, Any]] = []
        self.source = ""
        self.notes: list[str] = []
        self._playbook = playbook
        self._given_by: dict[str, str] = {}
        self._standard_input_of: str | None = None

    def take_primary(self, file: str, option: str) -> None:
        """Read the file of the primary input. Raises: ParameterError."""
        name = self._playbook.primary_input
        if name is None:
            raise ParameterError(
                f"playbook {self._playbook.id} has no input for {option} FILE",
                help=f"{HELP} Give its inputs with --set.",
            )
        self._refuse_second(name, option)
        self._use(file, option)
        self.values[name] = self._value_of(name, file, option)

    def _value_of(self, name: str, file: str, option: str) -> Any:
        """Return the value in a file: of an object the first record, of a string the text, of others the JSON."""
        if name == self._playbook.primary_input and takes_records(self._playbook.inputs[name]):
            return self._first_record(file, option)
        data = read_bytes(file, option)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ParameterError(f"{option} {shown(file)} is not UTF-8 text", help=HELP) from None
        # Editors add a line break at the end, which is not part of the text.
        return from_text(self._playbook, name, text.removesuffix("\n").removesuffix("\r"), file=shown(file))

    def _first_record(self, file: str, option: str) -> dict[str, Any]:
        self.source = f"{option} {shown(file)}"
        records = records_of(read_bytes(file, option), self.source)
        self.records = records.found
        self.notes += records.notes()
        return records.found[0]

    def take(self, name: str, text: str, option: str) -> None:
        """Read a value, or the file that it names. Raises: ParameterError."""
        self._refuse_second(name, option)
        if text.startswith("@@"):
            self.values[name] = from_text(self._playbook, name, text[1:])
        elif text.startswith("@"):
            self.values[name] = self._from_file(name, text[1:], f"{option} {name}=@FILE")
        else:
            self.values[name] = from_text(self._playbook, name, text)

    def _from_file(self, name: str, file: str, option: str) -> Any:
        takes_text(self._playbook, name)  # a misspelt input is named before its file is read
        if not file:
            raise ParameterError(
                f"{option}: the file name after @ is missing",
                help=f"{HELP} To give a text that begins with @, write @ twice: {name}=@@text",
            )
        self._use(file, option)
        return self._value_of(name, file, option)

    def _refuse_second(self, name: str, option: str) -> None:
        before = self._given_by.setdefault(name, option)
        if name in self.values:
            by = option if before == option else f"{before} and {option}"
            raise ParameterError.at(below("", name), f"given more than once, by {by}")

    def _use(self, file: str, option: str) -> None:
        if file not in ("-", "/dev/stdin"):
            return
        if self._standard_input_of is not None:
            raise ParameterError(
                f"standard input can be read only once: {self._standard_input_of} and {option} both read it", help=HELP
            )
        self._standard_input_of = option


def flags_of(playbook: Playbook) -> list[InputFlag]:
    """Return the flag of each input."""
    primary = playbook.primary_input
    return [
        InputFlag(INPUT, below("", name), f"{INPUT} FILE")
        if name == primary
        else InputFlag(f"{SET} {name}", below("", name), _example(name, spec))
        for name, spec in playbook.inputs.items()
    ]


def takes_records(spec: InputSpec) -> bool:
    """Return whether a file for the input has records, such as alerts: it is an object, and never a text."""
    return "object" in spec.type and "string" not in spec.type


def _example(name: str, spec: InputSpec) -> str:
    types = [spec.type] if isinstance(spec.type, str) else spec.type
    return f"{SET} {name}=@{name}.json" if set(types) & {"object", "array"} else ""
