"""The settings: whether they can be read and make sense together, how strong tokens are."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from config import ENV_FILE, SECRETS, Settings, SettingsError, load
from domain.address import port_of
from furnishing import mail_server, refuse_unfit
from launcher import credentials
from launcher.credentials import MAKERS
from launcher.doctor.findings import PUBLIC, SETTINGS, TOLD, Finding
from launcher.doctor.machine import data_folder, given

MOST_PROBLEMS = 20
DISTINCT = 16
"""A token of 43 random characters has some 30 different ones."""

TRADINGVIEW = {80, 443}
NAMES = re.compile(r"[A-Z_]+(?: or [A-Z_]+)*")
OTHERS = {"POSTGRES_PASSWORD", "PUBLISH", "PG_BIN", "RELAY_ENVIRONMENT", "COMPOSE_PROFILES"}
"""What `.env` may hold for others: Docker Compose and the launcher."""

NEW = "python run.py makes one when the line is gone"


@dataclass(frozen=True, slots=True)
class Read:
    """What could be read: None where that is not enough to go on by."""

    settings: Settings | None
    findings: list[Finding]


def examine(overrides: Mapping[str, object]) -> Read:
    """Read the settings as the relay does; what is wrong is named, and the rest looked at."""
    made_up: dict[str, object] = {
        name.lower(): make() for name, make in MAKERS.items() if not _is_given(name)
    }
    read = _read({**made_up, **overrides})
    findings = [*read.findings, *unknown(list(credentials.read(Path(ENV_FILE))))]
    if read.settings is None:
        return Read(None, findings)
    findings += [
        *tokens(read.settings, {name.lower() for name in MAKERS} - made_up.keys()),
        *sense(read.settings),
        *told(read.settings),
    ]
    return Read(read.settings, findings)


def _is_given(name: str) -> bool:
    """Where one is given, in any way, it counts; else the first start makes it."""
    known = credentials.read(data_folder(given()) / credentials.FILE) | given()
    return bool(known.get(name) or known.get(f"{name}_FILE"))


def _read(overrides: Mapping[str, object]) -> Read:
    """Every problem, one after the other: a wrong value is put aside and the next one told."""
    instead: dict[str, object] = {}
    findings: list[Finding] = []
    settings = None
    while len(findings) < MOST_PROBLEMS:
        try:
            settings = None
            settings = load(**{**overrides, **instead})
            refuse_unfit(settings)
        except SettingsError as error:
            findings.append(problem(str(error)))
            name = str(error).partition(":")[0].lower()
            if name not in Settings.model_fields or name in instead:
                break  # of two settings together, or the first screen, the last to be judged
            instead[name] = _default(name)
        else:
            fine = [] if findings else [SETTINGS.ok("values", "each is one that is allowed")]
            return Read(settings, fine + findings)
    return Read(settings, findings)


def _default(name: str) -> object:
    make = MAKERS.get(name.upper())
    return make() if make else Settings.model_fields[name].default


def problem(line: str) -> Finding:
    name, _, words = line.partition(": ")
    if not NAMES.fullmatch(name):
        return SETTINGS.fails("values", line, "correct it: .env.example explains each setting")
    todo = "correct it (.env.example explains it): until then the relay does not start"
    return SETTINGS.fails(name, words, todo)


def unknown(names: list[str]) -> list[Finding]:
    """Names in `.env` that nobody reads: most often a slip, and silently without effect."""
    known = {name.upper() for name in Settings.model_fields}
    known |= {f"{name.upper()}_FILE" for name in SECRETS} | OTHERS
    return [_slip(name, known) for name in names if name not in known]


def _slip(name: str, known: set[str]) -> Finding:
    close = difflib.get_close_matches(name, known, n=1)
    todo = f"is {close[0]} meant? " if close else ""
    return SETTINGS.warning(
        name, "stands in .env, and no setting has this name", f"{todo}.env.example has them all"
    )


# ── Tokens ──────────────────────────────────────────────────────────────────────────────────


def tokens(settings: Settings, known: set[str]) -> list[Finding]:
    """How hard they are to guess; too short and known ones were refused before."""
    names = ("admin_token", "finviz_update_token", "webhook_token")
    found = [
        strength(name.upper(), getattr(settings, name).get_secret_value())
        for name in names
        if name in known
    ]
    made = SETTINGS.ok("tokens", "not made yet: the first start makes and shows them")
    return found or [made]


def strength(name: str, value: str) -> Finding:
    if len(set(value)) < DISTINCT:
        words = f"{len(value)} characters, but only {len(set(value))} different ones"
        return SETTINGS.warning(name, words, f"take a random one: {NEW}")
    return SETTINGS.ok(name, f"{len(value)} characters, no known one")


# ── What belongs together ───────────────────────────────────────────────────────────────────


def sense(settings: Settings) -> list[Finding]:
    """The address others reach us by, and whom we believe what he says of others."""
    return [public(settings), proxies(settings)]


def public(settings: Settings) -> Finding:
    if settings.public_url is None:
        return _unpublished(settings)
    parts = urlsplit(settings.public_url)
    if port_of(parts) not in TRADINGVIEW:
        return PUBLIC.warning(
            "PUBLIC_URL",
            f"leads to port {port_of(parts)}",
            "TradingView calls only ports 80 and 443: put a proxy there",
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        return PUBLIC.warning(
            "PUBLIC_URL",
            "is plain http: tokens cross the network readably, and nobody can sign in",
            "put a proxy with a certificate in front (docs/install.md)",
        )
    return PUBLIC.ok("PUBLIC_URL", settings.public_url)


def _unpublished(settings: Settings) -> Finding:
    if is_loopback(settings.host):
        return PUBLIC.warning(
            "PUBLIC_URL",
            "not set: only this machine can send alerts",
            "set it once a proxy or tunnel leads here from an https address (docs/install.md)",
        )
    return PUBLIC.warning(
        "PUBLIC_URL",
        f"not set, and HOST {settings.host} takes plain http from other machines",
        "set HOST=127.0.0.1 and put a proxy with a certificate in front (docs/install.md)",
    )


def proxies(settings: Settings) -> Finding:
    trusted = ", ".join(map(str, settings.trusted_proxies))
    if settings.public_url and settings.public_url.startswith("https:") and not trusted:
        return PUBLIC.warning(
            "TRUSTED_PROXIES",
            "empty: behind a proxy every sender has the proxy's address, and nobody can sign in",
            "set it to the proxy's own address, 127.0.0.1 where it is on this machine",
        )
    if trusted and not settings.public_url:
        return PUBLIC.warning(
            "TRUSTED_PROXIES", f"{trusted}, but PUBLIC_URL is not set", "set PUBLIC_URL too"
        )
    return PUBLIC.ok("TRUSTED_PROXIES", trusted or "none, and none is needed")


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


# ── Who is told ─────────────────────────────────────────────────────────────────────────────


def told(settings: Settings) -> list[Finding]:
    if settings.heartbeat_url:
        beat = TOLD.ok("HEARTBEAT_URL", "set: somebody else notices when the relay is silent")
    else:
        beat = TOLD.warning(
            "HEARTBEAT_URL",
            "not set: nobody notices when this machine is gone",
            "take an address of a service that waits for calls (docs/monitoring.md)",
        )
    server = mail_server(settings)
    mail = f"{server.host}:{server.port}" if server else "not set: no notices by e-mail"
    return [beat, TOLD.ok("SMTP_URL", mail)]
