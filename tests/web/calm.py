"""A shared relay at rest: what the tests before have left to be done is done, told and seen."""

from database.attention import NOTABLE
from tests.web.stage import Relay, until

# A look ends by saying when the next is due; the trust in its list is told up to a second later.
AT_REST = """
    SELECT 1 FROM screens JOIN watches ON watches.screen_id = screens.id
    WHERE active AND screen_version >= version AND lease_until IS NULL
      AND due_at > clock_timestamp() AND trust = :trust
"""
UNDER_WAY = """
    SELECT 1 FROM signals WHERE status = 'received' AND waits_until IS NULL
    UNION ALL
    SELECT 1 FROM deliveries JOIN destinations ON destinations.id = destination_id
    WHERE deliveries.state = 'sending'
       OR deliveries.state = 'queued' AND destinations.state = 'enabled'
"""
UNSEEN = f"""
    SELECT 1 FROM events, watchman
    WHERE {NOTABLE} AND (events.xid, events.id) > (watchman.xid, watchman.event_id)
"""


async def list_at_rest(relay: Relay, trust: str = "fresh") -> None:
    """Nobody looks at Finviz just now, and what was found there is told."""

    async def rests() -> bool:
        return bool(await relay.rows(AT_REST, trust=trust))

    await until(rests, "the end of the looks")


async def alerts_at_rest(relay: Relay) -> None:
    """Every alert has its verdict, and nothing is on its way to where it may go."""

    async def rest() -> bool:
        return not await relay.rows(UNDER_WAY)

    await until(rest, "the end of what was under way")


async def all_is_seen(relay: Relay) -> None:
    """The watchman has looked at everything: no item comes of it any more.

    He waits for the transactions of all tests beside this one, lest one commits into the past.
    """

    async def is_seen() -> bool:
        return not await relay.rows(UNSEEN)

    await until(is_seen, "the watchman's look at all of it")
