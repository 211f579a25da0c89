"""What engines are built from: the pools, the keys, the settings, and the systems outside."""

from dataclasses import dataclass

import httpx

from config import Settings
from database.pool import Database
from database.vault import Vault
from engines.failpoints import Reach, passes
from engines.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Outside:
    """The systems we speak to, when they are to be played in this process (demo, tests)."""

    finviz: httpx.AsyncBaseTransport | None = None
    destination: httpx.AsyncBaseTransport | None = None
    notices: httpx.AsyncBaseTransport | None = None


@dataclass(frozen=True, slots=True)
class House:
    """What every engine may be handed: five pools that cannot starve one another, and the rest.

    ``desk`` is for commands to sell alone: no page and no engine keeps one waiting.
    """

    settings: Settings
    intake: Database
    engines: Database
    pages: Database
    desk: Database
    live: Database
    vault: Vault
    metrics: Metrics
    reach: Reach = passes
