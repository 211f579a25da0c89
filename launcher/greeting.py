"""What a person reads when the relay is ready: where everything is, and what is still missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config import Settings
from launcher.credentials import FILE
from launcher.terminal import bold
from version import named

MASKED = "••••••••"
DOCTOR = "`python run.py doctor`"
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound


@dataclass(frozen=True)
class Place:
    """Where this run keeps its things."""

    folder: Path
    log_file: Path
    database: str


def address(settings: Settings) -> str:
    """Return the root URL under which a browser on this machine, or PUBLIC_URL, reaches us."""
    return (settings.public_url or _local(settings)).rstrip("/")


def _local(settings: Settings) -> str:
    host = ANYWHERE.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def lines(settings: Settings, place: Place, new: Mapping[str, str]) -> list[str]:
    """Return the greeting; the webhook's token is in it only while it is ``new``."""
    return [
        "",
        bold("Trading Signal Processor is ready."),
        "",
        f"  Version      {named()}",
        f"  Admin page   {address(settings)}/admin",
        *([f"  From here    {_local(settings)}/admin"] if settings.public_url else []),
        f"  Webhook      {_webhook(settings, new)}",
        f"  Data         {place.folder}",
        f"  Log          {place.log_file}",
        f"  Database     {place.database}",
        *_processes(settings, place),
        f"  Tokens       {place.folder / FILE}, unless .env or the environment has them",
        *_missing(settings),
        "",
        f"Ctrl-C stops. Is all well? {DOCTOR} says so, in another window.",
    ]


def _processes(settings: Settings, place: Place) -> list[str]:
    if settings.workers == 1:
        return []
    logs = place.log_file.with_name("process-N.log")
    return [f"  Processes    {settings.workers}, each with a log of its own: {logs}"]


def _webhook(settings: Settings, new: Mapping[str, str]) -> str:
    root = f"{address(settings)}/webhook/in"
    if settings.allow_unauthenticated_ingress:
        return f"{root}  (without a token: ALLOW_UNAUTHENTICATED_INGRESS)"
    return f"{root}/{new.get('WEBHOOK_TOKEN', MASKED)}"


UNSEEN = {"ENCRYPTION_KEY": "(in that file: without a copy of it sealed values are lost)"}


def made(folder: Path, new: Mapping[str, str]) -> list[str]:
    """Return the one showing of secrets that were made just now; nobody ever types the key."""
    if not new:
        return []
    width = max(map(len, new))
    return [
        f"Made just now, kept in {folder / FILE}, not shown again:",
        *(f"  {name:<{width}}  {UNSEEN.get(name, value)}" for name, value in new.items()),
    ]


def _missing(settings: Settings) -> list[str]:
    found: list[str] = []
    if settings.dest_webhook_url is None:
        found.append(
            "No DEST_WEBHOOK_URL: until there is a destination, alerts are judged and every "
            "signal is rejected (no_destination)."
        )
    if settings.public_url is None:
        found.append(
            "No PUBLIC_URL: senders outside this machine need an https address that leads here."
        )
    return ["", "  Not configured yet:", *(f"    - {line}" for line in found)] if found else []
