"""Before the first step: settings that cannot work are refused, an empty database is furnished."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from config import Settings, SettingsError
from database import destinations, forgetting, moved, resealing, screens
from database.condition import openable
from database.migrate import UnfitDatabaseError, migrate, own_role, require_durable
from database.pool import Database, is_unavailable
from database.screens import Kept, ScreenId
from database.vault import Vault
from domain.address import DestinationUrlError, check_destination_url
from domain.delivery import DestinationId
from domain.destination import Destination, SigningKeys, default_windows, own_hosts
from domain.mail import MailServer, parse_mail_server
from domain.rulebook import LONGEST_COOLDOWN
from domain.screen import EXAMPLE_URL, Screen, ScreenError, parse_screen_url
from domain.screen_terms import NamedScreen
from domain.signal import uuid7
from domain.signature import key_of
from engines.clock import entropy, utc_now
from engines.universe import config_file

FROM_ENVIRONMENT = "the environment"
PATIENCE = timedelta(seconds=30)

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


def refuse_unfit(settings: Settings) -> None:
    """Raise SettingsError for what only the domain can judge: addresses, keys, the first screen."""
    for name, check in {
        "ENCRYPTION_KEY": lambda: Vault.from_key(settings.encryption_key.get_secret_value()),
        "ENCRYPTION_KEY_OLD": lambda: vault_of(settings),
        "DEST_WEBHOOK_SIGNING_SECRET": lambda: key_of(
            settings.dest_webhook_signing_secret.get_secret_value()
        ),
        "DEST_WEBHOOK_URL": lambda: _first_destination(settings),
        "SMTP_URL": lambda: mail_server(settings),
        "HEARTBEAT_URL": lambda: heartbeat_url(settings),
        "FINVIZ_URL or FINVIZ_CONFIG_FILE": lambda: _first_screens(settings),
    }.items():
        try:
            check()
        except (ValueError, ScreenError, DestinationUrlError) as error:
            raise SettingsError(
                f"{name}: {error}".replace(f"{name}: {name}: ", f"{name}: ")
            ) from None


def vault_of(settings: Settings) -> Vault:
    """Seals with ENCRYPTION_KEY, and opens with ENCRYPTION_KEY_OLD too. Raises ValueError."""
    old = settings.encryption_key_old
    return Vault.from_key(
        settings.encryption_key.get_secret_value(), old.get_secret_value() if old else None
    )


async def prepare(
    database: Database, settings: Settings, vault: Vault, *, check_durability: bool
) -> str | None:
    """Migrate and furnish; every part may be repeated. Return the role to act in.

    Raises UnfitDatabaseError.
    """
    if check_durability:
        await require_durable(database)
    await migrate(database)
    await _settle(database)
    await _furnish(database, settings, vault)
    await _try_keys(database, vault)
    await _set_floor(database, kept(settings))
    return await own_role(database)


async def patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Give a server that starts beside us, or goes away meanwhile, half a minute to be there.

    Raises UnfitDatabaseError when that was not enough.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE.total_seconds()
    while True:
        try:
            return await ask()
        except Exception as error:
            if not is_unavailable(error):
                raise
            if clock() > deadline:
                raise UnfitDatabaseError(
                    f"the database did not answer within {PATIENCE.seconds} s"
                ) from None
        log.warning("database.awaited")
        await asyncio.sleep(1)


async def _settle(database: Database) -> None:
    """Make a database ours that a dump brought from another server; of many events it takes long.

    Raises UnfitDatabaseError.
    """
    if ahead := await moved.ahead(database):
        log.warning("database.moved", extra={"last": ahead.last, "here": ahead.here})
        if done := await moved.settle(database):
            log.warning("database.settled", extra={"events": done.events, "unseen": done.unseen})


async def _try_keys(database: Database, vault: Vault) -> None:
    """Tell in the log when the keys do not open what is stored: nothing is forwarded there then.

    Alerts are taken all the same: with the right key, sells that still live are sent.
    """
    async with database.read() as connection:
        if lost := (await openable(connection, vault))[resealing.NO_KEY]:
            log.error("key.does_not_open", extra={"values": lost})


def kept(settings: Settings) -> timedelta:
    """RETENTION_DAYS, but signals at least as long as a cooldown may look back for them."""
    return max(timedelta(days=settings.retention_days), LONGEST_COOLDOWN)


async def _set_floor(database: Database, keep: timedelta) -> None:
    async with database.write() as connection:
        await forgetting.set_floor(connection, keep)


async def _furnish(database: Database, settings: Settings, vault: Vault) -> None:
    """Put the first screens and the first destination in place, where there are none."""
    first, *others = _first_screens(settings)
    destination = _first_destination(settings)
    async with database.write() as connection:
        await resealing.seal_plain(connection, vault)
        made = await screens.create_first(connection, _new_screen(first), actor=FROM_ENVIRONMENT)
        for screen in others if made else ():
            await screens.create(connection, _new_screen(screen), actor=FROM_ENVIRONMENT)
        if destination and not await destinations.create_first(
            connection, vault, destination, actor=FROM_ENVIRONMENT
        ):
            log.info("destination.in_database", extra={"setting": "DEST_WEBHOOK_URL"})


def _new_screen(named: NamedScreen) -> Kept:
    return Kept(
        id=ScreenId(uuid7(utc_now(), entropy(10))),
        name=named.name,
        note=named.note,
        version=1,
        screen=named.screen,
    )


def _first_screens(settings: Settings) -> list[NamedScreen]:
    """FINVIZ_CONFIG_FILE where it is there, else FINVIZ_URL, TOP_N and FINVIZ_REFRESH_SEC."""
    seconds = settings.finviz_refresh_sec or (15 if settings.finviz_use_elite else 180)
    default = Screen(
        url=parse_screen_url(settings.finviz_url or EXAMPLE_URL),
        top_n=settings.top_n,
        refresh=timedelta(seconds=seconds),
        slow_when_closed=settings.finviz_slow_when_closed,
    )
    return config_file.read_all(settings.finviz_config_file, default)


def mail_server(settings: Settings) -> MailServer | None:
    url = settings.smtp_url
    return None if url is None else parse_mail_server(url.get_secret_value())


def heartbeat_url(settings: Settings) -> str | None:
    """The address to call while ready, under the rules of destinations."""
    if settings.heartbeat_url is None:
        return None
    return check_destination_url(
        settings.heartbeat_url.get_secret_value(),
        private=settings.private_destinations,
        own_hosts=own_hosts(settings.public_url),
    )


def _first_destination(settings: Settings) -> Destination | None:
    if settings.dest_webhook_url is None:
        return None
    url = check_destination_url(
        settings.dest_webhook_url.get_secret_value(),
        private=settings.private_destinations,
        own_hosts=own_hosts(settings.public_url),
    )
    windows = settings.rate_windows
    return Destination(
        id=DestinationId(uuid7(utc_now(), entropy(10))),
        name="main",
        url=url,
        keys=SigningKeys(key_of(settings.dest_webhook_signing_secret.get_secret_value())),
        windows=default_windows(url) if windows is None else windows,
        version=1,
    )
