"""`cfes serve`: the HTTP service."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from core.installation import check_extra
from core.service_url import is_loopback
from platforms.cli.commands import options
from platforms.cli.views.errors import report_errors
from platforms.cli.views.screen import Screen

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("serve", cls=options.PlainCommand)
def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to serve on.", envvar="CFES_HTTP_HOST")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The port. 0: a free one.", envvar="CFES_HTTP_PORT")
    ] = 8096,
    verbose: options.Verbose = False,
) -> None:
    """Serve actions, playbooks and runs over HTTP, until Ctrl-C or SIGTERM.

    Callers need a token (`cfes token create`). Without any token, the service serves this machine only. The OpenAPI
    document is at /openapi.json.
    """
    screen = Screen("json", verbose=verbose)
    with report_errors(screen):
        screen.configure_log()
        check_extra("http", "starlette", "", "the HTTP service")
        from platforms.http.server import serve as serve_http  # noqa: PLC0415 -- the extra
        from platforms.http.service import Service  # noqa: PLC0415 -- the extra

        service = Service(os.environ, open_to_all=is_loopback(host))
        serve_http(service, host, port, lambda url: screen.say(f"Serving on {url}. Ctrl-C stops the service."))
