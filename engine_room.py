"""The engine room: how each engine is built from the settings and the parts of the house."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import httpx

from config import Settings
from domain.access import SessionPolicy
from domain.delivery import Answer
from domain.destination import Destination
from domain.gate import SellPolicy
from domain.notice import Request
from domain.signal import Side
from engines.access.doorkeeper import Doorkeeper, grants_of
from engines.access.keyring import Keyring
from engines.access.standing import Standing
from engines.chain.notary import Notary
from engines.chronicle import lines, spans
from engines.chronicle.chronicler import Chronicler
from engines.clock import entropy, roll, utc_now
from engines.destinations.client import DestinationClient, Limits
from engines.destinations.examiner import Examiner
from engines.live.announcer import Announcer
from engines.live.hub import Hub
from engines.live.listener import Listener
from engines.live.usher import Usher
from engines.notices.heartbeat import Heartbeat
from engines.notices.notifier import Notifier
from engines.notices.postman import Postman
from engines.notices.watchman import Watchman
from engines.outbound import outgoing, vetted_transport
from engines.relay.archivist import Archivist
from engines.relay.desk import Desk
from engines.relay.forwarder import Forwarder
from engines.relay.gatekeeper import Gatekeeper
from engines.relay.intake import Intake
from engines.relay.judge import CurrentList, Judge
from engines.relay.leasing import Leasing
from engines.relay.precedence import PAUSE, Precedence
from engines.relay.rehearsal import Rehearsal
from engines.relay.replayer import Replayer
from engines.relay.settler import Settler
from engines.universe import calendar
from engines.universe.finviz import USER_AGENT, FinvizSource
from engines.universe.finviz_http import asking
from engines.universe.finviz_login import Login
from engines.universe.fixed import FixedList, SourceByKind
from engines.universe.historian import Historian
from engines.universe.keeper import Keeper
from engines.universe.source import UniverseSource
from engines.worker import SELDOM, Bell, Worker
from furnishing import heartbeat_url, kept, mail_server
from house import House, Outside
from version import VERSION

NOTICE_DEADLINE = timedelta(seconds=10)


async def doorkeeper(house: House) -> Doorkeeper:
    """Who knows every token before the first alert comes: senders do not repeat after a 401."""
    settings = house.settings
    of_settings = grants_of(
        webhook=settings.webhook_token.get_secret_value(),
        finviz_update=settings.finviz_update_token.get_secret_value(),
        admin=settings.admin_token.get_secret_value(),
    )
    keyring = Keyring(database=house.engines, of_settings=of_settings, clock=utc_now)
    await keyring.refresh()
    policy = SessionPolicy(
        idle=timedelta(minutes=settings.session_idle_min),
        absolute=timedelta(hours=settings.session_max_h),
    )
    keeper = Doorkeeper(database=house.pages, keyring=keyring, policy=policy, entropy=entropy)
    await keeper.end_others()
    return keeper


def standing(house: House, doorkeeper: Doorkeeper) -> Standing:
    return Standing(database=house.live, keyring=doorkeeper.keyring, policy=doorkeeper.policy)


def live(
    stack: AsyncExitStack, house: House, hub: Hub, standing: Standing, bell: Bell, version: str
) -> list[Worker]:
    """Who tells live pages what happens: told of each commit here, and by other replicas."""
    name = entropy(6).hex()
    announcer = Announcer(
        database=house.live,
        hub=hub,
        metrics=house.metrics,
        version=version,
        name=name,
        wake=bell.rings("announcer"),
        wake_usher=bell.rings("usher"),
    )
    for pool in (house.intake, house.engines, house.pages, house.desk):
        pool.on_events(announcer.written)
    listener = Listener(
        url=house.live.url,
        hub=hub,
        name=name,
        wake=bell.rings("listener"),
        wake_announcer=bell.rings("announcer"),
    )
    stack.push_async_callback(listener.close)
    return [
        Worker("announcer", announcer.step, utc_now),
        Worker("listener", listener.step, utc_now),
        Worker("usher", Usher(hub=hub, ended=standing.ended).step, utc_now),
    ]


def hub(house: House, bell: Bell) -> Hub:
    """Whoever comes is greeted by the announcer; the other two work while somebody is there."""

    def come() -> None:
        for name in ("announcer", "listener", "usher"):
            bell.rings(name)()

    return Hub(most=house.settings.live_clients_max, metrics=house.metrics, wake=come)


def intake(house: House, bell: Bell) -> Intake:
    return Intake(
        database=house.intake.dedicated(),
        metrics=house.metrics,
        wake=bell.rings("intake"),
        wake_gatekeeper=bell.rings("gatekeeper"),
        budget=house.intake.patience,
        reach=house.reach,
    )


def gatekeepers(house: House, bell: Bell, intake: Intake) -> list[Worker]:
    """The first looks for work; whoever finds more than he can do wakes the next.

    One more goes over the buys that wait.
    """
    settings, judging = house.settings, replace(judge(house), early=intake.early)
    precedence = Precedence(lambda: intake.is_pressed, PAUSE)

    def gatekeeper(number: int) -> Gatekeeper:
        return Gatekeeper(
            database=house.engines,
            metrics=house.metrics,
            judge=judging,
            wake_forwarder=bell.rings("forwarder"),
            wake_another=bell.rings("gatekeeper", number),
            poll=SELDOM if number == 1 else None,
            reach=house.reach,
            precedence=precedence,
        )

    return [
        Worker("reconsider", gatekeeper(0).reconsider, utc_now),
        *(
            Worker(f"gatekeeper {number}", gatekeeper(number).step, utc_now)
            for number in range(1, settings.worker_concurrency + 1)
        ),
    ]


def judge(house: House) -> Judge:
    return Judge(
        current=CurrentList(),
        sell_policy=SellPolicy(house.settings.sell_policy),
        list_max_age=house.settings.list_max_age,
        until_open=calendar.until_open,
        reach=house.reach,
    )


def desk(house: House, bell: Bell) -> Desk:
    return Desk(
        database=house.desk,
        judge=judge(house),
        metrics=house.metrics,
        clock=utc_now,
        entropy=entropy,
        lifetime=timedelta(seconds=house.settings.sell_ttl_sec),
        wake_forwarder=bell.rings("forwarder"),
        wake_gatekeeper=bell.rings("gatekeeper"),
        reach=house.reach,
    )


def replayer(house: House, bell: Bell) -> Replayer:
    return Replayer(
        judge=judge(house),
        lifetimes={
            Side.BUY: timedelta(seconds=house.settings.buy_ttl_sec),
            Side.SELL: timedelta(seconds=house.settings.sell_ttl_sec),
        },
        metrics=house.metrics,
        clock=utc_now,
        entropy=entropy,
        wake_forwarder=bell.rings("forwarder"),
    )


def rehearsal(house: House, bell: Bell) -> Rehearsal:
    return Rehearsal(
        database=house.pages,
        judge=judge(house),
        vault=house.vault,
        clock=utc_now,
        wake_gatekeeper=bell.rings("gatekeeper"),
    )


def connecting(house: House, outside: Outside) -> Callable[[Destination], DestinationClient]:
    """How a destination is reached, by whoever sends there."""
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

    return connect


def examiner(house: House, outside: Outside) -> Examiner:
    return Examiner(
        database=house.pages,
        vault=house.vault,
        connect=connecting(house, outside),
        clock=utc_now,
        entropy=entropy,
        sell_share=house.settings.sell_reserved_share,
    )


def forwarder(house: House, outside: Outside, settler: Settler) -> Forwarder:
    settings = house.settings
    return Forwarder(
        database=house.engines,
        leasing=Leasing(vault=house.vault, sell_share=settings.sell_reserved_share),
        connect=connecting(house, outside),
        records=settler,
        metrics=house.metrics,
        clock=utc_now,
        dice=roll,
        workers=settings.forwarding_workers,
        reach=house.reach,
    )


async def source(stack: AsyncExitStack, house: House, outside: Outside) -> UniverseSource:
    settings = house.settings
    http = await stack.enter_async_context(asking(settings.finviz_base_url, outside.finviz))
    token = settings.finviz_auth_token
    finviz = FinvizSource(
        http=http,
        clock=utc_now,
        base_url=settings.finviz_base_url,
        token=token.get_secret_value() if token else None,
        login=login(settings),
        user_agent=settings.finviz_user_agent or USER_AGENT,
    )
    return SourceByKind(finviz=finviz, fixed=FixedList())


def login(settings: Settings) -> Login | None:
    if settings.finviz_email is None or settings.finviz_password is None:
        return None
    return Login(
        settings.finviz_email.get_secret_value(), settings.finviz_password.get_secret_value()
    )


def keeper(house: House, source: UniverseSource, bell: Bell) -> Keeper:
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


def historian(house: House) -> Historian:
    keep = timedelta(days=house.settings.retention_days)
    return Historian(database=house.engines, keep=keep, deleted=house.metrics.deleted)


def archivist(house: House) -> Archivist:
    return Archivist(
        database=house.engines, keep=kept(house.settings), deleted=house.metrics.deleted
    )


def notary(house: House) -> Notary:
    return Notary(database=house.engines)


def chronicler(stack: AsyncExitStack, house: House, intake: Intake) -> Chronicler | None:
    """None where neither log nor traces are to tell of signals."""
    settings = house.settings
    tell = [lines.told] if settings.log_signals and lines.wanted() else []
    endpoint, headers = settings.otel_exporter_otlp_endpoint, settings.otel_headers
    sent = spans.wanted(endpoint, headers, version=VERSION, service=settings.otel_service_name)
    if sent:
        stack.push_async_callback(asyncio.to_thread, sent.close)
        tell.append(sent.told)
    if not tell:
        return None
    return Chronicler(database=house.engines, tell=tell, is_pressed=lambda: intake.is_pressed)


def watchman(house: House, bell: Bell) -> Watchman:
    return Watchman(
        database=house.engines,
        metrics=house.metrics,
        until_open=calendar.until_open,
        wake_notifier=bell.rings("notifier"),
    )


def notifier(house: House, outside: Outside) -> Notifier:
    settings, server = house.settings, mail_server(house.settings)

    async def post(request: Request) -> Answer:
        """A client of its own for each: they are few, and seldom to the same address."""
        client = await asyncio.to_thread(
            DestinationClient,
            request.url,
            private=settings.private_destinations,
            limits=Limits(connections=1, deadline=NOTICE_DEADLINE),
            transport=outside.notices,
        )
        try:
            return await client.post(request.body, dict(request.headers), lambda: True)
        finally:
            await client.close()

    return Notifier(
        database=house.engines,
        vault=house.vault,
        metrics=house.metrics,
        clock=utc_now,
        post=post,
        postman=Postman(server=server) if server else None,
        link=f"{settings.public_url}/admin" if settings.public_url else None,
    )


async def heartbeat(
    stack: AsyncExitStack,
    house: House,
    outside: Outside,
    is_ready: Callable[[], Awaitable[bool]],
) -> Heartbeat | None:
    """None where no address is to be called."""
    url = heartbeat_url(house.settings)
    if url is None:
        return None
    private = house.settings.private_destinations
    http = await stack.enter_async_context(
        outgoing(
            outside.notices or vetted_transport(url, private, 1),
            httpx.Timeout(NOTICE_DEADLINE.total_seconds()),
        )
    )

    async def call() -> str | None:
        try:
            async with asyncio.timeout(NOTICE_DEADLINE.total_seconds()):
                async with http.stream("GET", url) as answer:  # what it says is nothing to us
                    return None if answer.is_success else f"http {answer.status_code}"
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            return type(error).__name__

    return Heartbeat(call=call, is_ready=is_ready, metrics=house.metrics)
