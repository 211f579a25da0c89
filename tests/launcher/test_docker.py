"""`run.py docker` with a Docker that only writes down what it was told."""

import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from launcher import credentials, docker, docker_choices
from launcher.command_line import main
from launcher.terminal import Refusal

PRETENDED = """#!/bin/sh
echo "$*" >> {told}
case "$*" in
version) [ -z "$NO_DAEMON" ] || {{ echo "Cannot connect to the Docker daemon." >&2; exit 1; }} ;;
"compose version --short") echo "${{COMPOSE_IS:-2.40.3}}" ;;
"compose ${{FAILS:-nothing}}"*) [ -z "$FAILS" ] || {{ echo "the reason" >&2; exit 1; }} ;;
*launcher.metrics_token) echo tsp_a-token ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder of one's own in place of the repository's."""

    folder: Path
    calls: Path

    def run(self, *arguments: str) -> int:
        return main(["docker", *arguments])

    def told(self) -> list[str]:
        """What Docker was told, a line a call."""
        if not self.calls.exists():
            return []
        return self.calls.read_text().splitlines()

    @property
    def kept(self) -> dict[str, str]:
        return credentials.read(self.folder / ".env")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    program = programs / "docker"
    program.write_text(PRETENDED.format(told=calls))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")  # noqa: TID251  for the child
    for name in ("COMPOSE_PROFILES", "COMPOSE_FILE", "RELAY_DOMAIN", "RELAY_INSIDERS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("PUBLIC_URL", "PUBLISH", "POSTGRES_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.setattr(docker, "ROOT", folder)
    monkeypatch.setattr(docker_choices, "ROOT", folder)
    monkeypatch.setattr(docker, "ENV_FILE", folder / ".env")
    monkeypatch.setattr(docker, "SECRETS", folder / "secrets")
    return Stage(folder, calls)


UP = "compose up --detach --wait --wait-timeout 180"


def test_it_builds_makes_the_login_starts_and_follows(stage: Stage) -> None:
    assert stage.run() == 0
    told = stage.told()
    assert told[:4] == ["version", "compose version --short", "compose build", f"{UP} postgres"]
    assert told[4].startswith("compose exec -T postgres psql ")
    assert told[5:] == [UP, "compose logs --follow --tail 100 app"]
    assert not (stage.folder / ".env").exists(), "nothing was chosen"


def test_choices_are_kept_for_the_next_time_and_for_compose_by_hand(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    (stage.folder / ".env").write_text("TOP_N=20\nPUBLIC_URL=http://old.example\n# mine\n")
    (stage.folder / ".env").chmod(0o640)
    networks = "203.0.113.7, 10.8.0.0/24"
    assert stage.run("--tls", "Relay.Example.com", "--admin-from", networks, "--detach") == 0
    assert stage.run("--monitoring", "--production", "--detach") == 0
    assert stage.kept == {
        "TOP_N": "20",
        "PUBLIC_URL": "https://relay.example.com",
        "RELAY_DOMAIN": "relay.example.com",
        "PUBLISH": "127.0.0.1:8080",
        "RELAY_INSIDERS": "203.0.113.7/32 10.8.0.0/24",
        "COMPOSE_PROFILES": "tls,monitoring",
        "COMPOSE_FILE": "docker-compose.yml:docker-compose.prod.yml",
    }
    assert "# mine" in (stage.folder / ".env").read_text()
    assert stat.S_IMODE((stage.folder / ".env").stat().st_mode) == 0o640
    said = capsys.readouterr().out
    assert "Into .env: RELAY_DOMAIN=relay.example.com" in said
    assert "https://relay.example.com/admin is for 203.0.113.7/32 10.8.0.0/24 alone." in said
    before = (stage.folder / ".env").read_text()
    assert stage.run("--detach") == 0
    assert (stage.folder / ".env").read_text() == before
    assert "Into .env" not in capsys.readouterr().out


def test_prometheus_gets_a_token_once_the_relay_can_make_one(stage: Stage) -> None:
    assert stage.run("--monitoring", "--detach") == 0
    told = stage.told()
    made = "compose exec -T app python -m launcher.metrics_token"
    assert told.index(f"{UP} app") < told.index(made) < told.index(UP)
    file = stage.folder / "secrets/metrics_token"
    assert file.read_text() == "tsp_a-token"
    assert stage.run("--detach") == 0
    assert stage.told().count(made) == 1


@pytest.mark.parametrize(
    ("option", "call"),
    [
        ("--status", "compose --profile * ps --all"),
        ("--stop", "compose --profile * down"),
        ("--logs", "compose logs --follow --tail 100 app"),
    ],
)
def test_what_only_looks_or_stops_does_nothing_else(stage: Stage, option: str, call: str) -> None:
    assert stage.run(option) == 0
    assert stage.told() == ["version", "compose version --short", call]
    assert not (stage.folder / "secrets").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls", "localhost"], "is no name like relay.example.com"),
        (["--tls", "relay.example.com/x"], "is no name like"),
        (["--admin-from", "10.0.0.0/8"], "goes with --tls DOMAIN"),
        (["--production"], "needs a name for the server"),
        (["--tls", "a.example.com", "--admin-from", "10.0.0.1/8"], "has host bits set"),
        (["--tls", "a.example.com", "--admin-from", "0.0.0.0/0"], "that is everybody"),
        (["--stop", "--logs"], "not allowed with argument"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    stage: Stage, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        stage.run(*arguments)
    assert refused.value.code == 2
    assert words in capsys.readouterr().err
    assert stage.told() == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"PATH": "/nowhere"}, "There is no docker here: install Docker Engine"),
        ({"NO_DAEMON": "1"}, "docker does not answer (Cannot connect to the Docker daemon"),
        ({"COMPOSE_IS": "v2.17.2-desktop.1"}, "is too old: install its plugin 2.24 or newer"),
        ({"FAILS": "build"}, "docker compose build failed; its words are above"),
        ({"FAILS": "up"}, "docker compose up failed"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    stage: Stage,
    given: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refusal) as refused:
        stage.run()
    assert refused.value.code == 1
    assert words in capfd.readouterr().err.splitlines()[-1]


def test_what_the_environment_says_is_not_overruled_by_a_line_nobody_reads(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELAY_DOMAIN", "another.example.com")
    with pytest.raises(Refusal):
        stage.run("--tls", "relay.example.com")
    assert "RELAY_DOMAIN is set in your environment" in capsys.readouterr().err


def test_the_image_is_told_which_commit_it_is() -> None:
    asked = ["git", "-C", str(docker.ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(asked, check=False, capture_output=True, text=True)
    expected = done.stdout.strip() if not done.returncode else ""
    assert docker._revision() == expected  # pyright: ignore[reportPrivateUsage]
