"""Object store errors: a store's failure as an error of this pack.

obstore's texts contain the complete request: signed URLs, the endpoint, the store's answer with account details. The
pack's errors contain none of these, only the answer's status and, if known here, its code.
"""

from __future__ import annotations

import re

from obstore import exceptions

from core.errors import ConnectionSettingsError, OutputError, PackError, ParameterError
from remediation.exports.destinations.object_url import ObjectUrl, Scheme
from remediation.exports.files.path_checks import reason

# Public error codes, without account details.
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
# A full store, or a missing feature, lasts longer than any retry.
_LASTING_5XX = {501, 507}

_CREDENTIAL_VARIABLES: dict[Scheme, str] = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN",
    "gs": "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or another of its credentials",
}
AGAIN = (
    "Nothing was changed in Cloudflare, and the destination has no partial file. Check the store and the network, then "
    "run the same call again."
)
NOTHING_PUT = "Nothing was written to the destination. Fix the named problem, then run it again."

_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
# obstore's texts about requests for credentials, which go to other hosts. No key contains them.
_FOR_CREDENTIALS = re.compile(r"token request|credential error|performing [A-Z]+ (http://169\.254\.|https://sts\.)")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the store's answer, or None without an answer."""
    found = _STATUS.search(_text_of(error))
    return int(found[1]) if found else None


def may_pass(error: BaseException) -> bool:
    """Return whether the same request may succeed in a minute."""
    if isinstance(error, OSError) and error.errno is not None:
        return False
    status = status_of(error)
    if status is None:
        return "InvalidCertificate" not in str(error)
    return status in _TEMPORARY_4XX or (status >= 500 and status not in _LASTING_5XX)


def is_of_the_bucket(error: BaseException) -> bool:
    """Return whether the bucket is missing, according to the store."""
    return _code_of(error) in _NO_BUCKET


def failure_of(error: BaseException, url: ObjectUrl) -> PackError:
    """Return the failure for a playbook, without the original text.

    A temporary failure is an OutputError; one that needs a change is a ParameterError.
    """
    name, status, code = repr(str(url)), status_of(error), _code_of(error)
    if isinstance(error, OSError) and error.errno is not None:
        return OutputError(f"the local file for {name} could not be read: {reason(error)}", path=str(url))
    if isinstance(error, FileNotFoundError) or code in _NO_BUCKET:
        return _parameter(f"{name}: there is no such bucket")
    if code in _REGION or status in {301, 307} or "redirect without LOCATION" in _text_of(error):
        return _parameter(f"{name}: the bucket is in another region: set the store's region")
    if code in _CREDENTIALS or isinstance(error, exceptions.UnauthenticatedError) or status == 401:
        answer = _answer(status, code if code in _CREDENTIALS else None)
        return _parameter(f"{name}: the store does not accept the credentials ({answer})", url.scheme)
    if isinstance(error, exceptions.PermissionDeniedError):
        message = (
            f"{name}: permission denied ({_answer(status, code)}): the credentials are wrong or have expired, or they "
            "lack the right to read, write, delete or list"
        )
        return _parameter(message, url.scheme)
    if isinstance(error, exceptions.GenericError) and _FOR_CREDENTIALS.search(_text_of(error)):
        return _parameter(f"{name}: no credentials were found", url.scheme)
    if status is not None and 400 <= status < 500 and status not in _TEMPORARY_4XX:
        return _parameter(f"{name}: the store refused the request ({_answer(status, code)})")
    if isinstance(error, ValueError | exceptions.InvalidPathError | exceptions.UnknownConfigurationKeyError):
        return _parameter(f"{name} is not a valid place for an object")
    if "InvalidCertificate" in str(error):
        message = f"{name} could not be reached: the store's certificate is not trusted (set SSL_CERT_FILE)"
        return OutputError(message, path=str(url), help=AGAIN)
    if is_unreadable(error):
        return unreadable(url)
    why = f"the store answered with an error ({_answer(status, code)})" if status else "the store did not answer"
    return OutputError(f"{name} could not be reached or written: {why}", path=str(url), help=AGAIN)


def is_unreadable(error: BaseException) -> bool:
    """Return whether there was an answer that does not come from an object store."""
    return isinstance(error, exceptions.GenericError) and "Error performing" not in _text_of(error)


def unreadable(url: ObjectUrl) -> OutputError:
    """Return the failure for an unreadable answer, such as a proxy's page."""
    message = f"{str(url)!r}: the answer could not be read. Check that the endpoint is an object store"
    return OutputError(message, path=str(url), help=AGAIN)


def unusable(url: ObjectUrl) -> ConnectionSettingsError:
    """Return the failure for bad settings. It names no setting, because obstore's text may quote its value."""
    prefix = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}[url.scheme]
    return ConnectionSettingsError(
        f"{str(url)!r}: the store's settings are not valid. Check the environment variables that begin with {prefix}. "
        f"Required: {_CREDENTIAL_VARIABLES[url.scheme]}"
    )


def _parameter(message: str, scheme: Scheme | None = None) -> ParameterError:
    about = f" Credentials come from the environment: {_CREDENTIAL_VARIABLES[scheme]}." if scheme else ""
    return ParameterError.at("/destination", message, help=NOTHING_PUT + about)


def _answer(status: int | None, code: str | None) -> str:
    answer = "no HTTP status" if status is None else f"HTTP {status}"
    return f"{answer}, {code}" if code in _SHOWN | _CREDENTIALS else answer


def _code_of(error: BaseException) -> str | None:
    # The last match: the address comes before the store's answer, and its key may look like a code.
    found = _CODE.findall(_text_of(error))
    return found[-1] if found else None


def _text_of(error: BaseException) -> str:
    return str(error).split("Debug source:", 1)[0]
