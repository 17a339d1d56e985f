"""What answers each kind of operation."""

from __future__ import annotations

from collections.abc import Mapping

from platforms.http import action_routes, alert_routes, run_routes, service_routes
from platforms.http.incoming import Handler
from platforms.openapi.operation import Kind

HANDLERS: Mapping[Kind, Handler] = {
    **action_routes.HANDLERS,
    **run_routes.HANDLERS,
    **alert_routes.HANDLERS,
    **service_routes.HANDLERS,
}
