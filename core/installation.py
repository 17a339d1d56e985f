"""Find the command that adds an optional part of the pack (an extra)."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

from core.errors import ParameterError

NAME = "cloudflare-email-security-pack"

# The folder that holds `core/`: the checkout, or the folder of an installation.
ROOT = Path(__file__).resolve().parents[1]

_REQUIREMENT = re.compile(r"(?P<source>[^\[\]]*)(?:\[(?P<extras>[^\]]*)\])?(?P<rest>[^\[\]]*)")


def check_extra(extra: str, module: str, pointer: str, what: str) -> None:
    """Check that an extra is installed by importing its module. Raises: ParameterError with the command to add it."""
    try:
        importlib.import_module(module)
    except ImportError:
        message = f"{what} needs the extra `{extra}` ({module}), which is not installed. To add it: "
        raise ParameterError.at(pointer, message + command_to_add(extra)) from None


def command_to_add(extra: str, *, root: Path = ROOT, prefix: Path | None = None) -> str:
    """Return the shell command that adds an extra, for pip, pipx or uv: the one that installed the pack.

    root: the folder that holds `core/`. prefix: the environment, sys.prefix by default.
    """
    prefix = Path(sys.prefix) if prefix is None else prefix
    python = shlex.quote(sys.executable)
    uses_uv = _installer() == "uv"
    if (root / "pyproject.toml").is_file():
        pip = f"uv pip install --python {python}" if uses_uv else f"{python} -m pip install"
        return f"cd {shlex.quote(str(root))} && {pip} -e {shlex.quote(f'.[{extra}]')}"
    if (pipx := _pipx_requirement(prefix / "pipx_metadata.json", extra)) is not None:
        return f"pipx install --force {shlex.quote(pipx)}"
    if (tool := _uv_requirement(prefix / "uv-receipt.toml", extra)) is not None:
        return f"uv tool install {shlex.quote(tool)}"
    wanted = shlex.quote(f"{NAME}[{extra}]")
    if uses_uv and (prefix.parent / "uv.lock").is_file():
        return f"uv add {wanted}"
    return f"uv pip install --python {python} {wanted}" if uses_uv else f"{python} -m pip install {wanted}"


def _installer() -> str:
    """Return the name of the installer in lower case, or an empty text if it left none."""
    from importlib import metadata  # noqa: PLC0415 -- only where an extra is missing

    try:
        return (metadata.distribution(NAME).read_text("INSTALLER") or "").strip().lower()
    except metadata.PackageNotFoundError:
        return ""


def _pipx_requirement(file: Path, extra: str) -> str | None:
    """Return the requirement of pipx with the extra added, or None if pipx did not install the pack."""
    try:
        asked = json.loads(file.read_text(encoding="utf-8"))["main_package"]["package_or_url"]
        found = _REQUIREMENT.fullmatch(asked)
    except OSError:
        return None
    except (ValueError, LookupError, TypeError):
        found = None
    if found is None:
        return f"{NAME}[{extra}]"
    extras = {name.strip() for name in (found["extras"] or "").split(",") if name.strip()} | {extra}
    return f"{found['source']}[{','.join(sorted(extras))}]{found['rest']}"


def _uv_requirement(file: Path, extra: str) -> str | None:
    """Return the requirement of `uv tool` with the extra added, or None if it did not install the pack."""
    import tomllib  # noqa: PLC0415 -- only where an extra is missing

    try:
        asked = tomllib.loads(file.read_text(encoding="utf-8"))["tool"]["requirements"]
        own = next(one for one in asked if one["name"] == NAME)
        extras = {*own.get("extras", ()), extra}
    except OSError:
        return None
    except (ValueError, LookupError, TypeError, StopIteration):
        return f"{NAME}[{extra}]"
    wanted = f"{NAME}[{','.join(sorted(extras))}]"
    if isinstance(path := own.get("path"), str):
        return f"{wanted} @ {Path(path).absolute().as_uri()}"
    return f"{wanted} @ {url}" if isinstance(url := own.get("url"), str) else wanted
