"""Test the connection: the token, the account, and which of the two permissions the token has.

Remote operations: GET /user/tokens/verify, a page of the list of jobs, and a cancel of a job that can't exist (the
nil UUID). The cancel changes nothing: the API's refusal shows whether writing is allowed.
"""

from __future__ import annotations

from pydantic import Field

from actions.contract.action import READ, Action, ActionParams, ActionResult
from actions.contract.process import main
from connectors.email_security import EmailSecurity
from connectors.write_permission import Answer, raise_for_the_address, write_permission
from core.errors import PermissionDenied


class Params(ActionParams):
    probe_write: bool = Field(
        True, description="Check whether writing is allowed, by cancelling a job that can't exist (the nil UUID)."
    )


class Result(ActionResult):
    ok: bool = Field(description="Whether the token works and no permission is known to be missing.")
    account_id: str = Field(description="The account that was asked.")
    base_url: str = Field(description="The service that was asked.")
    token_status: str = Field(description='The token\'s status as the API words it, or "not verified" for an API key.')
    read: Answer = Field(description="Permission 'Cloud Email Security: Read'.")
    write: Answer = Field(description="Permission 'Cloud Email Security: Write'.")
    missing_permissions: list[str] = Field(description="Permissions to add to the token, by name.")
    warnings: list[str] = Field(description="Warnings for a person.")


def test_connection(p: Params, api: EmailSecurity) -> Result:
    warnings: list[str] = []
    token_status = _token_status(api, warnings)
    read: Answer = "granted"
    try:
        next(api.list_job_items(), None)
    except PermissionDenied as denied:
        raise_for_the_address(denied)
        read = "missing"
    write, failure = write_permission(api) if p.probe_write else ("not known", None)
    if failure is not None:
        warnings.append(f"could not determine whether writing is allowed: {failure.message}")
    # Writing includes reading.
    missing = [f"Cloud Email Security: {name}" for name, has in (("Read", read), ("Write", write)) if has == "missing"]
    return Result(
        ok=not missing and token_status in ("active", "not verified"),
        account_id=api.connection.account_id,
        base_url=api.connection.base_url,
        token_status=token_status,
        read=read,
        write=write,
        missing_permissions=missing,
        warnings=warnings,
    )


def _token_status(api: EmailSecurity, warnings: list[str]) -> str:
    if api.connection.api_token is None:
        return "not verified"
    try:
        return api.verify_token()
    except PermissionDenied as denied:
        raise_for_the_address(denied)
        warnings.append("the API does not let this token verify itself: the permissions were checked by using it")
        return "not verified"


ACTION = Action(
    id="test-connection",
    title="Test the connection and the token's permissions",
    params=Params,
    result=Result,
    effect="read",
    approval="not needed",
    permissions=[READ],
    function=test_connection,
    example_params={},
    example_result={
        "ok": False,
        "account_id": "023e105f4ecef8ad9ca31a8372d0c353",
        "base_url": "https://api.cloudflare.com/client/v4",
        "token_status": "active",
        "read": "granted",
        "write": "missing",
        "missing_permissions": ["Cloud Email Security: Write"],
        "warnings": [],
    },
)
run = ACTION.run

if __name__ == "__main__":
    main(ACTION)
