"""`cfes verify`: whether a bundle of evidence is still what was written. Offline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from evidence.verification import Signed, Verification, verify
from platforms.cli import options
from platforms.cli.commands import PlainCommand
from platforms.cli.documents import read_bytes
from platforms.cli.failures import told
from platforms.cli.screen import Screen, safe
from platforms.cli.tables import facts

NOT_INTACT = 8

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SIGNED: dict[Signed, str] = {
    "no": "no: whoever can write to the bundle could have written evidence.json anew",
    "unchecked": "yes, not checked: give --public-key",
    "good": "yes, with the key given",
    "bad": "NOT with the key given",
}


@app.command("verify", cls=PlainCommand)
def verify_(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle: a folder or a zip file.")],
    public_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The Ed25519 public key, PEM, that must have signed it.")
    ] = None,
    output: options.Output = None,
) -> None:
    """Verify a bundle of evidence: every file against evidence.json. No connection is needed, nothing is changed.

    Exit 8 where a file is missing, changed or extra, each of them named, or where the signature is not the key's.
    """
    screen = Screen(output)
    with told(screen):
        found = verify(bundle, None if public_key is None else read_bytes(public_key, "--public-key"))
        if screen.json:
            screen.write_json(_document(bundle, found))
        else:
            _show(screen, bundle, found)
        if not found.intact:
            raise typer.Exit(NOT_INTACT)


def _document(bundle: str, found: Verification) -> dict[str, Any]:
    return {
        "bundle": bundle,
        "intact": found.intact,
        "signed": found.signed,
        "evidence_sha256": found.sha256,
        "files": [{"path": f.path, "state": f.state, "detail": f.detail or None} for f in found.findings],
        "evidence": found.manifest.model_dump(mode="json", exclude={"files"}),
    }


def _show(screen: Screen, bundle: str, found: Verification) -> None:
    verdict = "intact" if found.intact else "NOT intact"
    screen.out.print(safe(f"{bundle}: {verdict}", "bold green" if found.intact else "bold red"))
    facts(screen.out, list(_said(found)))


def _said(found: Verification) -> Iterator[tuple[str, str]]:
    manifest = found.manifest
    for finding in found.problems:
        yield finding.state, finding.path + (f": {finding.detail}" if finding.detail else "")
    unchanged = len(found.findings) - len(found.problems)
    yield "unchanged", f"{unchanged} of {len(manifest.files)} files"
    yield "signed", _SIGNED[found.signed]
    yield (
        "made",
        f"{manifest.made_at} by {manifest.made_by or 'nobody named'}, {manifest.pack.name} {manifest.pack.version}",
    )
    yield "account", manifest.account_id
    yield "job", manifest.job_id
    rows = f"{manifest.rows:,}" + (f", status {manifest.status} only" if manifest.status else "")
    yield "rows", rows + (", complete" if manifest.complete else ", not proved complete")
    if manifest.snapshot:
        yield "", "a snapshot: the job had not ended"
    yield "SHA-256 of evidence.json", found.sha256
