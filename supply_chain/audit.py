"""Compare the pinned versions in constraints.txt with published advisories: `make audit`.

Exit codes: 0 no known vulnerability, or nothing could be checked (see the output); 1 a vulnerability that is not
accepted; 2 an invalid file of this repository, or with --required an incomplete check.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

from supply_chain.accepted_advisories import ACCEPTED, REVIEW_DAYS, AcceptedAdvisory, read_accepted
from supply_chain.pins import CONSTRAINTS, PYPROJECT, read_direct_dependencies, read_pins
from supply_chain.vulnerability_service import ServiceUnusableError, Vulnerability, VulnerabilityService

Read = TypeVar("Read")

CLEAN, VULNERABLE, UNUSABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the audit and return its exit code."""
    options = _parse(arguments)
    today = datetime.now(UTC).date()
    try:
        pins = _read_checked_pins(options.constraints, options.pyproject)
        accepted = _read_file(options.accepted, lambda text: read_accepted(text, today))
    except ValueError as error:
        _print(f"Nothing was checked: {error}")
        return UNUSABLE
    service = VulnerabilityService(options.service, options.osv_url, options.time_limit)
    try:
        answer = service.ask(pins)
    except ServiceUnusableError as error:
        _print(f"NOT CHECKED: {error}.")
        _print(f"None of the {len(pins)} packages was checked; this says nothing about their vulnerabilities.")
        _print("Before a release, run `make audit` on a machine that can reach a vulnerability service.")
        return UNUSABLE if options.required else CLEAN
    refused = _report(answer.vulnerabilities, accepted, today)
    checked = len(pins) - len(answer.unknown)
    if answer.unknown:
        _print(f"NOT CHECKED: the service does not know {', '.join(answer.unknown)}.")
    _print(f"{checked} of {len(pins)} packages checked. Vulnerabilities that are not accepted: {refused}.")
    if refused:
        _print("Raise the version in constraints.txt, or accept the advisory in supply_chain/accepted_advisories.toml.")
        return VULNERABLE
    return UNUSABLE if answer.unknown and options.required else CLEAN


def _report(vulnerabilities: Iterable[Vulnerability], accepted: Iterable[AcceptedAdvisory], today: date) -> int:
    """Print each vulnerability, and return the number of those that are not accepted."""
    refused = 0
    unused = set(accepted)
    for found in vulnerabilities:
        covering = [entry for entry in accepted if entry.covers(found.package, set(found.ids))]
        unused -= set(covering)
        fix = f"fixed in {', '.join(found.fixed_in)}" if found.fixed_in else "no fixed version yet"
        line = f"{found.package} {found.version}: {', '.join(found.ids)}; {fix}"
        valid = [entry for entry in covering if not entry.is_lapsed(today)]
        if valid:
            _print(f"ACCEPTED {line}. Reviewed {valid[0].reviewed}: {valid[0].reason}")
            continue
        refused += 1
        lapsed = f". Its acceptance expired after {REVIEW_DAYS} days: review it again" if covering else ""
        _print(f"VULNERABLE {line}{lapsed}")
    for entry in sorted(unused, key=lambda entry: (entry.package, entry.id)):
        _print(f"No longer needed in accepted_advisories.toml: {entry.id} for {entry.package}")
    return refused


def _read_checked_pins(constraints: Path, pyproject: Path) -> Mapping[str, str]:
    pins = _read_file(constraints, read_pins)
    required = _read_file(pyproject, read_direct_dependencies)
    missing = sorted(required.keys() - pins.keys())
    if missing:
        raise ValueError(f"{constraints.name} does not pin {', '.join(missing)}, which {pyproject.name} requires")
    return pins


def _read_file(path: Path, read: Callable[[str], Read]) -> Read:
    try:
        return read(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m supply_chain.audit", description=__doc__)
    parser.add_argument("--required", action="store_true", help="exit 2 if anything was not checked")
    parser.add_argument(
        "--service", choices=("pypi", "osv", "esms"), default="pypi", help="vulnerability service to use"
    )
    parser.add_argument("--osv-url", help="another URL of the service osv")
    parser.add_argument("--time-limit", type=float, default=300, help="time limit of the whole audit in seconds, 300")
    parser.add_argument("--constraints", type=Path, default=CONSTRAINTS, help="file with exact versions")
    parser.add_argument("--pyproject", type=Path, default=PYPROJECT, help="file with the required packages")
    parser.add_argument("--accepted", type=Path, default=ACCEPTED, help="file with accepted advisories")
    return parser.parse_args(arguments)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
