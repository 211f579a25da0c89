"""The compose files by Compose's own schema, and what the profiles and production promise."""

import json
import os
import re
import shutil
import subprocess
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from config import Settings
from launcher.environment import ROOT
from tests.deploy import files
from tests.deploy.looking import relays_job

BASE, PRODUCTION = "docker-compose.yml", "docker-compose.prod.yml"


@pytest.mark.parametrize("name", [BASE, PRODUCTION])
def test_a_file_is_as_the_compose_specification_has_it(name: str) -> None:
    """The schema is in check-jsonschema, which takes it over from compose-spec."""
    try:
        import_module("check_jsonschema")
    except ImportError:
        pytest.skip("no check-jsonschema here")
    place = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(place.read_text("utf-8"))
    jsonschema.validate(files.compose(name), schema)
    wrong = files.compose(name)
    next(iter(wrong["services"].values()))["restarts"] = "always"
    with pytest.raises(jsonschema.ValidationError, match="restarts"):
        jsonschema.validate(wrong, schema)


def _composed(*arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Compose itself, which merges and checks files without a Docker that runs."""
    program = shutil.which("docker-compose")
    words = [program] if program else ["docker", "compose"]
    asked = [*words, "version"]
    there = shutil.which(words[0])
    if not there or subprocess.run(asked, check=False, capture_output=True).returncode:
        pytest.skip("no Docker Compose here")
    path = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}  # noqa: TID251  handed on
    return subprocess.run(
        [*words, "--env-file", os.devnull, *arguments, "config", "--format", "json"],
        cwd=ROOT,
        env=path | given,
        check=False,
        capture_output=True,
        text=True,
    )


def test_compose_itself_merges_the_files() -> None:
    plain = _composed("--file", BASE)
    assert set(json.loads(plain.stdout)["services"]) == {"proxy", "app", "postgres"}
    both = ("--file", BASE, "--file", PRODUCTION)
    given = json.loads(_composed(*both, RELAY_DOMAIN="relay.example.com").stdout)["services"]
    assert set(given) == {"proxy", "app", "postgres", "tls", "backup"}
    assert [one["host_ip"] for one in given["proxy"]["ports"]] == ["127.0.0.1"]
    assert given["app"]["environment"]["PUBLIC_URL"] == "https://relay.example.com"
    assert given["tls"]["environment"]["RELAY_INSIDERS"] == "127.0.0.1"
    nameless = _composed(*both)
    assert not nameless.stdout
    assert "put the name of this server into .env" in nameless.stderr


def test_what_is_optional_is_in_a_profile_and_the_rest_is_not() -> None:
    profiles = {name: one.get("profiles") for name, one in files.services().items()}
    assert profiles == {
        **dict.fromkeys(("proxy", "app", "postgres")),
        "tls": ["tls"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def test_every_mount_and_secret_and_volume_there_is_a_place_for() -> None:
    base, more = files.compose(), files.compose(PRODUCTION)
    volumes = base["volumes"].keys() | more["volumes"].keys()
    for service in [*base["services"].values(), more["services"]["backup"]]:
        assert set(service.get("secrets", [])) <= base["secrets"].keys()
        for each in service["volumes"]:
            here = each.partition(":")[0]
            assert here in volumes or (ROOT / here).exists()


def test_production_has_more_memory_and_keeps_more_logs() -> None:
    base, more = files.services(), files.services(PRODUCTION)

    def megabytes(text: str) -> int:
        return int(text[:-1]) * {"m": 1, "g": 1024}[text[-1]]

    for name in ("app", "postgres"):
        assert megabytes(more[name]["mem_limit"]) > megabytes(base[name]["mem_limit"])
    for name, service in more.items():
        assert service["restart"] == "always", name
        assert service["logging"]["options"]["max-size"] == "20m", name
    assert "ports" not in {**base["postgres"], **more["postgres"]}, "not published"
    assert more["proxy"]["ports"] == ["127.0.0.1:8080:8080"]


def test_the_database_of_production_has_connections_for_four_replicas() -> None:
    told = files.services(PRODUCTION)["postgres"]["command"]
    [most] = [int(one.partition("=")[2]) for one in told if "max_connections" in one]
    each = Settings.model_construct(worker_concurrency=16, workers=1).connections
    assert 4 * each + 20 <= most


def test_the_image_of_the_backup_has_a_place_for_it() -> None:
    backup = files.services(PRODUCTION)["backup"]
    assert "backups:/backups" in backup["volumes"]
    [made] = re.findall(r"install --directory .*$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {"/data", "/backups"} <= set(made.split())


# ── Monitoring ──────────────────────────────────────────────────────────────────────────────


def _mounted(service: files.Service) -> dict[str, str]:
    """What is at which place in the container."""
    pairs = (each.split(":") for each in service["volumes"])
    return {there: here for here, there, *_ in pairs}


def _provisioned(kind: str) -> dict[str, Any]:
    [file] = (ROOT / "deploy/grafana/provisioning" / kind).glob("*.yml")
    return yaml.safe_load(file.read_text())


def test_grafana_finds_prometheus_and_the_dashboards_that_are_mounted() -> None:
    grafana = files.services()["grafana"]
    mounted = _mounted(grafana)
    assert mounted["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    [source] = _provisioned("datasources")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert set(grafana["networks"]) & set(files.services()["prometheus"]["networks"])
    [provider] = _provisioned("dashboards")["providers"]
    folder = ROOT / mounted[provider["options"]["path"]]
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    assert found, f"no dashboard in {folder}"
    for dashboard in found:
        for uid in re.findall(r'"datasource": \{[^}]*"uid": "([^"]+)"', json.dumps(dashboard)):
            assert uid == source["uid"] or uid.startswith(("$", "-- ")), dashboard["title"]


def test_prometheus_asks_every_replica_with_the_token_it_is_handed() -> None:
    prometheus = files.services()["prometheus"]
    mounted = _mounted(prometheus)
    [file] = [one.partition("=")[2] for one in prometheus["command"] if "config.file" in one]
    here = ROOT / mounted[str(Path(file).parent)] / Path(file).name
    given = yaml.safe_load(here.read_text())
    job = relays_job(given)
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    [found] = job["dns_sd_configs"]
    assert (found["names"], found["type"], found["port"]) == (["app"], "A", 8000)
    for pattern in given["rule_files"]:
        assert list(here.parent.glob(pattern.removeprefix(f"{Path(file).parent}/"))), pattern
