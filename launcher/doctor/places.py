"""Destinations: whether each is in use, may be reached, and shakes hands. None gets a request."""

import asyncio
from collections.abc import Mapping
from typing import Any

from config import Settings
from database import channels, destinations
from database.pool import Database, ReadConnection
from database.vault import Vault
from domain.address import DestinationUrlError, check_destination_url, shown
from domain.breaker import BreakerState
from domain.destination import DestinationState, Mode, own_hosts
from engines.clock import utc_now
from launcher.doctor.dial import UnreachedError, certificate, reach
from launcher.doctor.findings import DESTINATIONS, TOLD, Finding

NONE = "none: every signal is rejected (no_destination)"
ADD = "add one on the page of destinations, or set DEST_WEBHOOK_URL before the first start"


async def of_settings(settings: Settings, *, offline: bool) -> list[Finding]:
    """Where the database cannot be asked, the one that the first start would make."""
    if settings.dest_webhook_url is None:
        words = "those in the database could not be looked at, and DEST_WEBHOOK_URL is not set"
        return [DESTINATIONS.skipped("destinations", words, "once the relay runs, ask again")]
    url = settings.dest_webhook_url.get_secret_value()
    return [await looked_at("DEST_WEBHOOK_URL", url, settings, offline=offline)]


async def of_database(
    database: Database, vault: Vault, settings: Settings, *, offline: bool
) -> list[Finding]:
    """Every destination there is, each reached for at the same time; and the channels."""
    async with database.read() as connection:
        found = await destinations.listed(connection, vault)
        urls = {one["name"]: await _url(connection, vault, one) for one in found if one["opens"]}
        told = await channels.listed(connection)
    if not found:
        return [DESTINATIONS.warning("destinations", NONE, ADD), notices(told)]
    standing = [standing_of(one) for one in found]
    reaching = (
        looked_at(name, url, settings, offline=offline) for name, url in urls.items() if url
    )
    return [*standing, *await asyncio.gather(*reaching), notices(told)]


async def _url(connection: ReadConnection, vault: Vault, one: Mapping[str, Any]) -> str | None:
    whole = await destinations.at_version(connection, vault, one["id"], one["version"])
    return whole.url if whole else None


def standing_of(one: Mapping[str, Any]) -> Finding:
    """Whether signals go there now."""
    name, state = one["name"], one["state"]
    if not one["opens"]:
        words = "does not open with this ENCRYPTION_KEY: nothing is sent there"
        todo = "bring the key back that it was sealed with, or enter its address anew on its page"
        return DESTINATIONS.fails(name, words, todo)
    if state != DestinationState.ENABLED:
        todo = "resume or enable it on its page, if signals should go there"
        return DESTINATIONS.warning(name, f"is {state}: nothing is sent there", todo)
    if one["breaker"] != BreakerState.CLOSED:
        words = f"its breaker is {one['breaker']}: {one['breaker_cause'] or 'it fails'}"
        return DESTINATIONS.warning(name, words, "mend the cause, then close it on its page")
    if one["mode"] == Mode.DRY_RUN:
        return DESTINATIONS.warning(name, "dry run: nothing leaves", "go live on its page")
    return DESTINATIONS.ok(name, f"in use, {one['queued']} waiting")


def notices(told: list[Mapping[str, Any]]) -> Finding:
    """Whether anybody hears of what wants a look."""
    count = sum(1 for one in told if one["enabled"])
    if count:
        return TOLD.ok("channels", f"{count} in use")
    return TOLD.warning(
        "channels",
        "none: only who looks at the page learns that something is wrong",
        "add one: Settings, Channels",
    )


async def looked_at(name: str, url: str, settings: Settings, *, offline: bool) -> Finding:
    """Vet the address; then its name, the connection, TLS and the certificate."""
    try:
        check_destination_url(
            url,
            private=settings.private_destinations,
            own_hosts=own_hosts(settings.public_url),
        )
    except DestinationUrlError as error:
        return DESTINATIONS.fails(name, f"its address {error}", "correct it on its page")
    if offline:
        return DESTINATIONS.skipped(name, f"{shown(url)} is not reached for: --offline")
    try:
        found = await reach(url, settings.private_destinations)
    except UnreachedError as error:
        return DESTINATIONS.fails(name, f"{shown(url)}: {error.words}", error.todo)
    return certificate(DESTINATIONS, name, found, utc_now())
