"""Checks whether the credentials may write, without changing anything.

The API can't list the permissions of a token for this product. The check cancels a job that can't exist (the nil
UUID): the API refuses a token without Write for the missing permission, and any other token because no such job exists.
"""

from __future__ import annotations

from typing import Literal

from connectors.email_security import EmailSecurity
from connectors.transport import ADDRESS_NOT_ALLOWED_CODE
from core.errors import AuthenticationFailed, Conflict, NotFound, PackError, PermissionDenied

Answer = Literal["granted", "missing", "not known"]

NO_SUCH_JOB = "00000000-0000-0000-0000-000000000000"


def write_permission(api: EmailSecurity) -> tuple[Answer, PackError | None]:
    """Return whether the credentials may write, and the failure if that is not known.

    Raises: AuthenticationFailed; PermissionDenied if the token may not be used from this address.
    """
    try:
        api.cancel_job(NO_SUCH_JOB)
    except PermissionDenied as denied:
        raise_for_the_address(denied)
        return "missing", None
    except AuthenticationFailed:
        raise
    except (NotFound, Conflict):
        # The API refused because of the job, not because of the token.
        return "granted", None
    except PackError as error:
        return "not known", error
    return "not known", None


def raise_for_the_address(denied: PermissionDenied) -> None:
    """Raise the error if the token may not be used from this address, which is no lack of a permission."""
    if any(error["code"] == ADDRESS_NOT_ALLOWED_CODE for error in denied.api_errors):
        raise denied
