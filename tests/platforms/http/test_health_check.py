"""The image's health check against a service."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.platforms.http.serving import RunningService

DOCKERFILE = Path(__file__).parents[3] / "deploy" / "Dockerfile"


def test_the_health_check_follows_the_service(start: Callable[..., RunningService]) -> None:
    found = re.search(r"^HEALTHCHECK (?:.*\\\n)+ +CMD (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found is not None
    _, *arguments = json.loads(found[1])

    def check(port: str) -> int:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env={"CFES_HTTP_PORT": port}, capture_output=True, check=False).returncode

    service = start()
    port = service.url.rpartition(":")[2]
    assert check(port) == 0
    service.service.stopping = True
    assert check(port) == 1
    assert check("1") == 1
