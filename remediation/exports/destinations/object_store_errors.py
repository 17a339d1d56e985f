"""What a store said, in our words.

obstore's texts hold the whole request: signed URLs, the endpoint, the store's own answer with account details. None of
that goes on; of the answer only its status and, where it is one that is known here, its code.
"""

from __future__ import annotations

import re

from obstore import exceptions

from core.errors import ConnectionSettingsError, OutputError, PackError, ParameterError
from remediation.exports.destinations.object_url import ObjectUrl, Scheme
from remediation.exports.files.path_checks import reason

# Public names of errors, which tell nothing about an account.
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_CREDENTIALS = {
    "AuthenticationFailed", "ExpiredToken", "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
}
_SHOWN = {
    "AccessDenied", "AccountProblem", "EntityTooLarge", "InsufficientStorage", "InternalError", "InvalidRequest",
    "MethodNotAllowed", "NotImplemented", "OperationAborted", "QuotaExceeded", "RequestTimeout", "ServerBusy",
    "ServiceUnavailable", "SlowDown", "XMinioStorageFull",
}  # fmt: skip
_TEMPORARY_4XX = {408, 409, 425, 429}
# A store that is full, or can't do it, stays so for longer than anybody waits.
_LASTING_5XX = {501, 507}

_CREDENTIAL_VARIABLES: dict[Scheme, str] = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN",
    "gs": "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or another of its credentials",
}
AGAIN = (
    "Nothing was changed in Cloudflare, and no part of a file is at the destination. Check the store and the network, "
    "then run the same call again."
)
NOTHING_PUT = "Nothing was put at the destination. Correct what is named, then run it again."

_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
# How obstore tells of requests for credentials, which go elsewhere than the object's. No key can look like them.
_FOR_CREDENTIALS = re.compile(r"token request|credential error|performing [A-Z]+ (http://169\.254\.|https://sts\.)")


def status_of(error: BaseException) -> int | None:
    """The HTTP status that the store answered with, if it answered."""
    found = _STATUS.search(_told(error))
    return int(found[1]) if found else None


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed in a minute, as far as its failure says so."""
    if isinstance(error, OSError) and error.errno is not None:
        return False
    status = status_of(error)
    if status is None:
        return "InvalidCertificate" not in str(error)
    return status in _TEMPORARY_4XX or (status >= 500 and status not in _LASTING_5XX)


def is_of_the_bucket(error: BaseException) -> bool:
    """Whether it is the bucket that is not there, as far as the store says so."""
    return _code_of(error) in _NO_BUCKET


def told(error: BaseException, url: ObjectUrl, *, pointer: str) -> PackError:
    """The failure for a playbook. Nothing of the original's text is in it.

    A failure that may pass is an OutputError; one that stays until somebody changes something is a ParameterError.
    """
    name, status, code = repr(str(url)), status_of(error), _code_of(error)
    if isinstance(error, OSError) and error.errno is not None:
        return OutputError(f"the file on its way to {name} could not be read: {reason(error)}", path=str(url))
    if isinstance(error, FileNotFoundError) or code in _NO_BUCKET:
        return _parameter(f"{name}: there is no such bucket", pointer)
    if code in _REGION or status in {301, 307} or "redirect without LOCATION" in _told(error):
        return _parameter(f"{name}: the bucket is in another region: set the store's region", pointer)
    if code in _CREDENTIALS or isinstance(error, exceptions.UnauthenticatedError) or status == 401:
        said = _answer(status, code if code in _CREDENTIALS else None)
        return _parameter(f"{name}: the store does not accept the credentials ({said})", pointer, url.scheme)
    if isinstance(error, exceptions.PermissionDeniedError):
        message = (
            f"{name}: permission denied ({_answer(status, code)}): the credentials are wrong or have expired, or they "
            "lack the right to read, write, delete or list"
        )
        return _parameter(message, pointer, url.scheme)
    if isinstance(error, exceptions.GenericError) and _FOR_CREDENTIALS.search(_told(error)):
        return _parameter(f"{name}: no credentials for it were found", pointer, url.scheme)
    if status is not None and 400 <= status < 500 and status not in _TEMPORARY_4XX:
        return _parameter(f"{name}: the store refused it ({_answer(status, code)})", pointer)
    if isinstance(error, ValueError | exceptions.InvalidPathError | exceptions.UnknownConfigurationKeyError):
        return _parameter(f"{name} can't be used as the place of an object", pointer)
    if "InvalidCertificate" in str(error):
        message = (
            f"{name} could not be reached: the store's certificate is not accepted (SSL_CERT_FILE names authorities)"
        )
        return OutputError(message, path=str(url), help=AGAIN)
    if is_unreadable(error):
        return unreadable(url)
    said = f"the store answered with an error ({_answer(status, code)})" if status else "the store did not answer"
    return OutputError(f"{name} could not be reached or written: {said}", path=str(url), help=AGAIN)


def is_unreadable(error: BaseException) -> bool:
    """Whether there was an answer, of success even, and it is not one of an object store."""
    return isinstance(error, exceptions.GenericError) and "Error performing" not in _told(error)


def unreadable(url: ObjectUrl) -> OutputError:
    """The failure where it is a proxy's page, say, or half an answer."""
    message = f"{str(url)!r}: the answer could not be read: check that the endpoint is that of an object store"
    return OutputError(message, path=str(url), help=AGAIN)


def unusable(url: ObjectUrl) -> ConnectionSettingsError:
    """The store's settings can't be used; which of them is in a text that may quote it."""
    prefix = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}[url.scheme]
    return ConnectionSettingsError(
        f"{str(url)!r}: the store's settings can't be used: look at the environment variables that begin with {prefix}"
        f"; needed are {_CREDENTIAL_VARIABLES[url.scheme]}"
    )


def _parameter(message: str, pointer: str, scheme: Scheme | None = None) -> ParameterError:
    about = f" Credentials come from the environment: {_CREDENTIAL_VARIABLES[scheme]}." if scheme else ""
    return ParameterError(problems=[{"pointer": pointer, "message": message}], help=NOTHING_PUT + about)


def _answer(status: int | None, code: str | None) -> str:
    said = "no HTTP status" if status is None else f"HTTP {status}"
    return f"{said}, {code}" if code in _SHOWN | _CREDENTIALS else said


def _code_of(error: BaseException) -> str | None:
    # The last: before the store's answer stands the address, and in it a key that may look like a code.
    found = _CODE.findall(_told(error))
    return found[-1] if found else None


def _told(error: BaseException) -> str:
    return str(error).split("Debug source:", 1)[0]
