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
connection.

Importing `cfes` puts one folder first on `sys.path`: the checkout, or `cfes/top-level` in an installation. The folder
holds the packages `actions`, `connectors`, `core`, `platforms`, `playbooks`, `remediation` and `sandbox`. A folder of
the same name in the working directory is not imported. The hyphen keeps `cfes/top-level` out of import statements: a
module has one name, `actions.get_job`, and so one state. If your program has a module with one of these names, run
`cfes run` as a process instead.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from connectors.email_security import EmailSecurity
    from core import errors

__all__ = ["actions", "connect", "errors", "resume_playbook", "run", "run_playbook"]

_PACKAGES = ("actions", "connectors", "core", "platforms", "playbooks", "remediation", "sandbox")


def run(
    action_id: str, params: Mapping[str, Any] | None = None, connection: EmailSecurity | None = None
) -> dict[str, Any]:
    """Run an action and return its result. Nobody is asked before a change.

    action_id: `get-job`, say; see `actions`. params, and the result: JSON values, as docs/reference describes them for
    each action. connection: what `connect` returned; without one, the call opens a connection from the environment and
    closes it.

    Raises: `cfes.errors.PackError` and nothing else. Its `retryable` says whether the same call may succeed later,
    `applied` ("no", "unknown", "yes") whether anything was changed, and `document()` returns all of it as JSON values.
    A wrong parameter, or an unknown action, is a `ParameterError`; its `problems` name each place.
    """
    from actions.contract import catalog  # noqa: PLC0415 -- importing cfes loads nothing that is not called

    return catalog.find(action_id).run({} if params is None else params, connection)


def run_playbook(
    playbook: str | os.PathLike[str],
    inputs: Mapping[str, Any],
    *,
    directory: str | os.PathLike[str] | None = None,
    connection: EmailSecurity | None = None,
) -> dict[str, Any]:
    """Run a playbook from its beginning and return how the run ended. Nobody is asked before a change.

    playbook: the ID of a shipped playbook, or the path of a YAML file. inputs: JSON values by name, such as
    `{"alert": {...}}`. directory: for the journal and the files of the run; by default a new one in `cfes-runs`.
    connection: what `connect` returned; without one, the run opens a connection from the environment and closes it.

    Returns the document that `cfes playbook run --output json` writes: `playbook`, `run_id`, `directory`, `status`
    ("completed", "refused", "incomplete" or "failed"), `exit_code` (0 to 8), `outputs` (by name), `error` (an error
    document or None), `message` (why the playbook ended early, or None), `started_at` (RFC 3339) and `resumable`.
    An action that fails does not raise: see `error`.

    Raises: `cfes.errors.PackError` where the run cannot begin (unknown playbook, wrong input, missing setting, a
    directory that has a run already). A KeyboardInterrupt leaves a run that `resume_playbook` resumes.
    """
    import os  # noqa: PLC0415 -- see run

    from platforms.journal_key import journal_key  # noqa: PLC0415
    from platforms.playbook_checks import require_sound  # noqa: PLC0415
    from platforms.playbook_session import is_connected, prepare_run  # noqa: PLC0415
    from playbooks import library  # noqa: PLC0415
    from playbooks.language.inputs import accept  # noqa: PLC0415

    found = library.find(os.fspath(playbook))
    require_sound(found)
    accept(found, inputs)
    start, place = prepare_run(found, inputs, None if directory is None else Path(directory), journal_key())
    return _drive(start, place, connection, connect_first=is_connected(found))


def resume_playbook(directory: str | os.PathLike[str], *, connection: EmailSecurity | None = None) -> dict[str, Any]:
    """Resume the run in this directory, with the playbook and the inputs that it began with.

    An action that failed or was interrupted runs again. A run that had ended otherwise changes nothing and returns the
    same document again. Returns and raises what `run_playbook` does.
    """
    from platforms.journal_key import journal_key  # noqa: PLC0415 -- see run
    from platforms.playbook_session import prepare_resume  # noqa: PLC0415

    place = Path(directory)
    return _drive(prepare_resume(place, journal_key()), place, connection, connect_first=False)


def actions() -> dict[str, str]:
    """Return the title of each action by its ID, in alphabetical order. No action is loaded for it."""
    from actions.contract import catalog  # noqa: PLC0415 -- see run

    return dict(catalog.titles())


def connect(environment: Mapping[str, str] | None = None) -> EmailSecurity:
    """Open a connection for many calls: they share its sockets, its TLS session and its count of calls.

        with cfes.connect() as connection:
            found = cfes.run("get-job", {"job_id": job_id}, connection)

    environment: the settings, in place of the process's own. Close the connection with `close()` or with the block.
    One thread uses a connection at a time. Raises: `cfes.errors.ConnectionSettingsError` that names the setting.
    """
    from connectors.email_security import EmailSecurity  # noqa: PLC0415 -- see run

    return EmailSecurity.from_environment(environment)


def main() -> int:
    """Run the command `cfes` with the arguments of this process, and return its exit code."""
    from platforms.cli.main import main as run_command  # noqa: PLC0415 -- see run

    return run_command()


def _drive(start: Any, place: Path, connection: EmailSecurity | None, *, connect_first: bool) -> dict[str, Any]:
    from contextlib import nullcontext  # noqa: PLC0415 -- see run

    from platforms import playbook_session  # noqa: PLC0415
    from platforms.session import Session  # noqa: PLC0415

    with Session(
        connect if connection is None else lambda: nullcontext(connection), calls=place / playbook_session.CALLS
    ) as session:
        if connect_first:
            # Before the run: without a connection there is no run to leave behind.
            session.connect()
        return playbook_session.drive(session, start).closing_document()


def __getattr__(name: str) -> Any:
    if name == "errors":
        from core import errors  # noqa: PLC0415 -- see run

        return errors
    if name == "__version__":
        from core.version import VERSION  # noqa: PLC0415

        return VERSION
    raise AttributeError(f"module 'cfes' has no attribute {name!r}")


def _put_root_first() -> None:
    """Put the folder that holds the packages first on sys.path. Raises: ImportError where a name is taken already."""
    here = Path(__file__).resolve().parent
    root = here / "top-level"
    if not root.is_dir():
        root = here.parent
    for name in _PACKAGES:
        loaded = sys.modules.get(name)
        if loaded is not None and not _lies_in(loaded, root):
            raise ImportError(
                f"cfes has a package {name!r} of its own, and this program has already loaded another one: "
                f"{_place_of(loaded)}. Nothing was run. Run `cfes run` as a process instead of importing cfes.",
                name=name,
            )
    if sys.path[:1] != [str(root)]:
        sys.path.insert(0, str(root))


def _lies_in(module: Any, root: Path) -> bool:
    return any(Path(folder).resolve().parent == root for folder in getattr(module, "__path__", ()))


def _place_of(module: Any) -> str:
    return str(getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "an unknown place"))


_put_root_first()
