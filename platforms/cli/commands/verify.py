"""`cfes verify`: check that an evidence bundle is unchanged. Offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import ParameterError
from platforms.cli.commands import options
from platforms.cli.inputs.documents import read_bytes
from platforms.cli.inputs.input_values import InputFlag
from platforms.cli.views.errors import report_errors
from platforms.cli.views.layout import facts, paragraph, whole
from platforms.cli.views.palette import BAD, GOOD
from platforms.cli.views.screen import Screen
from remediation.evidence.approval_check import ApprovalState, BundleClaims, bundle_claims
from remediation.evidence.verification import Verification, verified_blocks, verify
from remediation.evidence.verification_words import files_words, headline, signature_words
from remediation.exports.files.atomic_file import atomic_file
from remediation.exports.files.path_checks import checked_destination

NOT_VERIFIED = 8

# The report of a bundle that an export made.
REPORT = "report.html"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("verify", cls=options.PlainCommand)
def verify_(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="The evidence bundle: a folder or a zip file.")],
    public_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="The Ed25519 public key (PEM) that must have signed the bundle.")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the bundle's report, a page for your browser, to this file."),
    ] = None,
    output: options.Output = None,
) -> None:
    """Verify the files, the signature and the approvals of an evidence bundle. Needs no connection.

    The command checks that every file is unchanged, that the signature is valid for --public-key, and that the bundle
    has the approvals that its policy requires. Without --public-key it does not check the signature.

    Exit 0: all checks passed. Exit 8: a file is missing, changed or extra; the signature is missing, invalid or of
    another key; or approvals are missing or invalid. Exit 2: the bundle or the key can't be read. The report of a
    bundle with such a problem is not written.
    """
    screen = Screen(output)
    with report_errors(screen, [InputFlag("--report", "/destination")]):
        found = verify(bundle, None if public_key is None else read_bytes(public_key, "--public-key"))
        claims = bundle_claims(bundle, found)
        good = found.verified and claims.check.good
        if good and report is not None:
            _write_report(bundle, found, report)
        if screen.json:
            screen.write_json(_document(bundle, found, claims))
        else:
            _show(screen, bundle, found, claims)
        if not good:
            raise typer.Exit(NOT_VERIFIED)
        if report is not None:
            screen.say(f"Report written to {report}.")


def _write_report(bundle: str, found: Verification, report: str) -> None:
    """Write the bundle's report to a file of mode 0600. Raises: ParameterError, OutputError."""
    page = found.manifest.file(REPORT)
    if page is None:
        raise ParameterError(
            f"the bundle has no {REPORT}", help="Nothing was written. To make a report of its job: cfes render-report"
        )
    with atomic_file(checked_destination(Path(report)), name=report) as file:
        for block in verified_blocks(bundle, page):
            file.write(block)


def _document(bundle: str, found: Verification, claims: BundleClaims) -> dict[str, Any]:
    return {
        "bundle": bundle,
        "verified": found.verified and claims.check.good,
        "files_unchanged": found.intact,
        "signature": {"state": found.signature, "signer": found.manifest.signer, "key": found.key},
        "approvals": claims.document(),
        "evidence_sha256": found.sha256,
        "files": [{"path": f.path, "state": f.state, "detail": f.detail or None} for f in found.findings],
        "evidence": found.manifest.model_dump(mode="json", exclude={"files"}),
    }


def _show(screen: Screen, bundle: str, found: Verification, claims: BundleClaims) -> None:
    good = found.verified and claims.check.good
    whole(screen.out, f"{bundle}: {'verified' if good else 'NOT verified'}", GOOD if good else BAD)
    paragraph(screen.out, headline(found))
    facts(screen.out, [*_rows_of_manifest(found), *_rows_of_claims(claims)])


_APPROVALS: dict[ApprovalState, str] = {
    "met": "valid and sufficient",
    "not_needed": "not needed",
    "not_met": "NOT SUFFICIENT",
    "invalid": "NOT VALID",
    "unknown": "not known",
}


def _rows_of_claims(claims: BundleClaims) -> Iterator[tuple[str, str]]:
    """Yield requester, approvers and policy, as far as the bundle has them."""
    check = claims.check
    yield "requested by", ", ".join(check.requesters) or "not set"
    yield "approvals", f"{_APPROVALS[check.state]}: {check.why}"
    if check.approved_by:
        yield "approved by", ", ".join(check.approved_by)
    if claims.plan_hash is not None:
        yield "plan hash", claims.plan_hash
    if claims.policy_sha256 is not None:
        yield "policy hash", claims.policy_sha256
        yield "", "Compare this hash with your own copy of the policy: `cfes policy check` prints it."


def _rows_of_manifest(found: Verification) -> Iterator[tuple[str, str]]:
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
        f"{manifest.made_at} by {manifest.made_by or 'unknown'}, {manifest.pack.name} {manifest.pack.version}",
    )
    yield "account", manifest.account_id
    yield "job", manifest.job_id
    rows = f"{manifest.rows:,}" + (f", status {manifest.status} only" if manifest.status else "")
    yield "rows", rows + (", complete" if manifest.complete else ", completeness not proved")
    if manifest.snapshot:
        yield "", "a snapshot, made before the job ended"
    yield "SHA-256 of evidence.json", found.sha256
