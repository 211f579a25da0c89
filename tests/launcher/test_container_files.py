"""Dockerfile and compose file: what must hold, read without an engine."""

import re
from typing import Any

import yaml

from launcher.environment import ROOT

Service = dict[str, Any]


def _compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def _services() -> dict[str, Service]:
    return _compose()["services"]


def _dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_every_service_is_confined() -> None:
    for service in _services().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "/tmp" in service["tmpfs"]
        assert "healthcheck" in service
        assert "container_name" not in service, "it would forbid --scale"
        assert "privileged" not in service


def test_the_database_is_reachable_by_the_relay_only() -> None:
    postgres = _services()["postgres"]
    assert "ports" not in postgres
    assert postgres["image"].startswith("postgres:18")
    assert postgres["volumes"] == ["postgres:/var/lib/postgresql"]
    assert postgres["environment"]["POSTGRES_INITDB_ARGS"].split() == [
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    ]


def test_no_password_is_written_down() -> None:
    services = _services()
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith(
        "${POSTGRES_PASSWORD:?"
    )
    assert "relay:${POSTGRES_PASSWORD:?" in services["app"]["environment"]["DATABASE_URL"]


def test_replicas_share_one_address_which_is_the_proxys() -> None:
    services = _services()
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    assert services["proxy"]["ports"] == ["${PUBLISH:-80}:8080"]
    assert services["app"]["expose"] == [services["app"]["environment"]["PORT"]]
    assert re.fullmatch(r"nginx:\d+\.\d+-alpine", services["proxy"]["image"])
    assert services["proxy"]["user"].split(":")[0] != "0"


def test_the_proxy_reads_the_file_that_is_here_and_finds_the_replicas_by_name() -> None:
    here, there, mode = _services()["proxy"]["volumes"][0].split(":")
    assert (there, mode) == ("/etc/nginx/nginx.conf", "ro")
    text = (ROOT / here).read_text()
    assert "resolver 127.0.0.11 valid=5s;" in text, "Docker's name server"
    assert "server app:8000 resolve " in text
    assert "listen 8080;" in text


def test_replicas_share_their_secrets() -> None:
    app = _services()["app"]
    assert app["volumes"] == [f"relay:{app['environment']['DATA_DIR']}"]


def test_named_volumes_exist() -> None:
    used = {volume.partition(":")[0] for s in _services().values() for volume in s["volumes"]}
    assert {name for name in used if not name.startswith(".")} == set(_compose()["volumes"])
    assert all((ROOT / name).is_file() for name in used if name.startswith("."))


def test_the_image_runs_as_an_ordinary_user_with_hashed_packages() -> None:
    instructions = _dockerfile().splitlines()
    assert "USER relay" in instructions
    assert instructions.index("USER relay") > max(
        i for i, each in enumerate(instructions) if each.startswith(("RUN", "COPY"))
    )
    assert instructions[-1] == 'CMD ["python", "run.py"]'
    assert "--require-hashes" in _dockerfile()
    assert "RELAY_ENVIRONMENT=system" in _dockerfile()
    assert "/health'" in _dockerfile()


def test_the_image_holds_every_module_the_relay_is_made_of() -> None:
    allowed = {
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    packages = {path.parent.name for path in ROOT.glob("[a-z]*/__init__.py")}
    assert packages - allowed == {"tests", "bench"} & packages
    assert {path.name for path in ROOT.glob("*.py")} <= allowed
    assert {"static", "templates", "requirements.txt"} <= allowed
