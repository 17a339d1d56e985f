"""Whether the credentials may write, found out without changing anything.

The API has no operation that lists a token's permissions for this product. To cancel a job that can't exist (the nil
UUID) tells: a token that may not write is refused for that, every other one because there is no such job.
"""

from __future__ import annotations

from typing import Literal

from connectors.email_security import EmailSecurity
from connectors.transport import ADDRESS_NOT_ALLOWED_CODE
from core.errors import AuthenticationFailed, Conflict, NotFound, PackError, PermissionDenied

Answer = Literal["granted", "missing", "not known"]

NO_SUCH_JOB = "00000000-0000-0000-0000-000000000000"


def write_permission(api: EmailSecurity) -> tuple[Answer, PackError | None]:
    """Return the answer, and the failure that left it open.

    Raises: AuthenticationFailed, PermissionDenied where the token may not be used from this address.
    """
    try:
        api.cancel_job(NO_SUCH_JOB)
    except PermissionDenied as denied:
        raise_for_the_address(denied)
        return "missing", None
    except AuthenticationFailed:
        raise
    except (NotFound, Conflict):
        # Refused for what the job is, not for who asks.
        return "granted", None
    except PackError as error:
        return "not known", error
    return "not known", None


def raise_for_the_address(denied: PermissionDenied) -> None:
    """A token that may not be used from here lacks no permission: the error itself says what is wrong."""
    if any(error["code"] == ADDRESS_NOT_ALLOWED_CODE for error in denied.api_errors):
        raise denied
