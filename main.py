"""The composition root: the one place where the parts of the relay learn of each other."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from config import Settings, SettingsError
from database import destinations, screens
from database.migrate import UnfitDatabaseError, migrate, require_durable
from database.pool import Database, is_unavailable
from database.screens import ScreenId
from database.vault import Vault
from domain.access import SessionPolicy
from domain.address import DestinationUrlError, check_destination_url
from domain.delivery import DestinationId
from domain.destination import Destination, SigningKeys, default_windows, own_hosts
from domain.gate import SellPolicy
from domain.screen import EXAMPLE_URL, Screen, ScreenError, parse_screen_url
from domain.signal import Side, uuid7
from domain.signature import key_of
from engines.access.doorkeeper import Doorkeeper, grants_of
from engines.clock import entropy, roll, utc_now
from engines.destinations.client import DestinationClient, Limits
from engines.failpoints import Reach, passes
from engines.metrics import Metrics
from engines.relay.forwarder import Forwarder
from engines.relay.gatekeeper import CurrentList, Gatekeeper
from engines.relay.intake import Intake
from engines.relay.leasing import Leasing
from engines.relay.settler import Settler
from engines.relay.sweeper import Sweeper
from engines.supervisor import running
from engines.universe import config_file
from engines.universe.finviz import USER_AGENT, FinvizSource
from engines.universe.keeper import Keeper
from engines.worker import Bell, Worker
from web.app import create_app
from web.dependencies import Rules, State

VERSION = "0.1.0"
FROM_ENVIRONMENT = "the environment"
PATIENCE = timedelta(seconds=30)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outside:
    """The two systems we speak to, when they are to be played in this process (demo, tests)."""

    finviz: httpx.AsyncBaseTransport | None = None
    destination: httpx.AsyncBaseTransport | None = None


def build(
    settings: Settings,
    database_url: str,
    *,
    outside: Outside | None = None,
    check_durability: bool = True,
    reach: Reach = passes,
) -> ASGIApp:
    """Read `_lifespan` top to bottom: what is opened first is closed last.

    ``check_durability`` refuses a server that could lose a commit; only tests run on one that may.
    ``reach`` is what happens at failpoints; only tests have anything happen there.
    """
    around = outside or Outside()
    refuse_unfit(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[State]:
        async with AsyncExitStack() as stack:
            house = await _open(stack, settings, database_url, check_durability=check_durability)
            house = replace(house, reach=reach)
            yield await _start(stack, house, around)

    return create_app(lifespan, VERSION)


def refuse_unfit(settings: Settings) -> None:
    """Raise SettingsError for what only the domain can judge: addresses, keys, the first screen."""
    for name, check in {
        "ENCRYPTION_KEY": lambda: Vault.from_key(settings.encryption_key.get_secret_value()),
        "DEST_WEBHOOK_SIGNING_SECRET": lambda: key_of(
            settings.dest_webhook_signing_secret.get_secret_value()
        ),
        "DEST_WEBHOOK_URL": lambda: _first_destination(settings),
        "FINVIZ_URL or FINVIZ_CONFIG_FILE": lambda: _first_screen(settings),
    }.items():
        try:
            check()
        except (ValueError, ScreenError, DestinationUrlError) as error:
            raise SettingsError(
                f"{name}: {error}".replace(f"{name}: {name}: ", f"{name}: ")
            ) from None


@dataclass(frozen=True, slots=True)
class House:
    """What every engine may be handed: three pools that cannot starve one another, and the rest."""

    settings: Settings
    intake: Database
    engines: Database
    pages: Database
    vault: Vault
    metrics: Metrics
    reach: Reach = passes


async def _open(
    stack: AsyncExitStack, settings: Settings, url: str, *, check_durability: bool
) -> House:
    """Connect, migrate, and put the first screen and destination in place."""

    def pool(size: int, patience: float) -> Database:
        database = Database.connect(url, pool=size, patience=timedelta(seconds=patience))
        stack.push_async_callback(database.close)
        return database

    house = House(
        settings=settings,
        intake=pool(2, 2),
        engines=pool(min(settings.worker_concurrency, 8) + 4, 10),
        pages=pool(4, 5),
        vault=Vault.from_key(settings.encryption_key.get_secret_value()),
        metrics=Metrics(),
    )
    starting = Database.connect(url, pool=1, patience=timedelta(minutes=5))
    try:
        await _prepare(starting, house, check_durability=check_durability)
    finally:
        await starting.close()
    return house


async def _prepare(database: Database, house: House, *, check_durability: bool) -> None:
    """Give a server that starts beside us, or goes away meanwhile, half a minute to be there.

    Every part may be repeated. Raises UnfitDatabaseError.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + PATIENCE.total_seconds()
    while True:
        try:
            if check_durability:
                await require_durable(database)
            await migrate(database)
            return await _furnish(database, house)
        except Exception as error:
            if not is_unavailable(error):
                raise
            if clock() > deadline:
                raise UnfitDatabaseError(
                    f"the database did not answer within {PATIENCE.seconds} s"
                ) from None
        log.warning("database.awaited")
        await asyncio.sleep(1)


