"""requirements-hashed.txt pins the runtime dependencies as constraints.txt does, with hashes and without URLs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from supply_chain.hashed_requirements import HASHED, check_hashed_pins, read_hashed_pins
from supply_chain.installed import find_distributions, walk_packages
from supply_chain.pins import CONSTRAINTS, RUNTIME_EXTRAS, read_pins

HASH = f"--hash=sha256:{'0a' * 32}"


def test_the_file_has_the_pins_of_constraints_txt() -> None:
    check_hashed_pins(read_hashed_pins(HASHED.read_text()), read_pins(CONSTRAINTS.read_text()))


def test_the_file_has_exactly_the_runtime_dependencies() -> None:
    needed = walk_packages(find_distributions(Path(sys.executable)), "cloudflare-email-security-pack", RUNTIME_EXTRAS)
    assert {pin.name for pin in read_hashed_pins(HASHED.read_text())} == needed.keys() - {
        "cloudflare-email-security-pack"
    }


def test_the_file_has_no_url_and_no_option_except_hashes() -> None:
    text = HASHED.read_text()
    assert "://" not in text
    assert "--" in text
    assert all(
        line.lstrip().startswith("--hash=sha256:") for line in text.splitlines() if line.lstrip().startswith("--")
    )


def test_a_package_with_compiled_files_has_hashes_for_many_platforms() -> None:
    [core] = [pin for pin in read_hashed_pins(HASHED.read_text()) if pin.name == "pydantic-core"]
    assert len(core.hashes) > 20


def test_packages_for_windows_only_are_skipped() -> None:
    text = f"a==1 ; sys_platform == 'win32' \\\n    {HASH}\nb==1 ; sys_platform == 'darwin' \\\n    {HASH}\n"
    assert [pin.name for pin in read_hashed_pins(text)] == ["b"]


@pytest.mark.parametrize(
    "text",
    [
        "a==1\n",
        f"a>=1 \\\n    {HASH}\n",
        "a==1 \\\n    --hash=md5:00\n",
        f"a==1 \\\n    {HASH[:-1]}\n",
        f"a==1 \\\n    {HASH} \\\n    --hash=sha256:short\n",
        f"--index-url https://index.example/simple\na==1 \\\n    {HASH}\n",
        f"a @ https://files.example/a.whl \\\n    {HASH}\n",
    ],
)
def test_anything_but_a_pin_with_hashes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a pin with SHA-256 hashes"):
        read_hashed_pins(text)


@pytest.mark.parametrize("pins", [{"a": "2"}, {}])
def test_another_version_than_the_pinned_one_is_refused(pins: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a 1 is listed"):
        check_hashed_pins(read_hashed_pins(f"a==1 \\\n    {HASH}\n"), pins)
