"""History: every version of the lists, the list as it was at any moment, and every look for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import text

from database.audit import Facts
from database.pool import ReadConnection
from database.screens import NAMES, ScreenId, screen_of
from database.universes import LIST, universe_of
from domain.screen import Screen
from domain.universe import FetchOutcome, Universe

_SUMMARY = """universe.version, screen_id, screens.name AS screen, fetched_at, confirmed_at, total,
           cardinality(universe.tickers) AS size, universe.top_n, universe.margin, entered, dropped,
           kept, accepted_by"""

PAGE = text(f"""
    SELECT {_SUMMARY}
    FROM universes AS universe JOIN screens ON screens.id = screen_id
    WHERE (CAST(:screen AS uuid) IS NULL OR screen_id = :screen)
      AND (CAST(:before AS bigint) IS NULL OR universe.version < :before)
    ORDER BY universe.version DESC LIMIT :limit
""")

ONE = text(f"""
    SELECT {_SUMMARY}, universe.tickers, prices, volumes
    FROM universes AS universe JOIN screens ON screens.id = screen_id
    WHERE universe.version = :version
""")

# A look that brought a list confirmed its version. The list in force at a moment is the newest
# version until then that the screen answered at the address it had then.
_TERMS = ", ".join(f"former.{name}" for name in NAMES.split(", "))
AT = text(f"""
    WITH moment AS (
        SELECT least(CAST(:at AS timestamptz), clock_timestamp()) AS at
    ), former AS (
        SELECT screen_versions.*, moment.at FROM moment, screen_versions
        WHERE active AND made_at <= moment.at ORDER BY made_at DESC LIMIT 1
    )
    SELECT former.at AS moment, former.screen_id, screens.name, {_TERMS}, {LIST}, prices, volumes,
           confirming.at AS confirmed_then, looked.at AS looked_at, looked.outcome, looked.detail
    FROM former JOIN screens ON screens.id = former.screen_id
    LEFT JOIN LATERAL (
        SELECT * FROM universes
        WHERE screen_id = former.screen_id AND url = former.url AND fetched_at <= former.at
          AND CAST(md5(url) AS uuid) = CAST(md5(former.url) AS uuid) AND version <= (
            SELECT version FROM universes
            WHERE screen_id = former.screen_id AND fetched_at <= former.at
            ORDER BY fetched_at DESC LIMIT 1)
        ORDER BY version DESC LIMIT 1
    ) AS universe ON true
    LEFT JOIN LATERAL (
        SELECT at FROM fetches
        WHERE screen_id = former.screen_id AND version = universe.version
          AND at BETWEEN universe.fetched_at AND former.at
        ORDER BY at DESC LIMIT 1
    ) AS confirming ON true
    LEFT JOIN LATERAL (
        SELECT at, outcome, detail FROM fetches
        WHERE screen_id = former.screen_id AND at <= former.at
        ORDER BY at DESC LIMIT 1
    ) AS looked ON true
""")

_FETCHES = """
    SELECT fetches.id, at, screen_id, screens.name AS screen, outcome, detail, pages, duration_ms,
           total, fetches.tickers, fetches.version, premium, next_at
    FROM fetches JOIN screens ON screens.id = screen_id
    WHERE (CAST(:before AS bigint) IS NULL OR fetches.id < :before) AND {of}
    ORDER BY fetches.id DESC LIMIT :limit
"""
FETCHES = text(_FETCHES.format(of="true"))
# Said without "or any": a rare outcome is found by its index (fetches_by_outcome).
FETCHES_OF = text(_FETCHES.format(of="outcome = CAST(:outcome AS text)"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A list with what its rows told; None where they told nothing."""

    universe: Universe
    prices: Sequence[float | None] | None
    volumes: Sequence[int | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a look at Finviz ended."""

    at: datetime
    outcome: FetchOutcome
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What was known at a moment: the screen in force, its list, and how the last look had ended.

    The list is as it was: confirmed no later than then.
    """

    at: datetime
    screen_id: ScreenId
    name: str
    screen: Screen
    ranked: Ranked | None
    looked: Look | None


async def page(
    connection: ReadConnection, *, screen: ScreenId | None, before: int | None, limit: int
) -> list[Facts]:
    """Versions of one screen's list, or of all, newest first; those ``before`` a version."""
    asked = {"screen": screen, "before": before, "limit": limit}
    return [dict(row) for row in (await connection.execute(PAGE, asked)).mappings()]


async def one(connection: ReadConnection, version: int) -> tuple[Facts, Ranked] | None:
    """A version as `page` tells it, and its rows; None when it is not kept (any more)."""
    found = (await connection.execute(ONE, {"version": version})).mappings().one_or_none()
    if found is None:
        return None
    facts = dict(found)
    tickers, prices, volumes = (facts.pop(name) for name in ("tickers", "prices", "volumes"))
    universe = Universe(
        version=version,
        tickers=tuple(tickers),
        total=facts["total"],
        fetched_at=facts["fetched_at"],
        confirmed_at=facts["confirmed_at"],
        kept=frozenset(facts["kept"]),
    )
    return facts, Ranked(universe=universe, prices=prices, volumes=volumes)


async def at(connection: ReadConnection, moment: datetime) -> Former | None:
    """The state of the list at a moment, at the latest now; None before there was a screen."""
    row = (await connection.execute(AT, {"at": moment})).one_or_none()
    if row is None:
        return None
    universe = universe_of(row)
    if universe:
        universe = replace(universe, confirmed_at=row.confirmed_then or universe.fetched_at)
    return Former(
        at=row.moment,
        screen_id=ScreenId(row.screen_id),
        name=row.name,
        screen=screen_of(row),
        ranked=universe and Ranked(universe=universe, prices=row.prices, volumes=row.volumes),
        looked=row.outcome
        and Look(at=row.looked_at, outcome=FetchOutcome(row.outcome), detail=row.detail),
    )


async def fetches(
    connection: ReadConnection, *, outcome: FetchOutcome | None, before: int | None, limit: int
) -> list[Facts]:
    """The log of looks of every screen, newest first; those ``before`` one already seen."""
    asked: dict[str, Any] = {"before": before, "limit": limit}
    if outcome is None:
        rows = await connection.execute(FETCHES, asked)
    else:
        rows = await connection.execute(FETCHES_OF, asked | {"outcome": outcome})
    return [dict(row) for row in rows.mappings()]
