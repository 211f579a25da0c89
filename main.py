"""The composition root: the one place where the parts of the relay learn of each other."""

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from config import Settings
from database.pool import Database
from database.vault import Vault
from domain.access import SessionPolicy
from domain.destination import Destination, own_hosts
from domain.gate import SellPolicy
from domain.signal import Side
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
from engines.universe import calendar
from engines.universe.finviz import USER_AGENT, FinvizSource
from engines.universe.finviz_login import Login
from engines.universe.fixed import FixedList, SourceByKind
from engines.universe.historian import Historian
from engines.universe.keeper import Keeper
from engines.universe.source import UniverseSource
from engines.worker import Bell, Worker
from furnishing import prepare, refuse_unfit
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
        await prepare(starting, settings, house.vault, check_durability=check_durability)
    finally:
        await starting.close()
    return house


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
    source = await _source(stack, house, outside)
    keeper = _keeper(house, source, bell)
    last = [bell.hung(Worker("settler", settler.step, utc_now))]
    first = [
        bell.hung(Worker("intake", intake.step, utc_now)),
        *(bell.hung(worker) for worker in _gatekeepers(house, bell)),
        bell.hung(Worker("forwarder", forwarder.step, utc_now)),
        bell.hung(Worker("keeper", keeper.step, utc_now)),
        bell.hung(Worker("sweeper", sweeper.step, utc_now)),
        bell.hung(Worker("historian", _historian(house).step, utc_now)),
    ]
    grace = settings.shutdown_grace
    stack.push_async_callback(settler.flush)
    await stack.enter_async_context(running(last, grace=grace))
    stack.push_async_callback(forwarder.drain, grace)
    await stack.enter_async_context(running(first, grace=grace))
    return _state(house, intake, [*first, *last], sweeper, bell, source)


def _intake(house: House, bell: Bell) -> Intake:
    return Intake(
        database=house.intake,
        metrics=house.metrics,
        wake=bell.rings("intake"),
        wake_gatekeeper=bell.rings("gatekeeper"),
        reach=house.reach,
    )


def _gatekeepers(house: House, bell: Bell) -> list[Worker]:
    """The first looks for work; whoever finds more than he can do wakes the next.

    One more goes over the buys that wait.
    """
    settings, current = house.settings, CurrentList()

    def gatekeeper(number: int) -> Gatekeeper:
        return Gatekeeper(
            database=house.engines,
            metrics=house.metrics,
            current=current,
            sell_policy=SellPolicy(settings.sell_policy),
            list_max_age=settings.list_max_age,
            wake_forwarder=bell.rings("forwarder"),
            wake_another=bell.rings("gatekeeper", number),
            poll=timedelta(seconds=1) if number == 1 else None,
            reach=house.reach,
        )

    return [
        Worker("reconsider", gatekeeper(0).reconsider, utc_now),
        *(
            Worker(f"gatekeeper {number}", gatekeeper(number).step, utc_now)
            for number in range(1, settings.worker_concurrency + 1)
        ),
    ]


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


async def _source(stack: AsyncExitStack, house: House, outside: Outside) -> UniverseSource:
    settings = house.settings
    http = await stack.enter_async_context(
        httpx.AsyncClient(transport=outside.finviz, trust_env=False)
    )
    token = settings.finviz_auth_token
    finviz = FinvizSource(
        http=http,
        clock=utc_now,
        base_url=settings.finviz_base_url,
        token=token.get_secret_value() if token else None,
        login=_login(settings),
        user_agent=settings.finviz_user_agent or USER_AGENT,
    )
    return SourceByKind(finviz=finviz, fixed=FixedList())


def _login(settings: Settings) -> Login | None:
    if settings.finviz_email is None or settings.finviz_password is None:
        return None
    return Login(
        settings.finviz_email.get_secret_value(), settings.finviz_password.get_secret_value()
    )


def _keeper(house: House, source: UniverseSource, bell: Bell) -> Keeper:
    return Keeper(
        database=house.engines,
        source=source,
        metrics=house.metrics,
        dice=roll,
        clock=utc_now,
        list_max_age=house.settings.list_max_age,
        until_open=calendar.until_open,
        wake_waiting=bell.rings("reconsider"),
        reach=house.reach,
    )


def _historian(house: House) -> Historian:
    keep = timedelta(days=house.settings.retention_days)
    return Historian(database=house.engines, keep=keep, deleted=house.metrics.deleted)


def _state(
    house: House,
    intake: Intake,
    workers: list[Worker],
    sweeper: Sweeper,
    bell: Bell,
    source: UniverseSource,
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
        source=source,
        config_file=settings.finviz_config_file,
        rules=_rules(settings),
        reach=house.reach,
        clock=utc_now,
        entropy=entropy,
    )


def _rules(settings: Settings) -> Rules:
    return Rules(
        version=VERSION,
        public_url=settings.public_url,
        open_ingress=settings.allow_unauthenticated_ingress,
        lifetimes={
            Side.BUY: timedelta(seconds=settings.buy_ttl_sec),
            Side.SELL: timedelta(seconds=settings.sell_ttl_sec),
        },
        dedupe_window=timedelta(seconds=settings.dedupe_window_sec),
        list_max_age=settings.list_max_age,
        sell_policy=SellPolicy(settings.sell_policy),
        elite=settings.finviz_use_elite,
        queue_max=settings.queue_max_size,
        private_destinations=settings.private_destinations,
        own_hosts=own_hosts(settings.public_url),
    )
