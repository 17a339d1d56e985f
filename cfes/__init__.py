"""Cloudflare Email Security's bulk jobs in Python.

    import cfes

    found = cfes.run("get-job", {"job_id": job_id})

run               run one action: parameters as a dict, its result as a dict
run_playbook      run a playbook and return how the run ended
resume_playbook   resume a run that was interrupted or failed
actions           the ID and the title of each action
connect           open a connection that many calls share
errors            the exceptions, by name: `cfes.errors.PackError` is the base of all

`CLOUDFLARE_API_TOKEN`, `CLOUDFLARE_ACCOUNT_ID` and the other settings come from the environment, unless you pass a
connection. Nothing else is loaded before its first use.

Importing `cfes` puts one folder first on `sys.path`: the checkout, or `cfes/top-level` in an installation. The folder
holds the packages `actions`, `connectors`, `core`, `platforms`, `playbooks`, `remediation` and `sandbox`. A folder of
the same name in the working directory is not imported. The hyphen keeps `cfes/top-level` out of import statements: a
module has one name, `actions.get_job`, and so one state. If your program has a module with one of these names, run
`cfes run` as a process instead.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core import errors
    from platforms.cli.main import main
    from platforms.python_actions import actions, connect, run
    from platforms.python_playbooks import resume_playbook, run_playbook

    __version__: str

__all__ = ["actions", "connect", "errors", "main", "resume_playbook", "run", "run_playbook"]

_PACKAGES = ("actions", "connectors", "core", "platforms", "playbooks", "remediation", "sandbox")

_MODULES = {
    **dict.fromkeys(("actions", "connect", "run"), "platforms.python_actions"),
    **dict.fromkeys(("resume_playbook", "run_playbook"), "platforms.python_playbooks"),
    "main": "platforms.cli.main",
}


def __getattr__(name: str) -> Any:
    """Load the module of a public name at its first use."""
    if name == "errors":
        return importlib.import_module("core.errors")
    if name == "__version__":
        return importlib.import_module("core.version").VERSION
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'cfes' has no attribute {name!r}")


def _put_root_first() -> None:
    """Put the folder of the packages first on sys.path. Raises: ImportError if another package has such a name."""
    here = Path(__file__).resolve().parent
    root = here / "top-level"
    if not root.is_dir():
        root = here.parent
    for name in _PACKAGES:
        loaded = sys.modules.get(name)
        folders = list(getattr(loaded, "__path__", ()))
        if loaded is not None and not any(Path(folder).resolve().parent == root for folder in folders):
            place = getattr(loaded, "__file__", None) or next(iter(folders), "an unknown place")
            raise ImportError(
                f"cfes has a package {name!r} of its own, and this program has already loaded another one: {place}. "
                "Nothing was run. Run `cfes run` as a process instead of importing cfes.",
                name=name,
            )
    if sys.path[:1] != [str(root)]:
        sys.path.insert(0, str(root))


_put_root_first()
