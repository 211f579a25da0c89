"""`run.py docker`: check Docker and Compose, build, start, wait for health, follow the logs."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence

from launcher import credentials
from launcher.environment import ROOT
from launcher.terminal import Refusal, say

WAIT = "180"  # seconds until both containers must be healthy
ENV_FILE = ROOT / ".env"


def run_in_docker() -> int:
    """Return when the person stops following the logs; the containers stay up."""
    _check("docker", ["docker", "version"], "install Docker Engine and start it")
    _check("docker compose", ["docker", "compose", "version"], "install its Compose plugin")
    _ensure_password()
    _compose("build")
    _compose("up", "--detach", "--wait", "--wait-timeout", WAIT)
    say("Healthy. The first start shows the new tokens in the log below.")
    say("Ctrl-C leaves the log, `docker compose down` stops the relay.")
    try:
        _compose("logs", "--follow", "--tail", "100", "app")
    except KeyboardInterrupt:
        say("")
    return 0


def _check(what: str, command: Sequence[str], cure: str) -> None:
    if not shutil.which(command[0]):
        raise Refusal(f"There is no {what} here: {cure}.")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise Refusal(f"{what} does not answer ({last}): {cure}.")


def _ensure_password() -> None:
    """Compose takes the database's password from `.env`: make one where there is none."""
    name = "POSTGRES_PASSWORD"
    if os.environ.get(name) or credentials.read(ENV_FILE).get(name):
        return
    descriptor = os.open(ENV_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a") as file:
        file.write(f"\n{name}={secrets.token_urlsafe(32)}\n")
    say(f"Generated {name} in {ENV_FILE}.")


def _compose(*arguments: str) -> None:
    done = subprocess.run(
        ["docker", "compose", *arguments],  # noqa: S607  wherever docker is
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        raise Refusal(f"docker compose {arguments[0]} failed; its words are above.")
