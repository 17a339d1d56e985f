"""Write the bill of materials of a release (CycloneDX 1.6, JSON): `make sbom`.

It lists the packages that `pip install 'cloudflare-email-security-pack[...]'` installs with the runtime extras, on this
Python and platform. The output is reproducible: the serial number is derived from the content, and the time is
SOURCE_DATE_EPOCH. It runs in the environment that `make` sets up for it, and reads the environment of --python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from core.version import VERSION
from supply_chain.installed import InstalledPackage, find_distributions, walk_packages
from supply_chain.pins import CONSTRAINTS, RUNTIME_EXTRAS, read_pins

PACK = "cloudflare-email-security-pack"
HINT = "Remove the environment, then run `make sbom` again."


def main() -> int:
    """Write the bill, and return the exit code: 0, or 2 if the environment differs from constraints.txt."""
    parser = argparse.ArgumentParser(prog="python -m supply_chain.sbom", description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the environment to list")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--constraints", type=Path, default=CONSTRAINTS, help="file with exact versions")
    options = parser.parse_args()
    try:
        made_at = _read_source_date()
        packages = walk_packages(find_distributions(options.python), PACK, RUNTIME_EXTRAS)
        check_versions(packages, {**read_pins(options.constraints.read_text(encoding="utf-8")), PACK: VERSION})
        text = write_bill(packages, made_at)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
    except (LookupError, ValueError, OSError) as error:
        sys.stderr.write(f"No bill of materials was written: {error}\n")
        return 2
    return 0


def _read_source_date() -> datetime | None:
    """Return the time for a reproducible build (SOURCE_DATE_EPOCH), or None if it is not set."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"SOURCE_DATE_EPOCH is not a number of seconds: {seconds!r}") from error


def check_versions(packages: Mapping[str, InstalledPackage], pins: Mapping[str, str]) -> None:
    """Check that the installed versions are the pinned ones, those of this release. Raises ValueError."""
    for name, package in packages.items():
        if pins.get(name) != package.version:
            raise ValueError(
                f"{name} {package.version} is installed, but {pins.get(name) or 'no version'} is pinned. {HINT}"
            )


def write_bill(packages: Mapping[str, InstalledPackage], made_at: datetime | None) -> str:
    """Return the bill as JSON. Raises ValueError if it does not match the CycloneDX schema."""
    components = {name: _component(package) for name, package in packages.items()}
    pack = components.pop(PACK)
    here = {"cfes:python": ".".join(map(str, sys.version_info[:2])), "cfes:platform": sys.platform}
    bill = Bom(
        serial_number=_derive_serial_number(packages, here),
        metadata=BomMetaData(component=pack, properties=[Property(name=name, value=here[name]) for name in here]),
        components=components.values(),
        dependencies=[
            Dependency(
                _component(package).bom_ref,
                dependencies=[Dependency(components[need].bom_ref) for need in package.needs],
            )
            for package in packages.values()
        ],
    )
    # Without this line the library writes the present time. With None it omits the field.
    bill.metadata.timestamp = made_at
    text: str = JsonV1Dot6(bill).output_as_string(indent=2) + "\n"
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise ValueError(f"the bill does not match the CycloneDX schema: {problem}")
    return text


def _derive_serial_number(packages: Mapping[str, InstalledPackage], here: Mapping[str, str]) -> UUID:
    content = json.dumps([asdict(package) for package in packages.values()] + [here], sort_keys=True, default=sorted)
    return UUID(bytes=hashlib.sha256(content.encode()).digest()[:16], version=5)


def _component(package: InstalledPackage) -> Component:
    """Return a component without URLs, because the source of a download does not identify a package."""
    of_the_pack = package.name == PACK
    return Component(
        type=ComponentType.APPLICATION if of_the_pack else ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        description=package.summary,
        bom_ref=f"{package.name}@{package.version}",
        purl=None if of_the_pack else PackageURL("pypi", None, package.name, package.version),
        licenses=[LicenseFactory().make_from_string(package.license)] if package.license else [],
        scope=ComponentScope.OPTIONAL if package.extras else ComponentScope.REQUIRED,
        properties=[Property(name="cfes:extra", value=extra) for extra in package.extras],
    )


if __name__ == "__main__":
    sys.exit(main())
