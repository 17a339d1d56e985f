"""`cfes verify`: whether a bundle of evidence is still what was written. Offline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from evidence.verification import Verification, verify
from evidence.verification_words import files_words, headline, signature_words
from platforms.cli import options
from platforms.cli.commands import PlainCommand
from platforms.cli.documents import read_bytes
from platforms.cli.failures import told
from platforms.cli.screen import Screen, safe
from platforms.cli.tables import facts

NOT_VERIFIED = 8

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("verify", cls=PlainCommand)
def verify_(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="The bundle: a folder or a zip file.")],
    public_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The Ed25519 public key, PEM, that must have signed it.")
    ] = None,
    output: options.Output = None,
) -> None:
    """Verify a bundle of evidence: every file against evidence.json. No connection is needed, nothing is changed.

    Two verdicts: whether every file is unchanged, and whether the signature is that of the key given. Exit 0 where both
    are good; without --public-key a signature is not checked. Exit 8 where a file is missing, changed or extra, each of
    them named; or where the signature is of another key, broken, removed, or absent although a key is given. Exit 2
    where there is no bundle or no key to read.
    """
    screen = Screen(output)
    with told(screen):
        found = verify(bundle, None if public_key is None else read_bytes(public_key, "--public-key"))
        if screen.json:
            screen.write_json(_document(bundle, found))
        else:
            _show(screen, bundle, found)
        if not found.verified:
            raise typer.Exit(NOT_VERIFIED)


def _document(bundle: str, found: Verification) -> dict[str, Any]:
    return {
        "bundle": bundle,
        "verified": found.verified,
        "files_unchanged": found.intact,
        "signature": {"state": found.signature, "signer": found.manifest.signer, "key": found.key},
        "evidence_sha256": found.sha256,
        "files": [{"path": f.path, "state": f.state, "detail": f.detail or None} for f in found.findings],
        "evidence": found.manifest.model_dump(mode="json", exclude={"files"}),
    }


def _show(screen: Screen, bundle: str, found: Verification) -> None:
    verdict = "verified" if found.verified else "NOT verified"
    screen.out.print(safe(f"{bundle}: {verdict}", "bold green" if found.verified else "bold red"))
    screen.out.print(safe(headline(found)))
    facts(screen.out, list(_said(found)))


def _said(found: Verification) -> Iterator[tuple[str, str]]:
    manifest = found.manifest
    for finding in found.problems:
        yield finding.state, finding.path + (f": {finding.detail}" if finding.detail else "")
    unchanged = len(found.findings) - len(found.problems)
    yield "files", f"{files_words(found)}: {unchanged} of {len(manifest.files)} unchanged"
    yield "signature", signature_words(found)
    if manifest.signer is not None:
        yield "signed with key", manifest.signer
    if found.key is not None and found.key != manifest.signer:
        yield "key given", found.key
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
