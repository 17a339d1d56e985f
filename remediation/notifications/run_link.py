"""The link to a run, from the template in CFES_RUN_URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from core.errors import ConnectionSettingsError
from core.service_url import check_service_url
from core.settings import read_setting

VARIABLE = "CFES_RUN_URL"
PLACEHOLDER = "{run_id}"

# Characters that neither end a link in a chat, in Markdown or in HTML, nor need an escape there.
_HARMLESS = re.compile(r"[A-Za-z0-9:/?#@!$'+,;=._~%&-]+")


def run_link(environment: Mapping[str, str], run_id: str | None) -> str | None:
    """Return the URL of the run's page, or None without a template or without a run.

    Raises: ConnectionSettingsError if the template is not valid. It does not quote the template.
    """
    template = read_setting(environment, VARIABLE)
    if template is None or run_id is None:
        return None
    if template.count(PLACEHOLDER) != 1:
        raise ConnectionSettingsError(f"{VARIABLE} must have {PLACEHOLDER} once")
    url = template.replace(PLACEHOLDER, quote(run_id, safe=""))
    if not _HARMLESS.fullmatch(url):
        raise ConnectionSettingsError(f"{VARIABLE} has a character that is not allowed in a URL, or another {{...}}")
    try:
        # A page in a browser may have its own address behind #.
        check_service_url(url.partition("#")[0], query=True)
    except ValueError as error:
        raise ConnectionSettingsError(f"{VARIABLE}: {error}") from None
    if PLACEHOLDER in (urlsplit(template).netloc or ""):
        raise ConnectionSettingsError(f"{VARIABLE} has {PLACEHOLDER} in its host")
    return url