async def _furnish(database: Database, house: House) -> None:
    settings = house.settings
    first = ScreenId(uuid7(utc_now(), entropy(10)))
    destination = _first_destination(settings)
    async with database.write() as connection:
        await screens.create_first(
            connection, first, "first screen", _first_screen(settings), actor=FROM_ENVIRONMENT
        )
        if destination and not await destinations.create_first(
            connection, house.vault, destination, actor=FROM_ENVIRONMENT
        ):
            log.info("destination.in_database", extra={"setting": "DEST_WEBHOOK_URL"})


def _first_screen(settings: Settings) -> Screen:
    """FINVIZ_CONFIG_FILE where it is there, else FINVIZ_URL, TOP_N and FINVIZ_REFRESH_SEC."""
    seconds = settings.finviz_refresh_sec or (15 if settings.finviz_use_elite else 180)
    default = Screen(
        url=parse_screen_url(settings.finviz_url or EXAMPLE_URL),
        top_n=settings.top_n,
        refresh=timedelta(seconds=seconds),
    )
    return config_file.read(settings.finviz_config_file, default)


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


async def _start(stack: AsyncExitStack, house: House, outside: Outside) -> State:
    """Build the engines and set them to work; they stop in the order of the signal's path."""
    settings, bell = house.settings, Bell()
    intake, sweeper = (
        _intake(house, bell),
        Sweeper(database=house.engines, metrics=house.metrics, clock=utc_now, reach=house.reach),
    )
    settler = Settler(
        database=house.engines,
        wake=bell.rings("settler"),
        wake_forwarder=bell.rings("forwarder"),
        dice=roll,
        reach=house.reach,
    )
    forwarder = _forwarder(house, outside, settler)
    keeper = await _keeper(stack, house, outside)
    last = [bell.hung(Worker("settler", settler.step, utc_now))]
    first = [
        bell.hung(Worker("intake", intake.step, utc_now)),
        *(bell.hung(worker) for worker in _gatekeepers(house, bell)),
        bell.hung(Worker("forwarder", forwarder.step, utc_now)),
        bell.hung(Worker("keeper", keeper.step, utc_now)),
        bell.hung(Worker("sweeper", sweeper.step, utc_now)),
    ]
    grace = settings.shutdown_grace
    stack.push_async_callback(settler.flush)
    await stack.enter_async_context(running(last, grace=grace))
    stack.push_async_callback(forwarder.drain, grace)
    await stack.enter_async_context(running(first, grace=grace))
    return _state(house, intake, [*first, *last], sweeper, bell)


def _intake(house: House, bell: Bell) -> Intake:
    return Intake(
        database=house.intake,
        metrics=house.metrics,
        wake=bell.rings("intake"),
        wake_gatekeeper=bell.rings("gatekeeper"),
        reach=house.reach,
    )


