"""H29: Dockerfile and compose file, read without an engine: what must hold of each container."""

import ipaddress
import re
import shlex
import stat
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from config import load
from launcher.docker import LOGIN, LOGIN_SCRIPT, OWNER, make_secrets
from launcher.environment import ROOT
from tests.deploy import files
from tests.deploy.files import Service

PRODUCTION = "docker-compose.prod.yml"
DIGEST = r"@sha256:[0-9a-f]{64}"


def _compose() -> dict[str, Any]:
    return files.compose()


def _services() -> dict[str, Service]:
    return files.services()


def _backup() -> Service:
    """The one service that only docker-compose.prod.yml has."""
    return files.services(PRODUCTION)["backup"]


def _dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def _mounts(service: Service) -> Iterator[tuple[str, str, str]]:
    for each in service["volumes"]:
        here, there, mode = (*each.split(":"), "rw")[:3]
        yield here, there, mode


@pytest.mark.parametrize(
    "name", ["proxy", "app", "postgres", "tls", "prometheus", "grafana", "backup"]
)
def test_every_service_is_confined(name: str) -> None:
    service = {**_services(), "backup": _backup()}[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(place.startswith("/tmp:size=") for place in service["tmpfs"])
    assert 0 < service["pids_limit"] <= 256
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["healthcheck"]["test"]
    assert service["init"] is True
    assert not service.keys() & {
        "container_name",  # it would forbid --scale
        "privileged",
        "devices",
        "network_mode",
        "pid",
        "ipc",
        "userns_mode",
    }


def test_the_database_keeps_capabilities_only_to_become_its_user_and_others_none() -> None:
    kept = {name: s["cap_add"] for name, s in _services().items() if "cap_add" in s}
    assert kept == {
        "postgres": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"],
        "tls": ["NET_BIND_SERVICE"],  # its program is marked with it, and does not start without
    }


def test_what_is_mounted_is_a_volume_of_ones_own_or_a_file_that_stays_as_it_is() -> None:
    for name, service in _services().items():
        for here, there, mode in _mounts(service):
            assert "docker.sock" not in here + there
            if here.startswith("."):
                assert here.startswith("./deploy/"), "what is in the repository, and nothing else"
                assert mode == "ro"
                assert (ROOT / here).is_file() or name in {"prometheus", "grafana"}
                assert (ROOT / here).exists()
            else:
                assert here in _compose()["volumes"]


def test_the_proxy_and_the_database_do_not_see_each_other() -> None:
    services, networks = _services(), _compose()["networks"]
    joined = {name: set(service["networks"]) for name, service in services.items()}
    assert joined == {
        "proxy": {"edge"},
        "tls": {"edge"},
        "app": {"edge", "data", "watch"},
        "postgres": {"data"},
        "prometheus": {"watch"},
        "grafana": {"watch"},
    }
    assert set(_backup()["networks"]) == {"data"}
    assert networks["data"] == {"internal": True}
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published.keys() == {"proxy", "tls", "grafana"}
    assert published["grafana"] == ["127.0.0.1:3000:3000"]
    assert "ports" not in _backup()


def test_the_relay_believes_the_proxys_address_and_no_other() -> None:
    services = _services()
    [range_] = _compose()["networks"]["edge"]["ipam"]["config"]
    proxy = services["proxy"]["networks"]["edge"]["ipv4_address"]
    assert services["app"]["environment"]["TRUSTED_PROXIES"] == proxy
    assert ipaddress.ip_address(proxy) in ipaddress.ip_network(range_["subnet"])
    given_out = ipaddress.ip_network(range_["ip_range"])
    assert ipaddress.ip_address(proxy) not in given_out, "a replica could have it"
    text = (ROOT / "deploy/nginx/relay.conf").read_text()
    in_front = services["tls"]["networks"]["edge"]["ipv4_address"]
    assert ipaddress.ip_address(in_front) not in given_out
    believed = [range_["gateway"], in_front]
    assert re.findall(r"set_real_ip_from (\S+);", text) == believed
    assert re.findall(r"^ +([\d.]+) 1;", text, re.MULTILINE) == believed


def test_images_are_named_by_version_and_digest() -> None:
    services = _services()
    assert re.fullmatch(r"nginx:\d+\.\d+-alpine" + DIGEST, services["proxy"]["image"])
    for name in ("tls", "prometheus", "grafana"):
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+(-alpine)?" + DIGEST, services[name]["image"])
    assert services["app"]["image"] == _backup()["image"], "what was built here"
    assert re.fullmatch(r"postgres:18\.\d+-trixie" + DIGEST, services["postgres"]["image"])
    assert re.search(
        r"^ARG PYTHON=3\.\d+\.\d+-slim-trixie" + DIGEST + "$", _dockerfile(), re.MULTILINE
    )
    assert re.findall(r"^FROM (\S+)", _dockerfile(), re.MULTILINE) == ["python:${PYTHON}"] * 2


def test_the_database_is_laid_out_as_the_image_wants_it() -> None:
    postgres = _services()["postgres"]
    assert "postgres:/var/lib/postgresql" in postgres["volumes"], "since version 18 not …/data"
    assert postgres["environment"]["POSTGRES_INITDB_ARGS"].split() == [
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
    ]
    assert "--host 127.0.0.1" in postgres["healthcheck"]["test"][1], "not while it is set up"


def test_the_login_of_the_relay_is_made_by_the_script_that_is_here() -> None:
    mounted = {there: here for here, there, _ in _mounts(_services()["postgres"])}
    script = ROOT / mounted[LOGIN_SCRIPT]
    assert f"ALTER ROLE {LOGIN} " in script.read_text()
    assert script.stat().st_mode & stat.S_IROTH, "postgres reads it, whoever that is"
    assert _services()["postgres"]["environment"]["POSTGRES_USER"] == OWNER


def test_replicas_share_one_address_which_is_the_proxys() -> None:
    services = _services()
    assert services["proxy"]["ports"] == ["${PUBLISH:-0.0.0.0:80}:8080"]
    assert services["app"]["expose"] == [services["app"]["environment"]["PORT"]]
    assert services["proxy"]["user"].split(":")[0] != "0"


def test_the_proxy_reads_the_file_that_is_here_and_finds_the_replicas_by_name() -> None:
    [(here, there, mode)] = _mounts(_services()["proxy"])
    assert (there, mode) == ("/etc/nginx/nginx.conf", "ro")
    text = (ROOT / here).read_text()
    assert "resolver 127.0.0.11 valid=5s;" in text, "Docker's name server"
    assert "server app:8000 resolve " in text
    assert "listen 8080;" in text


def test_replicas_share_their_secrets() -> None:
    app = _services()["app"]
    assert app["volumes"] == [f"relay:{app['environment']['DATA_DIR']}"]


# ── Secrets ─────────────────────────────────────────────────────────────────────────────────


def test_no_secret_is_written_down_or_handed_over_in_the_environment() -> None:
    all_ = {**_services(), "backup": _backup()}
    given = {
        (name, variable): value
        for name, service in all_.items()
        for variable, value in service.get("environment", {}).items()
        if re.search("PASSWORD|TOKEN|KEY|SECRET|URL", variable)
    }
    for (name, variable), value in given.items():
        if variable.endswith("_FILE"):
            assert value == f"/run/secrets/{Path(value).name}"
            assert Path(value).name in all_[name]["secrets"]
        else:
            assert value == "", (name, variable)
    files = {name: each["file"] for name, each in _compose()["secrets"].items()}
    assert files == {name: f"./secrets/{name}" for name in files}


def test_secrets_are_made_once_and_only_their_owner_gets_to_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    make_secrets(folder, None)
    first = {file.name: file.read_text() for file in folder.iterdir()}
    assert first.keys() == set(_compose()["secrets"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o444}
    assert first["postgres_password"] != first["relay_password"]
    make_secrets(folder, "another")
    assert {file.name: file.read_text() for file in folder.iterdir()} == first


def test_an_earlier_versions_password_is_kept_whatever_is_in_it(tmp_path: Path) -> None:
    make_secrets(tmp_path / "secrets", "p@ss/word:%")
    owner = (tmp_path / "secrets" / "database_owner_url").read_text()
    assert owner == "postgresql+asyncpg://relay:p%40ss%2Fword%3A%25@postgres:5432/relay"


def test_the_settings_of_the_container_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_secrets(tmp_path / "secrets", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://me@elsewhere/mine\n")
    given = dict(_services()["app"]["environment"])
    for name in ("DATABASE_URL_FILE", "DATABASE_OWNER_URL_FILE"):
        given[name] = str(tmp_path / "secrets" / Path(given[name]).name)
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@elsewhere/mine")  # by `env_file`
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").unlink()  # it is not in the image
    token = "0123456789abcdefghijklmnopqrstuvwxyz-"
    settings = load(
        webhook_token=f"{token}1",
        finviz_update_token=f"{token}2",
        admin_token=f"{token}3",
        encryption_key="x",
        dest_webhook_signing_secret="y",
    )
    assert settings.database_url
    assert settings.database_owner_url
    assert f"//{LOGIN}:" in settings.database_url.get_secret_value()
    assert f"//{OWNER}:" in settings.database_owner_url.get_secret_value()


# ── The image ───────────────────────────────────────────────────────────────────────────────


def test_the_image_runs_as_an_ordinary_user_with_hashed_packages() -> None:
    instructions = _dockerfile().splitlines()
    assert "USER relay" in instructions
    assert instructions.index("USER relay") > max(
        i for i, each in enumerate(instructions) if each.startswith(("RUN", "COPY"))
    )
    assert re.search(r"useradd --uid (\d+)", _dockerfile())
    assert instructions[-1] == 'CMD ["python", "run.py"]'
    assert "--require-hashes" in _dockerfile()
    assert "RELAY_ENVIRONMENT=system" in _dockerfile()
    assert "HEALTHCHECK" in _dockerfile()
    assert "/health'" in _dockerfile()
    assert not re.search(r"^(ADD|ARG .*(TOKEN|PASSWORD|SECRET))", _dockerfile(), re.MULTILINE)


def _ignored() -> tuple[str, ...]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _in_image(path: str) -> bool:
    """Whether `.dockerignore` lets a path through: the last pattern that fits it decides."""
    inside = False
    for line in _ignored():
        pattern = line.removeprefix("!").rstrip("/")
        if pattern.startswith("**/"):
            fits = any(fnmatch(part, pattern[3:]) for part in path.split("/"))
        else:
            fits = fnmatch(path.partition("/")[0], pattern)
        inside = line.startswith("!") if fits else inside
    return inside


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".env", ".env.production", "secrets/postgres_password", ".ci/run"),
        *("data/secrets.env", "data/postgres-18/PG_VERSION", "tests/conftest.py", ".venv/bin/pip"),
        *("deploy/nginx/edge.conf", "docker-compose.yml", "web/__pycache__/app.cpython-311.pyc"),
        *("backup.sql", "finviz_config.json", "requirements-dev.txt"),
    ],
)
def test_the_image_has_nothing_that_is_not_the_relay(path: str) -> None:
    assert not _in_image(path)


def test_the_image_holds_every_module_the_relay_is_made_of() -> None:
    packages = {path.parent.name for path in ROOT.glob("[a-z]*/__init__.py")}
    outside = {name for name in packages if not _in_image(f"{name}/__init__.py")}
    assert outside == {"tests", "bench"} & packages
    assert all(_in_image(path.name) for path in ROOT.glob("*.py"))
    assert all(_in_image(name) for name in ("static/a.js", "templates/a.html", "requirements.txt"))


def test_git_keeps_no_secret_either() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/.env", "/data/", "/secrets/"} <= set(ignored)


def test_the_commands_of_the_page_are_the_ones_the_launcher_runs() -> None:
    """An operator without `run.py docker` makes the login by the documented command."""
    text = (ROOT / "deploy/README.md").read_text()
    [command] = re.findall(r"^docker compose exec .*$", text, re.MULTILINE)
    words = shlex.split(command)
    assert words[words.index("--file") + 1] == LOGIN_SCRIPT
    assert words[words.index("--username") + 1] == OWNER
