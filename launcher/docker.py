"""`run.py docker`: check Docker and Compose, build, start, wait for health, follow the logs."""

import argparse
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from launcher import credentials, docker_choices
from launcher.environment import ROOT
from launcher.terminal import Refusal, say
from version import VERSION

WAIT = "180"  # seconds until all containers must be healthy
OLDEST_COMPOSE = (2, 24)  # knows `!override`, and an env_file that need not be there
ENV_FILE = ROOT / ".env"
SECRETS = ROOT / "secrets"
OWNER, LOGIN = (
    "relay",
    "relay_app",
)  # of the database; deploy/postgres/relay-login.sql makes the second
LOGIN_SCRIPT = "/docker-entrypoint-initdb.d/relay-login.sql"
ADDRESS = "postgresql+asyncpg://{}:{}@postgres:5432/relay"
EPILOG = """\
examples: python run.py docker
          python run.py docker --tls relay.example.com --admin-from 203.0.113.7
          python run.py docker --monitoring

What --tls, --admin-from, --monitoring and --production say is kept in .env: the next
`python run.py docker`, and `docker compose` by hand, do the same again. After an upgrade of this
folder the same command builds and starts the new version.

exit codes: 0 it runs, and you left the log; 1 it does not (the last line says why);
2 wrong command"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the command line understands; it needs nothing but Python and Docker."""
    parser.description = "Builds the image, starts relay and PostgreSQL, and follows their logs."
    parser.epilog = EPILOG
    docker_choices.add_options(parser)
    parser.add_argument("--detach", action="store_true", help="do not follow the logs")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--status", action="store_true", help="only show the containers")
    instead.add_argument("--logs", action="store_true", help="only follow the logs")
    instead.add_argument(
        "--stop", action="store_true", help="only stop and remove the containers; data stays"
    )


def run_docker(options: argparse.Namespace) -> int:
    """Return when the person stops following the logs; the containers stay up."""
    choices = docker_choices.asked_for(options, credentials.read(ENV_FILE))
    _check("docker", ["docker", "version"], "install Docker Engine and start it")
    _check_compose()
    if options.status:
        return _compose("--profile", "*", "ps", "--all")
    if options.stop:
        return _compose("--profile", "*", "down")
    if not options.logs:
        docker_choices.keep(ENV_FILE, choices)
        _start(credentials.read(ENV_FILE) | choices)
    return 0 if options.detach else _follow()


def _start(chosen: Mapping[str, str]) -> None:
    make_secrets(SECRETS, _known_password())
    _compose("build", says={"RELAY_VERSION": VERSION, "RELAY_REVISION": _revision()})
    _up("postgres")
    _make_login()
    if "monitoring" in chosen.get("COMPOSE_PROFILES", "").split(","):
        _up("app")
        _make_metrics_token()
    _up()
    say("Healthy. The first start shows the new tokens in the log below.")
    for line in docker_choices.places(chosen):
        say(line)


def _up(*services: str) -> None:
    _compose("up", "--detach", "--wait", "--wait-timeout", WAIT, *services)


def _follow() -> int:
    say("Ctrl-C leaves the log, `python run.py docker --stop` stops the relay.")
    try:
        _compose("logs", "--follow", "--tail", "100", "app")
    except KeyboardInterrupt:
        say("")
    return 0


def _check(what: str, command: Sequence[str], cure: str) -> str:
    if not shutil.which(command[0]):
        raise Refusal(f"There is no {what} here: {cure}.")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise Refusal(f"{what} does not answer ({last}): {cure}.")
    return done.stdout


def _check_compose() -> None:
    asked = ["docker", "compose", "version", "--short"]
    said = _check("docker compose", asked, "install its Compose plugin").strip()
    numbers = said.removeprefix("v").split("-")[0].split(".")[:2]
    if all(one.isdigit() for one in numbers) and tuple(map(int, numbers)) < OLDEST_COMPOSE:
        raise Refusal(f"docker compose {said} is too old: install its plugin 2.24 or newer.")


def _revision() -> str:
    """The commit of this folder, or nothing where it is none or there is no Git."""
    try:
        done = subprocess.run(
            ["git", "-C", ROOT, "rev-parse", "HEAD"],  # noqa: S607  wherever git is
            check=False,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""
    return done.stdout.strip() if not done.returncode else ""


def make_secrets(folder: Path, password: str | None) -> None:
    """Make the files that Compose hands to the containers; what is there stays.

    Compose mounts a file with the owner and mode it has here, and each container has a user of its
    own: so everybody may read the files, and only their owner may enter the folder.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    owners = _kept(folder / "postgres_password", password or secrets.token_urlsafe(32))
    own = _kept(folder / "relay_password", secrets.token_urlsafe(32))
    _kept(folder / "grafana_password", secrets.token_urlsafe(16))
    if not (folder / "metrics_token").exists():  # the relay makes it, once it runs
        _write(folder / "metrics_token", "")
    _write(folder / "database_owner_url", ADDRESS.format(OWNER, quote(owners, safe="")))
    _write(folder / "database_url", ADDRESS.format(LOGIN, quote(own, safe="")))


def _kept(file: Path, otherwise: str) -> str:
    if not file.exists():
        _write(file, otherwise)
        say(f"Generated {file.name} in {file.parent}.")
    return file.read_text().strip()


def _write(file: Path, text: str) -> None:
    if file.exists() and file.read_text() == text:
        return
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    with os.fdopen(descriptor, "w") as opened:
        os.fchmod(descriptor, 0o444)  # whatever the umask
        opened.write(text)


def _known_password() -> str | None:
    """The password of a database made by an earlier version, which kept it in `.env`."""
    name = "POSTGRES_PASSWORD"
    return os.environ.get(name) or credentials.read(ENV_FILE).get(name)


def _make_login() -> None:
    """Once more where the volume is new, for the first time where it is of an earlier version."""
    names = ("--username", OWNER, "--dbname", "relay")
    script = ("psql", "--no-psqlrc", "--quiet", *names, "--file", LOGIN_SCRIPT)
    _compose("exec", "-T", "postgres", *script)


def _make_metrics_token() -> None:
    """A token that can only read, for Prometheus; the relay shows it this once."""
    file = SECRETS / "metrics_token"
    if file.read_text():
        return
    asked = ("docker", "compose", "exec", "-T", "app", "python", "-m", "launcher.metrics_token")
    done = subprocess.run(asked, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise Refusal(f"The relay makes no token for Prometheus: {reason}")
    _write(file, done.stdout.strip())
    say(f"The relay made {file.name} in {file.parent}: scope read, for Prometheus.")


def _compose(*arguments: str, says: Mapping[str, str] | None = None) -> int:
    done = subprocess.run(
        ["docker", "compose", *arguments],  # noqa: S607  wherever docker is
        cwd=ROOT,
        check=False,
        env={**os.environ, **(says or {})},
    )
    if done.returncode:
        named = next(one for one in arguments if not one.startswith("-") and one != "*")
        raise Refusal(f"docker compose {named} failed; its words are above.")
    return 0
