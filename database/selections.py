"""Selections: which signals or deliveries a command is about, and what would become of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from database.audit import Facts
from database.pool import ReadConnection
from domain.delivery import DeliveryState
from domain.signal import Side, SignalStatus
from domain.ticker import Ticker

MOST = 1_000
"""In one command."""

MOST_MATCHING = 10_000
"""A selection of more is not looked through."""

EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """By their ``ids``, or by all that is said of them; None means any.

    ``state`` and ``destination`` are of a delivery; ``reason`` too where there is a state, else of
    the verdict. ``since`` and ``until`` are about when the signal was received.
    """

    ids: Sequence[UUID] | None = None
    status: SignalStatus | None = None
    state: DeliveryState | None = None
    reason: str | None = None
    destination: UUID | None = None
    ticker: Ticker | None = None
    side: Side | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a command may be about: signals, or ``deliveries``; the rest is SQL.

    ``refusal`` is why it does not concern a row, or null; an operator with a reason overrides those
    of ``forced``.
    """

    columns: str
    rows: str
    refusal: str
    deliveries: bool
    forced: Collection[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How many match, how many of them are refused and why, and the others, oldest first.

    ``ids`` are at most MOST of them; ``examples`` are the first few that match.
    """

    matching: int
    refused: Mapping[str, int]
    ids: Sequence[UUID]
    examples: Sequence[Facts]

    @property
    def would(self) -> int:
        return self.matching - sum(self.refused.values())

    @property
    def beyond(self) -> bool:
        """More match than are looked through: the numbers are not the whole truth."""
        return self.matching > MOST_MATCHING

    def expected(self, number: int | None) -> "Found":
        """What a command may go on with: what its caller saw. Raises NotAsExpectedError."""
        if self.beyond or self.would != number:
            raise NotAsExpectedError(self)
        return self


class NotAsExpectedError(Exception):
    """A command would do more or less than its caller saw; nothing was done."""

    def __init__(self, found: Found) -> None:
        super().__init__(found.would)
        self.found = found


_OF_SIGNALS = {
    "status": "signals.status = :status",
    "ticker": "signals.ticker = :ticker",
    "side": "signals.side = :side",
    "source": "signals.source = :source",
    "since": "signals.received_at >= :since",
    "until": "signals.received_at < :until",
}
_DESTINATION = "deliveries.destination_id = :destination"
_REASON = "(deliveries.reason = :reason OR starts_with(deliveries.reason, :reason || ':'))"

# A row that is refused all the same counts as one to be done when its refusal is overridden.
_LOOK = """
    WITH matching AS MATERIALIZED (
        SELECT {columns}, signals.seq, {refusal} AS refusal
        FROM {rows} WHERE {chosen}
        ORDER BY signals.seq LIMIT :most_matching
    ), weighed AS (
        SELECT *, CASE WHEN refusal <> ALL(CAST(:overridden AS text[])) THEN refusal END AS refused
        FROM matching
    )
    SELECT (SELECT count(*) FROM weighed) AS matching,
           (SELECT coalesce(jsonb_object_agg(refused, number), '{{}}') FROM (
                SELECT refused, count(*) AS number FROM weighed
                WHERE refused IS NOT NULL GROUP BY refused) AS counted) AS refused,
           ARRAY(SELECT id FROM weighed WHERE refused IS NULL ORDER BY seq, id LIMIT :most) AS ids,
           (SELECT coalesce(jsonb_agg(to_jsonb(few) - 'seq' - 'refusal'), '[]') FROM (
                SELECT * FROM weighed ORDER BY seq, id LIMIT :examples) AS few) AS examples
"""


async def look(
    connection: ReadConnection,
    subject: Subject,
    selection: Selection,
    *,
    force: bool = False,
    **more: object,
) -> Found:
    """See what a command would find. By ``force`` it overrides what may be overridden."""
    chosen, given = _chosen(subject, selection)
    statement = _LOOK.format(
        columns=subject.columns, refusal=subject.refusal, rows=subject.rows, chosen=chosen
    )
    bounds = {"most": MOST, "most_matching": MOST_MATCHING + 1, "examples": EXAMPLES}
    values = {**given, **more, **bounds}
    values["overridden"] = list(subject.forced) if force else []
    row = (await connection.execute(text(statement), values)).one()
    examples = [one | {"received_at": _utc(one["received_at"])} for one in row.examples]
    return Found(matching=row.matching, refused=row.refused, ids=row.ids, examples=examples)


def _utc(at: str) -> datetime:
    return datetime.fromisoformat(at).astimezone(UTC)


def _chosen(subject: Subject, selection: Selection) -> tuple[str, Mapping[str, Any]]:
    """The condition of a selection, in our own words only, and the values in it."""
    if selection.ids is not None:
        table = "deliveries" if subject.deliveries else "signals"
        return f"{table}.id = ANY(CAST(:ids AS uuid[]))", {"ids": list(selection.ids)}
    named = {name: getattr(selection, name) for name in (*_OF_SIGNALS, "destination", "reason")}
    given = {name: value for name, value in named.items() if value is not None}
    of_delivery = subject.deliveries or selection.state is not None
    within = _of_deliveries(selection, reason=of_delivery)
    if within and not subject.deliveries:
        within = [f"signals.id IN (SELECT signal_id FROM deliveries WHERE {' AND '.join(within)})"]
    if selection.reason and not of_delivery:
        within.append("signals.reason = :reason")
    conditions = [_OF_SIGNALS[name] for name in given if name in _OF_SIGNALS]
    return " AND ".join([*conditions, *within]) or "true", given


def _of_deliveries(selection: Selection, *, reason: bool) -> list[str]:
    """The state stands in the statement, so that the indexes of dead, held and unfinished serve."""
    conditions = [_DESTINATION] if selection.destination else []
    if state := selection.state:
        ended = f"deliveries.finished_at IS {'NOT NULL' if state.final else 'NULL'}"
        conditions.append(f"deliveries.state = '{state}' AND {ended}")
    if reason and selection.reason:
        conditions.append(_REASON)
    return conditions
