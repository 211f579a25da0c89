"""The composition root: the one place where the parts of the relay learn of each other."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import engine_room
from config import Settings
from database.backups import About
from database.migrate import ROLE
from database.pool import Database
from database.room import require_room
from database.upgrading import back_up_before
from database.vault import Vault, nobody
from domain.destination import own_hosts
from domain.gate import SellPolicy
from domain.signal import Side
from engines.access.doorkeeper import Doorkeeper
from engines.access.refusals import Refusals
from engines.access.standing import Standing
from engines.clock import Chance, entropy, roll, utc_now
from engines.destinations.examiner import Examiner
from engines.destinations.relocator import Relocator
from engines.exposition import Exposition
from engines.failpoints import Reach, passes
from engines.gauges import Limits, Process
from engines.lag import Lag
from engines.live.hub import Hub
from engines.metrics import Metrics
from engines.notices.notifier import Notifier
from engines.notices.watchman import Watchman
from engines.pulse import Pulse
from engines.relay.intake import Intake
from engines.relay.settler import Settler
from engines.relay.sweeper import Sweeper
from engines.relay.teller import Teller
from engines.siblings import Place, Siblings
from engines.supervisor import running
from engines.universe.source import UniverseSource
from engines.worker import Bell, Worker
from furnishing import patiently, prepare, refuse_unfit, vault_of
from house import House, Outside
from version import VERSION, revision
from web.app import create_app
from web.dependencies import Rules, State
from web.health import is_ready
from web.proxies import Hosts, Proxies, names_of
from web.webhook import Express

log = logging.getLogger(__name__)

FOLLOWING = 0.2
"""The share of the time of what reads the events after the fact: it never holds up an alert."""


@dataclass(frozen=True, slots=True)
class Staff:
    """The engines that requests turn to."""

    intake: Intake
    doorkeeper: Doorkeeper
    sweeper: Sweeper
    source: UniverseSource
    notifier: Notifier
    examiner: Examiner
    standing: Standing
    hub: Hub


def build(  # noqa: PLR0913  all but two have defaults
    settings: Settings,
    database_url: str,
    *,
    outside: Outside | None = None,
    check_durability: bool = True,
    reach: Reach = passes,
    conceal: Callable[[bytes], None] = nobody,
    place: Place | None = None,
    leisure: float = 1,
) -> Express:
    """Read `_lifespan` top to bottom: what is opened first is closed last.

    ``check_durability`` refuses a server that could lose a commit; only tests run on one that may.
    ``reach`` is what happens at failpoints; only tests have anything happen there. ``conceal`` is
    told every secret that the database holds, for the log to hide. ``place`` is where this process
    stands among several that share a port. ``leisure`` is how many times longer than usual the
    database may take: tests that share a machine with others are not in a hurry.
    """
    around = outside or Outside()
    refuse_unfit(settings)

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncGenerator[State]:
        async with AsyncExitStack() as stack:
            vault = vault_of(settings).telling(conceal)
            house = await _open(
                stack,
                settings,
                database_url,
                vault,
                check_durability=check_durability,
                leisure=leisure,
            )
            house = replace(house, reach=reach)
            state = await _start(stack, house, around)
            if place:
                state["siblings"] = siblings = Siblings(place, house.metrics)
                state["exposition"] = replace(state["exposition"], siblings=siblings)
                await stack.enter_async_context(siblings.answering())
            yield state

    app: Express = create_app(lifespan, VERSION)
    if names := names_of(settings.public_url, settings.host):
        app = Hosts(app, names)
    return Proxies(app, settings.trusted_proxies) if settings.trusted_proxies else app


async def _open(
    stack: AsyncExitStack,
    settings: Settings,
    url: str,
    vault: Vault,
    *,
    check_durability: bool,
    leisure: float,
) -> House:
    """Migrate, put the first screen and destination in place, and connect as who owns nothing."""
    owner = settings.database_owner_url
    owner_url = owner.get_secret_value() if owner else url
    starting = Database.connect(owner_url, pool=1, patience=timedelta(minutes=5))
    try:
        await patiently(lambda: _back_up(starting, settings, vault))
        role = await patiently(
            lambda: prepare(starting, settings, vault, check_durability=check_durability)
        )
        if settings.workers > 1:
            await patiently(lambda: require_room(starting, settings.workers, settings.connections))
    finally:
        await starting.close()
    if role is None:
        log.warning("database.no_role", extra={"role": ROLE})

    def pool(name: str, *, patience: float, wait: float) -> Database:
        database = Database.connect(
            url,
            pool=settings.pools[name],
            patience=timedelta(seconds=patience * leisure),
            wait=timedelta(seconds=wait * leisure),
            role=role,
            keys=vault.fingerprints,
        )
        stack.push_async_callback(database.close)
        return database

    return House(
        settings=settings,
        intake=pool("intake", patience=2, wait=1),
        engines=pool("engines", patience=10, wait=5),
        pages=pool("pages", patience=5, wait=2),
        desk=pool("desk", patience=20, wait=5),
        live=pool("live", patience=5, wait=2),
        vault=vault,
        metrics=Metrics(VERSION, revision()),
    )


async def _back_up(starting: Database, settings: Settings, vault: Vault) -> None:
    """Before an upgrade: `docs/backup.md` says how to go back."""
    about = About(version=VERSION, keys=vault.fingerprints)
    path = await back_up_before(starting, settings.data_dir, about, _too_large)
    if path:
        log.warning("upgrade.backed_up", extra={"path": str(path)})


def _too_large(size: int) -> None:
    log.warning("upgrade.not_backed_up", extra={"bytes": size})


def _following(house: House, watchman: Watchman) -> list[Worker]:
    """Who comes after the path of a signal, in the order of it."""
    steps = {
        "teller": Teller(database=house.engines).step,
        "notary": engine_room.notary(house).step,
        "watchman": watchman.step,
    }
    return [Worker(name, step, utc_now, share=FOLLOWING) for name, step in steps.items()]


async def _start(stack: AsyncExitStack, house: House, outside: Outside) -> State:
    """Build the engines and set them to work; they stop in the order of the signal's path."""
    settings, bell = house.settings, Bell()
    intake, sweeper = (
        engine_room.intake(house, bell),
        Sweeper(database=house.engines, metrics=house.metrics, clock=utc_now, reach=house.reach),
    )
    settler = Settler(
        database=house.engines,
        wake=bell.rings("settler"),
        wake_forwarder=bell.rings("forwarder"),
        dice=roll,
        reach=house.reach,
    )
    forwarder = engine_room.forwarder(house, outside, settler)
    source = await engine_room.source(stack, house, outside)
    keeper = engine_room.keeper(house, source, bell)
    doorkeeper = await patiently(lambda: engine_room.doorkeeper(house))
    notifier = engine_room.notifier(house, outside)
    watchman = engine_room.watchman(house, bell)
    standing, hub = engine_room.standing(house, doorkeeper), engine_room.hub(house, bell)
    live = engine_room.live(stack, house, hub, standing, bell, VERSION)
    last = [bell.hung(Worker("settler", settler.step, utc_now))]
    first = [
        Worker("pulse", Pulse(database=house.engines, ring=bell.rings).step, utc_now),
        bell.hung(Worker("keyring", doorkeeper.keyring.step, utc_now)),
        bell.hung(Worker("intake", intake.step, utc_now)),
        *(bell.hung(worker) for worker in engine_room.gatekeepers(house, bell, intake)),
        bell.hung(Worker("forwarder", forwarder.step, utc_now)),
        bell.hung(Worker("keeper", keeper.step, utc_now)),
        bell.hung(Worker("sweeper", sweeper.step, utc_now)),
        bell.hung(Worker("relocator", Relocator(database=house.engines).step, utc_now)),
        bell.hung(Worker("historian", engine_room.historian(house).step, utc_now)),
        bell.hung(Worker("archivist", engine_room.archivist(house).step, utc_now)),
        *(bell.hung(worker) for worker in _following(house, watchman)),
        bell.hung(Worker("notifier", notifier.step, utc_now)),
        *(bell.hung(worker) for worker in live),
    ]
    if chronicler := engine_room.chronicler(stack, house, intake):
        worker = Worker("chronicler", chronicler.step, utc_now, share=FOLLOWING)
        first.append(bell.hung(worker, "watchman"))
    heartbeat = await engine_room.heartbeat(
        stack, house, outside, lambda: is_ready(house.pages, [*first, *last])
    )
    first += [bell.hung(Worker("heartbeat", heartbeat.step, utc_now))] if heartbeat else []
    stack.enter_context(Lag(house.metrics.lag.observe).measured())
    grace = settings.shutdown_grace
    stack.push_async_callback(settler.flush)
    await stack.enter_async_context(running(last, grace=grace))
    stack.push_async_callback(forwarder.drain, grace)
    await stack.enter_async_context(running(first, grace=grace))
    examiner = engine_room.examiner(house, outside)
    staff = Staff(intake, doorkeeper, sweeper, source, notifier, examiner, standing, hub)
    return _state(house, staff, [*first, *last], bell)


