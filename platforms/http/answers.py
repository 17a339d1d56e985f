"""Answers with JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


def answer_json(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON document as the answer to a request."""
    return Response(json.dumps(document), status, dict(headers or {}), "application/json")