def _gatekeepers(house: House, bell: Bell) -> list[Worker]:
    """The first looks for work; whoever finds more than he can do wakes the next."""
    settings, current = house.settings, CurrentList()

    def gatekeeper(number: int) -> Worker:
        max_age = settings.list_max_age_sec
        step = Gatekeeper(
            database=house.engines,
            metrics=house.metrics,
            current=current,
            sell_policy=SellPolicy(settings.sell_policy),
            list_max_age=timedelta(seconds=max_age) if max_age else None,
            wake_forwarder=bell.rings("forwarder"),
            wake_another=bell.rings("gatekeeper", number),
            poll=timedelta(seconds=1) if number == 1 else None,
            reach=house.reach,
        ).step
        return Worker(f"gatekeeper {number}", step, utc_now)

    return [gatekeeper(number) for number in range(1, settings.worker_concurrency + 1)]


def _forwarder(house: House, outside: Outside, settler: Settler) -> Forwarder:
    settings = house.settings

    def connect(destination: Destination) -> DestinationClient:
        return DestinationClient(
            destination.url,
            private=settings.private_destinations,
            limits=Limits(
                connections=destination.concurrency or settings.forwarding_workers,
                deadline=destination.timeout,
                connecting=destination.connect_timeout,
            ),
            transport=outside.destination,
            reach=house.reach,
        )

    return Forwarder(
        database=house.engines,
        leasing=Leasing(vault=house.vault, sell_share=settings.sell_reserved_share),
        connect=connect,
        settle=settler.put,
        is_behind=settler.is_behind,
        metrics=house.metrics,
        clock=utc_now,
        dice=roll,
        workers=settings.forwarding_workers,
        reach=house.reach,
    )


async def _keeper(stack: AsyncExitStack, house: House, outside: Outside) -> Keeper:
    settings = house.settings
    http = await stack.enter_async_context(
        httpx.AsyncClient(transport=outside.finviz, trust_env=False)
    )
    token = settings.finviz_auth_token if settings.finviz_use_elite else None
    source = FinvizSource(
        http=http,
        clock=utc_now,
        base_url=settings.finviz_base_url,
        token=token.get_secret_value() if token else None,
        user_agent=settings.finviz_user_agent or USER_AGENT,
    )
    return Keeper(
        database=house.engines,
        source=source,
        metrics=house.metrics,
        dice=roll,
        reach=house.reach,
    )


def _state(
    house: House, intake: Intake, workers: list[Worker], sweeper: Sweeper, bell: Bell
) -> State:
    settings = house.settings
    grants = grants_of(
        webhook=settings.webhook_token.get_secret_value(),
        finviz_update=settings.finviz_update_token.get_secret_value(),
        admin=settings.admin_token.get_secret_value(),
    )
    policy = SessionPolicy(
        idle=timedelta(minutes=settings.session_idle_min),
        absolute=timedelta(hours=settings.session_max_h),
    )
    doorkeeper = Doorkeeper(database=house.pages, grants=grants, policy=policy, entropy=entropy)
    return State(
        intake=intake,
        doorkeeper=doorkeeper,
        pages=house.pages,
        vault=house.vault,
        metrics=house.metrics,
        workers=workers,
        backlog=lambda: sweeper.backlog,
        wake_keeper=bell.rings("keeper"),
        rules=_rules(settings),
        reach=house.reach,
        clock=utc_now,
        entropy=entropy,
    )


def _rules(settings: Settings) -> Rules:
    max_age = settings.list_max_age_sec
    return Rules(
        version=VERSION,
        public_url=settings.public_url,
        open_ingress=settings.allow_unauthenticated_ingress,
        lifetimes={
            Side.BUY: timedelta(seconds=settings.buy_ttl_sec),
            Side.SELL: timedelta(seconds=settings.sell_ttl_sec),
        },
        dedupe_window=timedelta(seconds=settings.dedupe_window_sec),
        list_max_age=timedelta(seconds=max_age) if max_age else None,
        elite=settings.finviz_use_elite,
        queue_max=settings.queue_max_size,
        private_destinations=settings.private_destinations,
        own_hosts=own_hosts(settings.public_url),
    )