def _state(house: House, staff: Staff, workers: list[Worker], bell: Bell) -> State:
    settings = house.settings
    return State(
        intake=staff.intake,
        doorkeeper=staff.doorkeeper,
        keyring=staff.doorkeeper.keyring,
        refusals=Refusals(
            house.pages, utc_now, tell=lambda why: house.metrics.refused.labels(why).inc()
        ),
        standing=staff.standing,
        hub=staff.hub,
        pages=house.pages,
        vault=house.vault,
        desk=engine_room.desk(house, bell),
        replayer=engine_room.replayer(house, bell),
        rehearsal=engine_room.rehearsal(house, bell),
        metrics=house.metrics,
        exposition=_exposition(house, workers),
        siblings=None,
        workers=workers,
        backlog=lambda: staff.sweeper.backlog,
        wake_keeper=bell.rings("keeper"),
        source=staff.source,
        notifier=staff.notifier,
        examiner=staff.examiner,
        config_file=settings.finviz_config_file,
        rules=_rules(settings),
        settings=settings.shown(),
        reach=house.reach,
        clock=utc_now,
        entropy=entropy,
        chance=Chance(),
    )


def _exposition(house: House, workers: list[Worker]) -> Exposition:
    """What is measured: besides the counters, workers and pools, and what the rows tell."""
    settings, pools = house.settings, {name: getattr(house, name) for name in house.settings.pools}
    Process(workers=workers, pools=pools, clock=utc_now).kept_in(house.metrics.registry)
    return Exposition(
        database=house.pages,
        metrics=house.metrics,
        clock=utc_now,
        limits=Limits(
            list_max_age=settings.list_max_age, retention=timedelta(days=settings.retention_days)
        ),
        data_dir=settings.data_dir,
    )


def _rules(settings: Settings) -> Rules:
    return Rules(
        version=VERSION,
        revision=revision(),
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
        sell_share=settings.sell_reserved_share,
        private_destinations=settings.private_destinations,
        own_hosts=own_hosts(settings.public_url),
    )
