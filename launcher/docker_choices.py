"""What an operator chose for `run.py docker`, kept in `.env`, which Compose reads itself."""

import argparse
import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path

from launcher.environment import ROOT
from launcher.terminal import Refusal, say

BASE, PRODUCTION, OWN = (
    "docker-compose.yml",
    "docker-compose.prod.yml",
    "docker-compose.override.yml",
)
PROFILES, FILES, DOMAIN, INSIDERS = (
    "COMPOSE_PROFILES",
    "COMPOSE_FILE",
    "RELAY_DOMAIN",
    "RELAY_INSIDERS",
)
NAME = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}", re.IGNORECASE)
HEADER = "# Settings of the Trading Signal Processor: .env.example explains each.\n"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tls",
        type=_domain,
        metavar="DOMAIN",
        help="https on 443 under this name, with a certificate got by itself",
    )
    parser.add_argument(
        "--admin-from",
        type=_networks,
        metavar="NETWORKS",
        help="with --tls: from where the pages may be used, such as 203.0.113.7,10.8.0.0/24",
    )
    parser.add_argument(
        "--monitoring", action="store_true", help="Prometheus and Grafana, for this machine alone"
    )
    parser.add_argument(
        "--production",
        action="store_true",
        help=f"with --tls, now or before: {PRODUCTION} too (memory, logs, a backup a day)",
    )


def _domain(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name like relay.example.com")
    return text.lower()


def _networks(text: str) -> str:
    try:
        found = [ipaddress.ip_network(one) for one in re.split(r"[,\s]+", text.strip())]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: such as 203.0.113.7,10.8.0.0/24") from None
    if any(not one.prefixlen for one in found):
        raise argparse.ArgumentTypeError("that is everybody: name your own addresses")
    return " ".join(map(str, found))


def asked_for(options: argparse.Namespace, known: Mapping[str, str]) -> dict[str, str]:
    """The lines of `.env` that the options mean; what they do not speak of is left as it is."""
    domain: str | None = options.tls or known.get(DOMAIN)
    if options.admin_from and not domain:
        raise Refusal("--admin-from: goes with --tls DOMAIN", 2)
    if options.production and not domain:
        raise Refusal("--production: needs a name for the server: --tls DOMAIN", 2)
    given: dict[str, str] = {}
    if options.tls and domain:
        given |= {DOMAIN: domain, "PUBLIC_URL": f"https://{domain}", "PUBLISH": "127.0.0.1:8080"}
    if options.admin_from:
        given[INSIDERS] = options.admin_from
    wanted = [n for n, on in (("tls", options.tls), ("monitoring", options.monitoring)) if on]
    before = [one for one in known.get(PROFILES, "").split(",") if one]
    if more := [one for one in wanted if one not in before]:
        given[PROFILES] = ",".join([*before, *more])
    if options.production:
        own = [OWN] if (ROOT / OWN).exists() else []
        given[FILES] = ":".join([BASE, PRODUCTION, *own])
    return {name: value for name, value in given.items() if known.get(name) != value}


def keep(file: Path, choices: Mapping[str, str]) -> None:
    """Write them into `.env`: where a line of that name is, there; else at the end."""
    for name in choices:
        if name in os.environ:
            raise Refusal(f"{name} is set in your environment, which wins over .env: unset it", 2)
    if not choices:
        return
    text = file.read_text("utf-8") if file.exists() else HEADER
    for name, value in choices.items():
        line = f'{name}="{value}"' if " " in value else f"{name}={value}"
        text, found = re.subn(rf"^{name}=.*$", line, text, flags=re.MULTILINE)
        if not found:
            text = f"{text.rstrip()}\n{line}\n"
        say(f"Into .env: {line}")
    _replace(file, text)


def _replace(file: Path, text: str) -> None:
    """All or nothing, and as private as it was; a new one is for its owner alone."""
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    beside = file.with_name(f"{file.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as opened:
        opened.write(text)
    beside.chmod(mode)
    beside.replace(file)


def places(chosen: Mapping[str, str]) -> list[str]:
    """Where what was chosen is reached, and what is still to be done for it."""
    profiles, domain = chosen.get(PROFILES, "").split(","), chosen.get(DOMAIN, "localhost")
    lines: list[str] = []
    if "tls" in profiles or PRODUCTION in chosen.get(FILES, ""):
        lines.append(f"https://{domain}/webhook/in is for TradingView; ports 80 and 443 are ours.")
        lines.append(_pages(domain, chosen.get(INSIDERS)))
    if "monitoring" in profiles:
        lines.append(
            "Grafana: http://127.0.0.1:3000 (from elsewhere `ssh -L 3000:127.0.0.1:3000`), user"
            " admin, password in secrets/grafana_password."
        )
    return lines


def _pages(domain: str, insiders: str | None) -> str:
    if insiders:
        return f"https://{domain}/admin is for {insiders} alone."
    return f"https://{domain}/admin is for nobody yet: --admin-from says who may use it."
