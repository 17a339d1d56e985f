"""The compose file: every service is hardened, and what it names exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service.get("cap_add", [])) <= {"NET_BIND_SERVICE"}
    assert not {"privileged", "network_mode", "pid", "user"} & service.keys()
    assert {"restart", "pids_limit", "mem_limit"} <= service.keys()
    assert "healthcheck" in service or "HEALTHCHECK" in (DEPLOY / "Dockerfile").read_text()


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert COMPOSE["networks"]["front"] == {"internal": True}
    assert "service:8096" in (DEPLOY / "Caddyfile").read_text()


def test_what_the_file_names_exists() -> None:
    build = SERVICES["service"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert (context / build["dockerfile"]).is_file()
    for service in SERVICES.values():
        sources = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert [each for each in sources if each not in COMPOSE["volumes"] and not (DEPLOY / each).is_file()] == []
        assert set(service["networks"]) <= COMPOSE["networks"].keys()


def test_secrets_are_files_and_no_variable_has_one() -> None:
    service = SERVICES["service"]
    named = {path.rpartition("/")[2] for name, path in service["environment"].items() if name.endswith("_FILE")}
    assert named == set(service["secrets"]) == set(COMPOSE["secrets"])
    assert all("file" in secret for secret in COMPOSE["secrets"].values())
    assert not [name for name in service["environment"] if name.endswith(("_TOKEN", "_KEY", "_SECRET"))]


def test_the_files_with_secrets_are_neither_committed_nor_in_the_image_nor_in_a_release() -> None:
    """The source distribution leaves out what .gitignore names."""
    folders = {(DEPLOY / secret["file"]).parent.relative_to(ROOT) for secret in COMPOSE["secrets"].values()}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert [f"{folder}/" for folder in folders if f"{folder}/" not in ignored] == []
    assert "!deploy" not in (ROOT / ".dockerignore").read_text()


def test_the_state_is_on_a_volume_where_the_image_expects_it() -> None:
    assert SERVICES["service"]["volumes"] == ["state:/var/lib/cfes"]
    assert "CFES_STATE_DIR=/var/lib/cfes" in (DEPLOY / "Dockerfile").read_text()
